from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest

from agent.advice.coins import CoinPool, SwitchRules
from agent.advice.pool_switch import pool_switch
from agent.advice.pool_work import PoolLedger, PoolWork, active_url, effectiveness
from agent.advice.record import Finding
from agent.errors import DataError
from agent.pools.guard import PoolGuard
from agent.reading import Pool, Reading
from tests.advice.conftest import NOW, standing

A, B = "stratum+tcp://a.pool.example:3333", "stratum+tcp://b.pool.example:3333"
DIFFICULTY = 65536.0


def work(ratio: float, accepted: float) -> PoolWork:
    return PoolWork(hashed_th=1e9, accepted_th=ratio * 1e9, accepted=accepted)


def decide(
    mine: PoolWork,
    other: PoolWork | None,
    fees: tuple[float, float] = (0.02, 0.02),
    trusted: str = "*.pool.example",
    last: datetime | None = None,
) -> Finding | None:
    pools = [CoinPool(url=A, fee_share=fees[0]), CoinPool(url=B, fee_share=fees[1])]
    seen = {A: mine} | ({B: other} if other is not None else {})
    rules = SwitchRules(minimum_gain_share=0.0, lost_min=0.0)
    return pool_switch(pools, seen, A, [standing(rate=100.0)], 0.05, PoolGuard([trusted]), rules, last, NOW)


def reading(url: str, accepted: int, rejected: int = 0) -> Reading:
    pool = Pool(url, active=True, accepted=accepted, rejected=rejected, difficulty=DIFFICULTY)
    return Reading(pools=(pool,), hashrate_ths=100.0)


def test_gain_by_hand() -> None:
    found = decide(work(0.97, 1e8), work(0.99, 1e8))
    assert found is not None
    # 100 TH/s at 0.05, of which 0.99 instead of 0.97 arrive, less 2 % fee.
    assert found.gain_usd_per_day[1] == pytest.approx(100 * 0.05 * 0.02 * 0.98)
    assert found.then == B
    assert found.confidence > 0.99


def test_a_lower_fee_is_a_reason_too() -> None:
    found = decide(work(1.0, 1e8), work(1.0, 1e8), fees=(0.04, 0.01))
    assert found is not None
    assert found.gain_usd_per_day[1] == pytest.approx(100 * 0.05 * 0.03)


def test_too_little_evidence_proposes_nothing() -> None:
    assert decide(work(0.97, 1e8), work(0.99, 1999)) is None
    assert decide(work(0.97, 1999), work(0.99, 1e8)) is None
    assert decide(work(0.97, 1e8), None) is None
    # Known to 2.2 % each: two percent more may be chance.
    assert decide(work(0.97, 2000), work(0.99, 2000)) is None


def test_a_pool_that_is_not_trusted_is_never_proposed() -> None:
    assert decide(work(0.9, 1e8), work(1.0, 1e8), trusted="a.pool.example") is None


def test_the_hold_of_the_last_switch_is_kept() -> None:
    assert decide(work(0.9, 1e8), work(1.0, 1e8), last=NOW - timedelta(hours=71)) is None
    assert decide(work(0.9, 1e8), work(1.0, 1e8), last=NOW - timedelta(hours=73)) is not None


def test_work_is_counted_by_growth_by_hand() -> None:
    ledger = PoolLedger()
    ledger.observe([("a01", reading(A, 100))], 0.0)
    ledger.observe([("a01", reading(A, 110, rejected=2))], 300.0)
    one = ledger.work[A]
    assert one.hashed_th == pytest.approx(100.0 * 300.0)
    assert one.accepted_th == pytest.approx(10 * DIFFICULTY * 2**32 / 1e12)
    assert (one.accepted, one.rejected) == (10, 2)


@pytest.mark.parametrize(
    ("url", "accepted", "at_s"),
    [(B, 110, 300.0), (A, 5, 300.0), (A, 110, 1000.0)],
    ids=["pool", "restart", "gap"],
)
def test_another_pool_a_restart_and_a_gap_count_for_nothing(url: str, accepted: int, at_s: float) -> None:
    ledger = PoolLedger()
    ledger.observe([("a01", reading(A, 100))], 0.0)
    ledger.observe([("a01", reading(url, accepted))], at_s)
    assert ledger.work == {}


def test_work_survives_a_restart_of_the_agent_and_damage_is_told() -> None:
    ledger = PoolLedger()
    ledger.observe([("a01", reading(A, 100))], 0.0)
    ledger.observe([("a01", reading(A, 110))], 300.0)
    assert PoolLedger(ledger.to_bytes()).work == ledger.work
    with pytest.raises(DataError):
        PoolLedger(b'{"work": 3}')


def test_a_difficulty_that_cannot_be_true_is_unknown() -> None:
    assert np.isnan(effectiveness({A: work(2.0, 1e8)}, [A], 100).ratio[0])


@pytest.mark.parametrize(
    ("states", "priorities", "found"),
    [
        (("alive", "alive"), (0, 1), A),
        (("dead", "alive"), (0, 1), B),
        (("alive", "alive"), (1, 0), B),
        (("alive", "alive"), (0, 0), None),
        (("dead", "dead"), (0, 1), None),
        (("alive", None), (None, 1), None),
    ],
)
def test_where_no_pool_is_said_to_be_active_it_is_the_first_that_lives(
    states: tuple[str | None, str | None], priorities: tuple[int | None, int | None], found: str | None
) -> None:
    pools = tuple(Pool(u, state=s, priority=p) for u, s, p in zip((A, B), states, priorities, strict=True))
    assert active_url(Reading(pools=pools)) == found


def test_two_active_pools_are_no_answer() -> None:
    assert active_url(Reading(pools=(Pool(A, active=True), Pool(B, active=True)))) is None
    assert active_url(reading(A, 1)) == A

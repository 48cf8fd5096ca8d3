"""Nothing that comes later, and nothing that happens elsewhere, changes any feature: to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.features.streaming import FeatureState, batch_features_exact
from agent.money.conditions import MARKET_COLUMNS
from agent.money.market_history import market_columns
from agent.money.prices import MarketSeries, Series
from tests.features.fleets import MARKET, START_S, Row, frame, lively, table, units

Rows = list[tuple[str, float, Row]]
FLEET = units(2)


def history(seed: int, count: int, miners: int = 2) -> Rows:
    rng = np.random.default_rng(seed)
    rows: Rows = []
    for unit in FLEET[:miners]:
        gaps = rng.choice([7.0, 60.0, 300.0, 300.0, 300.0, 2000.0, 30_000.0], size=count)
        times = [float(t) for t in START_S + np.cumsum(gaps)]
        rows += [(unit.miner_id, at, values) for at, values in zip(times, lively(rng, times), strict=True)]
    return rows


def altered(kind: str, rng: np.random.Generator, future: Rows) -> Rows:
    """Another future."""
    if kind == "none":
        return []
    if kind == "later":
        return [(miner, at + 7777.0, values) for miner, at, values in future]
    if kind == "wild":
        return [(miner, at, {n: 3.0 * v + rng.normal() for n, v in row.items()}) for miner, at, row in future]
    if kind == "unknown":
        return [(miner, at, dict.fromkeys(row, float("nan"))) for miner, at, row in future]
    if kind == "dense":
        return [(m, at + 0.5 * k, row) for m, at, row in future[:20] for k in range(12)]
    return [(f"stranger-{miner}", at, row) for miner, at, row in future]


@pytest.mark.parametrize("kind", ["none", "later", "wild", "unknown", "dense", "others"])
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0.05, 0.95))
@settings(max_examples=12, deadline=None)
def test_another_future_changes_no_feature_of_history(kind: str, seed: int, share: float) -> None:
    rows = history(seed, 80)
    now = sorted(at for _, at, _ in rows)[int(share * len(rows))]
    past = [row for row in rows if row[1] <= now]
    future = [row for row in rows if row[1] > now]
    other = altered(kind, np.random.default_rng(seed), future)
    with_future = batch_features_exact(table(past + future))[: len(past)]
    with_another = batch_features_exact(table(past + other))[: len(past)]
    np.testing.assert_array_equal(with_another, with_future)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=8, deadline=None)
def test_the_live_agent_sees_what_history_says_whatever_comes_after(seed: int) -> None:
    """What was computed live, before anything later existed, is what history with its future gives."""
    rows = history(seed, 60, miners=1)
    state = FeatureState()
    seen = []
    for miner, at, values in rows:
        now = frame(at, FLEET[:1], {miner: (at, values)})
        state.observe(now, MARKET)
        seen.append(state.compute_exact(now, MARKET)[0])
    np.testing.assert_allclose(batch_features_exact(table(rows)), np.array(seen), rtol=1e-9, atol=1e-9)


def market(rng: np.random.Generator, days: int) -> tuple[MarketSeries, Series]:
    day = START_S + 86400.0 * np.arange(days)
    values = [np.exp(np.cumsum(rng.normal(0.0, 0.05, days))) for _ in range(4)]
    hour = START_S + 3600.0 * np.arange(24 * days)
    series = MarketSeries(*(Series(day, v, 86400.0) for v in values))
    return series, Series(hour, rng.normal(0.05, 0.02, len(hour)), 3600.0)


@given(seed=st.integers(0, 2**32 - 1), at_h=st.floats(24.0, 24.0 * 50.0))
@settings(max_examples=40, deadline=None)
def test_another_future_of_the_market_changes_no_market_feature(seed: int, at_h: float) -> None:
    rng = np.random.default_rng(seed)
    series, prices = market(rng, 60)
    now = START_S + 3600.0 * at_h
    # Prices of tomorrow are out from noon on.
    day = now // 86400.0 * 86400.0
    known_until = day + (172800.0 if now - day >= 43200.0 else 86400.0)

    def other(one: Series, until: float) -> Series:
        return Series(one.times_s, np.where(one.times_s > until, 7.0 * one.values, one.values), one.hold_s)

    changed = MarketSeries(
        *(
            other(one, now)
            for one in (series.hashprice, series.price_usd_per_btc, series.difficulty, series.fee_share)
        )
    )
    prices_changed = other(prices, np.nextafter(known_until, 0.0))
    at = np.array([now])
    found, expected = market_columns(changed, prices_changed, at), market_columns(series, prices, at)
    assert set(found) == set(MARKET_COLUMNS)
    for name in MARKET_COLUMNS:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)

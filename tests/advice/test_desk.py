from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from agent.advice.config import AdviceConfig
from agent.advice.desk import Desk
from agent.advice.record import Round, Standing
from agent.pools.guard import PoolGuard
from agent.reading import Board, Reading
from agent.records import Recommendation
from agent.store import Store
from tests.advice.conftest import NOW, standing

WELL = Reading(is_hashing=True, boards=(Board(0, state="hashing"), Board(1, state="hashing")))
ILL = Reading(is_hashing=True, boards=(Board(0, state="hashing"), Board(1, state="missing")))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "agent.sqlite3", "quarry")


def desk(**changes: object) -> Desk:
    return Desk(AdviceConfig.model_validate(changes), PoolGuard([]), None, {}, None)


def look(
    one: Desk,
    store: Store,
    context: Round,
    hours: float = 0.0,
    sick: int = 1,
    readings: list[Reading] | None = None,
) -> list[Recommendation]:
    units: list[Standing | None] = [standing(f"m{i:02d}", 90.0 + i) for i in range(sick)]
    at = replace(context, now=NOW + timedelta(hours=hours))
    one.look(at, units, readings or [ILL] * sick, (), store)
    return store.recommendations("proposed")


def test_advice_is_stored_with_what_a_person_needs(store: Store, context: Round) -> None:
    (found,) = look(desk(), store, context)
    assert found.type == "maintenance"
    assert found.advice is not None
    assert found.advice.miners == ["m00"]
    assert not found.changes_setting
    assert found.proposed == found.current
    assert found.steps
    assert found.why.alternatives[0].label == "leave it as it is"


def test_the_same_advice_is_not_repeated_while_it_stands(store: Store, context: Round) -> None:
    one = desk()
    (first,) = look(one, store, context)
    queued = len(store.pending(100))
    (again,) = look(one, store, context, hours=1.0)
    assert again == first
    assert len(store.pending(100)) == queued


def test_advice_that_has_lived_half_its_life_is_renewed_under_its_id(store: Store, context: Round) -> None:
    one = desk()
    (first,) = look(one, store, context)
    (later,) = look(one, store, context, hours=25.0)
    assert later.id == first.id
    assert later.expires_at > first.expires_at


def test_a_unit_that_is_well_again_takes_its_advice_back(store: Store, context: Round) -> None:
    one = desk()
    look(one, store, context)
    assert look(one, store, context, hours=1.0, readings=[WELL]) == []
    assert store.recommendations("superseded")


@pytest.mark.parametrize("verdict", ["approved", "rejected"])
def test_what_was_answered_is_quiet_for_a_while(store: Store, context: Round, verdict: str) -> None:
    one = desk(quiet_h=100.0)
    (first,) = look(one, store, context)
    store.put_recommendation(
        first.model_copy(update={"status": verdict, "decided_at": NOW, "decided_by": "maria"})
    )
    assert look(one, store, context, hours=99.0) == []
    assert len(look(one, store, context, hours=101.0)) == 1


def test_no_more_stands_open_than_a_person_can_read_and_the_dearest_goes_first(
    store: Store, context: Round
) -> None:
    found = look(desk(most_open=3), store, context, sick=10)
    assert {one.miner_id for one in found} == {"m09", "m08", "m07"}


def test_unknown_prices_advise_nothing_and_take_nothing_back(store: Store, context: Round) -> None:
    one = desk()
    nan = (float("nan"),) * 3
    (first,) = look(one, store, context)
    assert look(one, store, replace(context, hashprice_usd_per_ths_day=nan), hours=1.0) == [first]


def test_it_looks_once_an_interval(store: Store, context: Round) -> None:
    one = desk(interval_s=3600.0)
    assert one.due(NOW)
    look(one, store, context)
    assert not one.due(NOW + timedelta(minutes=59))
    assert one.due(NOW + timedelta(minutes=60))

"""Who gives way first: weights count only where power is short, the protected give way last."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.planner.power.allocate import allocate
from agent.planner.power.nodes import Nodes
from agent.planner.power.priorities import allocate_by_priority

INF = float("inf")
VALUE = np.array([[0.0, 8.0, 10.0], [0.0, 9.0, 12.0]])
POWER = np.array([[0.0, 1000.0, 2000.0], [0.0, 1000.0, 2000.0]])
EQUAL = np.ones(2)
NOBODY = np.zeros(2, dtype=np.bool_)


def chosen(cap_w: float, weight: np.ndarray = EQUAL, protected: np.ndarray = NOBODY) -> list[int]:
    site = Nodes.one(2, cap_w, 0.0)
    return allocate_by_priority(VALUE, POWER, 0.0 * POWER, site, weight, protected).chosen.tolist()


def test_without_priorities_the_best_watts_stay() -> None:
    assert chosen(3000.0) == [1, 2]


def test_a_weight_turns_the_choice_where_power_is_short_and_only_there() -> None:
    assert chosen(3000.0, np.array([2.0, 1.0])) == [2, 1]
    assert chosen(INF, np.array([100.0, 1.0])) == [2, 2]


def test_a_protected_miner_keeps_its_best_while_the_others_can_make_room() -> None:
    first = np.array([True, False])
    assert chosen(3000.0, protected=first) == [2, 1]
    assert chosen(2000.0, protected=first) == [2, 0]
    # It gives way once the cap cannot be kept without it, and then shares as the others do.
    assert chosen(1000.0, protected=first) == [0, 1]


def test_only_those_below_the_place_that_is_short_give_way() -> None:
    member = np.array([[True, True], [True, False]])
    site = Nodes(member, np.array([INF, 500.0]), np.full(2, -INF), 0.0, ("site", "row"))
    both = np.array([True, True])
    found = allocate_by_priority(VALUE, POWER, 0.0 * POWER, site, EQUAL, both)
    assert found.chosen.tolist() == [0, 2]
    assert found.feasible


@given(st.integers(0, 100_000), st.floats(0.0, 1.1))
@settings(max_examples=200, deadline=None)
def test_priorities_never_break_a_cap_that_could_be_kept(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    power = np.sort(rng.uniform(100.0, 4000.0, (15, 6)), axis=1)
    value = rng.normal(0.0, 3.0, (15, 6))
    value[rng.random((15, 6)) < 0.1] = np.nan
    rows = np.zeros((15, 1), dtype=np.bool_) | True
    site = Nodes(rows, np.array([share * power.max(axis=1).sum()]), np.array([-INF]), 0.0, ("site",))
    found = allocate_by_priority(
        value, power, 0.0 * power, site, rng.uniform(0.1, 10.0, 15), rng.random(15) < 0.5
    )
    assert found.feasible == allocate(value, power, 0.0 * power, site).feasible
    if found.feasible:
        assert (found.upper_power_w <= site.cap_w + 1e-6).all()

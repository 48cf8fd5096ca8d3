"""The tree of circuits: sums, what is left for the miners, ramps, and which place holds a miner back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.planner.allocate import allocate
from agent.planner.circuits import Band, PowerTree, binding, left_for_miners, step_limits
from agent.planner.nodes import Nodes

INF = float("inf")


def tree(rng: np.random.Generator, miners: int, places: int) -> PowerTree:
    parent = np.array([-1, *(int(rng.integers(0, g)) for g in range(1, places))])
    return PowerTree(
        names=("site", *(f"circuit-{g}" for g in range(1, places))),
        parent=parent,
        leaf=rng.integers(0, places, miners),
        cap_w=np.where(rng.random(places) < 0.3, INF, rng.uniform(1e3, 3e4, places)),
        floor_w=np.where(rng.random(places) < 0.7, -INF, rng.uniform(0.0, 5e3, places)),
        ramp_up_w_per_s=np.where(rng.random(places) < 0.5, INF, rng.uniform(1.0, 20.0, places)),
        ramp_down_w_per_s=np.where(rng.random(places) < 0.5, INF, rng.uniform(1.0, 20.0, places)),
    )


# A site with a container of two rows, and a row of its own.
HALL = PowerTree(
    names=("site", "container", "own", "row-a", "row-b"),
    parent=np.array([-1, 0, 0, 1, 1]),
    leaf=np.array([3, 3, 4, 2, 0]),
    cap_w=np.full(5, INF),
    floor_w=np.full(5, -INF),
    ramp_up_w_per_s=np.full(5, INF),
    ramp_down_w_per_s=np.full(5, INF),
)


def test_a_miner_counts_at_its_place_and_at_all_around_it() -> None:
    assert HALL.member().astype(int).tolist() == [
        [1, 1, 0, 1, 0],
        [1, 1, 0, 1, 0],
        [1, 1, 0, 0, 1],
        [1, 0, 1, 0, 0],
        [1, 0, 0, 0, 0],
    ]
    assert HALL.sums(np.array([1.0, 2.0, 4.0, 8.0, 16.0])).tolist() == [31.0, 7.0, 8.0, 3.0, 4.0]


@given(st.integers(0, 10_000), st.integers(0, 30), st.integers(1, 12), st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_sums_are_those_over_the_members(seed: int, miners: int, places: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    site, values = tree(rng, miners, places), rng.uniform(0.0, 4000.0, (steps, miners))
    assert site.sums(values) == pytest.approx(values @ site.member())
    assert site.sums(values).shape == (steps, places)


@pytest.mark.parametrize(
    "change",
    [
        {"parent": np.array([-1, 2, 0, 1, 1])},
        {"parent": np.array([0, 0, 0, 1, 1])},
        {"leaf": np.array([3, 3, 4, 2, 5])},
        {"cap_w": np.full(4, INF)},
    ],
)
def test_what_is_no_tree_is_refused(change: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match=r"place|parent"):
        replace(HALL, **change)


def test_an_unknown_circuit_is_named_with_those_there_are() -> None:
    assert HALL.place("row-b") == 4
    with pytest.raises(KeyError, match=r"'roof'; known are site, container"):
        HALL.place("roof")


def test_miners_have_what_cooling_and_the_rest_leave() -> None:
    site = replace(HALL, cap_w=np.array([12_000.0, 6_000.0, INF, INF, INF]))
    band = Band(site.cap_w, np.array([2_400.0, *[-INF] * 4]))
    fixed = np.array([0.0, 1_000.0, 0.0, 500.0, 0.0])
    left = left_for_miners(site, band, fixed, pue=1.2)
    assert left.cap_w == pytest.approx([8_500.0, 4_000.0, INF, INF, INF])
    assert left.floor_w == pytest.approx([500.0, *[-INF] * 4])
    steps = left_for_miners(site, band, np.stack([fixed, fixed * 0.0]), pue=np.array([1.2, 1.0]))
    assert steps.cap_w[:, 0] == pytest.approx([8_500.0, 12_000.0])


def ramped(cap_w: float, floor_w: float, up_w_per_s: float, down_w_per_s: float) -> PowerTree:
    return replace(
        PowerTree.single(2, cap_w),
        floor_w=np.array([floor_w]),
        ramp_up_w_per_s=np.array([up_w_per_s]),
        ramp_down_w_per_s=np.array([down_w_per_s]),
    )


@pytest.mark.parametrize(
    ("present_w", "expected"),
    [
        (5_000.0, (8_000.0, 3_500.0)),  # both ramps
        (9_000.0, (10_000.0, 7_500.0)),  # the cap before the ramp up
        (2_500.0, (5_500.0, 2_000.0)),  # the floor before the ramp down
        (15_000.0, (10_000.0, 10_000.0)),  # over the cap: down to it, faster than the ramp
        (0.0, (3_000.0, 2_000.0)),  # a stopped site starts within its ramp
        (-3_000.0, (0.0, 0.0)),  # too far below the floor to reach it within one step
    ],
)
def test_ramps_bound_the_next_step(present_w: float, expected: tuple[float, float]) -> None:
    site = ramped(10_000.0, 2_000.0, 10.0, 5.0)
    band = step_limits(site, np.array([present_w]), 300.0)
    assert (band.cap_w[0], band.floor_w[0]) == expected


@given(st.integers(0, 10_000), st.floats(0.0, 2.5), st.floats(1.0, 1.5))
@settings(max_examples=150, deadline=None)
def test_a_load_within_its_caps_may_always_stay(seed: int, z: float, pue: float) -> None:
    rng = np.random.default_rng(seed)
    site = tree(rng, 12, 5)
    site = replace(site, cap_w=np.full(5, INF), floor_w=np.full(5, -INF))
    power = rng.uniform(0.0, 4000.0, 12)
    margin = z * np.sqrt(site.sums((0.05 * power) ** 2))
    band = step_limits(site, site.sums(power) * pue, 60.0, margin_w=margin, pue=pue)
    left = left_for_miners(site, band, np.zeros(12), pue)
    assert (site.sums(power) + margin <= left.cap_w + 1e-6).all()
    assert (site.sums(power) - margin >= left.floor_w - 1e-6).all()


@given(st.integers(0, 100_000))
@settings(max_examples=300, deadline=None)
def test_plans_within_the_band_keep_ramps_and_caps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    site = tree(rng, 12, int(rng.integers(1, 7)))
    power = np.sort(rng.uniform(0.0, 3500.0, (12, 6)), axis=1)
    power[:, 0] = 0.0
    value = 0.2 * np.sqrt(power) * rng.uniform(0.5, 1.5, (12, 1)) - 0.001 * power
    rows, now = np.arange(12), rng.integers(0, 6, 12)
    before = site.sums(power[rows, now])
    band = step_limits(site, before, 300.0)
    left = left_for_miners(site, band, np.zeros(12))
    found = allocate(
        value, power, 0.0 * power, Nodes(site.member(), left.cap_w, left.floor_w, 0.0, site.names)
    )
    # To stop everything is always among the candidates.
    assert found.feasible
    after = site.sums(power[rows, found.chosen])
    assert (after <= site.cap_w + 1e-6).all()
    assert (after - before <= site.ramp_up_w_per_s * 300.0 + 1e-6).all()


def test_an_event_caps_a_band_and_its_floor() -> None:
    band = Band(np.array([9_000.0, INF]), np.array([4_000.0, -INF]))
    asked = band.within(np.array([[INF, INF], [3_000.0, INF]]))
    assert asked.cap_w.tolist() == [[9_000.0, INF], [3_000.0, INF]]
    assert asked.floor_w.tolist() == [[4_000.0, -INF], [3_000.0, -INF]]


def test_the_place_that_binds_is_named_for_each_miner() -> None:
    nothing = np.zeros(5, dtype=np.bool_)
    price = np.array([0.001, 0.0, 0.0, 0.004, 0.001])
    assert binding(HALL, price, nothing).tolist() == [3, 3, 0, 0, 0]
    assert binding(HALL, np.zeros(5), nothing).tolist() == [-1] * 5
    over = nothing.copy()
    over[1] = True
    assert binding(HALL, price, over).tolist() == [1, 1, 1, 0, 0]

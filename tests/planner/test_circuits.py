"""The tree of circuits: sums, what is left for the miners, ramps, and which place holds a miner back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.planner.power.circuits import Band, PowerTree, binding, left_for_miners

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

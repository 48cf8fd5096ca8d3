"""The site cap: value is maximised, the sum never exceeds the cap, infeasible gives the least power."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.planner.allocate import allocate


def fleet(seed: int, miners: int, candidates: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    power = np.sort(rng.uniform(0.0, 4000.0, (miners, candidates)), axis=1)
    value = rng.uniform(0.5, 1.5, (miners, 1)) * np.sqrt(power) * 0.2 - power * 0.001
    return value, power, 0.02 * power


def test_without_a_cap_everybody_takes_the_best() -> None:
    value, power, sigma = fleet(1, 20, 8)
    plan = allocate(value, power, sigma, cap_w=float("inf"), fixed_power_w=0.0, z=1.28)
    assert plan.chosen.tolist() == value.argmax(axis=1).tolist()
    assert plan.power_price_usd_per_w_day == 0.0


@given(seed=st.integers(0, 10_000), share=st.floats(0.05, 1.2), z=st.floats(0.0, 3.0))
@settings(max_examples=150, deadline=None)
def test_the_upper_sum_never_exceeds_the_cap(seed: int, share: float, z: float) -> None:
    value, power, sigma = fleet(seed, 12, 6)
    cap = share * power.max(axis=1).sum()
    plan = allocate(value, power, sigma, cap_w=cap, fixed_power_w=100.0, z=z)
    rows = np.arange(12)
    upper = power[rows, plan.chosen].sum() + z * np.sqrt((sigma[rows, plan.chosen] ** 2).sum()) + 100.0
    assert plan.upper_power_w == pytest.approx(upper)
    if plan.feasible:
        assert upper <= cap
    else:
        assert plan.chosen.tolist() == [0] * 12


@pytest.mark.parametrize("seed", range(12))
def test_it_loses_no_more_than_one_step_of_one_miner_against_trying_everything(seed: int) -> None:
    value, power, sigma = fleet(seed, 4, 5)
    cap = 0.6 * power.max(axis=1).sum()
    best = max(
        sum(value[i, k] for i, k in enumerate(pick))
        for pick in itertools.product(range(5), repeat=4)
        if sum(power[i, k] for i, k in enumerate(pick)) <= cap
    )
    plan = allocate(value, power, np.zeros_like(sigma), cap_w=cap, fixed_power_w=0.0, z=0.0)
    got = value[np.arange(4), plan.chosen].sum()
    largest_step = np.abs(np.diff(value, axis=1)).max()
    assert best - largest_step <= got <= best + 1e-9


def test_equal_value_takes_the_lower_power() -> None:
    value, power = np.zeros((1, 3)), np.array([[100.0, 50.0, 200.0]])
    plan = allocate(value, power, np.zeros((1, 3)), cap_w=float("inf"), fixed_power_w=0.0, z=0.0)
    assert plan.chosen.tolist() == [1]


def test_a_miner_without_candidates_is_left_out() -> None:
    value = np.array([[np.nan, np.nan], [1.0, 2.0]])
    power = np.array([[np.nan, np.nan], [10.0, 20.0]])
    plan = allocate(value, power, np.zeros((2, 2)), cap_w=15.0, fixed_power_w=0.0, z=0.0)
    assert plan.chosen.tolist() == [-1, 0]
    assert plan.upper_power_w == 10.0


def test_what_cannot_be_moved_counts_against_the_cap() -> None:
    value, power = np.array([[1.0, 2.0]]), np.array([[10.0, 20.0]])
    plan = allocate(value, power, np.zeros((1, 2)), cap_w=25.0, fixed_power_w=10.0, z=0.0)
    assert plan.chosen.tolist() == [0]

"""Power shared under caps inside caps: against the exact optimum, and never over a cap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from agent.planner.power.allocate import Allocation, allocate
from agent.planner.power.envelope import envelope
from agent.planner.power.nodes import Nodes

INF = float("inf")


def fleet(rng: np.random.Generator, miners: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Value and power of candidates from a stop upwards; some may not be taken."""
    share = np.sort(rng.uniform(0.3, 1.1, (miners, width)), axis=1)
    rated_w = rng.uniform(2000.0, 4000.0, (miners, 1))
    power = rated_w * share
    rate = rated_w / rng.uniform(18.0, 38.0, (miners, 1)) * share ** rng.uniform(0.6, 0.95, (miners, 1))
    power[:, 0], rate[:, 0] = rng.uniform(10.0, 60.0, miners), 0.0
    value = rate * rng.uniform(0.04, 0.08) - 0.024 * power * rng.uniform(0.02, 0.1)
    missing = rng.random((miners, width)) < 0.1
    missing[:, 0] = False
    value[missing] = np.nan
    return value, power


def tree(rng: np.random.Generator, power: np.ndarray, nodes: int, z: float = 0.0) -> Nodes:
    """A site, containers in it and circuits in these, with caps from tight to none."""
    count = len(power)
    parent = [-1, *(int(rng.integers(0, min(g, 3))) for g in range(1, nodes))]
    leaf = rng.integers(0, nodes, count)
    member = np.zeros((count, nodes), dtype=np.bool_)
    for miner in range(count):
        g = int(leaf[miner])
        while g >= 0:
            member[miner, g] = True
            g = parent[g]
    full = power.max(axis=1)
    cap = np.array([(full * member[:, g]).sum() * rng.uniform(0.3, 1.0) + 1.0 for g in range(nodes)])
    cap[rng.random(nodes) < 0.2] = INF
    return Nodes(member, cap, np.full(nodes, -INF), z, tuple(f"node {g}" for g in range(nodes)))


def worth(value: np.ndarray, found: Allocation) -> float:
    has = found.chosen >= 0
    return float(value[np.flatnonzero(has), found.chosen[has]].sum())


def exact(value: np.ndarray, power: np.ndarray, nodes: Nodes) -> float | None:
    count, width = value.shape
    at = np.flatnonzero(np.isfinite(value).ravel())
    one = np.zeros((count, len(at)))
    one[at // width, np.arange(len(at))] = 1.0
    limited = np.isfinite(nodes.cap_w)
    constraints = [LinearConstraint(one, 1.0, 1.0)]
    if limited.any():
        draw = nodes.member[at // width].T[limited] * power.ravel()[at]
        constraints.append(LinearConstraint(draw, -np.inf, nodes.cap_w[limited]))
    found = milp(
        -value.ravel()[at],
        constraints=constraints,
        integrality=np.ones(len(at)),
        bounds=Bounds(0.0, 1.0),
        options={"mip_rel_gap": 1e-7},
    )
    return -float(found.fun) if found.fun is not None else None


@pytest.mark.parametrize("seed", range(200))
def test_within_a_thousandth_of_the_exact_optimum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    value, power = fleet(rng, int(rng.integers(3, 60)), int(rng.integers(3, 12)))
    nodes = tree(rng, power, int(rng.integers(1, 6)))
    best, found = exact(value, power, nodes), allocate(value, power, np.zeros_like(power), nodes)
    if best is None:
        assert not found.feasible
        return
    assert found.feasible
    assert (found.upper_power_w <= nodes.cap_w + 1e-6).all()
    assert worth(value, found) <= best + 1e-6 * abs(best)
    assert worth(value, found) >= best - 1e-3 * abs(best)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 100_000), st.integers(1, 25), st.integers(1, 8), st.integers(1, 7), st.floats(0.0, 2.5))
def test_no_cap_is_ever_broken_that_could_be_kept(
    seed: int, miners: int, width: int, nodes: int, z: float
) -> None:
    rng = np.random.default_rng(seed)
    value, power = fleet(rng, miners, width)
    sigma = rng.uniform(0.0, 0.1, (miners, 1)) * power
    site = tree(rng, power, nodes, z)
    found = allocate(value, power, sigma, site)
    rows = np.arange(miners)
    assert np.isfinite(value[rows, found.chosen]).all()
    mean, variance = power[rows, found.chosen], sigma[rows, found.chosen] ** 2
    load = site.load(mean, variance)
    assert found.upper_power_w == pytest.approx(load)
    assert (load <= np.where(found.over, INF, site.cap_w) + 1e-6).all()
    least = np.where(np.isfinite(value), power, INF).argmin(axis=1)
    for g in np.flatnonzero(found.over):
        below = site.member[:, g]
        assert (found.chosen[below] == least[below]).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 100_000), st.floats(1.0, 1.6))
def test_a_wider_cap_never_earns_less(seed: int, wider: float) -> None:
    rng = np.random.default_rng(seed)
    value, power = fleet(rng, 30, 8)
    nodes = tree(rng, power, 1)
    more = Nodes(nodes.member, nodes.cap_w * wider, nodes.floor_w, 0.0, nodes.names)
    first, second = (worth(value, allocate(value, power, power * 0.0, site)) for site in (nodes, more))
    # Both are within a thousandth of their best.
    assert second >= first - 1e-3 * abs(first)


def test_without_a_cap_every_miner_takes_its_best_and_the_lower_power_of_two_alike() -> None:
    value = np.array([[0.0, 3.0, 3.0], [0.0, np.nan, -1.0], [np.nan, np.nan, np.nan]])
    power = np.array([[10.0, 1000.0, 2000.0], [10.0, 1000.0, 2000.0], [10.0, 1000.0, 2000.0]])
    found = allocate(value, power, power * 0.0, Nodes.one(3, INF, 1.28))
    assert found.chosen.tolist() == [1, 0, -1]
    assert found.price.tolist() == [0.0]


def test_the_worst_watts_go_first_and_the_price_is_theirs() -> None:
    # Ten milli-dollars a watt, then four; twelve, then two.
    value = np.array([[0.0, 10.0, 14.0], [0.0, 12.0, 14.0]])
    power = np.array([[0.0, 1000.0, 2000.0], [0.0, 1000.0, 2000.0]])
    found = allocate(value, power, power * 0.0, Nodes.one(2, 3000.0, 0.0))
    assert found.chosen.tolist() == [2, 1]
    assert found.price[0] == pytest.approx(0.002)


def test_a_least_load_is_met_with_the_least_loss() -> None:
    value = np.array([[0.0, -1.0, -3.0], [0.0, -0.5, -4.0]])
    power = np.array([[0.0, 1000.0, 2000.0], [0.0, 1000.0, 2000.0]])
    site = Nodes(np.ones((2, 1), dtype=np.bool_), np.array([INF]), np.array([1500.0]), 0.0, ("site",))
    found = allocate(value, power, power * 0.0, site)
    assert found.chosen.tolist() == [1, 1]
    assert not found.under.any()
    high = Nodes(site.member, np.array([2500.0]), np.array([9000.0]), 0.0, ("site",))
    both = allocate(value, power, power * 0.0, high)
    assert both.upper_power_w[0] <= 2500.0
    assert both.under.tolist() == [True]


def test_the_margin_for_errors_stays_free() -> None:
    rng = np.random.default_rng(3)
    value, power = fleet(rng, 100, 8)
    sigma, cap = 0.03 * power, 0.7 * float(power.max(axis=1).sum())
    sure, unsure = (allocate(value, power, sigma, Nodes.one(100, cap, z)) for z in (0.0, 2.0))
    rows = np.arange(100)
    mean = power[rows, unsure.chosen].sum()
    spread = np.sqrt((sigma[rows, unsure.chosen] ** 2).sum())
    assert mean + 2.0 * spread <= cap
    assert mean < power[rows, sure.chosen].sum()


def test_steps_of_an_envelope_are_concave_and_in_order() -> None:
    value, power = fleet(np.random.default_rng(8), 40, 9)
    steps = envelope(value, power)
    assert (np.diff(steps.slope) <= 0.0).all()
    for miner in range(40):
        own = np.flatnonzero(steps.miner == miner)
        assert (np.diff(power[miner, steps.column[own]]) > 0.0).all()
        # No candidate lies above the envelope.
        at = np.concatenate([[steps.least[miner]], steps.column[own]])
        for k in np.flatnonzero(np.isfinite(value[miner])):
            assert value[miner, k] <= np.interp(power[miner, k], power[miner, at], value[miner, at]) + 1e-9

"""Paths over the horizon: against every possible path, with holds, losses, wear and budgets."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.planner.paths.horizon import Outlook, Prospect, Steps, look_ahead
from agent.planner.paths.wear import look_ahead_within

NAN = float("nan")


def prospect(seed: int, miners: int = 4, width: int = 4, steps: int = 6, hold: int = 1) -> Prospect:
    """Miners with a stop and rising settings, one candidate missing here and there."""
    rng = np.random.default_rng(seed)
    share = np.sort(rng.uniform(0.4, 1.1, (miners, width)), axis=1)
    rate, power = 100.0 * share ** rng.uniform(0.6, 0.95, (miners, 1)), 3000.0 * share
    rate[:, 0], power[:, 0] = 0.0, 30.0
    stops = np.zeros((miners, width), dtype=np.bool_)
    stops[:, 0] = True
    missing = rng.random((miners, width)) < 0.15
    missing[:, :2] = False
    rate[missing] = NAN
    allowed = rng.random((miners, width)) < 0.85
    return Prospect(
        hashrate_ths=rate,
        power_w=power,
        allowed=allowed,
        stops=stops,
        loss_h=rng.uniform(0.0, 0.3, (miners, width)),
        wake_loss_h=rng.uniform(0.0, 0.3, (miners, width)),
        current=rng.integers(0, 2, miners),
        held_steps=rng.integers(0, 3, miners),
        step_h=1.0,
        hashprice_usd_per_ths_day=rng.uniform(0.03, 0.07, steps),
        price_usd_per_kwh=rng.uniform(-0.02, 0.14, steps),
        hold_steps=hold,
        restart_usd=rng.uniform(0.0, 0.02, miners),
    )


def full(seed: int, miners: int = 2, steps: int = 5, hold: int = 1) -> Prospect:
    """Everything at once: curves that move, prices by miner, frozen steps, changes without a restart."""
    p, rng = prospect(seed, miners, steps=steps, hold=hold), np.random.default_rng(seed + 1)
    shape = p.stops.shape
    return replace(
        p,
        hashrate_ths=np.stack([p.hashrate_ths, 0.9 * p.hashrate_ths, 0.85 * p.hashrate_ths]),
        power_w=np.stack([p.power_w, 1.02 * p.power_w, 1.1 * p.power_w]),
        mix=rng.uniform(0.0, 2.0, steps).round(1),
        price_usd_per_kwh=rng.uniform(-0.02, 0.14, (miners, steps)),
        may_change=rng.random((miners, steps)) < 0.7,
        wears=rng.random(shape) < 0.5,
        after_usd=rng.uniform(-0.5, 0.5, shape),
    )


def point(table: np.ndarray, p: Prospect, step: int) -> np.ndarray:
    """[N,K] of a table with or without points."""
    if table.ndim == 2:
        return table
    assert p.mix is not None
    grid = np.arange(len(table))
    return np.apply_along_axis(lambda v: np.interp(p.mix[step], grid, v), 0, table)


def worth(p: Prospect, row: int, path: tuple[int, ...]) -> float:
    """USD of one path of one miner, by the definitions; minus infinity where it may not be taken."""
    at, locked, total = int(p.current[row]), int(p.held_steps[row]), 0.0
    for step, k in enumerate(path):
        rates, power = point(p.hashrate_ths, p, step)[row], point(p.power_w, p, step)[row]
        best = np.nanmax(np.where(np.isfinite(rates), rates, 0.0))
        hashprice = p.hashprice_usd_per_ths_day[step] / 24.0
        if k != at:
            frozen = (
                p.may_change is not None
                and not np.broadcast_to(p.may_change, (len(p.stops), p.steps))[row, step]
            )
            if locked > 0 or not p.allowed[row, k] or not np.isfinite(rates[k]) or frozen:
                return -np.inf
            hours = p.wake_loss_h[row, k] if p.stops[row, at] else p.loss_h[row, k]
            total -= hours * hashprice * (best if p.stops[row, k] else rates[k])
            if p.stops[row, at] or p.wears is None or p.wears[row, k]:
                total -= p.restart_usd[row]
            at, locked = k, p.hold_steps
        locked = max(locked - 1, 0)
        price = np.broadcast_to(p.price_usd_per_kwh, (len(p.stops), p.steps))[row, step]
        total += p.step_h * (rates[k] * hashprice - 0.001 * power[k] * price)
    return total + (0.0 if p.after_usd is None else float(p.after_usd[row, at]))


def every_path(p: Prospect) -> list[tuple[int, ...]]:
    return list(itertools.product(range(p.stops.shape[1]), repeat=p.steps))


def changes(p: Prospect, row: int, path: tuple[int, ...]) -> int:
    return int((np.diff(path, prepend=p.current[row]) != 0).sum())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3), st.booleans())
def test_no_path_earns_more_than_the_one_found(seed: int, hold: int, everything: bool) -> None:
    p = full(seed, hold=hold) if everything else prospect(seed, miners=2, steps=5, hold=hold)
    found = look_ahead(p)
    for row in range(2):
        best = max(worth(p, row, path) for path in every_path(p))
        assert worth(p, row, tuple(found.path[row])) == pytest.approx(best, abs=1e-9)
        assert found.value_usd[row] == pytest.approx(best, abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_the_worth_of_an_action_is_that_of_the_best_path_that_begins_with_it(seed: int, hold: int) -> None:
    p = replace(prospect(seed, miners=1, steps=5, hold=hold), held_steps=np.zeros(1, dtype=np.int64))
    found = look_ahead(p)
    for k in range(p.hashrate_ths.shape[1]):
        own = [worth(p, 0, path) for path in every_path(p) if path[0] == k]
        assert found.action_usd[0, k] == pytest.approx(max(own), abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_the_values_of_every_step_are_those_of_a_horizon_that_begins_there(seed: int, hold: int) -> None:
    whole = replace(full(seed, hold=hold), held_steps=np.zeros(2, dtype=np.int64))
    values = look_ahead(whole, keep_values=True).values
    assert values is not None
    for step in range(1, whole.steps):
        part = replace(
            whole,
            hashprice_usd_per_ths_day=whole.hashprice_usd_per_ths_day[step:],
            price_usd_per_kwh=whole.price_usd_per_kwh[:, step:],
            mix=None if whole.mix is None else whole.mix[step:],
            may_change=None if whole.may_change is None else whole.may_change[:, step:],
        )
        action = look_ahead(part).action_usd
        loss, wake = Steps(part).losses(0)
        rows = np.arange(2)
        expected = values.entered[step] - np.where(whole.stops[rows, whole.current][:, None], wake, loss)
        expected[rows, whole.current] = values.stay[step][rows, whole.current]
        assert np.allclose(action, expected)


def test_how_long_a_setting_lasts_is_told_for_every_candidate() -> None:
    for seed in range(20):
        p = replace(prospect(seed, steps=8, hold=2), held_steps=np.zeros(4, dtype=np.int64))
        found = look_ahead(p)
        for row in range(4):
            path = found.path[row]
            if path[0] != p.current[row]:
                first = int(np.argmax(path != path[0])) if (path != path[0]).any() else p.steps
                assert found.lasts[row, path[0]] == first


def test_the_setting_in_hold_is_not_left() -> None:
    p = replace(prospect(3), held_steps=np.array([6, 9, 2, 0]))
    found = look_ahead(p)
    assert (found.path[0] == p.current[0]).all()
    assert (found.path[1] == p.current[1]).all()
    assert (found.path[2, :2] == p.current[2]).all()
    assert np.isfinite(found.action_usd[0]).sum() == 1


def test_a_setting_entered_is_held() -> None:
    for seed in range(30):
        p = replace(prospect(seed, steps=12, hold=3), held_steps=np.zeros(4, dtype=np.int64))
        path = look_ahead(p).path
        for row in range(4):
            at = np.flatnonzero(np.diff(path[row], prepend=p.current[row]))
            assert (np.diff(at) >= 3).all()


def test_a_dear_hour_alone_does_not_pay_for_a_restart() -> None:
    steps = 6
    price = np.full(steps, 0.05)
    price[2] = 0.09
    p = Prospect(
        hashrate_ths=np.array([[0.0, 100.0]]),
        power_w=np.array([[30.0, 3000.0]]),
        allowed=np.ones((1, 2), dtype=np.bool_),
        stops=np.array([[True, False]]),
        loss_h=np.array([[0.5, 0.5]]),
        wake_loss_h=np.zeros((1, 2)),
        current=np.array([1]),
        held_steps=np.zeros(1, dtype=np.int64),
        step_h=1.0,
        hashprice_usd_per_ths_day=np.full(steps, 0.05),
        price_usd_per_kwh=price,
        hold_steps=1,
        restart_usd=np.zeros(1),
    )
    # revenue 0.208 USD/h; energy 0.15 and once 0.27: stopping saves 0.059 and loses 0.104
    assert (look_ahead(p).path == 1).all()
    assert look_ahead(replace(p, loss_h=np.array([[0.2, 0.2]]))).path[0].tolist() == [1, 1, 0, 1, 1, 1]


def worn(p: Prospect, row: int, path: tuple[int, ...], first_steps: int) -> int:
    """Restarts of one path among its first steps."""
    before = (int(p.current[row]), *path[:-1])
    return sum(
        k != at and bool(p.stops[row, at] or p.wears is None or p.wears[row, k])
        for at, k in zip(before[:first_steps], path[:first_steps], strict=True)
    )


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(0, 2),
    st.integers(0, 2),
    st.integers(1, 5),
    st.integers(1, 2),
    st.booleans(),
)
def test_the_best_path_within_a_budget_of_restarts_is_found(
    seed: int, one: int, other: int, first_steps: int, hold: int, everything: bool
) -> None:
    p = full(seed, hold=hold) if everything else prospect(seed, miners=2, steps=5, hold=hold)
    most = np.array([one, other])
    found, free = look_ahead_within(p, most, first_steps), look_ahead(p)
    for row in range(2):
        over = worn(p, row, tuple(int(k) for k in free.path[row]), first_steps) > most[row]
        path = tuple(int(k) for k in found.path[row])
        assert worn(p, row, path, first_steps) <= most[row]
        paths = [path for path in every_path(p) if worn(p, row, path, first_steps) <= most[row]]
        best = max(worth(p, row, other) for other in paths)
        assert worth(p, row, path) == pytest.approx(best, abs=1e-9)
        assert found.value_usd[row] == pytest.approx(best, abs=1e-9)
        if over and p.held_steps[row] == 0:
            for k in range(p.stops.shape[1]):
                own = max((worth(p, row, path) for path in paths if path[0] == k), default=-np.inf)
                assert found.action_usd[row, k] == pytest.approx(own, abs=1e-9)


def test_more_candidates_never_earn_less() -> None:
    for seed in range(20):
        p = prospect(seed, miners=6, width=6, steps=10)
        fewer = replace(p, allowed=p.allowed & (np.random.default_rng(seed).random(p.allowed.shape) < 0.6))
        assert (look_ahead(p).value_usd >= look_ahead(fewer).value_usd - 1e-9).all()


def test_prices_in_another_currency_give_the_same_paths() -> None:
    p = prospect(7, miners=20, steps=24)
    other = replace(
        p,
        hashprice_usd_per_ths_day=7.3 * p.hashprice_usd_per_ths_day,
        price_usd_per_kwh=7.3 * p.price_usd_per_kwh,
        restart_usd=7.3 * p.restart_usd,
    )
    one, two = look_ahead(p), look_ahead(other)
    assert (one.path == two.path).all()
    assert two.value_usd == pytest.approx(7.3 * one.value_usd)


def test_no_miner_is_no_error() -> None:
    p = prospect(1, miners=0)
    found: Outlook = look_ahead_within(p, np.zeros(0, dtype=np.int64), 3)
    assert found.path.shape == (0, p.steps)


def test_a_change_without_a_restart_costs_nothing_of_the_budget() -> None:
    price = np.where(np.arange(12) % 4 < 2, 0.02, 0.11)
    p = replace(prospect(5, miners=1, steps=12), held_steps=np.zeros(1, dtype=np.int64))
    p = replace(p, price_usd_per_kwh=price, allowed=np.ones_like(p.stops), loss_h=np.zeros(p.stops.shape))
    p = replace(p, hashprice_usd_per_ths_day=np.full(12, 0.05), current=np.array([1]), stops=p.stops & False)
    free = look_ahead_within(
        replace(p, wears=np.zeros(p.stops.shape, dtype=np.bool_)), np.zeros(1, dtype=np.int64), 12
    )
    bound = look_ahead_within(p, np.zeros(1, dtype=np.int64), 12)
    assert free.changes[0] > 0 == bound.changes[0]

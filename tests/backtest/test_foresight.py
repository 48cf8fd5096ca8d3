"""The oracle: against every possible path, against the agent's own planner, and against every policy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.planner.paths.horizon import Prospect, look_ahead
from simulator.backtest.foresight import best_course, best_fixed_on_off, course_of, oracle_path
from simulator.backtest.ledger import account, go
from simulator.backtest.policies import SIMPLE
from simulator.backtest.scene import Scene
from tests.backtest.making import drawn, scene


def earned(made: Scene, path: np.ndarray) -> float:
    return float(account(made, path).profit.sum())


def lawful(made: Scene, path: np.ndarray) -> bool:
    return sum(account(made, path).outside_h.values()) == 0.0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 2), st.integers(0, 2))
def test_no_lawful_path_earns_more(seed: int, hold: int, budget: int) -> None:
    made = drawn(seed, units=1, steps=5, hold=hold, budget=budget)
    best = earned(made, oracle_path(made))
    assert lawful(made, oracle_path(made))
    every = (np.array([path]) for path in itertools.product(range(4), repeat=5))
    most = max(earned(made, path) for path in every if lawful(made, path))
    assert best == pytest.approx(most, abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_no_policy_beats_the_oracle(seed: int, hold: int) -> None:
    made = drawn(seed, units=4, steps=72, hold=hold)
    best = account(made, oracle_path(made)).unit_profit
    for make in SIMPLE.values():
        run = go(made, make())
        books = account(made, run.path)
        assert (books.unit_profit <= best + 1e-9).all(), make.__name__
        assert sum(books.outside_h.values()) == 0.0, make.__name__


@pytest.mark.parametrize("hold", [1, 3])
def test_with_budget_to_spare_it_agrees_with_the_planner(hold: int) -> None:
    made = drawn(7, units=4, steps=48, hold=hold, budget=24)
    candidates, grid = made.farm.candidates, made.grid
    found = look_ahead(
        Prospect(
            hashrate_ths=made.farm.hashrate_ths,
            power_w=made.farm.power_w,
            allowed=made.enterable,
            stops=made.stops,
            loss_h=candidates.loss_h,
            wake_loss_h=candidates.wake_loss_h,
            current=made.farm.start,
            held_steps=np.zeros(4, dtype=np.int64),
            step_h=1.0,
            hashprice_usd_per_ths_day=grid.net_hashprice,
            price_usd_per_kwh=grid.cost_usd_per_kwh,
            hold_steps=hold,
            restart_usd=np.zeros(4),
            mix=made.places,
            may_change=grid.price_known,
            wears=made.wears,
        )
    )
    path, value = best_course(course_of(made, np.arange(4)))
    assert value == pytest.approx(found.value_usd, abs=1e-9)
    assert account(made, path).unit_profit == pytest.approx(value, abs=1e-9)


def test_best_fixed_with_stops_is_the_best_of_all_single_settings() -> None:
    for seed in range(6):
        made = drawn(seed, units=3, steps=48)
        found = account(made, best_fixed_on_off(made)).unit_profit
        for unit in range(3):
            most = -np.inf
            for fixed in range(1, 4):
                allowed = made.enterable[unit : unit + 1].copy()
                allowed[:] = False
                allowed[0, [0, fixed]] = True
                course = course_of(made, np.array([unit]))
                narrow = type(course)(
                    **{name: getattr(course, name) for name in course.__slots__} | {"enterable": allowed}
                )
                most = max(most, float(best_course(narrow)[1][0]))
            assert found[unit] == pytest.approx(most, abs=1e-9)


def test_it_stays_through_a_dear_hour_that_a_restart_would_not_pay_for() -> None:
    # Off for an hour at 0.36 USD/kWh saves 0.08 USD; waking loses 0.25 USD.
    assert oracle_path(scene([0.1, 0.36, 0.1, 0.1])).tolist() == [[2, 2, 2, 2]]
    assert oracle_path(scene([0.1, 0.5, 0.1, 0.1])).tolist() == [[2, 0, 2, 2]]


def test_more_budget_never_earns_less() -> None:
    made = [drawn(5, units=4, steps=96, budget=budget) for budget in (0, 1, 2, 4)]
    money = [earned(one, oracle_path(one)) for one in made]
    assert money == sorted(money)

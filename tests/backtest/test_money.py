"""The books of a few hours and two miners, reckoned by hand."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.backtest.foresight import best_fixed_on_off, oracle_path
from simulator.backtest.ledger import account, go
from simulator.backtest.policies import AlwaysNominal, BestFixed, HourlyArgmax, OnOffFleet, OnOffUnit, TwoMode
from tests.backtest.making import scene

# 100 TH/s at 0.24 USD/TH/day earn 1.00 USD an hour; 3 kW break even at 0.333 USD/kWh. At 60 TH/s it is
# 0.60 USD and 1.6 kW, so that nominal is the better of the two below 0.40 / 1.4 = 0.2857 USD/kWh.


def test_a_unit_left_alone_earns_revenue_less_electricity() -> None:
    made = scene([0.1, 0.2])
    books = account(made, np.array([[2, 2]]))
    assert books.revenue.tolist() == pytest.approx([1.0, 1.0])
    assert books.energy_kwh.tolist() == pytest.approx([3.0, 3.0])
    assert books.profit.tolist() == pytest.approx([1.0 - 0.3, 1.0 - 0.6])
    assert books.coins_btc.sum() == pytest.approx(2.0 / 20000.0)
    assert books.restarts.tolist() == [0]
    assert books.changes.tolist() == [0]


def test_a_restart_loses_hashing_at_the_new_rate_and_draws_power_all_the_same() -> None:
    books = account(scene([0.1, 0.1], restart_h=0.25), np.array([[2, 1]]))
    assert books.profit[1] == pytest.approx(0.75 * 0.60 - 0.16)
    assert books.restarts.tolist() == [1]


def test_a_stop_costs_nothing_and_waking_is_the_restart() -> None:
    books = account(scene([0.1, 0.1, 0.1]), np.array([[2, 0, 2]]))
    assert books.profit.tolist() == pytest.approx([0.7, 0.0, 0.75 - 0.3])
    assert books.restarts.tolist() == [1]
    assert books.changes.tolist() == [2]


def test_a_setting_without_restart_costs_nothing_to_enter() -> None:
    books = account(scene([0.1, 0.1], soft=[[True, True, True]]), np.array([[2, 1]]))
    assert books.profit[1] == pytest.approx(0.60 - 0.16)
    assert books.restarts.tolist() == [0]


def test_a_restart_of_two_steps_is_lost_when_it_happens() -> None:
    made = scene([0.1, 0.1, 0.1], step_s=300, restart_h=1.0 / 6.0)
    books = account(made, np.array([[0, 2, 2]]))
    assert books.revenue.sum() == pytest.approx((2 * 300 - 600) / 3600)
    assert books.energy_kwh.sum() == pytest.approx(2 * 0.25)


def test_two_miners_in_a_spike() -> None:
    """The second has 30 W while stopped and half the rate for half the power."""
    made = scene(
        [0.1, 5.0, 0.1],
        rate=[[0.0, 60.0, 100.0], [0.0, 30.0, 50.0]],
        power=[[0.0, 1600.0, 3000.0], [30.0, 800.0, 1500.0]],
    )
    run = go(made, OnOffUnit())
    assert run.path.tolist() == [[2, 0, 2], [2, 0, 2]]
    books = account(made, run.path)
    assert books.profit.tolist() == pytest.approx([0.7 + 0.35, -0.03 * 5.0, 0.45 + 0.375 - 0.15])
    assert account(made, go(made, AlwaysNominal()).path).profit[1] == pytest.approx(1.5 - 22.5)
    assert books.unit_profit.tolist() == pytest.approx([0.7 + 0.45, 0.35 - 0.15 + 0.225])


def test_negative_prices_pay_for_drawing_power() -> None:
    books = account(scene([-0.05]), np.array([[2]]))
    assert books.profit[0] == pytest.approx(1.0 + 0.15)
    made = scene([-0.9], hashprice=0.0)
    assert go(made, HourlyArgmax()).path.tolist() == [[2]]


def test_power_follows_the_temperature() -> None:
    books = account(scene([0.1, 0.1, 0.1], outside_c=[0.0, 0.5, 1.0]), np.array([[2, 2, 2]]))
    assert books.energy_kwh.tolist() == pytest.approx([3.0, 3.15, 3.3])


def test_a_missing_hour_is_billed_and_nobody_moves_in_it() -> None:
    made = scene([0.1, 0.5, 0.5], known=[True, False, True])
    run = go(made, OnOffUnit())
    assert run.path.tolist() == [[2, 2, 0]]
    assert run.refused == {"unknown price": 1}
    assert account(made, run.path).profit.tolist() == pytest.approx([0.7, 1.0 - 1.5, 0.0])


def test_the_wear_budget_of_a_day_is_kept_and_begins_anew_at_midnight() -> None:
    price = [0.1, 0.5] * 13
    made = scene(price, budget=2)
    run = go(made, OnOffUnit())
    books = account(made, run.path)
    # Woken at hours 2 and 4, stopped from hour 5 to the end of the day, woken at hour 24.
    assert run.path[0].tolist() == [2, 0, 2, 0, 2] + [0] * 19 + [2, 0]
    assert books.restarts.tolist() == [3]
    assert books.outside_h["restarts"] == 0.0


def test_a_setting_is_held() -> None:
    made = scene([0.5, 0.1, 0.1, 0.1], hold=3)
    run = go(made, OnOffUnit())
    assert run.path.tolist() == [[0, 0, 0, 2]]
    assert run.refused == {"hold": 2}


def test_the_books_find_what_no_gate_would_let_through() -> None:
    made = scene([0.1] * 4, budget=1, hold=2, known=[True, True, False, True])
    outside = account(made, np.array([[1, 2, 0, 2]])).outside_h
    assert outside["hold"] == 3.0
    assert outside["unknown price"] == 1.0
    # Two restarts by hour 1 and three by hour 3: over the budget from hour 1 on.
    assert outside["restarts"] == 3.0
    assert outside["chip temperature"] == 0.0
    assert outside["bounds"] == 0.0


def test_a_hold_does_not_keep_a_unit_that_is_too_hot() -> None:
    made = scene([0.1] * 4, budget=1, hold=2, chip_c=95.0)
    outside = account(made, np.array([[1, 0, 0, 2]])).outside_h
    assert outside["chip temperature"] == 2.0
    assert outside["hold"] == 0.0


def test_hindsight_keeps_to_the_limit_of_chip_temperature() -> None:
    made = scene([0.05] * 6, chip_c=95.0)
    for path in (oracle_path(made), best_fixed_on_off(made)):
        assert account(made, path).outside_h["chip temperature"] == 0.0


def test_best_fixed_is_the_best_single_setting() -> None:
    dear = scene([0.3] * 24)
    run = go(dear, BestFixed())
    assert set(run.path[0]) == {1}
    assert account(dear, run.path).profit.sum() == pytest.approx(24 * (0.6 - 0.48) - 0.25 * 0.6)
    assert set(go(scene([0.2] * 24), BestFixed()).path[0]) == {2}
    assert set(go(scene([0.9] * 24), BestFixed()).path[0]) == {0}


def test_the_fleet_switches_at_its_average_break_even() -> None:
    # 33 J/TH at the warmer end of the grid: 0.303 USD/kWh.
    made = scene(
        [0.31, 0.30],
        rate=[[0.0, 60.0, 100.0], [0.0, 60.0, 80.0]],
        power=[[0.0, 1600.0, 3000.0], [0.0, 1600.0, 2400.0]],
    )
    assert go(made, OnOffFleet()).path.tolist() == [[0, 2], [0, 2]]


def test_two_modes_switch_at_the_best_single_price() -> None:
    made = scene([0.1, 0.32, 0.32, 0.32, 0.32, 0.1], soft=[[True] * 3])
    assert go(made, TwoMode()).path.tolist() == [[2, 1, 1, 1, 1, 2]]

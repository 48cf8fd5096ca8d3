"""Plans over odd prices, with the money worked out by hand.

One miner: 100 TH/s at 3,000 W, or 80 TH/s at 2,000 W, or stopped at 30 W. At 0.048 USD/TH/s/day it earns
0.2, 0.16 or 0 USD an hour; an hour's energy costs 3, 2 or 0.03 times the price in USD/kWh. Waking takes a
quarter of an hour of the new rate, other changes none.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agent.models.inference import Curves
from agent.planner.candidates import Candidates
from agent.planner.decide import decide
from agent.planner.fleet import Fleet
from agent.planner.margins import Horizon
from agent.planner.plan import Plan
from agent.planner.power.limits import Limits
from agent.setting import Knob, Setting

HASHPRICE = 0.048
STOP, LOW, FULL = 0, 1, 2
LIMITS = Limits(cap_w=float("inf"), cap_z=1.28, minimum_gain_usd_per_day=0.0)


def horizon(*price: float) -> Horizon:
    return Horizon(1.0, np.full(len(price), HASHPRICE), np.array(price, dtype=np.float64))


def fleet(prices: Horizon, current: int = FULL, spread: float = 0.0) -> Fleet:
    """The miner of the module's words; `spread` is the relative half width of rate and power."""
    rate = np.array([[0.0, 80.0, 100.0]])
    power = np.array([[30.0, 2000.0, 3000.0]])
    hashprice, price = prices.known().means()

    def around(middle: np.ndarray, half: np.ndarray) -> np.ndarray:
        return np.stack([middle - half, middle, middle + half], axis=2)

    profit = rate * hashprice - 0.024 * power * price
    half = spread * rate * hashprice
    stops = np.array([[True, False, False]])
    table = Candidates(
        settings=(tuple(Setting(Knob.POWER_PERCENT, v) for v in (0.0, 67.0, 100.0)),),
        shares=np.array([[0.0, 0.67, 1.0]]),
        stops=stops,
        loss_h=np.zeros((1, 3)),
        wake_loss_h=np.array([[0.0, 0.25, 0.25]]),
        settle_s=np.zeros((1, 3)),
        restarts=np.array([[False, current == STOP, current == STOP]]),
        wears=np.zeros((1, 3), dtype=np.bool_),
        permitted=np.ones((1, 3), dtype=np.bool_),
        current=np.array([current]),
        nominal=np.array([FULL]),
    )
    return Fleet(
        candidates=table,
        curves=Curves(
            around(rate, spread * rate),
            around(power, spread * power * ~stops),
            around(rate * 0 + 60.0, rate * 0.0),
            around(profit, half),
        ),
        priced_at=(hashprice, price),
        chip_max_c=np.array([100.0]),
        present_power_w=power[:, current],
        rated_power_w=np.array([3000.0]),
        held_back=(None,),
        restarts_left=np.array([10]),
        held_h=np.zeros(1),
    )


def planned(prices: Horizon, current: int = FULL, limits: Limits = LIMITS, spread: float = 0.0) -> Plan:
    return decide(fleet(prices, current, spread), prices, limits)


def test_steady_prices_decide_by_the_marginal_watt() -> None:
    # 0.04 USD/h more for 1 kW more: full pays below 0.04 USD/kWh; low below 0.16 / 1.97 = 0.0812.
    assert planned(horizon(*[0.039] * 24)).path.tolist() == [[FULL] * 24]
    assert planned(horizon(*[0.041] * 24)).path.tolist() == [[LOW] * 24]
    assert planned(horizon(*[0.080] * 24)).path.tolist() == [[LOW] * 24]
    assert planned(horizon(*[0.082] * 24)).path.tolist() == [[STOP] * 24]


def test_the_gain_of_turning_down_is_what_the_last_kilowatt_costs_too_much() -> None:
    plan = planned(horizon(*[0.05] * 24))
    # 1 kW x 0.05 - 0.04 = 0.01 USD an hour.
    assert plan.lower_usd_per_day[0, LOW] == pytest.approx(0.24)
    # What is told may be off by 2 % of the slope: of 0.96 USD/day less earned and of 1.20 less paid.
    half = 1.2815515655446004 * 0.02 * np.hypot(0.96, 1.2)
    assert plan.gain[0] == pytest.approx([0.24 - half, 0.24, 0.24 + half])
    assert plan.lasts_h[0] == 24.0
    assert plan.confidence[0] > 0.999


def test_a_spike_is_worth_a_stop_only_above_what_the_restart_loses() -> None:
    # A stop saves (3 - 0.03) x price - 0.2 in that hour, LOW left out, and loses a quarter of 0.2 on the way
    # back to full. From LOW (the better one at such prices): 1.97 x price - 0.16, against the same 0.05.
    calm = [0.02] * 6
    # Low in the spike loses nothing by changing: 2 p - 0.16 is its cost of not stopping. 0.05 breaks even
    # at p = 0.21 / 1.97 = 0.1066.
    assert planned(horizon(0.105, *calm)).path[0, 0] == LOW
    assert planned(horizon(0.108, *calm)).path[0, 0] == STOP
    assert planned(horizon(0.108, *calm)).path[0, 1:].tolist() == [FULL] * 6


def test_a_spike_to_come_does_not_stop_a_miner_now() -> None:
    plan = planned(horizon(0.02, 0.02, 5.0, 0.02, 0.02))
    assert plan.path[0].tolist() == [FULL, FULL, STOP, FULL, FULL]
    assert plan.chosen[0] == FULL
    assert plan.lasts_h[0] == 2.0


def test_a_hold_keeps_a_miner_off_a_short_spike() -> None:
    # Stopped for four hours: saves 1.97 x 0.108 - 0.16 = 0.05 in the spike, gives up 0.2 - 0.06 three times.
    calm = [0.02] * 6
    plan = planned(horizon(0.108, *calm), limits=replace(LIMITS, hold_h=4.0))
    assert STOP not in plan.path[0]


def test_a_negative_price_is_used_to_the_full_and_wakes_the_stopped() -> None:
    prices = horizon(*[0.20] * 3, *[-0.05] * 3, *[0.20] * 3)
    plan = planned(prices, current=STOP)
    assert plan.path[0].tolist() == [STOP] * 3 + [FULL] * 3 + [STOP] * 3
    paid_to_run = planned(horizon(*[-0.05] * 12), current=STOP)
    # 0.2 + 3 x 0.05 an hour, less what the stopped draw is paid, less a quarter of 0.2 once in twelve hours.
    assert paid_to_run.gain[0, 1] == pytest.approx(24.0 * (0.2 + 2.97 * 0.05) - 2.0 * 0.05)


def test_hours_after_one_without_a_price_are_not_planned() -> None:
    plan = planned(horizon(0.05, 0.05, float("nan"), 9.0, 9.0))
    assert plan.path.shape == (1, 2)
    assert plan.path[0].tolist() == [LOW, LOW]


def test_without_a_price_now_nobody_moves() -> None:
    plan = planned(horizon(float("nan"), 9.0, 9.0))
    assert plan.chosen[0] == FULL
    assert plan.gain[0].tolist() == [0.0, 0.0, 0.0]


def test_what_is_sure_moves_before_what_is_not() -> None:
    # At 0.085 USD/kWh a stop saves 1.97 x 0.085 - 0.16 = 0.0074 USD an hour over LOW; 1 % of the rate
    # and power is more than that.
    prices = horizon(*[0.085] * 24)
    assert planned(prices, current=LOW).chosen[0] == STOP
    assert planned(prices, current=LOW, spread=0.05).chosen[0] == LOW


def test_who_may_never_be_woken_is_not_stopped_for_money() -> None:
    dear = horizon(*[0.30] * 24)
    never = replace(fleet(dear), restarts_left=np.array([0]), restarts_a_day=np.array([0]))
    used_up = replace(never, restarts_a_day=np.array([2]))
    assert decide(used_up, dear, LIMITS).path[0, 0] == STOP
    plan = decide(never, dear, LIMITS)
    assert plan.path.tolist() == [[LOW] * 24]
    assert not plan.possible[0, STOP]
    # A cap and heat go before wear.
    assert decide(never, dear, replace(LIMITS, cap_w=100.0)).chosen.tolist() == [STOP]
    chips = never.curves.chip_temp_c.copy()
    chips[0, STOP] = 20.0
    hot = replace(never, chip_max_c=np.array([50.0]), curves=replace(never.curves, chip_temp_c=chips))
    assert decide(hot, dear, LIMITS).chosen.tolist() == [STOP]


def test_the_better_of_two_paths_within_the_wear_budget() -> None:
    cheap, dear = [0.02] * 4, [0.30] * 4
    prices = horizon(*cheap, *dear, *cheap, *dear, *cheap, *dear)
    free = planned(prices)
    wakes = ((free.path[0, 1:] != STOP) & (free.path[0, :-1] == STOP)).sum()
    assert wakes == 2
    one = decide(replace(fleet(prices), restarts_left=np.array([1])), prices, LIMITS)
    wakes = ((one.path[0, 1:] != STOP) & (one.path[0, :-1] == STOP)).sum()
    assert wakes == 1


@pytest.mark.parametrize("unit", [0.01, 7.0, 150.0])
def test_another_currency_gives_the_same_plan(unit: float) -> None:
    rng = np.random.default_rng(4)
    price = rng.uniform(-0.02, 0.15, 48)
    here = Horizon(1.0, np.full(48, HASHPRICE), price)
    there = Horizon(1.0, unit * here.hashprice_usd_per_ths_day, unit * price)
    first, second = planned(here, spread=0.01), planned(there, spread=0.01)
    assert np.array_equal(first.path, second.path)
    assert second.gain == pytest.approx(unit * first.gain)

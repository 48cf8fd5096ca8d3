"""The agent's planner as a policy: how near it comes to the oracle, seeing nothing of the future."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulator.backtest.beliefs import ConstantEfficiency, TrueCurves
from simulator.backtest.foresee import ForecastPrices, TruePrices
from simulator.backtest.foresight import oracle_path
from simulator.backtest.ledger import account, go
from simulator.backtest.planned import Planned, PlanOptions
from simulator.backtest.policies import OnOffUnit
from simulator.backtest.scene import Scene
from tests.backtest.making import drawn, scene

SOFT = [[True, True, True]]
SURE = PlanOptions(minimum_gain_usd_per_day=0.0)


def waves(days: int, seed: int = 1) -> list[float]:
    rng = np.random.default_rng(seed)
    hours = np.arange(24 * days)
    wave = 0.27 + 0.14 * np.cos(2.0 * np.pi * (hours % 24 - 18) / 24.0) + rng.normal(0.0, 0.03, len(hours))
    return [float(price) for price in wave]


def profit(made: Scene, policy: Planned | OnOffUnit) -> float:
    books = account(made, go(made, policy).path)
    assert sum(books.outside_h.values()) == 0.0
    return float(books.profit.sum())


def test_with_everything_known_it_earns_what_the_oracle_does() -> None:
    made = scene(waves(6), hold=2)
    best = account(made, oracle_path(made)).profit.sum()
    mine = profit(made, Planned("x", TrueCurves, TruePrices, SURE))
    assert best * 0.999 <= mine <= best + 1e-9


def test_one_efficiency_for_all_settings_loses_money() -> None:
    made = scene(waves(6), hold=2, soft=SOFT)
    true = profit(made, Planned("x", TrueCurves, TruePrices, SURE))
    bent = profit(made, Planned("x", lambda s: ConstantEfficiency(s, TrueCurves(s)), TruePrices, SURE))
    assert bent < 0.98 * true


def test_modulating_beats_switching_also_in_real_time() -> None:
    made = scene(waves(10), known_until=list(range(1, 241)), hold=2, soft=SOFT)
    mine = profit(made, Planned("x", TrueCurves, ForecastPrices, SURE))
    assert mine > profit(made, OnOffUnit())


@pytest.mark.parametrize("ahead", [1, 30])
def test_what_is_not_known_yet_changes_nothing(ahead: int) -> None:
    price, turn = waves(5), 60
    other = price[:turn] + [5.0 - p for p in price[turn:]]
    known = [min(t + ahead, 120) for t in range(120)]
    paths = []
    for prices in (price, other):
        made = scene(prices, known_until=known)
        paths.append(go(made, Planned("x", TrueCurves, ForecastPrices, SURE)).path)
    same = turn - ahead + 1
    assert (paths[0][:, :same] == paths[1][:, :same]).all()
    assert (paths[0] != paths[1]).any()


def test_the_price_of_a_missing_hour_is_not_known_and_moves_nobody() -> None:
    price = waves(3)
    known = [True] * 72
    known[40] = False
    made = scene(price, known=known, known_until=list(range(1, 73)))
    spiked = replace(
        made.grid,
        price_usd_per_kwh=np.where(np.arange(72) == 40, 9.0, made.grid.price_usd_per_kwh),
    )
    path = go(Scene(made.farm, spiked, made.rules), Planned("x", TrueCurves, ForecastPrices, SURE)).path
    assert path[0, 40] == path[0, 39]


def test_a_price_in_another_currency_gives_the_same_plan() -> None:
    made = scene(waves(4), hold=2)
    dear = replace(
        made.grid,
        price_usd_per_kwh=100.0 * made.grid.price_usd_per_kwh,
        hashprice_usd_per_ths_day=100.0 * made.grid.hashprice_usd_per_ths_day,
    )
    one = go(made, Planned("x", TrueCurves, TruePrices, SURE)).path
    other = go(Scene(made.farm, dear, made.rules), Planned("x", TrueCurves, TruePrices, SURE)).path
    assert (one == other).all()


def test_the_wear_budget_is_kept() -> None:
    made = drawn(3, units=6, steps=96, hold=1, budget=1)
    books = account(made, go(made, Planned("x", TrueCurves, TruePrices, SURE)).path)
    assert books.outside_h["restarts"] == 0.0
    assert (books.restarts <= 4).all()


def test_what_would_be_too_hot_is_not_entered() -> None:
    made = scene([0.05] * 24, chip_c=95.0)
    run = go(made, Planned("x", TrueCurves, TruePrices, SURE))
    assert account(made, run.path).outside_h["chip temperature"] == 0.0


@pytest.mark.parametrize("seed", range(4))
def test_no_plan_beats_the_oracle(seed: int) -> None:
    made = drawn(seed, units=5, steps=72, hold=2)
    best = account(made, oracle_path(made)).unit_profit
    for believe in (TrueCurves, lambda s: ConstantEfficiency(s, TrueCurves(s))):
        for foresee in (TruePrices, ForecastPrices):
            run = go(made, Planned("x", believe, foresee, SURE))
            assert (account(made, run.path).unit_profit <= best + 1e-9).all()

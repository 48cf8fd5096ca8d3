"""Prices that are forecasts: in the interval and confidence of a gain, and in what may move."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agent.planner.decide import decide
from agent.planner.margins import Horizon
from agent.planner.preview import what_if
from agent.planner.snapshot import Snapshot, pack, unpack
from tests.planner.test_decide import HASHPRICE, NO_CAP, flat, fleet, table

# At this price some of the fleet stop and some turn down.
PRICE, HOURS = 0.09, 24


def doubted(sigma: float, first: int, hours: int = HOURS) -> Horizon:
    """Known until `first`, then with a standard deviation `sigma` in USD/kWh."""
    return replace(flat(PRICE, hours), price_sigma_usd_per_kwh=np.where(np.arange(hours) < first, 0.0, sigma))


def test_the_mean_of_a_horizon_is_less_doubtful_than_its_hours() -> None:
    ahead = Horizon(1.0, np.full(2, 0.05), np.full(2, 0.1), np.array([0.0, 0.002]), np.array([0.01, 0.02]))
    hashprice, price = ahead.sigmas_until(np.array([1, 2]))
    assert hashprice == pytest.approx([0.0, 0.001])
    # 0.01^2 + 0.02^2 + 2 * 0.01 * 0.02 * exp(-1/6), its root over two hours.
    assert price == pytest.approx([0.01, np.sqrt(0.0005 + 0.0004 * np.exp(-1.0 / 6.0)) / 2.0])


def test_doubt_about_prices_widens_a_gain_and_lowers_its_confidence() -> None:
    given = fleet(table(), PRICE)
    sure, unsure = decide(given, doubted(0.0, 0), NO_CAP), decide(given, doubted(0.03, 4), NO_CAP)
    moved = np.flatnonzero(sure.chosen != given.candidates.current)
    assert len(moved) and (sure.chosen == unsure.chosen).all()
    assert (unsure.gain[moved, 1] == sure.gain[moved, 1]).all()
    assert (unsure.gain[moved, 0] < sure.gain[moved, 0]).all()
    assert (unsure.gain[moved, 2] > sure.gain[moved, 2]).all()
    assert (unsure.confidence[moved] < sure.confidence[moved]).all()
    # Of one that stops the interval grows by its whole draw: 1.2816 standard deviations of the mean price.
    row = next(int(i) for i in moved if given.candidates.stops[i, sure.chosen[i]])
    _, spread = doubted(0.03, 4).sigmas_until(np.array([HOURS]))
    less_w = given.curves.power_w[row, given.candidates.current[row], 1] - 30.0
    more = 1.2815515655446004 * 0.024 * less_w * spread[0]
    below = np.hypot(sure.gain[row, 1] - sure.gain[row, 0], more)
    assert unsure.gain[row, 1] - unsure.gain[row, 0] == pytest.approx(below)


def test_only_doubt_within_the_hold_keeps_a_unit_from_moving() -> None:
    given, limits = fleet(table(), PRICE), replace(NO_CAP, hold_h=4.0)
    free = decide(given, doubted(0.0, 0), limits)
    assert (free.chosen != given.candidates.current).any()
    later = decide(given, doubted(2.0, 4), limits)
    assert (later.chosen == free.chosen).all()
    at_once = decide(given, doubted(20.0, 1), limits)
    assert (at_once.chosen == given.candidates.current).all()


def test_a_stored_round_keeps_the_doubt_and_a_told_price_has_none() -> None:
    ahead = replace(doubted(0.03, 4), hashprice_sigma_usd_per_ths_day=np.full(HOURS, 0.001))
    given = fleet(table(), PRICE)
    now = np.datetime64("2026-01-01T00:00:00").astype("datetime64[s]").item()
    ids = tuple(f"unit-{i}" for i in range(len(given.held_back)))
    shot = unpack(pack(Snapshot(now, ids, given, ahead, NO_CAP, ("a", "b"), "curves")))
    assert (shot.horizon.price_sigma_usd_per_kwh == ahead.price_sigma_usd_per_kwh).all()
    assert (shot.horizon.hashprice_sigma_usd_per_ths_day == 0.001).all()
    assert not what_if(shot, ["price=0.09"]).horizon.price_sigma_usd_per_kwh.any()
    assert what_if(shot, ["price*2"]).horizon.price_sigma_usd_per_kwh[-1] == pytest.approx(0.06)
    assert what_if(shot, ["price+0.01"]).horizon.price_sigma_usd_per_kwh[-1] == pytest.approx(0.03)
    told = what_if(shot, ["hashprice=50"]).horizon
    assert told.certain is False and not told.hashprice_sigma_usd_per_ths_day.any()
    assert pytest.approx(told.hashprice_usd_per_ths_day[0]) == HASHPRICE

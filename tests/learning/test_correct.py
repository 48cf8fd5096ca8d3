"""Corrected curves: what they keep of the predictor's, and what always holds of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.learning.correct import correct
from agent.learning.state import believe, fresh
from agent.models.inference import Curves, Economics
from tests.learning.feed import Feed, fleet_curve

SHARES = np.array([0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, np.nan])
MONEY = Economics(0.05, 0.08, 1.1, 0.02, 4.0)


def table(count: int) -> tuple[np.ndarray, Curves]:
    """A stop first, no candidate last."""
    shares = np.tile(SHARES, (count, 1))
    curves = fleet_curve(shares)
    curves.hashrate_ths[:, 0] = 0.0
    curves.power_w[:, 0] = 60.0
    hashprice, price, _ = MONEY.columns(1)
    curves.profit_usd_per_day[...] = (
        hashprice * curves.hashrate_ths - price * 0.024 * curves.power_w[..., ::-1]
    )
    return shares, curves


def test_a_new_unit_has_the_curve_of_the_fleet_and_its_interval() -> None:
    shares, curves = table(3)
    moved = correct(fresh(3), shares, curves, np.full(3, 31.0), MONEY, np.zeros(shares.shape))
    for name in ("hashrate_ths", "power_w", "chip_temp_c", "profit_usd_per_day"):
        np.testing.assert_allclose(getattr(moved, name), getattr(curves, name), rtol=1e-12)


def test_stops_and_missing_candidates_stay() -> None:
    shares, curves = table(1)
    state = Feed(1).run(48, rate=0.9, power=1.1).state
    moved = correct(state, shares, curves)
    assert moved.hashrate_ths[0, 0].tolist() == [0.0, 0.0, 0.0]
    assert moved.power_w[0, 0].tolist() == [60.0, 60.0, 60.0]
    assert np.isnan(moved.power_w[0, -1]).all()


def test_profit_follows_hashrate_and_power() -> None:
    shares, curves = table(1)
    lost_h = np.where(shares == 1.0, 0.0, 0.2)
    state = Feed(1).run(48, rate=0.95, power=1.02).state
    moved = correct(state, shares, curves, None, MONEY, lost_h)
    at = 6
    more = 0.05 * 0.98 * (moved.hashrate_ths[0, at, 1] - curves.hashrate_ths[0, at, 1])
    less = 0.08 * 1.1 * 0.024 * (moved.power_w[0, at, 1] - curves.power_w[0, at, 1])
    expected = curves.profit_usd_per_day[0, at, 1] + more - less
    assert moved.profit_usd_per_day[0, at, 1] == pytest.approx(expected)
    # Of a candidate that costs 0.2 of 4 hours to go to, only the rest earns more or less.
    at = 4
    more = 0.05 * 0.98 * 0.95 * (moved.hashrate_ths[0, at, 1] - curves.hashrate_ths[0, at, 1])
    less = 0.08 * 1.1 * 0.024 * (moved.power_w[0, at, 1] - curves.power_w[0, at, 1])
    expected = curves.profit_usd_per_day[0, at, 1] + more - less
    assert moved.profit_usd_per_day[0, at, 1] == pytest.approx(expected)
    # A stop loses less on the way back, since the unit hashes less.
    assert moved.profit_usd_per_day[0, 0, 1] > curves.profit_usd_per_day[0, 0, 1]


def test_the_interval_of_profit_narrows_with_those_it_is_made_of() -> None:
    shares, curves = table(1)
    state = Feed(1).run(240).state
    moved = correct(state, shares, curves, None, MONEY, np.zeros(shares.shape))

    def width(found: Curves) -> float:
        return float(found.profit_usd_per_day[0, 6, 2] - found.profit_usd_per_day[0, 6, 0])

    assert width(moved) < 0.25 * width(curves)


def test_without_money_profit_is_unknown() -> None:
    shares, curves = table(1)
    assert np.isnan(correct(fresh(1), shares, curves).profit_usd_per_day).all()


def test_after_a_lasting_change_the_interval_is_wide_again() -> None:
    shares = np.full((1, 1), 0.7)
    feed = Feed(1)
    for _ in range(5):
        feed.run(24).run(24, share=0.7)
    calm = correct(feed.state, shares, fleet_curve(shares)).power_w[0, 0]
    feed.run(6, power=0.7)
    shaken = correct(feed.state, shares, fleet_curve(shares)).power_w[0, 0]
    assert shaken[2] / shaken[1] - 1.0 > 1.5 * (calm[2] / calm[1] - 1.0)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), wild=st.floats(0.01, 0.5))
def test_never_falls_as_the_setting_rises(seed: int, wild: float) -> None:
    """Whatever is believed, even slopes that would turn the curve over."""
    rng = np.random.default_rng(seed)
    shares, curves = table(5)
    state = fresh(5)
    state = replace(state, mean=wild * rng.standard_normal(state.mean.shape))
    moved = correct(state, shares, curves)
    for values in (moved.hashrate_ths[:, :-1], moved.power_w[:, :-1]):
        assert (np.diff(values, axis=1) >= 0.0).all()
        assert (np.diff(values, axis=2) >= 0.0).all()
        assert (values >= 0.0).all()


def test_one_unit_does_not_depend_on_the_others_of_a_batch() -> None:
    feed = Feed(3).run(48, rate=np.array([0.95, 1.0, 1.05]))
    shares, curves = table(3)
    whole = correct(feed.state, shares, curves)
    again = correct(believe(feed.state), shares, curves)
    np.testing.assert_array_equal(whole.hashrate_ths, again.hashrate_ths)

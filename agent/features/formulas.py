"""Formulas of features: each takes whole columns and gives one, and knows nothing of where they come from.

What they are called, their units and their ranges stand in `agent.features.table`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from agent.energy import KWH_PER_W_DAY
from agent.features.inputs import Inputs, ratio
from agent.features.windows import Floats

# Fans are taken to turn at this speed at most, unless the unit has shown more.
FAN_FULL_RPM = 6000.0
# Shares are found by this many hashes per unit of difficulty.
_HASHES_PER_DIFFICULTY = 2.0**32
# The middle of the last hour lies this much later than the middle of the last six.
CURVATURE_H = 2.5

Formula = Callable[[Inputs], Floats]


def now_of(name: str) -> Formula:
    """A column of the present reading."""
    return lambda x: x.now(name)


def per(top: str, bottom: str) -> Formula:
    """One present column per another; NaN where that is not above zero."""
    return lambda x: ratio(x.now(top), x.now(bottom))


def minus(left: str, right: str) -> Formula:
    """One present column less another."""
    return lambda x: x.now(left) - x.now(right)


def over_of(series: str, stat: str, window: str) -> Formula:
    """A moment of a series over a window."""
    return lambda x: x.over(series, stat, window)


def variance_of(x: Inputs, series: str, window: str) -> Floats:
    """Variance of a series over a window; NaN with fewer than two readings."""
    count = x.over(series, "count", window)
    return ratio(x.over(series, "m2", window), np.where(count >= 2.0, count, 0.0))


def std_of(series: str, window: str) -> Formula:
    """Standard deviation of a series over a window."""
    return lambda x: np.sqrt(variance_of(x, series, window))


def share_of(part: str, *whole: str) -> Formula:
    """Growth of one counter over 24 h as a share of the growth of several."""
    return lambda x: ratio(x.growth(part), sum((x.growth(name) for name in whole[1:]), x.growth(whole[0])))


def reject_since_start(x: Inputs) -> Floats:
    """Rejected shares of all since the process started."""
    rejected = x.now("shares_rejected")
    return ratio(rejected, x.now("shares_accepted") + rejected)


def revenue_usd_per_day(x: Inputs) -> Floats:
    """What the present rate earns at the hashprice of now, before pool fee."""
    return x.now("hashrate_ths") * x.market["hashprice_usd_per_ths_day"]


def energy_usd_per_day(x: Inputs) -> Floats:
    """What the present draw costs at the tariff of now, before PUE."""
    return x.now("draw_w") * KWH_PER_W_DAY * x.market["price_usd_per_kwh"]


def margin(x: Inputs) -> Floats:
    """Percent of revenue that is left after energy."""
    revenue = revenue_usd_per_day(x)
    return 100.0 * ratio(revenue - energy_usd_per_day(x), revenue)


def drift(x: Inputs) -> Floats:
    """Efficiency of the last day against the unit's own baseline of a week, - 1."""
    day = ratio(x.mean_of("power_ratio", "24h"), x.mean_of("hashrate_ratio", "24h"))
    week = ratio(x.mean_of("power_ratio", "7d"), x.mean_of("hashrate_ratio", "7d"))
    return ratio(day, week) - 1.0


def against_week(name: str, window: str) -> Formula:
    """Mean over a window against that over 7 d, - 1."""
    return lambda x: ratio(x.mean_of(name, window), x.mean_of(name, "7d")) - 1.0


def drift_now(x: Inputs) -> Floats:
    """Efficiency now against the unit's own baseline of a week, - 1."""
    present = ratio(x.now("power_ratio"), x.now("hashrate_ratio"))
    return ratio(present, ratio(x.mean_of("power_ratio", "7d"), x.mean_of("hashrate_ratio", "7d"))) - 1.0


def momentum_of(series: str) -> Formula:
    """Mean over 1 h against that over 24 h, - 1."""
    return lambda x: ratio(x.over(series, "mean", "1h"), x.over(series, "mean", "24h")) - 1.0


def curvature_of(series: str) -> Formula:
    """By how much the slope changed per hour, from 6 h to 1 h."""

    def formula(x: Inputs) -> Floats:
        return (x.over(series, "slope_per_h", "1h") - x.over(series, "slope_per_h", "6h")) / CURVATURE_H

    return formula


def volatility_of(series: str) -> Formula:
    """Standard deviation per mean over 24 h."""
    return lambda x: ratio(np.sqrt(variance_of(x, series, "24h")), x.over(series, "mean", "24h"))


def mean_efficiency(x: Inputs, window: str) -> Floats:
    """J/TH of the means over a window."""
    return ratio(x.over("power_w", "mean", window), x.over("hashrate_ths", "mean", window))


def fan_headroom(x: Inputs) -> Floats:
    """Share of the highest speed that is left."""
    full = np.fmax(-x.low_of("fan_slack_rpm", "7d"), FAN_FULL_RPM)
    return 1.0 - x.now("fan_rpm") / full


def pool_hashrate(x: Inputs) -> Floats:
    """TH/s that the accepted shares of 24 h were worth."""
    hashes = x.growth("shares_accepted") * x.mean_of("share_difficulty", "24h") * _HASHES_PER_DIFFICULTY
    return ratio(hashes, x.windows["growth_h"]) / 3.6e15


reject_rate = share_of("shares_rejected", "shares_accepted", "shares_rejected")


def earnings(x: Inputs) -> Floats:
    """USD of 24 h: what the pool counted, else what was hashed less rejects, at the hashprice of now."""
    rejected = reject_rate(x)
    reported = x.over("hashrate_ths", "mean", "24h") * (1.0 - np.nan_to_num(rejected))
    pool = pool_hashrate(x)
    paid = np.where(np.isnan(pool), reported, pool)
    return paid * x.market["hashprice_usd_per_ths_day"] * x.windows["growth_h"] / 24.0


def risk(x: Inputs) -> Floats:
    """Chance that any of the parts goes wrong, each taken for a chance of its own; unknown ones left out."""
    parts = (
        1.0 - ratio(x.now("boards_hashing"), x.now("boards_expected")),
        reject_rate(x) / 0.05,
        x.windows["restarts"] / 4.0,
        1.0 - (x.now("chip_max_c") - x.now("chip_temp_c")) / 10.0,
        volatility_of("hashrate_ths")(x) / 0.5,
    )
    well, known = np.ones(len(x.times_s)), np.zeros(len(x.times_s), dtype=np.bool_)
    for part in parts:
        told = np.isfinite(part)
        known |= told
        well *= np.where(told, 1.0 - np.clip(part, 0.0, 1.0), 1.0)
    return np.where(known, 1.0 - well, np.nan)


def market_of(name: str) -> Formula:
    """A column of the market."""
    return lambda x: x.market[name]


def turn(period_s: float, offset_s: float, wave: Callable[[Floats], Any]) -> Formula:
    """Sine or cosine of the place in a period."""

    def formula(x: Inputs) -> Floats:
        turns = (x.times_s + offset_s) / period_s
        turns -= np.floor(turns)
        turns *= 2.0 * math.pi
        return np.asarray(wave(turns), dtype=np.float64)

    return formula

"""The site power cap by a price on power: every miner pays the same per watt until the sum fits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# 1/80 of a cent per watt and day is far below what any decision turns on.
_ROUNDS = 60


@dataclass(frozen=True, slots=True)
class Allocation:
    """Which candidate each miner takes.

    Args:
        chosen: [N] column of the candidate, -1 where a miner has none.
        power_price_usd_per_w_day: 0 where the cap does not bind.
        upper_power_w: the sum that has to stay under the cap, at the stated confidence.
        feasible: False where even the least power of every miner exceeds the cap.
    """

    chosen: NDArray[np.int64]
    power_price_usd_per_w_day: float
    upper_power_w: float
    feasible: bool


def allocate(
    value_usd_per_day: Floats,
    power_w: Floats,
    power_sigma_w: Floats,
    *,
    cap_w: float,
    fixed_power_w: float,
    z: float,
) -> Allocation:
    """Maximise total value under the cap.

    Args:
        value_usd_per_day, power_w, power_sigma_w: [N,K]; NaN value marks a candidate that may not be taken.
        cap_w: infinity where there is none.
        fixed_power_w: power of everything that is not up for decision.
        z: standard deviations of the summed forecast error to keep free under the cap; errors of
            different miners are taken as independent.
    """
    allowed = np.isfinite(value_usd_per_day)
    none = ~allowed.any(axis=1)

    def take(price: float) -> tuple[NDArray[np.int64], float]:
        score = np.where(allowed, value_usd_per_day - price * np.where(allowed, power_w, 0.0), -np.inf)
        # Equal value: the lower power, so that a dead market never burns watts for nothing.
        best = score.max(axis=1, keepdims=True)
        tied = allowed & (score >= best - 1e-12)
        chosen = np.where(tied, power_w, np.inf).argmin(axis=1)
        chosen[none] = -1
        return chosen, _upper(chosen)

    def _upper(chosen: NDArray[np.int64]) -> float:
        rows = np.flatnonzero(chosen >= 0)
        mean = power_w[rows, chosen[rows]].sum()
        spread = float(np.sqrt((power_sigma_w[rows, chosen[rows]] ** 2).sum()))
        return float(mean + z * spread + fixed_power_w)

    chosen, upper = take(0.0)
    if upper <= cap_w:
        return Allocation(chosen, 0.0, upper, feasible=True)

    least = np.where(allowed, power_w, np.inf).argmin(axis=1)
    least[none] = -1
    if _upper(least) > cap_w:
        return Allocation(least, float("inf"), _upper(least), feasible=False)

    low, high = 0.0, _price_that_surely_fits(value_usd_per_day, power_w, allowed)
    fitting, fitting_upper = least, _upper(least)
    for _ in range(_ROUNDS):
        price = 0.5 * (low + high)
        chosen, upper = take(price)
        if upper <= cap_w:
            high, fitting, fitting_upper = price, chosen, upper
        else:
            low = price
    return Allocation(fitting, high, fitting_upper, feasible=True)


def _price_that_surely_fits(value: Floats, power: Floats, allowed: NDArray[np.bool_]) -> float:
    """No step between two candidates of one miner is worth more per watt than this."""
    spread = np.where(allowed, value, np.nan)
    gain = np.nanmax(spread, axis=1, initial=-np.inf) - np.nanmin(spread, axis=1, initial=np.inf)
    watts = np.sort(np.where(allowed, power, np.nan), axis=1)
    steps = np.diff(watts, axis=1)
    smallest = np.nanmin(np.where(steps > 1e-6, steps, np.nan), initial=1e6)
    return float(np.nanmax(np.where(np.isfinite(gain), gain, 0.0)) / smallest) + 1.0

"""What a change brings over staying, and its doubt: what must be sure before a move, and what is told."""

from __future__ import annotations

from dataclasses import dataclass
from math import erf, sqrt

import numpy as np
from numpy.typing import NDArray

from agent.planner.margins import Horizon, Margins, widened

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# An 80 % interval of a normal distribution is this many standard deviations wide.
WIDTH_80 = 2.5631
_DAY_H = 24.0


@dataclass(frozen=True, slots=True)
class Gains:
    """Gains of N miners with K candidates, q10, q50 and q90 in USD/day.

    Args:
        margins: money of every candidate.
        ahead: known or forecast prices.
        change_usd: [N,K] that entering each candidate costs now.
        here: [N] present candidate.
        hold_steps: for which a setting is kept once entered.
    """

    margins: Margins
    ahead: Horizon
    change_usd: Floats
    here: Ints
    hold_steps: int

    def sure(self, lasts: Ints) -> Floats:
        """[N,K,3] gain over `lasts` steps, with the doubt that has to be overcome before a miner moves.

        What prices turn out to be matters until the hold is over; then it is decided anew.
        """
        gain = self._paired(self._profit(lasts), lasts)
        if self.ahead.certain:
            return gain
        bound = np.clip(lasts, 1, self.hold_steps)
        half = self.margins.price_half(self.ahead, bound, self.here) * bound / np.maximum(lasts, 1)
        return widened(gain, half)

    def told(self, lasts: Ints) -> tuple[Floats, Floats]:
        """[N,K,3] each: profit over `lasts` steps, and the gain, with all that may come otherwise."""
        profit = self._profit(lasts)
        gain = widened(self._paired(profit, lasts), self.margins.slope_half(self.ahead, lasts, self.here))
        if self.ahead.certain:
            return profit, gain
        return (
            widened(profit, self.margins.price_half(self.ahead, lasts)),
            widened(gain, self.margins.price_half(self.ahead, lasts, self.here)),
        )

    def _profit(self, lasts: Ints) -> Floats:
        """[N,K,3] over the first `lasts` [N,K] steps, cost of the change taken off."""
        days = np.maximum(lasts, 1) * self.ahead.step_h / _DAY_H
        cost = (self.change_usd / days)[:, :, None]
        return np.asarray(self.margins.over(*self.ahead.means_until(lasts)) - cost)

    def _paired(self, profit: Floats, lasts: Ints) -> Floats:
        """Equal quantiles against each other: what is misjudged of a miner is so at all its settings."""
        staying = self.margins.over(*self.ahead.means_until(lasts), self.here)
        return np.sort(profit - staying, axis=2)


def confidence(gain: Floats) -> Floats:
    """[N] probability that gains [N,3] are above 0."""
    sigma = (gain[:, 2] - gain[:, 0]) / WIDTH_80
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(sigma > 0, gain[:, 1] / sigma, np.sign(gain[:, 1]) * 10.0)
    return np.array([0.5 * (1.0 + erf(value)) for value in (z / sqrt(2.0)).tolist()])

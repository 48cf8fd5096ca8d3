"""The truth that every policy is judged by: a farm over the steps of a market, and the limits it keeps to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from simulator.backtest.farm import BacktestFarm
from simulator.backtest.market import Grid

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_KW_PER_W = 0.001
_FINE_USD = 100.0


@dataclass(frozen=True, slots=True)
class Rules:
    """What a change costs and how often it may be.

    Args:
        restart_h: hours of hashing at the new rate that a restart loses; power is drawn all the same.
        hold_steps: for how many steps a setting is kept once entered, 1 or more.
        restarts_per_day: [N] restarts that a unit may have in a day (UTC). A stop and waking are one.
    """

    restart_h: float
    hold_steps: int
    restarts_per_day: Ints


@dataclass(frozen=True)
class Scene:
    """A farm, a market and the rules between them."""

    farm: BacktestFarm
    grid: Grid
    rules: Rules

    @property
    def count(self) -> int:
        """N."""
        return len(self.farm.names)

    @property
    def stops(self) -> Bools:
        """[N,K] candidates that hash nothing."""
        return self.farm.candidates.stops

    @cached_property
    def enterable(self) -> Bools:
        """[N,K] candidates inside the bounds."""
        return self.farm.candidates.permitted & self.farm.exists

    @cached_property
    def wears(self) -> Bools:
        """[N,K] candidates that cost a restart even when entered from a hashing setting."""
        return self.farm.candidates.wears & ~self.stops & self.farm.exists

    @cached_property
    def places(self) -> Floats:
        """[T] place of each step's temperature on the farm's grid."""
        return self.farm.places(self.grid.outside_c)

    @cached_property
    def _rates(self) -> Floats:
        return np.nan_to_num(self.farm.hashrate_ths)

    @cached_property
    def _kilowatts(self) -> Floats:
        return np.nan_to_num(self.farm.power_w) * _KW_PER_W

    def rate_ths(self, step: int) -> Floats:
        """[N,K] true hashrate; 0 where there is no candidate."""
        return _between(self._rates, float(self.places[step]))

    def power_kw(self, step: int) -> Floats:
        """[N,K] true draw; 0 where there is no candidate."""
        return _between(self._kilowatts, float(self.places[step]))

    def chip_c(self, step: int) -> Floats:
        """[N,K] true temperature of the hottest chip; NaN where there is no candidate."""
        return _between(self.farm.chip_c, float(self.places[step]))

    def earning(self, step: int) -> Floats:
        """[N,K] USD that holding each candidate brings in one step."""
        hashprice = self.grid.net_hashprice[step] * self.grid.step_h / 24.0
        energy = self.grid.cost_usd_per_kwh[step] * self.grid.step_h
        return np.asarray(self.rate_ths(step) * hashprice - self.power_kw(step) * energy)

    def too_hot(self, step: int, at: Ints) -> Bools:
        """[N] units whose chips are above their limit in a step; these may leave a hold."""
        chip = self.chip_c(step)[np.arange(self.count), at]
        return np.asarray((chip > self.farm.chip_max_c) & ~self.stops[np.arange(self.count), at])

    def earning_within(self, step: int) -> Floats:
        """[N,K] as `earning`, with a fine on what is too hot that no price makes good."""
        with np.errstate(invalid="ignore"):
            hot = self.chip_c(step) > self.farm.chip_max_c[:, None]
        return np.asarray(self.earning(step) - np.where(hot & ~self.stops, _FINE_USD, 0.0))

    def restart_usd(self, step: int) -> Floats:
        """[N,K] USD that a restart into each candidate loses."""
        return np.asarray(self.rate_ths(step) * (self.rules.restart_h * self.grid.net_hashprice[step] / 24.0))

    def restarts(self, before: Ints, after: Ints, units: Ints | None = None) -> Bools:
        """[N] changes that restart hashing: waking from a stop, or entering a setting that needs one.

        Args:
            units: [N] whose changes they are; None is all in order.
        """
        rows = np.arange(self.count) if units is None else units
        hashing = (before != after) & ~self.stops[rows, after]
        return np.asarray(hashing & (self.stops[rows, before] | self.wears[rows, after]))


def _between(table: Floats, place: float) -> Floats:
    low = min(int(place), len(table) - 1)
    share = place - low
    if share <= 0.0:
        return np.asarray(table[low])
    return np.asarray((1.0 - share) * table[low] + share * table[low + 1])

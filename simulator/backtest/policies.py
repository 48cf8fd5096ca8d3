"""Policies to compare with: what owners do, what hindsight would do, and two ways of getting it wrong.

Those that know prices or curves which nobody can know say so in their docstring.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.energy import KWH_PER_W_DAY
from simulator.backtest.foresight import best_fixed_on_off, oracle_path
from simulator.backtest.ledger import Standing
from simulator.backtest.scene import Scene

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_USUAL_C = 25.0
_THRESHOLDS = 41


@dataclass
class AlwaysNominal:
    """Every unit at its model's default safe setting."""

    name: str = "always-nominal"

    def begin(self, scene: Scene) -> None:
        """See `Policy`."""
        self._nominal = scene.farm.start

    def decide(self, step: int, standing: Standing) -> Ints:
        """See `Policy`."""
        return self._nominal


@dataclass
class BestFixed:
    """Each unit always at the one setting that earns it most over the whole span: hindsight."""

    name: str = "best-fixed"

    def begin(self, scene: Scene) -> None:
        """See `Policy`."""
        total = np.zeros(scene.stops.shape)
        for step in range(scene.grid.steps):
            total += scene.earning(step)
        rows = np.arange(scene.count)
        first = int(np.argmax(scene.grid.price_known))
        moving = np.arange(scene.stops.shape[1]) != scene.farm.start[:, None]
        total -= np.where(moving & scene.wears, scene.restart_usd(first), 0.0)
        allowed = scene.enterable.copy()
        allowed[rows, scene.farm.start] = True
        self._best: Ints = np.where(allowed, total, -np.inf).argmax(axis=1)

    def decide(self, step: int, standing: Standing) -> Ints:
        """See `Policy`."""
        return self._best


class _OnOff:
    """Nominal or stopped, by the price of the step at hand."""

    def begin(self, scene: Scene) -> None:
        """See `Policy`."""
        self._scene = scene
        self._on = scene.farm.start
        stops = scene.stops & scene.enterable
        self._off = np.where(stops.any(axis=1), stops.argmax(axis=1), self._on)


@dataclass
class OnOffFleet(_OnOff):
    """Everything off above the price at which the average unit of the fleet breaks even."""

    name: str = "on-off-fleet"

    def begin(self, scene: Scene) -> None:
        """See `Policy`."""
        super().begin(scene)
        rows, farm = np.arange(scene.count), scene.farm
        usual = int(np.argmin(np.abs(farm.outside_c - _USUAL_C)))
        watts = farm.power_w[usual, rows, self._on].sum()
        self._j_th = float(watts / farm.hashrate_ths[usual, rows, self._on].sum())

    def decide(self, step: int, standing: Standing) -> Ints:
        """See `Policy`."""
        grid = self._scene.grid
        break_even = grid.net_hashprice[step] / (KWH_PER_W_DAY * self._j_th)
        return self._on if grid.cost_usd_per_kwh[step] <= break_even else self._off


@dataclass
class OnOffUnit(_OnOff):
    """Each unit off above the price at which it breaks even itself; its true curve is known."""

    name: str = "on-off-unit"

    def decide(self, step: int, standing: Standing) -> Ints:
        """See `Policy`."""
        earning = self._scene.earning(step)
        rows = np.arange(self._scene.count)
        return np.where(earning[rows, self._on] >= earning[rows, self._off], self._on, self._off)


@dataclass
class HourlyArgmax:
    """The setting within the limits that earns most in the step at hand, as if changes cost nothing.

    True curves are known.
    """

    name: str = "hourly-argmax"

    def begin(self, scene: Scene) -> None:
        """See `Policy`."""
        self._scene = scene

    def decide(self, step: int, standing: Standing) -> Ints:
        """See `Policy`."""
        scene = self._scene
        earning = np.where(scene.enterable, scene.earning_within(step), -np.inf)
        best = earning.argmax(axis=1)
        return np.where(np.isfinite(earning.max(axis=1)), best, standing.at)


@dataclass
class TwoMode:
    """The lowest setting above one price, nominal below it; the best such price for the span is known."""

    name: str = "two-mode"

    def begin(self, scene: Scene) -> None:
        """See `Policy`."""
        self._scene = scene
        rows = np.arange(scene.count)
        hashing = scene.enterable & ~scene.stops
        lowest = np.where(hashing.any(axis=1), hashing.argmax(axis=1), scene.farm.start)
        self._low, self._high = lowest, scene.farm.start
        self._threshold = self._best_threshold(rows)

    def decide(self, step: int, standing: Standing) -> Ints:
        """See `Policy`."""
        dear = self._scene.grid.price_usd_per_kwh[step] > self._threshold
        return self._low if dear else self._high

    def _best_threshold(self, rows: Ints) -> float:
        scene = self._scene
        price = scene.grid.price_usd_per_kwh
        gains, losses = np.empty(scene.grid.steps), np.empty(scene.grid.steps)
        wears = [scene.restarts(self._high, self._low), scene.restarts(self._low, self._high)]
        for step in range(scene.grid.steps):
            earning, restart = scene.earning(step), scene.restart_usd(step)
            gains[step] = (earning[rows, self._low] - earning[rows, self._high]).sum()
            losses[step] = 0.5 * float(
                (restart[rows, self._low] * wears[0]).sum() + (restart[rows, self._high] * wears[1]).sum()
            )
        choices = np.append(np.quantile(price, np.linspace(0.0, 1.0, _THRESHOLDS)), np.inf)

        def worth(threshold: float) -> float:
            dear = price > threshold
            return float(gains[dear].sum() - losses[np.diff(dear, prepend=False)].sum())

        return float(choices[int(np.argmax([worth(float(one)) for one in choices]))])


class _Planned:
    """A path made before the first step."""

    def __init__(self) -> None:
        self.tick: Callable[[float], None] = lambda _: None

    def decide(self, step: int, standing: Standing) -> Ints:
        """See `Policy`."""
        return self._path[:, step]

    _path: Ints


class BestFixedOnOff(_Planned):
    """Each unit at its best single setting, stopped whenever that pays: all prices and true curves known."""

    name = "best-fixed-on-off"

    def begin(self, scene: Scene) -> None:
        """See `Policy`."""
        self._path = best_fixed_on_off(scene, self.tick)


class Oracle(_Planned):
    """The most that can be earned under the same costs and limits: all prices and true curves known."""

    name = "oracle"

    def begin(self, scene: Scene) -> None:
        """See `Policy`."""
        self._path = oracle_path(scene, self.tick)


SIMPLE: dict[str, type] = {
    policy.name: policy
    for policy in (
        AlwaysNominal,
        BestFixed,
        OnOffFleet,
        OnOffUnit,
        BestFixedOnOff,
        HourlyArgmax,
        TwoMode,
        Oracle,
    )
}

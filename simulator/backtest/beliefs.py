"""What is believed of the units' curves at each step: by models and learning, by the truth, or wrongly.

The models know nothing of the farm's physics: they see its telemetry alone, as a live agent does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agent.energy import KWH_PER_W_DAY
from agent.models.bundle import Bundle
from agent.models.inference import Curves
from simulator.backtest.ledger import Standing
from simulator.backtest.scene import Scene
from simulator.backtest.telemetry import Telemetry
from simulator.backtest.watching import MarketMoments, PricedAt, Watching

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
_LOOK_EVERY_S = 3 * 3600.0
# An agent looks all the time. Here it does so, step by step, where a chip is believed this near its limit.
_NEAR_C = 15.0
# How far into a step telemetry is looked at, and how often an agent polls until then.
_PART = 0.9
_POLL_S = 60.0
# Degrees that a chip near its limit gains for one of the air: its fans run full, and hot silicon leaks.
_CHIP_PER_AIR = 1.6


class Beliefs(Protocol):
    """Curves by step. `label` says in words what stands behind them."""

    label: str

    def observe(self, step: int, standing: Standing, restarted: Bools) -> None:
        """Take in what the units show during a step, under the settings in force."""
        ...

    def curves(self, step: int, standing: Standing) -> tuple[Curves, PricedAt]:
        """Curves [N,K,3] as believed at the beginning of a step, and what they are priced at."""
        ...


class TrueCurves:
    """The truth at the temperature of the step, without doubt.

    Args:
        look_every_s: the truth is looked at this often, as telemetry is.
    """

    label = "true curves"

    def __init__(self, scene: Scene, look_every_s: float = _LOOK_EVERY_S) -> None:
        self._scene = scene
        self._look_every = max(1, round(look_every_s / scene.grid.step_h / 3600.0))
        self._seen: tuple[Curves, PricedAt] | None = None

    def observe(self, step: int, standing: Standing, restarted: Bools) -> None:
        """See `Beliefs`."""

    def curves(self, step: int, standing: Standing) -> tuple[Curves, PricedAt]:
        """See `Beliefs`."""
        if self._seen is None or step % self._look_every == 0:
            self._seen = self._look(step)
        return self._seen

    def _look(self, step: int) -> tuple[Curves, PricedAt]:
        scene = self._scene
        exists = scene.farm.exists
        rate = np.where(exists, scene.rate_ths(step), np.nan)
        power = np.where(exists, 1000.0 * scene.power_kw(step), np.nan)
        chip = self._hottest(step)
        return _certain(rate, power, chip, _prices(scene, step))

    def _hottest(self, step: int) -> Floats:
        """[N,K] chip temperature that each candidate reaches while it would be held."""
        scene = self._scene
        last = min(step + self._look_every - 1 + scene.rules.hold_steps, scene.grid.steps)
        return np.asarray(np.max([scene.chip_c(at) for at in range(step, last)], axis=0))


class LearnedCurves:
    """A model bundle (or the hardware profiles) on the farm's telemetry, corrected by per-unit learning.

    Args:
        bundle: trained models; None for the profiles' own curves.
        learning: correct each unit's curve by its own residuals.
        metered, seed: see `Telemetry`.
        look_every_s: telemetry is looked at this often.
    """

    def __init__(
        self,
        scene: Scene,
        bundle: Bundle | None,
        *,
        learning: bool = True,
        metered: float = 0.5,
        seed: int = 1,
        look_every_s: float = _LOOK_EVERY_S,
    ) -> None:
        self._scene = scene
        grid = scene.grid
        self._telemetry = Telemetry(scene, metered, seed)
        shares = scene.farm.candidates.shares
        self._watching = Watching(self._telemetry.units, bundle, learning=learning, shares=shares)
        self.label = self._watching.label
        self._market = MarketMoments(grid.market, grid.prices, grid.times_s)
        self._look_every = max(1, round(look_every_s / grid.step_s))
        self._priced: PricedAt = (float("nan"), float("nan"))
        self._corrected: Curves | None = None
        self._quiet = np.zeros(scene.count, dtype=np.bool_)
        self._looked_c = float("nan")
        self._near = False
        self._at = scene.farm.start
        self._since_s = np.full(scene.count, -np.inf)

    def observe(self, step: int, standing: Standing, restarted: Bools) -> None:
        """See `Beliefs`."""
        grid = self._scene.grid
        began_s = grid.start_s + step * grid.step_s
        self._since_s = np.where(standing.at != self._at, began_s, self._since_s)
        self._at = standing.at
        if step % self._look_every == self._look_every - 1 or self._near:
            self._look(step, standing, restarted)
        self._telemetry.pass_step(step, standing, restarted)

    def curves(self, step: int, standing: Standing) -> tuple[Curves, PricedAt]:
        """See `Beliefs`."""
        if self._corrected is None:
            # Nothing was seen yet: the first reading is taken where the unit stands.
            self._look(step, standing, self._quiet)
        assert self._corrected is not None
        return self._in_the_heat(step), self._priced

    def _in_the_heat(self, step: int) -> Curves:
        """The curves, with chips as much hotter as the air has become since, where a limit is near."""
        looked = self._corrected
        assert looked is not None
        rise = _CHIP_PER_AIR * (float(self._scene.grid.outside_c[step]) - self._looked_c)
        upper = looked.chip_temp_c[:, :, 2] + max(rise, 0.0)
        hashing = np.isfinite(upper) & ~self._scene.stops
        margin = np.where(hashing, upper, -np.inf).max(axis=1) - self._scene.farm.chip_max_c
        self._near = bool((margin > -_NEAR_C).any())
        if rise <= 0.0 or not (margin > 0.0).any():
            return looked
        return replace(looked, chip_temp_c=looked.chip_temp_c + rise)

    def _look(self, step: int, standing: Standing, restarted: Bools) -> None:
        frame = self._telemetry.frame(step, _PART, standing, restarted)
        polls = max(1, round(_PART * self._scene.grid.step_s / _POLL_S))
        before = self._telemetry.frame(step, _PART, standing, restarted, polls)
        self._priced = _prices(self._scene, step)
        self._looked_c = float(self._scene.grid.outside_c[step])
        conditions = self._market.at(step, frame)
        _, self._corrected = self._watching.look(frame, conditions, self._priced, self._since_s, before)


class ConstantEfficiency:
    """Other beliefs, bent so that every setting has the J/TH of the nominal one."""

    def __init__(self, scene: Scene, behind: Beliefs) -> None:
        self._scene, self._behind = scene, behind
        self.label = f"{behind.label}; the same J/TH at every setting"

    def observe(self, step: int, standing: Standing, restarted: Bools) -> None:
        """See `Beliefs`."""
        self._behind.observe(step, standing, restarted)

    def curves(self, step: int, standing: Standing) -> tuple[Curves, PricedAt]:
        """See `Beliefs`."""
        found, _ = self._behind.curves(step, standing)
        rows, nominal = np.arange(self._scene.count), self._scene.farm.start
        rate, power = found.hashrate_ths[:, :, 1], found.power_w[:, :, 1]
        j_th = power[rows, nominal] / rate[rows, nominal]
        stops = self._scene.stops
        bent = np.where(stops, power, rate * j_th[:, None])
        return _certain(rate, bent, found.chip_temp_c[:, :, 1], _prices(self._scene, step))


def _certain(rate: Floats, power: Floats, chip: Floats, at: PricedAt) -> tuple[Curves, PricedAt]:
    profit = at[0] * rate - at[1] * KWH_PER_W_DAY * power
    three = (1, 1, 3)
    return Curves(*(np.tile(values[:, :, None], three) for values in (rate, power, chip, profit))), at


def _prices(scene: Scene, step: int) -> PricedAt:
    """Net hashprice and full electricity price of a step."""
    return float(scene.grid.net_hashprice[step]), float(scene.grid.cost_usd_per_kwh[step])

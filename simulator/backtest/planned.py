"""Policies that plan with the code of the live agent: `agent.planner.decide` over what is known at a step.

Between policies only what is believed and foreseen differs, and whether a move must be sure to pay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from agent.energy import KWH_PER_W_DAY
from agent.models.inference import Curves
from agent.planner.candidates import Candidates
from agent.planner.decide import decide
from agent.planner.fleet import Fleet
from agent.planner.margins import Horizon
from agent.planner.plan import Plan
from agent.planner.power.limits import Limits
from simulator.backtest.beliefs import Beliefs
from simulator.backtest.foresee import Foresight
from simulator.backtest.ledger import Standing
from simulator.backtest.promises import Promises
from simulator.backtest.scene import Scene
from simulator.backtest.watching import PricedAt

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """How a planning policy decides.

    Args:
        decide_every: steps from one decision to the next; in between units stay.
        minimum_gain_usd_per_day: that the lower bound of a gain must exceed; minus infinity for no doubt.
    """

    decide_every: int = 1
    minimum_gain_usd_per_day: float = 0.05


class Planned:
    """The agent's planner as a policy.

    Args:
        name: of the policy.
        believe: makes the beliefs for a scene.
        foresee: makes the foresight for a scene.
    """

    def __init__(
        self,
        name: str,
        believe: Callable[[Scene], Beliefs],
        foresee: Callable[[Scene], Foresight],
        options: PlanOptions | None = None,
    ) -> None:
        self.name = name
        self._believe, self._foresee = believe, foresee
        self._options = options or PlanOptions()
        self.beliefs: Beliefs | None = None
        self.promises = Promises()

    def begin(self, scene: Scene) -> None:
        """See `Policy`."""
        self._scene = scene
        self.beliefs = self._believe(scene)
        self._foresight = self._foresee(scene)
        self._before: Ints | None = None
        self.promises = Promises()
        lost = scene.rules.restart_h
        table = scene.farm.candidates
        hashing = ~scene.stops & scene.farm.exists
        self._table = replace(
            table,
            loss_h=np.where(scene.wears, lost, 0.0),
            wake_loss_h=np.where(hashing, lost, 0.0),
        )
        self._plan = _Plans(scene.count)

    def decide(self, step: int, standing: Standing) -> Ints:
        """See `Policy`."""
        scene, beliefs = self._scene, self.beliefs
        assert beliefs is not None
        if self._before is not None:
            # What came of the step before is known now, with whatever the limits forbade.
            beliefs.observe(step - 1, standing, scene.restarts(self._before, standing.at))
        self._before = standing.at
        if not scene.grid.price_known[step] or step % self._options.decide_every:
            return standing.at
        return self._choose(step, standing, beliefs)

    def _choose(self, step: int, standing: Standing, beliefs: Beliefs) -> Ints:
        horizon = self._foresight.horizon(step)
        curves, priced_at = beliefs.curves(step, standing)
        rows = self._plan.open_rows(step, standing.at, horizon, curves)
        chosen = standing.at.copy()
        if len(rows):
            found = self._decided(rows, standing, horizon, curves, priced_at)
            self._plan.keep(rows, step, found)
            self.promises.take(step, rows, standing.at[rows], found, self._scene.grid.step_h)
            chosen[rows] = np.where(found.chosen >= 0, found.chosen, standing.at[rows])
        return chosen

    def _decided(
        self, rows: Ints, standing: Standing, horizon: Horizon, curves: Curves, priced_at: PricedAt
    ) -> Plan:
        scene, at, own = self._scene, standing.at[rows], np.arange(len(rows))
        stops, wears = scene.stops[rows], scene.wears[rows]
        restarts = np.where(stops[own, at][:, None], ~stops, wears)
        restarts = restarts & (np.arange(restarts.shape[1]) != at[:, None])
        table = _candidates_of(self._table, rows)
        mine = Curves(*(getattr(curves, f.name)[rows] for f in fields(Curves)))
        fleet = Fleet(
            candidates=replace(table, current=at, restarts=restarts),
            curves=mine,
            priced_at=priced_at,
            chip_max_c=scene.farm.chip_max_c[rows],
            present_power_w=mine.power_w[own, at, 1],
            rated_power_w=np.nan_to_num(mine.power_w[own, scene.farm.start[rows], 1]),
            held_back=(None,) * len(rows),
            restarts_left=(scene.rules.restarts_per_day - standing.used)[rows],
            held_h=np.asarray(standing.held[rows] * scene.grid.step_h, dtype=np.float64),
            restarts_a_day=scene.rules.restarts_per_day[rows],
        )
        limits = Limits(
            cap_w=float("inf"),
            cap_z=0.0,
            minimum_gain_usd_per_day=self._options.minimum_gain_usd_per_day,
            hold_h=scene.rules.hold_steps * scene.grid.step_h,
        )
        return decide(fleet, horizon, limits)


class _Plans:
    """What was planned for N units, so that a unit is decided anew only where something speaks for it.

    That is: other curves, other prices, a move that is planned for now or was put off, or another setting
    than planned. With none of these a new decision would say what the plan says.
    """

    def __init__(self, count: int) -> None:
        self._made = np.full(count, -1, dtype=np.int64)
        self._put_off = np.ones(count, dtype=np.bool_)
        self._path: Ints = np.zeros((count, 0), dtype=np.int64)
        self._horizon: Horizon | None = None
        self._curves: Curves | None = None

    def open_rows(self, step: int, at: Ints, horizon: Horizon, curves: Curves) -> Ints:
        """Units to decide now."""
        known = self._horizon
        same = known is not None and curves is self._curves and _goes_on(known, horizon)
        self._horizon, self._curves = horizon, curves
        if not same:
            return np.arange(len(at))
        age = step - self._made
        inside = age < self._path.shape[1]
        planned = self._path[np.arange(len(at)), np.where(inside, age, 0)]
        return np.flatnonzero(self._put_off | ~inside | (planned != at))

    def keep(self, rows: Ints, step: int, plan: Plan) -> None:
        """Take in what was decided."""
        if len(rows) == len(self._made):
            self._path = plan.path
        else:
            width = min(self._path.shape[1], plan.path.shape[1])
            self._path = self._path[:, :width].copy()
            self._path[rows] = plan.path[:, :width]
        self._made[rows], self._put_off[rows] = step, plan.put_off


def _goes_on(before: Horizon, now: Horizon) -> bool:
    """True if `now` is `before`, seen one step or more later, with nothing new but at its far end."""
    for old, new in (
        (before.price_usd_per_kwh, now.price_usd_per_kwh),
        (before.hashprice_usd_per_ths_day, now.hashprice_usd_per_ths_day),
    ):
        common = len(old) - 1
        if common < 1 or len(new) < common or not np.array_equal(old[1:], new[:common]):
            return False
    return True


def _candidates_of(table: Candidates, rows: Ints) -> Candidates:
    arrays = {f.name: getattr(table, f.name)[rows] for f in fields(Candidates) if f.name != "settings"}
    return Candidates(settings=tuple(table.settings[i] for i in rows), **arrays)


class LearnedArgmax(Planned):
    """The setting that is believed to earn most in the step at hand, as if changes cost nothing.

    It has the curves of our planner, so that between the two only the planning differs.
    """

    def _choose(self, step: int, standing: Standing, beliefs: Beliefs) -> Ints:
        scene = self._scene
        curves, _ = beliefs.curves(step, standing)
        hashprice, price = scene.grid.net_hashprice[step], scene.grid.cost_usd_per_kwh[step]
        earning = hashprice * curves.hashrate_ths[:, :, 1] - KWH_PER_W_DAY * price * curves.power_w[:, :, 1]
        with np.errstate(invalid="ignore"):
            cool = scene.stops | ~(curves.chip_temp_c[:, :, 2] > scene.farm.chip_max_c[:, None])
        earning = np.where(scene.enterable & cool & np.isfinite(earning), earning, -np.inf)
        known = np.isfinite(earning.max(axis=1))
        return np.where(known, earning.argmax(axis=1), standing.at)

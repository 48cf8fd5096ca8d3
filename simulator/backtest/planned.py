"""Policies that plan with the code of the live agent: `agent.planner.decide` over what is known at a step.

Between policies only what is believed and foreseen differs, and whether a move must be sure to pay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agent.planner.decide import Fleet, decide
from agent.planner.limits import Limits
from agent.planner.margins import Horizon
from simulator.backtest.beliefs import Beliefs
from simulator.backtest.foresee import Foresight
from simulator.backtest.ledger import Standing
from simulator.backtest.scene import Scene

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

    def begin(self, scene: Scene) -> None:
        """See `Policy`."""
        self._scene = scene
        self.beliefs = self._believe(scene)
        self._foresight = self._foresee(scene)
        self._before: Ints | None = None
        lost = scene.rules.restart_h
        table = scene.farm.candidates
        hashing = ~scene.stops & scene.farm.exists
        self._table = replace(
            table,
            loss_h=np.where(scene.wears, lost, 0.0),
            wake_loss_h=np.where(hashing, lost, 0.0),
        )

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
        return self._plan(step, standing, beliefs)

    def _plan(self, step: int, standing: Standing, beliefs: Beliefs) -> Ints:
        scene = self._scene
        rows = np.arange(scene.count)
        horizon: Horizon = self._foresight.horizon(step)
        curves, priced_at = beliefs.curves(step, standing)
        stopped = scene.stops[rows, standing.at]
        restarts = np.where(stopped[:, None], ~scene.stops, scene.wears)
        restarts = restarts & (np.arange(restarts.shape[1]) != standing.at[:, None])
        left = scene.rules.restarts_per_day - standing.used
        fleet = Fleet(
            candidates=replace(self._table, current=standing.at, restarts=restarts),
            curves=curves,
            priced_at=priced_at,
            chip_max_c=scene.farm.chip_max_c,
            present_power_w=curves.power_w[rows, standing.at, 1],
            rated_power_w=np.nan_to_num(curves.power_w[rows, scene.farm.start, 1]),
            held_back=(None,) * scene.count,
            restarts_left=left,
            held_h=np.asarray(standing.held * scene.grid.step_h, dtype=np.float64),
        )
        limits = Limits(
            cap_w=float("inf"),
            cap_z=0.0,
            minimum_gain_usd_per_day=self._options.minimum_gain_usd_per_day,
            hold_h=scene.rules.hold_steps * scene.grid.step_h,
        )
        chosen = decide(fleet, horizon, limits).chosen
        return np.where(chosen >= 0, chosen, standing.at)


class LearnedArgmax(Planned):
    """The setting that is believed to earn most in the step at hand, as if changes cost nothing.

    It has the curves of our planner, so that between the two only the planning differs.
    """

    def _plan(self, step: int, standing: Standing, beliefs: Beliefs) -> Ints:
        scene = self._scene
        curves, _ = beliefs.curves(step, standing)
        hashprice, price = scene.grid.net_hashprice[step], scene.grid.cost_usd_per_kwh[step]
        earning = hashprice * curves.hashrate_ths[:, :, 1] - 0.024 * price * curves.power_w[:, :, 1]
        earning = np.where(scene.enterable & np.isfinite(earning), earning, -np.inf)
        known = np.isfinite(earning.max(axis=1))
        return np.where(known, earning.argmax(axis=1), standing.at)

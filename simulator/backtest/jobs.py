"""One run of one policy over a stage, from its name to its figures."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from agent.models.inference import Curves
from simulator.backtest.beliefs import Beliefs, ConstantEfficiency, LearnedCurves, TrueCurves
from simulator.backtest.foresee import ForecastPrices, Foresight, TruePrices
from simulator.backtest.ledger import Books, Policy, Run, Standing, account, go
from simulator.backtest.planned import LearnedArgmax, Planned, PlanOptions
from simulator.backtest.policies import SIMPLE, BestFixedOnOff, Oracle
from simulator.backtest.promises import kept
from simulator.backtest.results import figures
from simulator.backtest.scene import Scene
from simulator.backtest.setup import AS_RECORDED, CAUSES, OURS, PLANNED, Setup
from simulator.backtest.stage import Stage

# Rough cost of each policy beside a simple one, for the time left.
_WEIGHTS = (
    {"best-fixed-on-off": 12.0, "oracle": 10.0}
    | dict.fromkeys(PLANNED, 200.0)
    | {"hourly-argmax-learned": 80.0}
)
_FORECAST, _CURVES, _HYSTERESIS = CAUSES


@dataclass(frozen=True, slots=True)
class Job:
    """A run.

    Args:
        policy: its name.
        without: of `CAUSES`, what is put right in this run.
        restarts_per_day: wear budget instead of the stage's own.
    """

    policy: str
    without: str | None = None
    restarts_per_day: int | None = None

    @property
    def weight(self) -> float:
        """Rough cost beside that of a simple policy."""
        return _WEIGHTS.get(self.policy, 1.0)

    @property
    def label(self) -> str:
        """For a progress bar."""
        if self.without is not None:
            return f"{self.policy} without {self.without}"
        budget = self.restarts_per_day
        return self.policy if budget is None else f"{self.policy}, {budget} restarts a day"


@dataclass(frozen=True, slots=True)
class How:
    """What of a setup says how policies go about it; it can be sent to another process."""

    models: Path | None
    timezone: str
    minimum_gain_usd_per_day: float
    decide_minutes: float
    metered: float

    @staticmethod
    def of(setup: Setup) -> How:
        """As `setup` has it."""
        return How(
            setup.models,
            setup.market.timezone,
            setup.minimum_gain_usd_per_day,
            setup.decide_minutes,
            setup.metered,
        )


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a run. `believed` are the curves of a planning policy at the end."""

    figures: dict[str, Any]
    books: Books
    believed: Curves | None = None


def run_job(how: How, stage: Stage, job: Job, tick: Callable[[float], None]) -> Done:
    """Take a policy through the scene.

    Args:
        tick: called with the share that is done.
    """
    began = time.monotonic()
    scene = _scene(stage, job)
    if job.policy == AS_RECORDED:
        # No gate is between, so limits may be broken.
        assert stage.recorded is not None
        books = account(scene, stage.recorded)
        return Done(figures(scene, Run(stage.recorded, {}), books, time.monotonic() - began), books)
    policy = _Cast(how, stage).policy(job)
    tick(0.0)
    if isinstance(policy, Oracle | BestFixedOnOff):
        policy.tick = tick
        run = go(scene, policy)
    else:
        run = go(scene, policy, lambda steps: tick(steps / scene.grid.steps))
    books = account(scene, run.path)
    found = figures(scene, run, books, time.monotonic() - began)
    if not isinstance(policy, Planned) or policy.beliefs is None:
        return Done(found, books)
    found["curves"] = policy.beliefs.label
    found["promises"] = kept(scene, run.path, policy.promises)
    last, none = scene.grid.steps - 1, np.zeros(scene.count, dtype=np.int64)
    believed, _ = policy.beliefs.curves(last, Standing(run.path[:, last], none, none))
    return Done(found, books, believed)


def _scene(stage: Stage, job: Job) -> Scene:
    scene = stage.scene
    if job.restarts_per_day is None:
        return scene
    budget = np.full(scene.count, job.restarts_per_day, dtype=np.int64)
    return Scene(scene.farm, scene.grid, replace(scene.rules, restarts_per_day=budget))


class _Cast:
    """Makes policies for a stage, each with fresh beliefs."""

    def __init__(self, how: How, stage: Stage) -> None:
        self._how, self._stage = how, stage

    def policy(self, job: Job) -> Policy:
        """The policy of a job."""
        name = job.policy
        if name in SIMPLE:
            made: Policy = SIMPLE[name]()
            return made
        if name == "constant-jth":
            return self._planned(name, lambda scene: ConstantEfficiency(scene, TrueCurves(scene)))
        if name == "hourly-argmax-learned":
            return LearnedArgmax(name, self._learned, TruePrices, PlanOptions(self._decide_every))
        if job.without == _FORECAST:
            return self._planned(OURS, self._learned, foresee=TruePrices)
        if job.without == _CURVES:
            return self._planned(OURS, TrueCurves)
        if job.without == _HYSTERESIS:
            return self._planned(OURS, self._learned, sure=False)
        learning = name != "hashmargin-no-learning"
        return self._planned(name, lambda scene: self._learned(scene, learning))

    def _planned(
        self,
        name: str,
        believe: Callable[[Scene], Beliefs],
        *,
        foresee: Callable[[Scene], Foresight] | None = None,
        sure: bool = True,
    ) -> Planned:
        gain = self._how.minimum_gain_usd_per_day if sure else float("-inf")
        timezone = self._how.timezone
        return Planned(
            name,
            believe,
            foresee or (lambda scene: ForecastPrices(scene, timezone)),
            PlanOptions(self._decide_every, gain),
        )

    @property
    def _decide_every(self) -> int:
        return max(1, round(60.0 * self._how.decide_minutes / self._stage.scene.grid.step_s))

    def _learned(self, scene: Scene, learning: bool = True) -> Beliefs:
        if self._stage.recorded is not None:
            return TrueCurves(scene)
        return LearnedCurves(
            scene,
            self._stage.bundle,
            learning=learning,
            metered=self._how.metered,
            seed=self._stage.seed,
        )

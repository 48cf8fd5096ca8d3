"""One backtest from files to figures: the scene, every policy in turn, and why ours is not the best."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import InputError
from agent.models.bundle import Bundle, load_bundle
from agent.yamlfile import load_yaml
from simulator.backtest.beliefs import Beliefs, ConstantEfficiency, LearnedCurves, TrueCurves
from simulator.backtest.farm import BacktestFarm, build_farm
from simulator.backtest.foresee import ForecastPrices, Foresight, TruePrices
from simulator.backtest.ledger import Books, Policy, Run, account, go
from simulator.backtest.market import Grid, MarketPlan, lay_out
from simulator.backtest.planned import LearnedArgmax, Planned, PlanOptions
from simulator.backtest.plots_data import plots_of
from simulator.backtest.policies import SIMPLE, BestFixedOnOff, Oracle
from simulator.backtest.promises import kept
from simulator.backtest.recorded import days_of, recorded_farm
from simulator.backtest.results import SCHEMA_VERSION, compare, figures
from simulator.backtest.scene import Rules, Scene
from simulator.farm import FarmSpec, resolve_farm
from simulator.farm_file import FarmFile

Ints = NDArray[np.int64]
OURS = "hashmargin"
PLANNED = ("hourly-argmax-learned", "constant-jth", OURS, "hashmargin-no-learning")
POLICIES: tuple[str, ...] = (*(name for name in SIMPLE if name != "oracle"), *PLANNED, "oracle")
AS_RECORDED = "as-recorded"
_OF_LEARNING = ("hashmargin-no-learning", "hourly-argmax-learned")
# On a lake nothing is known of curves beyond what was learned, so policies about it say nothing.
LAKE_POLICIES: tuple[str, ...] = (
    AS_RECORDED,
    *(name for name in POLICIES if name not in _OF_LEARNING),
)
# Rough cost of each policy beside a simple one, for the time left.
_WEIGHTS = (
    {"best-fixed-on-off": 12.0, "oracle": 10.0}
    | dict.fromkeys(PLANNED, 200.0)
    | {"hourly-argmax-learned": 80.0}
)
CAUSES = ("price forecast", "curve error", "hysteresis")


@dataclass(frozen=True, slots=True)
class Setup:
    """What to run.

    Args:
        farm: farm file; or else
        lake: a site's own recorded telemetry.
        market: prices, hashprice, weather and steps.
        physics: physics file instead of the farm's own.
        models: a bundle; None plans with the hardware profiles' curves.
        policies: names from `POLICIES` or `LAKE_POLICIES`, in the order of the report; None is all.
        seed: of the farm instead of its file's, and of the noise of its telemetry.
        restart_minutes: hashing lost by one restart.
        hold_h: how long a setting is kept once entered.
        restarts_per_day: wear budget instead of each profile's own.
        minimum_gain_usd_per_day: that the lower bound of a gain must exceed.
        decide_minutes: from one decision of a planning policy to the next; at least a step.
        metered: share of the units without a power reading of their own that hang on a meter.
        causes: of `CAUSES`, what to find out the part in the regret of, each by one more run.
        wear_sweep: wear budgets to run the oracle and ours with as well.
    """

    farm: Path | None
    market: MarketPlan
    lake: Path | None = None
    physics: Path | None = None
    models: Path | None = None
    policies: tuple[str, ...] | None = None
    seed: int | None = None
    restart_minutes: float = 10.0
    hold_h: float = 2.0
    restarts_per_day: int | None = None
    minimum_gain_usd_per_day: float = 0.05
    decide_minutes: float = 15.0
    metered: float = 0.5
    causes: tuple[str, ...] = CAUSES
    wear_sweep: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if (self.farm is None) == (self.lake is None):
            raise InputError("which units? Give --farm FARM.yaml or --lake DIR, one of the two")
        unknown = [name for name in self.wanted if name not in self._known]
        if unknown:
            raise InputError(f"--policies: no policy {unknown[0]!r}; there are {', '.join(self._known)}")
        if not self.wanted:
            raise InputError(f"--policies: name at least one of {', '.join(self._known)}")

    @property
    def wanted(self) -> tuple[str, ...]:
        """Names of the policies to run."""
        return self._known if self.policies is None else self.policies

    @property
    def _known(self) -> tuple[str, ...]:
        return POLICIES if self.lake is None else LAKE_POLICIES


@dataclass(frozen=True, slots=True)
class _Stage:
    """What policies are run on. `recorded` [N,T] is what was set, of a lake."""

    scene: Scene
    name: str
    seed: int
    bundle: Bundle | None
    recorded: Ints | None
    curves: str


Told = Callable[[str, float], None]


def run_backtest(setup: Setup, tell: Told = lambda _what, _share: None) -> dict[str, Any]:
    """Run every policy and return the whole result, ready for JSON.

    Args:
        tell: called with what is being done and the share of all work that is done.

    Raises:
        InputError, DataError, ConfigError, BundleError: a file or option cannot be used; the message says
            which and why.
    """
    began = time.monotonic()
    tell("reading the farm", 0.0)
    stage = _stage(setup, tell)
    scene, grid = stage.scene, stage.scene.grid
    work = _Work(setup, stage, tell)
    policies: dict[str, dict[str, Any]] = {}
    books: dict[str, Books] = {}
    paths: dict[str, Ints] = {}
    ours: Planned | None = None
    for name in setup.wanted:
        if name == AS_RECORDED:
            policies[name], books[name], paths[name] = work.recorded()
            continue
        policy = work.policy(name)
        policies[name], books[name], paths[name] = work.run(policy, scene)
        if isinstance(policy, Planned):
            policies[name]["curves"] = policy.beliefs.label if policy.beliefs is not None else ""
            policies[name]["promises"] = kept(scene, paths[name], policy.promises)
            ours = policy if name == OURS else ours
    compare(policies)
    result: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "farm": stage.name,
        "recorded": stage.recorded is not None,
        "curves": stage.curves,
        "units": scene.count,
        "models": dict(sorted(Counter(unit.model for unit in scene.farm.names).items())),
        "left_out": scene.farm.left_out,
        "zone": setup.market.zone,
        "from": _iso(grid.start_s),
        "to": _iso(grid.start_s + grid.steps * grid.step_s),
        "step_s": grid.step_s,
        "steps": grid.steps,
        "horizon": setup.market.horizon,
        "seed": stage.seed,
        "rules": {
            "restart_minutes": setup.restart_minutes,
            "hold_h": scene.rules.hold_steps * grid.step_h,
            "restarts_per_day": sorted({int(one) for one in scene.rules.restarts_per_day}),
            "minimum_gain_usd_per_day": setup.minimum_gain_usd_per_day,
            "pool_fee_share": grid.pool_fee_share,
            "pue": grid.pue,
        },
        "carried": grid.carried,
        "policies": policies,
        "causes": work.causes(policies) if setup.causes else None,
        "wear_sweep": work.wear_sweep(),
    }
    result["plots"] = plots_of(scene, books, paths, ours)
    result["seconds"] = round(time.monotonic() - began, 2)
    tell("done", 1.0)
    return result


def _stage(setup: Setup, tell: Told) -> _Stage:
    bundle = None if setup.models is None else load_bundle(setup.models)
    market, recorded = setup.market, None
    if setup.lake is not None:
        first, last = days_of(setup.lake)
        market = replace(market, first=market.first or first, last=market.last or last)
        grid = lay_out(market)
        farm, recorded, curves = recorded_farm(
            setup.lake, grid, bundle, lambda share: tell("reading the lake", 0.5 * share)
        )
        name, seed = setup.lake.resolve().name, 0
    else:
        assert setup.farm is not None
        spec = _spec(setup.farm, setup)
        if not isinstance(market.weather, Path):
            market = replace(market, weather=spec.ambient)
        grid = lay_out(market)
        farm = build_farm(spec, grid.outside_c)
        name, seed, curves = spec.file.name, spec.file.seed, "physics of the simulator"
    return _Stage(Scene(farm, grid, _rules(setup, farm, grid)), name, seed, bundle, recorded, curves)


def _spec(farm: Path, setup: Setup) -> FarmSpec:
    file = load_yaml(farm, FarmFile)
    if setup.physics is not None:
        file = file.model_copy(update={"physics": setup.physics.resolve()})
    return resolve_farm(file, farm.resolve().parent, setup.seed)


def _rules(setup: Setup, farm: BacktestFarm, grid: Grid) -> Rules:
    budget = farm.restarts_per_day
    if setup.restarts_per_day is not None:
        budget = np.full(len(budget), setup.restarts_per_day, dtype=np.int64)
    hold = max(1, int(np.ceil(setup.hold_h / grid.step_h - 1e-9)))
    return Rules(setup.restart_minutes / 60.0, hold, budget)


class _Work:
    """Runs policies and keeps count of how much is done."""

    def __init__(self, setup: Setup, stage: _Stage, tell: Told) -> None:
        self._setup, self._stage, self._tell = setup, stage, tell
        self._scene = stage.scene
        names = [*setup.wanted]
        if setup.causes and self._judged:
            names += [OURS] * len(setup.causes)
        names += ["oracle", OURS] * len(setup.wear_sweep)
        self._total = sum(_WEIGHTS.get(name, 1.0) for name in names) or 1.0
        self._done = 0.0

    @property
    def _judged(self) -> bool:
        return OURS in self._setup.wanted and "oracle" in self._setup.wanted

    def policy(self, name: str) -> Policy:
        """A policy by name, with fresh beliefs."""
        if name in SIMPLE:
            made: Policy = SIMPLE[name]()
            return made
        if name == "constant-jth":
            return self._planned(name, lambda scene: ConstantEfficiency(scene, TrueCurves(scene)))
        if name == "hourly-argmax-learned":
            return LearnedArgmax(name, self._learned, TruePrices, PlanOptions(self._decide_every))
        learning = name != "hashmargin-no-learning"
        return self._planned(name, lambda scene: self._learned(scene, learning))

    def run(self, policy: Policy, scene: Scene) -> tuple[dict[str, Any], Books, Any]:
        """Take a policy through a scene: figures, books and path."""
        began = time.monotonic()
        weight = _WEIGHTS.get(policy.name, 1.0)

        def tick(share: float) -> None:
            self._tell(policy.name, (self._done + weight * min(share, 1.0)) / self._total)

        tick(0.0)
        if isinstance(policy, Oracle | BestFixedOnOff):
            policy.tick = tick
            run = go(scene, policy)
        else:
            run = go(scene, policy, lambda steps: tick(steps / scene.grid.steps))
        books = account(scene, run.path)
        self._done += weight
        return figures(scene, run, books, time.monotonic() - began), books, run.path

    def recorded(self) -> tuple[dict[str, Any], Books, Any]:
        """What was really set: figures, books and path. No gate is between, so limits may be broken."""
        path = self._stage.recorded
        assert path is not None
        books = account(self._scene, path)
        self._done += 1.0
        return figures(self._scene, Run(path, {}), books, 0.0), books, path

    def causes(self, policies: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
        """What of our regret goes away with prices known, with curves known, without hysteresis."""
        if not self._judged:
            return None
        most, mine = policies["oracle"]["profit_usd"], policies[OURS]["profit_usd"]
        out: dict[str, Any] = {}
        for cause in self._setup.causes:
            if cause == "curve error" and self._stage.recorded is not None:
                continue
            policy = self._without(cause)
            earned = self.run(policy, self._scene)[0]["profit_usd"]
            out[cause] = {
                "profit_usd_without": earned,
                "regret_share": round((earned - mine) / most, 6) if most > 0.0 else None,
            }
        return out

    def wear_sweep(self) -> list[dict[str, Any]]:
        """The oracle and ours under other wear budgets."""
        out = []
        for budget in self._setup.wear_sweep:
            rules = replace(
                self._scene.rules, restarts_per_day=np.full(self._scene.count, budget, dtype=np.int64)
            )
            scene = Scene(self._scene.farm, self._scene.grid, rules)
            best = self.run(Oracle(), scene)[0]
            mine = self.run(self.policy(OURS), scene)[0]
            out.append(
                {
                    "restarts_per_day": budget,
                    "oracle_usd": best["profit_usd"],
                    "hashmargin_usd": mine["profit_usd"],
                    "regret": round(1.0 - mine["profit_usd"] / best["profit_usd"], 6)
                    if best["profit_usd"] > 0.0
                    else None,
                    "restarts_per_unit_year": mine["restarts_per_unit_year"],
                }
            )
        return out

    def _without(self, cause: str) -> Policy:
        if cause == "price forecast":
            return self._planned(OURS, self._learned, foresee=TruePrices)
        if cause == "curve error":
            return self._planned(OURS, TrueCurves)
        return self._planned(OURS, self._learned, sure=False)

    def _planned(
        self,
        name: str,
        believe: Callable[[Scene], Beliefs],
        *,
        foresee: Callable[[Scene], Foresight] | None = None,
        sure: bool = True,
    ) -> Planned:
        gain = self._setup.minimum_gain_usd_per_day if sure else float("-inf")
        timezone = self._setup.market.timezone
        return Planned(
            name,
            believe,
            foresee or (lambda scene: ForecastPrices(scene, timezone)),
            PlanOptions(self._decide_every, gain),
        )

    @property
    def _decide_every(self) -> int:
        return max(1, round(60.0 * self._setup.decide_minutes / self._scene.grid.step_s))

    def _learned(self, scene: Scene, learning: bool = True) -> Beliefs:
        if self._stage.recorded is not None:
            return TrueCurves(scene)
        return LearnedCurves(
            scene,
            self._stage.bundle,
            learning=learning,
            metered=self._setup.metered,
            seed=self._stage.seed,
        )


def _iso(at_s: float) -> str:
    return str(np.datetime64(int(at_s), "s")) + "Z"

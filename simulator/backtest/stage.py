"""What policies are run on: a farm, a market, rules and models, from the files of a setup."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.models.bundle import Bundle, load_bundle
from agent.yamlfile import load_yaml
from simulator.backtest.farm import BacktestFarm, build_farm
from simulator.backtest.market import Grid, lay_out
from simulator.backtest.recorded import days_of, recorded_farm
from simulator.backtest.scene import Rules, Scene
from simulator.backtest.setup import Setup
from simulator.farm import FarmSpec, resolve_farm
from simulator.farm_file import FarmFile

Ints = NDArray[np.int64]
Told = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """What policies are run on. `recorded` [N,T] is what was set, of a lake; `curves` says whose they are."""

    scene: Scene
    name: str
    seed: int
    bundle: Bundle | None
    recorded: Ints | None
    curves: str


def stage_of(setup: Setup, tell: Told) -> Stage:
    """Read and work out everything.

    Args:
        tell: called with what is being done and the share of all work that is done.

    Raises:
        InputError, DataError, ConfigError, BundleError: a file or option cannot be used.
    """
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
    return Stage(Scene(farm, grid, _rules(setup, farm, grid)), name, seed, bundle, recorded, curves)


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

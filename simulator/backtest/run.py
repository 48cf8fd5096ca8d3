"""One backtest from files to figures: the scene, every policy, and why ours is not the best."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from simulator.backtest.jobs import Done, Job
from simulator.backtest.plots_data import plots_of
from simulator.backtest.results import SCHEMA_VERSION, compare
from simulator.backtest.setup import OURS, Setup
from simulator.backtest.stage import Stage, Told, stage_of
from simulator.backtest.workers import run_jobs


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
    stage = stage_of(setup, tell)
    scene, grid = stage.scene, stage.scene.grid
    jobs = _jobs(setup, stage)
    done = dict(zip(jobs, run_jobs(setup, stage, jobs, tell), strict=True))
    runs = {name: done[Job(name)] for name in setup.wanted}
    policies = {name: one.figures for name, one in runs.items()}
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
        "causes": _causes(policies, done) if setup.causes else None,
        "wear_sweep": _wear_sweep(setup.wear_sweep, done),
    }
    ours = runs.get(OURS)
    believed = None if ours is None else ours.believed
    result["plots"] = plots_of(scene, {name: one.books for name, one in runs.items()}, believed)
    result["seconds"] = round(time.monotonic() - began, 2)
    tell("done", 1.0)
    return result


def _jobs(setup: Setup, stage: Stage) -> list[Job]:
    """Every run that the result needs, once each."""
    jobs = [Job(name) for name in setup.wanted]
    if OURS in setup.wanted and "oracle" in setup.wanted:
        # Of a lake the true curves are those that are believed.
        causes = [cause for cause in setup.causes if cause != "curve error" or stage.recorded is None]
        jobs += [Job(OURS, without=cause) for cause in causes]
    for budget in setup.wear_sweep:
        jobs += [Job(name, restarts_per_day=budget) for name in ("oracle", OURS)]
    return list(dict.fromkeys(jobs))


def _causes(policies: dict[str, dict[str, Any]], done: dict[Job, Done]) -> dict[str, Any] | None:
    """What of our regret goes away with prices known, with curves known, without hysteresis."""
    if OURS not in policies or "oracle" not in policies:
        return None
    most, mine = policies["oracle"]["profit_usd"], policies[OURS]["profit_usd"]
    out: dict[str, Any] = {}
    for job, one in done.items():
        if job.without is not None:
            earned = one.figures["profit_usd"]
            share = round((earned - mine) / most, 6) if most > 0.0 else None
            out[job.without] = {"profit_usd_without": earned, "regret_share": share}
    return out


def _wear_sweep(budgets: Sequence[int], done: dict[Job, Done]) -> list[dict[str, Any]]:
    """The oracle and ours under other wear budgets."""
    out = []
    for budget in budgets:
        best, mine = (done[Job(name, restarts_per_day=budget)].figures for name in ("oracle", OURS))
        most = best["profit_usd"]
        out.append(
            {
                "restarts_per_day": budget,
                "oracle_usd": most,
                "hashmargin_usd": mine["profit_usd"],
                "regret": round(1.0 - mine["profit_usd"] / most, 6) if most > 0.0 else None,
                "restarts_per_unit_year": mine["restarts_per_unit_year"],
            }
        )
    return out


def _iso(at_s: float) -> str:
    return str(np.datetime64(int(at_s), "s")) + "Z"

"""Time of one decision for a large fleet, without polling or models.

    .venv/bin/python benchmarks/plan.py --miners 1000 --candidates 20 --json

Prints one JSON document: milliseconds of `decide` without and with a binding site cap, and of the
allocation alone (median and fastest of the runs). The fleet is random and seeded.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np

from agent.inference import Curves
from agent.planner.allocate import allocate
from agent.planner.candidates import Candidates
from agent.planner.decide import Fleet, Limits, decide
from agent.planner.margins import Horizon
from agent.setting import Knob, Setting


def fleet(miners: int, count: int, seed: int) -> Fleet:
    """A seeded fleet of `miners` units with `count` candidates each, the last a unit's present one."""
    rng = np.random.default_rng(seed)
    share = np.tile(np.linspace(0.5, 1.0, count), (miners, 1))
    rated_w = rng.uniform(2500.0, 3700.0, (miners, 1))
    rate = rng.uniform(80.0, 240.0, (miners, 1)) * share**0.7
    power = rated_w * share
    profit = 0.05 * rate - 0.07 * 0.024 * power

    def around(values: np.ndarray, by: float) -> np.ndarray:
        return np.stack([values * (1 - by), values, values * (1 + by)], axis=2)

    half = np.abs(0.02 * profit)
    curves = Curves(
        hashrate_ths=around(rate, 0.02),
        power_w=around(power, 0.03),
        chip_temp_c=around(np.full(share.shape, 70.0), 0.03),
        profit_usd_per_day=np.stack([profit - half, profit, profit + half], axis=2),
    )
    settings = tuple(Setting(Knob.POWER_PERCENT, 100.0 * s) for s in share[0])
    table = Candidates(
        settings=(settings,) * miners,
        shares=share,
        stops=np.zeros(share.shape, dtype=np.bool_),
        loss_h=np.full(share.shape, 0.1),
        wake_loss_h=np.full(share.shape, 0.2),
        settle_s=np.full(share.shape, 300.0),
        restarts=np.zeros(share.shape, dtype=np.bool_),
        wears=np.zeros(share.shape, dtype=np.bool_),
        permitted=np.ones(share.shape, dtype=np.bool_),
        current=np.full(miners, count - 1, dtype=np.int64),
        nominal=np.full(miners, count - 1, dtype=np.int64),
    )
    return Fleet(
        candidates=table,
        curves=curves,
        priced_at=(0.05, 0.07),
        chip_max_c=np.full(miners, 100.0),
        present_power_w=power[:, -1],
        rated_power_w=rated_w[:, 0],
        held_back=(None,) * miners,
        restarts_left=np.full(miners, 4, dtype=np.int64),
        held_h=np.zeros(miners),
    )


def prices(hours: int, step_h: float, seed: int) -> Horizon:
    """A day and a night of prices, over and over, with noise."""
    steps = round(hours / step_h)
    hour = step_h * np.arange(steps)
    rng = np.random.default_rng(seed)
    price = 0.06 + 0.03 * np.sin(2.0 * np.pi * hour / 24.0) + 0.01 * rng.standard_normal(steps)
    return Horizon(step_h, np.full(steps, 0.05), price)


def timed(work: Callable[[], object], runs: int) -> dict[str, float]:
    """Median and fastest milliseconds of `runs` calls after one that is not counted."""
    work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(1000.0 * (time.perf_counter() - start))
    return {"median_ms": round(statistics.median(times), 2), "fastest_ms": round(min(times), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the decision over a large fleet.")
    parser.add_argument("--miners", type=int, default=1000)
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--hours", type=int, default=48, help="length of the horizon")
    parser.add_argument("--step-h", type=float, default=1.0, help="length of its steps in hours")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="the only format; accepted for symmetry")
    args = parser.parse_args()
    given = fleet(args.miners, args.candidates, args.seed)
    horizon = prices(args.hours, args.step_h, args.seed)
    free = Limits(cap_w=float("inf"), cap_z=1.28, minimum_gain_usd_per_day=0.05)
    total = float(given.present_power_w.sum())
    capped = Limits(cap_w=0.8 * total, cap_z=1.28, minimum_gain_usd_per_day=0.05)
    curves = given.curves
    report = {
        "miners": args.miners,
        "candidates": args.candidates,
        "horizon_h": args.hours,
        "step_h": args.step_h,
        "decide": timed(lambda: decide(given, horizon, free), args.runs),
        "decide_capped": timed(lambda: decide(given, horizon, capped), args.runs),
        "allocate_capped": timed(
            lambda: allocate(
                curves.profit_usd_per_day[:, :, 1],
                curves.power_w[:, :, 1],
                0.02 * curves.power_w[:, :, 1],
                cap_w=0.8 * total,
                fixed_power_w=0.0,
                z=1.28,
            ),
            args.runs,
        ),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()

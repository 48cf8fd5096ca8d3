"""Time of one decision for a large fleet, without polling or models.

    .venv/bin/python benchmarks/plan.py --miners 1000 --candidates 20 --json

Prints one JSON document: milliseconds of `decide` without limits, with a binding cap of the site, and with
all limits at once (a site of 4 containers and 15 circuits, each with a cap and ramps that bind, and a
demand-response event), for the fleet and for one of `--many` miners; of the allocation alone under one cap
and under those circuits, with what it falls short of the exact optimum, which scipy's HiGHS bounds. Median
and fastest of the runs. The fleet is random and seeded.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import scipy.sparse as sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from agent.energy import KWH_PER_W_DAY
from agent.models.inference import Curves
from agent.planner.candidates import Candidates
from agent.planner.decide import decide
from agent.planner.fleet import Fleet
from agent.planner.margins import Horizon
from agent.planner.power.allocate import allocate
from agent.planner.power.circuits import PowerTree
from agent.planner.power.limits import Limits, SitePower
from agent.planner.power.nodes import Nodes
from agent.setting import Knob, Setting


def fleet(miners: int, count: int, seed: int) -> Fleet:
    """A seeded fleet of `miners` units with `count` candidates each, the last a unit's present one."""
    rng = np.random.default_rng(seed)
    share = np.tile(np.linspace(0.5, 1.0, count), (miners, 1))
    rated_w = rng.uniform(2500.0, 3700.0, (miners, 1))
    rate = rng.uniform(80.0, 240.0, (miners, 1)) * share**0.7
    power = rated_w * share
    profit = 0.05 * rate - 0.07 * KWH_PER_W_DAY * power

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


def limited(given: Fleet, steps: int, step_h: float) -> Limits:
    """Caps, ramps and an event of four hours at half the draw, all of which bind."""
    miners = len(given.held_back)
    tree = hall(miners)
    full = tree.sums(given.present_power_w)
    share = np.random.default_rng(2).uniform(0.75, 0.95, len(full))
    # A fifth of the draw in an hour.
    ramp = full * 0.2 / 3600.0
    tree = replace(tree, cap_w=full * share, ramp_up_w_per_s=ramp, ramp_down_w_per_s=ramp)
    event = np.full((steps, len(full)), np.inf)
    event[round(18 / step_h) : round(22 / step_h), 0] = 0.5 * full[0]
    power = replace(SitePower.single(miners, steps, np.inf), tree=tree, ramp_s=300.0, event_cap_w=event)
    return Limits(cap_w=np.inf, cap_z=1.28, minimum_gain_usd_per_day=0.05, hold_h=2.0, site=power)


def timed(work: Callable[[], object], runs: int) -> dict[str, float]:
    """Median and fastest milliseconds of `runs` calls, and the least of the processor, after one not counted.

    On a machine that is busy with other work the processor's time tells more than the clock's.
    """
    work()
    times, used = [], []
    for _ in range(runs):
        start, cpu = time.perf_counter(), time.process_time()
        work()
        times.append(1000.0 * (time.perf_counter() - start))
        used.append(1000.0 * (time.process_time() - cpu))
    return {
        "median_ms": round(statistics.median(times), 2),
        "fastest_ms": round(min(times), 2),
        "least_cpu_ms": round(min(used), 2),
    }


def hall(miners: int) -> PowerTree:
    """A site, 4 containers and 15 circuits in them, without limits yet."""
    parent = np.array([-1, *[0] * 4, *(1 + g % 4 for g in range(15))])
    count = len(parent)
    none = np.full(count, np.inf)
    names = ("site", *(f"container-{g}" for g in range(4)), *(f"circuit-{g}" for g in range(15)))
    return PowerTree(names, parent, 5 + np.arange(miners) % 15, none, -none, none, none)


def allocation(miners: int, count: int, runs: int, seed: int) -> dict[str, object]:
    """Time and gap of sharing power, under one cap and under the circuits of `hall`."""
    rng = np.random.default_rng(seed)
    rated_w = rng.uniform(2500.0, 3700.0, (miners, 1))
    share = np.sort(rng.uniform(0.5, 1.0, (miners, count)), axis=1)
    share[:, 0] = 0.01
    power = rated_w * share
    rate = rated_w / rng.uniform(16.0, 34.0, (miners, 1)) * share ** rng.uniform(0.6, 0.9, (miners, 1))
    rate[:, 0] = 0.0
    value = 0.05 * rate - 0.05 * KWH_PER_W_DAY * power + rng.normal(0.0, 0.05, power.shape)
    tree = hall(miners)
    full = tree.sums(power.max(axis=1))
    cap = full * rng.uniform(0.6, 1.0, len(full))
    sites = {
        "one_cap": Nodes.one(miners, 0.8 * float(full[0]), 1.28),
        "circuits": Nodes(tree.member(), cap, np.full(len(full), -np.inf), 1.28, tree.names),
    }
    return {
        name: timed(lambda site=site: allocate(value, power, 0.02 * power, site), runs)
        | {
            "gap_percent": gap_percent(
                value, power, Nodes(site.member, site.cap_w, site.floor_w, 0.0, site.names)
            )
        }
        for name, site in sites.items()
    }


def gap_percent(value: np.ndarray, power: np.ndarray, site: Nodes) -> float:
    """What the allocation earns less than the upper bound of HiGHS, in percent, without forecast error."""
    miners, count = value.shape
    found = allocate(value, power, 0.0 * power, site)
    got = float(value[np.arange(miners), found.chosen].sum())
    row = np.repeat(np.arange(miners), count)
    one = sparse.csr_matrix((np.ones(row.size), (row, np.arange(row.size))))
    limited = np.isfinite(site.cap_w)
    draw = sparse.csr_matrix(site.member[row][:, limited].T * power.ravel())
    best = milp(
        -value.ravel(),
        constraints=[LinearConstraint(one, 1.0, 1.0), LinearConstraint(draw, -np.inf, site.cap_w[limited])],
        integrality=np.ones(row.size),
        bounds=Bounds(0.0, 1.0),
        options={"mip_rel_gap": 1e-5, "time_limit": 30.0},
    )
    bound = -float(best.mip_dual_bound)
    return round(100.0 * (bound - got) / abs(bound), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the decision over a large fleet.")
    parser.add_argument("--miners", type=int, default=1000)
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--many", type=int, default=5000, help="miners of the large fleet; 0 for none")
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
    every, few = limited(given, len(horizon), args.step_h), min(args.runs, 3)
    report: dict[str, object] = {
        "miners": args.miners,
        "candidates": args.candidates,
        "horizon_h": args.hours,
        "step_h": args.step_h,
        "decide": timed(lambda: decide(given, horizon, free), args.runs),
        "decide_capped": timed(lambda: decide(given, horizon, capped), args.runs),
        "decide_all_limits": timed(lambda: decide(given, horizon, every), few),
        "allocate": allocation(args.miners, args.candidates, args.runs, args.seed),
    }
    if args.many:
        large = fleet(args.many, args.candidates, args.seed)
        all_limits = limited(large, len(horizon), args.step_h)
        report["many"] = {
            "miners": args.many,
            "decide": timed(lambda: decide(large, horizon, free), few),
            "decide_all_limits": timed(lambda: decide(large, horizon, all_limits), 1),
        }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()

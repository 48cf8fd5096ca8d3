"""Paths of a fleet that keep to a site's limits at every step.

Where the miners' best paths together break a limit, power gets the price there that would share it out if
nothing else mattered; the paths under these prices are then gone through step by step, each allotted exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agent.energy import KWH_PER_W_DAY
from agent.planner.paths.horizon import Outlook, Prospect, Steps, may_enter
from agent.planner.power.allot import allot
from agent.planner.power.priorities import allocate_by_priority
from agent.planner.power.shared import Shared

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_DAY_H = 24.0


@dataclass(frozen=True, slots=True)
class Course:
    """What the fleet does from the second step on.

    Args:
        path: [N,T] candidate held in each step.
        unmet: [T] the outermost place whose cap cannot be kept in a step, -1 where all are.
    """

    path: Ints
    unmet: Ints


def price_limits(
    prospect: Prospect, best: Outlook, shared: Shared, solve: Callable[[Prospect], Outlook]
) -> tuple[Floats | None, Outlook]:
    """What power costs each miner [N,T] in USD/kWh on top, None where no limit is met; the paths then.

    Args:
        best: the best paths without limits.
        solve: the best paths of a prospect, with the values of all steps.
    """
    money, now_w = Steps(prospect), shared.draw(prospect.current)
    nodes = [shared.whatever_before(t, now_w) for t in range(prospect.steps)]
    broken = [t for t in range(prospect.steps) if shared.broken(best.path[:, t], nodes[t]).any()]
    if not broken:
        return None, best
    price = np.zeros((len(prospect.current), prospect.steps))
    rows = np.arange(len(prospect.current))
    open_to = prospect.allowed & prospect.exists
    open_to[rows, prospect.current] = True
    for step in broken:
        earning = np.where(open_to & shared.free[:, None], money.earning(step), np.nan)
        found = allocate_by_priority(
            earning * (_DAY_H / prospect.step_h),
            shared.power_w,
            shared.sigma_w,
            nodes[step],
            shared.weight,
            shared.protected,
            fill=False,
        )
        weighed = np.where(nodes[step].member, found.price, 0.0).max(axis=1)
        # A watt that counts for more is dearer by as much less.
        price[:, step] = weighed / shared.weight / KWH_PER_W_DAY
    base = prospect.price_usd_per_kwh
    return price, solve(replace(prospect, price_usd_per_kwh=base + price))


def go_through(
    prospect: Prospect,
    outlook: Outlook,
    price: Floats,
    shared: Shared,
    first: Ints,
    restarts_left: Ints,
    budget_steps: int,
) -> Course:
    """The path that begins with `first` and keeps to the limits of every later step.

    Args:
        outlook: with the values of all steps, under `price` [N,T].
        restarts_left: [N] that may still be made in the first `budget_steps` steps.
    """
    values = outlook.values
    assert values is not None, "the values of all steps are needed to go through them"
    count, steps = len(prospect.current), prospect.steps
    rows = np.arange(count)
    money, hold = Steps(prospect), max(1, prospect.hold_steps)
    wears = np.ones_like(prospect.stops) if prospect.wears is None else prospect.wears
    path, unmet = np.empty((count, steps), dtype=np.int64), np.full(steps, -1, dtype=np.int64)
    at, left = prospect.current, restarts_left.astype(np.int64)
    locked = prospect.held_steps.astype(np.int64)
    for step in range(steps):
        stopped = prospect.stops[rows, at]
        if step == 0:
            target = first
        else:
            loss, wake_loss = money.losses(step)
            worth = values.entered[step] - np.where(stopped[:, None], wake_loss, loss)
            worn = (wears | stopped[:, None]) & (left <= 0)[:, None] & (step < budget_steps)
            worth[worn | (locked > 0)[:, None]] = -np.inf
            worth[rows, at] = values.stay[step][rows, at]
            target = np.where(worth[rows, at] >= worth.max(axis=1) - 1e-9, at, worth.argmax(axis=1))
            target = np.where(shared.free, target, at)
            nodes = shared.nodes(step, shared.draw(at))
            if price[:, step].any() or shared.broken(target, nodes).any():
                # The price of this step's limit is not money: the limit itself takes its place.
                own = worth + price[:, step][:, None] * shared.power_w * 0.001 * prospect.step_h
                own = np.where(
                    np.isfinite(own) & shared.free[:, None], own * (_DAY_H / prospect.step_h), np.nan
                )
                open_to = may_enter(prospect, step)
                open_to[rows, at] = True
                anything = np.where(open_to & shared.free[:, None], money.earning(step), np.nan)
                found = allot(shared, nodes, at, own, [anything])
                target = found.chosen
                if found.over.any():
                    unmet[step] = int(found.over.argmax())
        moved = target != at
        left = left - (moved & (wears[rows, target] | stopped))
        locked = np.maximum(np.where(moved, hold, locked) - 1, 0)
        at = target
        path[:, step] = at
    return Course(path, unmet)

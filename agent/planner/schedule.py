"""Paths of a fleet that keep to a site's limits at every step.

Where the miners' best paths together break a limit, power gets the price there that would share it out if
nothing else mattered; the paths under these prices are then gone through step by step, each allotted exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agent.planner.horizon import Outlook, Prospect, Steps
from agent.planner.nodes import Nodes
from agent.planner.priorities import allocate_by_priority

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_KWH_PER_W_DAY = 0.024
_DAY_H = 24.0


@dataclass(frozen=True, slots=True)
class Shared:
    """What the miners that are up for decision share, step by step.

    Args:
        nodes: the places, with their limits now.
        cap_w, floor_w: [T,G] limits by step, of the draw of these miners.
        sigma_w: [N,K] standard deviation of predicted power.
        weight, protected: [N] as in `allocate_by_priority`.
        free: [N] miners that are up for decision.
    """

    nodes: Nodes
    cap_w: Floats
    floor_w: Floats
    sigma_w: Floats
    weight: Floats
    protected: Bools
    free: Bools

    def at(self, step: int) -> Nodes:
        """The places with their limits at a step."""
        return replace(self.nodes, cap_w=self.cap_w[step], floor_w=self.floor_w[step])

    def broken(self, chosen: Ints, power_w: Floats, step: int) -> bool:
        """True if a limit is not kept at a step by the candidates [N]."""
        rows = np.flatnonzero(self.free)
        part = replace(self.at(step), member=self.nodes.member[rows])
        mean, variance = power_w[rows, chosen[rows]], self.sigma_w[rows, chosen[rows]] ** 2
        over = part.load(mean, variance) > part.cap_w
        return bool((over | (part.load(mean, variance, -1.0) < part.floor_w)).any())


def price_limits(
    prospect: Prospect, best: Outlook, shared: Shared, solve: Callable[[Prospect], Outlook]
) -> tuple[Floats | None, Outlook]:
    """What power costs each miner [N,T] in USD/kWh on top, None where no limit is met; the paths then.

    Args:
        best: the best paths without limits.
        solve: the best paths of a prospect, with the values of all steps.
    """
    money, power = Steps(prospect), np.nan_to_num(prospect.power_w)
    broken = [t for t in range(prospect.steps) if shared.broken(best.path[:, t], power, t)]
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
            power,
            shared.sigma_w,
            shared.at(step),
            shared.weight,
            shared.protected,
        )
        price[:, step] = np.where(shared.nodes.member, found.price, 0.0).max(axis=1) / _KWH_PER_W_DAY
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
) -> Ints:
    """[N,T] the path that begins with `first` and keeps to the limits of every later step.

    Args:
        outlook: with the values of all steps, under `price` [N,T].
        restarts_left: [N] that may still be made in the first `budget_steps` steps.
    """
    values = outlook.values
    assert values is not None, "the values of all steps are needed to go through them"
    count, steps = len(prospect.current), prospect.steps
    rows, power = np.arange(count), np.nan_to_num(prospect.power_w)
    money, hold = Steps(prospect), max(1, prospect.hold_steps)
    wears = np.ones_like(prospect.stops) if prospect.wears is None else prospect.wears
    path = np.empty((count, steps), dtype=np.int64)
    at, left = prospect.current, restarts_left.astype(np.int64)
    locked = prospect.held_steps.astype(np.int64)
    for step in range(steps):
        stopped = prospect.stops[rows, at]
        loss, wake_loss = money.losses(step)
        worth = values.entered[step] - np.where(stopped[:, None], wake_loss, loss)
        worn = (wears | stopped[:, None]) & (left <= 0)[:, None] & (step < budget_steps)
        worth[worn | (locked > 0)[:, None]] = -np.inf
        worth[rows, at] = values.stay[step][rows, at]
        if step == 0:
            target = first
        else:
            target = np.where(worth[rows, at] >= worth.max(axis=1) - 1e-9, at, worth.argmax(axis=1))
            target = np.where(shared.free, target, at)
            if shared.broken(target, power, step):
                target = _allotted(prospect, shared, worth, price, money, at, step)
        moved = target != at
        left = left - (moved & (wears[rows, target] | stopped))
        locked = np.maximum(np.where(moved, hold, locked) - 1, 0)
        at = target
        path[:, step] = at
    return path


def _allotted(
    prospect: Prospect, shared: Shared, worth: Floats, price: Floats, money: Steps, at: Ints, step: int
) -> Ints:
    """What each miner takes where the limits of a step decide."""
    rows, power = np.arange(len(at)), np.nan_to_num(prospect.power_w)
    # The price of this step's limit is not money: the limit itself takes its place.
    own = worth + price[:, step][:, None] * power * 0.001 * prospect.step_h
    own = np.where(np.isfinite(own) & shared.free[:, None], own * (_DAY_H / prospect.step_h), np.nan)
    nodes = shared.at(step)
    found = allocate_by_priority(own, power, shared.sigma_w, nodes, shared.weight, shared.protected)
    if not found.feasible:
        open_to = prospect.allowed & prospect.exists
        open_to[rows, at] = True
        earning = np.where(open_to & shared.free[:, None], money.earning(step), np.nan)
        found = allocate_by_priority(earning, power, shared.sigma_w, nodes, shared.weight, shared.protected)
    return np.where(found.chosen >= 0, found.chosen, at)

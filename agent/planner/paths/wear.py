"""The best paths within a budget of restarts: what is left of the budget is part of a miner's state."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent.planner.paths.horizon import Outlook, Prospect, Steps, Values, changes_of, look_ahead, may_enter

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_TIE_USD = 1e-9


def look_ahead_within(
    prospect: Prospect, most: Ints, first_steps: int, *, keep_values: bool = False
) -> Outlook:
    """The best paths with at most `most` [N] restarts among the first `first_steps` steps each.

    Only miners whose best path has more are worked out anew; what other actions of the rest are worth
    is without the budget. `values` are those with the whole budget left.
    """
    found = look_ahead(prospect, keep_values=keep_values)
    over = np.flatnonzero(restarts(found.path, prospect)[:, :first_steps].sum(axis=1) > most)
    if not len(over):
        return found
    best = _with_budget(prospect.rows(over), np.maximum(most[over], 0), first_steps, keep_values=keep_values)
    for whole, values in (
        (found.path, best.path),
        (found.value_usd, best.value_usd),
        (found.action_usd, best.action_usd),
        (found.lasts, best.lasts),
        (found.changes, best.changes),
    ):
        whole[over] = values
    if found.values is not None and best.values is not None:
        found.values.entered[:, over] = best.values.entered
        found.values.stay[:, over] = best.values.stay
    return found


def restarts(path: Ints, prospect: Prospect) -> Bools:
    """[N,T] changes along `path` that count against the budget."""
    changed = changes_of(path, prospect.current)
    if prospect.wears is None:
        return changed
    before = np.concatenate([prospect.current[:, None], path[:, :-1]], axis=1)
    rows = np.arange(len(path))[:, None]
    counts = changed & (prospect.wears[rows, path] | prospect.stops[rows, before])
    return np.asarray(counts)


def _with_budget(prospect: Prospect, most: Ints, first_steps: int, *, keep_values: bool) -> Outlook:
    """As `look_ahead`, with the restarts left as one more axis of the state."""
    count, width = prospect.stops.shape
    steps, hold, left = prospect.steps, max(1, prospect.hold_steps), int(most.max()) + 1
    rows, money = np.arange(count), Steps(prospect)
    wears = np.ones((count, width), dtype=np.bool_) if prospect.wears is None else prospect.wears
    end = np.zeros((count, width)) if prospect.after_usd is None else prospect.after_usd
    later = {steps: np.repeat(end[:, :, None], left, axis=2)}
    window = np.zeros((count, width))
    goes = np.empty((steps, count, width, left), dtype=np.uint8 if width <= 256 else np.uint16)
    own = np.arange(width)[None, :, None]
    kept = Values(np.empty((steps, count, width)), np.empty((steps, count, width))) if keep_values else None
    action = start = later[steps]
    none_left = np.full((count, width, 1), -np.inf)
    earned = [money.earning(step) for step in range(steps)]
    for step in range(steps - 1, -1, -1):
        earning = earned[step]
        window += earning
        if step + hold < steps:
            window -= earned[step + hold]
        entered = np.where(
            may_enter(prospect, step)[:, :, None],
            window[:, :, None] + later[min(step + hold, steps)],
            -np.inf,
        )
        worn = np.concatenate([none_left, entered[:, :, :-1]], axis=2) if step < first_steps else entered
        loss, wake_loss = (cost[:, :, None] for cost in money.losses(step))
        running, waking = np.where(wears[:, :, None], worn, entered) - loss, worn - wake_loss
        target = np.where(
            prospect.stops[:, :, None], waking.argmax(axis=1)[:, None], running.argmax(axis=1)[:, None]
        )
        reward = np.where(
            prospect.stops[:, :, None], waking.max(axis=1)[:, None], running.max(axis=1)[:, None]
        )
        stay = earning[:, :, None] + later[step + 1]
        moves = (reward > stay + _TIE_USD) & (target != own)
        goes[step] = np.where(moves, target, own)
        later[step] = np.where(moves, reward, stay)
        later.pop(step + hold + 1, None)
        start = np.where((prospect.held_steps == step)[:, None, None], later[step], start)
        if kept is not None:
            kept.entered[step], kept.stay[step] = entered[rows, :, most], stay[rows, :, most]
        if step == 0:
            stopped = prospect.stops[rows, prospect.current]
            action = np.where(stopped[:, None, None], waking, running)
            action[rows, prospect.current] = stay[rows, prospect.current]
    held = np.minimum(prospect.held_steps, steps)
    until = np.cumsum([earning[rows, prospect.current] for earning in earned], axis=0)
    while_held = np.where(held > 0, until[np.maximum(held - 1, 0), rows], 0.0)
    path, lasts = _follow(prospect, goes, wears, most, first_steps)
    value = start[rows, prospect.current, most] + while_held
    values = action[rows, :, most]
    values[held > 0] = -np.inf
    values[rows[held > 0], prospect.current[held > 0]] = value[held > 0]
    return Outlook(path, value, values, lasts, changes_of(path, prospect.current).sum(axis=1), kept)


def _follow(
    prospect: Prospect, goes: NDArray[np.uint8 | np.uint16], wears: Bools, most: Ints, first_steps: int
) -> tuple[Ints, Ints]:
    """The path from the present setting, [N,T], and how long each candidate taken now is kept, [N,K]."""
    count, width = prospect.stops.shape
    hold, rows = max(1, prospect.hold_steps), np.arange(count)
    at, left = prospect.current.copy(), most.copy()
    locked = np.maximum(prospect.held_steps, 0).astype(np.int64)
    path = np.empty((count, prospect.steps), dtype=np.int64)
    for step in range(prospect.steps):
        target = np.where(locked > 0, at, goes[step, rows, at, left].astype(np.int64))
        moved = target != at
        if step < first_steps:
            left = left - (moved & (wears[rows, target] | prospect.stops[rows, at]))
        locked = np.maximum(np.where(moved, hold, locked) - 1, 0)
        at = target
        path[:, step] = at
    # What is left once a candidate is entered now.
    stopped = prospect.stops[rows, prospect.current]
    paid = (wears | stopped[:, None]) & (np.arange(width) != prospect.current[:, None])
    then = np.maximum(most[:, None] - paid, 0)
    columns = np.broadcast_to(np.arange(width), (count, width))
    leaves = goes[:, rows[:, None], columns, then] != columns
    earliest = np.full((count, width), hold)
    earliest[rows, prospect.current] = np.maximum(prospect.held_steps, 1)
    leaves &= np.arange(prospect.steps)[:, None, None] >= earliest
    lasts = np.where(leaves.any(axis=0), leaves.argmax(axis=0), prospect.steps).astype(np.int64)
    return path, lasts

"""The best paths within a budget of restarts: a restart is made dearer until the path keeps to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from agent.planner.horizon import Outlook, Prospect, Steps, Values, changes_of, look_ahead

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_ROUNDS = 14


def look_ahead_within(
    prospect: Prospect, most: Ints, first_steps: int, *, keep_values: bool = False
) -> Outlook:
    """The best paths with at most `most` [N] restarts among the first `first_steps` steps each.

    Where the best path has more, restarts of that miner are made dearer until it keeps to them. What they
    are dearer by is no money: `value_usd` and `action_usd` are without it where the path is. The
    `values` of such a miner hold the dearer restarts, as that is what keeps it to its budget.
    """
    found = look_ahead(prospect, keep_values=keep_values)
    over = np.flatnonzero(restarts(found.path, prospect)[:, :first_steps].sum(axis=1) > most)
    if not len(over):
        return found
    part, limit = prospect.rows(over), most[over]
    low, high = np.zeros(len(over)), _dear(part)

    def tried(extra: Floats) -> Outlook:
        return look_ahead(replace(part, restart_usd=part.restart_usd + extra), keep_values=keep_values)

    best = tried(high)
    for _ in range(_ROUNDS):
        middle = 0.5 * (low + high)
        new = tried(middle)
        fits = restarts(new.path, part)[:, :first_steps].sum(axis=1) <= limit
        low, high = np.where(fits, low, middle), np.where(fits, middle, high)
        best = _chosen(fits, new, best)
    extra = high * restarts(best.path, part).sum(axis=1)
    for whole, values in (
        (found.path, best.path),
        (found.value_usd, best.value_usd + extra),
        (found.action_usd, best.action_usd + extra[:, None]),
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


def _dear(prospect: Prospect) -> Floats:
    """[N] USD that no restart is worth: more than the best and the worst path can differ by."""
    money = Steps(prospect)
    total = np.zeros(len(prospect.current))
    for step in range(prospect.steps):
        earning = money.earning(step)
        total += earning.max(axis=1) - earning.min(axis=1)
    if prospect.after_usd is not None:
        total += prospect.after_usd.max(axis=1) - prospect.after_usd.min(axis=1)
    return total + 1.0


def _chosen(fits: Bools, new: Outlook, old: Outlook) -> Outlook:
    wide = fits[:, None]
    values = old.values
    if values is not None and new.values is not None:
        values = Values(
            np.where(wide, new.values.entered, values.entered), np.where(wide, new.values.stay, values.stay)
        )
    return Outlook(
        np.where(wide, new.path, old.path),
        np.where(fits, new.value_usd, old.value_usd),
        np.where(wide, new.action_usd, old.action_usd),
        np.where(wide, new.lasts, old.lasts),
        np.where(fits, new.changes, old.changes),
        values,
    )

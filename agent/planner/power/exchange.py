"""Quick use of what whole steps leave free: the best change of one miner, else of two, node by node."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from agent.planner.power.nodes import Choices, Nodes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_CHANGES = 60
_ROUNDS = 8


def exchanged(table: Choices, nodes: Nodes, chosen: Ints, price: Floats) -> Ints:
    """A better allocation than `chosen`, which keeps to the caps as it does.

    Args:
        price: [G] value per watt at each node that binds.
    """
    paid = np.where(nodes.member, price, 0.0).max(axis=1)
    chosen = chosen.copy()
    mean, variance = (values @ nodes.member for values in table.at(chosen))
    # A node that is below its floor already may not get further below, one over its cap not further above.
    margin = nodes.free_z * np.sqrt(np.maximum(variance, 0.0))
    floor, cap = np.minimum(nodes.floor_w, mean - margin), np.maximum(nodes.cap_w, mean + margin)
    for g in np.flatnonzero(price > 0.0)[::-1]:
        below = np.flatnonzero(nodes.member[:, g] & (chosen >= 0))
        around = np.flatnonzero(nodes.member[below].any(axis=0))
        inside = nodes.member[np.ix_(below, around)].astype(np.float64)
        for _ in range(_ROUNDS):
            here = chosen[below]
            at = np.arange(len(below))
            gain = table.value[below] - table.value[below, here][:, None]
            more = table.power_w[below] - table.power_w[below, here][:, None]
            score = np.where(np.isfinite(gain), gain - paid[below][:, None] * more, -np.inf)
            score[at, here] = -np.inf
            flat = score.ravel()
            found = np.argpartition(-flat, min(_CHANGES, len(flat) - 1))[:_CHANGES]
            found = found[np.isfinite(flat[found])]
            if not len(found):
                break
            row, column = np.unravel_index(found, score.shape)
            spread = table.variance[below[row], column] - table.variance[below[row], here[row]]
            own_p, own_v = more[row, column][:, None] * inside[row], spread[:, None] * inside[row]
            worth = gain[row, column]
            best: Ints | None = None
            for group in _groups(len(found)):
                total = worth[group].sum(axis=1)
                hopeful = total > 1e-12 * max(1.0, float(np.abs(worth).max()))
                if group.shape[1] == 2:
                    hopeful &= row[group[:, 0]] != row[group[:, 1]]
                group, total = group[hopeful], total[hopeful]
                power = mean[around] + own_p[group].sum(axis=1)
                var = np.maximum(variance[around] + own_v[group].sum(axis=1), 0.0)
                free = nodes.free_z[around] * np.sqrt(var)
                fits = ((power + free <= cap[around]) & (power - free >= floor[around])).all(axis=1)
                if fits.any():
                    best = group[fits][int(total[fits].argmax())]
                    break
            if best is None:
                break
            chosen[below[row[best]]] = column[best]
            mean[around] += own_p[best].sum(axis=0)
            variance[around] += own_v[best].sum(axis=0)
    return chosen


@cache
def _groups(count: int) -> tuple[Ints, Ints]:
    """[count,1] every change alone, and [C,2] every two."""
    first, second = np.triu_indices(count, 1)
    return np.arange(count)[:, None], np.stack([first, second], axis=1)

"""Who gives way first where power is short: weights, and miners that are to be left alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent.planner.power.allocate import Allocation, allocate
from agent.planner.power.nodes import Nodes

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def allocate_by_priority(
    value: Floats,
    power_w: Floats,
    sigma_w: Floats,
    nodes: Nodes,
    weight: Floats,
    protected: Bools,
    *,
    fill: bool = True,
) -> Allocation:
    """As `allocate`, with miners that count for more and miners that give way last.

    Prices in the result are of weighed value.

    Args:
        value, power_w, sigma_w, fill: as `allocate` takes them.
        weight: [N] above 0: a watt of the miner counts as if it earned so many times as much. It matters
            only where a limit binds.
        protected: [N] True for miners that keep their best candidate, unless a cap cannot be kept otherwise.
    """
    weighed = value * weight[:, None]
    if not protected.any():
        return allocate(weighed, power_w, sigma_w, nodes, fill=fill)
    found = allocate(_best_alone(weighed, power_w, protected), power_w, sigma_w, nodes, fill=fill)
    if found.feasible:
        return found
    # Only below the places that cannot keep their cap.
    released = nodes.member[:, found.over].any(axis=1)
    still = _best_alone(weighed, power_w, protected & ~released)
    return allocate(still, power_w, sigma_w, nodes, fill=fill)


def _best_alone(value: Floats, power_w: Floats, rows: Bools) -> Floats:
    """The values with nothing but the best candidate of some rows; of equals the one of least power."""
    known = np.where(np.isfinite(value), value, -np.inf)
    best = known == known.max(axis=1, keepdims=True)
    column = np.where(best & np.isfinite(value), power_w, np.inf).argmin(axis=1)
    alone = np.arange(value.shape[1]) == column[:, None]
    return np.where(rows[:, None] & ~alone, np.nan, value)

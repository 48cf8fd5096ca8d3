"""Concave envelopes of value over power: the steps worth taking, best first, for a whole fleet at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Envelope:
    """The candidates of N miners that lie on the concave envelope, and S steps between neighbours on it.

    Args:
        least: [N] the candidate of least power, -1 where a miner has none.
        miner, column: [S] whose step it is and where it leads; steps of one miner stand in order.
        slope: [S] value per watt, falling.
        power_w: [S] what the step adds.
    """

    least: Ints
    miner: Ints
    column: Ints
    slope: Floats
    power_w: Floats


def envelope(value: Floats, power_w: Floats) -> Envelope:
    """Steps of every miner along its envelope, sorted by falling value per watt over the fleet.

    Args:
        value: [N,K]; NaN marks a candidate that may not be taken.
        power_w: [N,K] finite where `value` is.
    """
    count, width = value.shape
    allowed = np.isfinite(value)
    power = np.where(allowed, power_w, np.inf)
    # Among candidates of one power only the best is looked at, so that no slope is without end.
    order = np.lexsort((np.where(allowed, -value, np.inf), power), axis=1)
    rows = np.arange(count)[:, None]
    p, v = power[rows, order], np.where(allowed, value, -np.inf)[rows, order]
    v[:, 1:][np.diff(np.where(np.isfinite(p), p, 0.0), axis=1) <= 0.0] = -np.inf
    exists = np.isfinite(v)
    at = np.zeros(count, dtype=np.int64)
    least = np.where(allowed.any(axis=1), order[:, 0], -1)
    miners, columns, slopes, watts = [], [], [], []
    own = np.arange(count)
    places = np.arange(width)
    for _ in range(width - 1):
        ahead = exists[own] & (places > at[:, None])
        going = ahead.any(axis=1)
        if not going.any():
            break
        own, at, ahead = own[going], at[going], ahead[going]
        here_p, here_v = p[own, at], v[own, at]
        with np.errstate(invalid="ignore", divide="ignore"):
            slope = np.where(ahead, (v[own] - here_v[:, None]) / (p[own] - here_p[:, None]), -np.inf)
        steepest = slope.max(axis=1)
        # Of equal slopes the longest, so that a straight line is one step.
        to = width - 1 - (slope[:, ::-1] >= steepest[:, None]).argmax(axis=1)
        miners.append(own)
        columns.append(order[own, to])
        slopes.append(steepest)
        watts.append(p[own, to] - here_p)
        at = to
    if not miners:
        empty = np.empty(0)
        return Envelope(least, np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), empty, empty)
    miner, column = np.concatenate(miners), np.concatenate(columns)
    slope, power_step = np.concatenate(slopes), np.concatenate(watts)
    # Stable: steps of one miner were found in order and have falling slopes.
    best_first = np.argsort(-slope, kind="stable")
    return Envelope(least, miner[best_first], column[best_first], slope[best_first], power_step[best_first])

"""Conformal calibration: how wide an interval must be, from residuals of units and times never fitted.

Intervals are per hardware model where it has enough residuals, and for a model never seen they come from
models that were left out of the fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.graph import Floats, Ops, Value

# Of each tail of an 80 % interval.
TAIL = 0.9
# A hardware model with fewer residuals counts as never seen. With more, its own counts as much
# as it has units against this many: rows of one unit err together, so few units tell little.
LEAST_RESIDUALS = 150
POOLING_UNITS = 6
_NARROWEST = 1e-3
_NEAR, _FAR = 0.03, 0.10


@dataclass(frozen=True, slots=True)
class Intervals:
    """Half-widths per hardware model; the last row is for a model that training never saw.

    The width of a row is `half x (1 + stretch x distance + unknown x history_missing)`.

    Args:
        low, high: [H+1] below and above the middle.
        stretch: [H+1] growth per distance between present setting and candidate.
        unknown: growth where the unit's own history says nothing.
    """

    low: Floats
    high: Floats
    stretch: Floats
    unknown: float

    def inflated(self, by: float, steepest: float) -> Intervals:
        """The same, `by` times as wide; the stretch gives way where bounds would stop being monotone."""
        low, high = self.low * by, self.high * by
        stretch = np.minimum(self.stretch, steepest / np.maximum(low, high))
        return Intervals(low, high, stretch, self.unknown)

    def around(self, ops: Ops, members: Value, distance: Value, missing: Value) -> tuple[Value, Value]:
        """Half-widths below and above, each [B,1]."""
        low, high, stretch = (by_model(ops, members, t) for t in (self.low, self.high, self.stretch))
        factor = 1.0 + stretch * distance + self.unknown * missing
        return low * factor, high * factor


def by_model(ops: Ops, members: Value, table: Floats) -> Value:
    """[B,1] entry of `table` [H+1] for each row's hardware model; the last one where it is not known."""
    return ops.matmul(members, (table[:-1] - table[-1])[:, None]) + float(table[-1])


def conformal_quantile(scores: Floats, level: float) -> float:
    """The smallest bound that a new, exchangeable score stays below with probability `level` or more.

    It is the ceil((n + 1) level)-th smallest score; with too few scores for that, the largest one.
    """
    if not len(scores):
        raise ValueError("no scores")
    rank = min(math.ceil((len(scores) + 1) * level - 1e-9), len(scores))
    return float(np.partition(scores, rank - 1)[rank - 1])


@dataclass(frozen=True, slots=True)
class Residuals:
    """Observed minus predicted middle, [n], of rows that the predicting model was not fitted on.

    Args:
        distance, missing: [n] as in `State`.
        model: [n] hardware model; -1 where it is to count as never seen.
        unit: [n] groups of rows that err together.
    """

    value: Floats
    distance: Floats
    missing: Floats
    model: NDArray[np.int64]
    unit: NDArray[np.int64]

    def rows(self, keep: NDArray[np.bool_]) -> Residuals:
        """The rows that a mask names."""
        return Residuals(
            self.value[keep], self.distance[keep], self.missing[keep], self.model[keep], self.unit[keep]
        )


def calibrate(
    seen: Residuals, unseen: Residuals | None, models: int, steepest: float, default: float
) -> Intervals:
    """Intervals that cover 80 % of residuals like these.

    Args:
        seen: of known hardware models.
        unseen: of models left out of the fit; None where that could not be tried.
        models: number of hardware models.
        steepest: the most that a width may grow per distance, so that bounds stay monotone.
        default: half-width where there are no residuals at all.
    """
    if not len(seen.value):
        flat = np.full(models + 1, default)
        return Intervals(flat, flat.copy(), np.zeros(models + 1), 1.0)
    growth, unknown = _growth(seen)
    pooled = _widths(seen, growth, unknown, steepest)
    table = np.zeros((3, models + 1))
    few = [model for model in range(models) if (seen.model == model).sum() < LEAST_RESIDUALS]
    for model in (m for m in range(models) if m not in few):
        own = seen.model == model
        weight = own_weight(seen.unit[own])
        table[:, model] = pooled + weight * (_widths(seen.rows(own), growth, unknown, steepest) - pooled)
        table[2, model] = min(table[2, model], steepest / table[:2, model].max())
    if unseen is not None and len(unseen.value) >= LEAST_RESIDUALS:
        table[:, -1] = _widths(unseen, growth, unknown, steepest)
    else:
        table[:, -1] = (2.0 * pooled[0], 2.0 * pooled[1], 0.5 * pooled[2])
    # A model never seen is never known better than one that was.
    table[:2, -1] = np.maximum(table[:2, -1], np.maximum(table[:2, :-1].max(axis=1, initial=0.0), pooled[:2]))
    table[2, -1] = min(table[2, -1], steepest / max(table[0, -1], table[1, -1]))
    # A model of which nobody measured this quantity is as good as never seen.
    table[:, few] = table[:, [-1]]
    return Intervals(table[0], table[1], table[2], unknown)


def own_weight(unit: NDArray[np.int64]) -> float:
    """How much a hardware model's own interval counts against that of all, 0 to 1."""
    count = len(np.unique(unit))
    return count / (count + POOLING_UNITS)


def _growth(residuals: Residuals) -> tuple[float, float]:
    """How residuals grow with distance, and where history is missing, against near ones with history."""
    size, known = np.abs(residuals.value), residuals.missing == 0.0
    near = known & (residuals.distance < _NEAR)
    far = known & (residuals.distance > _FAR)
    base = np.quantile(size[near], 0.8) if near.sum() >= 50 else np.quantile(size, 0.8)
    base = max(float(base), 1e-6)
    growth = 0.0
    if near.sum() >= 50 and far.sum() >= 50:
        excess = float(np.quantile(size[far], 0.8)) / base - 1.0
        growth = max(excess, 0.0) / float(residuals.distance[far].mean())
    unknown = 1.0
    if near.sum() >= 50 and (~known).sum() >= 50:
        unknown = max(float(np.quantile(size[~known], 0.8)) / base - 1.0, 0.0)
    return min(growth, 20.0), min(unknown, 20.0)


def _widths(residuals: Residuals, growth: float, unknown: float, steepest: float) -> Floats:
    """Low, high and stretch of one group; the stretch gives way where bounds would stop being monotone."""
    stretch = growth
    low = high = _NARROWEST
    for _ in range(4):
        factor = 1.0 + stretch * residuals.distance + unknown * residuals.missing
        score = residuals.value / factor
        low = max(conformal_quantile(-score, TAIL), _NARROWEST)
        high = max(conformal_quantile(score, TAIL), _NARROWEST)
        if max(low, high) * stretch <= steepest:
            break
        stretch = 0.95 * steepest / max(low, high)
    return np.array([low, high, min(stretch, steepest / max(low, high))])

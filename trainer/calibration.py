"""Conformal calibration: how wide an interval must be, from residuals of units and times never fitted.

Intervals are per hardware model where it has enough residuals, and for a model never seen they come from
models that were left out of the fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from trainer.graph import Floats, Ops, Value
from trainer.shape import WidthState

# Of each tail of an 80 % interval.
TAIL = 0.9
# A hardware model with fewer residuals counts as never seen. With more, its own counts as much
# as it has units against this many: rows of one unit err together, so few units tell little.
LEAST_RESIDUALS = 150
POOLING_UNITS = 6
_NARROWEST = 1e-3
# Distance over which an interval opens by its leap.
LEAP_OVER = 0.15
# Residuals near the present setting, those that tell the leap, and those that tell the stretch.
_NEAR, _LEAPT, _FAR = 0.005, (0.08, 0.25), 0.3
_MOST_GROWTH = 20.0
_LEAST_TOLD = 50


@dataclass(frozen=True, slots=True)
class Intervals:
    """Half-widths per hardware model; the last row is for a model that training never saw.

    The width of a row is `half x (1 + leap x min(distance / 0.15, 1) + (stretch + blind x tilt_unknown) x
    distance + unknown x history_missing)`.

    Args:
        low, high: [H+1] below and above the middle.
        leap: [H+1] growth with any change of the setting, however small: what was seen at the present one no
            longer holds quite.
        stretch: [H+1] growth per distance between present setting and candidate.
        blind: [H+1] what is added to it where the unit has not shown the shape of its curve.
        unknown: growth where the unit's own history says nothing.
    """

    low: Floats
    high: Floats
    leap: Floats
    stretch: Floats
    blind: Floats
    unknown: float

    def inflated(self, by: float, steepest: float) -> Intervals:
        """The same, `by` times as wide; growth gives way where bounds would stop being monotone."""
        low, high = self.low * by, self.high * by
        growth = np.stack([self.leap, self.stretch, self.blind])
        growth = growth * np.minimum(1.0, steepest / np.maximum(low, high) / _steepness(growth))
        return Intervals(low, high, growth[0], growth[1], growth[2], self.unknown)

    def around(self, ops: Ops, state: WidthState, missing: Value) -> tuple[Value, Value]:
        """Half-widths below and above, each [B,1]; `missing` [B,1] is 1.0 where history says nothing."""
        low, high, leap, stretch, blind = (
            by_model(ops, state.members, t)
            for t in (self.low, self.high, self.leap, self.stretch, self.blind)
        )
        moved = ops.clip(state.distance * (1.0 / LEAP_OVER), 0.0, 1.0)
        slope = stretch + blind * state.tilt_unknown
        factor = 1.0 + leap * moved + slope * state.distance + self.unknown * missing
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
        distance, missing, tilt_unknown: [n] as in `State`.
        model: [n] hardware model; -1 where it is to count as never seen.
        unit: [n] groups of rows that err together.
        bare: [n] whether the row's history was taken away: it tells how widths grow without one, not how wide
            they are with it.
    """

    value: Floats
    distance: Floats
    missing: Floats
    tilt_unknown: Floats
    model: NDArray[np.int64]
    unit: NDArray[np.int64]
    bare: NDArray[np.bool_]

    def rows(self, keep: NDArray[np.bool_]) -> Residuals:
        """The rows that a mask names."""
        return Residuals(**{f.name: getattr(self, f.name)[keep] for f in fields(self)})


def calibrate(
    seen: Residuals, unseen: Residuals | None, kinds: NDArray[np.int64], steepest: float, default: float
) -> Intervals:
    """Intervals that cover 80 % of residuals like these.

    Args:
        seen: of known hardware models.
        unseen: of models left out of the fit; None where that could not be tried.
        kinds: [H] what kind each hardware model is of; models of one kind are set and measured alike, so a
            model with few units leans on its kind first.
        steepest: the most that a width may grow per distance, so that bounds stay monotone.
        default: half-width where there are no residuals at all.
    """
    models = len(kinds)
    if not len(seen.value):
        flat, none = np.full(models + 1, default), np.zeros(models + 1)
        return Intervals(flat, flat.copy(), none, none.copy(), none.copy(), 1.0)
    unknown = _unknown(seen)
    pooled = _widths(seen, unknown, steepest)
    of_kind = {k: _leaning(pooled, seen, kinds[seen.model] == k, unknown, steepest) for k in np.unique(kinds)}
    table = np.zeros((5, models + 1))
    few = [model for model in range(models) if (seen.model == model).sum() < LEAST_RESIDUALS]
    for model in (m for m in range(models) if m not in few):
        table[:, model] = _leaning(of_kind[kinds[model]], seen, seen.model == model, unknown, steepest)
    if unseen is not None and len(unseen.value) >= LEAST_RESIDUALS:
        table[:, -1] = _widths(unseen, unknown, steepest)
    else:
        table[:, -1] = pooled * np.array([2.0, 2.0, 0.5, 0.5, 0.5])
    # A model never seen is never known better than one that was.
    table[:2, -1] = np.maximum(table[:2, -1], np.maximum(table[:2, :-1].max(axis=1, initial=0.0), pooled[:2]))
    table[2:, -1] = _cut(table[2:, -1], steepest / table[:2, -1].max())
    # A model of which nobody measured this quantity is as good as never seen.
    table[:, few] = table[:, [-1]]
    return Intervals(table[0], table[1], table[2], table[3], table[4], unknown)


def _leaning(
    whole: Floats, residuals: Residuals, own: NDArray[np.bool_], unknown: float, steepest: float
) -> Floats:
    """`_widths` of some of the rows, leaning on those of the whole as far as few units are among them."""
    if own.sum() < LEAST_RESIDUALS:
        return whole
    part = residuals.rows(own)
    found = whole + own_weight(part.unit) * (_widths(part, unknown, steepest) - whole)
    found[2:] = _cut(found[2:], steepest / found[:2].max())
    return found


def own_weight(unit: NDArray[np.int64]) -> float:
    """How much a hardware model's own interval counts against that of all, 0 to 1."""
    count = len(np.unique(unit))
    return count / (count + POOLING_UNITS)


def _size(residuals: Residuals, rows: NDArray[np.bool_]) -> float:
    """What 80 % of the residuals of `rows` stay below; NaN where these are too few to tell."""
    return float(np.quantile(np.abs(residuals.value[rows]), 0.8)) if rows.sum() >= _LEAST_TOLD else math.nan


def _excess(residuals: Residuals, rows: NDArray[np.bool_]) -> float:
    """How much larger the residuals of `rows` are than those at the present setting of units with history."""
    near = (residuals.missing == 0.0) & (residuals.distance < _NEAR)
    ratio = _size(residuals, rows) / max(_size(residuals, near), 1e-6)
    return max(ratio - 1.0, 0.0) if math.isfinite(ratio) else math.nan


def _unknown(residuals: Residuals) -> float:
    """Growth where there is no history; 1 where that cannot be told."""
    found = _excess(residuals, residuals.missing > 0.0)
    return min(found, _MOST_GROWTH) if math.isfinite(found) else 1.0


def _growth(residuals: Residuals) -> Floats:
    """Leap, stretch and blind; 0 where they cannot be told."""
    known, told = residuals.missing == 0.0, residuals.tilt_unknown < 0.5
    at = residuals.distance
    leapt = known & told & (at >= _LEAPT[0]) & (at < _LEAPT[1])
    leap = float(np.nan_to_num(_excess(residuals, leapt)))
    far = known & (at > _FAR)
    stretch = _per_distance(residuals, far & told, leap)
    blind = _per_distance(residuals, far & ~told, leap) - stretch
    return np.clip([leap, stretch, blind], 0.0, _MOST_GROWTH)


def _per_distance(residuals: Residuals, rows: NDArray[np.bool_], leap: float) -> float:
    found = _excess(residuals, rows) - leap
    return found / float(residuals.distance[rows].mean()) if math.isfinite(found) else 0.0


def _steepness(growth: Floats) -> Floats:
    """The most that a factor grows per distance, by growth [3,...]."""
    return np.asarray(np.maximum(growth[0] / LEAP_OVER + growth[1] + growth[2], 1e-9))


def _cut(growth: Floats, most: float) -> Floats:
    """Growth [3] that is nowhere steeper than `most`."""
    return np.asarray(growth * min(1.0, most / float(_steepness(growth))))


def _widths(residuals: Residuals, unknown: float, steepest: float) -> Floats:
    """Low, high, leap, stretch, blind of one group; growth gives way where bounds would not be monotone."""
    growth = _growth(residuals)
    if (~residuals.bare).sum() >= LEAST_RESIDUALS:
        residuals = residuals.rows(~residuals.bare)
    moved = np.clip(residuals.distance / LEAP_OVER, 0.0, 1.0)
    low = high = _NARROWEST
    for _ in range(4):
        slope = growth[1] + growth[2] * residuals.tilt_unknown
        factor = 1.0 + growth[0] * moved + slope * residuals.distance + unknown * residuals.missing
        score = residuals.value / factor
        low = max(conformal_quantile(-score, TAIL), _NARROWEST)
        high = max(conformal_quantile(score, TAIL), _NARROWEST)
        if max(low, high) * float(_steepness(growth)) <= steepest:
            break
        growth = _cut(growth, 0.95 * steepest / max(low, high))
    return np.array([low, high, *_cut(growth, steepest / max(low, high))])

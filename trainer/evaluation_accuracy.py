"""How far held-out predictions are off, by group of rows: error, bias, coverage, shape of residuals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.held_out import HeldOut

QUANTITIES = ("hashrate_ths", "power_w", "chip_temp_c", "profit_usd_per_day")
# Errors of these two are relative to what was observed; of the others in their own unit.
RELATIVE = ("hashrate_ths", "power_w")
# Fewer rows than this tell nothing of a group.
LEAST_ROWS = 20
_BINS = 40
_QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
# Where `_QUANTILES` of a standard normal distribution lie.
_NORMAL = (-2.3263, -1.6449, -1.2816, -0.6745, 0.0, 0.6745, 1.2816, 1.6449, 2.3263)

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How predictions of one quantity did on one group of rows. None where too few rows tell.

    Args:
        error: median of |predicted - observed|, of what was observed for hashrate and power.
        error_p90: nine in ten rows are nearer than this.
        bias: median of predicted - observed, likewise.
        standard_error: of `error`, from the spread between units: rows of one unit err together.
        coverage: share of rows inside their 80 % interval. below, above: shares that fell out on each side.
        coverage_standard_error: of `coverage`, between units.
        width: median width of the interval, of the predicted middle for hashrate and power.
    """

    rows: int
    units: int
    error: float | None
    error_p90: float | None
    bias: float | None
    standard_error: float | None
    coverage: float | None
    below: float | None
    above: float | None
    coverage_standard_error: float | None
    width: float | None


@dataclass(frozen=True, slots=True)
class Group:
    """One group of rows: its name and each quantity's accuracy."""

    name: str
    quantities: dict[str, Accuracy]


@dataclass(frozen=True, slots=True)
class Residuals:
    """Shape of predicted / observed - 1: a histogram, quantiles, and the same quantiles of a normal one.

    Args:
        edges: [B+1] of the histogram; rows beyond the ends are in the end bins. shares: [B] of all rows.
        levels, quantiles, normal: what share lies below, where, and where it would of a normal distribution
            with the same median and quartiles.
    """

    edges: list[float]
    shares: list[float]
    levels: list[float]
    quantiles: list[float]
    normal: list[float]


def judge(name: str, held: HeldOut, keep: Mask) -> Group:
    """Accuracy of every quantity on the rows of `held` that a mask names."""
    return Group(name, {quantity: _accuracy(held, quantity, keep) for quantity in QUANTITIES})


def _accuracy(held: HeldOut, quantity: str, keep: Mask) -> Accuracy:
    observed, predicted = getattr(held, quantity), held.predicted[quantity]
    keep = keep & np.isfinite(observed) & np.isfinite(predicted).all(axis=1)
    observed, predicted, unit = observed[keep], predicted[keep], held.unit[keep]
    low, middle, high = predicted.T
    off, width = middle - observed, high - low
    if quantity in RELATIVE:
        off, width = off / observed, width / middle
    inside = (low <= observed) & (observed <= high)
    units = np.unique(unit)
    if not len(off):
        return Accuracy(0, 0, *(None,) * 9)
    return Accuracy(
        rows=len(off),
        units=len(units),
        error=float(np.median(np.abs(off))),
        error_p90=float(np.quantile(np.abs(off), 0.9)),
        bias=float(np.median(off)),
        standard_error=between_units([float(np.median(np.abs(off[unit == u]))) for u in units]),
        coverage=float(inside.mean()),
        below=float((observed < low).mean()),
        above=float((observed > high).mean()),
        coverage_standard_error=between_units([float(inside[unit == u].mean()) for u in units]),
        width=float(np.median(width)),
    )


def unit_scores(held: HeldOut, quantity: str, keep: Mask) -> tuple[dict[int, float], dict[int, float]]:
    """Median error and coverage of each unit, by unit, on the rows that a mask names."""
    observed, (low, middle, high) = getattr(held, quantity), held.predicted[quantity].T
    keep = keep & np.isfinite(observed) & np.isfinite(middle) & np.isfinite(low) & np.isfinite(high)
    off = np.abs(middle - observed)
    if quantity in RELATIVE:
        off = off / observed
    inside = (low <= observed) & (observed <= high)
    rows = {int(unit): keep & (held.unit == unit) for unit in np.unique(held.unit[keep])}
    return (
        {unit: float(np.median(off[own])) for unit, own in rows.items()},
        {unit: float(inside[own].mean()) for unit, own in rows.items()},
    )


def residuals(held: HeldOut, quantity: str) -> Residuals | None:
    """Shape of the residuals of hashrate or power; None where too few rows tell."""
    observed, middle = getattr(held, quantity), held.predicted[quantity][:, 1]
    off = middle / observed - 1.0
    off = off[np.isfinite(off)]
    if len(off) < LEAST_ROWS:
        return None
    quantiles = np.quantile(off, _QUANTILES)
    # Rows far out would flatten everything else, so they share the end bins.
    reach = max(float(np.quantile(np.abs(off), 0.98)) * 1.1, 1e-4)
    edges = np.linspace(-reach, reach, _BINS + 1)
    counts, _ = np.histogram(np.clip(off, -reach, reach), edges)
    sigma = float(quantiles[5] - quantiles[3]) / 1.349
    normal = [float(quantiles[4]) + sigma * z for z in _NORMAL]
    return Residuals(
        edges.tolist(), (counts / len(off)).tolist(), list(_QUANTILES), quantiles.tolist(), normal
    )


def between_units(values: Sequence[float]) -> float | None:
    """Standard error of a mean over units; None with fewer than two."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None

"""Errors of predictions and how often their intervals hold, each with what chance alone could change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from agent.models.bundle import Bundle
from benchmarks.judging.farm import Farm

_CHUNK_ROWS = 4096


def power_model(bundle: Bundle, features: np.ndarray, share: np.ndarray) -> list[np.ndarray]:
    """Rate, power and chip temperature, [n,3] each, in chunks that fit the processor's cache."""
    parts = [
        bundle.run_power(features[i : i + _CHUNK_ROWS], share[i : i + _CHUNK_ROWS, None].astype(np.float32))
        for i in range(0, len(share), _CHUNK_ROWS)
    ]
    return [np.concatenate(side).astype(np.float64) for side in zip(*parts, strict=True)]


def accuracy(bundle: Bundle, farms: Sequence[Farm]) -> dict[str, Any]:
    """Median errors, and how often the 80 % intervals hold, overall and by hardware model.

    Rows of one unit err together, so what chance does to a coverage is taken from the spread between units.
    """
    told = [power_model(bundle, each.rows.features, each.rows.share) for each in farms]
    model = np.concatenate([np.array(each.rows.models)[each.rows.model] for each in farms])
    unit = np.concatenate([each.rows.unit + 1_000_000 * place for place, each in enumerate(farms)])
    changed = np.concatenate([each.rows.changed for each in farms])
    found: dict[str, Any] = {}
    for place, (name, target) in enumerate((("hashrate", "hashrate_ths"), ("power", "power_w"))):
        truth = np.concatenate([getattr(each.rows, target) for each in farms])
        bounds = np.concatenate([each[place] for each in told])
        known = np.isfinite(truth)

        def of(own: np.ndarray, truth: np.ndarray = truth, bounds: np.ndarray = bounds) -> dict[str, Any]:
            return judged(truth[own], bounds[own], unit[own])

        by = {m: of(own) for m in np.unique(model) for own in (known & (model == m),) if own.any()}
        inside = [each["coverage"] for each in by.values()]
        found[name] = of(known) | {
            "after_a_change": of(known & changed),
            "coverage_by_model_least": min(inside),
            "coverage_by_model_most": max(inside),
            "by_model": by,
        }
    return found


def judged(truth: np.ndarray, bounds: np.ndarray, unit: np.ndarray) -> dict[str, Any]:
    off = np.abs(bounds[:, 1] / truth - 1.0)
    inside = ((truth >= bounds[:, 0]) & (truth <= bounds[:, 2])).astype(np.float64)
    return {
        "median_error": share_of(np.median(off)),
        "p90_error": share_of(np.quantile(off, 0.9)),
        "coverage": share_of(inside.mean()),
        "coverage_standard_error": share_of(_between_units(inside, unit)),
        "below": share_of((truth < bounds[:, 0]).mean()),
        "above": share_of((truth > bounds[:, 2]).mean()),
        "median_width": share_of(np.median((bounds[:, 2] - bounds[:, 0]) / bounds[:, 1])),
        "rows": len(truth),
        "units": len(np.unique(unit)),
    }


def _between_units(values: np.ndarray, unit: np.ndarray) -> float:
    """Standard error of the mean of `values`, taken as if units were drawn, not rows."""
    _, place = np.unique(unit, return_inverse=True)
    off = np.bincount(place, weights=values - values.mean())
    count = len(off)
    return float(np.sqrt((off**2).sum() * count / max(count - 1, 1)) / len(values))


def share_of(value: float | np.floating[Any]) -> float:
    return round(float(value), 4)

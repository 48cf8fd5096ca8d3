"""The whole of learning: choose a family, calibrate it, fit it to everything, export and check it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import DataError
from agent.features.streaming import feature_names
from agent.hardware.catalogue import Catalogue
from agent.hardware.family import hardware_family
from agent.models.bundle import Bundle
from trainer.calibration import Intervals
from trainer.crossfit import assemble, cross_fit, judge_coverage
from trainer.dataset import Dataset
from trainer.export import GOLDEN_ROWS, check_export, golden_vectors, graphs, write_bundle
from trainer.families import FAMILIES, Family
from trainer.graph import Floats
from trainer.held_out import CurveWatch, HeldOut, held_out
from trainer.power_model import fit_curves, fit_temperature
from trainer.profit_model import ProfitModel, fit_paid
from trainer.reference import reference
from trainer.scoring import score
from trainer.selection import Tried, choose, cross_validate, finite

# Told the step in words and the share of it that is done.
Progress = Callable[[str, float], None]
_CHECK_ROWS = 4000
_LEAST_ROWS = 300


@dataclass(frozen=True, slots=True)
class Learned:
    """A calibrated model with everything that is to be said of it."""

    model: ProfitModel
    chosen: Tried
    metrics: dict[str, Any]
    calibration: dict[str, Any]
    held_out: HeldOut


def learn(dataset: Dataset, seed: int, progress: Progress, families: Sequence[Family] = FAMILIES) -> Learned:
    """Learn both models from `dataset`.

    Raises:
        DataError: too few rows, units or days.
    """
    if len(dataset) < _LEAST_ROWS:
        raise DataError(f"{len(dataset)} rows are too few to learn from, at least {_LEAST_ROWS} are needed")
    tried = cross_validate(families, dataset, seed, lambda done: progress("choosing the model", done))
    chosen = choose(tried)
    family = chosen.family
    curves = fit_curves(family, dataset, seed)
    names = curves.view.anchors.names
    watched = CurveWatch(dataset)
    held = cross_fit(
        family, dataset, names, seed, lambda done: progress("calibrating intervals", done), watched
    )
    # Trees rise in steps: between two of them their curve is flat and its bounds may not open.
    steep = family.kind != "trees"
    temperature, paid = fit_temperature(curves.view, dataset), fit_paid(curves.view, dataset)
    coverage = judge_coverage(held, curves, steep=steep)
    model = assemble(curves, temperature, paid, held, coverage.inflation, steep=steep)
    by_model = {}
    for number, name in enumerate(names):
        own = held.rows((held.fold >= 0) & (held.model == number) & (held.rate_missing == 0.0))
        alone = held.rows((held.fold < 0) & np.isin(held.unit, np.unique(own.unit)))
        by_model[name] = {
            "hashrate_error": _error(own.rate),
            "power_error": _error(own.power),
            "chip_temp_error_c": _error(own.temperature),
            "hashrate_bias": _bias(own.rate),
            "power_bias": _bias(own.power),
            "hashrate_error_never_seen": _error(alone.rate),
            "power_error_never_seen": _error(alone.power),
        }
    fitted = score(curves, dataset)
    metrics = {
        "families": [t.to_dict() for t in tried],
        "chosen": family.name,
        "regret": finite(chosen.mean("regret")),
        "slope_error": finite(chosen.mean("slope_error")),
        "hashrate_error": finite(chosen.mean("hashrate_error")),
        "power_error": finite(chosen.mean("power_error")),
        "fitted": {
            "regret": finite(fitted.regret),
            "slope_error": finite(fitted.slope_error),
            "hashrate_error": finite(fitted.hashrate_error),
            "power_error": finite(fitted.power_error),
        },
        "by_model": by_model,
        "coverage": coverage.metrics,
        "importance": {
            "hashrate": _first(curves.hashrate.importance(), 12),
            "power": _first(curves.power.importance(), 12),
        },
        "paid_share": finite(float(np.nanmean(dataset.effective))),
        "lost_hashing_h": lost_hashing(dataset),
    }
    calibration = {
        "models": list(names),
        "rows": int((held.fold >= 0).sum()),
        "hashrate": _widths(model.power.hashrate_intervals),
        "power": _widths(model.power.power_intervals),
        "chip_temp": _widths(model.power.temperature.intervals),
        "joint_correlation": finite(model.joint.correlation),
        "joint_low": [finite(float(v)) for v in model.joint.low],
        "joint_high": [finite(float(v)) for v in model.joint.high],
    }
    rows = held_out(dataset, held, curves, coverage.inflation, watched, steep=steep)
    return Learned(model, chosen, metrics, calibration, rows)


def export(
    learned: Learned, dataset: Dataset, out: Path, seed: int, created_at: datetime, progress: Progress
) -> Bundle:
    """Write `learned` as a bundle to `out`.

    Raises:
        BundleError: the export does not agree with the model, or `out` cannot be used.
    """
    progress("exporting to ONNX", 0.0)
    rng = np.random.default_rng(seed)
    made = graphs(learned.model)
    pick = np.sort(rng.choice(len(dataset), size=min(_CHECK_ROWS, len(dataset)), replace=False))
    share, money = _candidates(dataset, pick, rng)
    features = dataset.features[pick]
    progress("exporting to ONNX", 0.4)
    differences = check_export(made, learned.model, features, share, money)
    rows = np.sort(rng.choice(len(pick), size=min(GOLDEN_ROWS, len(pick)), replace=False))
    golden_features = features[rows].copy()
    # One vector has nothing but rated figures, as a unit just found has.
    golden_features[0, ~np.isin(np.arange(features.shape[1]), _rated_columns())] = np.nan
    content = {
        "hardware": _hardware(dataset),
        "training": {
            "start": datetime.fromtimestamp(float(dataset.at_s.min()), UTC).isoformat(),
            "end": datetime.fromtimestamp(float(dataset.end_s.max()), UTC).isoformat(),
            "rows": len(dataset),
            "units": len(np.unique(dataset.unit)),
            "sites": sorted({site for site, _, _ in dataset.units}),
            "seed": seed,
            "model_family": learned.chosen.family.name,
            "hyper_parameters": learned.chosen.family.parameters(),
        },
        "metrics": learned.metrics | {"export_difference": differences},
        "calibration": learned.calibration,
        "reference": [family.model_dump() for family in reference(dataset)],
        "golden": golden_vectors(made, golden_features, share[rows], money[rows]),
    }
    bundle = write_bundle(out, made, content, created_at)
    progress("exporting to ONNX", 1.0)
    return bundle


def lost_hashing(dataset: Dataset) -> dict[str, dict[str, float | None]]:
    """Hours of hashing that changes cost, as observed, by hardware model: median and how many were seen."""
    found = {}
    for number, name in enumerate(dataset.models):
        seen = dataset.lost_h[(dataset.model == number) & np.isfinite(dataset.lost_h)]
        if len(seen):
            found[name] = {"median_h": finite(float(np.median(seen))), "changes": float(len(seen))}
    return found


def _candidates(dataset: Dataset, pick: NDArray[np.int64], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Shares and economics to try the export with: what was seen, spread over what may be asked."""
    count = len(pick)
    share = np.where(rng.random(count) < 0.5, dataset.share[pick], rng.uniform(0.3, 1.2, count))
    hashprice = np.nan_to_num(dataset.hashprice[pick], nan=0.05)
    price = np.nan_to_num(dataset.price[pick], nan=0.05)
    lost_h = np.where(dataset.changed[pick], 0.2, 0.0)
    return share, np.stack([hashprice, price, lost_h, rng.uniform(1.0, 24.0, count)], axis=1)


def _rated_columns() -> list[int]:
    names = feature_names()
    return [names.index(n) for n in ("rated_hashrate_ths", "rated_power_w", "vendor_code", "cooling_code")]


def _hardware(dataset: Dataset) -> list[dict[str, Any]]:
    profiles = Catalogue.load().profiles
    found = []
    for number, name in enumerate(dataset.models):
        own = dataset.model == number
        if own.any() and name in profiles:
            found.append(
                {
                    "key": name,
                    "family": hardware_family(profiles[name]),
                    "units": len(np.unique(dataset.unit[own])),
                    "rows": int(own.sum()),
                    "rows_with_power": int(np.isfinite(dataset.power_w[own]).sum()),
                }
            )
    if not found:
        raise DataError("no miner in the telemetry is of a hardware model that has a profile")
    return found


def _widths(intervals: Intervals) -> dict[str, Any]:
    return {
        "low": [finite(float(v)) for v in intervals.low],
        "high": [finite(float(v)) for v in intervals.high],
        "leap": [finite(float(v)) for v in intervals.leap],
        "stretch": [finite(float(v)) for v in intervals.stretch],
        "blind": [finite(float(v)) for v in intervals.blind],
        "unknown": finite(intervals.unknown),
    }


def _error(values: Floats) -> float | None:
    known = np.abs(values[np.isfinite(values)])
    return finite(float(np.median(known))) if len(known) else None


def _bias(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return finite(float(np.median(known))) if len(known) else None


def _first(values: dict[str, float], count: int) -> dict[str, float]:
    return dict(list(values.items())[:count])

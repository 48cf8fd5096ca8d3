"""A new model beside the bundle in use, on rows that neither has learned from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from agent.energy import KWH_PER_W_DAY
from agent.models.bundle import Bundle
from trainer.dataset import Dataset
from trainer.evaluation_accuracy import unit_scores
from trainer.evaluation_regret import regret_by_unit
from trainer.families import Family
from trainer.graph import Floats
from trainer.held_out import HeldOut
from trainer.power_model import Curves, fit_curves
from trainer.report_figures import SPREAD, Comparison, Difference, difference

_QUANTITIES = ("hashrate_ths", "power_w", "profit_usd_per_day")
_LEAST_ROWS = 200
_LEAST_UNITS = 5
# With fewer miners the spread between them is anybody's guess, and so is what is noise.
_LEAST_PAIRED = 3


def compare_on_rows(
    in_use: Bundle, family: Family, held: HeldOut, dataset: Dataset, seed: int
) -> Comparison | None:
    """Let both predict held-out rows that are later than what the bundle in use learned from.

    The new model is fitted once more, to all miners up to the first of these rows: it then knows the miners
    as the bundle in use may, and not the rows. Its intervals are as calibrated without the miner.

    Args:
        family, seed: how the new model is fitted.

    Returns:
        None where too few rows are new to both.

    Raises:
        BundleError: a graph does not run.
    """
    after = max(in_use.manifest.training.end.timestamp(), float(held.at_s[held.seen].min(initial=np.inf)))
    rows = held.rows(held.seen & (held.at_s >= after))
    units = len(np.unique(rows.unit))
    early = dataset.end_s <= after
    if len(rows) < _LEAST_ROWS or units < _LEAST_UNITS or early.sum() < _LEAST_ROWS:
        return None
    fitted = fit_curves(family, dataset.rows(early), seed)
    ours = replace(rows, predicted=_refitted(fitted, rows, dataset))
    theirs = replace(rows, predicted=_predictions(in_use, rows, dataset))
    differences = []
    names = {"all": np.ones(len(rows), dtype=np.bool_)} | {
        name: rows.model == number for number, name in enumerate(rows.models) if (rows.model == number).any()
    }
    for scope, keep in names.items():
        for quantity in _QUANTITIES:
            a, b = unit_scores(ours, quantity, keep), unit_scores(theirs, quantity, keep)
            for metric, place in ((f"error {quantity}", 0), (f"coverage {quantity}", 1)):
                differences.append(_paired(metric, scope, a[place], b[place]))
    lost, lost_by_them = _regrets(fitted, in_use, held, dataset, after)
    if lost:
        differences.append(_paired("regret usd_per_unit_day", "all", lost, lost_by_them))
    return Comparison(
        in_use.manifest.bundle_id,
        in_use.manifest.training.end.isoformat(),
        "same rows",
        len(rows),
        units,
        differences,
    )


def _refitted(fitted: Curves, rows: HeldOut, dataset: Dataset) -> dict[str, Floats]:
    """Predictions of the fit that knows these miners, with the widths that the rows have already."""
    rate, power = fitted.predict(dataset.features[rows.row], rows.share)
    old_rate, old_power, old_profit = (rows.predicted[name] for name in _QUANTITIES)
    old_energy = rows.price * KWH_PER_W_DAY * old_power[:, 1]
    # Revenue goes with the rate; what is paid of it stays as it was predicted.
    revenue = (old_profit[:, 1] + old_energy) * rate / old_rate[:, 1]
    profit = revenue - rows.price * KWH_PER_W_DAY * power
    return {
        "hashrate_ths": old_rate * (rate / old_rate[:, 1])[:, None],
        "power_w": old_power * (power / old_power[:, 1])[:, None],
        "profit_usd_per_day": old_profit + (profit - old_profit[:, 1])[:, None],
    }


def _predictions(bundle: Bundle, rows: HeldOut, dataset: Dataset) -> dict[str, Floats]:
    features, share = dataset.features[rows.row], rows.share.astype(np.float32)[:, None]
    rate, power, _ = bundle.run_power(features, share)
    # Nothing lost and a day held: profit per day as it is observed.
    money = np.stack([rows.hashprice, rows.price, np.zeros(len(rows)), np.full(len(rows), 24.0)], axis=1)
    profit = bundle.run_profit(features, share, np.nan_to_num(money).astype(np.float32)).astype(np.float64)
    profit[~np.isfinite(money).all(axis=1)] = np.nan
    made = (rate.astype(np.float64), power.astype(np.float64), profit)
    return dict(zip(_QUANTITIES, made, strict=True))


def _regrets(
    fitted: Curves, in_use: Bundle, held: HeldOut, dataset: Dataset, after: float
) -> tuple[dict[int, float], dict[int, float]]:
    """USD per day that each unit loses by the curves of the new fit, and by those of the bundle in use."""
    ours, theirs = [], []
    for whole in held.curves:
        late = dataset.at_s[whole.row] >= after
        if not whole.seen or not late.any():
            continue
        curve = replace(whole, row=whole.row[late], hashprice=whole.hashprice[late], price=whole.price[late])
        width = len(curve.share)
        features = np.repeat(dataset.features[curve.row], width, axis=0)
        share = np.tile(curve.share, len(curve.row))
        rate, power = (v.reshape(-1, width) for v in fitted.predict(features, share))
        ours.append(replace(curve, predicted_rate=rate, predicted_power=power))
        raw_rate, raw_power, _ = in_use.run_power(features, share.astype(np.float32)[:, None])
        rate, power = (v[:, 1].astype(np.float64).reshape(-1, width) for v in (raw_rate, raw_power))
        theirs.append(replace(curve, predicted_rate=rate, predicted_power=power))
    return regret_by_unit(ours), regret_by_unit(theirs)


def _paired(metric: str, scope: str, a: Mapping[int, float], b: Mapping[int, float]) -> Difference:
    """Compare by the differences of the same units, whose spread is the noise."""
    units = sorted(set(a) & set(b))
    if not units:
        return Difference(metric, scope, None, None, None, "unknown")
    ours, theirs = np.array([a[u] for u in units]), np.array([b[u] for u in units])
    off = ours - theirs
    noise = None
    if len(units) >= _LEAST_PAIRED:
        noise = SPREAD * float(off.std(ddof=1)) / float(np.sqrt(len(units)))
    return difference(metric, scope, float(ours.mean()), float(theirs.mean()), noise)

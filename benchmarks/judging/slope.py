"""Whether the slope of power over hashrate is right: it is what a watt more or less brings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from agent.features.streaming import feature_names
from agent.models.bundle import Bundle
from benchmarks.judging.accuracy import power_model, share_of
from benchmarks.judging.farm import Farm

Curve = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

# Settings at which slopes are compared, as shares of rated power; power limits do not reach the lowest.
LADDER = np.round(np.arange(0.45, 1.051, 0.05), 2)
LOWEST_LIMIT = 0.60
LIMIT = 0.15
_MOMENTS = 4


def middle_of(bundle: Bundle) -> Curve:
    """The medians of rate and power."""

    def predict(features: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rate, power, _ = power_model(bundle, features, share)
        return rate[:, 1], power[:, 1]

    return predict


def constant_j_th(predict: Curve) -> Curve:
    """The same predictions at each unit's present setting, and the same J/TH at every other."""
    present = feature_names().index("setting_share")

    def belief(features: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        now = np.clip(np.nan_to_num(features[:, present].astype(np.float64), nan=1.0), 0.3, 1.2)
        rate, power = predict(features, now)
        _, watts = predict(features, share)
        return rate * watts / power, watts

    return belief


def moments(each: Farm) -> list[tuple[int, str]]:
    """Rows at which curves are compared, a few per sound, finely set unit, and whose they are."""
    found = []
    rows = each.rows
    whole = ~(rows.column("boards_lost") > 0.0)
    for unit, (_, miner, _) in enumerate(rows.units):
        if not each.truth.finely_set(miner):
            continue
        own = np.flatnonzero((rows.unit == unit) & whole)
        own = np.array([row for row in own if each.truth.sound(miner, float(rows.at_s[row]))], dtype=np.int64)
        if len(own) >= _MOMENTS:
            found += [(int(row), miner) for row in own[np.linspace(0, len(own) - 1, _MOMENTS).astype(int)]]
    return found


def slopes(farms: Sequence[Farm], predict: Curve) -> dict[str, Any]:
    """How far dP/dH between neighbouring settings is from the true one, as the unit's own power is told.

    Units of which nobody tells the power are judged too, and apart: what their own curve is cannot be known.
    """
    off, at, who, kind, told = [], [], [], [], []
    for each in farms:
        models = {miner: model for _, miner, model in each.rows.units}
        for row, miner in moments(each):
            ladder = LADDER[LADDER >= LOWEST_LIMIT] if each.truth.set_by_watts(miner) else LADDER
            true = each.truth.curve(miner, float(each.rows.at_s[row]), ladder)
            rate, power = predict(np.repeat(each.rows.features[row][None], len(ladder), axis=0), ladder)
            rise = np.diff(true.hashrate_ths)
            # Where a unit cannot follow its limit there is no slope to get right.
            follows = rise > 0.01 * true.hashrate_ths[-1]
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = (np.diff(power) / np.diff(rate)) / (np.diff(true.told_w) / rise)
            count = int(follows.sum())
            off.append((ratio - 1.0)[follows])
            at.append(((ladder[1:] + ladder[:-1]) / 2.0)[follows])
            who.append(np.full(count, f"{each.seed} {miner}"))
            kind.append(np.full(count, models[miner]))
            told.append(np.full(count, bool(np.isfinite(each.rows.power_w[row]))))
    error, place, unit = np.concatenate(off), np.round(np.concatenate(at), 3), np.concatenate(who)
    model, metered = np.concatenate(kind), np.concatenate(told)
    size = np.where(np.isfinite(error), np.abs(error), np.inf)

    def units_within(own: np.ndarray) -> dict[str, Any]:
        names = np.unique(unit[own])
        typical = np.array([np.median(size[unit == name]) for name in names])
        return {
            "units": len(names),
            "median_error": share_of(np.median(size[own])) if len(names) else None,
            "units_within_15_percent": share_of((typical < LIMIT).mean()) if len(names) else None,
        }

    by_model = {}
    for name in np.unique(model):
        own = model == name
        worst = max(float(np.median(size[own & (place == s)])) for s in np.unique(place[own]))
        by_model[str(name)] = units_within(own) | {"worst_share": share_of(worst)}
    return units_within(np.ones(len(size), dtype=bool)) | {
        "p90_error": share_of(np.quantile(size, 0.9)),
        "median_error_by_share": {f"{s:g}": share_of(np.median(size[place == s])) for s in np.unique(place)},
        "median_bias_by_share": {f"{s:g}": share_of(np.median(error[place == s])) for s in np.unique(place)},
        "power_known": units_within(metered),
        "power_unknown": units_within(~metered),
        "by_model": by_model,
    }

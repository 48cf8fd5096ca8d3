"""What choosing settings by held-out predictions would have cost, at prices of the day and under stress."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.energy import KWH_PER_W_DAY
from trainer.evaluation_accuracy import between_units
from trainer.graph import Floats
from trainer.held_out import LevelCurve

# Revenue per energy cost of the unit at its best level, from a dear hour to a cheap one.
STRESS_MARGINS = (0.85, 1.0, 1.1, 1.25, 1.5, 2.0)


@dataclass(frozen=True, slots=True)
class Regret:
    """Profit lost by choosing each unit's setting by the predicted instead of the observed curve.

    Args:
        usd_per_unit_day: mean over units at the prices of the day; standard_error: between units.
        best_usd_per_unit_day: what the best choice earns. nominal_usd_per_unit_day: what running at the
            highest observed level loses against it.
        share: of the best profit, over `STRESS_MARGINS`; share_standard_error: between units.
    """

    name: str
    units: int
    usd_per_unit_day: float | None
    standard_error: float | None
    best_usd_per_unit_day: float | None
    nominal_usd_per_unit_day: float | None
    share: float | None
    share_standard_error: float | None


@dataclass(frozen=True, slots=True)
class UnitRegret:
    """What choosing by prediction loses on one unit.

    Args:
        lost, best: [M] USD per day lost and earned by the best choice, at the prices of each moment.
        nominal: [M] USD per day that running at the highest observed level loses against the best choice.
        lost_share, best_share: one for each of `STRESS_MARGINS`, of the highest level's revenue.
    """

    lost: Floats
    best: Floats
    nominal: Floats
    lost_share: Floats
    best_share: Floats


def regret_by_unit(curves: Sequence[LevelCurve]) -> dict[int, float]:
    """Mean USD per day that each unit loses at the prices of the day, by unit."""
    lost = {curve.unit: unit_regret(curve).lost for curve in curves}
    return {unit: float(values.mean()) for unit, values in lost.items() if len(values)}


def unit_regret(curve: LevelCurve) -> UnitRegret:
    """What choosing the unit's setting by its predicted curve loses against its observed one."""
    lost, best, nominal = [], [], []
    for moment in range(len(curve.price)):
        hashprice, energy = curve.hashprice[moment], curve.price[moment] * KWH_PER_W_DAY
        truth = np.append(hashprice * curve.rate - energy * curve.power, 0.0)
        told = np.append(
            hashprice * curve.predicted_rate[moment] - energy * curve.predicted_power[moment], 0.0
        )
        if np.isfinite(truth).all() and np.isfinite(told).all():
            lost.append(truth.max() - truth[told.argmax()])
            best.append(truth.max())
            nominal.append(truth.max() - truth[-2])
    cost = float((curve.power / curve.rate).min())
    lost_share, best_share = [], []
    for margin in STRESS_MARGINS:
        hashprice = margin * cost
        truth = np.append(hashprice * curve.rate - curve.power, 0.0)
        told = hashprice * curve.predicted_rate - curve.predicted_power
        choice = np.append(told, np.zeros((len(told), 1)), axis=1).argmax(axis=1)
        scale = hashprice * float(curve.rate.max())
        lost_share.append(float((truth.max() - truth[choice]).mean()) / scale)
        best_share.append(float(truth.max()) / scale)
    return UnitRegret(
        np.array(lost), np.array(best), np.array(nominal), np.array(lost_share), np.array(best_share)
    )


def regret_of(name: str, parts: Sequence[UnitRegret]) -> Regret:
    """Regret over a group of units, at least one."""
    priced = [part for part in parts if len(part.lost)]
    best_share = np.array([part.best_share.sum() for part in parts])
    lost_share = np.array([part.lost_share.sum() for part in parts])
    total = float(best_share.sum())
    return Regret(
        name=name,
        units=len(parts),
        usd_per_unit_day=_mean([part.lost.mean() for part in priced]),
        standard_error=between_units([float(part.lost.mean()) for part in priced]),
        best_usd_per_unit_day=_mean([part.best.mean() for part in priced]),
        nominal_usd_per_unit_day=_mean([part.nominal.mean() for part in priced]),
        share=float(lost_share.sum()) / total if total > 0.0 else None,
        share_standard_error=_ratio_error(lost_share, best_share),
    )


def _ratio_error(lost: Floats, best: Floats) -> float | None:
    """Standard error of sum(lost) / sum(best) over units, to first order."""
    if len(lost) < 2 or best.sum() <= 0.0:
        return None
    off = lost - lost.sum() / best.sum() * best
    return float(off.std(ddof=1) * np.sqrt(len(off)) / best.sum())


def _mean(values: Sequence[Any]) -> float | None:
    return float(np.mean(values)) if len(values) else None

"""By how much each unit's chips are hotter than predicted: what a limit of temperature is checked with.

A unit that is hotter than thought counts at once, one that is cooler only slowly: the limit is there for the
hottest hour, not for the mean one. Predictions come without the present temperature among their inputs, so that
what was seen while a unit hashed holds while it is stopped, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.feature_table import feature_names

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Bools = NDArray[np.bool_]

_FORGET_H = 72.0
# Beyond this a sensor is broken rather than a chip hot.
_MOST_C = 30.0
# How much hotter than the upper prediction a unit may get that was not yet seen in such heat.
_SPARE_C = 3.0
_POWER_RATIO = (0.5, 1.6)


@dataclass(frozen=True, slots=True)
class ChipHeat:
    """N units.

    Args:
        above_c: [N] degrees above what was predicted; NaN before any reading.
        at_w: [N] predicted power at the setting at which that was seen.
        seen_s: Unix seconds of the last look.
    """

    above_c: Floats
    at_w: Floats
    seen_s: float

    @staticmethod
    def unknown(count: int) -> ChipHeat:
        """Of units that were never looked at."""
        return ChipHeat(np.full(count, np.nan), np.full(count, np.nan), float("nan"))


def without_present(features: Floats32) -> Floats32:
    """Features [N,F] with the chips' present temperature left out."""
    blind = features.copy()
    blind[:, feature_names().index("chip_temp_c")] = np.nan
    return blind


def follow(
    heat: ChipHeat, predicted_c: Floats, predicted_w: Floats, chip_c: Floats, usable: Bools, at_s: float
) -> ChipHeat:
    """Take in one moment.

    Args:
        predicted_c, predicted_w: [N] medians at the setting in force.
        chip_c: [N] hottest chip as measured; NaN where unknown.
        usable: [N] True where the unit is settled and hashes.
    """
    seen = chip_c - predicted_c
    known = usable & np.isfinite(seen) & (np.abs(seen) <= _MOST_C) & (predicted_w > 0.0)
    hours = max(0.0, at_s - heat.seen_s) / 3600.0 if heat.seen_s == heat.seen_s else 0.0
    # What was seen at one setting stands for more at a hotter one.
    before = _at(heat, predicted_w)
    cooled = before + (seen - before) * (1.0 - np.exp(-hours / _FORGET_H))
    after = np.where(np.isfinite(before), np.maximum(seen, cooled), seen)
    return ChipHeat(
        np.where(known, after, heat.above_c), np.where(known, predicted_w, heat.at_w), max(at_s, 0.0)
    )


def hotter(heat: ChipHeat, chip_c: Floats, power_w: Floats, hashing: Bools) -> Floats:
    """Predicted chip temperatures [N,K,3], raised by what the units were seen to be hotter, the upper one more.

    Args:
        power_w: [N,K] median at each candidate: heat grows with it.
        hashing: [N,K].
    """
    above = np.nan_to_num(np.maximum(_at(heat, power_w), 0.0))
    found = chip_c + np.where(hashing, above, 0.0)[:, :, None]
    found[:, :, 2] += np.where(hashing, _SPARE_C, 0.0)
    return np.asarray(found)


def _at(heat: ChipHeat, power_w: Floats) -> Floats:
    """What was seen, at another power [N] or [N,K]."""
    shape = (-1,) + (1,) * (power_w.ndim - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.clip(power_w / heat.at_w.reshape(shape), *_POWER_RATIO)
    return np.asarray(heat.above_c.reshape(shape) * ratio)

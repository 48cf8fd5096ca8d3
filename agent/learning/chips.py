"""How much hotter each unit's chips get than predicted: what a limit of temperature is checked with.

A unit that is hotter than thought counts at once, one that is cooler only slowly: the limit is there for the
hottest hour, not for the mean one. Predictions come without the present temperature among their inputs, and
the hottest hour of the last days is kept as it was, so that what was seen holds while a unit is stopped, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.features.table import feature_names

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Bools = NDArray[np.bool_]

_FORGET_H = 12.0
# While a unit stands still nothing contradicts what was seen last, in whatever air that was: it fades, or a
# unit stopped in a frost would look too hot to be woken for ever. The hottest hour itself stays known.
_FADES_H = 24.0
# By so much a day the hottest hour counts for less.
_COOLS_C_PER_DAY = 0.5
# It says nothing of air that is cooler than then by more.
_LIKE_THEN_C = 6.0
# A hottest hour that its own conditions no longer bring, by more than so much in air of then, was a sensor's
# slip or has been mended: it is given up within hours, not weeks.
_DOUBTED_C, _SAME_AIR_C, _GIVEN_UP_H = 4.0, 3.0, 6.0
# Beyond this a sensor is broken rather than a chip hot.
_MOST_C = 30.0
_HOTTEST_C = 125.0
_POWER_RATIO = (0.5, 1.6)
# To spare at the first hour after a stop, when nothing of the present air has been seen. Once it hashes, a
# unit that turns out to be hotter is known to be.
_WAKING_SPARE_C = 2.5
# To spare for each doubling of what a unit drew when its chips were last seen: it goes up by what it showed.
_FURTHER_SPARE_C = 12.0

HEAT_COLUMNS = ("above_c", "at_w", "hottest_c", "hottest_w", "hottest_air_c")


@dataclass(frozen=True, slots=True)
class ChipHeat:
    """N units; NaN before any reading.

    Args:
        above_c: [N] degrees above what was predicted.
        at_w: [N] predicted power at the setting at which that was seen.
        hottest_c, hottest_w, hottest_air_c: [N] the hottest chip, predicted power and intake then.
        seen_s: Unix seconds of the last look.
    """

    above_c: Floats
    at_w: Floats
    hottest_c: Floats
    hottest_w: Floats
    hottest_air_c: Floats
    seen_s: float

    @staticmethod
    def unknown(count: int) -> ChipHeat:
        """Of units that were never looked at."""
        none = np.full(count, np.nan)
        return ChipHeat(none, none, none, none, none, float("nan"))

    def take(self, rows: Sequence[int | None]) -> ChipHeat:
        """Of these rows; None is a unit that was never looked at."""
        known = np.array([row is not None for row in rows], dtype=np.bool_)
        at = np.array([row or 0 for row in rows], dtype=np.int64)

        def of(values: Floats) -> Floats:
            if not len(values):
                return np.full(len(at), np.nan)
            return np.where(known, values[at], np.nan)

        columns: dict[str, Any] = {name: of(getattr(self, name)) for name in HEAT_COLUMNS}
        return ChipHeat(**columns, seen_s=self.seen_s)

    def against_others(self) -> ChipHeat:
        """The same for other predictions: how hot a unit got stands, how far above they were does not."""
        none = np.full(len(self.above_c), np.nan)
        return replace(self, above_c=none, at_w=none)


def without_present(features: Floats32) -> Floats32:
    """Features [N,F] with the chips' present temperature left out."""
    blind = features.copy()
    blind[:, feature_names().index("chip_temp_c")] = np.nan
    return blind


def follow(
    heat: ChipHeat,
    predicted_c: Floats,
    predicted_w: Floats,
    chip_c: Floats,
    air_c: Floats,
    usable: Bools,
    at_s: float,
) -> ChipHeat:
    """Take in one moment.

    Args:
        predicted_c, predicted_w: [N] medians at the setting in force.
        chip_c: [N] hottest chip as measured; NaN where unknown.
        air_c: [N] intake; NaN where unknown.
        usable: [N] True where the unit is settled and hashes.
    """
    seen = chip_c - predicted_c
    known = usable & np.isfinite(seen) & (np.abs(seen) <= _MOST_C) & (predicted_w > 0.0)
    hours = max(0.0, at_s - heat.seen_s) / 3600.0 if heat.seen_s == heat.seen_s else 0.0
    # What was seen at one setting stands for more at a hotter one.
    before = heat.above_c * _ratio(predicted_w, heat.at_w)
    cooled = before + (seen - before) * (1.0 - np.exp(-hours / _FORGET_H))
    after = np.where(np.isfinite(before), np.maximum(seen, cooled), seen)
    hottest = heat.hottest_c - _COOLS_C_PER_DAY * hours / 24.0
    # Without a prediction what was seen has to be believable by itself.
    alone = (
        usable & ~np.isfinite(predicted_c) & (chip_c > air_c) & (chip_c < _HOTTEST_C) & (predicted_w > 0.0)
    )
    seen_here = (known | alone) & np.isfinite(air_c)
    short = _as_then(heat, air_c, predicted_w) - chip_c
    wrong = seen_here & (air_c >= heat.hottest_air_c - _SAME_AIR_C) & (short > _DOUBTED_C)
    hottest = np.where(wrong, hottest - short * (1.0 - np.exp(-hours / _GIVEN_UP_H)), hottest)
    new = seen_here & ~(chip_c < hottest)
    return ChipHeat(
        np.where(known, after, heat.above_c * np.exp(-hours / _FADES_H)),
        np.where(known, predicted_w, heat.at_w),
        np.where(new, chip_c, hottest),
        np.where(new, predicted_w, heat.hottest_w),
        np.where(new, air_c, heat.hottest_air_c),
        at_s,
    )


def hotter(
    heat: ChipHeat, chip_c: Floats, power_w: Floats, air_c: Floats, hashing: Bools, standing: Bools
) -> Floats:
    """Predicted chip temperatures [N,K,3], raised by how much hotter the units were seen.

    Args:
        power_w: [N,K] median at each candidate: heat grows with it.
        air_c: [N] intake; NaN where unknown.
        hashing: [N,K] candidates that are no stop.
        standing: [N] True where the unit is stopped now.
    """
    above = heat.above_c[:, None] * _ratio(power_w, heat.at_w[:, None])
    found = chip_c + np.where(hashing, np.nan_to_num(np.maximum(above, 0.0)), 0.0)[:, :, None]
    # No further than it was seen: fans that were not at their limit then keep chips as cool in warmer air and
    # at more power, and a unit that is kept from trying would never show it.
    like_then = air_c >= heat.hottest_air_c - _LIKE_THEN_C
    as_then = _as_then(heat, air_c, power_w)
    as_then = np.where(hashing & like_then[:, None], as_then, -np.inf)
    blind = np.isnan(found[:, :, 1]) & np.isfinite(as_then)
    found[blind] = as_then[blind][:, None]
    middle = np.fmax(found[:, :, 1], as_then)
    found += np.nan_to_num(middle - found[:, :, 1])[:, :, None]
    further = np.nan_to_num(np.maximum(_ratio(power_w, heat.at_w[:, None]) - 1.0, 0.0))
    found[:, :, 2] += np.where(hashing, _FURTHER_SPARE_C * further, 0.0)
    found[:, :, 2] += np.where(hashing & standing[:, None], _WAKING_SPARE_C, 0.0)
    return np.asarray(found)


def _as_then(heat: ChipHeat, air_c: Floats, power_w: Floats) -> Floats:
    """Chips as in the hottest hour, by the rise over air of then, at power [N] or [N,K]."""
    then = (heat.hottest_c, heat.hottest_air_c, heat.hottest_w, air_c)
    hottest_c, hottest_air_c, hottest_w, air = (one.reshape(-1, *(1,) * (power_w.ndim - 1)) for one in then)
    rise = (hottest_c - hottest_air_c) * np.minimum(_ratio(power_w, hottest_w), 1.0)
    return np.asarray(np.minimum(air, hottest_air_c) + rise)


def _ratio(power_w: Floats, then_w: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.clip(power_w / then_w, *_POWER_RATIO))

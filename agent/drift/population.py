"""Population drift: the features of the last day against those that the models learned from.

The measure is the population stability index, sum of (p - q) ln(p / q) over bins. Below 0.1 two
populations are held to be alike, above 0.25 to differ.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.drift.reference import MAX_EDGES, FamilyReference
from agent.errors import DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

SLOT_S = 1800
SLOTS = 48
# An alert needs half a day: a morning alone is always colder than the days of training.
LEAST_SLOTS = 24
DIFFERS = 0.25
_BINS = MAX_EDGES + 2
_UNREADABLE = (ValueError, TypeError, OSError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
# 99 % quantiles of chi-square for 1 to 20 degrees of freedom.
_CHI2_99 = (
    6.63, 9.21, 11.34, 13.28, 15.09, 16.81, 18.48, 20.09, 21.67, 23.21,
    24.72, 26.22, 27.69, 29.14, 30.58, 32.00, 33.41, 34.81, 36.19, 37.57,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """One feature of one family over the last day.

    Args:
        index: population stability index.
        limit: what it would have to exceed: `DIFFERS`, and what as few units as these show by chance.
    """

    family: str
    feature: str
    index: float
    limit: float
    units: int

    @property
    def differs(self) -> bool:
        """True if this is no chance any more."""
        return self.index > self.limit


class PopulationDrift:
    """Counts of the watched features by family, bin and half-hour, in bounded memory.

    Args:
        reference: of the bundle in use.
        names: of the feature table; a watched feature that is not among them is left out.
    """

    def __init__(self, reference: Sequence[FamilyReference], names: Sequence[str]) -> None:
        place = {name: j for j, name in enumerate(names)}
        watched = sorted({name for family in reference for name in family.features if name in place})
        self.families = tuple(family.family for family in reference)
        self.features = tuple(watched)
        self._columns = np.array([place[name] for name in watched], dtype=np.int64)
        shape = (len(self.families), len(watched))
        # An edge at infinity is never passed: bins beyond a feature's own stay empty.
        self._edges = np.full((*shape, MAX_EDGES), np.inf)
        self._shares = np.zeros((*shape, _BINS))
        self._freedom = np.zeros(shape, dtype=np.int64)
        for g, family in enumerate(reference):
            for f, name in enumerate(watched):
                told = family.features.get(name)
                if told is None:
                    continue
                bins = len(told.edges) + 1
                self._edges[g, f, : len(told.edges)] = told.edges
                self._shares[g, f, :bins] = told.shares[:-1]
                self._shares[g, f, -1] = told.shares[-1]
                self._freedom[g, f] = bins
        self._trained_units = np.array([family.units for family in reference], dtype=np.float64)
        self._counts = np.zeros((SLOTS, *shape, _BINS), dtype=np.float32)
        self._slot = np.full(SLOTS, -1, dtype=np.int64)
        self._units = np.zeros(len(self.families), dtype=np.int64)

    def add(self, at_s: float, family: Ints, features: NDArray[np.float32]) -> bool:
        """Take in a fleet, once per half-hour; says whether it was taken.

        Args:
            at_s: Unix time.
            family: [N] place in `families`, -1 for a unit that is not to be counted.
            features: [N,F] of the whole table.
        """
        slot = int(at_s // SLOT_S)
        at = slot % SLOTS
        if self._slot[at] == slot or not self.families:
            return False
        # After a clock was set back, what lies in the future says nothing about the last day.
        for old in np.flatnonzero((self._slot > slot) | (self._slot <= slot - SLOTS)):
            self._counts[old] = 0.0
            self._slot[old] = -1
        known = np.flatnonzero(family >= 0)
        self._units = np.bincount(family[known], minlength=len(self.families)).astype(np.int64)
        group = family[known][:, None]
        values = features[known][:, self._columns].astype(np.float64)
        wide = np.arange(len(self.features))[None, :]
        bins = (values[:, :, None] >= self._edges[group, wide]).sum(axis=2)
        bins[~np.isfinite(values)] = _BINS - 1
        self._counts[at] = 0.0
        np.add.at(self._counts[at], (np.broadcast_to(group, bins.shape), wide, bins), 1.0)
        self._slot[at] = slot
        return True

    @property
    def is_ready(self) -> bool:
        """True if half a day of the last one was seen."""
        return int((self._slot >= 0).sum()) >= LEAST_SLOTS

    def look(self) -> list[FeatureDrift]:
        """Every watched feature of every family that was seen long enough, largest drift first."""
        held = self._slot >= 0
        if not self.is_ready:
            return []
        counts = self._counts[held].sum(axis=0, dtype=np.float64)
        total = counts.sum(axis=2)
        seen = (counts + 0.5) / (total + 0.5 * _BINS)[:, :, None]
        told = (self._shares * 1000.0 + 0.5) / (1000.0 + 0.5 * _BINS)
        parts = (seen - told) * np.log(seen / told)
        # Bins that neither side has used are no evidence of likeness or difference.
        parts[(counts == 0.0) & (self._shares == 0.0)] = 0.0
        index = parts.sum(axis=2)
        found = []
        for g, f in np.argwhere((total > 0.0) & (self._freedom > 0) & (self._units[:, None] > 0)):
            # Readings of one unit are all alike: what counts is how many units there are.
            chance = 1.0 / self._units[g] + 1.0 / self._trained_units[g]
            limit = DIFFERS + _CHI2_99[min(int(self._freedom[g, f]), len(_CHI2_99)) - 1] * chance
            found.append(
                FeatureDrift(
                    self.families[g], self.features[f], float(index[g, f]), float(limit), int(self._units[g])
                )
            )
        return sorted(found, key=lambda d: d.limit - d.index)

    def to_bytes(self) -> bytes:
        """The counts, for the store."""
        out = io.BytesIO()
        np.savez(out, counts=self._counts, slot=self._slot, units=self._units)
        return out.getvalue()

    def restore(self, data: bytes) -> None:
        """Take over what `to_bytes` gave for the same reference.

        Raises:
            DataError: damaged, or made for another reference.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as held:
                counts, slot, units = held["counts"], held["slot"], held["units"]
        except _UNREADABLE as error:
            raise DataError(f"drift counts: cannot be read: {error}") from error
        for old, new in ((self._counts, counts), (self._slot, slot), (self._units, units)):
            if old.shape != new.shape or old.dtype != new.dtype:
                raise DataError("drift counts: made for another bundle")
        if not np.isfinite(counts).all():
            raise DataError("drift counts: hold numbers that are not finite")
        self._counts, self._slot, self._units = counts, slot, units

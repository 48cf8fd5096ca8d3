"""Residual drift: what the power model predicts for the setting in force against what telemetry shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.drift.population import LEAST_SLOTS, SLOT_S, SLOTS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

QUANTITIES = ("hashrate", "power")
# An 80 % interval that holds less than this is no longer one; a median further off is a bias.
LEAST_COVERAGE = 0.6
MOST_BIAS = 0.03
_LEAST_UNITS_FOR_COVERAGE = 5


@dataclass(frozen=True, slots=True)
class ResidualDrift:
    """One quantity of one family over the last day.

    Args:
        bias: median of measured / predicted - 1.
        coverage: share of readings inside the 80 % interval.
        worst: the units furthest off, at most three, as (miner id, bias).
    """

    family: str
    quantity: str
    bias: float
    coverage: float
    units: int
    worst: tuple[tuple[str, float], ...]

    @property
    def differs(self) -> bool:
        """True if the model is biased for this family, or its interval no longer holds what it should."""
        narrow = self.coverage < LEAST_COVERAGE and self.units >= _LEAST_UNITS_FOR_COVERAGE
        return abs(self.bias) > MOST_BIAS or narrow


class ResidualWatch:
    """Residuals of a fleet by half-hour, in bounded memory.

    Args:
        count: N miners.
    """

    def __init__(self, count: int) -> None:
        shape = (SLOTS, len(QUANTITIES), count)
        self._off = np.full(shape, np.nan, dtype=np.float32)
        self._inside = np.full(shape, np.nan, dtype=np.float32)
        self._slot = np.full(SLOTS, -1, dtype=np.int64)

    def add(self, at_s: float, measured: Floats, predicted: Floats) -> bool:
        """Take in a fleet, once per half-hour; says whether it was taken.

        Args:
            at_s: Unix time.
            measured: [2,N] hashrate and power; NaN where unknown or not steady.
            predicted: [2,N,3] q10, q50, q90 at the setting in force.
        """
        slot = int(at_s // SLOT_S)
        at = slot % SLOTS
        if self._slot[at] == slot:
            return False
        for old in np.flatnonzero((self._slot > slot) | (self._slot <= slot - SLOTS)):
            self._off[old] = self._inside[old] = np.nan
            self._slot[old] = -1
        middle = predicted[:, :, 1]
        known = np.isfinite(measured) & np.isfinite(predicted).all(axis=2) & (middle > 0.0)
        off = np.full(measured.shape, np.nan)
        np.divide(measured, middle, out=off, where=known)
        inside = (measured >= predicted[:, :, 0]) & (measured <= predicted[:, :, 2])
        self._off[at] = off - 1.0
        self._inside[at] = np.where(known, inside, np.nan)
        self._slot[at] = slot
        return True

    @property
    def is_ready(self) -> bool:
        """True if half a day of the last one was seen."""
        return int((self._slot >= 0).sum()) >= LEAST_SLOTS

    def look(self, family: Ints, families: Sequence[str], miner_ids: Sequence[str]) -> list[ResidualDrift]:
        """Both quantities of every family that was seen long enough.

        Args:
            family: [N] place in `families`, -1 for a unit that is not to be judged.
            miner_ids: [N] for naming the worst.
        """
        held = self._slot >= 0
        if not self.is_ready:
            return []
        found = []
        for g, name in enumerate(families):
            own = np.flatnonzero(family == g)
            for q, quantity in enumerate(QUANTITIES):
                off, inside = self._off[held][:, q][:, own], self._inside[held][:, q][:, own]
                known = np.isfinite(off)
                seen = known.any(axis=0)
                if (known.any(axis=1)).sum() < LEAST_SLOTS or not seen.any():
                    continue
                each = np.nanmedian(off[:, seen], axis=0)
                order = np.argsort(-np.abs(each))[:3]
                found.append(
                    ResidualDrift(
                        family=name,
                        quantity=quantity,
                        bias=float(np.median(each)),
                        coverage=float(np.nanmean(inside)),
                        units=int(seen.sum()),
                        worst=tuple((miner_ids[own[seen][i]], float(each[i])) for i in order),
                    )
                )
        return found

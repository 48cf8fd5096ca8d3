"""Learns by how much each miner's own reading of its power is off, and corrects it when its meter is down.

The first figure is the median of the first samples; after that each sample pulls it a little, and a sample
that stands far off pulls no more than one that is just off.
"""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import DataError
from agent.meters.fusion import Bools, Floats, Fused
from agent.meters.trust import HIGHEST, LOWEST

NEEDED = 15
LOWEST_RATIO, HIGHEST_RATIO = 0.5, 1.6
# So many miners of a kind must be metered before others of it are corrected by them.
_KIN = 3
_VERSION = 1
_LEAST_W = 200.0
_STEADY = 0.03
_GAIN = 0.05
# How far one sample may pull: so many typical deviations, which are taken to be half a percent or more.
_REACH = 3.0
_LEAST_SPREAD, _LARGEST_SPREAD = 0.005, 0.1
_COUNT_CAP = 1_000_000
# Miners that are not on the site now, kept in case they come back.
_AWAY = 20_000


class Offsets:
    """Wall watts for each watt reported, for N miners that may come, go and change places.

    Args:
        ids: the miners, in the order of every array given later.
    """

    def __init__(self, ids: Sequence[str]) -> None:
        self._away: dict[str, list[Any]] = {}
        self._clear(ids)

    def _clear(self, ids: Sequence[str]) -> None:
        self._ids = list(ids)
        self._log = np.full(len(ids), np.nan)
        self._spread = np.full(len(ids), np.nan)
        self._samples = np.zeros(len(ids), dtype=np.int64)
        self._first = np.full((len(ids), NEEDED), np.nan)
        self._own_w = np.full(len(ids), np.nan)
        self._wall_w = np.full(len(ids), np.nan)

    @property
    def samples(self) -> NDArray[np.int64]:
        """[N] samples taken."""
        return self._samples.copy()

    @property
    def ratio(self) -> Floats:
        """[N] wall watts for each watt reported, 0.5 to 1.6; NaN until 15 samples are in."""
        ratio: Floats = np.clip(np.exp(self._log), LOWEST_RATIO, HIGHEST_RATIO)
        return ratio

    @property
    def off_percent(self) -> Floats:
        """[N] by how much a miner's own reading is off: -7.4 is 7.4 % too low. NaN until learned."""
        return 100.0 * (1.0 / self.ratio - 1.0)

    def words(self, row: int) -> str | None:
        """`own reading 7.4 % low`, or None until that is learned."""
        off = float(self.off_percent[row])
        if not math.isfinite(off):
            return None
        if abs(off) < 0.05:
            return "own reading agrees with the meter"
        return f"own reading {abs(off):.1f} % {'low' if off < 0.0 else 'high'}"

    def align(self, ids: Sequence[str]) -> None:
        """Follow the fleet: miners that are gone are kept aside, those that come back are as they were."""
        if list(ids) == self._ids:
            return
        old = self._rows(self._ids)
        kept = {**self._away, **old}
        latest = zip(self._own_w.tolist(), self._wall_w.tolist(), strict=True)
        steady = dict(zip(self._ids, latest, strict=True))
        self._clear(ids)
        for i, name in enumerate(self._ids):
            row = kept.pop(name, None)
            if row is not None:
                self._put(i, row)
            self._own_w[i], self._wall_w[i] = steady.get(name, (math.nan, math.nan))
        self._away = dict(list(kept.items())[-_AWAY:])

    def learn(self, own_w: Floats, fused: Fused) -> None:
        """Take in one round, one sample from each miner that is steady and whose meter is believed.

        Args:
            own_w: [N] watts as the miners report them, uncorrected, NaN where unknown.
            fused: of the same round.
        """
        wall = np.where(fused.compared, fused.power_w, np.nan)
        steady = _near(own_w, self._own_w) & _near(wall, self._wall_w)
        self._own_w, self._wall_w = own_w.copy(), wall
        with np.errstate(divide="ignore", invalid="ignore"):
            seen = np.log(wall / own_w)
            good = steady & (own_w >= _LEAST_W) & (seen >= math.log(LOWEST)) & (seen <= math.log(HIGHEST))
        early = good & (self._samples < NEEDED)
        self._follow(good & ~early, seen)
        self._begin(early, seen)

    def _begin(self, rows: Bools, seen: Floats) -> None:
        self._first[rows, self._samples[rows]] = seen[rows]
        self._samples[rows] += 1
        done = rows & (self._samples == NEEDED)
        if done.any():
            middle = np.median(self._first[done], axis=1)
            self._log[done] = middle
            typical = np.median(np.abs(self._first[done] - middle[:, None]), axis=1)
            self._spread[done] = np.clip(1.25 * typical, _LEAST_SPREAD, _LARGEST_SPREAD)

    def _follow(self, rows: Bools, seen: Floats) -> None:
        step = seen[rows] - self._log[rows]
        reach = _REACH * self._spread[rows]
        held = np.clip(step, -reach, reach)
        self._log[rows] += _GAIN * held
        spread = self._spread[rows] + _GAIN * (np.abs(held) - self._spread[rows])
        self._spread[rows] = np.clip(spread, _LEAST_SPREAD, _LARGEST_SPREAD)
        self._samples[rows] = np.minimum(self._samples[rows] + 1, _COUNT_CAP)

    # -- kept between runs ------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """JSON for the store."""
        miners = {**self._away, **self._rows(self._ids)}
        return json.dumps({"version": _VERSION, "miners": miners}, separators=(",", ":")).encode()

    @staticmethod
    def from_bytes(raw: bytes, ids: Sequence[str]) -> Offsets:
        """Inverse of `to_bytes`, for the miners `ids`; others are kept aside.

        Raises:
            DataError: these are not offsets, or of another version.
        """
        try:
            data = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise DataError(f"power offsets cannot be read: {error}") from error
        if not isinstance(data, dict) or data.get("version") != _VERSION:
            raise DataError("power offsets are of another version")
        rows = data.get("miners")
        if not isinstance(rows, dict):
            raise DataError("power offsets hold no miners")
        offsets = Offsets(())
        for name, row in rows.items():
            if not _is_row(row):
                raise DataError(f"power offsets of {name!r} cannot be read")
        offsets._away = dict(rows)
        offsets.align(ids)
        return offsets

    def _rows(self, ids: Sequence[str]) -> dict[str, list[Any]]:
        """[samples, log ratio, spread], or [samples, first samples] until enough are in."""
        rows: dict[str, list[Any]] = {}
        for i in np.flatnonzero(self._samples).tolist():
            count = int(self._samples[i])
            if count < NEEDED:
                rows[ids[i]] = [count, [round(x, 5) for x in self._first[i, :count].tolist()]]
            else:
                rows[ids[i]] = [count, round(float(self._log[i]), 6), round(float(self._spread[i]), 6)]
        return rows

    def _put(self, i: int, row: list[Any]) -> None:
        self._samples[i] = row[0]
        if row[0] < NEEDED:
            self._first[i, : row[0]] = row[1]
        else:
            self._log[i], self._spread[i] = row[1], row[2]


def ratio_of_kind(kinds: Sequence[Hashable], ratio: Floats) -> Floats:
    """[N] wall watts for each watt reported as other miners of the same kind show it; NaN where too few do.

    The sensors of one kind err alike for the most part, so a miner without a meter is corrected by the middle
    of those that have one.

    Args:
        kinds: model and firmware of each miner.
        ratio: [N] of each miner's own meter, NaN where that is not learned.
    """
    known: dict[Hashable, list[float]] = {}
    for kind, value in zip(kinds, ratio.tolist(), strict=True):
        if math.isfinite(value):
            known.setdefault(kind, []).append(value)
    middle = {kind: float(np.median(values)) for kind, values in known.items() if len(values) >= _KIN}
    return np.array([middle.get(kind, math.nan) for kind in kinds], dtype=np.float64)


def _near(now: Floats, before: Floats) -> NDArray[np.bool_]:
    """False where either is unknown."""
    near: NDArray[np.bool_] = np.abs(now - before) <= _STEADY * np.abs(before)
    return near


def _is_row(row: object) -> bool:
    if not isinstance(row, list) or not row or type(row[0]) is not int or not 0 < row[0] <= _COUNT_CAP:
        return False
    if row[0] < NEEDED:
        return len(row) == 2 and isinstance(row[1], list) and len(row[1]) == row[0] and _real(row[1])
    return len(row) == 3 and _real(row[1:]) and _LEAST_SPREAD <= row[2] <= _LARGEST_SPREAD


def _real(values: list[Any]) -> bool:
    return all(type(value) in (int, float) and abs(value) <= 1.0 for value in values)

"""Decides which figures of meters are believed, and says what is wrong with the others.

A meter is doubted when it stands far off from what its miners say of themselves, or stands still while they
move. In a change of power the meter is quicker than the miners, so one that has agreed before gets time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from agent.meters.fusion import Bools, Floats, MeterMap, net_power
from agent.meters.reader import MeterReadings, Point

Kind = Literal["silent", "unreadable", "absurd", "stuck"]

LOWEST, HIGHEST = 0.4, 2.5
# Below this much for each miner, standby and the grain of a meter make any comparison absurd.
_SMALL_W = 200.0
_PATIENCE = 5
_CALM = 3
_STUCK_ROUNDS = 5
_STUCK_SHARE, _STUCK_W, _STUCK_STEPS = 0.05, 30.0, 3.0
_SILENT_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class MeterFinding:
    """Something about a meter that began or ended.

    Args:
        key: of the alert, the same for its beginning and its end.
        kind: silent (the whole meter), unreadable, absurd or stuck (one point).
        miners: whom it concerns.
        cleared: True when it is over.
    """

    key: str
    kind: Kind
    words: str
    miners: tuple[str, ...]
    cleared: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """[P] net watts of the points, NaN where not to be used; and what changed since the last round."""

    net_w: Floats
    findings: tuple[MeterFinding, ...]


class MeterTrust:
    """Watches P points over time."""

    def __init__(self, points: Sequence[Point]) -> None:
        count = len(points)
        self._points = tuple(points)
        self._proven = np.zeros(count, dtype=np.bool_)
        self._absurd = np.zeros(count, dtype=np.bool_)
        self._strikes = np.zeros(count, dtype=np.int64)
        self._calm = np.zeros(count, dtype=np.int64)
        self._last_w = np.full(count, np.nan)
        self._same = np.zeros(count, dtype=np.int64)
        self._low = np.full(count, np.nan)
        self._high = np.full(count, np.nan)
        self._silent = np.zeros(count, dtype=np.int64)
        self._resolution_w = np.array([point.resolution_w for point in points], dtype=np.float64)
        self._small_w = np.array([_SMALL_W * len(point.miners) for point in points], dtype=np.float64)
        self._standing: dict[str, MeterFinding] = {}

    def look(self, readings: MeterReadings, chart: MeterMap, own_w: Floats, max_age_s: float) -> Verdict:
        """Take in one round.

        Args:
            readings: what the meters show.
            chart: which point feeds whom.
            own_w: [N] watts as the miners report them, uncorrected, NaN where unknown.
            max_age_s: older figures are not used.
        """
        recent = readings.age_s <= max_age_s
        new = readings.answered & recent
        net = net_power(readings, chart, np.isfinite(readings.power_w))
        said = chart.sums(own_w)
        self._silent = np.where(readings.answered, 0, self._silent + 1)
        self._compare(net, said, new)
        stuck = self._stand_still(readings.power_w, said, new)
        usable = recent & np.isfinite(net) & ~self._absurd & ~stuck
        now = {finding.key: finding for finding in self._problems(readings, net, said, stuck)}
        findings = tuple(self._changes(now))
        self._standing = now
        return Verdict(np.where(usable, net, np.nan), findings)

    def _compare(self, net: Floats, said: Floats, new: Bools) -> None:
        # A miner that says 0 W mostly means that it does not know.
        known = new & (said > 0.0) & (np.fmax(net, said) >= self._small_w)
        with np.errstate(invalid="ignore"):
            sane = known & (net >= LOWEST * said) & (net <= HIGHEST * said)
        wild = known & ~sane
        self._strikes = np.where(sane, 0, self._strikes + wild)
        self._calm = np.where(wild, 0, self._calm + sane)
        self._proven |= sane & ~self._absurd
        limit = np.where(self._proven, _PATIENCE, 1)
        self._absurd = np.where(self._absurd, self._calm < _CALM, self._strikes >= limit)

    def _stand_still(self, shown: Floats, said: Floats, new: Bools) -> NDArray[np.bool_]:
        same = new & (shown == self._last_w)
        moved = new & ~same
        self._same = np.where(same, self._same + 1, np.where(moved, 0, self._same))
        self._low = np.where(moved, said, np.where(same, np.fmin(self._low, said), self._low))
        self._high = np.where(moved, said, np.where(same, np.fmax(self._high, said), self._high))
        self._last_w = np.where(new, shown, self._last_w)
        margin = np.fmax(_STUCK_SHARE * self._high, np.fmax(_STUCK_W, _STUCK_STEPS * self._resolution_w))
        stuck: Bools = (self._same >= _STUCK_ROUNDS) & (self._high - self._low > margin)
        return stuck

    def _problems(
        self, readings: MeterReadings, net: Floats, said: Floats, stuck: Bools
    ) -> Iterator[MeterFinding]:
        silent = self._silent >= _SILENT_ROUNDS
        heard = {point.meter for point, quiet in zip(self._points, silent, strict=True) if not quiet}
        told: set[str] = set()
        for place in np.flatnonzero(silent | self._absurd | stuck).tolist():
            point = self._points[place]
            if silent[place] and point.meter not in heard:
                if point.meter not in told:
                    told.add(point.meter)
                    words = f"meter {point.meter} is not read: {readings.errors[place]}"
                    yield MeterFinding(f"meter-{point.meter}", "silent", words, self._of(point.meter))
            elif silent[place]:
                words = f"meter {point.key} is not read: {readings.errors[place]}"
                yield MeterFinding(f"meter-{point.key}", "unreadable", words, point.miners)
            elif stuck[place]:
                words = (
                    f"meter {point.key} has shown {readings.power_w[place]:.0f} W all along while its miners "
                    f"went from {self._low[place]:.0f} to {self._high[place]:.0f} W; it is not believed"
                )
                yield MeterFinding(f"meter-{point.key}", "stuck", words, point.miners)
            else:
                words = (
                    f"meter {point.key} shows {net[place]:.0f} W where its miners say {said[place]:.0f} W; "
                    "it is not believed. Check which miners it feeds, its scale and its type"
                )
                yield MeterFinding(f"meter-{point.key}", "absurd", words, point.miners)

    def _changes(self, now: dict[str, MeterFinding]) -> Iterator[MeterFinding]:
        for key, finding in now.items():
            before = self._standing.get(key)
            if before is None or before.kind != finding.kind:
                yield finding
        for key, before in self._standing.items():
            if key not in now:
                words = f"{key.replace('-', ' ', 1)}: is read and believed again"
                yield MeterFinding(key, before.kind, words, before.miners, cleared=True)

    def _of(self, meter: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for p in self._points if p.meter == meter for name in p.miners))

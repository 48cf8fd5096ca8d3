"""Gaps in the readings of miners, found while a lake is walked through in the order of time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

# A single lost reading is no gap; what is longer than this many usual steps is.
_STEPS = 3.5
_LEAST_S = 600.0


@dataclass(frozen=True, slots=True)
class MinerGaps:
    """One miner's gaps.

    Args:
        count: how many.
        missing_share: of the time from its first reading to its last.
        longest_h: hours of the longest, which began at `longest_from`.
    """

    site: str
    miner: str
    count: int
    missing_share: float
    longest_h: float
    longest_from: datetime


@dataclass(slots=True)
class _Track:
    first_us: int
    last_us: int
    step_s: float | None = None
    count: int = 0
    missing_s: float = 0.0
    longest_s: float = 0.0
    longest_us: int = 0


class GapFinder:
    """Takes in files by rising day; a file of an earlier day than before counts for nothing but its span."""

    def __init__(self) -> None:
        self._tracks: dict[tuple[str, str], _Track] = {}

    def add(self, sites: NDArray[np.str_], miners: NDArray[np.str_], at_us: NDArray[np.int64]) -> None:
        """Readings of one file."""
        order = np.lexsort((at_us, miners, sites))
        sites, miners, at_us = sites[order], miners[order], at_us[order]
        edges = np.flatnonzero((sites[1:] != sites[:-1]) | (miners[1:] != miners[:-1])) + 1
        for first, end in zip([0, *edges.tolist()], [*edges.tolist(), len(at_us)], strict=True):
            self._follow((str(sites[first]), str(miners[first])), at_us[first:end])

    def _follow(self, miner: tuple[str, str], at_us: NDArray[np.int64]) -> None:
        track = self._tracks.setdefault(miner, _Track(int(at_us[0]), int(at_us[0])))
        times = np.concatenate(([track.last_us], at_us[at_us >= track.last_us]))
        steps = np.diff(times) / 1e6
        usual = np.diff(at_us) / 1e6
        usual = usual[usual > 0.0]
        if len(usual):
            track.step_s = float(np.median(usual))
        limit = max(_LEAST_S, _STEPS * (track.step_s or 300.0))
        for place in np.flatnonzero(steps > limit).tolist():
            track.count += 1
            track.missing_s += float(steps[place])
            if steps[place] > track.longest_s:
                track.longest_s, track.longest_us = float(steps[place]), int(times[place])
        track.last_us = max(track.last_us, int(at_us[-1]))

    def found(self) -> list[MinerGaps]:
        """Miners that have gaps, the longest gap first."""
        gaps = [
            MinerGaps(
                site,
                miner,
                track.count,
                track.missing_s / max((track.last_us - track.first_us) / 1e6, 1.0),
                track.longest_s / 3600.0,
                datetime.fromtimestamp(track.longest_us / 1e6, UTC),
            )
            for (site, miner), track in self._tracks.items()
            if track.count
        ]
        return sorted(gaps, key=lambda gap: (-gap.longest_h, gap.site, gap.miner))

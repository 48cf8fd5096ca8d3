"""Notices miners that report a critical fault or have lost a board, and when it is over.

What a fault means and how bad it is was decided where the reply was read; here is only when a person is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agent.reading import Reading

_PREFIX = "health-"
_MOST = 6
# Somebody was told before this agent started; what of is not known any more.
_TOLD_BEFORE = ("",)


@dataclass(frozen=True, slots=True)
class HealthFinding:
    """A miner whose critical faults have changed. `faults` is empty when all is well again."""

    miner_id: str
    faults: tuple[str, ...]

    @property
    def key(self) -> str:
        """Of the alert, the same for its beginning and its end."""
        return f"{_PREFIX}{self.miner_id}"

    @property
    def cleared(self) -> bool:
        """True if it is over."""
        return not self.faults

    @property
    def words(self) -> str:
        """For the alert."""
        if self.cleared:
            return f"{self.miner_id}: reports no critical fault any more"
        more = len(self.faults) - _MOST
        told = "; ".join(self.faults[:_MOST]) + (f"; and {more} more" if more > 0 else "")
        return f"{self.miner_id}: {told}"


class HealthWatch:
    """Compares each miner's critical faults with those it had, and reports changes only.

    A fault counts when two readings in a row have it: a miner that starts says many things once.

    Args:
        open_alerts: key -> text of the alerts that stand open from before, so that they can be cleared.
    """

    def __init__(self, open_alerts: Mapping[str, str]) -> None:
        self._told: dict[str, tuple[str, ...]] = {
            key.removeprefix(_PREFIX): _TOLD_BEFORE for key in open_alerts if key.startswith(_PREFIX)
        }
        self._last: dict[str, tuple[str, ...]] = {}

    def look(self, readings: Iterable[tuple[str, Reading | None]]) -> list[HealthFinding]:
        """What changed. A miner that was not read, or whose errors were not told, stays as it was.

        Args:
            readings: miner id and its new reading, None where this poll failed.
        """
        found = []
        for miner_id, reading in readings:
            if reading is None or (reading.errors is None and reading.boards is None):
                continue
            faults = critical_faults(reading)
            twice = faults == self._last.get(miner_id)
            self._last[miner_id] = faults
            if twice and faults != self._told.get(miner_id, ()):
                found.append(HealthFinding(miner_id, faults))
                self._told[miner_id] = faults
        return found


def critical_faults(reading: Reading) -> tuple[str, ...]:
    """The critical errors of a reading in words, and the boards that are missing while the miner hashes."""
    errors = [
        f"{error.text or 'fault'} ({error.code})"
        for error in reading.errors or ()
        if error.severity == "critical"
    ]
    # Asleep or starting, boards are not there for good reason.
    boards = reading.boards if reading.is_hashing and reading.boards is not None else ()
    missing = [f"board {board.index} is missing" for board in boards if board.state == "missing"]
    return tuple(sorted(set(errors))) + tuple(missing)

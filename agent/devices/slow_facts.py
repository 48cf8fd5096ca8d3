"""Which slow-changing reply to ask for next, and the last one of each. Holds no sockets and no parsing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

# A command that the firmware does not know is asked again this rarely: it may have been upgraded.
_UNSUPPORTED_S = 6 * 3600.0


class SlowFacts:
    """The last reply to each slow command and when each is due again.

    Args:
        periods_s: command -> seconds between two requests. The commands are fixed, so memory is bounded.
    """

    def __init__(self, periods_s: Mapping[str, float]) -> None:
        self._periods = dict(periods_s)
        self._replies: dict[str, dict[str, Any]] = {}
        self._asked: dict[str, tuple[datetime, float]] = {}

    def clear(self) -> None:
        """Forget everything: another machine may answer at this address."""
        self._replies.clear()
        self._asked.clear()

    def put(self, command: str, reply: dict[str, Any], now: datetime) -> None:
        """Keep a reply that came at `now`."""
        self._replies[command] = reply
        self._asked[command] = (now, self._periods[command])

    def failed(
        self,
        command: str,
        now: datetime,
        unsupported: bool,
        *,
        again_s: float | None = None,
        keep: bool = False,
    ) -> None:
        """Drop the old reply; ask again after the period, or much later if the firmware lacks the command.

        Args:
            again_s: seconds to wait instead of the period.
            keep: keep the old reply, for what stays true while it cannot be asked.
        """
        if not keep:
            self._replies.pop(command, None)
        wait_s = self._periods[command] if again_s is None else again_s
        self._asked[command] = (now, _UNSUPPORTED_S if unsupported else wait_s)

    def drop(self, command: str) -> None:
        """Make `command` due now and forget its reply."""
        self._replies.pop(command, None)
        self._asked.pop(command, None)

    def make_due(self, command: str) -> None:
        """Make `command` due now, keeping the old reply until then."""
        self._asked.pop(command, None)

    def get(self, command: str) -> dict[str, Any] | None:
        """The last reply, however old within its period."""
        return self._replies.get(command)

    def due(self, now: datetime, at_least_s: Mapping[str, float] | None = None) -> list[str]:
        """Commands that are due, the most overdue first; never asked comes before all.

        Args:
            at_least_s: command -> seconds that its last reply is good for, where longer than the period.
        """
        floor = at_least_s or {}
        lateness = {
            command: self._lateness(command, now, floor.get(command, 0.0)) for command in self._periods
        }
        late = [command for command in self._periods if lateness[command] >= 1.0]
        return sorted(late, key=lambda command: -lateness[command])

    def _lateness(self, command: str, now: datetime, at_least_s: float) -> float:
        if command not in self._asked:
            return float("inf")
        at, period = self._asked[command]
        period = max(period, at_least_s)
        age = (now - at).total_seconds()
        # A clock that jumped back must not silence a command for the length of the jump.
        return float("inf") if age < 0.0 else age / period

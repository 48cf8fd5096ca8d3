"""Local days, hours and weekdays of many moments at once, over clock changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from agent.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_DAY_S = 86400
# How far beyond what is asked for clock changes are looked up, so that a moving clock rarely asks again.
_MARGIN_S = 120 * _DAY_S


@dataclass(frozen=True, slots=True)
class LocalMoments:
    """R moments on the local clock.

    Args:
        day: [R] days since 1970-01-01.
        second: [R] seconds since local midnight as the clock shows them, 0 to 86399.
    """

    day: Ints
    second: Floats

    @property
    def weekday(self) -> Ints:
        """[R] 0 is Monday."""
        return np.asarray((self.day + 3) % 7)

    @property
    def weekend(self) -> NDArray[np.bool_]:
        """[R] Saturday or Sunday."""
        return np.asarray(self.weekday >= 5)


class LocalTime:
    """One time zone.

    Args:
        name: as in `Europe/Berlin`.

    Raises:
        InputError: there is no such zone.
    """

    def __init__(self, name: str) -> None:
        try:
            self.zone = ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise InputError(f"unknown time zone {name!r}; give one as in Europe/Berlin or UTC") from error
        self.name = name
        self._from_s, self._to_s = 0, 0
        self._since = np.empty(0)
        self._offset = np.empty(0)

    def of(self, times_s: Floats) -> LocalMoments:
        """Day and second of the day of Unix seconds [R], all of them finite."""
        if len(times_s):
            self._reach(int(times_s.min()), int(times_s.max()) + 1)
        local = times_s + self._offset[np.searchsorted(self._since, times_s, side="right") - 1]
        day = np.floor(local / _DAY_S)
        return LocalMoments(day.astype(np.int64), local - day * _DAY_S)

    def midnight(self, now: datetime, days: int) -> datetime:
        """The start of the local day that is `days` after that of `now`, in UTC."""
        day: date = now.astimezone(self.zone).date() + timedelta(days=days)
        return datetime(day.year, day.month, day.day, tzinfo=self.zone).astimezone(UTC)

    def _reach(self, low_s: int, high_s: int) -> None:
        if self._from_s <= low_s and high_s <= self._to_s:
            return
        if self._to_s > self._from_s:
            low_s, high_s = min(low_s, self._from_s), max(high_s, self._to_s)
        self._from_s, self._to_s = low_s - _MARGIN_S, high_s + _MARGIN_S
        since, offset = [self._from_s], [self._at(self._from_s)]
        for at_s in range(self._from_s + _DAY_S, self._to_s + _DAY_S, _DAY_S):
            if self._at(at_s) != offset[-1]:
                since.append(self._change(at_s - _DAY_S, at_s))
                offset.append(self._at(at_s))
        self._since = np.asarray(since, dtype=np.float64)
        self._offset = np.asarray(offset, dtype=np.float64)

    def _at(self, at_s: int) -> float:
        shift = datetime.fromtimestamp(at_s, UTC).astimezone(self.zone).utcoffset()
        return shift.total_seconds() if shift is not None else 0.0

    def _change(self, before_s: int, after_s: int) -> int:
        """First second with the offset of `after_s`; that of `before_s` differs."""
        target = self._at(after_s)
        while after_s - before_s > 1:
            middle = (before_s + after_s) // 2
            if self._at(middle) == target:
                after_s = middle
            else:
                before_s = middle
        return after_s

"""Time, passed in wherever it matters, so that tests and simulated farms decide how fast it runs."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from agent.errors import InputError


class Clock(Protocol):
    """Source of "now" for everything that records, schedules or compares times."""

    @property
    def factor(self) -> float:
        """Seconds of this clock per second on the wall."""
        ...

    def now(self) -> datetime:
        """Current time, timezone-aware UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of this clock's time."""
        ...


class SystemClock:
    """The wall clock."""

    factor = 1.0

    def now(self) -> datetime:
        """Current UTC time."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Wait `seconds` of real time."""
        await asyncio.sleep(max(0.0, seconds))


class ScaledClock:
    """A clock that runs `factor` times faster than the wall, for simulated farms.

    Processes that are given the same origins and factor agree on the time.

    Args:
        origin: the time shown at `wall_origin_s`, timezone-aware.
        wall_origin_s: Unix time at which this clock shows `origin`.
        factor: seconds of this clock per wall second, above 0.
    """

    def __init__(self, origin: datetime, wall_origin_s: float, factor: float) -> None:
        if not 0.0 < factor <= 100_000.0:
            raise InputError(f"clock factor {factor} must be above 0 and at most 100000")
        if origin.tzinfo is None:
            raise InputError("clock origin needs a time zone, for example 2026-01-01T00:00:00Z")
        self._origin = origin.astimezone(UTC)
        self._wall_origin_s = wall_origin_s
        self._factor = factor

    @property
    def factor(self) -> float:
        """Seconds of this clock per second on the wall."""
        return self._factor

    def now(self) -> datetime:
        """Current time of the scaled clock, UTC."""
        return self._origin + timedelta(seconds=(time.time() - self._wall_origin_s) * self._factor)

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of scaled time."""
        await asyncio.sleep(max(0.0, seconds) / self._factor)

    def spec(self) -> str:
        """Text that `parse_clock` turns back into an equal clock in another process."""
        return f"{self._origin.isoformat()}@{self._wall_origin_s!r}x{self._factor!r}"


class ManualClock:
    """A clock that stands still until it is told to move; sleeping moves it."""

    factor = 1.0

    def __init__(self, start: datetime) -> None:
        self._now = start.astimezone(UTC)

    def now(self) -> datetime:
        """The time last set."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move the clock by `seconds` (negative: a clock that jumps back)."""
        self._now += timedelta(seconds=seconds)

    async def sleep(self, seconds: float) -> None:
        """Advance by `seconds` and let other tasks run."""
        self.advance(max(0.0, seconds))
        await asyncio.sleep(0)


def parse_clock(spec: str | None) -> Clock:
    """Return the clock a command line asks for.

    Args:
        spec: None for the wall clock, else the text of `ScaledClock.spec()`.

    Raises:
        InputError: the text is not a clock.
    """
    if spec is None:
        return SystemClock()
    try:
        origin, rest = spec.split("@", 1)
        wall, factor = rest.split("x", 1)
        return ScaledClock(datetime.fromisoformat(origin), float(wall), float(factor))
    except ValueError as error:
        raise InputError(f"clock {spec!r} is not ORIGIN@WALL_SECONDSxFACTOR: {error}") from error

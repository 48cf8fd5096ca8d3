"""A token bucket: so many per second on average, with a small burst, by a clock that is passed in."""

from __future__ import annotations

import asyncio
import re

from agent.clock import Clock
from agent.errors import InputError

_RATE = re.compile(r"^(\d{1,7}(?:\.\d{1,3})?)(?:/(s|sec|second|m|min|minute))?$")
_BURST_S = 0.1


class TokenBucket:
    """Lets `rate_per_s` callers a second through, in the order they came.

    Args:
        rate_per_s: tokens per second of the clock, above 0.
        burst: how many may pass at once after a pause; by default a tenth of a second's worth.
    """

    def __init__(self, rate_per_s: float, clock: Clock, burst: float | None = None) -> None:
        if not rate_per_s > 0.0:
            raise InputError(f"a rate must be above 0, got {rate_per_s:g}")
        self._rate_per_s = rate_per_s
        self._clock = clock
        self._burst = max(1.0, burst if burst is not None else _BURST_S * rate_per_s)
        self._tokens = self._burst
        self._filled_at = clock.now()
        self._turn = asyncio.Lock()

    async def take(self) -> None:
        """Wait until one more may pass."""
        async with self._turn:
            self._fill()
            while self._tokens < 1.0 - 1e-9:
                await self._clock.sleep((1.0 - self._tokens) / self._rate_per_s)
                self._fill()
            self._tokens -= 1.0

    def _fill(self) -> None:
        now = self._clock.now()
        # A clock that jumped back gives nothing; one that jumped ahead gives one burst.
        passed_s = max(0.0, (now - self._filled_at).total_seconds())
        self._filled_at = now
        self._tokens = min(self._burst, self._tokens + passed_s * self._rate_per_s)


def parse_rate(text: str) -> float:
    """`200/s`, `200` or `6000/min` in units per second.

    Raises:
        InputError: not a rate, or 0.
    """
    match = _RATE.match(text.strip().lower())
    if match is None or float(match.group(1)) == 0.0:
        raise InputError(f"{text!r} is no rate; expected for example 200/s or 6000/min")
    value = float(match.group(1))
    return value / 60.0 if (match.group(2) or "s").startswith("m") else value

"""The charge on the highest power of a month: what has been reached so far, and what more would cost."""

from __future__ import annotations

import json
from calendar import monthrange
from datetime import UTC, datetime

import numpy as np

from agent.errors import DataError
from agent.localtime import LocalTime
from agent.money.config import DemandCharge
from agent.planner.power.peak import PeakCharge

# Of the store's states.
DEMAND_STATE = "demand"
# Of the year 9999.
_FAR_S = 2.5e11


class DemandMeter:
    """The monthly peak of one site, as its supplier measures it: the highest mean over a window.

    Windows begin on the full hour of the local clock. What was not seen of a window counts as drawn like
    the rest of it; a window seen for less than half does not count.

    Args:
        timezone: whose months and hours count.

    Raises:
        InputError: there is no such time zone.
    """

    def __init__(self, config: DemandCharge, timezone: str) -> None:
        self._config = config
        self._local = LocalTime(timezone)
        self._window_s = 60.0 * config.window_minutes
        self.month = ""
        self.peak_kw = 0.0
        # Unix seconds at which the window of the peak began.
        self._peak_s: float | None = None
        self._window: float | None = None
        self._seen_s = 0.0
        self._kws = 0.0
        self._last: tuple[float, float] | None = None

    @property
    def charge_usd(self) -> float:
        """What the peak of the month costs so far."""
        return self.peak_kw * self._config.usd_per_kw_month

    def charge(self, now: datetime) -> PeakCharge:
        """What a higher peak would cost, seen from `now`."""
        local = now.astimezone(self._local.zone)
        days = monthrange(local.year, local.month)[1]
        ends = self._local.midnight(now, days - local.day + 1)
        this_month = local.strftime("%Y-%m") == self.month
        peak_kw, peak_s = (self.peak_kw, self._peak_s) if this_month else (0.0, None)
        reached_at = datetime.fromtimestamp(peak_s, self._local.zone) if peak_s is not None else None
        left_h = (ends - now).total_seconds() / 3600.0
        return PeakCharge(1000.0 * peak_kw, 0.001 * self._config.usd_per_kw_month, left_h, reached_at)

    def observe(self, at: datetime, power_w: float) -> None:
        """Take the site's power in, which holds until the next call; NaN and gaps of a window are unseen."""
        at_s = at.timestamp()
        if self._last is not None:
            since_s, kw = self._last
            if since_s < at_s <= since_s + self._window_s and np.isfinite(kw):
                self._add(since_s, at_s, kw)
            else:
                self._close(at_s)
        else:
            # After a restart: the window that was open then may be over by now.
            self._close(at_s)
        self._enter(at_s)
        self._last = (at_s, power_w / 1000.0)

    def to_bytes(self) -> bytes:
        """The month, its peak and what was seen of the window that is open, for the next start."""
        window = [self._window, self._seen_s, self._kws] if self._window is not None else None
        state = {"month": self.month, "peak_kw": self.peak_kw, "peak_s": self._peak_s, "window": window}
        return json.dumps(state).encode()

    def restore(self, saved: bytes) -> None:
        """Go on from what `to_bytes` gave.

        Raises:
            DataError: it is something else.
        """
        try:
            state = json.loads(saved)
            month, peak_kw = str(state["month"]), float(state["peak_kw"])
            window, peak_s = state.get("window"), state.get("peak_s")
            # What an older version kept has no time.
            reached_s = float(peak_s) if peak_s is not None else None
            begins, seen_s, kws = (float(value) for value in window) if window is not None else (0.0,) * 3
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"saved demand peak: cannot be read: {error}") from error
        if reached_s is not None and not abs(reached_s) < _FAR_S:
            raise DataError(f"saved demand peak: it cannot be of {reached_s:g} s after 1970")
        if not (np.isfinite(peak_kw) and peak_kw >= 0.0):
            raise DataError(f"saved demand peak: {peak_kw} kW cannot be")
        if not (np.isfinite([begins, seen_s, kws]).all() and 0.0 <= seen_s <= self._window_s and kws >= 0.0):
            raise DataError(f"saved demand peak: {kws} kWs in {seen_s} s of a window cannot be")
        self.month, self.peak_kw, self._peak_s = month, peak_kw, reached_s
        if window is not None:
            self._window, self._seen_s, self._kws = begins, seen_s, kws

    def _add(self, from_s: float, to_s: float, kw: float) -> None:
        while from_s < to_s:
            self._enter(from_s)
            assert self._window is not None
            part_s = min(to_s, self._window + self._window_s) - from_s
            self._seen_s += part_s
            self._kws += kw * part_s
            from_s += part_s
            self._close(from_s)

    def _enter(self, at_s: float) -> None:
        second = float(self._local.of(np.array([at_s])).second[0])
        begins = float(round(at_s - second % self._window_s))
        if self._window != begins:
            self._window, self._seen_s, self._kws = begins, 0.0, 0.0
            month = datetime.fromtimestamp(begins, UTC).astimezone(self._local.zone).strftime("%Y-%m")
            if month != self.month:
                self.month, self.peak_kw, self._peak_s = month, 0.0, None

    def _close(self, at_s: float) -> None:
        if self._window is not None and at_s >= self._window + self._window_s:
            if self._seen_s >= 0.5 * self._window_s:
                kw = self._kws / self._seen_s
                if kw > self.peak_kw:
                    self.peak_kw, self._peak_s = kw, self._window
            self._window = None

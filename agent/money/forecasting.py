"""Prices that are not known yet: a mean and a spread for every coming step, from the past alone.

Pure numpy, and cheap enough to be asked at each step of a backtest: what was learned is carried forward,
row by row. Which prices are known is the caller's to say; what they mean in money is `economics`'.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.localtime import LocalTime
from agent.money.prices import Series

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_GRIDS_S = (3600.0, 1800.0, 900.0, 300.0)
_HISTORY_S = 180 * 86400.0
# Chosen on 2021 of two markets (AU-VIC, US-TEX-ERCO); docs/prices.md gives the errors of 2022.
_LEADS_H = np.array([0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 36.0, 48.0])
_LEVEL_DAYS = 8.0
_WEEKEND_DAYS = 28.0
_RECENT_H = 12.0
_SCALE_H = 96.0
_MEMORY_H = 1440.0
_RIDGE = 0.05
# A price this many typical deviations off counts as that far off, no further, in all that lasts.
_CLIP = 4.0
# In the spread it counts for more, as a spike must widen it; less in how its hour differs from others.
_CLIP_SPREAD, _CLIP_SLOT = 30.0, 10.0
_SPIKE_LEARNING = 0.02
_LEAST_SCALE = 1e-4
_TABULATE_EVERY = 12
# Hashprice: its usual move in a day, as a share, what one day may count for, and the days looked back on.
_USUAL_MOVE, _MOST_MOVE, _MOVE_DAYS = 0.05, 0.25, 90


@dataclass(frozen=True, slots=True)
class Outlook:
    """What S coming moments will bring.

    Args:
        mean: [S]; NaN where nothing at all was ever seen.
        sigma: [S] standard deviation, 0 where the value is known.
        known: [S] True where `mean` is no forecast.
    """

    mean: Floats
    sigma: Floats
    known: Bools


class PriceForecaster:
    """Electricity prices of the past, what they teach, and the forecast from it.

    A forecast is the usual price of that hour of a local day, working days and weekends apart, plus what is
    left of the present deviation from it. How fast a deviation fades is learned for each lead time, and for
    spikes on their own. A spike counts only up to a bound in what lasts, but fully widens the spread.

    Args:
        series: prices by time; only rows that are known at the moment asked for are looked at. With None,
            rows come by `observe`.
        timezone: whose hours and weekends prices follow.

    Raises:
        InputError: there is no such time zone.
    """

    def __init__(self, series: Series | None = None, timezone: str = "UTC") -> None:
        self._local = LocalTime(timezone)
        self._series = series if series is not None else Series(np.empty(0), np.empty(0), 0.0)
        self._learned: _Learned | None = None

    def observe(self, times_s: Floats, values: Floats) -> None:
        """Take rows in that are newer than those held; others are left out.

        Args:
            times_s, values: [R] Unix seconds, rising, and finite prices.
        """
        held = self._series
        new = times_s > held.times_s[-1] if len(held.times_s) else np.ones(len(times_s), dtype=bool)
        times = np.concatenate([held.times_s, times_s[new]])
        hold_s = held.hold_s or (float(np.median(np.diff(times))) if len(times) > 1 else 3600.0)
        self._series = Series(times, np.concatenate([held.values, values[new]]), hold_s)

    def forecast(self, now_s: float, times_s: Floats, known_until_s: float | None = None) -> Outlook:
        """What to expect at `times_s` [S], seen from `now_s`.

        Args:
            known_until_s: rows that begin before this are known; None: those that have begun by `now_s`.
        """
        rows = self._series.times_s
        if known_until_s is None or known_until_s <= now_s:
            count = int(np.searchsorted(rows, now_s, side="right"))
        else:
            count = int(np.searchsorted(rows, known_until_s, side="left"))
        past = Series(rows[:count], self._series.values[:count], self._series.hold_s)
        mean = past.at(times_s)
        known = np.isfinite(mean)
        sigma = np.zeros(len(times_s))
        if known.all():
            return Outlook(mean, sigma, known)
        if not count:
            return Outlook(mean, np.full(len(times_s), np.nan), known)
        guess, spread = self._learn(past).expect(times_s)
        return Outlook(np.where(known, mean, guess), np.where(known, 0.0, spread), known)

    def _learn(self, past: Series) -> _Learned:
        """What is learned from `past`; carried forward, or anew where the clock went back."""
        last_s = float(past.times_s[-1])
        learned = self._learned
        if learned is None or learned.until_s > last_s + learned.grid_s:
            grid_s = next((g for g in _GRIDS_S if g <= past.hold_s + 1.0), _GRIDS_S[-1])
            start_s = max(float(past.times_s[0]), last_s - _HISTORY_S)
            self._learned = learned = _Learned(self._local, grid_s, start_s)
        learned.take(past, last_s)
        return learned


class HashpriceForecaster:
    """Hashprice of the coming days: the last known one, with a spread that grows with the root of time.

    No trend is carried on: over 2021 none that the past showed would have helped. What is known ahead is an
    adjustment of the difficulty, which divides hashprice at its time.

    Args:
        series: USD per TH/s and day by time; only rows that have begun by the moment asked for are used.
    """

    def __init__(self, series: Series) -> None:
        self._series = series
        steps = np.diff(np.log(np.maximum(series.values, 1e-9)))
        days = np.maximum(np.diff(series.times_s), 1.0) / 86400.0
        self._moves: Floats = np.minimum(np.abs(steps) / np.sqrt(days), _MOST_MOVE)

    def forecast(
        self, now_s: float, times_s: Floats, adjustment: tuple[float, float] | None = None
    ) -> Outlook:
        """What to expect at `times_s` [S], seen from `now_s`.

        Args:
            adjustment: Unix seconds of the next change of difficulty, and by what share it rises.
        """
        index = int(np.searchsorted(self._series.times_s, now_s, side="right")) - 1
        if index < 0:
            nothing = np.full(len(times_s), np.nan)
            return Outlook(nothing, nothing, np.zeros(len(times_s), dtype=bool))
        mean = np.full(len(times_s), self._series.values[index])
        if adjustment is not None:
            at_s, rise = adjustment
            bounded = min(max(rise, -0.75), 3.0)  # The protocol allows no more.
            mean = np.where((times_s >= at_s) & (now_s < at_s), mean / (1.0 + bounded), mean)
        recent = self._moves[max(0, index - _MOVE_DAYS) : index]
        # As if a month of usual days had been seen before the first row.
        squares = float(recent @ recent) + 30.0 * _USUAL_MOVE**2
        a_day = float(np.sqrt(squares / (len(recent) + 30.0)))
        days = np.maximum(times_s - self._series.times_s[index], 0.0) / 86400.0
        return Outlook(mean, mean * a_day * np.sqrt(days), times_s <= self._series.times_s[index])


class _Learned:
    """The state behind a forecast, on a grid of equal steps from `start_s` on."""

    def __init__(self, local: LocalTime, grid_s: float, start_s: float) -> None:
        self.grid_s = grid_s
        self.until_s = float(np.floor(start_s / grid_s)) * grid_s
        self._calendar = _Calendar(local, grid_s)
        hours = grid_s / 3600.0
        slots = round(86400.0 / grid_s)
        self._leads = np.unique(np.maximum(1, np.round(_LEADS_H / hours))).astype(np.int64)
        count = len(self._leads)
        self._each = np.arange(count)
        self._ahead = (np.arange(slots)[:, None] + self._leads) % slots
        self._level_rate = 1.0 / _LEVEL_DAYS
        self._weekend_rate = 0.2 * hours / 24.0 / _WEEKEND_DAYS
        self._recent_rate = min(1.0, hours / _RECENT_H)
        self._scale_step = float(np.exp(0.5 * hours / _SCALE_H))
        self._forget = hours / _MEMORY_H
        self._ring = int(self._leads[-1]) + 1
        self._count = 0
        self._level = np.full(slots, np.nan)
        self._unseen = slots
        self._weekend = 0.0
        self._scale = np.nan
        self._recent = 0.0
        # By step of the ring: was there a price; squares and products of the bounded deviation and of its
        # recent mean, and these two; what was cut off; what was forecast then for each lead.
        self._there = np.zeros(self._ring)
        self._seen = np.zeros((self._ring, 5))
        self._cut = np.zeros(self._ring)
        self._said = np.zeros((self._ring, count))
        # By lead: means of those squares and products, with the present deviation in place of the last two.
        self._moments = np.zeros((count, 5))
        still = 0.9 ** (self._leads * hours)
        self._fade = np.stack([still, np.zeros(count)], axis=1)
        self._survives = 0.3 * 0.7 ** (self._leads * hours)
        self._error = np.full(count, 4.0)
        # By time of day: mean square of the deviation, for how hours differ.
        self._slot_error = np.full(slots, 2.0)
        self._slot_mean = 2.0
        self._newest = np.zeros(3)
        self._newest_s = np.nan
        self._by_lead = np.empty((0, 4))
        self._tabulate()

    def take(self, past: Series, last_s: float) -> None:
        """Learn from everything up to and including the row that begins at `last_s`."""
        steps = int((last_s - self.until_s) // self.grid_s) + 1
        if steps <= 0:
            return
        times = self.until_s + self.grid_s * np.arange(steps, dtype=np.float64)
        # A row that begins within a step of the grid counts for that step.
        values = past.at(np.minimum(times + self.grid_s - 1.0, last_s))
        slots, weekend = self._calendar.place(times)
        for i in range(steps):
            value = float(values[i])
            if value == value:
                self._learn(value, int(slots[i]), bool(weekend[i]))
                self._newest_s = float(times[i])
            else:
                self._there[self._count % self._ring] = 0.0
            self._count += 1
            if self._count % _TABULATE_EVERY == 0:
                self._tabulate()
        self.until_s += steps * self.grid_s

    def expect(self, times_s: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation at `times_s` [S]."""
        slots, weekend = self._calendar.place(times_s)
        lead = ((times_s - self._newest_s) / self.grid_s).astype(np.int64)
        by_lead = self._by_lead[np.minimum(np.maximum(lead, 1), len(self._by_lead)) - 1]
        left = by_lead[:, :3] @ self._newest
        mean = self._usual(slots) + np.where(weekend, 5.0, -2.0) * self._weekend + left
        usual = np.sqrt(by_lead[:, 3] * self._slot_error[slots]) * (self._scale / self._slot_mean**0.5)
        # A spike goes on or is over; in the mean of the two is never the price.
        survives = np.clip(by_lead[:, 2], 0.0, 1.0)
        spike = np.abs(self._newest[2]) * np.sqrt(survives * (1.0 - survives))
        return mean, np.hypot(usual, spike)

    def _usual(self, slots: Ints) -> Floats:
        usual = self._level[slots]
        return np.where(np.isnan(usual), np.nanmean(self._level), usual) if self._unseen else usual

    def _learn(self, value: float, slot: int, weekend: bool) -> None:
        shift = (5.0 if weekend else -2.0) * self._weekend
        level = float(self._level[slot])
        off = value - shift - level
        if level != level:
            # The first day can only be compared with its own earlier hours.
            self._level[slot] = value - shift
            self._unseen -= 1
            off = value - shift - float(np.nanmean(self._level))
        if self._scale != self._scale:
            self._scale = max(0.2 * abs(value), _LEAST_SCALE)
        bound = _CLIP * self._scale
        bounded = min(max(off, -bound), bound)
        cut = off - bounded
        if self._count:
            self._learn_fading(value, bounded, cut, slot)
        if level == level:
            self._level[slot] = level + self._level_rate * bounded
        self._weekend += self._weekend_rate * (bounded if weekend else -bounded)
        self._recent += self._recent_rate * (bounded - self._recent)
        # The median of the deviation, by steps up and down: no spike, however high, moves it further.
        step = self._scale_step
        self._scale = max(self._scale * step if abs(off) > self._scale else self._scale / step, _LEAST_SCALE)
        place, recent = self._count % self._ring, self._recent
        self._newest = np.array([bounded, recent, cut])
        self._there[place] = 1.0
        self._seen[place] = (bounded * bounded, bounded * recent, recent * recent, bounded, recent)
        self._cut[place] = cut
        said = self._usual(self._ahead[slot]) + self._fade @ self._newest[:2]
        self._said[place] = said + shift + (self._survives * cut if cut else 0.0)

    def _learn_fading(self, value: float, bounded: float, cut: float, slot: int) -> None:
        """How much of what was seen one lead earlier is here now, and how far off the forecasts were."""
        back = (self._count - self._leads) % self._ring
        there = self._there[back]
        rate = self._forget * there
        weight = 1.0 / self._scale**2
        now = bounded * weight
        self._moments += rate[:, None] * (
            self._seen[back] * (weight, weight, weight, now, now) - self._moments
        )
        cuts = self._cut[back] * there
        if cuts.any():
            gone = cuts != 0.0
            share = np.clip(cut / cuts[gone], 0.0, 1.0)
            self._survives[gone] += _SPIKE_LEARNING * (share - self._survives[gone])
        error = (self._said[back, self._each] - value) / self._scale
        squared = np.minimum(error * error, _CLIP_SPREAD**2)
        relative = float(self._slot_error[slot]) / self._slot_mean
        self._error += rate * (squared / relative - self._error)
        before = float(self._slot_error[slot])
        off = min(((bounded + cut) / self._scale) ** 2, _CLIP_SLOT**2)
        after = max(before + 0.25 * self._level_rate * (off - before), 0.1)
        self._slot_error[slot] = after
        self._slot_mean += (after - before) / len(self._slot_error)

    def _tabulate(self) -> None:
        """What is left of a deviation and how far off a forecast is, for every lead."""
        if self._count:
            a, b, d, p, q = self._moments.T
            ridge = 0.5 * _RIDGE * (a + d) + 1e-9
            a, d = a + ridge, d + ridge
            det = a * d - b * b
            self._fade = np.stack([(d * p - b * q) / det, (a * q - b * p) / det], axis=1)
        leads = np.arange(1, self._leads[-1] + 1)
        columns = (*self._fade.T, self._survives, self._error)
        self._by_lead = np.stack([np.interp(leads, self._leads, column) for column in columns], axis=1)


class _Calendar:
    """Slot of the local day and weekend of every step of a grid, looked up once."""

    def __init__(self, local: LocalTime, grid_s: float) -> None:
        self._local = local
        self._grid_s = grid_s
        self._first = 0
        self._slots: Ints = np.empty(0, dtype=np.int64)
        self._weekend: Bools = np.empty(0, dtype=bool)

    def place(self, times_s: Floats) -> tuple[Ints, Bools]:
        """Slot and weekend of Unix seconds [R], rising."""
        steps = (times_s / self._grid_s).astype(np.int64)
        if len(steps) and not self._first <= steps[0] <= steps[-1] < self._first + len(self._slots):
            margin = round(30 * 86400.0 / self._grid_s)
            low, high = int(steps[0]) - margin, int(steps[-1]) + margin
            moments = self._local.of(self._grid_s * np.arange(low, high, dtype=np.float64))
            self._first, self._weekend = low, moments.weekend
            self._slots = (moments.second // self._grid_s).astype(np.int64)
        at = steps - self._first
        return self._slots[at], self._weekend[at]

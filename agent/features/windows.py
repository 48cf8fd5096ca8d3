"""Time windows over a fleet in bounded memory: buckets of mergeable moments, updated for all miners at once.

Three rings of fixed buckets hold each series at falling resolution, so a window's edge is coarse to one
bucket (5 min, 30 min, 6 h). What the series mean is left to `agent.features.streaming`, which there are to
`agent.features.window_choice`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.features.window_choice import LEVELS, WINDOWS_VARIABLE, Window, chosen_windows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


WINDOWS = chosen_windows(os.environ.get(WINDOWS_VARIABLE, ""))
# Lagged correlations are of the means of whole buckets of one level, the running one left out.
CORRELATION_LEVEL = 1
# With fewer pairs, or a spread below this share of the mean, a correlation says nothing.
CORRELATION_PAIRS = 6
_LEAST_SPREAD = 1e-5
_OFFSETS = np.concatenate([[0], np.cumsum([level.slots for level in LEVELS])])
_STARTS = _OFFSETS[:-1, None]
_SECONDS = np.array([[level.seconds] for level in LEVELS], dtype=np.int64)
_SLOTS = np.array([[level.slots] for level in LEVELS], dtype=np.int64)
_TOTAL = int(_OFFSETS[-1])
# The levels that slopes are taken from hold sums of time; they come first.
TIMED_LEVELS = 1 + max(window.level for window in WINDOWS if window.slopes)
_TIMED = int(_OFFSETS[TIMED_LEVELS])


@dataclass(frozen=True, slots=True)
class Merged:
    """Moments of S series over one window, each [S,R]. `mean`, `low`, `high` are NaN where `count` is 0.

    `slope_per_h` is the least-squares slope over time; NaN with fewer than three readings, and for
    windows without slopes.
    """

    count: Floats
    mean: Floats
    m2: Floats
    low: Floats
    high: Floats
    slope_per_h: Floats


class Rings:
    """What all rings of one fleet share: which buckets are the newest.

    Args:
        end_s: Unix time of the newest moment seen, NaN before the first.
    """

    def __init__(self, end_s: float = float("nan")) -> None:
        self.end_s = end_s

    def move(self, at_s: float) -> NDArray[np.bool_]:
        """Go to `at_s` and return the [total slots] mask of buckets that must be emptied.

        Forward, those are the buckets whose place is needed; backward (a clock that was set back), those
        that lie in what is now the future.
        """
        stale = np.zeros(_TOTAL, dtype=np.bool_)
        if self.end_s == self.end_s:
            for level, offset in zip(LEVELS, _OFFSETS, strict=False):
                was, now = int(self.end_s // level.seconds), int(at_s // level.seconds)
                low, high = min(was, now), max(was, now)
                if high - low >= level.slots:
                    stale[offset : offset + level.slots] = True
                elif high > low:
                    stale[offset + np.arange(low + 1, high + 1) % level.slots] = True
        self.end_s = at_s
        return stale

    def places(self, times_s: Floats) -> tuple[Ints, NDArray[np.bool_]]:
        """Slot of each moment in every level and whether it is still held: both [L,R]."""
        ids = times_s.astype(np.int64) // _SECONDS
        newest = int(self.end_s) // _SECONDS
        return ids % _SLOTS + _STARTS, (ids <= newest) & (ids > newest - _SLOTS)

    def slots_of(self, window: Window) -> slice | Ints:
        """Where the buckets of `window` lie; in order of time where it is not the whole level."""
        level = LEVELS[window.level]
        offset = int(_OFFSETS[window.level])
        if window.buckets == level.slots:
            return slice(offset, offset + level.slots)
        return offset + self._order(window.level)[-window.buckets :]

    def in_order(self, level: int) -> Ints:
        """Slots of a whole level from oldest to newest."""
        return int(_OFFSETS[level]) + self._order(level)

    def _order(self, level: int) -> Ints:
        newest = int(self.end_s // LEVELS[level].seconds) if self.end_s == self.end_s else 0
        return np.arange(newest - LEVELS[level].slots + 1, newest + 1, dtype=np.int64) % LEVELS[level].slots


class Moments:
    """Count, mean, M2, minimum and maximum of S series in every bucket; sums of time where slopes need them.

    Arrays are [slots,S,N], so that merging runs along whole fleets; the time sums are the mean time since
    the bucket's start, its M2, and the co-moment of time and value.
    """

    names = ("count", "mean", "m2", "low", "high", "t_mean", "t_m2", "t_x")

    def __init__(self, rows: int, series: int) -> None:
        shape, fine = (_TOTAL, series, rows), (_TIMED, series, rows)
        self.series = series
        self.count = np.zeros(shape, dtype=np.float32)
        self.mean = np.zeros(shape)
        self.m2 = np.zeros(shape)
        self.low = np.full(shape, np.inf)
        self.high = np.full(shape, -np.inf)
        self.t_mean = np.zeros(fine)
        self.t_m2 = np.zeros(fine)
        self.t_x = np.zeros(fine)

    def clear(self, stale: NDArray[np.bool_]) -> None:
        """Empty the buckets of the mask [total slots] for all miners."""
        for array in (self.count, self.mean, self.m2):
            array[stale] = 0.0
        self.low[stale] = np.inf
        self.high[stale] = -np.inf
        for array in (self.t_mean, self.t_m2, self.t_x):
            array[stale[:_TIMED]] = 0.0

    def add(self, rows: Ints, times_s: Floats, values: Floats, places: Ints, held: NDArray[np.bool_]) -> None:
        """Take in one reading of each of `rows` (no row twice).

        Args:
            rows: [R] row of each reading.
            times_s: [R] Unix seconds.
            values: [S,R]; NaN where unknown.
            places, held: [L,R] of `Rings.places`.
        """
        series = np.arange(self.series)[:, None]
        at = (places[:, None, :], series, rows)
        value = np.where(held[:, None, :], values, np.nan)
        known = np.isfinite(value)
        before = self.mean[at]
        count = self.count[at] + known
        delta = np.where(known, value - before, 0.0)
        mean = before + delta / np.maximum(count, 1.0)
        rest = np.where(known, value - mean, 0.0)
        self.count[at] = count
        self.mean[at] = mean
        self.m2[at] += delta * rest
        self.low[at] = np.fmin(self.low[at], value)
        self.high[at] = np.fmax(self.high[at], value)

        timed = slice(TIMED_LEVELS)
        fine = (places[timed, None, :], series, rows)
        since = (times_s % _SECONDS[timed])[:, None, :]
        t_before = self.t_mean[fine]
        t_delta = np.where(known[timed], since - t_before, 0.0)
        t_mean = t_before + t_delta / np.maximum(count[timed], 1.0)
        self.t_mean[fine] = t_mean
        self.t_m2[fine] += t_delta * (since - t_mean)
        self.t_x[fine] += t_delta * rest[timed]

    def merge(self, window: Window, rings: Rings, rows: Ints | slice) -> Merged:
        """Moments over `window` of the miners `rows`."""
        where = rings.slots_of(window)
        count = self.count[where][..., rows].astype(np.float64)
        means = self.mean[where][..., rows]
        total = count.sum(axis=0)
        some = np.maximum(total, 1.0)
        mean = _weigh(count, means) / some
        off = means - mean
        weighted = count * off
        m2 = self.m2[where][..., rows].sum(axis=0) + _weigh(weighted, off)
        low = self.low[where][..., rows].min(axis=0)
        high = self.high[where][..., rows].max(axis=0)
        empty = total == 0.0
        for array in (mean, low, high):
            array[empty] = np.nan
        slope = np.full(mean.shape, np.nan)
        if window.slopes:
            starts = np.arange(1 - window.buckets, 1) * float(LEVELS[window.level].seconds)
            if isinstance(where, slice):
                placed = np.empty(len(starts))
                placed[rings.in_order(window.level) - where.start] = starts
                starts = placed
            times = self.t_mean[where][..., rows] + starts[:, None, None]
            t_off = times - _weigh(count, times) / some
            t_m2 = self.t_m2[where][..., rows].sum(axis=0) + _weigh(count * t_off, t_off)
            t_x = self.t_x[where][..., rows].sum(axis=0) + _weigh(weighted, t_off)
            steady = (total >= 3.0) & (t_m2 > 0.0)
            slope[steady] = 3600.0 * t_x[steady] / t_m2[steady]
        return Merged(total, mean, m2, low, high, slope)


class Means:
    """Count and mean of S series in every bucket, for what needs no more. Arrays are [slots,S,N].

    Args:
        first: the finest level that holds them; finer windows cannot be read.
    """

    names = ("count", "mean")

    def __init__(self, rows: int, series: int, first: int = 0) -> None:
        self.series = series
        self._first, self._offset = first, int(_OFFSETS[first])
        self.count = np.zeros((_TOTAL - self._offset, series, rows), dtype=np.float32)
        self.mean = np.zeros((_TOTAL - self._offset, series, rows))

    def clear(self, stale: NDArray[np.bool_]) -> None:
        """Empty the buckets of the mask [total slots] for all miners."""
        self.count[stale[self._offset :]] = 0.0
        self.mean[stale[self._offset :]] = 0.0

    def add(self, rows: Ints, values: Floats, places: Ints, held: NDArray[np.bool_]) -> None:
        """Take in one reading of each of `rows`; arguments as for `Moments.add`."""
        mine = places[self._first :, None, :] - self._offset
        at = (mine, np.arange(self.series)[:, None], rows)
        value = np.where(held[self._first :, None, :], values, np.nan)
        known = np.isfinite(value)
        before = self.mean[at]
        count = self.count[at] + known
        self.count[at] = count
        self.mean[at] = before + np.where(known, value - before, 0.0) / np.maximum(count, 1.0)

    def merge(self, window: Window, rings: Rings, rows: Ints | slice, series: int | None = None) -> Floats:
        """Mean over `window` of the first `series` of the miners `rows`, [S,R]; of nothing it is NaN."""
        found = rings.slots_of(window)
        where: slice | Ints
        if isinstance(found, slice):
            where = slice(found.start - self._offset, found.stop - self._offset)
        else:
            where = found - self._offset
        count = self.count[where, :series][..., rows].astype(np.float64)
        total = count.sum(axis=0)
        mean: Floats = _weigh(count, self.mean[where, :series][..., rows]) / np.maximum(total, 1.0)
        mean[total == 0.0] = np.nan
        return mean


def _weigh(weights: Floats, values: Floats) -> Floats:
    """Sum over buckets of weight times value: [B,S,R] to [S,R]."""
    return np.asarray(np.einsum("bsr,bsr->sr", weights, values), dtype=np.float64)


class Lows:
    """Least value of E series in every bucket of the coarsest level. Array is [slots,E,N]."""

    names = ("low",)
    level = 2

    def __init__(self, rows: int, series: int) -> None:
        self.series = series
        self.low = np.full((LEVELS[self.level].slots, series, rows), np.inf)

    def clear(self, stale: NDArray[np.bool_]) -> None:
        """Empty the buckets of the mask [total slots] for all miners."""
        self.low[stale[_OFFSETS[self.level] : _OFFSETS[self.level + 1]]] = np.inf

    def add(self, rows: Ints, values: Floats, places: Ints, held: NDArray[np.bool_]) -> None:
        """Take in one reading of each of `rows`; `values` is [E,R], the rest as for `Moments.add`."""
        at = (places[self.level] - _OFFSETS[self.level], np.arange(self.series)[:, None], rows)
        self.low[at] = np.fmin(self.low[at], np.where(held[self.level], values, np.nan))

    def merge(self, rows: Ints | slice) -> Floats:
        """Least value over the level of the miners `rows`, [E,R]; NaN where there is none."""
        low: Floats = self.low[..., rows].min(axis=0)
        low[np.isinf(low)] = np.nan
        return low


def correlation(
    count: Floats, left: Floats, right: Floats, both: Floats, means: tuple[Floats, Floats]
) -> Floats:
    """Correlation from M2 of each side and their co-moment; NaN with too few pairs or too little spread."""
    enough = count >= CORRELATION_PAIRS
    for m2, mean in ((left, means[0]), (right, means[1])):
        enough = enough & (m2 > count * (_LEAST_SPREAD * np.maximum(np.abs(mean), 1.0)) ** 2)
    out: Floats = both / np.sqrt(np.where(enough, left * right, np.nan))
    return out


def lagged_correlation(
    later: tuple[Floats, Floats], earlier: tuple[Floats, Floats], rings: Rings, rows: Ints | slice, lag: int
) -> Floats:
    """Correlation over 24h of one series' bucket means with another's `lag` buckets before, [R].

    Args:
        later, earlier: count and mean of a series in every bucket, each [slots,N].
    """
    order = rings.in_order(CORRELATION_LEVEL)[:-1]
    x, y = (
        values.take(at, axis=0)[:, rows]
        for values, at in ((later[1], order[lag:]), (earlier[1], order[:-lag]))
    )
    pair = later[0].take(order[lag:], axis=0)[:, rows] > 0.0
    pair &= earlier[0].take(order[:-lag], axis=0)[:, rows] > 0.0
    count = pair.sum(axis=0).astype(np.float64)
    some = np.maximum(count, 1.0)
    if pair.all():
        x_off, y_off = x - (x_mean := x.sum(axis=0) / some), y - (y_mean := y.sum(axis=0) / some)
    else:
        x_mean, y_mean = (np.where(pair, side, 0.0).sum(axis=0) / some for side in (x, y))
        x_off, y_off = np.where(pair, x - x_mean, 0.0), np.where(pair, y - y_mean, 0.0)
    left, right, both = (
        np.asarray(np.einsum("br,br->r", one, two), dtype=np.float64)
        for one, two in ((x_off, x_off), (y_off, y_off), (x_off, y_off))
    )
    return correlation(count, left, right, both, (x_mean, y_mean))


def growth_between(old: Floats, new: Floats) -> tuple[Floats, NDArray[np.bool_], Floats]:
    """Growth of counters from one state to a later one, whether the process restarted, seconds passed.

    Args:
        old, new: [2+C,...]: time, uptime, counters; NaN where unknown.
    """
    passed = new[0] - old[0]
    # Uptime that grew by less than the time that passed, clocks' error aside, belongs to a new process.
    restarted = new[1] < old[1] + 0.98 * passed - 60.0
    restarted |= (new[2:] < old[2:]).any(axis=0)
    grown = np.where(restarted, new[2:], new[2:] - old[2:])
    grown[np.isnan(old[2:])] = np.nan
    return grown, restarted, passed


class Counters:
    """The last state of C running counters in every bucket of one level, to tell their growth over it.

    A counter that belongs to a process starts anew with it. Its growth between two readings is their
    difference, or the later value alone where the process restarted in between; what was counted between
    the earlier reading and that restart is lost, as nobody saw it.
    """

    names = ("last",)
    level = 1

    def __init__(self, rows: int, counters: int) -> None:
        # Along the middle axis: time of the reading, uptime, then the counters.
        self.last = np.full((LEVELS[self.level].slots, 2 + counters, rows), np.nan)
        self.last[:, 0] = -np.inf

    def clear(self, stale: NDArray[np.bool_]) -> None:
        """Empty the buckets of the mask [total slots] for all miners."""
        mine = stale[_OFFSETS[self.level] : _OFFSETS[self.level + 1]]
        self.last[mine, 1:] = np.nan
        self.last[mine, 0] = -np.inf

    def add(
        self,
        rows: Ints,
        times_s: Floats,
        uptime_s: Floats,
        values: Floats,
        places: Ints,
        held: NDArray[np.bool_],
    ) -> None:
        """Take in one reading of each of `rows`; `values` is [C,R], the rest as for `Moments.add`."""
        slot = places[self.level] - _OFFSETS[self.level]
        newer = held[self.level] & (times_s > self.last[slot, 0, rows])
        newer &= np.isfinite(values).any(axis=0) | np.isfinite(uptime_s)
        state = np.concatenate([times_s[None], uptime_s[None], values])
        self.last[slot[newer], :, rows[newer]] = state[:, newer].T

    def growth(self, rings: Rings, rows: Ints | slice) -> tuple[Floats, Floats, Floats]:
        """Growth of each counter over the level [C,R], restarts [R] and the hours they were seen over [R].

        NaN where no two readings tell.
        """
        state = self.last[rings.in_order(self.level) - _OFFSETS[self.level]][..., rows]
        filled = state[:, 0] > -np.inf
        places = np.arange(len(state))[:, None]
        latest = np.maximum.accumulate(np.where(filled, places, -1), axis=0)
        pair = filled[1:] & (latest[:-1] >= 0)
        if filled.all():
            old = state[:-1]
        else:
            old = np.take_along_axis(state, np.maximum(latest[:-1], 0)[:, None], axis=0)
        new = np.where(pair[:, None], state[1:], np.nan)
        old = np.where(pair[:, None], old, np.nan)
        grown, restarted, passed = growth_between(old.swapaxes(0, 1), new.swapaxes(0, 1))
        known = np.isfinite(grown)
        total = np.where(known, grown, 0.0).sum(axis=1)
        total[~known.any(axis=1)] = np.nan
        restarts = restarted.sum(axis=0).astype(np.float64)
        hours = np.where(pair, passed, 0.0).sum(axis=0) / 3600.0
        nothing = ~pair.any(axis=0)
        restarts[nothing] = np.nan
        hours[nothing] = np.nan
        return total, restarts, hours

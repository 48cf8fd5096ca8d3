"""The windows of `agent.features.windows` at every row of a history at once, without walking through it.

Rows of a miner are merged into buckets and buckets into windows by doubling; the running bucket is what had
been read of it up to each row. All sums are of moments about their own mean, as in the live state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agent.features.window_choice import LEVELS
from agent.features.windows import (
    CORRELATION_LEVEL,
    TIMED_LEVELS,
    WINDOWS,
    Counters,
    Floats,
    Ints,
    correlation,
    growth_between,
)

Bools = NDArray[np.bool_]


class Rows:
    """R rows of a history, one at least, in order of miner and time, cut into the buckets of every level.

    Args:
        miner, times_s: [R].
        told: [R] False for rows that repeat a time and are not counted.
    """

    def __init__(self, miner: Ints, times_s: Floats, told: Bools) -> None:
        self.times_s, self._told = times_s, told
        change = np.diff(miner, prepend=-1) != 0
        levels: list[_Level] = []
        # In whole numbers, which are quicker to divide.
        whole_s = np.floor(times_s).astype(np.int64)
        for number in range(len(LEVELS)):
            levels.append(_cut(number, change, whole_s, levels[-1] if levels else None))
        self.levels = tuple(levels)
        place = np.arange(len(times_s))
        # First row of each row's miner.
        self._begin = np.maximum.accumulate(np.where(change, place, 0))
        fine, coarse = self.levels[0], self.levels[TIMED_LEVELS - 1]
        # Seconds on an axis that begins with the miner, so that others do not move its last bits.
        seconds = LEVELS[TIMED_LEVELS - 1].seconds
        since_s = times_s - whole_s // seconds * seconds
        self._axis_s = since_s + seconds * (coarse.cell - coarse.cell[self._begin])
        rank = place - fine.first[fine.bucket]
        # Rows by their place in their bucket, from the second one on.
        self._later = [np.flatnonzero(rank == k) for k in range(1, int(rank.max()) + 1)]

    def moments(self, values: Floats, known: Bools, windows: Sequence[str]) -> Iterator[tuple[str, Sums]]:
        """Moments of S series that are known in the same rows, at every row: windows and sums in turn.

        Args:
            values, known: [S,R], [R].
        """
        count, values = known.astype(np.float64), np.where(known, values, 0.0)
        now = Sums(count, values, np.zeros_like(values))
        if any(window.slopes for window in WINDOWS if window.name in windows):
            axis = np.where(known, self._axis_s, 0.0)
            now = replace(now, t_mean=axis, t_m2=np.zeros_like(count), t_x=np.zeros_like(values))
        return self._scan(now, windows)

    def means(self, values: Floats, known: Bools, windows: Sequence[str]) -> Iterator[tuple[str, Sums]]:
        """Count and mean only; else as `moments`."""
        return self._scan(Sums(known.astype(np.float64), np.where(known, values, 0.0)), windows)

    def _scan(self, now: Sums, windows: Sequence[str]) -> Iterator[tuple[str, Sums]]:
        for rows in self._later:
            now.put(rows, merged(now.take(rows - 1), now.take(rows)))
        inside = now
        for number, level in enumerate(self.levels):
            if number:
                now = merged(inside.take(level.inside), now)
            full = now if len(level.last) == len(level.cell) else now.take(level.last)
            mine = [window for window in WINDOWS if window.level == number and window.name in windows]
            if mine:
                spans = _spans(full.spread(level.at, level.cells), {w.buckets - 1 for w in mine})
                for window in mine:
                    past = window.buckets - 1
                    span, rows_now = spans[past], now
                    if not window.slopes:
                        span, rows_now = span.without_time(), now.without_time()
                    # The newest whole bucket is one cell back; a span begins with its own length.
                    yield window.name, merged(span.take(level.cell - past), rows_now)
            if number + 1 >= TIMED_LEVELS:
                now, full = now.without_time(), full.without_time()
            if any(window.level > number for window in WINDOWS if window.name in windows):
                inside = _inside(full, level, self.levels[number + 1])
            else:
                return

    def lows(self, values: Floats, windows: Sequence[str]) -> Iterator[tuple[str, Floats]]:
        """Least known of each of S series [S,R] at every row; NaN where there is none."""
        now = np.where(np.isfinite(values) & self._told, values, np.inf)
        for rows in self._later:
            now[:, rows] = np.minimum(now[:, rows - 1], now[:, rows])
        inside = now
        for number, level in enumerate(self.levels):
            if number:
                now = np.minimum(inside.take(level.inside, axis=1), now)
            full = now if len(level.last) == len(level.cell) else now.take(level.last, axis=1)
            mine = [window for window in WINDOWS if window.level == number and window.name in windows]
            if mine:
                dense = np.full((len(values), level.cells), np.inf)
                _put(dense, level.at, full)
                for window in mine:
                    past = window.buckets - 1
                    low = np.minimum(_least(dense, past).take(level.cell - past, axis=1), now)
                    low[low == np.inf] = np.nan
                    yield window.name, low
            if not any(window.level > number for window in WINDOWS if window.name in windows):
                return
            above = self.levels[number + 1]
            parents = len(above.at)
            inside = np.full((len(values), (level.children + 1) * parents), np.inf)
            _put(inside, (level.slot + 1) * parents + above.bucket[level.last], full)
            for child in range(1, level.children):
                begin = child * parents
                part = inside[:, begin : begin + parents]
                np.minimum(inside[:, begin - parents : begin], part, out=part)

    def growth(self, uptime_s: Floats, values: Floats) -> tuple[Floats, Floats, Floats]:
        """`Counters.growth` at every row: of each counter [C,R], restarts [R] and hours [R]."""
        level, slots = self.levels[Counters.level], LEVELS[Counters.level].slots
        state = np.concatenate([self.times_s[None], uptime_s[None], values])
        told = self._told & (np.isfinite(values).any(axis=0) | np.isfinite(uptime_s))
        newest = np.maximum.accumulate(np.where(told, np.arange(len(told)), -1))
        running = newest >= level.first[level.bucket]
        filled = running[level.last]
        if not filled.any():
            nothing = np.full((2, len(told)), np.nan)
            return np.full(values.shape, np.nan), nothing[0], nothing[1]
        cells, states = level.at[filled], state[:, newest[level.last[filled]]]
        grown, restarted, _ = growth_between(states[:, :-1], states[:, 1:])
        near = np.diff(cells) < slots
        known = np.isfinite(grown) & near
        # Counters count in whole numbers, so that differences of running sums are exact.
        starts = np.flatnonzero(np.diff(self._begin[level.last[filled]], prepend=-1))
        sums = _running_sum(np.where(known, grown, 0.0), starts)
        counts = _running_sum(known.astype(np.float64), starts)
        restarts = _running_sum((restarted & near).astype(np.float64)[None], starts)[0]

        # Filled buckets of the window before the running one: `first` up to `last`, by bucket.
        last = np.searchsorted(cells, level.at) - 1
        first = np.searchsorted(cells, level.at - slots + 1)
        some = last >= first
        last, first = np.where(some, last, 0), np.where(some, first, 0)
        total = (sums[:, last] - sums[:, first]).take(level.bucket, axis=1)
        seen = (counts[:, last] - counts[:, first]).take(level.bucket, axis=1)
        count = (restarts[last] - restarts[first]).take(level.bucket)
        begin = states[0, first].take(level.bucket)
        several = (some & (last > first)).take(level.bucket)
        ends = running & some.take(level.bucket)

        old, end = states[:, last].take(level.bucket, axis=1), state.take(np.where(ends, newest, 0), axis=1)
        new_grown, new_restarted, _ = growth_between(old, end)
        fresh = np.isfinite(new_grown) & ends
        total += np.where(fresh, new_grown, 0.0)
        total[seen + fresh == 0.0] = np.nan
        count += new_restarted & ends
        hours = (np.where(ends, end[0], old[0]) - begin) / 3600.0
        nothing = ~(ends | several)
        count[nothing] = hours[nothing] = np.nan
        return total, count, hours

    def since_change(self, steps: NDArray[np.int16]) -> Floats:
        """Unix seconds since when the setting of each row has held [R]; NaN where it was never known.

        Args:
            steps: [R] of `agent.features.history.share_steps`.
        """
        known = np.flatnonzero((steps >= 0) & self._told)
        change = np.ones(len(known), dtype=np.bool_)
        change[1:] = (np.diff(steps[known]) != 0) | (np.diff(self._begin[known]) != 0)
        at = np.full(len(steps), -1)
        at[known[change]] = known[change]
        at = np.maximum.accumulate(at)
        return np.where(at >= self._begin, self.times_s[at], np.nan)

    def correlations(self, series: Floats, pairs: Sequence[tuple[int, int]], lag: int) -> Floats:
        """`lagged_correlation` at every row [P,R], of pairs (later, earlier) of the series [S,R]."""
        level = self.levels[CORRELATION_LEVEL]
        known = np.isfinite(series) & self._told
        counts = np.add.reduceat(known, level.first, axis=1, dtype=np.float64)
        means = np.add.reduceat(np.where(known, series, 0.0), level.first, axis=1) / np.maximum(counts, 1.0)
        dense = np.full((len(series), level.cells), np.nan)
        dense[:, level.at] = np.where(counts > 0.0, means, np.nan)
        past = LEVELS[CORRELATION_LEVEL].slots - 1 - lag
        out = np.full((len(pairs), series.shape[1]), np.nan)
        for i, (later, earlier) in enumerate(pairs):
            x, y = dense[later], np.full(level.cells, np.nan)
            y[lag:] = dense[earlier, :-lag]
            pair = np.isfinite(x) & np.isfinite(y)
            if not pair.any():
                continue
            zero = np.zeros((1, level.cells))
            x, y = np.where(pair, x, 0.0), np.where(pair, y, 0.0)
            span = _spans(Sums(pair.astype(np.float64), x[None], zero, y, zero[0], zero), {past})[past]
            assert span.m2 is not None and span.t_mean is not None
            assert span.t_m2 is not None and span.t_x is not None
            found = correlation(span.count, span.m2[0], span.t_m2, span.t_x[0], (span.mean[0], span.t_mean))
            out[i] = found.take(level.cell - past)
        return out


@dataclass(frozen=True, slots=True)
class Sums:
    """Moments of S series that are known in the same readings, for X places; those of time where wanted.

    Args:
        count, t_mean, t_m2: [X].
        mean, m2, t_x: [S,X].
    """

    count: Floats
    mean: Floats
    m2: Floats | None = None
    t_mean: Floats | None = None
    t_m2: Floats | None = None
    t_x: Floats | None = None

    def arrays(self) -> list[Floats]:
        """Those that are there."""
        held = (self.count, self.mean, self.m2, self.t_mean, self.t_m2, self.t_x)
        return [array for array in held if array is not None]

    def without_time(self) -> Sums:
        """The same without time."""
        return Sums(self.count, self.mean, self.m2)

    def take(self, index: Ints) -> Sums:
        """The places of `index`."""
        return Sums(*(array.take(index, axis=-1) for array in self.arrays()))

    def cut(self, begin: int, end: int | None) -> Sums:
        """Places from `begin` up to `end`, as views."""
        return Sums(*(array[..., begin:end] for array in self.arrays()))

    def put(self, index: Ints, other: Sums) -> None:
        """Put `other` into the places of `index`."""
        for mine, theirs in zip(self.arrays(), other.arrays(), strict=True):
            _put(mine, index, theirs)

    def spread(self, at: Ints, cells: int) -> Sums:
        """The same at the places `at` of `cells`, nothing elsewhere."""
        out = Sums(*(np.zeros((*array.shape[:-1], cells)) for array in self.arrays()))
        out.put(at, self)
        return out


def merged(old: Sums, new: Sums) -> Sums:
    """Moments of what either holds. One that holds nothing leaves the other's as they are, to the bit."""
    count = old.count + new.count
    weight = new.count / np.maximum(count, 1.0)
    delta = new.mean - old.mean
    mean = delta * weight
    mean += old.mean
    if old.m2 is None or new.m2 is None:
        return Sums(count, mean)
    common = old.count * weight
    m2 = old.m2 + new.m2
    if old.t_mean is None or old.t_m2 is None or old.t_x is None:
        delta *= delta
        delta *= common
        m2 += delta
        return Sums(count, mean, m2)
    assert new.t_mean is not None and new.t_m2 is not None and new.t_x is not None
    t_delta = new.t_mean - old.t_mean
    t_mean = t_delta * weight
    t_mean += old.t_mean
    shift = common * t_delta
    t_x = delta * shift
    t_x += old.t_x
    t_x += new.t_x
    shift *= t_delta
    shift += old.t_m2
    shift += new.t_m2
    delta *= delta
    delta *= common
    m2 += delta
    return Sums(count, mean, m2, t_mean, shift, t_x)


@dataclass(frozen=True, slots=True)
class _Level:
    """Buckets of one level. A cell is a bucket's place in time; a gap that no window spans is cut short.

    Args:
        cell, bucket: [R] of each row's bucket; `bucket` counts those that hold rows.
        at, first, last: [B] cell, first row and last row.
        slot: [B] place among the buckets of one bucket of the level above, of which it has `children`.
        inside: [R] where a row's bucket of the level below stands in what `_inside` gives; empty at level 0.
    """

    cell: Ints
    bucket: Ints
    at: Ints
    first: Ints
    last: Ints
    slot: Ints
    children: int
    inside: Ints

    @property
    def cells(self) -> int:
        return int(self.at[-1]) + 1


def _cut(number: int, change: Bools, whole_s: Ints, below: _Level | None) -> _Level:
    seconds, slots = LEVELS[number]
    clock = whole_s // seconds
    step = np.diff(clock, prepend=clock[:1])
    # The first cells stay empty: no span reaches beyond them.
    step[change | (step > slots)] = slots
    first = np.flatnonzero(step)
    cell = np.cumsum(step)
    bucket = np.cumsum(step > 0) - 1
    last = np.append(first[1:], len(clock)) - 1
    children = LEVELS[number + 1].seconds // seconds if number + 1 < len(LEVELS) else 1
    slot = clock[first] % children
    inside = np.empty(0, dtype=np.int64)
    if below is not None:
        inside = below.slot[below.bucket] * len(first) + bucket
    return _Level(cell, bucket, cell[first], first, last, slot, children, inside)


def _inside(full: Sums, level: _Level, above: _Level) -> Sums:
    """What a bucket of the level above holds before each of its `children`, child after child."""
    parents = len(above.at)
    place = level.slot * parents + above.bucket[level.last]
    parts = full.spread(place, level.children * parents)
    before = [Sums(*(np.zeros((*array.shape[:-1], parents)) for array in full.arrays()))]
    for child in range(level.children - 1):
        before.append(merged(before[-1], parts.cut(child * parents, (child + 1) * parents)))
    joined = zip(*(sums.arrays() for sums in before), strict=True)
    return Sums(*(np.concatenate(arrays, axis=-1) for arrays in joined))


def _spans(cells: Sums, lengths: set[int]) -> dict[int, Sums]:
    """Moments over each of `lengths` cells. The first place of a result is the span of the first cells."""
    whole, size = cells, 1
    parts: dict[int, Sums] = {}
    most = max(lengths)
    while size <= most:
        for covered in {length % (2 * size) for length in lengths if length & size}:
            rest = covered - size
            if rest:
                # The newer part of the span, and the older one that ends before it.
                newer = parts[rest].cut(size, None)
                parts[covered] = merged(whole.cut(0, newer.count.shape[-1]), newer)
            else:
                parts[covered] = whole
        size *= 2
        if size <= most:
            whole = merged(whole.cut(0, whole.count.shape[-1] - size // 2), whole.cut(size // 2, None))
    return {length: parts[length] for length in lengths}


def _least(cells: Floats, length: int) -> Floats:
    """Minimum over `length` cells, placed as `_spans` does."""
    size = 1
    while 2 * size <= length:
        cells = np.minimum(cells[:, :-size], cells[:, size:])
        size *= 2
    rest = length - size
    return np.minimum(cells[:, : cells.shape[1] - rest], cells[:, rest:]) if rest else cells


def _put(into: Floats, index: Ints, values: Floats) -> None:
    """Put values [...,P] into the places of `index` along the last axis: row by row, which is quicker."""
    if into.ndim == 1:
        into[index] = values
        return
    for row, own in zip(into, values, strict=True):
        row[index] = own


def _running_sum(steps: Floats, starts: Ints) -> Floats:
    """Sums of the steps [C,P] between P+1 places up to each of them, anew from each of `starts`."""
    out = np.zeros((steps.shape[0], steps.shape[1] + 1))
    for begin, end in zip(starts, [*starts[1:], out.shape[1]], strict=True):
        np.cumsum(steps[:, begin : end - 1], axis=1, out=out[:, begin + 1 : end])
    return out

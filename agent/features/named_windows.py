"""What windows hold, by the names that formulas use: of a live fleet, and at every row of a history.

The windows themselves are in `agent.features.windows` and `agent.features.window_scan`, what is made
of them in `agent.features.table`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from agent.features.history import History, share_steps
from agent.features.inputs import (
    COUNTERS,
    FINE_MEANS,
    LAG_BUCKETS,
    LAGGED,
    LOW_WINDOWS,
    LOWS,
    MEAN_WINDOWS,
    MEANS,
    SERIES,
    TILT_MEANS,
)
from agent.features.window_choice import LEVELS
from agent.features.window_scan import Rows
from agent.features.windows import WINDOWS, Floats, Ints, Means, Moments, lagged_correlation

# Rows and buckets that are worked on at once.
_BLOCK_CELLS = 128_000


def live_windows(history: History, rows: Ints | slice) -> dict[str, Floats]:
    """What the windows hold now, by the names that `Inputs.windows` uses."""
    found: dict[str, Floats] = {}
    for window in WINDOWS:
        merged = history.moments.merge(window, history.rings, rows)
        for stat in ("count", "mean", "m2", "low", "high", "slope_per_h"):
            values = getattr(merged, stat)
            found |= {f"{window.name}.{stat}.{name}": values[i] for i, name in enumerate(SERIES)}
        for held, names in ((history.means, FINE_MEANS), (history.slow, TILT_MEANS)):
            last = max(
                (i + 1 for i, name in enumerate(names) if window.name in MEAN_WINDOWS[name]), default=0
            )
            if last:
                means = held.merge(window, history.rings, rows, last)
                found |= {f"{window.name}.mean.{name}": means[i] for i, name in enumerate(names[:last])}
    for window_name in LOW_WINDOWS:
        low = history.lows.merge(rows)
        found |= {f"{window_name}.low.{name}": low[i] for i, name in enumerate(LOWS)}
    for later, earlier in LAGGED:
        found[f"lagged.{later}.{earlier}"] = _lagged(history, rows, later, earlier)
    growth, found["restarts"], found["growth_h"] = history.counters.growth(history.rings, rows)
    found |= {f"growth.{name}": growth[i] for i, name in enumerate(COUNTERS)}
    found["since_s"] = history.since_s[rows]
    return found


def _lagged(history: History, rows: Ints | slice, later: str, earlier: str) -> Floats:
    def held(name: str) -> tuple[Floats, Floats]:
        kind: Moments | Means = history.moments if name in SERIES else history.means
        place = SERIES.index(name) if name in SERIES else FINE_MEANS.index(name)
        return kind.count[:, place].astype(np.float64), kind.mean[:, place]

    return lagged_correlation(held(later), held(earlier), history.rings, rows, LAG_BUCKETS)


def blocks_of(miners: Ints, times_s: Floats) -> Iterator[tuple[int, int]]:
    """Rows of whole miners, about so many that their windows stay in the processor's cache."""
    if not len(miners):
        return
    starts = np.flatnonzero(np.diff(miners, prepend=miners[0] - 1))
    # What a miner costs: its rows, or the buckets between them where rows are rare.
    step_s = np.maximum(np.diff(times_s, append=times_s[-1]), 0.0)
    cost = 1.0 + np.sum([np.minimum(step_s / level.seconds, level.slots) for level in LEVELS], axis=0)
    costs = np.add.reduceat(cost, starts)
    begin, held = 0, 0.0
    for start, own in zip(starts, costs, strict=True):
        if held and held + own > _BLOCK_CELLS:
            yield begin, int(start)
            begin, held = int(start), 0.0
        held += own
    yield begin, len(miners)


def history_windows(miners: Ints, times_s: Floats, columns: Mapping[str, Floats]) -> dict[str, Floats]:
    """What windows hold at every row of a block, by the names that `Inputs.windows` uses."""
    told = np.ones(len(times_s), dtype=np.bool_)
    told[1:] = (np.diff(miners) != 0) | (np.diff(times_s) != 0)
    rows = Rows(miners, times_s, told)
    unknown, none = np.full(len(times_s), np.nan), np.zeros(len(times_s))
    found: dict[str, Floats] = {}
    for window in WINDOWS:
        for name in SERIES:
            for stat, value in (("count", none), ("mean", unknown), ("m2", none), ("slope_per_h", unknown)):
                found[f"{window.name}.{stat}.{name}"] = value
    for name, windows in MEAN_WINDOWS.items():
        found |= {f"{span}.mean.{name}": unknown for span in windows}

    every = tuple(window.name for window in WINDOWS)
    for names, values, known in _alike(columns, SERIES, told):
        for span, sums in rows.moments(values, known, every):
            empty = sums.count == 0.0
            if empty.any():
                sums.mean[:, empty] = np.nan
            rate = None
            if sums.t_m2 is not None:
                steady = (sums.count >= 3.0) & (sums.t_m2 > 0.0)
                rate = 3600.0 / np.where(steady, sums.t_m2, np.nan)
            for i, name in enumerate(names):
                found[f"{span}.count.{name}"] = sums.count
                found[f"{span}.mean.{name}"] = sums.mean[i]
                if sums.m2 is not None:
                    found[f"{span}.m2.{name}"] = sums.m2[i]
                if sums.t_x is not None and rate is not None:
                    found[f"{span}.slope_per_h.{name}"] = sums.t_x[i] * rate
    for windows in sorted(set(MEAN_WINDOWS.values())):
        own = [name for name in MEANS if MEAN_WINDOWS[name] == windows]
        for names, values, known in _alike(columns, own, told):
            for span, sums in rows.means(values, known, windows):
                empty = sums.count == 0.0
                if empty.any():
                    sums.mean[:, empty] = np.nan
                found |= {f"{span}.mean.{name}": sums.mean[i] for i, name in enumerate(names)}
    series = np.stack([columns[name] for name in SERIES])
    for span, low in rows.lows(np.concatenate([series, -series]), every):
        for i, name in enumerate(SERIES):
            found[f"{span}.low.{name}"] = low[i]
            found[f"{span}.high.{name}"] = -low[len(SERIES) + i]
    for span, low in rows.lows(np.stack([columns[name] for name in LOWS]), LOW_WINDOWS):
        found |= {f"{span}.low.{name}": low[i] for i, name in enumerate(LOWS)}
    both = sorted({name for pair in LAGGED for name in pair})
    lagged = rows.correlations(
        np.stack([columns[name] for name in both]),
        [(both.index(later), both.index(earlier)) for later, earlier in LAGGED],
        LAG_BUCKETS,
    )
    found |= {f"lagged.{later}.{earlier}": lagged[i] for i, (later, earlier) in enumerate(LAGGED)}
    counters = np.stack([columns[name] for name in COUNTERS])
    growth, found["restarts"], found["growth_h"] = rows.growth(columns["uptime_s"], counters)
    found |= {f"growth.{name}": growth[i] for i, name in enumerate(COUNTERS)}
    found["since_s"] = rows.since_change(share_steps(columns["setting_share"]))
    return found


def _alike(
    columns: Mapping[str, Floats], names: Sequence[str], told: NDArray[np.bool_]
) -> Iterator[tuple[list[str], Floats, NDArray[np.bool_]]]:
    """Columns that are known in the same rows, their values and where; not those known nowhere."""
    groups: dict[bytes, list[str]] = {}
    for name in names:
        groups.setdefault((np.isfinite(columns[name]) & told).tobytes(), []).append(name)
    for mask, group in groups.items():
        known = np.frombuffer(mask, dtype=np.bool_)
        if known.any():
            yield group, np.stack([columns[name] for name in group]), known

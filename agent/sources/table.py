"""What a source brought: columns over time, how it is kept on disk, and what it becomes."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.errors import DataError
from agent.money.prices import MarketSeries, Series
from agent.sources.config import RANGES

Floats = NDArray[np.float64]
MAX_ROWS = 100_000
MAX_CACHE_BYTES = 32 * 1024 * 1024
_LONGEST_PRICE_HOLD_S = 3 * 3600.0
_LONGEST_MARKET_HOLD_S = 2 * 86400.0


@dataclass(frozen=True, slots=True)
class Table:
    """Rows by time, with what the source knows ahead of the network.

    Args:
        times_s: [R] Unix seconds, rising.
        columns: by name of `agent.sources.config.Column`, [R] each; NaN where a row has none.
        adjustment: Unix seconds of the next change of difficulty, and the share by which it rises.
        step_s: how long a row holds, where the source says so.
    """

    times_s: Floats
    columns: Mapping[str, Floats]
    adjustment: tuple[float, float] | None = None
    step_s: float | None = None

    def __len__(self) -> int:
        return len(self.times_s)

    def merged(self, newer: Table, keep_s: float) -> Table:
        """These rows with those of `newer` added or put in their place; the oldest go after `keep_s`."""
        if not len(newer):
            return self
        old = ~np.isin(self.times_s, newer.times_s)
        old &= self.times_s >= newer.times_s[-1] - keep_s
        times = np.concatenate([self.times_s[old], newer.times_s])
        order = np.argsort(times, kind="stable")[-MAX_ROWS:]
        columns = {}
        for name, values in newer.columns.items():
            before = self.columns.get(name, np.full(len(self), np.nan))[old]
            columns[name] = np.concatenate([before, values])[order]
        return Table(times[order], columns, newer.adjustment, newer.step_s or self.step_s)


NOTHING = Table(np.empty(0), {})


def table_of(
    rows: Sequence[tuple[float, float]],
    column: str,
    where: str,
    step_s: float | None = None,
) -> Table:
    """A table of one column from (Unix seconds, value) in any order; equal rows that stand twice count once.

    Raises:
        DataError: a time stands twice with different values, or there are too many rows.
    """
    if len(rows) > MAX_ROWS:
        raise DataError(f"{where}: {len(rows)} rows are over {MAX_ROWS}; ask for fewer days")
    found: dict[float, float] = {}
    for at_s, value in rows:
        if found.setdefault(at_s, value) != value:
            raise DataError(f"{where}: {column}: the time {at_s:.0f} stands twice with different values")
    times = np.array(sorted(found), dtype=np.float64)
    return Table(times, {column: np.array([found[t] for t in times], dtype=np.float64)}, None, step_s)


def joined(tables: Sequence[Table]) -> Table:
    """Columns of several tables on the times of the one with the fewest rows; newest value at each time."""
    if len(tables) == 1:
        return tables[0]
    times = min(tables, key=len).times_s
    columns: dict[str, Floats] = {}
    for table in tables:
        index = np.searchsorted(table.times_s, times, side="right") - 1
        for name, values in table.columns.items():
            columns[name] = np.where(index >= 0, values[np.maximum(index, 0)], np.nan)
    return Table(times, columns)


def cache_path(state_dir: Path, source: str) -> Path:
    """Where the last good table of a source is kept."""
    return state_dir / "sources" / f"{source}.json"


def write_table(path: Path, table: Table) -> None:
    """Keep a table; a crash leaves the old file or the new one, never half of either.

    Raises:
        OSError: there is no room or no permission.
    """
    columns = {
        name: [value if math.isfinite(value) else None for value in values.tolist()]
        for name, values in table.columns.items()
    }
    body = {
        "times_s": table.times_s.tolist(),
        "columns": columns,
        "adjustment": table.adjustment,
        "step_s": table.step_s,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    passing = path.with_suffix(".new")
    with passing.open("w", encoding="utf-8") as file:
        json.dump(body, file)
        file.flush()
        os.fsync(file.fileno())
    passing.replace(path)


def read_table(path: Path) -> Table:
    """What `write_table` kept.

    Raises:
        DataError: it is not there or damaged.
    """
    try:
        if path.stat().st_size > MAX_CACHE_BYTES:
            raise DataError(f"{path}: larger than {MAX_CACHE_BYTES} bytes; delete it")
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    return parse_table(raw, str(path))


def parse_table(raw: bytes, where: str) -> Table:
    """A table from the bytes of `write_table`.

    Raises:
        DataError: they are something else.
    """
    try:
        body = json.loads(raw)
        times = np.array(body["times_s"], dtype=np.float64)
        columns = {str(n): np.array(v, dtype=np.float64) for n, v in body["columns"].items()}
        ahead = body["adjustment"]
        adjustment = (float(ahead[0]), float(ahead[1])) if ahead is not None else None
        step_s = float(body["step_s"]) if body["step_s"] is not None else None
    except (
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        AttributeError,
        RecursionError,
        OverflowError,
    ) as error:
        raise DataError(f"{where}: is damaged and is fetched anew: {type(error).__name__}") from error
    if adjustment is not None and not np.isfinite(adjustment).all():
        raise DataError(f"{where}: is damaged and is fetched anew: the change of difficulty is no number")
    if step_s is not None and not step_s > 0.0:
        raise DataError(f"{where}: is damaged and is fetched anew: step_s {step_s:g}")
    if times.ndim != 1 or not (np.isfinite(times).all() and (np.diff(times) > 0).all()):
        raise DataError(f"{where}: is damaged and is fetched anew: times do not rise")
    if any(name not in RANGES or values.shape != times.shape for name, values in columns.items()):
        raise DataError(f"{where}: is damaged and is fetched anew: a column does not fit")
    return Table(times, columns, adjustment, step_s)


def series_of(table: Table, column: str) -> Series:
    """One column by time; rows without a value are left out."""
    return _series(table, column, _LONGEST_PRICE_HOLD_S)


def market_of(table: Table) -> MarketSeries:
    """Hashprice and what goes with it, from hashprice itself or from what it is computed from."""
    have = dict(table.columns)
    nothing = np.full(len(table), np.nan)
    if "network_hashrate_ths" not in have and "difficulty" in have:
        have["network_hashrate_ths"] = have["difficulty"] * 2.0**32 / 600.0 / 1e12
    subsidy, fees = have.get("subsidy_btc_per_day", nothing), have.get("fees_btc_per_day", nothing)
    if "hashprice_usd_per_ths_day" not in have:
        network = have.get("network_hashrate_ths", nothing)
        price = have.get("price_usd_per_btc", nothing)
        have["hashprice_usd_per_ths_day"] = (subsidy + fees) * price / np.where(network > 0, network, np.nan)
    if "fee_share" not in have:
        both = subsidy + fees
        have["fee_share"] = fees / np.where(both > 0, both, np.nan)
    full = Table(table.times_s, have)
    names = ("hashprice_usd_per_ths_day", "price_usd_per_btc", "difficulty", "fee_share")
    hashprice, coin, difficulty, fee = (_series(full, n, _LONGEST_MARKET_HOLD_S) for n in names)
    return MarketSeries(hashprice, coin, difficulty, fee, table.adjustment)


def _series(table: Table, column: str, longest_hold_s: float) -> Series:
    values = table.columns.get(column, np.full(len(table), np.nan))
    there = np.isfinite(values)
    times = table.times_s[there]
    step_s = table.step_s or (float(np.median(np.diff(times))) if len(times) > 1 else longest_hold_s)
    return Series(times, values[there], min(longest_hold_s, step_s))

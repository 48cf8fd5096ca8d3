"""Time series of prices and of the Bitcoin network, read from CSV and checked on the way in.

What the numbers mean in money is left to `agent.money.economics`.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.errors import DataError

MAX_FILE_BYTES = 256 * 1024 * 1024
PRICE_RANGE_USD_PER_KWH = (-5.0, 25.0)
HASHPRICE_RANGE_USD_PER_THS_DAY = (0.0, 10.0)
TEMPERATURE_RANGE_C = (-60.0, 60.0)


@dataclass(frozen=True, slots=True)
class Series:
    """A step function of time: `values[i]` holds from `times_s[i]` until the next row, at most `hold_s`.

    Args:
        times_s: [R] Unix seconds, rising.
        values: [R] finite numbers.
        hold_s: how long the last row, or a row before a gap, is taken to hold.
    """

    times_s: NDArray[np.float64]
    values: NDArray[np.float64]
    hold_s: float

    def at(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values at `times_s` [S]; NaN before the first row, in gaps and after the last row's hold."""
        if not len(self.times_s):
            return np.full(len(times_s), np.nan)
        index = np.searchsorted(self.times_s, times_s, side="right") - 1
        safe = np.maximum(index, 0)
        known = (index >= 0) & (times_s - self.times_s[safe] < self.hold_s)
        return np.where(known, self.values[safe], np.nan)


_NOTHING = Series(np.empty(0), np.empty(0), 0.0)


@dataclass(frozen=True, slots=True)
class MarketSeries:
    """Network and market by day: hashprice in USD per TH/s per day and the coin's price in USD.

    Args:
        difficulty: of the network.
        fee_share: fees as a share of subsidy and fees.
        adjustment: Unix seconds of the next change of difficulty and the share by which it rises, if known.
    """

    hashprice: Series
    price_usd_per_btc: Series
    difficulty: Series = _NOTHING
    fee_share: Series = _NOTHING
    adjustment: tuple[float, float] | None = None


def read_prices(path: Path, zone: str | None = None) -> Series:
    """Read electricity prices, in USD/kWh, from a CSV (plain or gzipped) of rows by time.

    Columns: `time_utc` and `price_usd_per_kwh` or `price_usd_per_mwh`; `zone` where it holds several.

    Raises:
        DataError: names the file, the line and the column.
    """
    scales = {"price_usd_per_kwh": 1.0, "price_usd_per_mwh": 0.001}
    return _read_zone(path, zone, scales, PRICE_RANGE_USD_PER_KWH, "USD/kWh")


def read_temperatures(path: Path, zone: str | None = None) -> Series:
    """Read outside temperatures, in C, from a CSV (plain or gzipped) with `time_utc` and `temp_c`.

    Raises:
        DataError: names the file, the line and the column.
    """
    return _read_zone(path, zone, {"temp_c": 1.0}, TEMPERATURE_RANGE_C, "C")


def _read_zone(
    path: Path, zone: str | None, scales: dict[str, float], allowed: tuple[float, float], unit: str
) -> Series:
    rows = _Rows(path, "time_utc")
    column, scale = rows.one_of(scales)
    times: list[float] = []
    values: list[float] = []
    zones: set[str] = set()
    for line, row in rows:
        here = row.get("zone") or ""
        zones.add(here)
        if zone is not None and here != zone:
            continue
        value = rows.number(line, row, column) * scale
        low, high = allowed
        if not low <= value <= high:
            raise DataError(f"{path}:{line}: {column}: {value:g} {unit} is outside {low:g} to {high:g}")
        times.append(rows.time(line, row))
        values.append(value)
    if zone is None and len(zones) > 1:
        raise DataError(f"{path}: holds several zones ({', '.join(sorted(zones))}); choose one")
    if not times:
        raise DataError(f"{path}: no rows for zone {zone!r}; it has {', '.join(sorted(zones)) or 'none'}")
    return _series(path, times, values, longest_hold_s=3 * 3600.0)


def read_market(path: Path) -> MarketSeries:
    """Read hashprice by day from a CSV (plain or gzipped).

    Columns: `date_utc` (or `time_utc`) and either `hashprice_usd_per_th_day`, or `price_usd_per_btc`,
    `subsidy_btc_per_day`, `fees_btc_per_day` and `network_hashrate_ths` to compute it from. Where they are
    there: `price_usd_per_btc`; `difficulty` or `difficulty_mean_derived`, else it follows from
    `network_hashrate_ths`; `fee_share`, else it follows from subsidy and fees.

    Raises:
        DataError: names the file, the line and the column.
    """
    rows = _Rows(path, "date_utc", "time_utc")
    parts = ("price_usd_per_btc", "subsidy_btc_per_day", "fees_btc_per_day", "network_hashrate_ths")
    direct = "hashprice_usd_per_th_day"
    if direct not in rows.columns and not all(name in rows.columns for name in parts):
        raise DataError(f"{path}:1: needs column {direct}, or all of {', '.join(parts)}")
    times: list[float] = []
    hashprices: list[float] = []
    others: list[tuple[float, float, float]] = []
    for line, row in rows:
        if direct in rows.columns:
            value = rows.number(line, row, direct)
        else:
            price, subsidy, fees, network = (rows.number(line, row, name) for name in parts)
            value = (subsidy + fees) * price / network if network > 0 else math.nan
        low, high = HASHPRICE_RANGE_USD_PER_THS_DAY
        if not low < value <= high:
            raise DataError(f"{path}:{line}: hashprice {value:g} USD/TH/day is outside {low:g} to {high:g}")
        times.append(rows.time(line, row))
        hashprices.append(value)
        price = rows.maybe(line, row, "price_usd_per_btc")
        others.append((price, _difficulty(rows, line, row), _fee_share(rows, line, row)))
    if not times:
        raise DataError(f"{path}: no rows")
    two_days = 2 * 86400.0
    columns = (hashprices, *(list(column) for column in zip(*others, strict=True)))
    hashprice, coin, difficulty, fee_share = (
        _series(path, times, c, longest_hold_s=two_days) for c in columns
    )
    return MarketSeries(hashprice, coin, difficulty, fee_share)


def _difficulty(rows: _Rows, line: int, row: dict[str, str | None]) -> float:
    for name in ("difficulty", "difficulty_mean_derived"):
        value = rows.maybe(line, row, name)
        if value > 0.0:
            return value
    network_ths = rows.maybe(line, row, "network_hashrate_ths")
    # A block in 600 s takes 2^32 hashes per unit of difficulty.
    return network_ths * 1e12 * 600.0 / 2.0**32 if network_ths > 0.0 else math.nan


def _fee_share(rows: _Rows, line: int, row: dict[str, str | None]) -> float:
    value = rows.maybe(line, row, "fee_share")
    fees, subsidy = (rows.maybe(line, row, name) for name in ("fees_btc_per_day", "subsidy_btc_per_day"))
    if math.isnan(value) and fees >= 0.0 and fees + subsidy > 0.0:
        value = fees / (fees + subsidy)
    return value if 0.0 <= value <= 1.0 else math.nan


def _series(path: Path, times: list[float], values: list[float], longest_hold_s: float) -> Series:
    when = np.asarray(times, dtype=np.float64)
    order = np.argsort(when, kind="stable")
    when, what = when[order], np.asarray(values, dtype=np.float64)[order]
    same = np.flatnonzero(np.diff(when) == 0)
    if len(same):
        differ = what[same] != what[same + 1]
        if bool(np.any(differ & ~(np.isnan(what[same]) & np.isnan(what[same + 1])))):
            moment = datetime.fromtimestamp(when[same[np.argmax(differ)]], UTC).isoformat()
            raise DataError(f"{path}: {moment} stands twice with different values")
        keep = np.concatenate(([True], np.diff(when) > 0))
        when, what = when[keep], what[keep]
    step = float(np.median(np.diff(when))) if len(when) > 1 else longest_hold_s
    return Series(when, what, min(longest_hold_s, step))


class _Rows:
    """The rows of one CSV with their line numbers, and typed access that names what is wrong."""

    def __init__(self, path: Path, *time_columns: str) -> None:
        self.path = path
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise DataError(f"{path}: larger than {MAX_FILE_BYTES} bytes")
            raw = path.read_bytes()
            if raw[:2] == b"\x1f\x8b":
                with gzip.GzipFile(fileobj=io.BytesIO(raw)) as packed:
                    raw = packed.read(MAX_FILE_BYTES + 1)
                if len(raw) > MAX_FILE_BYTES:
                    raise DataError(f"{path}: larger than {MAX_FILE_BYTES} bytes unpacked")
            text = raw.decode("utf-8-sig")
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
        except (UnicodeDecodeError, EOFError) as error:
            raise DataError(f"{path}: not a UTF-8 CSV: {error}") from error
        self._reader = csv.DictReader(io.StringIO(text, newline=""))
        self.columns = tuple(self._reader.fieldnames or ())
        found = [name for name in time_columns if name in self.columns]
        if not found:
            raise DataError(f"{path}:1: column {' or '.join(time_columns)} is missing")
        self._time = found[0]

    def __iter__(self) -> _Rows:
        return self

    def __next__(self) -> tuple[int, dict[str, str | None]]:
        try:
            row = next(self._reader)
        except csv.Error as error:
            raise DataError(f"{self.path}:{self._reader.line_num}: not a CSV row: {error}") from error
        return self._reader.line_num, row

    def one_of(self, scales: dict[str, float]) -> tuple[str, float]:
        for name, scale in scales.items():
            if name in self.columns:
                return name, scale
        raise DataError(f"{self.path}:1: column {' or '.join(scales)} is missing")

    def number(self, line: int, row: dict[str, str | None], column: str) -> float:
        text = row.get(column)
        try:
            value = float(text) if text is not None else math.nan
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise DataError(f"{self.path}:{line}: {column}: expected a number, got {text!r}")
        return value

    def maybe(self, line: int, row: dict[str, str | None], column: str) -> float:
        """NaN where the column is not there, or empty in this row."""
        return self.number(line, row, column) if row.get(column) else math.nan

    def time(self, line: int, row: dict[str, str | None]) -> float:
        text = row.get(self._time) or ""
        try:
            if self._time == "date_utc" and len(text) == 10:
                day = date.fromisoformat(text)
                return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise DataError(f"{self.path}:{line}: {self._time}: not an ISO 8601 time: {text!r}") from error
        offset = moment.utcoffset()
        if offset is None:
            moment = moment.replace(tzinfo=UTC)
        elif offset != timedelta(0):
            raise DataError(f"{self.path}:{line}: {self._time}: {text!r} is not in UTC")
        return moment.timestamp()

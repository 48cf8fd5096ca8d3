"""Telemetry at the door: a table from the lake is checked before anything is computed from it.

Errors name the row, the column, what stands there and what to do about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from agent.errors import DataError
from agent.telemetry import TELEMETRY_COLUMNS, TELEMETRY_KEYS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
REQUIRED_KEYS = ("site_id", "miner_id", "model")
POWER_SOURCES = ("metered", "metered-circuit", "measured", "reported-corrected", "firmware_estimate")
# 2009-01-03, the first block, and 2100: a time outside is a clock that was never set.
EARLIEST_S, LATEST_S = 1_230_940_800.0, 4_102_444_800.0


def validate_telemetry(
    columns: Mapping[str, ArrayLike], *, require_order: bool = True, power_needs_source: bool = True
) -> None:
    """Check a telemetry table.

    Args:
        columns: every column of `TELEMETRY_COLUMNS` as numbers (NaN unknown), though those that a later
            schema brought may be absent; `site_id`, `miner_id` and `model` as text, `at` as UTC time;
            `firmware` and `power_source` where known.
        require_order: rows of one miner must rise in time.
        power_needs_source: a row with power must say where it comes from, if the column is there at all.

    Raises:
        DataError: the first fault found, with its row (counted from 0) and column.
    """
    _check_present(columns)
    times_s = unix_seconds(columns)
    total = len(times_s)
    for column in TELEMETRY_COLUMNS:
        if column.name not in columns:
            continue
        values = _numbers(columns[column.name], column.name, total)
        wrong = np.isinf(values) | (values < column.minimum) | (values > column.maximum)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(
                f"row {row}, column {column.name}: {values[row]:g} {column.unit} is outside "
                f"{column.minimum:g} to {column.maximum:g}; write NaN where a value is not known"
            )
    for name in TELEMETRY_KEYS:
        if name in columns:
            _check_text(columns[name], name, total, required=name in REQUIRED_KEYS)
    _check_power_source(columns, total, power_needs_source)
    keys, _ = miner_keys(columns)
    _check_times(columns, keys, times_s, require_order)


def unix_seconds(columns: Mapping[str, ArrayLike]) -> Floats:
    """Column `at` as Unix seconds [R]. Takes datetime64 (meant as UTC), numbers, or datetimes in UTC.

    Raises:
        DataError: it is missing, not one of these, has no time zone or another than UTC, or is absurd.
    """
    if "at" not in columns:
        raise DataError("column at is missing; it holds the UTC time of each reading")
    at = np.asarray(columns["at"])
    if at.ndim != 1:
        raise DataError(f"column at: expected one dimension, got shape {at.shape}")
    if at.dtype.kind == "M":
        absent = np.isnat(at)
        seconds = at.astype("datetime64[us]").astype(np.int64) / 1e6
        seconds = np.where(absent, np.nan, seconds)
    elif at.dtype.kind in "fiu":
        seconds = at.astype(np.float64)
    elif at.dtype.kind == "O":
        seconds = np.array([_moment(row, value) for row, value in enumerate(at)], dtype=np.float64)
    else:
        raise DataError(f"column at: holds {at.dtype}, expected UTC times or Unix seconds")
    wrong = ~((seconds >= EARLIEST_S) & (seconds <= LATEST_S))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"row {row}, column at: {at[row]} is missing or not between 2009 and 2100; "
            "numbers are taken as Unix seconds"
        )
    return np.asarray(seconds, dtype=np.float64)


def miner_keys(columns: Mapping[str, ArrayLike]) -> tuple[Ints, list[str]]:
    """Number of each row's miner [R], and the miners' names in the order of these numbers.

    Miners of different sites are different, whatever their ids.

    Raises:
        DataError: `miner_id` is missing or its length differs from that of `at`.
    """
    if "miner_id" not in columns:
        raise DataError("column miner_id is missing; it says which miner a row belongs to")
    total = len(np.asarray(columns["at"]))
    ids, miner = text_codes(columns["miner_id"], "miner_id", total)
    if "site_id" not in columns:
        return miner, ids
    sites, site = text_codes(columns["site_id"], "site_id", total)
    number, pairs = _codes(site * len(ids) + miner)
    return number, [f"{sites[pair // len(ids)]}/{ids[pair % len(ids)]}" for pair in pairs]


def text_codes(values: ArrayLike, name: str, total: int) -> tuple[list[str], Ints]:
    """The distinct texts of a column in the order they came, and which of them each row has [R].

    Raises:
        DataError: the column's length is not `total`.
    """
    array = np.asarray(values)
    if array.shape != (total,):
        raise DataError(f"column {name}: has shape {array.shape}, column at has {total} rows")
    if array.dtype.kind != "O":
        array = array.astype(np.str_, copy=False)
    # Rows of one miner mostly stand together: only where the text changes is it looked at.
    number, found = _codes(array)
    return [str(text) for text in found], number


def _codes(values: NDArray[Any]) -> tuple[Ints, list[Any]]:
    """Number of each value among the distinct ones [R], and these in the order they came."""
    change = np.ones(len(values), dtype=np.bool_)
    change[1:] = values[1:] != values[:-1]
    heads = np.flatnonzero(change)
    numbers: dict[Any, int] = {}
    of_heads = np.array([numbers.setdefault(values[i], len(numbers)) for i in heads], dtype=np.int64)
    counts = np.diff(np.append(heads, len(values)))
    return np.repeat(of_heads, counts), list(numbers)


def _check_present(columns: Mapping[str, ArrayLike]) -> None:
    needed = ["at", *REQUIRED_KEYS, *(column.name for column in TELEMETRY_COLUMNS if column.since == 1)]
    missing = [name for name in needed if name not in columns]
    if missing:
        raise DataError(
            f"columns missing: {', '.join(missing)}; a column that nobody measured is there and holds NaN"
        )


def _numbers(values: ArrayLike, name: str, total: int) -> Floats:
    array = np.asarray(values)
    if array.shape != (total,):
        raise DataError(f"column {name}: has shape {array.shape}, column at has {total} rows")
    if array.dtype.kind not in "fiub":
        row = next((i for i, v in enumerate(array) if not isinstance(v, int | float)), 0)
        shown = repr(array[row]) if total else array.dtype
        raise DataError(f"row {row}, column {name}: expected a number, got {shown}; store it as float64")
    return array.astype(np.float64)


def _text(values: ArrayLike, name: str, total: int) -> NDArray[np.str_]:
    array = np.asarray(values)
    if array.shape != (total,):
        raise DataError(f"column {name}: has shape {array.shape}, column at has {total} rows")
    return array.astype(np.str_)


def _check_text(values: ArrayLike, name: str, total: int, *, required: bool) -> None:
    array = np.asarray(values)
    if array.shape != (total,):
        raise DataError(f"column {name}: has shape {array.shape}, column at has {total} rows")
    if array.dtype.kind == "U":
        bad = np.strings.str_len(array) == 0 if required else np.zeros(total, dtype=np.bool_)
    else:
        bad = np.array([not _is_text(value, required) for value in array], dtype=np.bool_)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(f"row {row}, column {name}: expected text, got {array[row]!r}")


def _is_text(value: Any, required: bool) -> bool:
    if value is None or (isinstance(value, float) and value != value):
        return not required
    return isinstance(value, str) and (bool(value) or not required)


def _check_power_source(columns: Mapping[str, ArrayLike], total: int, needs_source: bool) -> None:
    if "power_source" not in columns:
        return
    sources = np.asarray(columns["power_source"], dtype=object)
    power = np.asarray(columns["power_w"], dtype=np.float64)
    named = np.isin(sources.astype(np.str_), POWER_SOURCES)
    empty = np.array([not isinstance(source, str) or not source for source in sources], dtype=np.bool_)
    odd = ~named & ~empty
    if odd.any():
        row = int(np.argmax(odd))
        raise DataError(
            f"row {row}, column power_source: {sources[row]!r} is not one of {', '.join(POWER_SOURCES)}; "
            "an estimate of ours never stands in power_w"
        )
    unsourced = np.isfinite(power) & empty
    if needs_source and unsourced.any():
        row = int(np.argmax(unsourced))
        raise DataError(f"row {row}, column power_source: power_w is {power[row]:g} W but nothing says whose")


def _check_times(columns: Mapping[str, ArrayLike], keys: Ints, times_s: Floats, require_order: bool) -> None:
    order = np.lexsort((np.arange(len(keys)), times_s, keys))
    twin = (np.diff(keys[order]) == 0) & (np.diff(times_s[order]) == 0)
    if twin.any():
        first = int(np.argmax(twin))
        one, two = sorted((int(order[first]), int(order[first + 1])))
        miner = np.asarray(columns["miner_id"])[two]
        raise DataError(
            f"row {two}, column at: miner {miner} has {_iso(times_s[two])} in row {one} already; "
            "keep one row per miner and time"
        )
    if not require_order:
        return
    by_miner = np.argsort(keys, kind="stable")
    back = (np.diff(keys[by_miner]) == 0) & (np.diff(times_s[by_miner]) < 0)
    if back.any():
        place = int(np.argmax(back))
        row, before = int(by_miner[place + 1]), int(by_miner[place])
        miner = np.asarray(columns["miner_id"])[row]
        raise DataError(
            f"row {row}, column at: miner {miner} goes back to {_iso(times_s[row])} after row {before} "
            f"at {_iso(times_s[before])}; sort by miner_id and at"
        )


def _moment(row: int, value: Any) -> float:
    if not isinstance(value, datetime):
        raise DataError(f"row {row}, column at: expected a time, got {value!r}")
    offset = value.utcoffset()
    if offset is None:
        raise DataError(f"row {row}, column at: {value} has no time zone; store UTC")
    if offset != timedelta(0):
        raise DataError(f"row {row}, column at: {value} is not in UTC; convert it")
    return value.timestamp()


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()

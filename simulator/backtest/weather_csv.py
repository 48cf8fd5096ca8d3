"""Outside temperatures from a CSV with `time_utc` and `temp_c`, and `zone` where it holds several."""

from __future__ import annotations

import csv
import gzip
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from agent.errors import DataError
from agent.money.prices import Series

_RANGE_C = (-90.0, 70.0)
_MAX_BYTES = 256 * 1024 * 1024
_LONGEST_HOLD_S = 3 * 3600.0


def read_weather(path: Path, zone: str | None = None) -> Series:
    """Read temperatures in C, plain or gzipped; rows in order of time.

    Raises:
        DataError: names the file, the line, the column and what to do.
    """
    times: list[float] = []
    temps: list[float] = []
    zones: set[str] = set()
    reader = csv.DictReader(_text(path).splitlines())
    missing = [name for name in ("time_utc", "temp_c") if name not in (reader.fieldnames or ())]
    if missing:
        raise DataError(f"{path}:1: column {missing[0]} is missing")
    zoned = "zone" in (reader.fieldnames or ())
    for number, row in enumerate(reader, start=2):
        zones.add(row.get("zone") or "")
        if zoned and zone is not None and row["zone"] != zone:
            continue
        times.append(_time(path, number, row["time_utc"]))
        temps.append(_temperature(path, number, row["temp_c"]))
        if len(times) > 1 and times[-1] < times[-2]:
            raise DataError(f"{path}:{number}: time_utc: expected a time after the row before; sort the file")
    if zone is None and len(zones) > 1:
        raise DataError(f"{path}: holds several zones ({', '.join(sorted(zones))}); choose one with --zone")
    if not times:
        raise DataError(
            f"{path}: no rows for zone {zone!r}; it has {', '.join(sorted(zones)) or 'none'}; "
            "name the nearest with --weather-zone"
        )
    at, value = np.array(times), np.array(temps)
    # Of rows that stand twice the last counts.
    keep = np.append(np.diff(at) > 0.0, True)
    at, value = at[keep], value[keep]
    step = float(np.median(np.diff(at))) if len(at) > 1 else _LONGEST_HOLD_S
    return Series(at, value, min(step, _LONGEST_HOLD_S))


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            with gzip.open(path) as packed:
                raw = packed.read(_MAX_BYTES + 1)
        if len(raw) > _MAX_BYTES:
            raise DataError(f"{path}: larger than {_MAX_BYTES} bytes")
        return raw.decode("utf-8-sig")
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a UTF-8 CSV: {error}") from error


def _time(path: Path, number: int, text: str | None) -> float:
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError as error:
        raise DataError(f"{path}:{number}: time_utc: not an ISO 8601 time: {text!r}") from error
    offset = moment.utcoffset()
    if offset is None:
        return moment.replace(tzinfo=UTC).timestamp()
    if offset != timedelta(0):
        raise DataError(f"{path}:{number}: time_utc: {text!r} is not in UTC")
    return moment.timestamp()


def _temperature(path: Path, number: int, text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not _RANGE_C[0] <= value <= _RANGE_C[1]:
        raise DataError(f"{path}:{number}: temp_c: expected {_RANGE_C[0]:g} to {_RANGE_C[1]:g}, got {text!r}")
    return value

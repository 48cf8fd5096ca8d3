"""Reading the telemetry lake: `date=YYYY-MM-DD/site=ID/part-*.parquet`, checked file by file at the door.

What the numbers are made into is left to `trainer.dataset`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from agent.errors import DataError
from agent.features.validation import validate_telemetry
from agent.lake.parquet import opened
from agent.telemetry import TELEMETRY_COLUMNS, TELEMETRY_KEYS

Floats = NDArray[np.float64]
# Sources of power that are the truth for training: what a meter showed, not what a miner says of itself.
METERED = ("metered", "metered-circuit")
POWER_METERED = "power_metered"
_NUMBERS = tuple(column.name for column in TELEMETRY_COLUMNS)
_WANTED = ("at", *TELEMETRY_KEYS, *_NUMBERS)
# Files of an earlier schema are without what came later: it counts as unknown.
_NEEDED = ("at", *TELEMETRY_KEYS, *(column.name for column in TELEMETRY_COLUMNS if column.since == 1))


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Rows of the lake, sorted by miner and time.

    Args:
        at_s: [R] Unix seconds.
        unit: [R] index into `units`.
        units: (site, miner, hardware model) of each unit; a miner whose model changed is two units.
        columns: one [R] array per entry of `TELEMETRY_COLUMNS`, NaN where unknown; and `power_metered`:
            1 where `power_w` stands on a meter of the unit's own outlet or circuit, 0 where it is the
            unit's own figure, NaN where there is none.
        starts: [U+1] first row of each unit, and R.
    """

    at_s: Floats
    unit: NDArray[np.int64]
    units: tuple[tuple[str, str, str], ...]
    columns: dict[str, Floats]
    starts: NDArray[np.int64]


def read_lake(
    lake: Path,
    start: date | None = None,
    end: date | None = None,
    progress: Callable[[float], None] = lambda done: None,
    miners: frozenset[str] | None = None,
) -> Telemetry:
    """Read the days `start` to `end` (both included; None is open) of every site.

    Args:
        progress: told the share done, 0 to 1.
        miners: ids of those to read; None is all.

    Raises:
        DataError: no data, or a file cannot be used; names file, row and column.
    """
    files = _files(lake, start, end)
    parts: list[dict[str, Any]] = []
    for done, file in enumerate(files):
        progress(done / len(files))
        parts.append(_read(file, miners))
    progress(1.0)
    # Column by column, so that what is joined need not be held twice.
    return _sorted(
        {name: np.concatenate([part.pop(name) for part in parts]) for name in list(parts[0])}, lake
    )


def count_rows(lake: Path, start: date | None, end: date | None) -> dict[str, int]:
    """Readings of each miner, by id.

    Raises:
        DataError: no data, or a file cannot be read.
    """
    found: dict[str, int] = {}
    for file in _files(lake, start, end):
        with opened(file) as source:
            if "miner_id" not in source.schema_arrow.names:
                raise DataError(f"{file}: columns missing: miner_id")
            column = source.read(columns=["miner_id"]).column("miner_id").cast(pa.string())
        for each in pc.value_counts(column).to_pylist():
            if each["values"] is None:
                raise DataError(f"{file}: column miner_id: {each['counts']} rows have none")
            found[each["values"]] = found.get(each["values"], 0) + each["counts"]
    return found


def _files(lake: Path, start: date | None, end: date | None) -> list[Path]:
    if not lake.is_dir():
        raise DataError(f"{lake}: no such folder; make history with `hashmargin simulate history`")
    found = []
    for file in sorted(lake.glob("date=*/site=*/*.parquet")):
        text = file.parent.parent.name.removeprefix("date=")
        try:
            day = date.fromisoformat(text)
        except ValueError as error:
            raise DataError(f"{file.parent.parent}: {text!r} is not a date, expected YYYY-MM-DD") from error
        if (start is None or day >= start) and (end is None or day <= end):
            found.append(file)
    if not found:
        span = f" from {start or 'the beginning'} to {end or 'the end'}" if start or end else ""
        raise DataError(f"{lake}: no telemetry{span}, expected date=YYYY-MM-DD/site=ID/part-0.parquet")
    return found


def _read(file: Path, miners: frozenset[str] | None) -> dict[str, Any]:
    # The folder names repeat what the columns say; reading one file as such keeps them out.
    with opened(file) as source:
        held = set(source.schema_arrow.names)
        missing = [name for name in _NEEDED if name not in held]
        if missing:
            raise DataError(f"{file}: columns missing: {', '.join(missing)}")
        table = source.read(columns=[name for name in _WANTED if name in held])
        if miners is not None:
            wanted = pa.array(sorted(miners), pa.string())
            table = table.filter(pc.is_in(table.column("miner_id").cast(pa.string()), value_set=wanted))
    out: dict[str, Any] = {}
    for name in _NUMBERS:
        if name not in held:
            out[name] = np.full(table.num_rows, np.nan)
            continue
        column = table.column(name)
        if pa.types.is_null(column.type):
            out[name] = np.full(table.num_rows, np.nan)
            continue
        if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
            raise DataError(f"{file}: column {name}: holds {column.type}, expected double")
        out[name] = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    for name in TELEMETRY_KEYS:
        out[name] = _texts(table.column(name))
    out["at"] = _times(file, table.column("at"))
    try:
        validate_telemetry(out)
    except DataError as error:
        raise DataError(f"{file}: {error}") from error
    metered = np.isin(out["power_source"].astype(np.str_), METERED).astype(np.float64)
    out[POWER_METERED] = np.where(np.isfinite(out["power_w"]), metered, np.nan)
    del out["power_source"], out["firmware"]
    return out


def _texts(column: pa.ChunkedArray) -> NDArray[np.object_]:
    """The texts of a column; rows that say the same share one object, of which there are few in a lake."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    coded = column.combine_chunks().dictionary_encode()
    words = np.array([*coded.dictionary.to_pylist(), None], dtype=object)
    places = coded.indices.fill_null(len(words) - 1).to_numpy(zero_copy_only=False)
    return np.asarray(words[places], dtype=object)


def _times(file: Path, column: pa.ChunkedArray) -> NDArray[np.datetime64]:
    if not pa.types.is_timestamp(column.type):
        raise DataError(f"{file}: column at: holds {column.type}, expected a timestamp in UTC")
    if column.type.tz not in ("UTC", "+00:00", "Etc/UTC"):
        raise DataError(f"{file}: column at: time zone is {column.type.tz or 'missing'}, expected UTC")
    values = column.cast(pa.timestamp("us", tz="UTC")).to_numpy(zero_copy_only=False)
    return np.asarray(values, dtype="datetime64[us]")


def _sorted(rows: dict[str, Any], lake: Path) -> Telemetry:
    at_s = rows["at"].astype(np.int64) / 1e6
    names = [
        np.unique(rows[key].astype(np.str_), return_inverse=True) for key in ("site_id", "miner_id", "model")
    ]
    (sites, site), (miners, miner), (models, model) = names
    key = (site * len(miners) + miner) * len(models) + model
    keys, unit = np.unique(key, return_inverse=True)
    order = np.lexsort((at_s, unit))
    unit, at_s = unit[order].astype(np.int64), at_s[order]
    if ((np.diff(unit) == 0) & (np.diff(at_s) <= 0)).any():
        row = int(np.argmax((np.diff(unit) == 0) & (np.diff(at_s) <= 0)))
        raise DataError(f"{lake}: miner {miners[miner[order[row]]]} has one time in two files; remove one")
    units = tuple(
        (
            str(sites[k // (len(models) * len(miners))]),
            str(miners[k // len(models) % len(miners)]),
            str(models[k % len(models)]),
        )
        for k in keys
    )
    columns = {name: rows.pop(name)[order] for name in (*_NUMBERS, POWER_METERED)}
    return Telemetry(at_s, unit, units, columns, np.searchsorted(unit, np.arange(len(units) + 1)))

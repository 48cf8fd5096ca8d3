"""Telemetry rows of one moment, and the packed form in which they are journalled and delivered.

A pack is compressed JSON, column by column: any column of `TELEMETRY_COLUMNS` travels without a change here,
one that nobody measured takes no room, and one that a newer agent adds is passed over.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import DataError
from agent.features.validation import EARLIEST_S, LATEST_S, POWER_SOURCES
from agent.fleet import FleetFrame
from agent.records import MAX_TELEMETRY_ROWS
from agent.telemetry import LAKE_SCHEMA_VERSION, TELEMETRY_COLUMNS, TELEMETRY_KEYS

Floats = NDArray[np.float64]
# Of one pack. A row of every column takes some 300 bytes before compression.
MAX_ROWS = MAX_TELEMETRY_ROWS
MAX_UNPACKED_BYTES = 8 * 1024 * 1024
MAX_PACKED_BYTES = 2 * 1024 * 1024
_NEEDED = ("site_id", "miner_id", "model")
_MAX_TEXT = 128
_SITE = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")
_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Rows:
    """R readings of any miners and times.

    Args:
        at_us: [R] microseconds since 1970, UTC.
        texts: one list [R] per entry of `TELEMETRY_KEYS`; None where unknown.
        columns: one [R] array per entry of `TELEMETRY_COLUMNS`, NaN where unknown.
    """

    at_us: NDArray[np.int64]
    texts: dict[str, list[str | None]]
    columns: dict[str, Floats]

    def __len__(self) -> int:
        return len(self.at_us)

    def take(self, places: NDArray[np.intp] | NDArray[np.bool_]) -> Rows:
        """The rows at these places, in their order."""
        order = np.flatnonzero(places) if places.dtype == np.bool_ else places
        return Rows(
            self.at_us[order],
            {name: [values[i] for i in order] for name, values in self.texts.items()},
            {name: values[order] for name, values in self.columns.items()},
        )

    def in_packs(self) -> list[Rows]:
        """The rows in order, in parts that a pack holds."""
        return [
            self.take(np.arange(first, min(first + MAX_ROWS, len(self))))
            for first in range(0, len(self), MAX_ROWS)
        ]

    def by_day(self) -> dict[date, Rows]:
        """The rows of each UTC day."""
        days = self.at_us // _DAY_US
        return {
            datetime.fromtimestamp(int(day) * 86400, UTC).date(): self.take(days == day)
            for day in np.unique(days)
        }


def join(parts: Sequence[Rows]) -> Rows:
    """All rows of several, one after another; at least one part."""
    return Rows(
        np.concatenate([part.at_us for part in parts]),
        {name: [text for part in parts for text in part.texts[name]] for name in TELEMETRY_KEYS},
        {c.name: np.concatenate([part.columns[c.name] for part in parts]) for c in TELEMETRY_COLUMNS},
    )


def rows_of(site_id: str, frame: FleetFrame, models: Sequence[str | None]) -> Rows:
    """The rows that a moment of the fleet leaves: one per miner that answered and said what it is.

    Args:
        models: per unit what the firmware calls the hardware; used where no profile covers it.
    """
    names = [
        unit.profile.key if unit.profile is not None else model
        for unit, model in zip(frame.units, models, strict=True)
    ]
    known = np.array([bool(name) for name in names], dtype=np.bool_)
    places = np.flatnonzero(frame.fresh & known & np.isfinite(frame.observed_s))
    sources = [frame.power_source[i] for i in places]
    columns = {c.name: frame.columns[c.name][places] for c in TELEMETRY_COLUMNS}
    # Watts of which nobody says whose they are could be an estimate; the lake holds none.
    columns["power_w"] = np.where([source in POWER_SOURCES for source in sources], columns["power_w"], np.nan)
    watts = np.isfinite(columns["power_w"])
    texts: dict[str, list[str | None]] = {
        "site_id": [site_id] * len(places),
        "miner_id": [frame.units[i].miner_id for i in places],
        "model": [(names[i] or "")[:_MAX_TEXT] for i in places],
        "firmware": [frame.units[i].firmware for i in places],
        "power_source": [source if w else None for source, w in zip(sources, watts, strict=True)],
    }
    return Rows(np.rint(frame.observed_s[places] * 1e6).astype(np.int64), texts, columns)


def pack(rows: Rows) -> bytes:
    """The rows as bytes, at most `MAX_ROWS`; `unpack` is the way back, without loss.

    Raises:
        DataError: they are more than a pack holds.
    """
    if len(rows) > MAX_ROWS:
        raise DataError(f"{len(rows)} rows do not fit into one pack of {MAX_ROWS}")
    document: dict[str, Any] = {
        "schema": LAKE_SCHEMA_VERSION,
        "at_us": rows.at_us.tolist(),
        "texts": {name: _coded(rows.texts[name]) for name in TELEMETRY_KEYS},
        "columns": {
            column.name: [_short(value) for value in rows.columns[column.name].tolist()]
            for column in TELEMETRY_COLUMNS
            if np.isfinite(rows.columns[column.name]).any()
        },
    }
    return zlib.compress(json.dumps(document, separators=(",", ":"), allow_nan=False).encode(), 6)


def unpack(packed: bytes) -> Rows:
    """Rows from bytes that may come from anywhere.

    Raises:
        DataError: they are not a pack, or hold what telemetry cannot hold; names row and column.
    """
    document = _document(packed)
    schema, at = document.get("schema"), document.get("at_us")
    if type(schema) is not int or schema < 1:
        raise DataError("telemetry pack: says no schema version")
    if not isinstance(at, list) or not 1 <= len(at) <= MAX_ROWS:
        raise DataError(f"telemetry pack: at_us is not a list of 1 to {MAX_ROWS} times")
    for row, value in enumerate(at):
        if type(value) is not int or not EARLIEST_S * 1e6 <= value <= LATEST_S * 1e6:
            raise DataError(f"telemetry pack: row {row}, column at_us: not a time in microseconds")
    texts, columns = document.get("texts"), document.get("columns")
    if not isinstance(texts, dict) or not isinstance(columns, dict):
        raise DataError("telemetry pack: texts and columns are missing")
    rows = Rows(
        np.array(at, dtype=np.int64),
        {name: _texts(name, texts.get(name), len(at)) for name in TELEMETRY_KEYS},
        {c.name: _numbers(c.name, columns.get(c.name), len(at)) for c in TELEMETRY_COLUMNS},
    )
    _check(rows)
    return rows


def _document(packed: bytes) -> dict[str, Any]:
    if len(packed) > MAX_PACKED_BYTES:
        raise DataError(f"telemetry pack: larger than {MAX_PACKED_BYTES} bytes")
    unpacker = zlib.decompressobj()
    try:
        raw = unpacker.decompress(packed, MAX_UNPACKED_BYTES)
        if not unpacker.eof:
            raise DataError(f"telemetry pack: cut short, or larger than {MAX_UNPACKED_BYTES} bytes")
        document = json.loads(raw)
    except (zlib.error, ValueError, RecursionError) as error:
        raise DataError(f"telemetry pack: cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise DataError("telemetry pack: is not an object")
    return document


def _coded(values: list[str | None]) -> dict[str, Any]:
    """Texts repeat, so they travel as numbers of a list."""
    words = sorted({value for value in values if value is not None})
    places: dict[str | None, int] = {word: i for i, word in enumerate(words)} | {None: -1}
    return {"words": words, "at": [places[value] for value in values]}


def _texts(name: str, coded: Any, count: int) -> list[str | None]:
    if not isinstance(coded, dict):
        raise DataError(f"telemetry pack: column {name} is missing")
    words, places = coded.get("words"), coded.get("at")
    if not isinstance(words, list) or not isinstance(places, list) or len(places) != count:
        raise DataError(f"telemetry pack: column {name}: expected {count} texts")
    for word in words:
        if not isinstance(word, str) or not 0 < len(word) <= _MAX_TEXT or not word.isprintable():
            raise DataError(f"telemetry pack: column {name}: holds what is not a text of 1 to {_MAX_TEXT}")
    for row, place in enumerate(places):
        if type(place) is not int or not -1 <= place < len(words):
            raise DataError(f"telemetry pack: row {row}, column {name}: points at no text")
        if place == -1 and name in _NEEDED:
            raise DataError(f"telemetry pack: row {row}, column {name}: is empty")
    return [words[place] if place >= 0 else None for place in places]


def _numbers(name: str, values: Any, count: int) -> Floats:
    if values is None:
        return np.full(count, np.nan)
    if not isinstance(values, list) or len(values) != count:
        raise DataError(f"telemetry pack: column {name}: expected {count} numbers")
    for row, value in enumerate(values):
        if value is not None and type(value) is not int and type(value) is not float:
            raise DataError(f"telemetry pack: row {row}, column {name}: is not a number")
    try:
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    except OverflowError as error:
        raise DataError(f"telemetry pack: column {name}: holds a number too large") from error


def _check(rows: Rows) -> None:
    for column in TELEMETRY_COLUMNS:
        values = rows.columns[column.name]
        wrong = np.isinf(values) | (values < column.minimum) | (values > column.maximum)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(
                f"telemetry pack: row {row}, column {column.name}: {values[row]:g} {column.unit} is outside "
                f"{column.minimum:g} to {column.maximum:g}"
            )
    for row, (site, source, watts) in enumerate(
        zip(rows.texts["site_id"], rows.texts["power_source"], rows.columns["power_w"], strict=True)
    ):
        # It becomes the name of a folder.
        if site is None or not _SITE.match(site):
            raise DataError(f"telemetry pack: row {row}, column site_id: is not a site's id")
        if np.isfinite(watts) and source is None:
            raise DataError(f"telemetry pack: row {row}, column power_source: power_w without a source")
        if source is not None and source not in POWER_SOURCES:
            raise DataError(f"telemetry pack: row {row}, column power_source: {source!r} is not known")


def _short(value: float) -> float | int | None:
    if value != value:
        return None
    return int(value) if value.is_integer() else value

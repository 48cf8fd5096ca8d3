"""Walks a whole lake and tells what is wrong with it, by file, row and column, and what to do about it.

Nothing is changed. Needs pyarrow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from agent.errors import DataError
from agent.features.validation import EARLIEST_S, LATEST_S, POWER_SOURCES
from agent.lake.gaps import GapFinder, MinerGaps
from agent.lake.parquet import SCHEMA_KEY, TIME_TYPE, opened
from agent.telemetry import LAKE_SCHEMA_VERSION, TELEMETRY_COLUMNS, TELEMETRY_KEYS

Ints = NDArray[np.int64]
# One spoilt file must not bury the others.
_KEPT_PER_FILE = 20
_KEPT = 1000
_FOLDER = re.compile(r"^date=(?P<date>[^/]*)/site=(?P<site>[^/]*)/[^/]+$")
_VERSION = re.compile(r"^[1-9][0-9]{0,8}$")
_REQUIRED = ("site_id", "miner_id", "model")
_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `row` counts from 0 within the file; None where the whole file is meant."""

    file: str
    row: int | None
    column: str | None
    what: str
    remedy: str


@dataclass(slots=True)
class Verdict:
    """What a walk through the lake found.

    Args:
        problems: the first of them; `problems_total` counts all that were told apart.
        gaps: per miner with a gap, the longest first.
        unknown: share of rows in which a column is unknown, by column.
    """

    lake: str
    files: int = 0
    rows: int = 0
    bytes: int = 0
    versions: dict[str, int] = field(default_factory=dict)
    sites: dict[str, int] = field(default_factory=dict)
    models: dict[str, int] = field(default_factory=dict)
    miners: int = 0
    first: datetime | None = None
    last: datetime | None = None
    problems: list[Problem] = field(default_factory=list)
    problems_total: int = 0
    gaps: list[MinerGaps] = field(default_factory=list)
    unknown: dict[str, float] = field(default_factory=dict)


def check_lake(lake: Path, max_gap_h: float | None = None) -> Verdict:
    """Check every file under `lake`.

    Args:
        max_gap_h: a gap in a miner's readings that is longer than this is a problem; None takes any.

    Raises:
        DataError: there is no such folder, or no telemetry in it.
    """
    if not lake.is_dir():
        raise DataError(f"{lake}: no such folder")
    files = sorted(lake.rglob("*.parquet"))
    if not files:
        raise DataError(f"{lake}: no telemetry, expected date=YYYY-MM-DD/site=ID/part-*.parquet")
    walk = _Walk(lake)
    for file in files:
        walk.file(file)
    return walk.end(max_gap_h)


class _Walk:
    """The lake file by file, in the order of days; memory holds one day of one site."""

    def __init__(self, lake: Path) -> None:
        self._lake = lake
        self._verdict = Verdict(str(lake))
        self._gaps = GapFinder()
        self._miners: set[tuple[str, str]] = set()
        self._unknown = dict.fromkeys((column.name for column in TELEMETRY_COLUMNS), 0)
        self._file = ""
        self._said = 0
        # Readings of the folder at hand by file, to find what stands in two of them.
        self._folder: Path | None = None
        self._readings: dict[tuple[str, int], tuple[str, int]] = {}

    def file(self, path: Path) -> None:
        """Check one file."""
        self._file, self._said = str(path.relative_to(self._lake)), 0
        if path.parent != self._folder:
            self._folder, self._readings = path.parent, {}
        self._verdict.files += 1
        if path.is_file():
            self._verdict.bytes += path.stat().st_size
        folder = _FOLDER.match(self._file)
        day, site = None, None
        if folder is None:
            self._say(None, None, "is not in a folder date=YYYY-MM-DD/site=ID", "move it there")
        else:
            site = folder["site"]
            try:
                day = date.fromisoformat(folder["date"])
            except ValueError:
                self._say(None, None, f"{folder['date']!r} is not a date", "name the folder date=YYYY-MM-DD")
        try:
            with opened(path) as source:
                version = self._version(source.schema_arrow.metadata)
                table = source.read()
        except DataError as error:
            words, _, remedy = str(error).removeprefix(f"{path}: ").rpartition("; ")
            self._say(None, None, words, remedy)
            return
        self._table(table, version, day, site)

    def end(self, max_gap_h: float | None) -> Verdict:
        """What all files together say."""
        verdict, rows = self._verdict, max(self._verdict.rows, 1)
        verdict.miners = len(self._miners)
        verdict.unknown = {name: count / rows for name, count in self._unknown.items()}
        verdict.gaps = self._gaps.found()
        for gap in verdict.gaps:
            if max_gap_h is not None and gap.longest_h > max_gap_h:
                self._file, self._said = f"site={gap.site}", 0
                words = f"miner {gap.miner} has no reading for {gap.longest_h:.1f} h"
                self._say(
                    None,
                    "at",
                    f"{words} from {gap.longest_from:%Y-%m-%d %H:%M}",
                    "find out why it was not read; training passes over the gap",
                )
        return verdict

    # -- one file --------------------------------------------------------------------------------

    def _version(self, metadata: dict[bytes, bytes] | None) -> int:
        raw = (metadata or {}).get(SCHEMA_KEY)
        text = "none" if raw is None else raw.decode("ascii", "replace")
        self._verdict.versions[text] = self._verdict.versions.get(text, 0) + 1
        if raw is None:
            self._say(
                None, None, "says no schema version", f"write it with the metadata {SCHEMA_KEY.decode()}"
            )
            return 1
        if not _VERSION.match(text):
            self._say(None, None, f"schema version {text[:20]!r} is not a number", "write the file again")
            return 1
        if int(text) > LAKE_SCHEMA_VERSION:
            self._say(
                None,
                None,
                f"schema version {text} is newer than {LAKE_SCHEMA_VERSION}, which this hashmargin knows",
                "update hashmargin",
            )
        return int(text)

    def _table(self, table: pa.Table, version: int, day: date | None, site: str | None) -> None:
        self._verdict.rows += table.num_rows
        if table.num_rows == 0:
            self._say(None, None, "holds no rows", "remove it")
            return
        at = self._times(table)
        texts = {name: self._text(table, name) for name in TELEMETRY_KEYS}
        for column in TELEMETRY_COLUMNS:
            self._numbers(table, column.name, version)
        self._power(table, texts["power_source"])
        sites, miners = texts["site_id"], texts["miner_id"]
        if site is not None and sites is not None:
            wrong = sites != site
            self._rows(wrong, "site_id", lambda row: f"{sites[row]!r} in the folder of site {site}", _MOVE)
        if at is None or sites is None or miners is None:
            return
        # A time that was never set says nothing about days and gaps.
        timed = (at >= EARLIEST_S * 1e6) & (at <= LATEST_S * 1e6)
        if day is not None:
            first = (day - date(1970, 1, 1)).days * _DAY_US
            wrong = (at < first) | (at >= first + _DAY_US)
            self._rows(timed & wrong, "at", lambda row: f"{_iso(at[row])} in the folder of {day}", _MOVE)
        self._order(at, miners)
        self._twins(at, miners)
        if timed.any():
            self._count(at[timed], texts["model"], sites, miners, timed)

    def _times(self, table: pa.Table) -> Ints | None:
        if "at" not in table.column_names:
            self._say(None, "at", "is missing", "write the file again with the UTC time of each reading")
            return None
        column = table.column("at")
        if not pa.types.is_timestamp(column.type):
            self._say(None, "at", f"holds {column.type}, expected a timestamp in UTC", "convert it")
            return None
        if column.type.tz not in ("UTC", "+00:00", "Etc/UTC"):
            words = f"time zone is {column.type.tz or 'missing'}, expected UTC"
            self._say(None, "at", words, "convert the times to UTC and say so in the column's type")
            return None
        absent = np.asarray(column.is_null().to_numpy())
        self._rows(absent, "at", lambda row: "is empty", "remove the row")
        at = column.cast(TIME_TYPE, safe=False).cast(pa.int64()).fill_null(0).to_numpy()
        absurd = ~absent & ((at < EARLIEST_S * 1e6) | (at > LATEST_S * 1e6))
        remedy = "remove the row; the clock was not set"
        self._rows(absurd, "at", lambda row: f"{_iso(at[row])} is not between 2009 and 2100", remedy)
        return np.asarray(at, dtype=np.int64)

    def _text(self, table: pa.Table, name: str) -> NDArray[np.object_] | None:
        if name not in table.column_names:
            self._say(None, name, "is missing", "write the file again; a text that is not known is null")
            return None
        column = table.column(name)
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if pa.types.is_null(kind):
            values = np.full(table.num_rows, None, dtype=object)
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
            values = column.cast(pa.string()).to_numpy(zero_copy_only=False)
        else:
            self._say(None, name, f"holds {column.type}, expected text", "store it as string")
            return None
        if name in _REQUIRED:
            empty = np.array([not value for value in values], dtype=np.bool_)
            self._rows(empty, name, lambda row: "is empty", "fill it in, or remove the row")
        return np.asarray(values, dtype=object)

    def _numbers(self, table: pa.Table, name: str, version: int) -> None:
        column = next(column for column in TELEMETRY_COLUMNS if column.name == name)
        if name not in table.column_names:
            self._unknown[name] += table.num_rows
            if column.since <= version:
                words = f"is missing, though schema version {version} has it"
                self._say(None, name, words, "write the file again; a number that is not known is NaN")
            return
        values = _floats(table, name)
        if values is None:
            kind = table.column(name).type
            self._say(None, name, f"holds {kind}, expected double", "store it as float64")
            return
        self._unknown[name] += int(np.isnan(values).sum())
        wrong = np.isinf(values) | (values < column.minimum) | (values > column.maximum)
        span = f"{column.minimum:g} to {column.maximum:g}"
        self._rows(
            wrong,
            name,
            lambda row: f"{values[row]:g} {column.unit} is outside {span}",
            "write NaN where a value is not known",
        )

    def _power(self, table: pa.Table, sources: NDArray[np.object_] | None) -> None:
        if sources is None:
            return
        said = np.array([value is not None and value != "" for value in sources], dtype=np.bool_)
        odd = said & ~np.isin(sources.astype(np.str_), POWER_SOURCES)
        self._rows(
            odd,
            "power_source",
            lambda row: f"{sources[row]!r} is not one of {', '.join(POWER_SOURCES)}",
            "an estimate of ours never stands in power_w: write NaN there and null here",
        )
        power = _floats(table, "power_w") if "power_w" in table.column_names else None
        if power is not None:
            self._rows(
                np.isfinite(power) & ~said,
                "power_source",
                lambda row: f"is empty, though power_w is {power[row]:g} W",
                "say whose watts they are, or write NaN",
            )

    def _order(self, at: Ints, miners: NDArray[np.object_]) -> None:
        by_miner = np.argsort(miners.astype(np.str_), kind="stable")
        back = (miners[by_miner][1:] == miners[by_miner][:-1]) & (np.diff(at[by_miner]) < 0)
        wrong = np.zeros(len(at), dtype=np.bool_)
        wrong[by_miner[1:][back]] = True
        self._rows(
            wrong,
            "at",
            lambda row: f"{_iso(at[row])} comes after a later reading of miner {miners[row]}",
            "sort the file by miner_id and at",
        )

    def _twins(self, at: Ints, miners: NDArray[np.object_]) -> None:
        twin = np.zeros(len(at), dtype=np.bool_)
        where: dict[int, tuple[str, int]] = {}
        for row, reading in enumerate(zip(miners.tolist(), at.tolist(), strict=True)):
            held = self._readings.setdefault(reading, (self._file, row))
            if held != (self._file, row):
                twin[row], where[row] = True, held
        self._rows(
            twin,
            "at",
            lambda row: (
                f"miner {miners[row]} has {_iso(at[row])} in row {where[row][1]} of {where[row][0]} too"
            ),
            "keep one row per miner and time",
        )

    def _count(
        self,
        at: Ints,
        models: NDArray[np.object_] | None,
        sites: NDArray[np.object_],
        miners: NDArray[np.object_],
        timed: NDArray[np.bool_],
    ) -> None:
        first, last = (datetime.fromtimestamp(edge / 1e6, UTC) for edge in (int(at.min()), int(at.max())))
        verdict = self._verdict
        verdict.first = first if verdict.first is None else min(verdict.first, first)
        verdict.last = last if verdict.last is None else max(verdict.last, last)
        for values, counts in ((sites, verdict.sites), (models, verdict.models)):
            for name, count in zip(*np.unique(_strings(values), return_counts=True), strict=True):
                counts[str(name)] = counts.get(str(name), 0) + int(count)
        site, miner = _strings(sites), _strings(miners)
        self._miners.update(zip(site.tolist(), miner.tolist(), strict=True))
        self._gaps.add(site[timed], miner[timed], at)

    # -- saying it -------------------------------------------------------------------------------

    def _rows(self, wrong: NDArray[np.bool_], column: str, words: Any, remedy: str) -> None:
        """One problem for a fault of a column, told on its first row."""
        count = int(wrong.sum())
        if count:
            row = int(np.argmax(wrong))
            more = f" (and {count - 1} more rows)" if count > 1 else ""
            self._say(row, column, f"{words(row)}{more}", remedy)

    def _say(self, row: int | None, column: str | None, what: str, remedy: str) -> None:
        self._verdict.problems_total += 1
        self._said += 1
        if self._said <= _KEPT_PER_FILE and len(self._verdict.problems) < _KEPT:
            self._verdict.problems.append(Problem(self._file, row, column, what, remedy))


_MOVE = "move the row to its own folder"


def _floats(table: pa.Table, name: str) -> NDArray[np.float64] | None:
    column = table.column(name)
    if pa.types.is_null(column.type):
        return np.full(table.num_rows, np.nan)
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        return None
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def _strings(values: NDArray[np.object_] | None) -> NDArray[np.str_]:
    return np.array([] if values is None else [value or "" for value in values], dtype=np.str_)


def _iso(at_us: Any) -> str:
    try:
        return datetime.fromtimestamp(int(at_us) / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{int(at_us)} us"

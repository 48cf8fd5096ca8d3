"""The lake's files: `date=YYYY-MM-DD/site=ID/part-*.parquet`, written whole or not at all.

Needs pyarrow, which the base install is without; import it where a lake is really touched.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from agent.errors import DataError, StoreError
from agent.lake.rows import Rows
from agent.telemetry import LAKE_SCHEMA_VERSION, TELEMETRY_COLUMNS, TELEMETRY_KEYS

SCHEMA_KEY = b"hashmargin_lake_schema"
TIME_TYPE = pa.timestamp("us", tz="UTC")
TEXT_TYPE = pa.dictionary(pa.int32(), pa.string())


def lake_schema() -> pa.Schema:
    """Columns of a file in order, with the schema version as metadata."""
    fields = [pa.field("at", TIME_TYPE)]
    fields += [pa.field(name, TEXT_TYPE) for name in TELEMETRY_KEYS]
    fields += [pa.field(column.name, pa.float64()) for column in TELEMETRY_COLUMNS]
    return pa.schema(fields, {SCHEMA_KEY: str(LAKE_SCHEMA_VERSION)})


def write_part(path: Path, rows: Rows) -> None:
    """Write rows, sorted by miner and time, so that the file is there whole and for good, or not at all.

    Raises:
        StoreError: the disk does not take it; nothing under `path` changed.
    """
    order = np.lexsort((rows.at_us, np.array(rows.texts["miner_id"], dtype=np.str_)))
    rows = rows.take(order)
    arrays = [pa.array(rows.at_us).cast(TIME_TYPE)]
    arrays += [pa.array(rows.texts[name], pa.string()).dictionary_encode() for name in TELEMETRY_KEYS]
    arrays += [pa.array(rows.columns[column.name]) for column in TELEMETRY_COLUMNS]
    write_table(path, pa.Table.from_arrays(arrays, schema=lake_schema()))


def write_table(path: Path, table: pa.Table, *, durable: bool = True) -> None:
    """Write a table as a part of the lake; see `write_part`.

    Args:
        durable: wait for the disk; False for what can be made again.

    Raises:
        StoreError: the disk does not take it.
    """
    beside = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            # Columns of noise do not repeat, so a dictionary would only cost time.
            pq.write_table(
                table,
                file,
                compression="zstd",
                use_dictionary=list(TELEMETRY_KEYS),
                # A bit that turns over on the disk would else be read as another watt.
                write_page_checksum=True,
            )
            if durable:
                file.flush()
                os.fsync(file.fileno())
        beside.rename(path)
        if durable:
            _keep_name(path.parent)
            _keep_name(path.parent.parent)
    except (OSError, pa.ArrowException) as error:
        beside.unlink(missing_ok=True)
        words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise StoreError(f"{path}: cannot be written: {words}") from error


def set_aside(path: Path, body: bytes) -> None:
    """Keep bytes that are no telemetry for whoever wants to look, durably.

    Raises:
        StoreError: the disk does not take them.
    """
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        _keep_name(path.parent)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror}") from error


@contextmanager
def opened(path: Path) -> Iterator[pq.ParquetFile]:
    """A part for reading; the checksums of its pages are verified.

    Raises:
        DataError: it is no file, a column stands twice, or what is done with it inside fails because it is
            damaged.
    """
    try:
        if not path.is_file():
            raise DataError(f"{path}: is not a file; remove it")
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            names = file.schema_arrow.names
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise DataError(f"{path}: column {', '.join(twice)} stands twice; write the file again")
            yield file
    except (OSError, pa.ArrowException) as error:
        words = str(error).splitlines()[0][:200]
        raise DataError(
            f"{path}: is not readable as Parquet: {words}; restore it, or move it out of the lake"
        ) from error


def readings_in(path: Path) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
    """Times in microseconds and miners of the rows of a part.

    Raises:
        DataError: it cannot be read.
    """
    with opened(path) as file:
        lacking = {"at", "miner_id"} - set(file.schema_arrow.names)
        if lacking:
            raise DataError(f"{path}: columns missing: {', '.join(sorted(lacking))}")
        table = file.read(columns=["at", "miner_id"])
        at = table.column("at").cast(TIME_TYPE).cast(pa.int64()).to_numpy()
        return at, np.array(table.column("miner_id").to_pylist(), dtype=np.str_)


def _keep_name(folder: Path) -> None:
    """A rename is only on the disk once its folder is."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Writes made-up history as the Parquet lake, in the columns and the layout that the dashboard writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from agent.errors import InputError
from agent.lake.parquet import TIME_TYPE, lake_schema, write_table
from agent.telemetry import TELEMETRY_COLUMNS, TELEMETRY_KEYS
from simulator.history import Columns, Floats, HistoryGroup, HistoryPlan, evenly

# Rows that are computed together: enough to keep numpy busy, few enough for a small computer.
_CHUNK_ROWS = 250_000
_DAY_S = 86400.0
_NUMBERS = tuple(column.name for column in TELEMETRY_COLUMNS)


def write_history(plan: HistoryPlan, out: Path, progress: Callable[[float], None] = lambda done: None) -> int:
    """Write the lake `date=YYYY-MM-DD/site=ID/part-0.parquet` under `out`; returns the number of rows.

    Raises:
        InputError: `out` holds a lake already, or cannot be written.
        StoreError: the disk does not take a file.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.glob("date=*")):
            raise InputError(f"{out} holds telemetry already; choose another folder")
        groups = [HistoryGroup(plan, model, count) for model, count in plan.models if count]
        return _write(plan, groups, out, progress)
    except OSError as error:
        raise InputError(f"{error.filename or out}: cannot be written: {error.strerror}") from error


def _write(
    plan: HistoryPlan, groups: Sequence[HistoryGroup], out: Path, progress: Callable[[float], None]
) -> int:
    per_day = 86400 // plan.step_s
    units = sum(group.count for group in groups)
    together = max(1, min(plan.days, _CHUNK_ROWS // (per_day * units)))
    texts = _Texts(plan.site_id, groups)
    written = 0
    for day in range(0, plan.days, together):
        days = min(together, plan.days - day)
        times = evenly(plan.start_s + day * _DAY_S, plan.step_s, days * per_day)
        parts = [group.rows(times) for group in groups]
        for index in range(days):
            span = slice(index * per_day, (index + 1) * per_day)
            table = texts.table(parts, span)
            written += table.num_rows
            name = (plan.first + timedelta(days=day + index)).isoformat()
            folder = out / f"date={name}" / f"site={plan.site_id}"
            write_table(folder / "part-0.parquet", table, durable=False)
        progress((day + days) / plan.days)
    return written


class _Texts:
    """Makes tables of a day, with the text columns as indices into small dictionaries."""

    def __init__(self, site_id: str, groups: Sequence[HistoryGroup]) -> None:
        counts = [group.count for group in groups]
        sources: list[str | None] = [source for group in groups for source in group.power_source]
        self._values: dict[str, tuple[list[str], NDArray[np.int32]]] = {
            "site_id": ([site_id], np.zeros(sum(counts), dtype=np.int32)),
            "miner_id": (
                [name for group in groups for name in group.miner_ids],
                np.arange(sum(counts), dtype=np.int32),
            ),
            "model": (
                [group.model.key for group in groups],
                np.repeat(np.arange(len(groups)), counts).astype(np.int32),
            ),
            "firmware": (["stock"], np.zeros(sum(counts), dtype=np.int32)),
            "power_source": (
                known := sorted({source for source in sources if source is not None}),
                np.array([-1 if s is None else known.index(s) for s in sources], dtype=np.int32),
            ),
        }
        self._schema = lake_schema()

    def table(self, parts: Sequence[tuple[Floats, Columns, NDArray[np.bool_]]], span: slice) -> pa.Table:
        """One table of the readings in a span of the parts' times, unit after unit."""
        keeps = [keep[:, span] for _, _, keep in parts]
        flat = np.concatenate([keep.ravel() for keep in keeps])
        at = np.concatenate([times[:, span].ravel() for times, _, _ in parts])[flat]
        unit = np.repeat(np.arange(sum(len(keep) for keep in keeps)), keeps[0].shape[1])[flat]
        arrays = [pa.array((at * 1e6).astype(np.int64)).cast(TIME_TYPE)]
        for name in TELEMETRY_KEYS:
            values, index = self._values[name]
            indices = index[unit]
            codes = pa.array(indices, mask=indices < 0)
            arrays.append(pa.DictionaryArray.from_arrays(codes, pa.array(values, pa.string())))
        for name in _NUMBERS:
            column = np.concatenate([columns[name][:, span].ravel() for _, columns, _ in parts])[flat]
            arrays.append(pa.array(column))
        return pa.Table.from_arrays(arrays, schema=self._schema)

"""Which firmware each miner ran on each day, straight from the lake; only the report asks for it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trainer.held_out import HeldOut

UNKNOWN = "unknown"
_COLUMNS = ["site_id", "miner_id", "firmware", "at"]


def firmware_of(lake: Path, held: HeldOut) -> list[str]:
    """[N] firmware of each held-out row's miner on that day, `unknown` where the lake does not say."""
    days = [f"{datetime.fromtimestamp(float(at), UTC):%Y-%m-%d}" for at in held.at_s]
    known: dict[tuple[str, str, str], str] = {}
    for day in sorted(set(days)):
        for file in sorted(lake.glob(f"date={day}/site=*/*.parquet")):
            known |= {(day, site, miner): firmware for site, miner, firmware in _read(file)}
    return [
        known.get((day, *held.units[unit][:2]), UNKNOWN)
        for day, unit in zip(days, held.unit.tolist(), strict=True)
    ]


def _read(file: Path) -> list[tuple[str, str, str]]:
    """Site, miner and the last firmware that it said it ran."""
    try:
        with pq.ParquetFile(file) as source:
            if not set(_COLUMNS) <= set(source.schema_arrow.names):
                return []
            table = source.read(columns=_COLUMNS)
        last = (
            table.filter(pc.is_valid(table.column("firmware")))
            .group_by(["site_id", "miner_id", "firmware"])
            .aggregate([("at", "max")])
            .sort_by("at_max")
        )
    except (OSError, pa.ArrowException):
        # The trainer has read this file; a report goes without rather than fail.
        return []
    columns = (last.column(name).to_pylist() for name in ("site_id", "miner_id", "firmware"))
    return [(str(s), str(m), str(f)) for s, m, f in zip(*columns, strict=True)]

"""Rows of telemetry for tests, as a fleet would leave them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from agent.fleet import FleetFrame, Unit
from agent.lake.rows import Rows, rows_of
from agent.telemetry import TELEMETRY_COLUMNS

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SITE = "quarry"


def frame(at: datetime = START, miners: int = 3, late_s: float = 0.0, **columns: float) -> FleetFrame:
    """A moment of a fleet; what is not named is unknown. Readings are `late_s` older than the frame."""
    values = {c.name: np.full(miners, columns.get(c.name, np.nan)) for c in TELEMETRY_COLUMNS}
    if "hashrate_ths" not in columns:
        values["hashrate_ths"] = 100.0 + np.arange(miners) / 3.0
    units = tuple(
        Unit(f"m{i}", f"10.0.0.{i}", "antminer", None, "stock", float("nan"), float("nan"))
        for i in range(miners)
    )
    seconds = np.full(miners, at.timestamp() - late_s)
    source = "measured" if "power_w" in columns else None
    return FleetFrame(at, units, values, np.ones(miners, dtype=np.bool_), (source,) * miners, seconds)


def rows(at: datetime = START, miners: int = 3, late_s: float = 0.0, **columns: float) -> Rows:
    """The rows of `frame`."""
    return rows_of(SITE, frame(at, miners, late_s, **columns), ["Antminer X"] * miners)


def later(minutes: float) -> datetime:
    """A moment after `START`."""
    return START + timedelta(minutes=minutes)

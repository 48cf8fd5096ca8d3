"""A site's own lake as the farm of a backtest: its units, what was set, and curves learned from it.

Nobody knows the truth of a recorded site. What its units would have done at settings they were not at is
what the models and per-unit learning say at the end of the record; so every policy is judged by that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from agent.errors import DataError, InputError
from agent.fleet import FleetFrame, Unit
from agent.hardware.catalogue import Catalogue
from agent.hardware.profile import HardwareProfile
from agent.learning.correct import correct
from agent.models.bundle import Bundle
from agent.models.inference import Curves
from agent.planner.candidates import Candidates, Choices, build_candidates
from agent.setting import Knob
from agent.telemetry import TELEMETRY_COLUMNS
from simulator.backtest.farm import (
    BacktestFarm,
    UnitName,
    chip_max_c,
    settled_bounds,
    temperature_grid,
    wear_budget,
)
from simulator.backtest.market import Grid
from simulator.backtest.watching import MarketMoments, Watching

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]

_NAMES = tuple(column.name for column in TELEMETRY_COLUMNS)
_HOUR_S = 3600
# One reading a unit and hour is kept, in 120 bytes.
_MOST_READINGS = 20_000_000
_LOOK_EVERY_H = 3


@dataclass(frozen=True, slots=True)
class Readings:
    """One reading of N units for each of H hours from `start_s` on.

    Args:
        ids, models, firmware, sources: of every unit; the newest text counts.
        at_s: [N,H] Unix seconds, NaN where there is none.
        columns: [C,N,H] of `TELEMETRY_COLUMNS`.
    """

    start_s: float
    ids: tuple[str, ...]
    models: tuple[str, ...]
    firmware: tuple[str, ...]
    sources: tuple[str | None, ...]
    at_s: Floats
    columns: Floats32

    def column(self, name: str) -> Floats32:
        """[N,H] of one telemetry column."""
        return np.asarray(self.columns[_NAMES.index(name)])


def days_of(lake: Path) -> tuple[date, date]:
    """First day of a lake, and the day after its last.

    Raises:
        DataError: there is no telemetry.
    """
    days = sorted({_day_of(file) for file in lake.glob("date=*/site=*/*.parquet")})
    if not days:
        raise DataError(f"{lake}: no telemetry, expected date=YYYY-MM-DD/site=ID/part-0.parquet")
    return days[0], days[-1] + timedelta(days=1)


def read_readings(lake: Path, start_s: float, hours: int) -> Readings:
    """The first reading of every unit in every hour.

    Raises:
        DataError: a file cannot be used, or nothing was recorded in these hours.
        InputError: more than fits into memory.
    """
    first = datetime.fromtimestamp(start_s, UTC).date()
    last = datetime.fromtimestamp(start_s + _HOUR_S * hours - 1, UTC).date()
    rows: dict[str, int] = {}
    texts: list[tuple[str, str, str | None]] = []
    parts: list[tuple[Ints, Ints, Floats, Floats32]] = []
    total = 0
    for file in sorted(lake.glob("date=*/site=*/*.parquet")):
        if not first <= _day_of(file) <= last:
            continue
        table = _table(file)
        ids = [str(text) for text in table.column("miner_id").to_pylist()]
        stamps = table.column("at").cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
        at_s = stamps.to_numpy(zero_copy_only=False) / 1e6
        models, firmware, sources = (
            table.column(name).to_pylist() for name in ("model", "firmware", "power_source")
        )
        for i, name in enumerate(ids):
            text = (str(models[i]), str(firmware[i] or "stock"), sources[i])
            if name not in rows:
                rows[name] = len(rows)
                texts.append(text)
            elif sources[i] is not None:
                texts[rows[name]] = text
        unit = np.array([rows[name] for name in ids], dtype=np.int64)
        hour = ((at_s - start_s) // _HOUR_S).astype(np.int64)
        inside = np.flatnonzero((hour >= 0) & (hour < hours))
        _, kept = np.unique(unit[inside] * hours + hour[inside], return_index=True)
        kept = inside[kept]
        values = np.stack([_numbers(table, name)[kept] for name in _NAMES]).astype(np.float32)
        parts.append((unit[kept], hour[kept], at_s[kept], values))
        total += len(kept)
        if total > _MOST_READINGS:
            raise InputError(
                f"{lake}: more than {_MOST_READINGS} unit hours; choose fewer with --from and --to"
            )
    if not total:
        raise DataError(f"{lake}: nothing was recorded from {first} to {last}; move --from and --to")
    shape = (len(rows), hours)
    when, columns = np.full(shape, np.nan), np.full((len(_NAMES), *shape), np.nan, dtype=np.float32)
    for unit, hour, at_s, values in parts:
        when[unit, hour], columns[:, unit, hour] = at_s, values
    named = list(zip(*texts, strict=True))
    return Readings(start_s, tuple(rows), named[0], named[1], named[2], when, columns)


def recorded_farm(
    lake: Path,
    grid: Grid,
    bundle: Bundle | None,
    tell: Callable[[float], None] = lambda _: None,
) -> tuple[BacktestFarm, Ints, str]:
    """The farm of a lake, what was set at each step [N,T], and words for what its curves stand on.

    Args:
        tell: told the share done, 0 to 1.

    Raises:
        DataError, InputError: as `read_readings`; or no unit could be set by hashmargin.
    """
    hours = -(-grid.steps * grid.step_s // _HOUR_S)
    found = read_readings(lake, grid.start_s, hours)
    tell(0.2)
    kept, units, choices, left_out = _units(found)
    if not kept:
        raise InputError(f"{lake}: no unit that hashmargin could set: {left_out}")
    rows = np.array(kept)
    table = build_candidates(choices)
    watching = Watching(units, bundle, learning=True, shares=table.shares)
    base = _watch(found, rows, units, grid, watching, tell)
    outside = temperature_grid(grid.outside_c)
    learned = watching.learned
    assert learned is not None and base is not None
    moved = [correct(learned, table.shares, base, np.full(len(rows), temp)) for temp in outside]
    rate = np.stack([curves.hashrate_ths[:, :, 1] for curves in moved])
    power = np.stack([curves.power_w[:, :, 1] for curves in moved])
    chip = np.repeat(base.chip_temp_c[None, :, :, 1], len(outside), axis=0)
    blank = np.zeros_like(rate)
    farm = BacktestFarm(
        names=tuple(
            UnitName(u.miner_id, u.profile.key if u.profile else "", u.firmware or "") for u in units
        ),
        units=(),
        candidates=table,
        outside_c=outside,
        hashrate_ths=rate,
        power_w=power,
        chip_c=np.where(table.stops, outside[:, None, None], chip),
        level=blank,
        fan=blank,
        chip_max_c=np.array([chip_max_c(unit.profile) for unit in units]),
        restarts_per_day=np.array([wear_budget(unit.profile) for unit in units], dtype=np.int64),
        offset_c=np.zeros(len(units)),
        left_out=left_out,
    )
    hour = (np.arange(grid.steps) * grid.step_s) // _HOUR_S
    return farm, _settings(found.column("setting_share")[rows], table)[:, hour], watching.label


def _watch(
    found: Readings,
    rows: Ints,
    units: tuple[Unit, ...],
    grid: Grid,
    watching: Watching,
    tell: Callable[[float], None],
) -> Curves | None:
    """Look at every third hour in turn; the models' curves at the end."""
    per_hour = max(1, _HOUR_S // grid.step_s)
    market = MarketMoments(grid.market, grid.prices, grid.times_s)
    sources = tuple(found.sources[row] for row in rows)
    hours = found.at_s.shape[1]
    base: Curves | None = None
    for hour in range(0, hours, _LOOK_EVERY_H):
        when = found.at_s[rows, hour]
        columns = {name: found.columns[i, rows, hour].astype(np.float64) for i, name in enumerate(_NAMES)}
        columns |= {
            "rated_hashrate_ths": np.array([unit.rated_hashrate_ths for unit in units]),
            "rated_power_w": np.array([unit.rated_power_w for unit in units]),
        }
        moment = datetime.fromtimestamp(found.start_s + _HOUR_S * (hour + 1), UTC)
        frame = FleetFrame(moment, units, columns, np.isfinite(when), sources, when)
        step = min(hour * per_hour, grid.steps - 1)
        priced = (float(grid.net_hashprice[step]), float(grid.cost_usd_per_kwh[step]))
        base, _ = watching.look(frame, market.at(step, frame), priced)
        tell(0.2 + 0.8 * hour / hours)
    return base


def _units(
    found: Readings,
) -> tuple[list[int], tuple[Unit, ...], list[Choices], dict[str, int]]:
    """Rows that can be set, as the agent knows them; and how many cannot, by reason."""
    catalogue = Catalogue.load()
    kept: list[int] = []
    units: list[Unit] = []
    choices: list[Choices] = []
    left_out: Counter[str] = Counter()
    for row, name in enumerate(found.ids):
        profile = catalogue.find(found.models[row])
        if profile is None:
            left_out[f"no hardware profile for {found.models[row]}"] += 1
            continue
        firmware = found.firmware[row]
        choice = _choices(profile, firmware, bool(np.isfinite(found.column("hashrate_percent")[row]).any()))
        rated = [_middle(found.column(column)[row]) for column in ("rated_hashrate_ths", "rated_power_w")]
        if choice.nominal is None or not np.isfinite(rated).all():
            left_out[f"{profile.key} with firmware {firmware} has no setting to begin with"] += 1
            continue
        kept.append(row)
        units.append(Unit(name, name, None, profile, firmware, rated[0], rated[1]))
        choices.append(choice)
    return kept, tuple(units), choices, dict(left_out)


def _choices(profile: HardwareProfile, firmware: str, offers_percent: bool) -> Choices:
    offered = tuple(
        bound
        for bound in profile.offered_bounds(firmware)
        if bound.knob is not Knob.HASHRATE_PERCENT or offers_percent
    )
    kept, nominal = settled_bounds(profile, firmware, offered)
    return Choices(profile, firmware, kept if profile.status != "read-only" else (), nominal, nominal)


def _settings(share: Floats32, table: Candidates) -> Ints:
    """[N,H] the candidate nearest to what was set; where nothing is known, the one before."""
    out = np.empty(share.shape, dtype=np.int64)
    last = table.nominal.copy()
    for hour in range(share.shape[1]):
        away = np.abs(table.shares - share[:, hour, None])
        known = np.isfinite(away).any(axis=1)
        last = np.where(known, np.where(np.isfinite(away), away, np.inf).argmin(axis=1), last)
        out[:, hour] = last
    return out


def _middle(values: Floats32) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _table(file: Path) -> pa.Table:
    try:
        with pq.ParquetFile(file) as source:
            return source.read()
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{file}: is not readable as Parquet: {error}; see `hashmargin lake check`"
        ) from error


def _numbers(table: pa.Table, name: str) -> Floats:
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    return np.asarray(table.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False))


def _day_of(file: Path) -> date:
    text = file.parent.parent.name.removeprefix("date=")
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise DataError(f"{file.parent.parent}: {text!r} is not a date, expected YYYY-MM-DD") from error

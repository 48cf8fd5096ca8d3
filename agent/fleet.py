"""The whole fleet at one moment as columns: what polls brought, side by side, NaN where unknown.

Turning columns into features is `agent.features`; estimating power that nobody measured is left to models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from agent.hardware.profile import HardwareProfile
from agent.hardware.shares import current_setting, nominal_share
from agent.reading import Board, Pool, Reading
from agent.telemetry import TELEMETRY_COLUMNS, WORK_MODE_CODES, PollResult

Floats = NDArray[np.float64]
COLUMN_NAMES: tuple[str, ...] = tuple(column.name for column in TELEMETRY_COLUMNS)
_RATED = ("rated_hashrate_ths", "rated_power_w")
_LIVE = tuple(name for name in COLUMN_NAMES if name not in _RATED)
_LOW = np.array([c.minimum for c in TELEMETRY_COLUMNS if c.name not in _RATED])
_HIGH = np.array([c.maximum for c in TELEMETRY_COLUMNS if c.name not in _RATED])


@dataclass(frozen=True, slots=True)
class Unit:
    """One miner of the site and what is known of it before it is read.

    Args:
        miner_id: the site's name for it, else its MAC, else its address until the MAC is known.
        family: driver name, None until identified.
        profile: None for a model that no profile covers.
        rated_hashrate_ths, rated_power_w: of the profile or the unit's bin; NaN where unknown.
    """

    miner_id: str
    address: str
    family: str | None
    profile: HardwareProfile | None
    firmware: str | None
    rated_hashrate_ths: float
    rated_power_w: float
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FleetFrame:
    """N miners at one moment.

    Args:
        at: UTC time of the frame.
        units: the miners, in the order of every array.
        columns: one [N] float64 array per entry of `TELEMETRY_COLUMNS`; NaN where unknown. Rated figures
            are always there; every other column of a miner that is not fresh is NaN.
        fresh: [N] True where a reading young enough stands behind the row.
        power_source: per miner whose watts they are, as `power_source` of a Reading; None where unknown.
        observed_s: [N] Unix seconds at which the reading arrived, NaN where not fresh. Left out: `at`.
    """

    at: datetime
    units: tuple[Unit, ...]
    columns: dict[str, Floats]
    fresh: NDArray[np.bool_]
    power_source: tuple[str | None, ...]
    observed_s: Floats = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        if self.observed_s.shape != self.fresh.shape:
            seconds = np.where(self.fresh, self.at.timestamp(), np.nan)
            object.__setattr__(self, "observed_s", seconds)


def build_frame(
    at: datetime, units: Sequence[Unit], results: Sequence[PollResult], max_age_s: float
) -> FleetFrame:
    """Lay the results of polling side by side.

    A result belongs to the unit of its `miner_id`, else to the one unit at its address. A unit whose
    newest result failed, is missing, or was read more than `max_age_s` away from `at` is not fresh.
    A value outside the physical range of its column is what a broken miner says: it becomes NaN.

    Args:
        at: timezone-aware UTC.
        units: [N] miners.
        results: outcomes of polling, in any order.
        max_age_s: seconds.
    """
    count = len(units)
    rows = np.full((count, len(_LIVE)), np.nan)
    fresh = np.zeros(count, dtype=np.bool_)
    observed_s = np.full(count, np.nan)
    sources: list[str | None] = [None] * count
    now_s = at.timestamp()
    for i, (unit, result) in enumerate(zip(units, _match(units, results), strict=True)):
        reading = result.reading if result is not None else None
        if result is None or reading is None:
            continue
        seen_s = (reading.observed_at or result.finished_at).timestamp()
        if abs(now_s - seen_s) > max_age_s:
            continue
        rows[i] = _row(unit, reading)
        fresh[i], observed_s[i] = True, seen_s
        sources[i] = reading.power_source
    rows[~((rows >= _LOW) & (rows <= _HIGH))] = np.nan
    columns = {name: rows[:, j].copy() for j, name in enumerate(_LIVE)}
    columns["rated_hashrate_ths"] = np.array([u.rated_hashrate_ths for u in units], dtype=np.float64)
    columns["rated_power_w"] = np.array([u.rated_power_w for u in units], dtype=np.float64)
    known = np.isfinite(columns["power_w"])
    return FleetFrame(
        at=at,
        units=tuple(units),
        columns={name: columns[name] for name in COLUMN_NAMES},
        fresh=fresh,
        power_source=tuple(source if ok else None for source, ok in zip(sources, known, strict=True)),
        observed_s=observed_s,
    )


def _match(units: Sequence[Unit], results: Sequence[PollResult]) -> list[PollResult | None]:
    by_id: dict[str, PollResult] = {}
    by_address: dict[str, list[PollResult]] = {}
    for result in results:
        held = by_id.get(result.miner_id)
        if held is None or result.finished_at >= held.finished_at:
            by_id[result.miner_id] = result
        by_address.setdefault(result.address, []).append(result)
    addresses: dict[str, int] = {}
    for unit in units:
        addresses[unit.address] = addresses.get(unit.address, 0) + 1
    found: list[PollResult | None] = []
    for unit in units:
        own = by_id.get(unit.miner_id)
        if own is None and addresses[unit.address] == 1:
            here = by_address.get(unit.address, [])
            if len({r.miner_id for r in here}) == 1:
                own = max(here, key=lambda r: r.finished_at)
        found.append(own)
    return found


def _row(unit: Unit, reading: Reading) -> Floats:
    """The live columns of one reading, in the order of `_LIVE`."""
    boards = reading.boards or ()
    expected = unit.profile.layout.boards if unit.profile is not None else None
    values: dict[str, float | None] = {
        "hashrate_ths": reading.hashrate_ths,
        "hashrate_avg_ths": reading.hashrate_avg_ths,
        "hashrate_expected_ths": reading.hashrate_expected_ths,
        "power_w": reading.power_w,
        "setting_share": _share(unit, reading),
        "is_hashing": reading.is_hashing,
        "chip_temp_c": reading.chip_temp_c,
        "board_temp_c": reading.board_temp_c,
        "inlet_temp_c": reading.inlet_temp_c,
        "ambient_temp_c": reading.ambient_temp_c,
        "fan_rpm": _mean(reading.fan_rpm),
        "voltage_v": reading.voltage_v,
        "frequency_mhz": reading.frequency_mhz,
        "boards_hashing": _hashing(boards),
        "boards_expected": expected if expected is not None else len(boards) or None,
        "hw_errors": _total(boards),
        "uptime_s": reading.uptime_s,
        "shares_accepted": reading.shares_accepted,
        "shares_rejected": reading.shares_rejected,
        "shares_stale": reading.shares_stale,
        "power_limit_w": reading.power_limit_w,
        "power_percent": reading.power_percent,
        "hashrate_percent": reading.hashrate_percent,
        "work_mode_code": WORK_MODE_CODES.get(reading.work_mode or ""),
        "chip_temp_spread_c": _spread([board.chip_temp_c for board in boards]),
        "board_temp_spread_c": _spread([board.board_temp_c for board in boards]),
        "share_difficulty": _difficulty(reading.pools or ()),
    }
    return np.array([_real(values[name]) for name in _LIVE], dtype=np.float64)


def _real(value: float | None) -> float:
    """A counter of a broken miner may be an integer too large for any float."""
    if value is None:
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _share(unit: Unit, reading: Reading) -> float | None:
    firmware = reading.firmware or unit.firmware
    if unit.profile is None or firmware is None:
        return None
    setting = current_setting(unit.profile, firmware, reading)
    return None if setting is None else nominal_share(unit.profile, firmware, setting)


def _mean(values: tuple[float, ...] | None) -> float | None:
    known = [v for v in values or () if math.isfinite(v)]
    return sum(known) / len(known) if known else None


def _spread(values: list[float | None]) -> float | None:
    """Highest less lowest; None where fewer than two are known."""
    known = [v for v in values if v is not None and math.isfinite(v)]
    return max(known) - min(known) if len(known) > 1 else None


def _difficulty(pools: tuple[Pool, ...]) -> float | None:
    """Of the pool in use, else of the only one that tells."""
    active = [pool for pool in pools if pool.active]
    known = [pool.difficulty for pool in active or pools if pool.difficulty is not None]
    return _real(known[0]) if len(known) == 1 else None


def _hashing(boards: tuple[Board, ...]) -> float | None:
    """Boards with a rate; None where no board tells its rate."""
    rates = [board.hashrate_ths for board in boards if board.hashrate_ths is not None]
    return float(sum(rate > 0.0 for rate in rates)) if rates else None


def _total(boards: tuple[Board, ...]) -> float | None:
    known = [_real(board.hw_errors) for board in boards if board.hw_errors is not None]
    return sum(known) if known else None

"""One poll of one miner, in the names every part uses. Unknown is None, never 0."""

from __future__ import annotations

import math
import types
import typing
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cache
from typing import Any

from agent.errors import DataError


@dataclass(frozen=True, slots=True)
class Board:
    """One hash board. `state`: hashing, idle (chips but no rate), missing (no chips), sick or None."""

    index: int
    hashrate_ths: float | None = None
    chips: int | None = None
    chips_expected: int | None = None
    chip_temp_c: float | None = None
    board_temp_c: float | None = None
    frequency_mhz: float | None = None
    hw_errors: int | None = None
    serial: str | None = None
    state: str | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    """One configured pool. Passwords are never carried."""

    url: str
    user: str | None = None
    state: str | None = None
    active: bool | None = None
    priority: int | None = None
    accepted: int | None = None
    rejected: int | None = None
    stale: int | None = None
    difficulty: float | None = None


@dataclass(frozen=True, slots=True)
class MinerError:
    """One fault that the firmware reports. `severity`: info, warning, critical or None."""

    code: str
    text: str | None = None
    severity: str | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """One poll of one miner. Fields and units are those of docs/reading.md."""

    miner_id: str | None = None
    mac: str | None = None
    serial: str | None = None
    address: str | None = None
    vendor: str | None = None
    model: str | None = None
    firmware: str | None = None
    firmware_version: str | None = None
    observed_at: datetime | None = None
    hashrate_ths: float | None = None
    hashrate_5s_ths: float | None = None
    hashrate_avg_ths: float | None = None
    hashrate_expected_ths: float | None = None
    power_w: float | None = None
    power_source: str | None = None
    power_limit_w: float | None = None
    power_percent: float | None = None
    hashrate_percent: float | None = None
    frequency_percent: float | None = None
    work_mode: str | None = None
    is_hashing: bool | None = None
    chip_temp_c: float | None = None
    board_temp_c: float | None = None
    inlet_temp_c: float | None = None
    ambient_temp_c: float | None = None
    fan_rpm: tuple[float, ...] | None = None
    voltage_v: float | None = None
    frequency_mhz: float | None = None
    boards: tuple[Board, ...] | None = None
    uptime_s: float | None = None
    system_uptime_s: float | None = None
    shares_accepted: int | None = None
    shares_rejected: int | None = None
    shares_stale: int | None = None
    pools: tuple[Pool, ...] | None = None
    errors: tuple[MinerError, ...] | None = None

    @property
    def efficiency_j_th(self) -> float | None:
        """Joules per terahash, from power and hashrate of this same poll."""
        if self.power_w is None or not self.hashrate_ths:
            return None
        return self.power_w / self.hashrate_ths

    def to_dict(self) -> dict[str, Any]:
        """JSON form: every field, times as ISO 8601 with Z, tuples as lists."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Reading:
        """Inverse of `to_dict`; unknown keys are refused.

        Raises:
            DataError: a key is unknown or a value has the wrong type.
        """
        reading: Reading = _load(Reading, data, "reading")
        return reading


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Board | Pool | MinerError):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _load(kind: type, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise DataError(f"{where}: expected an object, got {type(data).__name__}")
    hints = _hints(kind)
    unknown = set(data) - set(hints)
    if unknown:
        raise DataError(f"{where}: unknown field {sorted(map(str, unknown))[0]!r}")
    try:
        return kind(**{name: _value(hints[name], item, f"{where}.{name}") for name, item in data.items()})
    except TypeError as error:
        raise DataError(f"{where}: {error}") from error


def _value(hint: Any, item: Any, where: str) -> Any:
    if typing.get_origin(hint) is types.UnionType:
        if item is None:
            return None
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    if typing.get_origin(hint) is tuple:
        if not isinstance(item, list | tuple):
            raise DataError(f"{where}: expected a list, got {type(item).__name__}")
        part = typing.get_args(hint)[0]
        return tuple(_value(part, one, f"{where}.{i}") for i, one in enumerate(item))
    if hint is datetime:
        try:
            moment = datetime.fromisoformat(item)
        except (TypeError, ValueError) as error:
            raise DataError(f"{where}: expected an ISO 8601 time, got {item!r}") from error
        if moment.tzinfo is None:
            raise DataError(f"{where}: time {item!r} has no zone")
        return moment.astimezone(UTC)
    if hint in (Board, Pool, MinerError):
        return _load(hint, item, where)
    if hint is float and isinstance(item, int | float) and not isinstance(item, bool):
        if not math.isfinite(item):
            raise DataError(f"{where}: {item!r} is not a finite number")
        return float(item)
    if isinstance(item, hint) and not (hint is int and isinstance(item, bool)):
        return item
    raise DataError(f"{where}: expected {hint.__name__}, got {item!r}")

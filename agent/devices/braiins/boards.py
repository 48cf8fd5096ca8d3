"""The hash boards and fans of a BraiinsOS miner, from `miner/hw/hashboards` and `cooling/state`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.devices.antminer.fields import fan_speed, items, positive
from agent.devices.braiins.fields import at, degrees, gigahash
from agent.devices.numbers import count, number, text
from agent.hardware.profile import HardwareProfile
from agent.reading import Board

_MOST = 16
_HZ_PER_MHZ = 1e6
Json = Mapping[str, Any]


def rows_of(document: Json | None) -> list[Json]:
    """The rows of `miner/hw/hashboards`."""
    return [row for row in items(at(document, "hashboards"))[:_MOST] if isinstance(row, dict)]


def boards_of(rows: list[Json], profile: HardwareProfile | None) -> tuple[Board, ...] | None:
    """One board a row, and those that the model has and the firmware does not list; None without rows."""
    known = tuple(_board(row, place, profile) for place, row in enumerate(rows))
    return _with_missing(known, profile) or None


def fans_of(document: Json | None) -> tuple[float, ...] | None:
    """The fans' speeds in rpm; None where there are none."""
    rows = [row for row in items(at(document, "fans"))[:_MOST] if isinstance(row, dict)]
    speeds = tuple(rpm for row in rows if (rpm := fan_speed(row.get("rpm"))) is not None)
    return speeds or None


def _board(row: Json, place: int, profile: HardwareProfile | None) -> Board:
    index = count(row.get("id"))
    chips = count(row.get("chips_count"))
    expected = _chips_expected(chips, profile)
    rate = gigahash(_rate(row.get("stats")))
    hertz = positive(number(at(row, "current_frequency", "hertz")))
    return Board(
        index=place if index is None else index,
        hashrate_ths=rate,
        chips=chips,
        chips_expected=expected,
        chip_temp_c=degrees(at(row, "highest_chip_temp", "temperature")),
        board_temp_c=degrees(row.get("board_temp")),
        frequency_mhz=hertz / _HZ_PER_MHZ if hertz is not None else None,
        serial=text(row.get("serial_number")),
        state=_state(row.get("enabled"), chips, rate, expected),
    )


def _rate(stats: object) -> object:
    """The rate of one board over the same window as the miner's own `hashrate_ths`."""
    real = at(stats, "real_hashrate")
    return next((found for key in ("last_1m", "last_5m", "last_5s") if (found := at(real, key))), None)


def _state(enabled: object, chips: int | None, rate: float | None, expected: int | None) -> str | None:
    if chips == 0:
        return "missing"
    if enabled is False:
        return "idle"
    if rate is None:
        return None
    if rate == 0.0:
        return "idle"
    return "sick" if chips is not None and expected is not None and chips < expected else "hashing"


def _chips_expected(chips: int | None, profile: HardwareProfile | None) -> int | None:
    """The model's chip count; of several genuine ones the smallest that the board can have."""
    known = profile.layout.chips_per_board if profile is not None else None
    if not known:
        return None
    return next((n for n in sorted(known) if chips is None or n >= chips), max(known))


def _with_missing(boards: tuple[Board, ...], profile: HardwareProfile | None) -> tuple[Board, ...]:
    expected = profile.layout.boards if profile is not None else None
    if expected is None or not 0 < len(boards) < expected:
        return boards
    listed = {board.index for board in boards}
    # Firmware counts boards from 1; its first REST version counted from 0.
    base = 0 if 0 in listed else 1
    absent = [
        Board(index=n, chips=0, chips_expected=_chips_expected(0, profile), state="missing")
        for n in range(base, base + expected)
        if n not in listed
    ]
    return tuple(sorted([*boards, *absent[: expected - len(boards)]], key=lambda board: board.index))

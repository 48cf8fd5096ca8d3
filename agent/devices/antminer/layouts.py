"""The `stats` reply of stock Antminers, in the legacy, S9 and `new_api` layouts, as one record.

Pure functions over decoded JSON of any shape.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from agent.devices.antminer.fields import (
    GH,
    Json,
    celsius,
    fan_speed,
    first,
    highest,
    items,
    moment,
    positive,
    scaled,
    seconds,
    to_ths,
)
from agent.devices.numbers import count, number, text
from agent.hardware.profile import HardwareProfile
from agent.reading import Board

FIRMWARE = "stock"
_MODES = {0: "normal", 1: "sleep", 2: "high", 3: "low", 5: "sleep"}
_MOST_SLOTS = 16
_CHIP_KEY = re.compile(r"^temp_(?:in_|out_)?chip_?(\d{1,2})$")
_BOARD_KEY = re.compile(r"^temp_(?:in_|out_)?pcb_?(\d{1,2})$")
_SPLIT = re.compile(r"(?<!\d)-?\d{1,3}(?:\.\d+)?")
# Which sensors sit where air or water comes in: known for these models alone.
_INLET = {
    "antminer-s19-xp": ("temp_pic", (2, 3)),
    "antminer-s21": ("temp_pic", (2,)),
    "antminer-s21-plus-hyd": ("temp_pcb", (0,)),
}
# On this model the board sensors sit in the water, and the first air sensor on a chip.
_WATER_COOLED = "antminer-s21-plus-hyd"
_SLOTS_FROM_6 = ("antminer-s9",)


@dataclass(frozen=True, slots=True)
class Stats:
    """What `stats` says, in either layout. Rates in TH/s; None where it says nothing."""

    version: str | None = None
    when: datetime | None = None
    rate_5s: float | None = None
    rate_30m: float | None = None
    rate_avg: float | None = None
    rate_ideal: float | None = None
    elapsed_s: float | None = None
    mode: int | None = None
    power_w: float | None = None
    frequency_mhz: float | None = None
    fans: tuple[float, ...] | None = None
    boards: tuple[Board, ...] | None = None
    inlet_c: float | None = None


def parse_stats(document: Json, profile: HardwareProfile | None) -> Stats:
    """The `stats` reply in whichever layout it has."""
    rows = [row for row in items(document.get("STATS")) if isinstance(row, dict)]
    info = document.get("INFO")
    if isinstance(info, dict):
        found = rows[0] if rows else {}
        return _new_layout(info, found, profile, moment(document))
    header = next((row for row in rows if "Type" in row), {})
    data = next((row for row in rows if "Elapsed" in row or "GHS av" in row), {})
    return _legacy_layout(header, data, profile, moment(document))


def is_new_layout(document: object) -> bool:
    """True for replies of the `new_api` kind, which say who they are in INFO."""
    return isinstance(document, dict) and isinstance(document.get("INFO"), dict)


def uptime(document: Json) -> float | None:
    """Seconds since the mining process started, by the `stats` reply."""
    rows = [row for row in items(document.get("STATS")) if isinstance(row, dict)]
    found: float | None = first(*(seconds(first(row.get("elapsed"), row.get("Elapsed"))) for row in rows))
    return found


def type_text(document: Json) -> str | None:
    """The model as the `stats` reply names it."""
    info = document.get("INFO")
    if isinstance(info, dict):
        return text(info.get("type"))
    rows = (row for row in items(document.get("STATS")) if isinstance(row, dict))
    return next((found for row in rows if (found := text(row.get("Type"))) is not None), None)


def work_mode(mode: int | None, profile: HardwareProfile | None) -> str | None:
    """The word for a mode number; on models that have an efficiency mode, 2 is that."""
    word = _MODES.get(mode) if mode is not None else None
    if word == "high" and profile is not None:
        offered = {c for control in profile.controls_of(FIRMWARE) for c in control.choices or ()}
        if "efficient" in offered:
            return "efficient"
    return word


def mode_number(value: object) -> int | None:
    """A mode as the firmware writes it (0, "0"), or None."""
    return count(value) if isinstance(value, int | str) else None


def _new_layout(info: Json, row: Json, profile: HardwareProfile | None, when: datetime | None) -> Stats:
    scale = to_ths(row.get("rate_unit"))
    chains = [chain for chain in items(row.get("chain"))[:_MOST_SLOTS] if isinstance(chain, dict)]
    known = tuple(_chain(chain, place, scale, profile) for place, chain in enumerate(chains))
    speeds = (fan_speed(value) for value in items(row.get("fan"))[:_MOST_SLOTS])
    fans = tuple(speed for speed in speeds if speed is not None)
    frequencies = [board.frequency_mhz for board in known if board.frequency_mhz]
    return Stats(
        version=first(text(info.get("CompileTime")), text(info.get("miner_version"))),
        when=when,
        rate_5s=scaled(row.get("rate_5s"), scale),
        rate_30m=scaled(row.get("rate_30m"), scale),
        rate_avg=scaled(row.get("rate_avg"), scale),
        rate_ideal=positive(scaled(row.get("rate_ideal"), scale)),
        elapsed_s=seconds(row.get("elapsed")),
        mode=mode_number(row.get("miner-mode")),
        power_w=_watts(row),
        frequency_mhz=sum(frequencies) / len(frequencies) if frequencies else None,
        fans=fans or None,
        boards=_with_missing(known, profile) or None,
        inlet_c=_inlet(chains, profile),
    )


def _legacy_layout(header: Json, data: Json, profile: HardwareProfile | None, when: datetime | None) -> Stats:
    return Stats(
        version=first(text(header.get("CompileTime")), text(data.get("miner_version"))),
        when=when,
        rate_5s=scaled(data.get("GHS 5s"), GH),
        rate_30m=scaled(first(data.get("rate_30m"), data.get("GHS 30m")), GH),
        rate_avg=scaled(data.get("GHS av"), GH),
        rate_ideal=positive(scaled(data.get("total_rateideal"), to_ths(data.get("rate_unit")))),
        elapsed_s=seconds(data.get("Elapsed")),
        mode=mode_number(data.get("miner-mode")),
        power_w=_watts(data),
        frequency_mhz=positive(first(number(data.get("total_freqavg")), number(data.get("frequency")))),
        fans=_legacy_fans(data),
        boards=_legacy_boards(data, profile) or None,
    )


def _chain(chain: Json, place: int, scale: float, profile: HardwareProfile | None) -> Board:
    index = first(count(chain.get("index")), place)
    chips = count(chain.get("asic_num"))
    expected = _chips_expected(chips, profile)
    if chips == 0:
        return Board(index=index, chips=0, chips_expected=expected, state="missing")
    rate = scaled(chain.get("rate_real"), scale)
    wet = profile is not None and profile.key == _WATER_COOLED
    return Board(
        index=index,
        hashrate_ths=rate,
        chips=chips,
        chips_expected=expected,
        chip_temp_c=_hottest(_numbers(chain.get("temp_pic"))[:1] if wet else chain.get("temp_chip")),
        board_temp_c=None if wet else _hottest(chain.get("temp_pcb")),
        frequency_mhz=positive(number(chain.get("freq_avg"))),
        hw_errors=count(chain.get("hw")),
        serial=text(chain.get("sn")),
        state=_state(chips, rate, expected, text(chain.get("asic"))),
    )


def _legacy_boards(data: Json, profile: HardwareProfile | None) -> tuple[Board, ...]:
    chips = {
        n: count(data.get(f"chain_acn{n}")) for n in range(1, _MOST_SLOTS + 1) if f"chain_acn{n}" in data
    }
    if not chips:
        return ()
    present = [n for n, found in chips.items() if found]
    # S9-class machines use slots 6 to 8, everything later starts at 1.
    named = profile is not None and profile.key in _SLOTS_FROM_6
    base = 6 if (min(present) >= 6 if present else named) else 1
    boards = profile.layout.boards if profile is not None else None
    size = boards or max(count(data.get("miner_count")) or 0, 3)
    slots = sorted(set(present) | {n for n in range(base, base + size) if n in chips})
    chip_temps = _by_slot(data, _CHIP_KEY)
    board_temps = _by_slot(data, _BOARD_KEY)
    return tuple(
        _legacy_board(data, n, chips.get(n), chip_temps.get(n), board_temps.get(n), profile) for n in slots
    )


def _legacy_board(
    data: Json,
    slot: int,
    chips: int | None,
    chip_temp_c: float | None,
    board_temp_c: float | None,
    profile: HardwareProfile | None,
) -> Board:
    rate = scaled(data.get(f"chain_rate{slot}"), GH)
    expected = _chips_expected(chips, profile)
    if chips == 0:
        return Board(index=slot, chips=0, chips_expected=expected, state="missing")
    return Board(
        index=slot,
        hashrate_ths=rate,
        chips=chips,
        chips_expected=expected,
        chip_temp_c=first(chip_temp_c, celsius(data.get(f"temp2_{slot}"))),
        board_temp_c=first(board_temp_c, celsius(data.get(f"temp{slot}"))),
        frequency_mhz=positive(number(first(data.get(f"freq{slot}"), data.get(f"freq_avg{slot}")))),
        hw_errors=count(data.get(f"chain_hw{slot}")),
        state=_state(chips, rate, expected, text(data.get(f"chain_acs{slot}"))),
    )


def _with_missing(boards: tuple[Board, ...], profile: HardwareProfile | None) -> tuple[Board, ...]:
    """Boards that the model has and the firmware does not list are missing."""
    expected = profile.layout.boards if profile is not None else None
    if expected is None or len(boards) >= expected or not boards:
        return boards
    listed = {board.index for board in boards}
    base = 1 if 0 not in listed and max(listed) >= expected else 0
    absent = [
        Board(index=n, chips=0, chips_expected=_chips_expected(0, profile), state="missing")
        for n in range(base, base + expected)
        if n not in listed
    ]
    return tuple(sorted([*boards, *absent[: expected - len(boards)]], key=lambda board: board.index))


def _state(chips: int | None, rate: float | None, expected: int | None, marks: str | None) -> str | None:
    if chips == 0:
        return "missing"
    if rate is None:
        return None
    if rate == 0.0:
        return "idle"
    short = chips is not None and expected is not None and chips < expected
    return "sick" if short or (marks is not None and "x" in marks.lower()) else "hashing"


def _chips_expected(chips: int | None, profile: HardwareProfile | None) -> int | None:
    """The model's chip count; of several genuine ones the smallest that the board can have."""
    known = profile.layout.chips_per_board if profile is not None else None
    if not known:
        return None
    return next((n for n in sorted(known) if chips is None or n >= chips), max(known))


def _legacy_fans(data: Json) -> tuple[float, ...] | None:
    slots = [n for n in range(1, _MOST_SLOTS + 1) if f"fan{n}" in data]
    if not slots:
        return None
    turning = [rpm for n in slots if (rpm := fan_speed(data.get(f"fan{n}")))]
    fitted = min(count(data.get("fan_num")) or 0, _MOST_SLOTS)
    # Empty slots read 0 too; a fan that is fitted and reads 0 stands still.
    found = turning + [0.0] * max(0, fitted - len(turning))
    return tuple(found) or None


def _by_slot(data: Json, pattern: re.Pattern[str]) -> dict[int, float]:
    found: dict[int, float] = {}
    for key, value in data.items():
        match = pattern.match(key) if isinstance(key, str) else None
        hottest = _hottest(value) if match is not None else None
        if match is not None and hottest is not None:
            slot = int(match.group(1))
            found[slot] = max(hottest, found.get(slot, hottest))
    return found


def _hottest(value: object) -> float | None:
    return highest(celsius(v) for v in _numbers(value))


def _numbers(value: object) -> list[float]:
    """The numbers of `[a, b, ..]`, `"a-b-c-d"` or a plain one."""
    if isinstance(value, list):
        return [found for item in value[:64] if (found := number(item)) is not None]
    if isinstance(value, str):
        return [float(part) for part in _SPLIT.findall(value[:128])]
    found = number(value)
    return [] if found is None else [found]


def _inlet(chains: Sequence[Json], profile: HardwareProfile | None) -> float | None:
    """Air or water going in, from the sensors at the boards' edges, on the models where they are known."""
    if profile is None or profile.key not in _INLET:
        return None
    key, places = _INLET[profile.key]
    rows = [_numbers(chain.get(key)) for chain in chains]
    return highest(celsius(row[place]) for row in rows if len(row) == 4 for place in places)


def _watts(row: Json) -> float | None:
    found = (number(row.get(key)) for key in ("chain_power", "power", "watt"))
    return next((watts for watts in found if watts is not None and watts > 0.0), None)

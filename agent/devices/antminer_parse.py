"""Antminer stock replies to a Reading: 4028 in the legacy, S9 and `new_api` layouts, web pages, port 6060.

Pure functions over decoded JSON. Whatever subset of replies is there is used; the rest stays None.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from agent.devices.antminer_errors import errors_of_summary, errors_of_warning
from agent.devices.numbers import count, number, text
from agent.errors import Malformed, Refused, Unsupported
from agent.hardware.catalogue import find
from agent.hardware.profile import HardwareProfile
from agent.reading import Board, MinerError, Pool, Reading

VENDOR, FIRMWARE = "bitmain", "stock"
Json = Mapping[str, Any]

_MODES = {0: "normal", 1: "sleep", 2: "high", 3: "low", 5: "sleep"}
_MOST_SLOTS = 16
_TO_THS = {"H": 1e-12, "KH": 1e-9, "MH": 1e-6, "GH": 1e-3, "TH": 1.0, "PH": 1e3}
_CHIP_KEY = re.compile(r"^temp_(?:in_|out_)?chip_?(\d{1,2})$")
_BOARD_KEY = re.compile(r"^temp_(?:in_|out_)?pcb_?(\d{1,2})$")
_SPLIT = re.compile(r"(?<!\d)-?\d{1,3}(?:\.\d+)?")
_POWER_TEXT = re.compile(rb"miner power:\s*(\d{1,6}(?:\.\d+)?)")
_EARLIEST_S, _LATEST_S = 1.2e9, 4.1e9


@dataclass(frozen=True, slots=True)
class Stats:
    """What `stats` says, in either layout. Rates in TH/s; None where it says nothing."""

    type_text: str | None = None
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


@dataclass(frozen=True, slots=True)
class Replies:
    """Decoded replies of one miner, by where they come from. None: not asked, or no answer."""

    stats: Json | None = None
    summary: Json | None = None
    pools: Json | None = None
    version: Json | None = None
    system_info: Json | None = None
    miner_type: Json | None = None
    conf: Json | None = None
    web_summary: Json | None = None
    warning: Json | None = None
    miner_power: bytes | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


def check_status(document: Any, address: str) -> Json:
    """The document as an object, if its STATUS does not say error.

    Raises:
        Unsupported: Code 14 or 45, the command is not offered. Refused: another error.
        Malformed: not an object.
    """
    if not isinstance(document, dict):
        raise Malformed(address, f"expected an object, got {type(document).__name__}")
    status = document.get("STATUS")
    row = status[0] if isinstance(status, list) and status else status
    if isinstance(row, dict) and row.get("STATUS") in ("E", "F"):
        said = text(row.get("Msg")) or "no reason"
        if count(row.get("Code")) in (14, 45):
            raise Unsupported(address, f"the firmware does not offer this: {said}")
        raise Refused(address, f"the firmware answers: {said}")
    return document


def reading_of(replies: Replies, address: str | None = None) -> Reading:
    """Everything known from `replies` as one Reading. Rates and power are of the same poll."""
    info, kind, version = replies.system_info or {}, replies.miner_type or {}, _version_row(replies.version)
    named = [
        text(info.get("minertype")),
        text(kind.get("miner_type")),
        text(version.get("Type")),
        _stats_type(replies.stats),
    ]
    model_text = next((word for word in named if word), None)
    profile = next((found for word in named if word and (found := find(word))), None)
    stats = parse_stats(replies.stats, profile) if replies.stats is not None else Stats()
    rates = _summary_rates(replies.summary)
    rate_5s = _first(stats.rate_5s, rates.rate_5s)
    rate_avg = _first(stats.rate_avg, rates.rate_avg)
    rate_30m = _first(stats.rate_30m, rates.rate_30m)
    mode = work_mode(_first(_conf_mode(replies.conf), stats.mode), profile)
    power_w, power_source = _power(replies.miner_power, stats.power_w)
    pools, shares = _pools(replies.pools)
    mac = _mac(info.get("macaddr"))
    boards = stats.boards
    return Reading(
        miner_id=mac,
        mac=mac,
        serial=_first(text(info.get("serinum")), text(info.get("serial_no"))),
        address=address,
        vendor=VENDOR,
        model=profile.key if profile is not None else model_text,
        firmware=FIRMWARE,
        firmware_version=_first(
            text(info.get("system_filesystem_version")),
            text(kind.get("fw_version")),
            stats.version,
            text(version.get("CompileTime")),
        ),
        observed_at=_first(stats.when, rates.when),
        hashrate_ths=_steady(rate_30m, rate_avg),
        hashrate_5s_ths=rate_5s,
        hashrate_avg_ths=rate_avg,
        hashrate_expected_ths=_first(stats.rate_ideal, rates.rate_ideal),
        power_w=power_w,
        power_source=power_source,
        hashrate_percent=_percent(replies.conf),
        work_mode=mode,
        is_hashing=_is_hashing(rate_5s, _steady(rate_30m, rate_avg), mode),
        chip_temp_c=_maximum(board.chip_temp_c for board in boards or ()),
        board_temp_c=_maximum(board.board_temp_c for board in boards or ()),
        inlet_temp_c=stats.inlet_c,
        fan_rpm=stats.fans,
        frequency_mhz=stats.frequency_mhz,
        boards=boards,
        uptime_s=_first(stats.elapsed_s, rates.elapsed_s),
        shares_accepted=shares[0],
        shares_rejected=shares[1],
        shares_stale=shares[2],
        pools=pools,
        errors=_errors(replies),
    )


def parse_stats(document: Json, profile: HardwareProfile | None) -> Stats:
    """The `stats` reply in whichever layout it has."""
    rows = [row for row in _list(document.get("STATS")) if isinstance(row, dict)]
    info = document.get("INFO")
    if isinstance(info, dict):
        found = rows[0] if rows else {}
        return _new_layout(info, found, profile, _when(document))
    header = next((row for row in rows if "Type" in row), {})
    data = next((row for row in rows if "Elapsed" in row or "GHS av" in row), {})
    return _legacy_layout(header, data, profile, _when(document))


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
    scale = _scale(row.get("rate_unit"))
    boards = tuple(_chain(chain, scale, profile) for chain in _list(row.get("chain"))[:_MOST_SLOTS])
    known = tuple(board for board in boards if board is not None)
    fans = tuple(rpm for value in _list(row.get("fan"))[:_MOST_SLOTS] if (rpm := _rpm(value)) is not None)
    pics = [_numbers(c.get("temp_pic")) for c in _list(row.get("chain"))[:_MOST_SLOTS] if isinstance(c, dict)]
    frequencies = [board.frequency_mhz for board in known if board.frequency_mhz]
    return Stats(
        type_text=text(info.get("type")),
        version=_first(text(info.get("CompileTime")), text(info.get("miner_version"))),
        when=when,
        rate_5s=_scaled(row.get("rate_5s"), scale),
        rate_30m=_scaled(row.get("rate_30m"), scale),
        rate_avg=_scaled(row.get("rate_avg"), scale),
        rate_ideal=_positive(_scaled(row.get("rate_ideal"), scale)),
        elapsed_s=number(row.get("elapsed")),
        mode=mode_number(row.get("miner-mode")),
        power_w=_watts(row),
        frequency_mhz=sum(frequencies) / len(frequencies) if frequencies else None,
        fans=fans or None,
        boards=_with_missing(known, profile) or None,
        inlet_c=_inlet(pics, profile),
    )


def _legacy_layout(header: Json, data: Json, profile: HardwareProfile | None, when: datetime | None) -> Stats:
    scale = 1e-3
    return Stats(
        type_text=text(header.get("Type")),
        version=_first(text(header.get("CompileTime")), text(data.get("miner_version"))),
        when=when,
        rate_5s=_scaled(data.get("GHS 5s"), scale),
        rate_30m=_scaled(_first(data.get("rate_30m"), data.get("GHS 30m")), scale),
        rate_avg=_scaled(data.get("GHS av"), scale),
        rate_ideal=_positive(_scaled(data.get("total_rateideal"), _scale(data.get("rate_unit")))),
        elapsed_s=number(data.get("Elapsed")),
        mode=mode_number(data.get("miner-mode")),
        power_w=_watts(data),
        frequency_mhz=_positive(_first(number(data.get("total_freqavg")), number(data.get("frequency")))),
        fans=_legacy_fans(data),
        boards=_legacy_boards(data, profile) or None,
    )


def _chain(chain: Any, scale: float, profile: HardwareProfile | None) -> Board | None:
    if not isinstance(chain, dict):
        return None
    chips = count(chain.get("asic_num"))
    rate = _scaled(chain.get("rate_real"), scale)
    expected = _chips_expected(chips, profile)
    return Board(
        index=count(chain.get("index")) or 0,
        hashrate_ths=rate,
        chips=chips,
        chips_expected=expected,
        chip_temp_c=_hottest(chain.get("temp_chip")),
        board_temp_c=_hottest(chain.get("temp_pcb")),
        frequency_mhz=_positive(number(chain.get("freq_avg"))),
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
    base = 6 if present and min(present) >= 6 else 1
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
    rate = _scaled(data.get(f"chain_rate{slot}"), 1e-3)
    expected = _chips_expected(chips, profile)
    if chips == 0:
        return Board(index=slot, chips=0, chips_expected=expected, state="missing")
    return Board(
        index=slot,
        hashrate_ths=rate,
        chips=chips,
        chips_expected=expected,
        chip_temp_c=_first(chip_temp_c, _positive(number(data.get(f"temp2_{slot}")))),
        board_temp_c=_first(board_temp_c, _positive(number(data.get(f"temp{slot}")))),
        frequency_mhz=_positive(number(data.get(f"freq{slot}"))),
        hw_errors=count(data.get(f"chain_hw{slot}")),
        state=_state(chips, rate, expected, text(data.get(f"chain_acs{slot}"))),
    )


def _with_missing(boards: tuple[Board, ...], profile: HardwareProfile | None) -> tuple[Board, ...]:
    """Boards that the model has and the firmware does not list are missing."""
    expected = profile.layout.boards if profile is not None else None
    if expected is None or len(boards) >= expected or not boards:
        return boards
    listed = {board.index for board in boards}
    absent = [Board(index=n, chips=0, state="missing") for n in range(expected) if n not in listed]
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
    turning = [rpm for n in slots if (rpm := _rpm(data.get(f"fan{n}")))]
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
    return _maximum(v for v in _numbers(value) if v != 0.0)


def _numbers(value: object) -> list[float]:
    """The numbers of `[a, b, ..]`, `"a-b-c-d"` or a plain one."""
    if isinstance(value, list):
        return [found for item in value[:64] if (found := number(item)) is not None]
    if isinstance(value, str):
        return [float(part) for part in _SPLIT.findall(value[:128])]
    found = number(value)
    return [] if found is None else [found]


def _inlet(pics: list[list[float]], profile: HardwareProfile | None) -> float | None:
    """Air going in, from the sensors at the board's edges, on the models where they are known."""
    if profile is None:
        return None
    if profile.key == "antminer-s19-xp":
        return _maximum(v for pic in pics if len(pic) == 4 for v in pic[2:4] if v)
    if profile.key == "antminer-s21":
        return _maximum(pic[2] for pic in pics if len(pic) == 4 and pic[2])
    return None


def _summary_rates(document: Json | None) -> Stats:
    rows = [row for row in _list((document or {}).get("SUMMARY")) if isinstance(row, dict)]
    if document is None or not rows:
        return Stats()
    row = rows[0]
    if "rate_unit" in row or "rate_5s" in row:
        scale = _scale(row.get("rate_unit"))
        keys = ("rate_5s", "rate_30m", "rate_avg", "rate_ideal", "elapsed")
    else:
        scale = 1e-3
        keys = ("GHS 5s", "GHS 30m", "GHS av", "", "Elapsed")
    return Stats(
        when=_when(document),
        rate_5s=_scaled(row.get(keys[0]), scale),
        rate_30m=_scaled(row.get(keys[1]), scale),
        rate_avg=_scaled(row.get(keys[2]), scale),
        rate_ideal=_positive(_scaled(row.get(keys[3]), scale)),
        elapsed_s=number(row.get(keys[4])),
    )


def _pools(
    document: Json | None,
) -> tuple[tuple[Pool, ...] | None, tuple[int | None, int | None, int | None]]:
    rows = [row for row in _list((document or {}).get("POOLS")) if isinstance(row, dict)]
    if document is None or "POOLS" not in document:
        return None, (None, None, None)
    pools = tuple(_pool({str(key).lower(): value for key, value in row.items()}) for row in rows[:8])
    used = tuple(pool for pool in pools if pool.url)
    sums = tuple(_sum(getattr(pool, name) for pool in used) for name in ("accepted", "rejected", "stale"))
    return used, (sums[0], sums[1], sums[2])


def _pool(row: Json) -> Pool:
    state = text(row.get("status"))
    active = row.get("stratum active")
    return Pool(
        url=re.sub(r"(//)[^/@\s]*@", r"\1", text(row.get("url")) or ""),
        user=text(row.get("user")),
        state=state.lower() if state else None,
        active=active if isinstance(active, bool) else None,
        priority=count(row.get("priority")),
        accepted=count(row.get("accepted")),
        rejected=count(row.get("rejected")),
        stale=count(row.get("stale")),
        difficulty=_first(number(row.get("stratum difficulty")), number(row.get("diff"))),
    )


def _errors(replies: Replies) -> tuple[MinerError, ...] | None:
    found = [errors_of_summary(replies.web_summary), errors_of_warning(replies.warning)]
    asked = [errors for errors in found if errors is not None]
    if not asked:
        return None
    unique = {error.code: error for errors in asked for error in errors}
    return tuple(unique.values())


def _power(answer: bytes | None, reported: float | None) -> tuple[float | None, str | None]:
    match = _POWER_TEXT.search(answer) if answer is not None else None
    watts = _positive(float(match.group(1))) if match is not None else None
    if watts is not None:
        return watts, "measured"
    return (reported, "firmware_estimate") if reported is not None else (None, None)


def _watts(row: Json) -> float | None:
    found = (number(row.get(key)) for key in ("chain_power", "power", "watt"))
    return next((watts for watts in found if watts is not None and watts > 0.0), None)


def _conf_mode(conf: Json | None) -> int | None:
    return mode_number(conf.get("bitmain-work-mode")) if conf is not None else None


def _percent(conf: Json | None) -> float | None:
    return _positive(number(conf.get("bitmain-hashrate-percent"))) if conf is not None else None


def _is_hashing(rate_5s: float | None, steady: float | None, mode: str | None) -> bool | None:
    """From rate and mode; chips and fans say nothing. Asleep counts only once the fast rate is gone."""
    fast = rate_5s if rate_5s is not None else steady
    if mode == "sleep":
        return bool(rate_5s)
    return None if fast is None else fast > 0.0


def _steady(rate_30m: float | None, rate_avg: float | None) -> float | None:
    # In the first half hour some firmware leaves the long rate at 0.
    return rate_30m or rate_avg


def _stats_type(document: Json | None) -> str | None:
    return parse_stats(document, None).type_text if document is not None else None


def _version_row(document: Json | None) -> Json:
    rows = [row for row in _list((document or {}).get("VERSION")) if isinstance(row, dict)]
    return rows[0] if rows else {}


def _when(document: Json) -> datetime | None:
    status = document.get("STATUS")
    row = status[0] if isinstance(status, list) and status else status
    if not isinstance(row, dict):
        return None
    seconds = number(_first(row.get("When"), row.get("when")))
    if seconds is None or not _EARLIEST_S < seconds < _LATEST_S:
        return None
    return datetime.fromtimestamp(seconds, UTC)


def _mac(value: object) -> str | None:
    digits = re.sub(r"[:\-. ]", "", (text(value) or "").lower())
    if not re.fullmatch(r"[0-9a-f]{12}", digits) or digits in ("0" * 12, "f" * 12):
        return None
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


def _scale(unit: object) -> float:
    word = (text(unit) or "GH").upper().removesuffix("/S")
    return _TO_THS.get(word, 1e-3)


def _scaled(value: object, scale: float) -> float | None:
    found = number(value)
    # 1 EH/s is above any machine: a firmware's way of saying unknown.
    return round(found * scale, 9) if found is not None and 0.0 <= found * scale < 1e6 else None


def _rpm(value: object) -> float | None:
    found = number(value)
    return found if found is not None and 0.0 <= found <= 60_000.0 else None


def _positive(value: float | None) -> float | None:
    return value if value is not None and value > 0.0 else None


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _maximum(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []

"""VNish REST replies to a Reading. Whatever subset of replies is there is used; the rest stays None.

Rates come as GH/s, except two that repeat them as TH/s and are not used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.devices.antminer.fields import GH, celsius, fan_speed, items, mac, positive, scaled
from agent.devices.antminer.parse import VENDOR
from agent.devices.numbers import count, number, text
from agent.devices.transport import tolerant_json
from agent.errors import DeviceError, InputError, Malformed
from agent.hardware.catalogue import find
from agent.pools.guard import shown
from agent.reading import Board, MinerError, Pool, Reading

FIRMWARE = "vnish"
# File name without its suffix -> path.
FILES = {
    "summary": "summary",
    "info": "info",
    "perf-summary": "perf-summary",
    "status": "status",
    "presets": "autotune/presets",
    "settings": "settings",
}
_AT_REST = ("stopped", "paused", "shutting-down")
# What `mining/throttle` takes, in percent of the preset's power.
THROTTLE_RANGE = (20.0, 100.0)
_POOL_STATES = {"active": "alive", "working": "alive", "offline": "dead", "disabled": "disabled"}
_WATTS = re.compile(r"[1-9]\d{1,4}")
_MOST = 64
_MOST_PRESETS = 256
_UPTIME = re.compile(r"^(?:(\d{1,5}) days?,? *)?(?:(\d{1,2}):(\d\d))?$")
_TYPE = re.compile(r"^(.*?)\s*\((?:vnish|anthillos)\s+(.{1,40})\)\s*$", re.IGNORECASE)
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Documents:
    """Decoded replies of one miner. None: not asked, or no answer."""

    summary: Json | None = None
    info: Json | None = None
    performance: Json | None = None
    status: Json | None = None


def within(document: object, *path: str) -> Any:
    """What stands at a path of keys; None where it does not."""
    for key in path:
        if not isinstance(document, Mapping):
            return None
        document = document.get(key)
    return document


def preset_w(name: object) -> float | None:
    """The watts by which a preset is named; None for `disabled` and names of other kinds."""
    word = text(name)
    return float(word) if word is not None and _WATTS.fullmatch(word) else None


def with_scheme(url: str) -> str:
    """`url` as a whole one: VNish takes off the scheme that pools use by default."""
    found = url.strip()
    return found if "://" in found else f"stratum+tcp://{found}"


def presets_of(document: object) -> tuple[float, ...]:
    """Watts of the presets that this unit can take at once, rising.

    One that needs another power supply is left out, and one that is not tuned yet: choosing it would begin
    hours of tuning at watts that nobody can foretell.
    """
    listed = document.get("presets") if isinstance(document, Mapping) else document
    rows = listed[:_MOST_PRESETS] if isinstance(listed, list) else []
    found = {
        preset_w(row.get("name"))
        for row in rows
        if isinstance(row, Mapping)
        and row.get("modded_psu_required") is not True
        and text(row.get("status")) in ("tuned", None)
    }
    return tuple(sorted(watts for watts in found if watts is not None))


def state_of(documents: Documents) -> str | None:
    """The miner's own word for what it does, such as `mining`, `auto-tuning` or `stopped`."""
    said = text(within(documents.summary, "miner", "miner_status", "miner_state"))
    return (said or text(within(documents.status, "miner_state")) or "").lower() or None


def throttle_of(documents: Documents) -> float | None:
    """Percent of the preset's power that the unit is held to, 100 for all of it; None before VNish 1.3.3."""
    said = within(documents.summary, "miner", "miner_status", "throttled")
    percent = number(said if said is not None else within(documents.status, "throttled"))
    low, high = THROTTLE_RANGE
    return percent if percent is not None and low <= percent <= high else None


def is_at_rest(state: str | None) -> bool | None:
    """True where somebody stopped it; None where it does not say."""
    return None if state is None else state in _AT_REST


def reading_of(documents: Documents, address: str | None = None) -> Reading:
    """Everything known from decoded replies as one Reading."""
    miner = within(documents.summary, "miner")
    info = documents.info
    state = state_of(documents)
    at_rest = is_at_rest(state)
    fast, steady = _rate(miner, "hr_realtime"), _rate(miner, "hr_average")
    card = mac(within(info, "system", "network_status", "mac"))
    model, version = _named(miner, info)
    boards = _boards(miner)
    profile = find(model) if model is not None else None
    watts = positive(number(within(miner, "power_consumption"))) or positive(
        number(within(miner, "power_usage"))
    )
    pools = _pools(within(miner, "pools"))
    return Reading(
        miner_id=card,
        mac=card,
        serial=_serial(within(info, "serial")),
        address=address,
        vendor=VENDOR,
        model=profile.key if profile is not None else model,
        firmware=FIRMWARE,
        firmware_version=version,
        hashrate_ths=steady if steady is not None else fast,
        hashrate_5s_ths=fast,
        hashrate_avg_ths=steady,
        hashrate_expected_ths=positive(_rate(miner, "hr_nominal")) or positive(_rate(miner, "hr_stock")),
        power_w=watts,
        power_source=None if watts is None else "firmware_estimate",
        power_limit_w=preset_w(within(documents.performance, "current_preset", "name")),
        power_percent=throttle_of(documents),
        work_mode=None if at_rest is None else "sleep" if at_rest else "normal",
        is_hashing=False if at_rest else None if fast is None else fast > 0.0,
        chip_temp_c=celsius(within(miner, "chip_temp", "max")),
        board_temp_c=celsius(within(miner, "pcb_temp", "max")),
        fan_rpm=_fans(within(miner, "cooling", "fans")),
        frequency_mhz=_mean([board.frequency_mhz for board in boards or ()]),
        boards=boards,
        system_uptime_s=_uptime(within(info, "system", "uptime")),
        shares_accepted=_sum(pools, "accepted"),
        shares_rejected=_sum(pools, "rejected"),
        shares_stale=_sum(pools, "stale"),
        pools=pools,
        errors=_errors(documents, miner),
    )


def decode(replies: Mapping[str, bytes], address: str | None = None) -> Reading:
    """The Reading of saved replies, `summary.json` and so on.

    Raises:
        InputError: no file has a name that is known here.
        DeviceError: not one of them can be used.
    """
    known = {name.split(".", 1)[0]: raw for name, raw in replies.items() if name.split(".", 1)[0] in FILES}
    if not known:
        raise InputError(f"expected files such as {', '.join(f'{name}.json' for name in list(FILES)[:3])}")
    place = address or "file"
    found: dict[str, Json] = {}
    first: DeviceError | None = None
    for name, raw in known.items():
        try:
            document = tolerant_json(raw, place)
        except DeviceError as error:
            first = first or error
            continue
        if isinstance(document, dict) and "err" not in document:
            found[name] = document
    used = [name for name in ("summary", "info", "perf-summary", "status") if name in found]
    if not used:
        raise first or Malformed(place, "nothing can be read")
    return reading_of(
        Documents(found.get("summary"), found.get("info"), found.get("perf-summary"), found.get("status")),
        address,
    )


def _rows(value: object) -> list[Json]:
    return [row for row in items(value)[:_MOST] if isinstance(row, Mapping)]


def _rate(miner: object, key: str) -> float | None:
    return scaled(within(miner, key), GH)


def _named(miner: object, info: Json | None) -> tuple[str | None, str | None]:
    """Model and version: of the info, else as the summary joins them."""
    model, version = text(within(info, "miner")), text(within(info, "fw_version"))
    joined = _TYPE.match((text(within(miner, "miner_type")) or "")[:120])
    if joined is not None:
        model, version = model or joined[1] or None, version or joined[2]
    return model, version


def _uptime(value: object) -> float | None:
    """Seconds in `10 days, 18:00` or `0:06`; it is as old as the info."""
    found = _UPTIME.match(text(value) or "")
    if found is None:
        return None
    days, hours, minutes = (int(part or 0) for part in found.groups())
    return 86400.0 * days + 3600.0 * hours + 60.0 * minutes


def _serial(value: object) -> str | None:
    found = text(value)
    return None if found is None or found.upper() == "N/A" else found


def _boards(miner: object) -> tuple[Board, ...] | None:
    rows = _rows(within(miner, "chains"))
    return tuple(_board(place, row) for place, row in enumerate(rows, 1)) or None


def _board(place: int, row: Json) -> Board:
    rate = scaled(row.get("hashrate_rt", row.get("hr_realtime")), GH)
    colours = row.get("chip_statuses")
    counts = [count(found) for found in colours.values()] if isinstance(colours, Mapping) else []
    chips = sum(found for found in counts if found is not None and found >= 0) if counts else None
    index = count(row.get("id"))
    state = text(within(row, "status", "state"))
    return Board(
        index=index if index is not None and 0 <= index < 256 else place,
        hashrate_ths=rate,
        chips=chips,
        chip_temp_c=celsius(within(row, "chip_temp", "max")),
        board_temp_c=celsius(within(row, "pcb_temp", "max")),
        frequency_mhz=positive(number(row.get("frequency", row.get("freq")))),
        hw_errors=count(row.get("hw_errors")),
        serial=text(row.get("serial")),
        state=_board_state(state, rate, chips),
    )


def _board_state(said: str | None, rate: float | None, chips: int | None) -> str | None:
    if chips == 0 or said in ("disconnected", "disabled"):
        return "missing"
    if said == "failure":
        return "sick"
    return None if rate is None else "hashing" if rate > 0.0 else "idle"


def _pools(listed: object) -> tuple[Pool, ...] | None:
    if not isinstance(listed, list):
        return None
    found: list[Pool] = []
    for row in listed[:_MOST]:
        url = text(row.get("url")) if isinstance(row, Mapping) else None
        # The firmware's own fee is mined beside the owner's pools and is not theirs to set.
        if url is None or text(row.get("pool_type")) == "DevFee" or url == "DevFee":
            continue
        said = (text(row.get("status")) or "").lower()
        found.append(
            Pool(
                url=shown(with_scheme(url)),
                user=text(row.get("user")),
                state=_POOL_STATES.get(said, said or None),
                active=None if not said else said in ("active", "working"),
                priority=len(found),
                accepted=_natural(row.get("accepted")),
                rejected=_natural(row.get("rejected")),
                stale=_natural(row.get("stale")),
                difficulty=positive(number(row.get("diff"))),
            )
        )
    return tuple(found)


def _natural(value: object) -> int | None:
    found = count(value)
    return found if found is not None and found >= 0 else None


def _sum(pools: tuple[Pool, ...] | None, name: str) -> int | None:
    known = [value for value in (getattr(pool, name) for pool in pools or ()) if value is not None]
    return sum(known) if known else None


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _fans(listed: object) -> tuple[float, ...] | None:
    speeds = [fan_speed(row.get("rpm")) for row in _rows(listed)]
    return tuple(rpm for rpm in speeds if rpm is not None) or None


def _errors(documents: Documents, miner: object) -> tuple[MinerError, ...] | None:
    """What failed, in the firmware's words; None where neither status nor boards were told."""
    status = within(miner, "miner_status")
    status = status if isinstance(status, Mapping) else documents.status
    if status is None and within(miner, "chains") is None:
        return None
    found: list[MinerError] = []
    if within(status, "miner_state") == "failure":
        code = count(within(status, "failure_code"))
        words = (text(within(status, "description")) or "")[:256] or None
        found.append(MinerError("failure" if code is None else str(code), words, "critical"))
    for place, row in enumerate(_rows(within(miner, "chains")), 1):
        if within(row, "status", "state") == "failure":
            words = (text(within(row, "status", "description")) or "")[:256] or None
            found.append(MinerError(f"board-{place}", words, "critical"))
    return tuple(found)

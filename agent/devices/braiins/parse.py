"""BraiinsOS REST replies to a Reading. Whatever subset of replies is there is used; the rest stays None.

Pure functions over decoded JSON of any shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from agent.devices.antminer.fields import first, highest, items, mac, positive, seconds
from agent.devices.braiins.boards import boards_of, fans_of, rows_of
from agent.devices.braiins.fields import FIRMWARE, VENDOR, at, degrees, gigahash, status, watt
from agent.devices.braiins.performance import hashrate_target, power_target
from agent.devices.numbers import count, number, text
from agent.hardware.catalogue import find
from agent.pools.guard import shown
from agent.reading import Board, MinerError, Pool, Reading

_MOST = 64
_MODES = {"normal": "normal", "restricted": "normal", "suspended": "normal", "sleep": "sleep"}
_EARLIEST_S, _LATEST_S = 1.2e9, 4.1e9
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Replies:
    """Decoded replies of one miner. None: not asked, or no answer.

    Args:
        stats: `miner/stats`, of this moment. details, hashboards, cooling, tuner, errors, pools: the last
            reply of each.
        age_s: seconds since `details` was asked, by which its uptimes have grown.
    """

    stats: Json | None = None
    details: Json | None = None
    hashboards: Json | None = None
    cooling: Json | None = None
    tuner: Json | None = None
    errors: Json | None = None
    pools: list[Any] | None = None
    age_s: float = 0.0


def reading_of(replies: Replies, address: str | None = None) -> Reading:
    """Everything known from `replies` as one Reading. Rates and power are of the same moment."""
    details = replies.details or {}
    named = [text(at(details, "miner_identity", key)) for key in ("miner_model", "name")]
    profile = next((found for word in named if word and (found := find(word))), None)
    rows = rows_of(replies.hashboards)
    boards = boards_of(rows, profile)
    fast, steady, mean = rates(replies.stats)
    said = status(replies.details)
    power_w = watt(at(replies.stats, "power_stats", "approximated_consumption"))
    card = mac(details.get("mac_address"))
    nominal = gigahash(at(replies.stats, "miner_stats", "nominal_hashrate"))
    return Reading(
        miner_id=card,
        mac=card,
        serial=text(details.get("serial_number")),
        address=address,
        vendor=VENDOR,
        model=profile.key if profile is not None else first(*named),
        firmware=FIRMWARE,
        firmware_version=text(at(details, "bos_version", "current")),
        hashrate_ths=steady,
        hashrate_5s_ths=fast,
        hashrate_avg_ths=mean,
        hashrate_expected_ths=first(
            hashrate_target(replies.tuner or {}),
            positive(nominal),
            positive(gigahash(details.get("sticker_hashrate"))),
        ),
        power_w=power_w,
        power_source="firmware_estimate" if power_w is not None else None,
        power_limit_w=power_target(replies.tuner or {}),
        work_mode="stopped" if said == "stopped" else _MODES.get(said or ""),
        is_hashing=is_hashing(replies.stats, replies.details),
        chip_temp_c=_hottest_chip(boards, replies.cooling),
        board_temp_c=highest(board.board_temp_c for board in boards or ()),
        inlet_temp_c=_inlet(rows),
        fan_rpm=fans_of(replies.cooling),
        voltage_v=_mean(positive(number(at(row, "current_voltage", "volt"))) for row in rows),
        frequency_mhz=_mean(board.frequency_mhz for board in boards or ()),
        boards=boards,
        uptime_s=_grown(positive(seconds(details.get("bosminer_uptime_s"))), replies.age_s),
        system_uptime_s=_grown(positive(seconds(details.get("system_uptime_s"))), replies.age_s),
        shares_accepted=count(at(replies.stats, "pool_stats", "accepted_shares")),
        shares_rejected=count(at(replies.stats, "pool_stats", "rejected_shares")),
        shares_stale=count(at(replies.stats, "pool_stats", "stale_shares")),
        pools=pools_of(replies.pools),
        errors=errors_of(replies.errors),
    )


def rates(stats: Json | None) -> tuple[float | None, float | None, float | None]:
    """The rate of the last seconds, the steadiest recent one and the mean since start, in TH/s."""
    real = at(stats, "miner_stats", "real_hashrate")
    fast = first(*(gigahash(at(real, key)) for key in ("last_5s", "last_15s", "last_30s")))
    mean = gigahash(at(real, "since_restart"))
    steady = first(*(gigahash(at(real, key)) for key in ("last_1m", "last_5m", "last_15m", "last_30m")), mean)
    return fast, steady, mean


def is_hashing(stats: Json | None, details: Json | None) -> bool | None:
    """From the fast rate, else from the status; chips and fans say nothing."""
    fast, steady, _ = rates(stats)
    said = status(details)
    if fast is not None:
        return fast > 0.0
    if said in ("sleep", "stopped", "suspended"):
        return False
    return None if steady is None else steady > 0.0


def pools_of(groups: object) -> tuple[Pool, ...] | None:
    """The pools of all groups, in order; None if they were not asked."""
    if not isinstance(groups, list):
        return None
    listed = [
        row
        for group in groups[:8]
        if isinstance(group, dict)
        for row in items(group.get("pools"))[:8]
        if isinstance(row, dict)
    ]
    found = (_pool(row, place) for place, row in enumerate(listed))
    return tuple(pool for pool in found if pool.url)


def errors_of(document: Json | None) -> tuple[MinerError, ...] | None:
    """Every error with its code, components and hint; None if they were not asked."""
    rows = at(document, "errors")
    if not isinstance(rows, list):
        return None
    return tuple(found for row in rows[:_MOST] if isinstance(row, dict) for found in _errors(row))


def _pool(row: Json, place: int) -> Pool:
    alive, active = row.get("alive"), row.get("active")
    state = {True: "alive", False: "dead"}.get(alive) if isinstance(alive, bool) else None
    return Pool(
        url=shown(text(row.get("url")) or ""),
        user=text(row.get("user")),
        state="disabled" if row.get("enabled") is False else state,
        active=active if isinstance(active, bool) else None,
        priority=place,
        accepted=count(at(row, "stats", "accepted_shares")),
        rejected=count(at(row, "stats", "rejected_shares")),
        stale=count(at(row, "stats", "stale_shares")),
        difficulty=positive(number(at(row, "stats", "last_difficulty"))),
    )


def _errors(row: Json) -> list[MinerError]:
    """One error for each of its codes; one without a code keeps its message."""
    message = text(row.get("message"))
    parts = [part for part in items(row.get("components"))[:8] if isinstance(part, dict)]
    where = ", ".join(f"{text(p.get('name')) or 'part'} {count(p.get('index'))}" for p in parts)
    since = _moment(row.get("timestamp"))
    codes = [code for code in items(row.get("error_codes"))[:8] if isinstance(code, dict)]
    found = []
    for code in codes or [{}]:
        words = [message, text(code.get("reason")), where or None, text(code.get("hint"))]
        told = "; ".join(dict.fromkeys(word for word in words if word))
        # The firmware has no grades: what it lists here keeps the miner, or a part of it, from working.
        found.append(MinerError(text(code.get("code")) or "error", told[:256] or None, "critical", since))
    return found


def _hottest_chip(boards: tuple[Board, ...] | None, cooling: Json | None) -> float | None:
    found = highest(board.chip_temp_c for board in boards or ())
    return found if found is not None else degrees(at(cooling, "highest_temperature", "temperature"))


def _inlet(rows: list[Json]) -> float | None:
    """Water or air going in: the warmest board's, as it limits the machine."""
    water = highest(degrees(row.get("lowest_water_inlet_temp")) for row in rows)
    return water if water is not None else highest(degrees(row.get("lowest_inlet_temp")) for row in rows)


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _grown(uptime_s: float | None, age_s: float) -> float | None:
    return uptime_s + age_s if uptime_s is not None else None


def _moment(value: object) -> datetime | None:
    """A time as RFC 3339 text or as seconds, with or without nanoseconds."""
    stamp = number(at(value, "seconds") if isinstance(value, dict) else value)
    if stamp is None:
        try:
            moment = datetime.fromisoformat((text(value) or "").replace("Z", "+00:00"))
        except ValueError:
            return None
        return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return datetime.fromtimestamp(stamp, UTC) if _EARLIEST_S < stamp < _LATEST_S else None

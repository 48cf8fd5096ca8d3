"""Antminer stock replies to a Reading: 4028 in every layout, web pages, port 6060.

Pure functions over decoded JSON. Whatever subset of replies is there is used; the rest stays None.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from agent.devices.antminer.errors import errors_of_summary, errors_of_warning
from agent.devices.antminer.fields import (
    GH,
    Json,
    first,
    highest,
    items,
    mac,
    moment,
    positive,
    scaled,
    seconds,
    to_ths,
    total,
)
from agent.devices.antminer.layouts import FIRMWARE, Stats, mode_number, parse_stats, type_text, work_mode
from agent.devices.numbers import count, number, text
from agent.errors import Malformed, Refused, Unsupported
from agent.hardware.catalogue import find
from agent.reading import MinerError, Pool, Reading

VENDOR = "bitmain"
_LONG_RATE_S = 1800.0
_POWER_TEXT = re.compile(rb"miner power:\s*(\d{1,6}(?:\.\d+)?)")


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
    devs: Json | None = None


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
    info, kind, version = replies.system_info or {}, replies.miner_type or {}, version_row(replies.version)
    named = [
        text(info.get("minertype")),
        text(kind.get("miner_type")),
        text(version.get("Type")),
        type_text(replies.stats) if replies.stats is not None else None,
    ]
    model_text = next((word for word in named if word), None)
    profile = next((found for word in named if word and (found := find(word))), None)
    stats = parse_stats(replies.stats, profile) if replies.stats is not None else Stats()
    rates = _summary_rates(replies.summary) if replies.summary is not None else _devs_rates(replies.devs)
    rate_5s = first(stats.rate_5s, rates.rate_5s)
    rate_avg = first(stats.rate_avg, rates.rate_avg)
    rate_30m = first(stats.rate_30m, rates.rate_30m)
    uptime_s = first(stats.elapsed_s, rates.elapsed_s)
    steady = _steady(rate_30m, rate_avg, uptime_s)
    # What runs now goes before the configuration, which may be older.
    mode = work_mode(first(stats.mode, _conf_mode(replies.conf)), profile)
    power_w, power_source = _power(replies.miner_power, stats.power_w)
    pools, shares = _pools(replies.pools)
    address_of_card = mac(info.get("macaddr"))
    boards = stats.boards
    return Reading(
        miner_id=address_of_card,
        mac=address_of_card,
        serial=first(text(info.get("serinum")), text(info.get("serial_no"))),
        address=address,
        vendor=VENDOR,
        model=profile.key if profile is not None else model_text,
        firmware=FIRMWARE,
        firmware_version=first(
            text(info.get("system_filesystem_version")),
            text(kind.get("fw_version")),
            stats.version,
            text(version.get("CompileTime")),
        ),
        observed_at=first(stats.when, rates.when),
        hashrate_ths=steady,
        hashrate_5s_ths=rate_5s,
        hashrate_avg_ths=rate_avg,
        hashrate_expected_ths=first(stats.rate_ideal, rates.rate_ideal),
        power_w=power_w,
        power_source=power_source,
        hashrate_percent=_percent(replies.conf),
        work_mode=mode,
        is_hashing=_is_hashing(rate_5s, steady, mode),
        chip_temp_c=highest(board.chip_temp_c for board in boards or ()),
        board_temp_c=highest(board.board_temp_c for board in boards or ()),
        inlet_temp_c=stats.inlet_c,
        fan_rpm=stats.fans,
        frequency_mhz=stats.frequency_mhz,
        boards=boards,
        uptime_s=uptime_s,
        shares_accepted=shares[0],
        shares_rejected=shares[1],
        shares_stale=shares[2],
        pools=pools,
        errors=_errors(replies),
    )


def _summary_rates(document: Json | None) -> Stats:
    rows = [row for row in items((document or {}).get("SUMMARY")) if isinstance(row, dict)]
    if document is None or not rows:
        return Stats()
    row = rows[0]
    if "rate_unit" in row or "rate_5s" in row:
        scale = to_ths(row.get("rate_unit"))
        keys = ("rate_5s", "rate_30m", "rate_avg", "rate_ideal", "elapsed")
    else:
        scale = GH
        keys = ("GHS 5s", "GHS 30m", "GHS av", "", "Elapsed")
    return Stats(
        when=moment(document),
        rate_5s=scaled(row.get(keys[0]), scale),
        rate_30m=scaled(row.get(keys[1]), scale),
        rate_avg=scaled(row.get(keys[2]), scale),
        rate_ideal=positive(scaled(row.get(keys[3]), scale)),
        elapsed_s=seconds(row.get(keys[4])),
    )


def _devs_rates(document: Json | None) -> Stats:
    """Rates of the legacy `devs` reply, one row a board, in MH/s; only for want of anything better."""
    rows = [row for row in items((document or {}).get("DEVS")) if isinstance(row, dict)]
    if document is None or not rows:
        return Stats()
    fast, mean = ([scaled(row.get(key), 1e-6) for row in rows] for key in ("MHS 5s", "MHS av"))
    return Stats(
        when=moment(document),
        rate_5s=None if None in fast else sum(rate for rate in fast if rate is not None),
        rate_avg=None if None in mean else sum(rate for rate in mean if rate is not None),
        elapsed_s=highest(seconds(row.get("Device Elapsed")) for row in rows),
    )


def _pools(
    document: Json | None,
) -> tuple[tuple[Pool, ...] | None, tuple[int | None, int | None, int | None]]:
    rows = [row for row in items((document or {}).get("POOLS")) if isinstance(row, dict)]
    if document is None or "POOLS" not in document:
        return None, (None, None, None)
    pools = tuple(_pool({str(key).lower(): value for key, value in row.items()}) for row in rows[:8])
    used = tuple(pool for pool in pools if pool.url)
    sums = tuple(total(getattr(pool, name) for pool in used) for name in ("accepted", "rejected", "stale"))
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
        difficulty=first(number(row.get("stratum difficulty")), number(row.get("diff"))),
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
    watts = positive(float(match.group(1))) if match is not None else None
    if watts is not None:
        return watts, "measured"
    return (reported, "firmware_estimate") if reported is not None else (None, None)


def _conf_mode(conf: Json | None) -> int | None:
    return mode_number(conf.get("bitmain-work-mode")) if conf is not None else None


def _percent(conf: Json | None) -> float | None:
    return positive(number(conf.get("bitmain-hashrate-percent"))) if conf is not None else None


def _is_hashing(rate_5s: float | None, steady: float | None, mode: str | None) -> bool | None:
    """From rate and mode; chips and fans say nothing. Asleep counts only once the fast rate is gone."""
    fast = rate_5s if rate_5s is not None else steady
    if mode == "sleep":
        return bool(rate_5s)
    return None if fast is None else fast > 0.0


def _steady(rate_30m: float | None, rate_avg: float | None, uptime_s: float | None) -> float | None:
    # In its first half hour some firmware leaves the long rate at 0; later a 0 is the truth.
    young = uptime_s is not None and uptime_s < _LONG_RATE_S
    return rate_avg if rate_30m is None or (rate_30m == 0.0 and young and rate_avg is not None) else rate_30m


def version_row(document: Json | None) -> Json:
    """The row of the `version` reply; empty where there is none."""
    rows = [row for row in items((document or {}).get("VERSION")) if isinstance(row, dict)]
    return rows[0] if rows else {}

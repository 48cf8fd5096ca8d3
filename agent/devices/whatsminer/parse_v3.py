"""Whatsminer API v3 replies (framed JSON, TCP 4433) to a Reading. Pure: bytes and sections in, fields out.

Rates are TH/s here. v3 has no share counts; those come from the v2 `pools` where that port answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agent.devices.numbers import count, number, text
from agent.devices.transport import tolerant_json
from agent.devices.whatsminer import envelope as envelope
from agent.devices.whatsminer import fields as field
from agent.devices.whatsminer import parse_v2 as v2
from agent.devices.whatsminer.boards import expected_count, judged
from agent.devices.whatsminer.envelope import UNKNOWN_ADDRESS, Document
from agent.devices.whatsminer.errors import errors_of
from agent.errors import DeviceError, Malformed, Refused, Unauthorised, Unsupported, WriteDisabled
from agent.reading import Board, MinerError, Pool, Reading

Sections = dict[str, Any]

INFO, STATUS, SETTING = "get.device.info", "get.miner.status", "get.miner.setting"
INFO_SECTIONS = ("network", "system", "miner", "power", "salt", "error-code")
STATUS_SECTIONS = ("summary", "edevs", "pools")
_TOKEN_WORDS = ("token", "passw", "account", "auth")
_GHS = 1e3


def parse_document(command: str, raw: bytes, address: str | None) -> Document:
    """One reply as an object.

    Raises:
        Malformed: not an object, even after repair.
    """
    where = address or UNKNOWN_ADDRESS
    document = tolerant_json(raw, where)
    if not isinstance(document, dict):
        raise Malformed(where, f"{command}: expected an object, got {type(document).__name__}")
    return document


def check(command: str, document: Document, address: str | None) -> Document:
    """`document` if its code is 0.

    Raises:
        Unsupported: -2 invalid command. WriteDisabled: -4. Unauthorised: a token or account is named.
        Refused: any other code. Malformed: no code.
    """
    where = address or UNKNOWN_ADDRESS
    told = number(document.get("code"))
    if told is None:
        raise Malformed(where, f"{command}: the reply has no code")
    code = int(told)
    if code == 0:
        return document
    raise refusal(command, code, document.get("msg"), where)


def refusal(command: str, code: int, said: object, address: str) -> DeviceError:
    """The typed error for one v3 code."""
    reason = said[:200] if isinstance(said, str) else "no reason given"
    words = f"{command}: code {code}: {reason}"
    if any(word in reason.lower() for word in _TOKEN_WORDS):
        return Unauthorised(address, f"{words}; account or password may be wrong")
    if code == -4:
        return WriteDisabled(address, f"{words}; {envelope.REMEDY}")
    return Unsupported(address, words) if code == -2 else Refused(address, words)


def sections_of(command: str, document: Document) -> Sections:
    """What a checked reply holds, by section; settings are the section `setting`.

    Args:
        command: as sent or as a file is named: `get.device.info`, `get.device.info.miner`,
            `get.miner.status.edevs+summary`, `get.miner.setting`.
    """
    said = document.get("msg")
    if command == SETTING:
        return {"setting": said} if isinstance(said, dict) else {}
    known = INFO_SECTIONS if command.startswith(INFO) else STATUS_SECTIONS
    parent = INFO if command.startswith(INFO) else STATUS
    asked = command.removeprefix(parent).removeprefix(".")
    if isinstance(said, dict):
        found = {name: said[name] for name in known if name in said}
        if found:
            return found
    # Some firmware answers one section by itself, without its name around it.
    return {asked: said} if asked in known and said not in (None, {}) else {}


def decode(replies: Mapping[str, bytes], address: str | None = None) -> Reading:
    """The Reading that saved replies come to; a file is named after command and param.

    `get.miner.status.summary.json`, `get.device.info.miner.json`; v2's `pools.json` adds share counts.
    What cannot be used is left out, except a summary that cannot be read at all.

    Raises:
        DeviceError: no reply can be used, or the summary is malformed.
    """
    sections: Sections = {}
    shares: Document | None = None
    first: DeviceError | None = None
    when = None
    for name, raw in replies.items():
        command = name.removesuffix(".json")
        try:
            if command == "pools":
                shares = envelope.check(command, envelope.parse_document(command, raw, address), address)
            elif command == SETTING or command.startswith((INFO, STATUS)):
                document = check(command, parse_document(command, raw, address), address)
                sections |= sections_of(command, document)
                reported = field.moment(document.get("when"))
                when = (reported or when) if command.startswith(STATUS) else when or reported
        except DeviceError as error:
            if isinstance(error, Malformed) and "summary" in command:
                raise
            first = first or error
    reading = reading_of(sections, shares, address)
    if reading == reading_of({}, None, address):
        raise first or Malformed(address or UNKNOWN_ADDRESS, "the replies hold nothing of this family")
    return reading if when is None else replace(reading, observed_at=when)


def reading_of(sections: Sections, shares: Document | None, address: str | None) -> Reading:
    """The Reading that sections come to, without `observed_at`.

    Args:
        shares: a checked v2 `pools` reply, or None.
    """
    summary, miner = section(sections, "summary"), section(sections, "miner")
    setting, power = section(sections, "setting"), section(sections, "power")
    network, system = section(sections, "network"), section(sections, "system")
    model = field.model(miner.get("type"))
    errors = _errors(sections)
    listed, factory = _boards(sections)
    own_count = count(miner.get("board-num"))
    boards = judged(listed, errors, own_count or expected_count(model), factory)
    fast, steady, average = rates(summary)
    stopped = is_off(sections)
    hashing = field.is_hashing(stopped, fast, steady)
    watts = _power_w(summary, power, hashing)
    mac = field.mac(network.get("mac"))
    counted = v2.pools_of(shares)
    pools = counted if counted is not None else _pools(sections.get("pools"))
    return Reading(
        miner_id=mac,
        mac=mac,
        serial=field.word(miner.get("miner-sn")),
        address=address,
        vendor=field.VENDOR,
        model=model,
        firmware=field.FIRMWARE,
        firmware_version=field.firmware_version(system.get("fwversion")),
        hashrate_ths=steady,
        hashrate_5s_ths=fast,
        hashrate_avg_ths=average,
        hashrate_expected_ths=field.expected_ths(summary.get("factory-hash"), 1.0)
        or _detected_ths(miner.get("detect-hash-rate")),
        power_w=watts,
        power_source="measured" if watts is not None else None,
        power_limit_w=field.power_limit_w(
            summary.get("power-limit"), setting.get("power-limit"), miner.get("power-limit-set")
        ),
        power_percent=field.percent(setting.get("power-percent")),
        frequency_percent=frequency_percent(setting),
        hashrate_percent=field.percent(miner.get("hash-percent")),
        work_mode="stopped"
        if stopped
        else field.mode(setting.get("power-mode")) or field.mode(summary.get("power-mode")),
        is_hashing=hashing,
        chip_temp_c=field.highest(b.chip_temp_c for b in boards or ())
        or field.temperature_c(summary.get("chip-temp-max"))
        or field.temperature_c(summary.get("chip-temp-avg")),
        board_temp_c=field.highest(_board_temps(summary)),
        ambient_temp_c=field.temperature_c(summary.get("environment-temperature")),
        fan_rpm=field.fans(summary.get("fan-speed-in"), summary.get("fan-speed-out")),
        frequency_mhz=field.frequency_mhz(summary.get("freq-avg")),
        boards=boards,
        uptime_s=field.seconds(summary.get("elapsed")),
        system_uptime_s=field.seconds(summary.get("bootup-time")),
        shares_accepted=v2.shares_of(counted, "accepted", {}),
        shares_rejected=v2.shares_of(counted, "rejected", {}),
        shares_stale=v2.shares_of(counted, "stale", {}),
        pools=pools,
        errors=errors,
    )


def section(sections: Sections, name: str) -> Document:
    """One section as an object; empty where it is missing or something else."""
    found = sections.get(name)
    return found if isinstance(found, dict) else {}


def rates(summary: Document) -> tuple[float | None, float | None, float | None]:
    """Fast, steady and average rate in TH/s: real time; 1 or 15 min (else average); average."""
    average = field.rate_ths(summary.get("hash-average"), 1.0)
    steps = [field.rate_ths(summary.get(key), 1.0) for key in ("hash-1min", "hash-15min")]
    return (
        field.rate_ths(summary.get("hash-realtime"), 1.0),
        next((step for step in [*steps, average] if step is not None), None),
        average,
    )


def has_figures(summary: Document) -> bool:
    """False for a summary that says nothing, as some firmware sends while it restarts."""
    known = (*rates(summary), field.seconds(summary.get("elapsed")), number(summary.get("power-realtime")))
    return any(value is not None for value in known)


def is_off(sections: Sections) -> bool | None:
    """True if the miner says that its service does not work, None where it does not say."""
    working = field.truth(section(sections, "miner").get("working"))
    return None if working is None else not working


def frequency_percent(setting: Document) -> float | None:
    """Percent of the normal mode's frequency, by `target-freq`; None for what can only be MHz."""
    change = number(setting.get("target-freq"))
    return 100.0 + change if change is not None and -100.0 < change <= 100.0 else None


def write_switch(sections: Sections) -> bool | None:
    """Whether the owner has opened the write API (`apiswitch`)."""
    return field.truth(section(sections, "system").get("apiswitch"))


def _power_w(summary: Document, power: Document, hashing: bool | None) -> float | None:
    for value in (summary.get("power-realtime"), summary.get("power-5min"), power.get("pin")):
        if (watts := field.power_w(value, hashing)) is not None:
            return watts
    return None


def _detected_ths(value: object) -> float | None:
    """The sum of `61434:53890:65727` GH/s; None if any board's figure is missing."""
    parts = [field.expected_ths(part, _GHS) for part in (text(value) or "").split(":")[:16]]
    known = [part for part in parts if part is not None]
    return sum(known) if known and len(known) == len(parts) else None


def _board_temps(summary: Document) -> list[float | None]:
    temps = summary.get("board-temperature")
    return [field.temperature_c(temp) for temp in (temps[:16] if isinstance(temps, list) else [temps])]


def _boards(sections: Sections) -> tuple[tuple[Board, ...] | None, dict[int, float]]:
    """The boards that are listed, and what each does in health, in TH/s."""
    factory: dict[int, float] = {}
    temps = _board_temps(section(sections, "summary"))
    miner = section(sections, "miner")
    boards = []
    for place, row in enumerate(field.rows(sections.get("edevs"))):
        index = next((n for n in (count(row.get(key)) for key in ("slot", "id")) if n is not None), place)
        chips = count(row.get("effective-chips"))
        fast, rate, _ = rates(row)
        rate = fast if rate is None else rate
        if (healthy := field.expected_ths(row.get("factory-hash"), 1.0)) is not None:
            factory[index] = healthy
        boards.append(
            Board(
                index=index,
                hashrate_ths=rate,
                chips=chips,
                chip_temp_c=field.temperature_c(row.get("chip-temp-max"))
                or field.temperature_c(row.get("chip-temp-avg")),
                board_temp_c=temps[index] if 0 <= index < len(temps) else None,
                frequency_mhz=field.frequency_mhz(row.get("freq")),
                serial=field.word(miner.get(f"pcbsn{index}")),
                state=field.board_state(chips, rate if fast is None else fast, row.get("status")),
            )
        )
    return field.in_order(boards), factory


def _pools(listed: object) -> tuple[Pool, ...] | None:
    pools = []
    for row in field.rows(listed):
        url = field.pool_url(row.get("url"))
        if url is None:
            continue
        state = text(row.get("status"))
        pools.append(
            Pool(
                url=url,
                user=text(row.get("account")),
                state=state.lower() if state is not None else None,
                active=field.truth(row.get("stratum-active")),
                difficulty=number(row.get("stratum-diff")),
            )
        )
    return tuple(pools) or None


def _errors(sections: Sections) -> tuple[MinerError, ...] | None:
    listed = sections.get("error-code")
    if listed is None:
        listed = section(sections, "miner").get("error-code")
    return errors_of(listed) if isinstance(listed, list | dict) else None

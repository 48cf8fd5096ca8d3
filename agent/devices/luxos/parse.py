"""LuxOS replies to a Reading: figures in the old Antminer layout; power, profile and sleep in LuxOS's own.

Pure functions over decoded JSON. Whatever subset of replies is there is used; the rest stays None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from agent.devices.antminer.fields import mac
from agent.devices.antminer.parse import VENDOR, Replies, check_status
from agent.devices.antminer.parse import reading_of as antminer_reading
from agent.devices.numbers import number, text
from agent.devices.transport import tolerant_json
from agent.errors import DeviceError, InputError, Malformed
from agent.hardware.catalogue import find
from agent.pools.guard import shown
from agent.reading import Reading

FIRMWARE = "luxos"
COMMANDS = ("version", "stats", "summary", "power", "config", "profiles", "limits", "pools", "fans", "atm")
_ASLEEP = ("sleep", "idle", "curtail")
_MOST_PROFILES = 256
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Profile:
    """One row of the unit's profile table, by which it is set."""

    name: str
    watts: float


def row(document: Json | None, key: str) -> Json:
    """The first row of a reply's list; empty where there is none."""
    listed = (document or {}).get(key)
    first = listed[0] if isinstance(listed, list) and listed else listed
    return first if isinstance(first, dict) else {}


def profiles_of(document: Json | None) -> tuple[Profile, ...]:
    """The profile table, watts rising; of several with the same watts the first."""
    listed = (document or {}).get("PROFILES")
    found: dict[float, Profile] = {}
    for entry in listed[:_MOST_PROFILES] if isinstance(listed, list) else []:
        if not isinstance(entry, dict):
            continue
        name, watts = text(entry.get("Profile Name")), number(entry.get("Watts"))
        if name is not None and watts is not None and watts > 0.0:
            found.setdefault(watts, Profile(name, watts))
    return tuple(found[watts] for watts in sorted(found))


def takes_target(config: Json | None) -> bool:
    """True on the models that hold a power target of any watts."""
    return row(config, "CONFIG").get("IsPowerTargetSupported") is True


def target_range(limits: Json | None) -> tuple[float, float] | None:
    """Lowest and highest power target in W, by `limits`; None without a usable range."""
    said = row(limits, "LIMITS")
    low, high = (number(said.get(f"PowerTarget{end}")) for end in ("Min", "Max"))
    return (low, high) if low is not None and high is not None and 0.0 < low <= high else None


def limit_w(config: Json | None, profiles: tuple[Profile, ...]) -> float | None:
    """Watts of the power target in force, else of the profile that is set; None where neither is known."""
    said = row(config, "CONFIG")
    if takes_target(config) and said.get("IsPowerTargetEnabled") is True:
        # The ideal one is what was asked for; thermal management may hold the actual one below it.
        watts = number(said.get("IdealPowerTarget")) or number(said.get("ActualPowerTarget"))
        if watts is not None and watts > 0.0:
            return watts
    name = text(row(config, "CONFIG").get("Profile"))
    return next((p.watts for p in profiles if p.name == name), None)


def is_asleep(config: Json | None) -> bool | None:
    """True while curtailed; None where the configuration does not say."""
    said = row(config, "CONFIG")
    words = [text(said.get(key)) for key in ("CurtailMode", "SystemStatus")]
    known = [word.lower() for word in words if word is not None]
    if not known:
        return None
    return any(mark in word for word in known for mark in _ASLEEP)


def reading_of(replies: Mapping[str, Json], address: str | None) -> Reading:
    """Everything known from decoded `replies` by command as one Reading."""
    base = antminer_reading(
        Replies(
            stats=replies.get("stats"),
            summary=replies.get("summary"),
            pools=replies.get("pools"),
            version=replies.get("version"),
        ),
        address,
    )
    config, version = row(replies.get("config"), "CONFIG"), row(replies.get("version"), "VERSION")
    power = row(replies.get("power"), "POWER")
    watts = number(power.get("Watts"))
    asleep = is_asleep(replies.get("config"))
    named = text(config.get("Model")) or text(version.get("Type"))
    profile = find(named) if named is not None else None
    card = mac(config.get("MACAddr"))
    fast = base.hashrate_5s_ths if base.hashrate_5s_ths is not None else base.hashrate_ths
    return replace(
        base,
        miner_id=card,
        mac=card,
        serial=text(config.get("SerialNumber")) or base.serial,
        vendor=VENDOR,
        model=profile.key if profile is not None else named or base.model,
        firmware=FIRMWARE,
        firmware_version=text(version.get("LUXminer")) or base.firmware_version,
        power_w=watts if watts is not None and watts > 0.0 else None,
        power_source=_source(watts, power.get("PSU")),
        power_limit_w=limit_w(replies.get("config"), profiles_of(replies.get("profiles"))),
        hashrate_percent=None,
        work_mode=None if asleep is None else "sleep" if asleep else "normal",
        is_hashing=False if asleep and not fast else None if fast is None else fast > 0.0,
        fan_rpm=_fans(replies.get("fans")) or base.fan_rpm,
        pools=None if base.pools is None else tuple(replace(p, url=shown(p.url)) for p in base.pools),
    )


def decode(replies: Mapping[str, bytes], address: str | None = None) -> Reading:
    """The Reading of saved replies, `power.json` and so on.

    Raises:
        InputError: no file has a name that is known here.
        DeviceError: not one of them can be used.
    """
    documents: dict[str, Json] = {}
    first: DeviceError | None = None
    place = address or "file"
    known = {name: raw for name, raw in replies.items() if name.removesuffix(".json") in COMMANDS}
    if not known:
        raise InputError(f"expected files such as {', '.join(f'{c}.json' for c in COMMANDS[:4])}")
    for name, raw in known.items():
        try:
            documents[name.removesuffix(".json")] = dict(check_status(tolerant_json(raw, place), place))
        except DeviceError as error:
            first = first or error
    if not documents:
        raise first or Malformed(place, "nothing can be read")
    return reading_of(documents, address)


def _source(watts: float | None, psu: object) -> str | None:
    if watts is None or watts <= 0.0:
        return None
    return "measured" if psu is True else "firmware_estimate"


def _fans(document: Json | None) -> tuple[float, ...] | None:
    listed = (document or {}).get("FANS")
    rows = [entry for entry in listed[:16] if isinstance(entry, dict)] if isinstance(listed, list) else []
    found = [number(entry.get("RPM")) for entry in rows]
    return tuple(rpm for rpm in found if rpm is not None and rpm >= 0.0) or None

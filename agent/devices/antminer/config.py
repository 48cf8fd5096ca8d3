"""The Antminer's configuration as read and as written: which keys to change, and that nothing else changed.

The firmware reads some keys under other names than it writes, and resets what a write leaves out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.devices.antminer.layouts import FIRMWARE, mode_number, work_mode
from agent.devices.numbers import number
from agent.errors import Malformed, Unsupported
from agent.hardware.catalogue import find
from agent.hardware.profile import HardwareProfile
from agent.setting import Knob, Setting

_READ_MODE, _WRITE_MODE = "bitmain-work-mode", "miner-mode"
_READ_LEVEL, _WRITE_LEVEL = "bitmain-freq-level", "freq-level"
_PERCENT = "bitmain-hashrate-percent"
_NUMBERS = {"normal": 0, "sleep": 1, "high": 2, "efficient": 2, "low": 3}
_SLEEP = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole configuration to write, and the keys that are meant to change when read back."""

    body: dict[str, Any]
    changes: dict[str, int | str]


def strict_json(raw: bytes, address: str) -> dict[str, Any]:
    """A configuration page as it stands, without the repairs that are fit for figures.

    Raises:
        Malformed: it is not one plain JSON object in UTF-8 with each key once. What cannot be read to the
            letter cannot be written back to the letter.
    """
    try:
        found = json.loads(
            raw.decode("utf-8").strip("\0 \t\r\n"),
            parse_constant=_refuse,
            parse_float=_finite,
            object_pairs_hook=_once,
        )
    except (ValueError, RecursionError) as error:
        raise Malformed(
            address, f"get_miner_conf.cgi: cannot be read to the letter ({error}); nothing is written"
        ) from error
    if not isinstance(found, dict):
        raise Malformed(address, "get_miner_conf.cgi: expected an object; nothing is written")
    return found


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def _finite(word: str) -> float:
    found = float(word)
    if not math.isfinite(found):
        # It would be written back as a word that is no JSON.
        raise ValueError(f"{word[:20]} is too large a number")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def usable(conf: Mapping[str, Any], address: str) -> dict[str, Any]:
    """The configuration, if it is whole enough to be written back.

    Raises:
        Malformed: pools are missing, broken or the literal "ERR", or there is no mode; writing such a
            configuration back would wipe the owner's pools.
    """
    with_pools(conf, address)
    if mode_number(conf.get(_READ_MODE)) is None:
        raise Malformed(address, f"get_miner_conf.cgi: {_READ_MODE} is missing; nothing is written")
    return dict(conf)


def with_pools(conf: Mapping[str, Any], address: str) -> dict[str, Any]:
    """The configuration, if its pools are whole.

    Raises:
        Malformed: they are missing, broken or the literal "ERR".
    """
    pools = conf.get("pools")
    if not isinstance(pools, list) or not 1 <= len(pools) <= 3:
        raise Malformed(address, "get_miner_conf.cgi: no whole list of pools; nothing is written")
    for pool in pools:
        if not isinstance(pool, dict) or not all(
            isinstance(pool.get(k), str) for k in ("url", "user", "pass")
        ):
            raise Malformed(address, "get_miner_conf.cgi: a pool is incomplete; nothing is written")
        if "ERR" in (pool["url"], pool["user"]):
            raise Malformed(
                address, "get_miner_conf.cgi: pools read ERR (pool protection); nothing is written"
            )
    if not any(pool["url"] for pool in pools):
        raise Malformed(address, "get_miner_conf.cgi: every pool is empty; nothing is written")
    return dict(conf)


def shown(conf: Mapping[str, Any], knob: Knob, model: str | None) -> Setting | None:
    """What the configuration says is set, in terms of `knob`; None where it does not say."""
    profile = find(model) if model is not None else None
    mode = work_mode(mode_number(conf.get(_READ_MODE)), profile)
    if mode is None:
        return None
    if knob is Knob.STOP and mode == "sleep":
        return Setting(Knob.STOP)
    if knob is Knob.HASHRATE_PERCENT and mode != "sleep":
        percent = number(conf.get(_PERCENT))
        return Setting(knob, percent) if percent is not None else None
    return Setting(Knob.WORK_MODE, mode)


def plan_write(conf: Mapping[str, Any], target: Setting, model: str | None, address: str) -> Plan:
    """The configuration to send so that `target` holds and everything else stays.

    Raises:
        Unsupported: the firmware has no such key, the model no such mode, or its configuration page
            is of the old generation, which takes forms.
    """
    profile = find(model) if model is not None else None
    if profile is not None and profile.control(FIRMWARE, target.knob) is None:
        raise Unsupported(address, f"{profile.key}: {target.knob} is not known to be settable")
    changes: dict[str, int | str] = {}
    if target.knob is Knob.HASHRATE_PERCENT:
        changes[_PERCENT] = _percent_text(conf, target, address)
    changes[_READ_MODE] = _mode_to_write(conf, target, profile, address)
    return _whole(conf, changes)


def unchanged_mode(conf: Mapping[str, Any]) -> Plan:
    """The configuration to send so that everything stays, the mode too: that is a reload, no restart."""
    plan = _whole(conf, {_READ_MODE: mode_number(conf.get(_READ_MODE)) or 0})
    return Plan(plan.body, {})


def _whole(conf: Mapping[str, Any], changes: dict[str, int | str]) -> Plan:
    # What is null on reading is missing on the device, and stays missing.
    body = {key: value for key, value in conf.items() if value is not None} | changes
    mode = changes[_READ_MODE]
    # Some firmware takes only text, some only numbers: answer in the type it speaks itself.
    body[_WRITE_MODE] = body[_READ_MODE] = str(mode) if isinstance(conf.get(_READ_MODE), str) else mode
    if conf.get(_READ_LEVEL) is not None:
        body[_WRITE_LEVEL] = conf[_READ_LEVEL]
    return Plan(body, changes)


def _mode_to_write(
    conf: Mapping[str, Any], target: Setting, profile: HardwareProfile | None, address: str
) -> int:
    if target.knob is Knob.STOP:
        return _SLEEP
    present = mode_number(conf.get(_READ_MODE)) or 0
    if target.knob is Knob.HASHRATE_PERCENT:
        # A percentage means that it is to hash: a sleeping machine is woken.
        return 0 if work_mode(present, profile) == "sleep" else present
    if target.knob is not Knob.WORK_MODE:
        raise Unsupported(address, f"stock Antminer firmware has no control {target.knob}")
    number_ = _NUMBERS.get(str(target.value))
    # One number is the efficiency mode of one model and the high mode of others.
    if number_ is None or work_mode(number_, profile) != target.value:
        raise Unsupported(address, f"stock firmware has no mode {target.value!r} on this model")
    return number_


def _percent_text(conf: Mapping[str, Any], target: Setting, address: str) -> str:
    if _PERCENT not in conf:
        raise Unsupported(address, "this firmware does not offer a hashrate percentage")
    value = target.value
    # Rounding could leave the permitted range.
    if not isinstance(value, int | float) or value != round(value):
        raise Unsupported(address, f"the firmware takes whole percentages, not {value}")
    return str(round(value))


def unchanged_but_for(plan: Plan, before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """True if every key that was not meant to change reads as before, pools above all."""
    return all(after.get(key) == value for key, value in before.items() if key not in plan.changes)

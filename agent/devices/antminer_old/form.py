"""The form by which an old Antminer takes its configuration: its fields in order, and what it would lose.

The script behind it goes by the place of a field, undoes some percent codes only, and writes the file anew:
what the form has no field for is gone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from agent.devices.antminer.pools import Entry
from agent.errors import Unsupported

# What the script writes of itself, on one firmware or another. Any other value would be lost.
_CONSTANTS: dict[str, tuple[Any, ...]] = {
    "api-listen": (True, "true"),
    "api-network": (True, "true"),
    "api-groups": ("A:stats:pools:devs:summary:version",),
    "api-allow": ("A:0/0,W:*", "W:0/0"),
    "bitmain-use-vil": (True, "true"),
    "bitmain-ccdelay": ("0",),
    "bitmain-pwth": ("4",),
    "bitmain-freq-level": ("100",),
    "multi-version": ("1",),
}
_CARRIED = (
    "pools",
    "bitmain-nobeeper",
    "bitmain-notempoverctrl",
    "bitmain-fan-ctrl",
    "bitmain-fan-pwm",
    "bitmain-freq",
    "bitmain-voltage",
    "bitmain-work-mode",
)
# The script leaves the codes of other signs as they are, and takes a percent sign for the start of one.
_PLAIN = re.compile(r"[A-Za-z0-9!'()~_.#$&,+:;<=>?@\[\]^|/-]*")


def fields(conf: Mapping[str, Any], pools: Sequence[Entry], address: str) -> bytes:
    """The body of the form that changes the pools and leaves everything else as `conf` has it.

    Args:
        conf: as read from the page.
        pools: three entries; blank ones empty.

    Raises:
        Unsupported: the configuration or a pool holds something that the form cannot carry.
    """
    for key, value in conf.items():
        if key not in _CARRIED and value not in _CONSTANTS.get(key, ()):
            raise Unsupported(
                address,
                f"set_miner_conf.cgi has no field for {key[:60]!r}, it would be lost; nothing is written",
            )
    pairs: list[tuple[str, Any]] = []
    for place, pool in enumerate(pools, start=1):
        pairs += [(f"pool{place}{field}", pool[key]) for field, key in _POOL_FIELDS]
    fan = _is_on(conf.get("bitmain-fan-ctrl"))
    pairs += [
        ("nobeeper", _word(_is_on(conf.get("bitmain-nobeeper")))),
        ("notempoverctrl", _word(_is_on(conf.get("bitmain-notempoverctrl")))),
        ("fan_customize_switch", _word(fan)),
        ("fan_customize_value", conf.get("bitmain-fan-pwm", "")),
        ("freq", conf.get("bitmain-freq", "")),
        ("voltage", conf.get("bitmain-voltage", "")),
    ]
    if conf.get("bitmain-work-mode") is not None:
        pairs.append(("work_mode", conf["bitmain-work-mode"]))
    return "&".join(f"_ant_{name}={_code(name, value, address)}" for name, value in pairs).encode()


def unchanged(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """True if everything but the pools means the same: a switch that is off may be left out."""
    return _meaning(before) == _meaning(after)


_POOL_FIELDS = (("url", "url"), ("user", "user"), ("pw", "pass"))
_SWITCHES = ("bitmain-nobeeper", "bitmain-notempoverctrl", "bitmain-fan-ctrl")


def _meaning(conf: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in conf.items() if key not in (*_SWITCHES, "pools")}
    found |= {key: True for key in _SWITCHES if _is_on(conf.get(key))}
    if "bitmain-fan-ctrl" not in found:
        found.pop("bitmain-fan-pwm", None)
    return found


def _is_on(value: object) -> bool:
    return value is True or value == "true"


def _word(on: bool) -> str:
    return "true" if on else "false"


def _code(name: str, value: object, address: str) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not _PLAIN.fullmatch(value):
        raise Unsupported(
            address, f"set_miner_conf.cgi cannot carry what stands in {name}; nothing is written"
        )
    return quote(value, safe="!'()~")

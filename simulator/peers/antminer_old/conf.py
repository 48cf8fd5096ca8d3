"""The configuration files of old Antminers: their text, the form that rewrites them, what a start reads.

Which files there are differs by generation; `ConfLayout` says so. Acting on it is the unit's business.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simulator.machine import PoolEntry

POOL_COUNT = 3
OLD_GENERATION = ("S9", "T9", "S17", "T17")
_SLEEP_MODE = "254"
# What the frequency and voltage tables of the old mining processes reach, as shares of the rated value.
# No source gives them model by model: an estimate.
FREQUENCY_SHARES = (0.3, 1.2)
VOLTAGE_SHARES = (0.85, 1.1)
_NUMBER = re.compile(r"\d{1,5}(\.\d{1,4})?")
_WHOLE = re.compile(r"\d{1,3}")
# The fields in the only order that the script understands: it counts, and never looks at the names.
_FIELDS = (
    "pool1url",
    "pool1user",
    "pool1pw",
    "pool2url",
    "pool2user",
    "pool2pw",
    "pool3url",
    "pool3user",
    "pool3pw",
    "nobeeper",
    "notempoverctrl",
    "fan_customize_switch",
    "fan_customize_value",
    "freq",
    "voltage",
    "work_mode",
)
# The script replaces these one after the other and knows no others, nor lower-case hex digits.
_ESCAPES = {
    "+": " ",
    "%23": "#",
    "%24": "$",
    "%25": "%",
    "%26": "&",
    "%2C": ",",
    "%2B": "+",
    "%3A": ":",
    "%3B": ";",
    "%3C": "<",
    "%3D": "=",
    "%3E": ">",
    "%3F": "?",
    "%40": "@",
    "%5B": "[",
    "%5D": "]",
    "%5E": "^",
    "%7B": "{",
    "%7C": "|",
    "%7D": "}",
    "%2F": "/",
}


@dataclass(frozen=True, slots=True)
class ConfLayout:
    """Where one generation keeps its configuration.

    Args:
        pools_file: has pools and API access.
        tuning_file: has fan, frequency, voltage and work mode; the same file in most generations.
        script: the init script of the mining process.
        has_work_mode: the form and the file have a work mode.
        multi_version: the S9 ends its file with this key.
    """

    pools_file: str
    tuning_file: str
    script: str
    has_work_mode: bool
    multi_version: bool = False

    @property
    def files(self) -> tuple[str, ...]:
        """The files, each once."""
        return tuple(dict.fromkeys((self.pools_file, self.tuning_file)))

    @property
    def daemon(self) -> str:
        """Name of the mining process."""
        return self.script.rpartition("/")[2].removesuffix(".sh")


S9_LAYOUT = ConfLayout(
    "/config/bmminer.conf", "/config/bmminer.conf", "/etc/init.d/bmminer.sh", False, multi_version=True
)
S17_LAYOUT = ConfLayout("/config/cgminer.conf", "/config/cgminer.conf", "/etc/init.d/cgminer.sh", True)
# Later images of this generation; which model has it is not known, so that one shows it here.
SPLIT_LAYOUT = ConfLayout("/config/cgminer.conf", "/config/bmminer.conf", "/etc/init.d/cgminer.sh", True)


def generation(type_text: str) -> str | None:
    """S9, T9, S17 or T17 for a model of those, whatever its suffix; None for a younger one."""
    words = type_text.upper().replace("+", " ").split()
    return next((name for name in OLD_GENERATION if name in words), None)


def layout_of(type_text: str) -> ConfLayout:
    """The files of a model."""
    return {"S17": S17_LAYOUT, "T17": SPLIT_LAYOUT}.get(generation(type_text) or "", S9_LAYOUT)


@dataclass(frozen=True, slots=True)
class Tuning:
    """Values of the form and the file beside the pools, as texts; empty is not set."""

    nobeeper: str = ""
    notempoverctrl: str = ""
    fan_customize_switch: str = ""
    fan_customize_value: str = ""
    freq: str = ""
    voltage: str = ""
    work_mode: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    """What the mining process starts with, in shares of the rated values."""

    pools: tuple[PoolEntry, ...]
    frequency_share: float
    voltage_share: float
    work_mode: str
    fan_manual: bool
    fan_pwm: int
    api_listens: bool


def render(layout: ConfLayout, pools: Sequence[PoolEntry], tuning: Tuning) -> dict[str, str]:
    """The files as the script echoes them, line by line and without escaping anything."""
    padded = [*pools, *(PoolEntry("", "", "") for _ in range(POOL_COUNT))][:POOL_COUNT]
    head = ['"pools" : [']
    for number, pool in enumerate(padded):
        head += ["{", f'"url" : "{pool.url}",', f'"user" : "{pool.user}",', f'"pass" : "{pool.password}"']
        head.append("}" if number == POOL_COUNT - 1 else "},")
    head += ["]", ","]
    access = [
        '"api-listen" : true',
        '"api-network" : true',
        '"api-groups" : "A:stats:pools:devs:summary:version"',
        '"api-allow" : "A:0/0,W:*"',
    ]
    tuned = _tuning_lines(layout, tuning)
    if layout.pools_file == layout.tuning_file:
        return {layout.pools_file: _document(head, access + tuned)}
    return {layout.pools_file: _document(head, access), layout.tuning_file: _document([], tuned)}


def _tuning_lines(layout: ConfLayout, tuning: Tuning) -> list[str]:
    lines = []
    if tuning.nobeeper == "true":
        lines.append('"bitmain-nobeeper" : true')
    if tuning.notempoverctrl == "true":
        lines.append('"bitmain-notempoverctrl" : true')
    if tuning.fan_customize_switch == "true":
        lines += ['"bitmain-fan-ctrl" : true', f'"bitmain-fan-pwm" : "{tuning.fan_customize_value}"']
    lines.append('"bitmain-use-vil" : true')
    if layout.has_work_mode:
        lines.append(f'"bitmain-work-mode" : "{tuning.work_mode}"')
    lines += [f'"bitmain-freq" : "{tuning.freq}"', f'"bitmain-voltage" : "{tuning.voltage}"']
    if layout.multi_version:
        lines.append('"multi-version" : "1"')
    return lines


def _document(head: list[str], lines: list[str]) -> str:
    return "\n".join(["{", *head, ",\n".join(lines), "}", ""])


def rewritten(layout: ConfLayout, body: bytes, factory: Tuning) -> dict[str, str]:
    """The files after a POST of the form to `set_miner_conf.cgi`; nothing of the old ones is kept.

    Args:
        layout: which files.
        body: the form as sent, `name=value` joined by `&`.
        factory: values of the image, which a generation with a work mode takes where the form has none.
    """
    values: dict[str, str] = {}
    text = body.decode("latin-1").replace("\x00", "")
    for name, part in zip(_FIELDS, text.replace("&", " ").split(), strict=False):
        for code, letter in _ESCAPES.items():
            part = part.replace(code, letter)
        values[name] = part.replace(f"_ant_{name}=", "", 1)
    if layout.has_work_mode:
        for name in ("freq", "voltage", "work_mode"):
            values[name] = values.get(name) or getattr(factory, name)
    pools = [
        PoolEntry(*(values.get(f"pool{number}{part}", "") for part in ("url", "user", "pw")))
        for number in range(1, POOL_COUNT + 1)
    ]
    return render(layout, pools, Tuning(**{name: values.get(name, "") for name in _FIELDS[9:]}))


def read_start(layout: ConfLayout, texts: Sequence[bytes], rated_mhz: float, rated_v: float) -> Start | None:
    """What the mining process makes of its files, None where it cannot start.

    Args:
        layout: which keys it knows.
        texts: the files, in the order they are read.
        rated_mhz: what an unreadable frequency stands for, and the measure of the shares.
        rated_v: the same for the voltage, which the file gives in hundredths.
    """
    conf: dict[str, Any] = {}
    for text in texts:
        try:
            part = json.loads(text)
        except (ValueError, RecursionError):
            return None
        if not isinstance(part, dict):
            return None
        conf |= part
    pools = _pools(conf.get("pools"))
    if not any(pool.url for pool in pools):
        # "No servers were found that could be used": the process ends.
        return None
    pwm = str(conf.get("bitmain-fan-pwm", "100"))
    asleep = layout.has_work_mode and str(conf.get("bitmain-work-mode")) == _SLEEP_MODE
    return Start(
        pools=pools,
        frequency_share=_share(conf.get("bitmain-freq"), rated_mhz, FREQUENCY_SHARES),
        voltage_share=_share(conf.get("bitmain-voltage"), rated_v * 100.0, VOLTAGE_SHARES),
        work_mode="sleep" if asleep else "normal",
        fan_manual=_true(conf.get("bitmain-fan-ctrl")),
        fan_pwm=min(100, int(pwm)) if _WHOLE.fullmatch(pwm) else 100,
        api_listens=_true(conf.get("api-listen")) and _true(conf.get("api-network")),
    )


def _pools(listed: object) -> tuple[PoolEntry, ...]:
    entries = [entry for entry in listed if isinstance(entry, Mapping)] if isinstance(listed, list) else []
    pools = [
        PoolEntry(*(str(entry.get(key) or "")[:255] for key in ("url", "user", "pass")))
        for entry in entries[:POOL_COUNT]
    ]
    return (*pools, *(PoolEntry("", "", "") for _ in range(POOL_COUNT - len(pools))))


def _share(value: object, rated: float, bounds: tuple[float, float]) -> float:
    text = str(value)
    # "O", a list of three numbers or nothing at all: the model's own value.
    if _NUMBER.fullmatch(text) is None or float(text) == 0.0:
        return 1.0
    low, high = bounds
    return min(high, max(low, float(text) / rated))


def _true(value: object) -> bool:
    return value is True or value == "true"

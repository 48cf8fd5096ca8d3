"""The configuration file of a stock Antminer: what `get_miner_conf.cgi` shows and what a write really does.

A write replaces the whole file; keys that the script does not read fall back to its own defaults.
"""

from __future__ import annotations

import json
import re
from typing import Any

from simulator.machine import Machine, MachineState, PoolEntry
from simulator.peers.antminer.layouts import Json
from simulator.peers.antminer.new_layouts import MODE_NUMBERS
from simulator.peers.surface import Surface

POOL_COUNT = 3
RELEASE_YEAR = 2024
_MODE_NAMES = {0: "normal", 1: "sleep", 2: "high", 3: "low"}
# On this model mode 2 is the firmware's "HEM", the efficient one.
_HEM_MODEL = "S19K PRO"
_WHOLE = re.compile(r"[0-9]{1,4}")
_YEAR = re.compile(r"\b(20\d\d)\b|\((\d\d)\d{4}-")


def firmware_year(text: str) -> int | None:
    """Year of a firmware version such as `Tue Dec  6 16:12:30 CST 2022` or `FR-1.12(251009-S21)`."""
    found = _YEAR.search(text)
    if found is None:
        return None
    return int(found[1]) if found[1] else 2000 + int(found[2])


class MinerConf:
    """The file of one unit.

    Args:
        surface: the machine it configures. Pools, work mode and hashrate percent are read from there;
            the keys that change nothing physical are kept here.
    """

    def __init__(self, surface: Surface) -> None:
        self._surface = surface
        state = surface.machine.state()
        year = firmware_year(state.firmware_version)
        self.is_release_build = year >= RELEASE_YEAR if year is not None else surface.options.layout == "new"
        self._is_hem = _HEM_MODEL in state.type_text.upper()
        self._frequency = str(round(surface.machine.spec.rated_frequency_mhz))
        self._voltage = str(round(surface.machine.spec.rated_voltage_v * 100))
        self._freq_level = "100"
        self._has_percent_key = surface.options.offers_hashrate_percent

    def shown(self, state: MachineState) -> Json:
        """The reply of `get_miner_conf.cgi`: the whole file on older firmware, a selection from 2024 on."""
        pools = [
            {"url": pool.url, "user": pool.user, "pass": pool.password}
            for pool in padded_pools(self._surface.machine)
        ]
        mode = str(MODE_NUMBERS.get(state.work_mode, 0))
        if self.is_release_build:
            return {
                "pools": pools,
                "bitmain-fan-ctrl": state.fan_manual,
                "bitmain-fan-pwm": str(state.fan_pwm),
                "bitmain-work-mode": mode,
                "bitmain-hashrate-percent": self._percent(state),
            }
        shown: Json = {
            "pools": pools,
            "api-listen": True,
            "api-network": True,
            "api-groups": "A:stats:pools:devs:summary:version",
            "api-allow": "A:0/0,W:*",
            "bitmain-fan-ctrl": state.fan_manual,
            "bitmain-fan-pwm": str(state.fan_pwm),
            "bitmain-use-vil": True,
            "bitmain-freq": self._frequency,
            "bitmain-voltage": self._voltage,
            "bitmain-ccdelay": "0",
            "bitmain-pwth": "4",
            "bitmain-work-mode": mode,
            "bitmain-freq-level": self._freq_level,
        }
        if self._surface.options.offers_hashrate_percent:
            shown["bitmain-hashrate-percent"] = self._percent(state)
        return shown

    def write(self, body: bytes, state: MachineState) -> Json:
        """Take a POST to `set_miner_conf.cgi` and give its answer.

        The mode is read from `miner-mode` only. An unchanged or absent mode is a reload that keeps on
        hashing; a changed one restarts.
        """
        try:
            wanted = json.loads(body)
        except (ValueError, RecursionError):
            return answer("M001", "Illegal request!")
        if not isinstance(wanted, dict):
            return answer("M001", "Illegal request!")
        machine = self._surface.machine
        pools = _merged_pools(wanted.get("pools"), padded_pools(machine))
        self._surface.perform(lambda: machine.set_pools(pools))
        self._write_fan(wanted, state)
        if not self.is_release_build:
            self._freq_level = str(wanted.get("freq-level", "100"))[:8]
        self._write_percent(wanted, state)
        mode = self._mode(wanted.get("miner-mode"))
        if mode is not None and mode != state.work_mode:
            self._surface.perform(lambda: machine.set_work_mode(mode))
        return answer("M000", "OK!")

    def _write_fan(self, wanted: Json, state: MachineState) -> None:
        manual = wanted.get("bitmain-fan-ctrl", False) in (True, "true", 1)
        pwm = str(wanted.get("bitmain-fan-pwm", "100"))
        if _WHOLE.fullmatch(pwm) is None or int(pwm) > 100:
            pwm = "100"
        if (manual, int(pwm)) != (state.fan_manual, state.fan_pwm):
            self._surface.perform(lambda: self._surface.machine.set_fan(manual, int(pwm)))

    def _write_percent(self, wanted: Json, state: MachineState) -> None:
        if not self._surface.options.offers_hashrate_percent or self._surface.faults.ack_without_effect:
            return
        text = str(wanted.get("bitmain-hashrate-percent"))
        # A key that is not sent is gone from the file, and the unit runs at its default.
        self._has_percent_key = _WHOLE.fullmatch(text) is not None
        percent = int(text) if self._has_percent_key else 100
        if percent != round(state.hashrate_percent):
            machine = self._surface.machine
            self._surface.perform(lambda: machine.set_hashrate_percent(percent))

    def _percent(self, state: MachineState) -> str | None:
        if not self._surface.options.offers_hashrate_percent or not self._has_percent_key:
            return None
        return str(round(state.hashrate_percent))

    def _mode(self, value: Any) -> str | None:
        text = str(value)
        if _WHOLE.fullmatch(text) is None:
            return None
        if int(text) == MODE_NUMBERS["efficient"] and self._is_hem:
            return "efficient"
        return _MODE_NAMES.get(int(text))


def answer(code: str, message: str) -> Json:
    """The reply of a page that changes something."""
    return {"stats": "success" if code == "M000" else "error", "code": code, "msg": message}


def padded_pools(machine: Machine) -> list[PoolEntry]:
    """Exactly three pools, blank where none is set."""
    pools = list(machine.pools[:POOL_COUNT])
    return pools + [PoolEntry(url="", user="", password="") for _ in range(POOL_COUNT - len(pools))]


def _merged_pools(wanted: object, old: list[PoolEntry]) -> list[PoolEntry]:
    entries = wanted if isinstance(wanted, list) else []
    merged = []
    for index, kept in enumerate(old):
        entry = entries[index] if index < len(entries) and isinstance(entries[index], dict) else {}
        merged.append(
            PoolEntry(
                url=_text(entry.get("url"), kept.url),
                user=_text(entry.get("user"), kept.user),
                password=_text(entry.get("pass"), kept.password),
            )
        )
    return merged


def _text(value: object, kept: str) -> str:
    # An empty text overwrites; only a missing one keeps what there was.
    return value[:255] if isinstance(value, str) else kept

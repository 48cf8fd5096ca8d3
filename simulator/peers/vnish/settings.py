"""The settings of VNish: one document that is read whole and written in parts.

A write may name any part of it; keys that are not there, and values of another type, are passed over.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

from simulator.machine import PoolEntry
from simulator.peers.antminer.layouts import Json
from simulator.peers.vnish.layouts import shown_url
from simulator.peers.vnish.presets import DISABLED
from simulator.peers.vnish.unit import POOL_SLOTS, SCHEME, VnishUnit

MAX_TEXT = 256
_MAX_DEPTH = 6


class Settings:
    """The settings of one unit.

    Args:
        unit: whose preset, pools and fans they are.
    """

    def __init__(self, unit: VnishUnit) -> None:
        self._unit = unit
        self._kept = _factory(unit)

    def shown(self) -> Json:
        """The whole document."""
        document: Json = copy.deepcopy(self._kept)
        state = self._unit.surface.machine.state()
        miner = document["miner"]
        miner["overclock"]["preset"] = self._unit.chosen
        miner["overclock"]["modded_psu"] = self._unit.modded_psu
        miner["pools"] = [
            {"url": shown_url(entry), "user": entry.user, "pass": entry.password}
            for entry in self._unit.pools()
        ]
        if state.fan_manual:
            miner["cooling"]["mode"] = {"name": "manual", "param": state.fan_pwm}
        return document

    def write(self, wanted: Mapping[str, object]) -> Json:
        """Take over what a write names and say what it needs to take effect."""
        self._unit.surface.perform(lambda: _merge(self._kept, wanted, _MAX_DEPTH))
        miner = wanted.get("miner")
        if isinstance(miner, Mapping):
            self._write_pools(miner.get("pools"))
            self._write_fan(miner.get("cooling"))
            overclock = miner.get("overclock")
            if isinstance(overclock, Mapping):
                modded = overclock.get("modded_psu")
                if isinstance(modded, bool):
                    self._unit.fit_supply(modded=modded)
                preset = overclock.get("preset")
                if isinstance(preset, str) and preset != self._unit.chosen:
                    self._unit.choose(preset)
        return {"restart_required": self._unit.restart_required, "reboot_required": False}

    def _write_pools(self, rows: object) -> None:
        if not isinstance(rows, list):
            return
        entries = [entry for entry in map(_entry, rows[:POOL_SLOTS]) if entry is not None]
        if entries:
            self._unit.set_pools(entries + [PoolEntry("", "", "")] * (POOL_SLOTS - len(entries)))

    def _write_fan(self, cooling: object) -> None:
        mode = cooling.get("mode") if isinstance(cooling, Mapping) else None
        if not isinstance(mode, Mapping):
            return
        machine, param = self._unit.surface.machine, mode.get("param")
        if mode.get("name") == "manual" and isinstance(param, int) and 0 <= param <= 100:
            self._unit.surface.perform(lambda: machine.set_fan(manual=True, pwm=param))
        elif mode.get("name") == "auto":
            self._unit.surface.perform(lambda: machine.set_fan(manual=False, pwm=100))


def _entry(row: object) -> PoolEntry | None:
    """A pool of a write, None where it is not one."""
    if not isinstance(row, Mapping):
        return None
    texts = [row.get(name, "") for name in ("url", "user", "pass")]
    if not all(isinstance(text, str) and len(text) <= MAX_TEXT for text in texts):
        return None
    url, user, password = (str(text) for text in texts)
    return PoolEntry(url if "://" in url or not url else SCHEME + url, user, password)


def _merge(kept: Json, wanted: Mapping[str, object], depth: int) -> None:
    for key, value in wanted.items():
        held = kept.get(key)
        if isinstance(held, dict):
            if isinstance(value, Mapping) and depth:
                _merge(held, value, depth - 1)
        elif isinstance(held, bool) or isinstance(value, bool):
            if isinstance(held, bool) and isinstance(value, bool):
                kept[key] = value
        elif isinstance(held, int | float):
            if isinstance(value, int | float) and abs(value) < 1e9:
                kept[key] = value
        elif isinstance(held, str) and isinstance(value, str) and len(value) <= MAX_TEXT:
            kept[key] = value


def _factory(unit: VnishUnit) -> Json:
    spec = unit.surface.machine.spec
    presets = list(unit.presets)
    mhz, centivolts = round(spec.rated_frequency_mhz), round(spec.rated_voltage_v * 100.0)
    chips = [0] * spec.chips_per_board
    return {
        "miner": {
            "cooling": {
                "mode": {"name": "auto", "param": 65},
                "fan_min_count": spec.fans,
                "fan_min_duty": 10,
                "fan_max_duty": 100,
            },
            "misc": {
                "asic_boost": False,
                "restart_hashrate": 0,
                "restart_temp": 90,
                "disable_restart_unbalanced": False,
                "disable_chain_break_protection": False,
                "max_restart_attempts": 3,
                "quick_start": False,
                "higher_volt_offset": 0,
                "tuner_bad_chip_hr_threshold": 50,
                "remain_stopped_on_reboot": True,
                "ignore_broken_sensors": False,
                "quiet_mode": False,
                "downscale_preset_on_failure": False,
                "auto_chip_throttling": False,
                "max_startup_delay_time": 0,
                "min_operational_chains": spec.boards,
            },
            "overclock": {
                "modded_psu": False,
                "preset": DISABLED,
                "globals": {"volt": centivolts, "freq": mhz},
                "chains": [
                    {"freq": mhz, "chips": list(chips), "disabled": False} for _ in range(spec.boards)
                ],
                "preset_switcher": {
                    "enabled": False,
                    "top_preset": presets[-1],
                    "decrease_temp": 75,
                    "rise_temp": 55,
                    "check_time": 300,
                    "autochange_top_preset": False,
                    "ignore_fan_speed": False,
                    "min_preset": presets[0],
                    "power_delta": 0,
                },
            },
            "pools": [],
        },
        "ui": {"theme": "auto", "locale": "en", "timezone": "GMT"},
        "regional": {"timezone": {"current": "GMT"}},
        "network": {
            "hostname": "Antminer",
            "dhcp": True,
            "ipaddress": unit.address,
            "netmask": "255.0.0.0",
            "gateway": "",
            "dnsservers": [],
        },
        "password": None,
        "layout": None,
    }

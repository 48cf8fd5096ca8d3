"""MachineState as the JSON of Whatsminer API v3: TH/s, watts, hyphenated keys, some numbers as strings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from simulator.machine import MachineState, PoolEntry
from simulator.peers.whatsminer.layouts import Json, fan, present_boards, process_start
from simulator.peers.whatsminer.unit import WhatsminerUnit

API_VERSION = "3.0.5"
UNKNOWN_POWER_W = 2**31 - 1
_POWER_MODES = {"low": 0, "normal": 1, "high": 2}


def envelope(state: MachineState, code: int, message: object, command: str) -> Json:
    """Every reply."""
    return {"code": code, "when": int(state.now.timestamp()), "msg": message, "desc": command}


def watts(state: MachineState, *, unknown: bool) -> int:
    """The reported power, or the firmware's 2^31-1."""
    if unknown or state.reported_power_w is None:
        return UNKNOWN_POWER_W
    return round(state.reported_power_w)


def summary(state: MachineState, *, unknown_power: bool) -> Json:
    """Section `summary` of `get.miner.status`."""
    boards = present_boards(state)
    chips = [value for board in boards for value in board.chip_temps_c]
    power = watts(state, unknown=unknown_power)
    efficient = state.hashrate_ths > 0 and 0 < power < UNKNOWN_POWER_W
    return {
        "elapsed": int(state.elapsed_s),
        "bootup-time": int(state.uptime_s),
        "freq-avg": round(state.frequency_mhz),
        "target-freq": round(state.target_freq_percent),
        "factory-hash": round(state.factory_hashrate_ths, 3),
        "hash-average": round(state.hashrate_avg_ths, 3),
        "hash-1min": round(state.hashrate_ths, 3),
        "hash-15min": round(state.hashrate_15m_ths, 3),
        "hash-realtime": round(state.hashrate_5s_ths, 3),
        "power-rate": round(power / state.hashrate_ths, 3) if efficient else 0.0,
        "power-5min": power,
        "power-realtime": power,
        "environment-temperature": round(state.ambient_c, 1),
        "board-temperature": [round(max(board.pcb_temps_c), 1) for board in boards],
        "chip-temp-min": round(min(chips, default=0.0), 1),
        "chip-temp-avg": round(sum(chips) / len(chips), 1) if chips else 0.0,
        "chip-temp-max": round(max(chips, default=0.0), 1),
        "power-limit": round(state.power_limit_w or 0),
        "up-freq-finish": int(state.upfreq_complete),
        "fan-speed-in": fan(state, 0),
        "fan-speed-out": fan(state, 1),
    }


def devices(state: MachineState) -> list[Json]:
    """Section `edevs` of `get.miner.status`."""
    rows = []
    for number, board in enumerate(present_boards(state)):
        share = board.hashrate_ths / state.hashrate_ths if state.hashrate_ths > 0 else 0.0
        chips = board.chip_temps_c
        rows.append(
            {
                "id": number,
                "slot": board.index,
                "hash-average": round(state.hashrate_avg_ths * share, 3),
                "hash-realtime": round(board.hashrate_ths, 3),
                "factory-hash": round(state.factory_hashrate_ths / max(1, len(state.boards)), 3),
                "freq": round(board.frequency_mhz),
                "effective-chips": board.chips,
                "chip-temp-min": round(min(chips), 1),
                "chip-temp-avg": round(sum(chips) / len(chips), 1),
                "chip-temp-max": round(max(chips), 1),
                "status": "Alive",
            }
        )
    return rows


def pools(state: MachineState, entries: Sequence[PoolEntry]) -> list[Json]:
    """Section `pools` of `get.miner.status`: no share counts, only the rate of rejects."""
    shares = max(1, state.accepted + state.rejected + state.stale)
    return [
        {
            "id": number,
            "url": entry.url,
            "account": entry.user,
            "status": "alive",
            "stratum-active": number == 1,
            "stratum-diff": state.share_difficulty if number == 1 else 0.0,
            "reject-rate": round(100.0 * state.rejected / shares, 3) if number == 1 else 0.0,
            "last-share-time": int(state.now.timestamp()) if number == 1 and state.accepted else 0,
        }
        for number, entry in enumerate((entry for entry in entries if entry.url), start=1)
    ]


def setting(state: MachineState, unit: WhatsminerUnit) -> Json:
    """`get.miner.setting`; a power percent of 0 means none is set."""
    percent = round(state.power_percent)
    return {
        "power-limit": round(state.power_limit_w or 0),
        "upfreq-speed": unit.upfreq_speed,
        "power-mode": state.power_mode,
        "fast-boot": unit.fast_boot,
        "fast-hash": unit.fast_hash,
        "heat-mode": unit.heat_mode,
        "target-freq": round(state.target_freq_percent),
        "power": 0,
        "power-percent": 0 if percent == 100 else percent,
    }


def fan_setting(unit: WhatsminerUnit) -> Json:
    """`get.fan.setting`."""
    return {
        "fan-poweroff-cool": unit.poweroff_cool,
        "fan-zero-speed": unit.zero_speed,
        "fan-temp-offset": unit.temp_offset,
    }


def system_setting(unit: WhatsminerUnit) -> Json:
    """`get.system.setting`."""
    return {
        "hostname": unit.hostname,
        "timezone": unit.timezone,
        "zonename": unit.timezone,
        "webpools": unit.web_pools,
        "ntp-server": "",
    }


def device_info(
    state: MachineState,
    unit: WhatsminerUnit,
    *,
    address: str,
    salt: str,
    write_open: bool,
    unknown_power: bool,
) -> Json:
    """Every section of `get.device.info`.

    Args:
        state: the machine.
        unit: its control board.
        address: its IP address.
        salt: for the token of a write.
        write_open: the owner's API switch.
        unknown_power: leaves the PSU's input power out.
    """
    # What the factory measured per board, in GH/s; the sum is the factory hashrate.
    per_board = state.factory_hashrate_ths * 1000.0 / max(1, len(state.boards))
    since = process_start(state).strftime("%Y-%m-%d %H:%M:%S")
    miner: Json = {
        "working": "true" if state.mining_enabled else "false",
        "type": state.type_text,
        "hash-board": str(len(state.boards)),
        "detect-hash-rate": ":".join(str(round(per_board)) for _ in state.boards),
        "cointype": "BTC",
        "pool-strategy": "Failover",
        "heatmode": unit.heat_mode,
        "hash-percent": "0",
        "miner-sn": state.serial,
        "fast-boot": unit.fast_boot,
        "board-num": len(state.boards),
        "power-limit-set": unit.limit_set_text(state),
        "web-pool": int(unit.web_pools == "enable"),
    }
    miner |= {f"pcbsn{board.index}": board.serial for board in present_boards(state)}
    power: Json = {
        "type": "P221C",
        "mode": _POWER_MODES.get(state.power_mode, 1),
        "hwversion": "R00033",
        "swversion": "P00031",
        "model": "P22-12-3300-C",
        "fanspeed": 6112 if state.power_w > 100 else 1200,
        "iin": round((state.reported_power_w or 0.0) / 224.0, 2),
        "vin": 224.0,
        "vout": round(state.voltage_v * 100),
        "pin": watts(state, unknown=False),
        "temp0": round(state.inlet_c + 8.0, 1),
        "sn": "A1232B0120100049",
        "vendor": "7",
    }
    if unknown_power:
        del power["pin"]
    if unit.is_liquid:
        power["liquid-temperature"] = round(state.inlet_c, 1)
    return {
        "network": {
            "ip": address,
            "proto": "dhcp",
            "netmask": "255.0.0.0",
            "dns": "",
            "mac": state.mac.upper(),
            "gateway": "",
            "hostname": unit.hostname,
        },
        "system": {
            "api": API_VERSION,
            "apiswitch": "1" if write_open else "0",
            "fwversion": state.firmware_version,
            "platform": "H616",
            "ledstatus": unit.led,
            "control-board-version": "CB6V10",
        },
        "miner": miner,
        "power": power,
        "salt": salt,
        "error-code": _errors(state, since),
    }


def _errors(state: MachineState, since: str) -> list[Any]:
    return [{code: since, "reason": f"Error code {code}."} for code in state.errors]

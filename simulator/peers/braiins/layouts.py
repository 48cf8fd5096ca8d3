"""MachineState as the REST API of Braiins OS words what the miner is and does.

Each figure stands in an object that names its unit: GH/s (MH/s for errors), Hz, V, C, rpm, W, J/TH.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC
from typing import Any

from simulator.machine import BoardState, MachineState
from simulator.peers.antminer.layouts import Json, ghs
from simulator.peers.braiins.unit import MAJOR, VERSION, BraiinsUnit

_FAN_FULL_RPM = 6500
_ANTMINER = 1
_CHIP = 1
_AML = 3
_AM3_AML = 4
_NAND = 4
_DHCP = 1
_ERRORS = {
    "P:1": ("Miner is too hot", "OVERHEATED", "Chip temperature is above the dangerous temperature"),
    "J:8": ("Hashboard not detected", "MISSING_HASHBOARD", "Check the hashboard's cables"),
}


def present_boards(state: MachineState) -> list[BoardState]:
    """Boards that answer on their bus."""
    return [board for board in state.boards if board.present]


def board_id(board: BoardState) -> str:
    """A board's id: its slot, counted from 1."""
    return str(board.index + 1)


def watts(state: MachineState, unit: BraiinsUnit) -> int | None:
    """What the firmware believes the miner draws, in W; None where it does not know."""
    if unit.surface.faults.unknown_power or state.reported_power_w is None:
        return None
    return round(state.reported_power_w)


def fan_ratio(state: MachineState, rpm: float) -> float:
    """Fan speed as a share of full speed."""
    return state.fan_pwm / 100.0 if state.fan_manual else round(min(1.0, rpm / _FAN_FULL_RPM), 2)


def details(state: MachineState, unit: BraiinsUnit) -> Json:
    """`/miner/details`."""
    return {
        "uid": hashlib.sha256(state.serial.encode()).hexdigest()[:16],
        "miner_identity": {
            "brand": _ANTMINER,
            "model": 0,
            "name": state.type_text,
            "miner_model": state.type_text,
        },
        "platform": _AM3_AML,
        "bos_mode": _NAND,
        "bos_version": {"current": VERSION, "major": MAJOR, "bos_plus": True},
        "hostname": unit.hostname,
        "mac_address": state.mac.lower(),
        "system_uptime": int(state.uptime_s),
        "sticker_hashrate": {"gigahash_per_second": ghs(state.factory_hashrate_ths)},
        "bosminer_uptime_s": int(state.elapsed_s) if unit.running(state) else 0,
        "system_uptime_s": int(state.uptime_s),
        "status": unit.status(state),
        "kernel_version": "4.9.113",
        "psu_info": None,
        "control_board_soc_family": _AML,
        "serial_number": state.serial,
        "is_pic_model": None,
    }


def stats(state: MachineState, unit: BraiinsUnit) -> Json:
    """`/miner/stats`; null throughout while the mining process is down."""
    if not unit.running(state):
        return {"pool_stats": None, "miner_stats": None, "power_stats": None}
    power = watts(state, unit)
    efficiency = None
    if power is not None:
        rate = state.hashrate_ths
        efficiency = {"joule_per_terahash": power / rate if rate > 0.0 else 0.0}
    return {
        "pool_stats": pool_stats(state, active=True),
        "miner_stats": _work(state, 1.0, state.hashrate_ideal_ths, state.best_share),
        "power_stats": {
            "approximated_consumption": None if power is None else {"watt": power},
            "efficiency": efficiency,
        },
    }


def pool_stats(state: MachineState, *, active: bool) -> Json:
    """Shares of one pool: all of the miner's, or none."""
    share = 1 if active else 0
    best = state.best_share * share
    seconds = int(state.now.timestamp()) - 3
    return {
        "accepted_shares": state.accepted * share,
        "rejected_shares": state.rejected * share,
        "stale_shares": state.stale * share,
        "last_difficulty": int(state.share_difficulty) * share,
        "best_share": best,
        "best_share_str": str(best),
        "generated_work": int(state.accepted * state.share_difficulty) * share,
        "last_share_time": {"seconds": seconds, "nanos": 0} if active and state.accepted else None,
    }


def hashboards(state: MachineState, unit: BraiinsUnit) -> Json:
    """`/miner/hw/hashboards`; a board that is not there is not listed."""
    return {"hashboards": [_board(state, unit, board) for board in present_boards(state)]}


def _board(state: MachineState, unit: BraiinsUnit, board: BoardState) -> Json:
    row: Json = {
        "id": board_id(board),
        "enabled": True,
        "chips_count": board.chips,
        "current_voltage": None,
        "current_frequency": None,
        "highest_chip_temp": None,
        "board_temp": None,
        "stats": None,
        "lowest_inlet_temp": None,
        "highest_outlet_temp": None,
        "lowest_water_inlet_temp": None,
        "highest_water_outlet_temp": None,
        "serial_number": board.serial,
        "board_name": None,
        "chip_type": None,
        "model": None,
    }
    if not unit.running(state):
        return row
    share = board.hashrate_ths / state.hashrate_ths if state.hashrate_ths > 0.0 else 0.0
    return row | {
        "current_voltage": {"volt": round(board.voltage_v, 3)},
        "current_frequency": {"hertz": board.frequency_mhz * 1e6},
        "highest_chip_temp": {"id": 1, "location": _CHIP, "temperature": _celsius(max(board.chip_temps_c))},
        "board_temp": _celsius(max(board.pcb_temps_c)),
        "stats": _work(state, share, board.ideal_ths, 0),
        "lowest_inlet_temp": _celsius(min(board.pcb_temps_c)),
        "highest_outlet_temp": _celsius(max(board.pcb_temps_c)),
    }


def cooling(state: MachineState, unit: BraiinsUnit) -> Json:
    """`/cooling/state`."""
    hottest = [max(board.chip_temps_c) for board in present_boards(state)] if unit.running(state) else []
    sensor = {"id": None, "location": _CHIP, "temperature": _celsius(max(hottest))} if hottest else None
    return {
        "fans": [
            {"position": number, "rpm": round(rpm), "target_speed_ratio": fan_ratio(state, rpm)}
            for number, rpm in enumerate(state.fan_rpm)
        ],
        "highest_temperature": sensor,
    }


def errors(state: MachineState) -> Json:
    """`/miner/errors`."""
    rows: list[Json] = []
    when = state.now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    missing = [board.index + 1 for board in state.boards if not board.present]
    for code in state.errors:
        known = _ERRORS.get(code)
        if known is None:
            continue
        message, reason, hint = known
        slots = missing if code == "J:8" else [0]
        rows += [
            {
                "timestamp": when,
                "message": message,
                "error_codes": [{"code": reason, "reason": message, "hint": hint}],
                "components": [{"name": "hashboard" if slot else "miner", "index": slot}],
            }
            for slot in slots
        ]
    return {"errors": rows}


def network(state: MachineState, unit: BraiinsUnit) -> Json:
    """`/network`."""
    return {
        "name": "eth0",
        "hostname": unit.hostname,
        "mac_address": state.mac.lower(),
        "protocol": _DHCP,
        "dns_servers": [],
        "networks": [{"address": unit.address, "netmask": "255.0.0.0"}],
        "default_gateway": None,
    }


def _work(state: MachineState, share: float, ideal_ths: float, best_share: int) -> Json:
    """Rates of the miner, or of the board that does this share of the work."""
    since = state.hashrate_avg_ths
    windows: Sequence[tuple[str, float]] = (
        ("last_5s", state.hashrate_5s_ths),
        ("last_15s", state.hashrate_5s_ths),
        ("last_30s", state.hashrate_ths),
        ("last_1m", state.hashrate_ths),
        ("last_5m", state.hashrate_5m_ths),
        ("last_15m", state.hashrate_15m_ths),
        ("last_30m", state.hashrate_30m_ths),
        # The machine keeps no longer windows; both are averages since the start until they are full.
        ("last_1h", since * min(1.0, state.elapsed_s / 3600.0)),
        ("last_24h", since * min(1.0, state.elapsed_s / 86400.0)),
        ("since_restart", since),
    )
    real: dict[str, Any] = {name: {"gigahash_per_second": ghs(rate * share)} for name, rate in windows}
    return {
        "real_hashrate": real,
        "nominal_hashrate": {"gigahash_per_second": ghs(ideal_ths)},
        "error_hashrate": {"megahash_per_second": 0.0},
        "found_blocks": 0,
        "best_share": best_share,
        "best_share_str": str(best_share),
    }


def _celsius(value: float) -> Json:
    return {"degree_c": round(value, 2)}

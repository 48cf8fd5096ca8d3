"""MachineState as the REST API of VNish words it.

Units on the wire: GH/s (`hr_*`, `hashrate_*`) but TH/s for `average_hashrate` and `instant_hashrate`,
MHz, mV, whole degrees Celsius, rpm and W.
"""

from __future__ import annotations

from simulator.machine import BoardState, MachineState, PoolEntry
from simulator.peers.antminer.layouts import Json, ghs, shares_of
from simulator.peers.vnish.unit import FIRMWARE, SCHEME, VnishUnit

BUILD_TIME = "2026-02-11 09:40:12"
FEE_PERCENT = 2.8
_FAN_FULL_RPM = 6500
_FAILURE = "Overheating: chip temperature above the limit"


def shown_url(entry: PoolEntry) -> str:
    """A pool's address as VNish shows it: without the scheme that it takes for granted."""
    return entry.url.removeprefix(SCHEME)


def board_ghs(state: MachineState, board: BoardState) -> float:
    """One board's part of the momentary rate, in GH/s."""
    share = board.hashrate_ths / state.hashrate_ths if state.hashrate_ths > 0.0 else 0.0
    return ghs(state.hashrate_5s_ths * share)


def board_watts(state: MachineState) -> int | None:
    """Watts of one board; the firmware divides its total by the boards. None where it does not know."""
    present = sum(board.present for board in state.boards)
    if state.reported_power_w is None or not present:
        return None
    return round(state.reported_power_w / present)


def miner_type(state: MachineState) -> str:
    """Model with the firmware behind it."""
    return f"{state.type_text} (Vnish {FIRMWARE})"


def info(state: MachineState, unit: VnishUnit) -> Json:
    """`/info`."""
    model = state.type_text.removeprefix("Antminer ").replace(" ", "").lower()
    return {
        "miner": state.type_text,
        "model": model,
        "fw_name": "Vnish",
        "fw_version": FIRMWARE,
        "build_uuid": "53a7f3d0-71ee-4c1e-b45e-50a6c2164dad",
        "build_name": "vnish",
        "platform": "aml",
        "install_type": "nand",
        "build_time": BUILD_TIME,
        "algorithm": "sha256d",
        "hr_measure": "GH/s",
        "system": {
            "os": "GNU/Linux",
            "miner_name": model,
            "file_system_version": "",
            "mem_total": 243704,
            "mem_free": 175240,
            "mem_free_percent": 71,
            "mem_buf": 33936,
            "mem_buf_percent": 13,
            "network_status": {
                "mac": state.mac.upper(),
                "dhcp": True,
                "ip": unit.address,
                "netmask": "255.0.0.0",
                "gateway": "",
                "dns": [],
                "hostname": "Antminer",
            },
            "uptime": _uptime(state.uptime_s),
        },
        "serial": state.serial,
    }


def miner_status(state: MachineState, unit: VnishUnit) -> Json:
    """What `/summary` and `/status` begin with."""
    row: Json = {
        "miner_state": unit.word(state),
        "miner_state_time": int(state.elapsed_s),
        "throttled": unit.throttled,
    }
    return row | {"description": _FAILURE, "failure_code": 12} if state.phase == "protect" else row


def status(state: MachineState, unit: VnishUnit, *, unlocked: bool) -> Json:
    """`/status`."""
    return miner_status(state, unit) | {
        "find_miner": unit.finding,
        "restart_required": unit.restart_required,
        "reboot_required": False,
        "unlocked": unlocked,
    }


def summary(state: MachineState, unit: VnishUnit) -> Json:
    """`/summary`."""
    watts = board_watts(state)
    present = sum(board.present for board in state.boards)
    total_w = None if watts is None or unit.surface.faults.unknown_power else watts * present
    errors = sum(board.hw_errors for board in state.boards)
    miner: Json = {
        "miner_status": miner_status(state, unit),
        "miner_type": miner_type(state),
        "hr_stock": ghs(state.factory_hashrate_ths),
        "average_hashrate": round(state.hashrate_avg_ths, 5),
        "instant_hashrate": round(state.hashrate_5s_ths, 5),
        "hr_realtime": ghs(state.hashrate_5s_ths),
        "hr_nominal": ghs(state.hashrate_ideal_ths),
        "hr_average": ghs(state.hashrate_avg_ths),
        "pcb_temp": _range([value for board in state.boards if board.present for value in board.pcb_temps_c]),
        "chip_temp": _range(
            [value for board in state.boards if board.present for value in board.chip_temps_c]
        ),
    }
    if total_w is not None:
        rate = state.hashrate_avg_ths
        miner |= {
            "power_consumption": total_w,
            "power_usage": total_w,
            "power_efficiency": round(total_w / rate, 6) if rate > 0.0 else 0.0,
        }
    miner |= {
        "hw_errors_percent": 0.0,
        "hr_error": 0.0,
        "hw_errors": errors,
        "devfee_percent": FEE_PERCENT,
        "devfee": round(ghs(state.hashrate_avg_ths) * FEE_PERCENT / 100.0, 4),
        "pools": summary_pools(state, unit),
        "cooling": cooling(state),
        "chains": [summary_chain(state, unit, board) for board in state.boards],
        "found_blocks": 0,
        "best_share": state.best_share,
        "restart_count": 0,
    }
    sensor = unit.surface.machine.spec.sensor
    miner["psu"] = {"psu_power_metering": sensor is not None and sensor.source == "measured"}
    return {"miner": miner}


def summary_chain(state: MachineState, unit: VnishUnit, board: BoardState) -> Json:
    """One board of `/summary`; ids begin with 1."""
    if not board.present:
        return {"id": board.index + 1, "status": {"state": "failure", "description": "Chain not found"}}
    rate = board_ghs(state, board)
    row: Json = {
        "id": board.index + 1,
        "frequency": round(board.frequency_mhz, 1),
        "voltage": round(board.voltage_v * 1000.0),
    }
    watts = board_watts(state)
    if watts is not None and not unit.surface.faults.unknown_power:
        row["power_consumption"] = watts
    row |= {
        "hashrate_ideal": ghs(board.ideal_ths),
        "hashrate_rt": rate,
        "hashrate_percentage": round(100.0 * rate / ghs(board.ideal_ths), 2)
        if board.ideal_ths > 0.0
        else 0.0,
        "hr_error": 0.0,
        "hw_errors": board.hw_errors,
        "pcb_temp": _range(list(board.pcb_temps_c)),
        "chip_temp": _range(list(board.chip_temps_c)),
        "chip_statuses": {"red": 0, "orange": 0, "grey": board.chips},
        "status": {"state": unit.word(state)},
    }
    if not state.fan_rpm:
        row |= {"inlet_water_temp": round(state.inlet_c), "outlet_water_temp": round(state.outlet_c)}
    return row


def chains(state: MachineState, unit: VnishUnit) -> list[Json]:
    """`/chains`: every chip."""
    return [
        {
            "id": board.index + 1,
            "freq": round(board.frequency_mhz, 1),
            "hr_realtime": board_ghs(state, board),
            "hr_nominal": ghs(board.ideal_ths),
            "serial": board.serial,
            "status": {"state": unit.word(state)},
            "chips": [
                {
                    "id": number,
                    "hr": round(board_ghs(state, board) / board.chips, 3),
                    "freq": round(board.frequency_mhz),
                    "volt": 0,
                    "temp": round(board.chip_temps_c[number % 4]),
                    "errs": 0,
                    "grade": 100,
                }
                for number in range(board.chips)
            ],
        }
        for board in state.boards
        if board.present
    ]


def factory_info(state: MachineState) -> Json:
    """`/chains/factory-info`."""
    return {
        "chains": [
            {"id": board.index + 1, "board_model": "", "serial": board.serial, "chip_bin": 1}
            for board in state.boards
            if board.present
        ],
        "has_pics": False,
        "hr_stock": ghs(state.factory_hashrate_ths),
    }


def summary_pools(state: MachineState, unit: VnishUnit) -> list[Json]:
    """The pools of `/summary`, the last one the maker's."""
    rows: list[Json] = []
    asleep = state.phase == "sleep"
    for entry in unit.pools():
        if not entry.url:
            continue
        active = not rows
        accepted, rejected, stale = shares_of(state, active=active)
        difficulty = state.share_difficulty
        rows.append(
            {
                "id": len(rows),
                "url": shown_url(entry),
                "pool_type": "UserPool",
                "user": entry.user,
                "status": "offline" if asleep else "active" if active else "working",
                "asic_boost": True,
                "diff": f"{int(difficulty) // 1000}K" if active and not asleep else "",
                "accepted": accepted,
                "rejected": rejected,
                "stale": stale,
                "ls_diff": float(difficulty) if accepted else 0.0,
                "ls_time": "0:00:03" if accepted else "0",
                "diffa": float(accepted * difficulty),
                "ping": 8 if active else 0,
            }
        )
    fee = {"id": len(rows), "url": "DevFee", "pool_type": "DevFee", "user": "DevFee", "status": "active"}
    fee |= {"asic_boost": True, "diff": "16.4K", "accepted": state.accepted // 36, "rejected": 0, "stale": 0}
    return [*rows, fee | {"ls_diff": 16384.0, "ls_time": "0:00:13", "diffa": 0.0, "ping": 49}]


def cooling(state: MachineState) -> Json:
    """The fans."""
    duty = max((round(100.0 * rpm / _FAN_FULL_RPM) for rpm in state.fan_rpm), default=0)
    return {
        "fan_num": len(state.fan_rpm),
        "fans": [
            {"id": number, "rpm": round(rpm), "status": "ok", "max_rpm": _FAN_FULL_RPM}
            for number, rpm in enumerate(state.fan_rpm)
        ],
        "settings": {"mode": {"name": "manual" if state.fan_manual else "auto"}},
        "fan_duty": min(100, duty),
    }


def _range(values: list[float]) -> Json:
    return {"min": round(min(values, default=0.0)), "max": round(max(values, default=0.0))}


def _uptime(seconds: float) -> str:
    minutes = int(seconds // 60)
    days, hours, rest = minutes // 1440, minutes // 60 % 24, minutes % 60
    clock = f"{hours}:{rest:02d}"
    return f"{days} days, {clock}" if days else clock

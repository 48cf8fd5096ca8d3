"""MachineState as the JSON of Whatsminer API v2: MH/s, watts, 10 mV; some replies hold numbers as strings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from simulator.machine import BoardState, MachineState, PoolEntry

Json = dict[str, Any]

API_VERSION = "2.0.5"
UNKNOWN_POWER_W = -1
MODE_TEXTS = {"low": "Low", "normal": "Normal", "high": "High"}


def mhs(rate_ths: float) -> float:
    """TH/s as the firmware's MH/s with two decimals."""
    return round(rate_ths * 1e6, 2)


def epoch(state: MachineState) -> int:
    """The device's time in whole seconds since 1970."""
    return int(state.now.timestamp())


def reply(state: MachineState, code: int, message: object, letter: str = "S") -> Json:
    """The flat envelope of replies that are not cgminer's."""
    return {"STATUS": letter, "When": epoch(state), "Code": code, "Msg": message, "Description": ""}


def rows_reply(message: str, key: str, rows: list[Json]) -> Json:
    """The list envelope of `summary`, `edevs`, `pools` and `devdetails`."""
    return {"STATUS": [{"STATUS": "S", "Msg": message}], key: rows, "id": 1}


def process_start(state: MachineState) -> datetime:
    """When the mining process started."""
    return state.now - timedelta(seconds=state.elapsed_s)


def watts(state: MachineState, *, unknown: bool) -> int:
    """The reported power, or the firmware's -1."""
    if unknown or state.reported_power_w is None:
        return UNKNOWN_POWER_W
    return round(state.reported_power_w)


def present_boards(state: MachineState) -> list[BoardState]:
    """Boards that answer on their bus."""
    return [board for board in state.boards if board.present]


def summary_row(state: MachineState, *, reduced: bool, unknown_power: bool, limit_w: float | None) -> Json:
    """Row of `SUMMARY`.

    Args:
        state: the machine.
        reduced: True for the v2 that API-v3 firmware still serves: no 5 s and 5 min windows.
        unknown_power: True shows the power as unknown.
        limit_w: the power limit, None where the unit has none.
    """
    boards = present_boards(state)
    chips = [value for board in boards for value in board.chip_temps_c]
    boards_c = [value for board in boards for value in board.pcb_temps_c]
    power = watts(state, unknown=unknown_power)
    shares = max(1, state.accepted + state.rejected + state.stale)
    row: Json = {"Elapsed": int(state.elapsed_s), "MHS av": mhs(state.hashrate_avg_ths)}
    if not reduced:
        row["MHS 5s"] = mhs(state.hashrate_5s_ths)
    row["MHS 1m"] = mhs(state.hashrate_ths)
    if not reduced:
        row["MHS 5m"] = mhs(state.hashrate_5m_ths)
    row |= {
        "MHS 15m": mhs(state.hashrate_15m_ths),
        "HS RT": mhs(state.hashrate_5s_ths if reduced else state.hashrate_5m_ths),
        "Accepted": state.accepted,
        "Rejected": state.rejected,
        "Total MH": round(state.hashrate_avg_ths * 1e6 * state.elapsed_s),
        "Temperature": round(max(boards_c, default=0.0), 1),
        "freq_avg": round(state.frequency_mhz),
        "Fan Speed In": fan(state, 0),
        "Fan Speed Out": fan(state, 1),
        "Voltage": round(state.voltage_v * 100),
        "Power": power,
        "Power_RT": power,
        "Power Rate": round(power / state.hashrate_ths, 2) if state.hashrate_ths > 0 and power > 0 else 0.0,
        "Power Current": round(max(power, 0) / max(state.voltage_v, 1.0)),
        "Power Fanspeed": 9060 if state.power_w > 100 else 1200,
        "Pool Rejected%": round(100.0 * state.rejected / shares, 4),
        "Pool Stale%": round(100.0 * state.stale / shares, 4),
        "Last getwork": 0,
        "Uptime": int(state.uptime_s),
        "Security Mode": 0,
        "Hash Stable": state.phase == "stable",
        "Hash Stable Cost Seconds": 360 if state.upfreq_complete else 0,
        "Hash Deviation%": 0.1398,
        "Target Freq": round(state.frequency_mhz),
        "Target MHS": round(state.hashrate_ideal_ths * 1e6),
        "Env Temp": round(state.ambient_c, 2),
        "Power Mode": MODE_TEXTS.get(state.power_mode, "Normal"),
        "Factory GHS": round(state.factory_hashrate_ths * 1000.0),
    }
    if limit_w is not None:
        row["Power Limit"] = round(limit_w)
    row |= {
        "Chip Temp Min": round(min(chips, default=0.0), 2),
        "Chip Temp Max": round(max(chips, default=0.0), 2),
        "Chip Temp Avg": round(sum(chips) / len(chips), 2) if chips else 0.0,
        "Debug": "-0.0_100.0_354",
        "Btminer Fast Boot": "disable",
    }
    since = process_start(state).strftime("%Y-%m-%d %H:%M:%S")
    row["Error Code Count"] = len(state.errors)
    for number, code in enumerate(state.errors):
        row[f"Error Code {number}"] = int(code) if code.isdigit() else code
        row[f"Error {number} Time"] = since
    row["MAC"] = state.mac.upper()
    row["Firmware Version"] = f"'{state.firmware_version}'"
    return row


def device_rows(state: MachineState, *, reduced: bool) -> list[Json]:
    """Rows of `DEVS`, one per board; reduced ones have no chip temperatures."""
    rows: list[Json] = []
    boards = present_boards(state)
    for number, board in enumerate(boards):
        row: Json = {
            "ASC": number,
            "Slot": board.index,
            "Enabled": "Y",
            "Status": "Alive",
            "Temperature": round(max(board.pcb_temps_c), 1),
            "Chip Frequency": round(board.frequency_mhz),
            "MHS av": mhs(_share(state.hashrate_avg_ths, board, state)),
        }
        if not reduced:
            row["MHS 5s"] = mhs(_share(state.hashrate_5s_ths, board, state))
        row["MHS 1m"] = mhs(board.hashrate_ths)
        if not reduced:
            row["MHS 5m"] = mhs(_share(state.hashrate_5m_ths, board, state))
        row |= {
            "MHS 15m": mhs(_share(state.hashrate_15m_ths, board, state)),
            "HS RT": mhs(_share(state.hashrate_5s_ths if reduced else state.hashrate_5m_ths, board, state)),
            "Factory GHS": round(state.factory_hashrate_ths * 1000.0 / max(1, len(state.boards))),
            "Accepted": state.accepted // max(1, len(boards)),
            "Rejected": state.rejected // max(1, len(boards)),
            "Last Valid Work": epoch(state) if board.hashrate_ths > 0 else 0,
            "Upfreq Complete": int(state.upfreq_complete),
            "Effective Chips": board.chips,
            "PCB SN": board.serial,
            "Chip Data": "K88Z347-2039 BINV01-195001D",
        }
        if not reduced:
            chips = board.chip_temps_c
            row |= {
                "Chip Temp Min": round(min(chips), 2),
                "Chip Temp Max": round(max(chips), 2),
                "Chip Temp Avg": round(sum(chips) / len(chips), 2),
            }
        rows.append(row | {"chip_vol_diff": 9})
    return rows


def pool_rows(state: MachineState, pools: Sequence[PoolEntry]) -> list[Json]:
    """Rows of `POOLS`, counted from 1; all shares went to the first pool."""
    rows: list[Json] = []
    difficulty = state.share_difficulty
    for number, pool in enumerate((pool for pool in pools if pool.url), start=1):
        active = number == 1
        accepted, rejected, stale = (state.accepted, state.rejected, state.stale) if active else (0, 0, 0)
        shares = max(1, accepted + rejected + stale)
        rows.append(
            {
                "POOL": number,
                "URL": pool.url,
                "Status": "Alive",
                "Priority": number - 1,
                "Quota": 1,
                "Long Poll": "N",
                "Getworks": int(state.elapsed_s / 30.0) if active else 0,
                "Accepted": accepted,
                "Rejected": rejected,
                "Works": accepted * 16,
                "Discarded": 0,
                "Stale": stale,
                "Get Failures": 0,
                "Remote Failures": 0,
                "User": pool.user,
                "Last Share Time": epoch(state) if accepted else 0,
                "Diff1 Shares": 0,
                "Proxy Type": "",
                "Proxy": "",
                "Difficulty Accepted": accepted * difficulty,
                "Difficulty Rejected": rejected * difficulty,
                "Difficulty Stale": stale * difficulty,
                "Last Share Difficulty": difficulty if accepted else 0.0,
                "Work Difficulty": difficulty if active else 0.0,
                "Has Stratum": 1,
                "Stratum Active": active,
                "Stratum URL": pool.url.rpartition("//")[2].partition(":")[0] if active else "",
                "Stratum Difficulty": difficulty if active else 0.0,
                "Best Share": int(state.best_share) if active else 0,
                "Pool Rejected%": round(100.0 * rejected / shares, 4),
                "Pool Stale%": round(100.0 * stale / shares, 4),
                "Bad Work": 0,
                "Current Block Height": 0,
                "Current Block Version": 536870916,
            }
        )
    return rows


def detail_rows(state: MachineState) -> list[Json]:
    """Rows of `DEVDETAILS`; Model is the hardware name."""
    return [
        {
            "DEVDETAILS": number,
            "Name": "SM",
            "ID": board.index,
            "Driver": "bitmicro",
            "Kernel": "",
            "Model": state.type_text.replace("_", ""),
        }
        for number, board in enumerate(present_boards(state))
    ]


def psu_message(state: MachineState, *, unknown_power: bool) -> Json:
    """`Msg` of `get_psu`: numbers as strings, iin in mA, vin in 10 mV, pin in W."""
    message = {
        "name": "P221B",
        "hw_version": "V01.00",
        "sw_version": "V01.00.V01.03",
        "model": "P221B",
        "iin": str(round(max(watts(state, unknown=False), 0) / 224.0 * 1000.0)),
        "vin": "22400",
        "pin": str(watts(state, unknown=False)),
        "fan_speed": "6976",
        "version": "-1",
        "serial_no": "A1232B0120100049",
        "vendor": "7",
        "temp0": f"{state.inlet_c + 8.0:.1f}",
    }
    if unknown_power:
        del message["pin"]
    return message


def status_message(state: MachineState, *, limit_set: str, old: bool) -> Json:
    """`Msg` of `status`, in the form before or after mid-2022."""
    stopped = "false" if state.mining_enabled else "true"
    if old:
        return {"btmineroff": stopped, "Firmware Version": f"'{state.firmware_version}'"}
    return {
        "mineroff": stopped,
        "mineroff_reason": "" if state.mining_enabled else "power off by api",
        "mineroff_time": "",
        "FirmwareVersion": state.firmware_version,
        "power_mode": state.power_mode,
        "power_limit_set": limit_set,
        "hash_percent": "0",
    }


def fan(state: MachineState, index: int) -> int:
    """Rpm of one fan; 0 where the unit has none (immersion and hydro do report 0)."""
    return round(state.fan_rpm[index]) if index < len(state.fan_rpm) else 0


def _share(total_ths: float, board: BoardState, state: MachineState) -> float:
    return total_ths * board.hashrate_ths / state.hashrate_ths if state.hashrate_ths > 0 else 0.0

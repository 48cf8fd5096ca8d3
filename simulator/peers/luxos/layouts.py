"""MachineState as LuxOS words it on its API: hashing figures as cgminer does, a row builder per command.

Units on the wire: GH/s in `summary` and `stats`, MH/s in `devs`, whole MHz, V, degrees Celsius, rpm and W.
"""

from __future__ import annotations

from typing import Any

from simulator.machine import BoardState, MachineState
from simulator.peers.antminer.layouts import (
    Json,
    epoch,
    ghs,
    legacy_stats,
    legacy_summary,
    present_boards,
    shares_of,
)
from simulator.peers.luxos.pools import PoolBook, Row
from simulator.peers.luxos.unit import BUILD, DESCRIPTION, LuxosUnit

API_VERSION = "3.7"
_COMPILED = "Tue Apr  8 22:03:05 UTC 2025"
_CHIP_GHS_DIGITS = 3
COIN: Json = {"Hash Method": "sha256", "LP": False, "Network Difficulty": 0.0}


def status(state: MachineState, code: int, message: str, letter: str = "S") -> list[Json]:
    """The `STATUS` list."""
    return [
        {"Code": code, "Description": DESCRIPTION, "Msg": message, "STATUS": letter, "When": epoch(state)}
    ]


def version_row(state: MachineState) -> Json:
    """Row of `VERSION`."""
    return {
        "API": API_VERSION,
        "CompileTime": _COMPILED,
        "LUXminer": DESCRIPTION.removeprefix("LUXminer "),
        "Miner": BUILD,
        "Type": state.type_text,
    }


def summary_row(state: MachineState) -> Json:
    """Row of `SUMMARY`."""
    row = legacy_summary(state)
    row["GHS 1m"] = ghs(state.hashrate_ths)
    row["GHS 5m"] = ghs(state.hashrate_5m_ths)
    row["GHS 15m"] = ghs(state.hashrate_15m_ths)
    row["GHS 24h"] = ghs(state.hashrate_avg_ths)
    row["Best Session Share"] = row["Best Share"]
    row["Pool Stale%"] = row.pop("Pool Stale%%")
    return row


def stats_rows(state: MachineState) -> list[Json]:
    """Rows of `STATS`: who made it, then the figures in bmminer's layout, with numbers for rates."""
    row = legacy_stats(state)
    boards = {board.index: board for board in present_boards(state)}
    for slot in range(1, 5):
        board = boards.get(slot - 1)
        row[f"chain_rate{slot}"] = ghs(board.hashrate_ths) if board else 0
    header = {
        "BMMiner": "1.0.0",
        "CompileTime": _COMPILED,
        "Miner": BUILD,
        "STATS": 0,
        "Type": state.type_text,
    }
    return [header, row | {"STATS": 1}]


def devs_rows(state: MachineState, unit: LuxosUnit) -> list[Json]:
    """Rows of `DEVS`, one per board that answers; rates in MH/s."""
    count = max(1, len(state.boards))
    profile = unit.profile(state).name
    rows = []
    for number, board in enumerate(present_boards(state)):
        share = board.hashrate_ths / state.hashrate_ths if state.hashrate_ths > 0.0 else 0.0
        row: Json = {"ASC": number, "Board": _board_type(state), "Connector": f"J{board.index + 1}"}
        for window, rate in (
            ("5s", state.hashrate_5s_ths),
            ("1m", state.hashrate_ths),
            ("5m", state.hashrate_5m_ths),
            ("15m", state.hashrate_15m_ths),
            ("30m", state.hashrate_30m_ths),
            ("60m", state.hashrate_avg_ths),
            ("av", state.hashrate_avg_ths),
        ):
            row[f"MHS {window}"] = round(rate * share * 1e6, 2)
        row |= {
            "Accepted": state.accepted // count,
            "Device Elapsed": int(state.elapsed_s),
            "Device Hardware%": 0.0,
            "Device Rejected%": 0.0,
            "Enabled": "Y",
            "Hardware Errors": board.hw_errors,
            "ID": board.index,
            "IsRamping": state.phase in ("idle", "ramping"),
            "IsUserShutdown": False,
            "Last Share Pool": 0,
            "Last Share Time": epoch(state) - 3 if state.accepted else 0,
            "Name": _board_type(state),
            "Nominal MHS": round(board.ideal_ths * 1e6, 2),
            "Profile": profile,
            "Rejected": state.rejected // count,
            "SerialNumber": board.serial,
            "Status": "Alive" if state.phase != "protect" else "Dead",
            "Temperature": float(round(max(board.pcb_temps_c))),
        }
        rows.append(row)
    return rows


def devdetails_rows(state: MachineState, unit: LuxosUnit) -> list[Json]:
    """Rows of `DEVDETAILS`."""
    profile = unit.profile(state).name
    return [
        {
            "Board": _board_type(state),
            "Chips": board.chips,
            "Cores": board.chips,
            "DEVDETAILS": number,
            "Device Path": f"/dev/ttyS{board.index + 1}",
            "Driver": "LUXminer",
            "Frequency": round(board.frequency_mhz),
            "ID": board.index,
            "Kernel": "",
            "Model": state.type_text,
            "Name": _board_type(state),
            "Profile": profile,
            "SerialNumber": board.serial,
            "Voltage": round(board.voltage_v, 2),
        }
        for number, board in enumerate(present_boards(state))
    ]


def pool_row(state: MachineState, book: PoolBook, number: int, row: Row, *, active: bool) -> Json:
    """One row of `POOLS`."""
    accepted, rejected, stale = shares_of(state, active=active)
    difficulty = int(state.share_difficulty)
    connected = active and state.phase != "sleep"
    shares = max(1, accepted + rejected + stale)
    life = "Dead" if state.phase == "sleep" else "Alive"
    return {
        "Accepted": accepted,
        "Best Share": state.best_share if active else 0,
        "Diff": f"{difficulty // 1000}K" if connected else "",
        "Diff1 Shares": accepted * difficulty,
        "Difficulty Accepted": accepted * difficulty,
        "Difficulty Rejected": rejected * difficulty,
        "Difficulty Stale": stale * difficulty,
        "Discarded": 0,
        "GROUP": row.group,
        "Get Failures": 0,
        "Getworks": int(state.elapsed_s / 30.0) if active else 0,
        "Has GBT": False,
        "Has Stratum": True,
        "Last Share Difficulty": difficulty if accepted else 0,
        "Last Share Time": epoch(state) - 3 if accepted else 0,
        "Long Poll": "N",
        "POOL": number,
        "Pool Rejected%": round(100.0 * rejected / shares, 4),
        "Pool Stale%": round(100.0 * stale / shares, 4),
        "Priority": book.priority(row),
        "Proxy": "",
        "Proxy Type": "",
        "Quota": 1,
        "Rejected": rejected,
        "Remote Failures": 0,
        "Stale": stale,
        "Status": "Disabled" if row.disabled else life,
        "Stratum Active": connected,
        "Stratum URL": row.entry.url.rpartition("//")[2] if connected else "",
        "URL": row.entry.url,
        "User": row.entry.user,
    }


def config_row(state: MachineState, unit: LuxosUnit) -> Json:
    """Row of `CONFIG`."""
    asleep = state.phase == "sleep"
    profile = unit.profile(state)
    target = unit.target_watts(state)
    return {
        "ASC Count": len(present_boards(state)),
        "ActualPowerTarget": target if unit.targeting else 0,
        "BcastAddr": "127.255.255.255",
        "ControlBoardType": "CVITek",
        "Cooling": "Air" if state.fan_rpm else "Hydro",
        "CurtailMode": "Sleep" if asleep else "None",
        "DHCP": True,
        "DNS Servers": "",
        "Device Code": "",
        "FPGABuildIdHex": "",
        "FPGABuildIdStr": "",
        "FeeStatus": "Normal",
        "Gateway": "",
        "GreenLed": unit.green_led,
        "Hostname": "LuxOS",
        "Hotplug": "None",
        "IPAddr": unit.address,
        "IdealPowerTarget": target if unit.targeting else 0,
        "ImmersionMode": False,
        "IsAtmEnabled": unit.atm.enabled,
        "IsPowerSupplyOn": not asleep,
        "IsPowerTargetEnabled": unit.targeting,
        "IsPowerTargetSupported": unit.targeting,
        "IsSingleVoltage": True,
        "IsTuning": state.phase == "ramping",
        "Log Interval": 5,
        "LogFileLevel": "INFO",
        "MACAddr": state.mac.lower(),
        "Model": state.type_text,
        "NameplateTHS": round(state.factory_hashrate_ths, 1),
        "Netmask": "255.0.0.0",
        "OS": "LuxOS",
        "PGA Count": 0,
        "PIC": "",
        "PSUHwVersion": "",
        "PSULabel": "",
        "Pool Count": len(unit.pools.rows()),
        "PowerLimit": unit.watt_range[1],
        "Profile": profile.name,
        "ProfileStep": str(profile.step),
        "RedLed": unit.red_led,
        "SerialNumber": state.serial,
        "Strategy": "Failover",
        "SystemStatus": _system_status(state),
        "UpdateOnStartup": "false",
        "UpdateOnTimeout": "false",
        "UpdateOnUser": "true",
        "UpdateSource": "",
        "UpdateTimeout": 0,
    }


def fan_rows(state: MachineState) -> list[Json]:
    """Rows of `FANS`."""
    full = 6500.0
    return [
        {
            "FAN": f"FAN{number}",
            "ID": number,
            "RPM": round(rpm),
            "Speed": state.fan_pwm if state.fan_manual else min(100, round(100.0 * rpm / full)),
        }
        for number, rpm in enumerate(state.fan_rpm)
    ]


def temp_rows(state: MachineState) -> list[Json]:
    """Rows of `TEMPS`: four corners of each board, the left ones on the exhaust side, and any water."""
    rows = []
    for number, board in enumerate(present_boards(state)):
        hottest, intake, inner, exhaust = (round(value, 1) for value in board.pcb_temps_c)
        row: Json = {
            "BottomLeft": exhaust,
            "BottomRight": inner,
            "ID": board.index,
            "TEMP": number,
            "TopLeft": hottest,
            "TopRight": intake,
        }
        if not state.fan_rpm:
            row |= {"WaterInlet": round(state.inlet_c, 1), "WaterOutlet": round(state.outlet_c, 1)}
        rows.append(row)
    return rows


def temp_metadata(state: MachineState) -> list[Json]:
    """Rows of `METADATA`: what the sensors of `TEMPS` are."""
    labels = {
        "TopLeft": "Board Exhaust",
        "BottomLeft": "Board Exhaust",
        "TopRight": "Board Intake",
        "BottomRight": "Board Intake",
    }
    if not state.fan_rpm:
        labels |= {"WaterInlet": "Water Inlet", "WaterOutlet": "Water Outlet"}
    return [{"Label": label, name: label.split(" ")[1]} for name, label in labels.items()]


def profile_rows(unit: LuxosUnit) -> list[Json]:
    """Rows of `PROFILES`."""
    return [
        {
            "CanRestore": False,
            "Frequency": round(profile.frequency_mhz),
            "HasOverrides": False,
            "Hashrate": profile.hashrate_ths,
            "IsDynamic": True,
            "IsTuned": False,
            "Profile Name": profile.name,
            "Step": f"{profile.step:+d}" if profile.step else "0",
            "Voltage": profile.voltage_v,
            "Watts": profile.watts,
        }
        for profile in unit.profiles
    ]


def limits_row(unit: LuxosUnit) -> Json:
    """Row of `LIMITS`."""
    low, high = unit.watt_range
    slow, fast = unit.profiles[0], unit.profiles[-1]
    default = next(profile for profile in unit.profiles if profile.step == 0)
    row: Json = {
        "FanSpeedMax": 100,
        "FanSpeedMin": 0,
        "FrequencyDefault": round(default.frequency_mhz),
        "FrequencyMax": round(fast.frequency_mhz),
        "FrequencyMin": round(slow.frequency_mhz),
        "FrequencyStepMax": 100,
        "FrequencyStepMin": 1,
        "TemperatureHot": 65,
        "TemperatureMax": 90,
        "TemperatureMin": 0,
        "TemperaturePanic": 75,
        "TemperatureTarget": 55,
        "VoltageDefault": default.voltage_v,
        "VoltageMax": fast.voltage_v,
        "VoltageMin": slow.voltage_v,
        "VoltageStepMax": 1.0,
        "VoltageStepMin": 0.05,
    }
    return row | {"PowerTargetMax": high, "PowerTargetMin": low} if unit.targeting else row


def tuner_row(state: MachineState) -> Json:
    """Row of `TUNERSTATUS`."""
    return {"HasSession": False, "TunerRunning": state.phase == "ramping"}


def chip_rows(board: BoardState) -> list[Json]:
    """Rows of `CHIPS` of one board; the chips' rates add up to the board's."""
    chip_ghs = board.hashrate_ths * 1000.0 / board.chips if board.chips else 0.0
    return [
        {
            "Board": board.index,
            "Chip": number,
            "Frequency": round(board.frequency_mhz),
            "GHS 1m": round(chip_ghs, _CHIP_GHS_DIGITS),
            "GHS 5m": round(chip_ghs, _CHIP_GHS_DIGITS),
            "GHS 15m": round(chip_ghs, _CHIP_GHS_DIGITS),
            "Healthy": "Y",
            "Last Checked": "N/A",
            "MinimumHealthyGHS": round(0.8 * chip_ghs, _CHIP_GHS_DIGITS),
        }
        for number in range(board.chips)
    ]


def event_rows(state: MachineState) -> list[Json]:
    """Rows of `EVENTS`: what is wrong now."""
    words: dict[str, tuple[int, str, str]] = {
        "P:1": (2001, "system", "Overtemp: temperature above the dangerous threshold"),
        "J:8": (1003, "hashboard", "No chips detected on hashboard"),
    }
    rows: list[dict[str, Any]] = []
    for error in state.errors:
        code, target, text = words.get(error, (9999, "system", error))
        rows.append(
            {
                "Code": code,
                "CreatedAt": epoch(state),
                "Description": text,
                "DocUrl": "",
                "Target": target,
            }
        )
    return rows


def _system_status(state: MachineState) -> str:
    return {"idle": "Initializing", "protect": "Overtemp"}.get(state.phase, "Normal")


def _board_type(state: MachineState) -> str:
    return state.type_text.removeprefix("Antminer ").replace(" ", "")

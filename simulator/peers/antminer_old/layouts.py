"""MachineState as the JSON of old Antminers on TCP 4028; the S17's `stats` is that of the legacy layout.

Units on the wire: GH/s, MHz, whole degrees Celsius, rpm.
"""

from __future__ import annotations

from simulator.machine import MachineState
from simulator.peers.antminer.layouts import (
    Json,
    asic_map,
    epoch,
    ghs,
    legacy_summary,
    legacy_version,
    miner_id,
    present_boards,
)

S9_SLOTS = 16
S9_FIRST_SLOT = 6
S9_FAN_SLOTS = (3, 6, 4, 5)
S9_VERSION = "16.8.1.3"
PROXY_REFUSAL = b"Socket connect failed: Connection refused\n"


def status_list(
    state: MachineState, code: int, message: str, *, is_s9: bool, letter: str = "S"
) -> list[Json]:
    """The `STATUS` list of the cgminer envelope."""
    description = "bmminer 1.0.0" if is_s9 else "cgminer 1.0.0"
    return [
        {"STATUS": letter, "When": epoch(state), "Code": code, "Msg": message, "Description": description}
    ]


def s9_header(state: MachineState) -> Json:
    """First element of the S9's `STATS`: who made it."""
    return {
        "BMMiner": "2.0.0",
        "Miner": S9_VERSION,
        "CompileTime": state.firmware_version,
        "Type": state.type_text,
    }


def s9_stats(state: MachineState) -> Json:
    """Second element of the S9's `STATS`: boards in slots 6 to 8, fans in 3 and 6, strings for rates."""
    boards = {S9_FIRST_SLOT + board.index: board for board in present_boards(state)}
    slots = [(slot, boards.get(slot)) for slot in range(1, S9_SLOTS + 1)]
    fans = dict(zip(S9_FAN_SLOTS, state.fan_rpm, strict=False))
    row: Json = {
        "STATS": 0,
        "ID": "BC50",
        "Elapsed": int(state.elapsed_s),
        "Calls": 0,
        "Wait": 0.0,
        "Max": 0.0,
        "Min": 99999999.0,
        "GHS 5s": f"{ghs(state.hashrate_5s_ths):.2f}",
        "GHS av": ghs(state.hashrate_avg_ths),
        "miner_count": len(boards),
        "frequency": f"{round(state.frequency_mhz)}",
        "fan_num": len(state.fan_rpm),
    }
    row |= {f"fan{slot}": round(fans.get(slot, 0)) for slot in range(1, 9)}
    row["temp_num"] = len(boards)
    row |= {f"temp{slot}": round(max(board.pcb_temps_c)) if board else 0 for slot, board in slots}
    row |= {f"temp2_{slot}": round(max(board.chip_temps_c)) if board else 0 for slot, board in slots}
    row |= {f"temp3_{slot}": 0 for slot, _ in slots}
    row |= {f"freq_avg{slot}": round(board.frequency_mhz, 2) if board else 0 for slot, board in slots}
    row["total_rateideal"] = ghs(state.hashrate_ideal_ths)
    row["total_freqavg"] = round(state.frequency_mhz, 2)
    row["total_acn"] = sum(board.chips for board in boards.values())
    row["total_rate"] = ghs(state.hashrate_5s_ths)
    row |= {f"chain_rateideal{slot}": ghs(board.ideal_ths) if board else 0 for slot, board in slots}
    row["temp_max"] = max((round(max(board.chip_temps_c)) for board in boards.values()), default=0)
    row["Device Hardware%"] = 0.0
    row["no_matching_work"] = sum(board.hw_errors for board in boards.values())
    row |= {f"chain_acn{slot}": board.chips if board else 0 for slot, board in slots}
    row |= {f"chain_acs{slot}": asic_map(board, 8) if board else "" for slot, board in slots}
    row |= {f"chain_hw{slot}": board.hw_errors if board else 0 for slot, board in slots}
    row |= {f"chain_rate{slot}": f"{ghs(board.hashrate_ths):.2f}" if board else "" for slot, board in slots}
    row["miner_version"] = S9_VERSION
    row["miner_id"] = miner_id(state)
    return row


def s9_summary(state: MachineState) -> Json:
    """Row of the S9's `SUMMARY`: the short rate is a string, and there is none over half an hour."""
    row = legacy_summary(state) | {"GHS 5s": f"{ghs(state.hashrate_5s_ths):.2f}"}
    del row["GHS 30m"]
    return row


def version(state: MachineState, *, is_s9: bool) -> Json:
    """Row of `VERSION`."""
    row = legacy_version(state)
    return row | {"BMMiner": "2.0.0", "Miner": S9_VERSION} if is_s9 else row

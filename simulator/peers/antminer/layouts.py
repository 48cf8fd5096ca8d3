"""MachineState as the JSON of stock Antminers in cgminer's own layout.

Units on the wire: GH/s, MHz, whole degrees Celsius, rpm. Sockets and commands are left to the servers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from simulator.machine import BoardState, MachineState, PoolEntry

Json = dict[str, Any]

LEGACY_SLOTS = 4
DESCRIPTION = "cgminer 1.0.0"


def ghs(rate_ths: float) -> float:
    """TH/s as the firmware's GH/s with two decimals."""
    return round(rate_ths * 1000.0, 2)


def status_list(state: MachineState, code: int, message: str, letter: str = "S") -> list[Json]:
    """The `STATUS` list of the cgminer envelope."""
    return [
        {"STATUS": letter, "When": epoch(state), "Code": code, "Msg": message, "Description": DESCRIPTION}
    ]


def epoch(state: MachineState) -> int:
    """The device's time in whole seconds since 1970."""
    return int(state.now.timestamp())


def is_silent(state: MachineState) -> bool:
    """True while there is nothing to show: asleep, or up and not hashing yet."""
    return state.phase in ("sleep", "idle")


def present_boards(state: MachineState) -> list[BoardState]:
    """Boards that answer on their bus."""
    return [board for board in state.boards if board.present]


def legacy_header(state: MachineState) -> Json:
    """First element of legacy `STATS`: who made it."""
    return {
        "BMMiner": "1.0.0",
        "Miner": "49.0.1.3",
        "CompileTime": state.firmware_version,
        "Type": state.type_text,
    }


def legacy_stats(state: MachineState) -> Json:
    """Second element of legacy `STATS` (S17 to S21): slots 1 to 4, of which the fourth stays empty."""
    boards = {board.index: board for board in present_boards(state)}
    slots = [(slot, boards.get(slot - 1)) for slot in range(1, LEGACY_SLOTS + 1)]
    temperatures = [(slot, board) for slot, board in slots if board is not None]
    row: Json = {
        "STATS": 0,
        "ID": "BTM_SOC0",
        "Elapsed": int(state.elapsed_s),
        "Calls": 0,
        "Wait": 0,
        "Max": 0,
        "Min": 99999999,
        "GHS 5s": ghs(state.hashrate_5s_ths),
        "GHS av": ghs(state.hashrate_avg_ths),
        "rate_30m": ghs(state.hashrate_30m_ths),
        "Mode": 2,
        "miner_count": len(boards),
        "frequency": round(state.frequency_mhz),
        "fan_num": len(state.fan_rpm),
    }
    row |= {f"fan{number}": round(rpm) for number, rpm in enumerate(_fans(state), start=1)}
    row["temp_num"] = len(boards)
    row |= {f"temp{slot}": round(max(board.pcb_temps_c)) for slot, board in temperatures}
    row |= {f"temp2_{slot}": round(max(board.chip_temps_c)) for slot, board in temperatures}
    row["temp_max"] = 0
    for slot, board in slots:
        row[f"temp_pcb{slot}"] = _joined(board.pcb_temps_c if board else None)
        row[f"temp_chip{slot}"] = _joined(board.chip_temps_c if board else None)
        row[f"temp_pic{slot}"] = _joined(pic_temps(state) if board else None)
    row |= {f"freq{slot}": round(board.frequency_mhz) if board else 0 for slot, board in slots}
    row["total_rateideal"] = ghs(state.hashrate_ideal_ths)
    row["rate_unit"] = "GH"
    row["total_freqavg"] = round(state.frequency_mhz)
    row["total_acn"] = sum(board.chips for board in boards.values())
    row["total rate"] = ghs(state.hashrate_avg_ths)
    row["no_matching_work"] = sum(board.hw_errors for board in boards.values())
    row |= {f"chain_acn{slot}": board.chips if board else 0 for slot, board in slots}
    row |= {f"chain_acs{slot}": asic_map(board, 3) if board else "" for slot, board in slots}
    row |= {f"chain_hw{slot}": board.hw_errors if board else 0 for slot, board in slots}
    row |= {f"chain_rate{slot}": f"{ghs(board.hashrate_ths):.2f}" if board else "" for slot, board in slots}
    row["miner_version"] = "49.0.1.3"
    row["miner_id"] = miner_id(state)
    return row


def legacy_version(state: MachineState) -> Json:
    """Row of legacy `VERSION`."""
    return {
        "BMMiner": "1.0.0",
        "API": "3.1",
        "Miner": "49.0.1.3",
        "CompileTime": state.firmware_version,
        "Type": state.type_text,
    }


def legacy_summary(state: MachineState) -> Json:
    """Row of legacy `SUMMARY`."""
    shares = max(1, state.accepted + state.rejected + state.stale)
    minutes = max(state.elapsed_s / 60.0, 1.0 / 60.0)
    difficulty = state.share_difficulty
    return {
        "Elapsed": int(state.elapsed_s),
        "GHS 5s": ghs(state.hashrate_5s_ths),
        "GHS av": ghs(state.hashrate_avg_ths),
        "GHS 30m": ghs(state.hashrate_30m_ths),
        "Found Blocks": 0,
        "Getworks": int(state.elapsed_s / 30.0),
        "Accepted": state.accepted,
        "Rejected": state.rejected,
        "Hardware Errors": sum(board.hw_errors for board in state.boards),
        "Utility": round(state.accepted / minutes, 2),
        "Discarded": 0,
        "Stale": state.stale,
        "Get Failures": 0,
        "Local Work": int(state.elapsed_s * 12.0),
        "Remote Failures": 0,
        "Network Blocks": int(state.elapsed_s / 600.0),
        "Total MH": round(state.hashrate_avg_ths * 1e6 * state.elapsed_s, 4),
        "Work Utility": round(state.accepted * difficulty / minutes, 2),
        "Difficulty Accepted": float(state.accepted * difficulty),
        "Difficulty Rejected": float(state.rejected * difficulty),
        "Difficulty Stale": float(state.stale * difficulty),
        "Best Share": int(state.best_share),
        "Device Hardware%": 0.0,
        "Device Rejected%": round(100.0 * state.rejected / shares, 4),
        "Pool Rejected%": round(100.0 * state.rejected / shares, 4),
        "Pool Stale%%": round(100.0 * state.stale / shares, 4),
        "Last getwork": epoch(state),
    }


def legacy_pools(state: MachineState, pools: Sequence[PoolEntry]) -> list[Json]:
    """Rows of legacy `POOLS`; all shares went to the first pool."""
    rows: list[Json] = []
    difficulty = int(state.share_difficulty)
    for index, pool in enumerate(pools):
        active = index == 0 and bool(pool.url)
        accepted, rejected, stale = shares_of(state, active=active)
        shares = max(1, accepted + rejected + stale)
        rows.append(
            {
                "POOL": index,
                "URL": pool.url,
                "Status": "Alive" if pool.url else "Dead",
                "Priority": index,
                "Quota": 1,
                "Long Poll": "N",
                "Getworks": int(state.elapsed_s / 30.0) if active else 0,
                "Accepted": accepted,
                "Rejected": rejected,
                "Discarded": 0,
                "Stale": stale,
                "Get Failures": 0,
                "Remote Failures": 0,
                "User": pool.user,
                "Last Share Time": "0:00:03" if accepted else "0",
                "Diff": f"{difficulty // 1000}K" if active else "",
                "Diff1 Shares": 0,
                "Proxy Type": "",
                "Proxy": "",
                "Difficulty Accepted": float(accepted * difficulty),
                "Difficulty Rejected": float(rejected * difficulty),
                "Difficulty Stale": float(stale * difficulty),
                "Last Share Difficulty": float(difficulty) if accepted else 0.0,
                "Has Stratum": True,
                "Stratum Active": active,
                "Stratum URL": pool.url.rpartition("//")[2].partition(":")[0] if active else "",
                "Has GBT": False,
                "Best Share": int(state.best_share) if active else 0,
                "Pool Rejected%": round(100.0 * rejected / shares, 4),
                "Pool Stale%%": round(100.0 * stale / shares, 4),
            }
        )
    return rows


def legacy_devs(state: MachineState) -> list[Json]:
    """Rows of legacy `DEVS`, one per board, in MH/s."""
    return [
        {
            "ASC": number,
            "Name": "BTM_SOC",
            "ID": board.index,
            "Enabled": "Y",
            "Status": "Alive",
            "Temperature": float(round(max(board.pcb_temps_c))),
            "MHS av": round(board.hashrate_ths * 1e6, 2),
            "MHS 5s": round(board.hashrate_ths * 1e6, 2),
            "Accepted": state.accepted // max(1, len(state.boards)),
            "Rejected": state.rejected // max(1, len(state.boards)),
            "Hardware Errors": board.hw_errors,
            "Device Elapsed": int(state.elapsed_s),
        }
        for number, board in enumerate(present_boards(state))
    ]


def asic_map(board: BoardState, group: int) -> str:
    """One letter per chip, `o` for good and `x` for dead, in groups after a space."""
    letters = "o" * board.chips + "x" * max(0, board.chips_expected - board.chips)
    return "".join(f" {letters[start : start + group]}" for start in range(0, len(letters), group))


def _fans(state: MachineState) -> tuple[float, ...]:
    fans = tuple(state.fan_rpm[:4])
    return fans + (0.0,) * (4 - len(fans))


def rounded(values: Sequence[float]) -> list[int]:
    """Whole numbers."""
    return [round(value) for value in values]


def _joined(values: Sequence[float] | None) -> str:
    return "-".join(str(round(value)) for value in values) if values else "0-0-0-0"


def pic_temps(state: MachineState) -> tuple[float, ...]:
    """Temperatures of the air sensors."""
    # Sensors 1 and 2 sit on the outlet side, 3 and 4 on the inlet side.
    return (state.outlet_c, state.outlet_c, state.inlet_c, state.inlet_c)


def miner_id(state: MachineState) -> str:
    """Sixteen hex digits of its own."""
    return state.mac.replace(":", "").lower().rjust(16, "8")


def shares_of(state: MachineState, *, active: bool) -> tuple[int, int, int]:
    """Accepted, rejected and stale shares of a pool: all of them, or none."""
    return (state.accepted, state.rejected, state.stale) if active else (0, 0, 0)

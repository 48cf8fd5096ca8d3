"""MachineState as the JSON of the newer Antminer API, which 4028 and the web pages share.

`STATUS` is an object here and keys are lower case. Units as in `layouts`.
"""

from __future__ import annotations

from collections.abc import Sequence

from simulator.machine import MachineState, PoolEntry
from simulator.peers.antminer.layouts import (
    Json,
    asic_map,
    epoch,
    ghs,
    pic_temps,
    present_boards,
    rounded,
    shares_of,
)

MODE_NUMBERS = {"normal": 0, "sleep": 1, "high": 2, "efficient": 2, "low": 3}


def new_envelope(state: MachineState, message: str) -> Json:
    """`STATUS` (an object here) and `INFO` of every new-API reply."""
    return {
        "STATUS": {"STATUS": "S", "when": epoch(state), "Msg": message, "api_version": "1.0.0"},
        "INFO": {
            "miner_version": "uart_trans.1.3",
            "CompileTime": state.firmware_version,
            "type": state.type_text,
        },
    }


def new_stats(state: MachineState) -> Json:
    """Row of new-API `STATS`."""
    boards = present_boards(state)
    return {
        "elapsed": int(state.elapsed_s),
        "rate_5s": ghs(state.hashrate_5s_ths),
        "rate_30m": ghs(state.hashrate_30m_ths),
        "rate_avg": ghs(state.hashrate_avg_ths),
        "rate_ideal": ghs(state.hashrate_ideal_ths),
        "rate_unit": "GH/s",
        "chain_num": len(boards),
        "fan_num": len(state.fan_rpm),
        "fan": [round(rpm) for rpm in state.fan_rpm],
        "hwp_total": 0.0,
        "miner-mode": MODE_NUMBERS.get(state.work_mode, 0),
        "freq-level": 100,
        "chain": [
            {
                "index": board.index,
                "freq_avg": round(board.frequency_mhz),
                "rate_ideal": ghs(board.ideal_ths),
                "rate_real": ghs(board.hashrate_ths),
                "asic_num": board.chips,
                "asic": asic_map(board, 3),
                "temp_pic": rounded(pic_temps(state)),
                "temp_pcb": rounded(board.pcb_temps_c),
                "temp_chip": rounded(board.chip_temps_c),
                "hw": board.hw_errors,
                "eeprom_loaded": True,
                "sn": board.serial,
                "hwp": 0.0,
                "tpl": [rounded(board.chip_temps_c)],
            }
            for board in boards
        ],
    }


def new_summary(state: MachineState) -> Json:
    """Row of new-API `SUMMARY`; each check is `s` (success) or `e` (error)."""
    codes = state.errors
    checks = {
        "rate": [code for code in codes if code.startswith(("R", "J", "V", "L", "N:1", "N:2"))],
        "network": [code for code in codes if code.startswith("N:4")],
        "fans": [code for code in codes if code.startswith("F")],
        "temp": [code for code in codes if code.startswith("P")],
    }
    return {
        "elapsed": int(state.elapsed_s),
        "rate_5s": ghs(state.hashrate_5s_ths),
        "rate_30m": ghs(state.hashrate_30m_ths),
        "rate_avg": ghs(state.hashrate_avg_ths),
        "rate_ideal": ghs(state.hashrate_ideal_ths),
        "rate_unit": "GH/s",
        "hw_all": sum(board.hw_errors for board in state.boards),
        "bestshare": int(state.best_share),
        "status": [
            {
                "type": kind,
                "status": "e" if found else "s",
                "code": _code_number(found[0]) if found else 0,
                "msg": found[0] if found else "",
            }
            for kind, found in checks.items()
        ],
    }


def new_pools(state: MachineState, pools: Sequence[PoolEntry]) -> list[Json]:
    """Rows of new-API `POOLS`: lower-case keys."""
    rows: list[Json] = []
    difficulty = int(state.share_difficulty)
    for index, pool in enumerate(pools):
        active = index == 0 and bool(pool.url)
        accepted, rejected, stale = shares_of(state, active=active)
        rows.append(
            {
                "index": index,
                "url": pool.url,
                "user": pool.user,
                "status": "Alive" if pool.url else "Dead",
                "priority": index,
                "getworks": int(state.elapsed_s / 30.0) if active else 0,
                "accepted": accepted,
                "rejected": rejected,
                "discarded": 0,
                "stale": stale,
                "diff": f"{difficulty // 1000}K" if active else "",
                "diff1": 0,
                "diffa": accepted * difficulty,
                "diffr": rejected * difficulty,
                "diffs": stale * difficulty,
                "lsdiff": difficulty if accepted else 0,
                "lstime": "0:0:3" if accepted else "0",
            }
        )
    return rows


def new_rate(state: MachineState) -> list[Json]:
    """Rows of new-API `RATE` (the web page's chart); only the newest point is kept."""
    return [
        {
            "unit": "GH/s",
            "xAxis": ["1m"],
            "series": [{"name": "rate_1min", "data": [ghs(state.hashrate_ths)]}],
        }
    ]


def _code_number(code: str) -> int:
    digits = code.rpartition(":")[2]
    return int(digits) if digits.isdigit() else 1

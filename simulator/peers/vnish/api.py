"""The cgminer API of VNish on TCP 4028: `version` and little else; the figures are on the page."""

from __future__ import annotations

import asyncio
import json

from simulator.machine import MachineState
from simulator.peers.antminer.layouts import Json, epoch, ghs
from simulator.peers.faults import send
from simulator.peers.listener import Hangup, compact, read_json_request
from simulator.peers.vnish import layouts
from simulator.peers.vnish.unit import FIRMWARE, VnishUnit

REQUEST_LIMIT_BYTES = 8192
IDLE_S = 10.0
_DESCRIPTION = "cgminer 4.11.1"


class VnishApi:
    """Answers connections to port 4028."""

    def __init__(self, unit: VnishUnit) -> None:
        self._unit = unit

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection.

        Raises:
            Hangup: the mining process is down.
        """
        raw = await read_json_request(reader, REQUEST_LIMIT_BYTES, IDLE_S)
        if not raw:
            return
        surface = self._unit.surface
        state = surface.state()
        faults = surface.faults
        if not state.process_up or faults.process_down:
            raise Hangup
        body = compact(self.answer(raw, state)) + b"\x00"
        await send(writer, faults.spoil_json(body), faults)

    def answer(self, raw: bytes, state: MachineState) -> Json:
        """The reply to one request."""
        try:
            request = json.loads(raw.strip(b"\x00\r\n\t "))
        except (ValueError, RecursionError):
            request = None
        command = request.get("command") if isinstance(request, dict) else None
        if command == "stats":
            return _reply(state, 70, "CGMiner stats", "STATS", self._stats(state))
        if command == "summary":
            return _reply(state, 11, "Summary", "SUMMARY", [self._summary(state)])
        if command == "pools":
            rows = self._pools(state)
            return _reply(state, 7, f"{len(rows)} Pool(s)", "POOLS", rows)
        if command == "devs":
            rows = self._devs(state)
            return _reply(state, 9, f"{len(rows)} ASC(s)", "DEVS", rows)
        if command == "devdetails":
            return _reply(state, 69, "Device Details", "DEVDETAILS", [_device(state)]) | {"id": 1}
        return {"STATUS": _status(state, 0, "Invalid command", "E")}

    def _stats(self, state: MachineState) -> list[Json]:
        header = {
            "Type": layouts.miner_type(state),
            "Miner": "0.0.0",
            "Cgminer": FIRMWARE,
            "CompileTime": layouts.BUILD_TIME,
        }
        row: Json = {
            "Elapsed": int(state.elapsed_s),
            # Bare in `summary`, a string here.
            "GHS 5s": f"{ghs(state.hashrate_5s_ths):.2f}",
            "GHS av": ghs(state.hashrate_avg_ths),
        }
        word = self._unit.word(state)
        present = [board for board in state.boards if board.present]
        watts = layouts.board_watts(state)
        for board in present:
            slot = board.index + 1
            pcb, chip = board.pcb_temps_c, board.chip_temps_c
            row[f"temp_sens{slot}"] = "m-m-m-m"
            row[f"temp{slot}"] = round(max(pcb))
            row[f"temp2_{slot}"] = row[f"temp3_{slot}"] = round(max(chip))
            row[f"temp_chip{slot}"] = _four(chip)
            row[f"temp_pcb{slot}"] = _four(pcb)
            if watts is not None and not self._unit.surface.faults.unknown_power:
                row[f"chain_consumption{slot}"] = watts
        row |= {
            "fan_num": len(state.fan_rpm),
            "fan_mode": 1 if state.fan_manual else 0,
            "fan_pwm": layouts.cooling(state)["fan_duty"],
        }
        row |= {f"fan{number}": round(rpm) for number, rpm in enumerate(state.fan_rpm, start=1)}
        for board in state.boards:
            slot = board.index + 1
            row[f"chain_hw{slot}"] = board.hw_errors
            row[f"chain_rateideal{slot}"] = ghs(board.ideal_ths)
            row[f"chain_rate{slot}"] = layouts.board_ghs(state, board)
            row[f"freq_avg{slot}"] = round(board.frequency_mhz, 1)
            row[f"chain_vol{slot}"] = round(board.voltage_v * 1000.0)
            row[f"chain_state{slot}"] = word if board.present else "failure"
            row[f"chain_fault{slot}"] = "" if board.present else "Chain not found"
            row[f"chain_acn{slot}"] = board.chips
        row |= {
            "state": word,
            "total_rate": ghs(state.hashrate_5s_ths),
            "total_rateideal": ghs(state.hashrate_ideal_ths),
            "total_acn": sum(board.chips for board in present),
        }
        return [header, row]

    def _summary(self, state: MachineState) -> Json:
        difficulty = state.share_difficulty
        return {
            "Elapsed": int(state.elapsed_s),
            "Device Hardware%": 0.0,
            "GHS 5s": ghs(state.hashrate_5s_ths),
            "GHS av": ghs(state.hashrate_avg_ths),
            "GHS 30m": ghs(state.hashrate_30m_ths),
            "Stale": state.stale,
            "Found Blocks": 0,
            "Getworks": 0,
            "Accepted": state.accepted,
            "Rejected": state.rejected,
            "Hardware Errors": sum(board.hw_errors for board in state.boards),
            "Utility": 0.0,
            "Discarded": 0,
            "Get Failures": 0,
            "Local Work": 0,
            "Remote Failures": 0,
            "Network Blocks": 0,
            "Total MH": 0,
            "Work Utility": 0.0,
            "Difficulty Accepted": float(state.accepted * difficulty),
            "Difficulty Rejected": float(state.rejected * difficulty),
            "Difficulty Stale": float(state.stale * difficulty),
            "Best Share": state.best_share,
            "Device Rejected%": 0.0,
            "Pool Rejected%": 0.0,
            "Pool Stale%": 0.0,
            "Last getwork": 0,
            "Fee Percent": layouts.FEE_PERCENT,
        }

    def _pools(self, state: MachineState) -> list[Json]:
        return [
            {
                "POOL": pool["id"],
                "URL": pool["url"],
                "Type": 0 if pool["pool_type"] == "UserPool" else 1,
                "User": pool["user"],
                "Status": "Dead" if pool["status"] == "offline" else "Alive",
                "Diff": pool["diff"],
                "Accepted": pool["accepted"],
                "Rejected": pool["rejected"],
                "Stale": pool["stale"],
                "Last Share Difficulty": pool["ls_diff"],
                "Last Share Time": pool["ls_time"],
                "Stratum Active": pool["status"] == "active",
                "Has Vmask": True,
                "Difficulty Accepted": pool["diffa"],
                "Difficulty Rejected": float(pool["rejected"] * state.share_difficulty),
                "Difficulty Stale": float(pool["stale"] * state.share_difficulty),
            }
            for pool in layouts.summary_pools(state, self._unit)
        ]

    def _devs(self, state: MachineState) -> list[Json]:
        return [
            {
                "ASC": number,
                "Name": "BTM",
                "ID": board.index,
                "Enabled": "Y",
                "Status": "Alive",
                "Temperature": float(round(max(board.pcb_temps_c))),
                "MHS 1m": round(board.hashrate_ths * 1e6, 2),
                "MHS 5m": round(board.hashrate_ths * 1e6, 2),
                "MHS 15m": round(board.hashrate_ths * 1e6, 2),
                "Hardware Errors": board.hw_errors,
            }
            for number, board in enumerate(board for board in state.boards if board.present)
        ]


def _device(state: MachineState) -> Json:
    model = state.type_text.removeprefix("Antminer ").replace(" ", "").replace(".", "")
    return {
        "DEVDETAILS": 0,
        "Name": f"BTM_{model.upper()}",
        "ID": 0,
        "Driver": f"bitmain_{model.lower()}_drv",
        "Kernel": "",
        "Model": "",
        "Device Path": "",
    }


def _status(state: MachineState, code: int, message: str, letter: str) -> list[Json]:
    return [
        {"STATUS": letter, "When": epoch(state), "Code": code, "Msg": message, "Description": _DESCRIPTION}
    ]


def _reply(state: MachineState, code: int, message: str, key: str, rows: list[Json]) -> Json:
    return {"STATUS": _status(state, code, message, "S"), key: rows}


def _four(values: tuple[float, float, float, float]) -> str:
    high, low = round(max(values)), round(min(values))
    return f"{high}-{low}-{high}-{high}"

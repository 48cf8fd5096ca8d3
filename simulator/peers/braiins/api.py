"""The cgminer API of Braiins OS on TCP 4028, served by BOSer; its old clients know the unit by `version`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from simulator.machine import MachineState
from simulator.peers.antminer.layouts import Json, epoch
from simulator.peers.braiins import layouts, settings
from simulator.peers.braiins.refusals import Refusal
from simulator.peers.braiins.tuner import TUNING
from simulator.peers.braiins.unit import BraiinsUnit
from simulator.peers.faults import send
from simulator.peers.listener import compact, read_json_request

REQUEST_LIMIT_BYTES = 8192
IDLE_S = 10.0
MAX_COMMANDS = 16
SOFTWARE = "boser-buildroot 0.1.0-5b1f7c02"
_INVALID = 14
_NOT_READY = 302


class BraiinsApi:
    """Answers connections to port 4028."""

    def __init__(self, unit: BraiinsUnit) -> None:
        self._unit = unit
        self._commands: dict[str, tuple[int, str, Callable[[MachineState], list[Json]]]] = {
            "summary": (11, "Summary", self._summary),
            "pools": (7, "{} Pool(s)", self._pools),
            "devs": (9, "{} ASC(s)", self._devs),
            "devdetails": (69, "Device Details", self._devdetails),
            "temps": (201, "{} Temps", self._temps),
            "fans": (202, "{} Fans", self._fans),
            "tunerstatus": (204, "Tuner Status", self._tunerstatus),
        }

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        raw = await read_json_request(reader, REQUEST_LIMIT_BYTES, IDLE_S)
        state = self._unit.surface.state()
        if not raw or not state.ports_open:
            return
        faults = self._unit.surface.faults
        body = faults.spoil_json(compact(self.answer(raw, state)))
        await send(writer, body + b"\n", faults)

    def answer(self, raw: bytes, state: MachineState) -> Json:
        """The reply to one request, which may join commands with `+`."""
        try:
            request = json.loads(raw.strip(b"\x00\r\n\t "))
        except (ValueError, RecursionError):
            request = None
        command = request.get("command") if isinstance(request, dict) else None
        if not isinstance(command, str):
            return _refusal(state, _INVALID, "Missing JSON 'command'")
        names = command.split("+")
        if len(names) == 1:
            return self._one(command, state)
        return {name: [self._one(name, state)] for name in names[:MAX_COMMANDS]} | {"id": 1}

    def _one(self, command: str, state: MachineState) -> Json:
        if command == "version":
            rows = [{"API": "3.7", "BOSer": SOFTWARE}]
            return _reply(state, 22, "BOSer versions", "VERSION", rows)
        if command in ("pause", "resume"):
            return self._switch(command, state)
        known = self._commands.get(command)
        if known is None:
            return _refusal(state, _INVALID, "Invalid command")
        if not self._unit.running(state):
            return _refusal(state, _NOT_READY, "Not ready")
        code, message, rows_of = known
        rows = rows_of(state)
        return _reply(state, code, message.format(len(rows)), command.upper(), rows)

    def _switch(self, command: str, state: MachineState) -> Json:
        if not self._unit.surface.write_open:
            return _refusal(state, 45, "Access denied")
        try:
            done = self._unit.pause() if command == "pause" else self._unit.resume()
        except Refusal:
            return _refusal(state, _NOT_READY, "Not ready")
        return _reply(state, 26, command.capitalize(), command.upper(), [not done])

    def _summary(self, state: MachineState) -> list[Json]:
        difficulty = state.share_difficulty
        return [
            {
                "Accepted": state.accepted,
                "Best Share": state.best_share,
                "Device Hardware%": 0.0,
                "Device Rejected%": 0.0,
                "Difficulty Accepted": float(state.accepted * difficulty),
                "Difficulty Rejected": float(state.rejected * difficulty),
                "Difficulty Stale": float(state.stale * difficulty),
                "Discarded": 0,
                "Elapsed": int(state.elapsed_s),
                "Found Blocks": 0,
                "Hardware Errors": sum(board.hw_errors for board in state.boards),
                "Last getwork": epoch(state),
                "Rejected": state.rejected,
                "Remote Failures": 0,
                "Stale": state.stale,
            }
            | _rates(state, 1.0)
        ]

    def _pools(self, state: MachineState) -> list[Json]:
        pools = [pool for group in settings.pool_groups(state, self._unit) for pool in group["pools"]]
        return [
            {
                "POOL": number,
                "URL": pool["url"],
                "Stratum URL": pool["url"].partition("://")[2],
                "User": pool["user"],
                "Status": "Alive" if pool["alive"] else "Disabled" if not pool["enabled"] else "Dead",
                "Priority": number,
                "Quota": 1,
                "Accepted": pool["stats"]["accepted_shares"],
                "Rejected": pool["stats"]["rejected_shares"],
                "Stale": pool["stats"]["stale_shares"],
                "Get Failures": 0,
                "Remote Failures": 0,
                "Last Share Difficulty": float(pool["stats"]["last_difficulty"]),
                "Stratum Active": pool["active"],
                "Stratum Difficulty": float(pool["stats"]["last_difficulty"]),
            }
            for number, pool in enumerate(pools)
        ]

    def _devs(self, state: MachineState) -> list[Json]:
        rows: list[Json] = []
        for number, board in enumerate(layouts.present_boards(state)):
            share = board.hashrate_ths / state.hashrate_ths if state.hashrate_ths > 0.0 else 0.0
            row: Json = {
                "ASC": number,
                "Enabled": "Y",
                "Hardware Errors": board.hw_errors,
                "ID": board.index + 1,
                "Name": "",
                "Nominal MHS": round(board.ideal_ths * 1e6, 2),
                "Status": "Alive",
                "Temperature": round(max(board.pcb_temps_c), 1),
            }
            rows.append(row | _rates(state, share))
        return rows

    def _devdetails(self, state: MachineState) -> list[Json]:
        return [
            {
                "Chips": board.chips,
                "Cores": 0,
                "DEVDETAILS": number,
                "Device Path": "",
                "Driver": "",
                "Frequency": round(board.frequency_mhz * 1e6),
                "ID": board.index + 1,
                "Kernel": "",
                "Model": state.type_text,
                "Name": "",
                "Voltage": round(board.voltage_v, 2),
            }
            for number, board in enumerate(layouts.present_boards(state))
        ]

    def _temps(self, state: MachineState) -> list[Json]:
        return [
            {
                "Board": round(max(board.pcb_temps_c), 1),
                "Chip": round(max(board.chip_temps_c), 1),
                "ID": board.index + 1,
                "TEMP": number,
            }
            for number, board in enumerate(layouts.present_boards(state))
        ]

    def _fans(self, state: MachineState) -> list[Json]:
        return [
            {"FAN": n, "ID": n, "RPM": round(rpm), "Speed": round(100.0 * layouts.fan_ratio(state, rpm))}
            for n, rpm in enumerate(state.fan_rpm)
        ]

    def _tunerstatus(self, state: MachineState) -> list[Json]:
        tuner = self._unit.tuner
        tuning = tuner.progress(state) == TUNING
        boards = layouts.present_boards(state)
        watts = layouts.watts(state, self._unit)
        target = tuner.current(state)
        each = None if watts is None or not boards else round(watts / len(boards))
        return [
            {
                "ApproximateChainPowerConsumption": watts,
                "ApproximateMinerPowerConsumption": watts,
                "DynamicPowerScaling": "Disabled",
                "PowerLimit": int(target.value) if target.mode == "power" else None,
                "TunerChainStatus": [
                    {
                        "ApproximatePowerConsumptionWatt": each,
                        "HashchainIndex": board.index + 1,
                        "Status": "Tuning individual chips" if tuning else "Stable",
                        "TunerRunning": tuning,
                    }
                    for board in boards
                ],
            }
        ]


def _rates(state: MachineState, share: float) -> dict[str, Any]:
    return {
        "MHS 5s": round(state.hashrate_5s_ths * share * 1e6, 2),
        "MHS 1m": round(state.hashrate_ths * share * 1e6, 2),
        "MHS 5m": round(state.hashrate_5m_ths * share * 1e6, 2),
        "MHS 15m": round(state.hashrate_15m_ths * share * 1e6, 2),
        "MHS av": round(state.hashrate_avg_ths * share * 1e6, 2),
    }


def _status(state: MachineState, code: int, message: str, letter: str) -> list[Json]:
    description = f"BOSer {SOFTWARE}"
    return [
        {"STATUS": letter, "When": epoch(state), "Code": code, "Msg": message, "Description": description}
    ]


def _refusal(state: MachineState, code: int, message: str) -> Json:
    return {"STATUS": _status(state, code, message, "E"), "id": 1}


def _reply(state: MachineState, code: int, message: str, key: str, rows: list[Any]) -> Json:
    return {"STATUS": _status(state, code, message, "S"), key: rows, "id": 1}

"""A control API on loopback for a running farm: look at miners, switch faults, break and mend hardware."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import Any

from agent.errors import InputError
from simulator.farm import Farm
from simulator.fault_script import FaultPlayer
from simulator.peers.faults import NO_FAULTS
from simulator.peers.http import Request, Response, serve_connection

_JSON = (("Content-Type", "application/json"),)
HELP = {
    "GET /miners": "address, MAC, model, phase, rate, watts and faults of every miner",
    "GET /miners/ADDRESS": "one miner",
    "PUT /miners/ADDRESS/faults": 'switch faults on: {"hang": true}; {} gives it back to the faults file',
    "POST /miners/ADDRESS/power": '{"on": false} pulls the plug, {"on": true} puts it back',
    "POST /miners/ADDRESS/missing_boards": '{"boards": [0]}; an empty list mends',
}


class Control:
    """Answers control requests for one farm."""

    def __init__(self, farm: Farm, player: FaultPlayer) -> None:
        self._farm = farm
        self._player = player

    async def serve(self, port: int) -> asyncio.Server:
        """Listen on 127.0.0.1, on any free port for 0.

        Raises:
            OSError: the port cannot be bound.
        """
        return await asyncio.start_server(self._connection, "127.0.0.1", port)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve_connection(reader, writer, self._answer, server="", faults=lambda: NO_FAULTS)
        except OSError:
            return
        finally:
            writer.close()

    async def _answer(self, request: Request) -> Response:
        try:
            found = await self._do(request)
        except InputError as error:
            return _json(400, {"error": str(error)})
        except OSError as error:
            return _json(500, {"error": str(error)})
        return _json(404, {"error": "no such request", "known": HELP}) if found is None else _json(200, found)

    async def _do(self, request: Request) -> Any:
        parts = request.path.strip("/").split("/")
        if parts[0] != "miners" or len(parts) > 3:
            return None
        if len(parts) == 1:
            if request.method != "GET":
                return None
            return {"miners": [self._miner(address) for address in self._farm.machines]}
        address = parts[1]
        if address not in self._farm.machines:
            raise InputError(f"no miner at {address}")
        if len(parts) == 2:
            return self._miner(address) if request.method == "GET" else None
        if (request.method, parts[2]) == ("PUT", "faults"):
            await self._player.switch(address, _object(request))
        elif (request.method, parts[2]) == ("POST", "power"):
            self._power(address, _object(request).get("on"))
        elif (request.method, parts[2]) == ("POST", "missing_boards"):
            self._boards(address, _object(request).get("boards"))
        else:
            return None
        return self._miner(address)

    def _power(self, address: str, on: object) -> None:
        if not isinstance(on, bool):
            raise InputError('expected {"on": true} or {"on": false}')
        machine = self._farm.machines[address]
        if on:
            machine.restore_power()
        else:
            machine.cut_power()

    def _boards(self, address: str, boards: object) -> None:
        if not isinstance(boards, list) or not all(type(board) is int for board in boards):
            raise InputError('expected {"boards": [0, 1]}')
        self._farm.machines[address].set_missing_boards(boards)

    def _miner(self, address: str) -> dict[str, Any]:
        state = self._farm.machines[address].state()
        faults = asdict(self._farm.peers[address].faults)
        return {
            "address": address,
            "mac": state.mac,
            "model": state.model,
            "phase": state.phase,
            "hashrate_ths": round(state.hashrate_ths, 3),
            "power_w": round(state.power_w, 1),
            "faults": {name: value for name, value in faults.items() if value and name != "seed"},
        }


def _object(request: Request) -> dict[str, Any]:
    try:
        found = json.loads(request.body or b"{}")
    except (ValueError, RecursionError) as error:
        raise InputError(f"the body is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise InputError("the body is not a JSON object")
    return found


def _json(status: int, document: Any) -> Response:
    return Response(status, json.dumps(document).encode() + b"\n", _JSON)

"""The truth about a simulated farm, for comparing with what was read over the wire.

Served as JSON over HTTP on loopback only, with nothing that an agent could mistake for a miner.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import asdict
from datetime import datetime
from typing import Any

from agent.clock import Clock, ScaledClock
from simulator.farm import Farm
from simulator.machine_state import MachineState

_REQUEST_LIMIT = 8192
_DEADLINE_S = 10.0
_MAX_CONNECTIONS = 32


def state_json(state: MachineState) -> dict[str, Any]:
    """A machine's state as plain JSON values; the time as ISO 8601 with Z."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(state), default=_time))
    return plain


def truth(farm: Farm, clock: Clock) -> dict[str, Any]:
    """Every machine's state by address, with the clock's time and, where it is scaled, its spec."""
    return {
        "now": _time(clock.now()),
        "clock": clock.spec() if isinstance(clock, ScaledClock) else None,
        "miners": {address: state_json(machine.state()) for address, machine in farm.machines.items()},
    }


async def serve_truth(farm: Farm, clock: Clock, port: int) -> asyncio.Server:
    """Answer GET /truth and GET /truth/ADDRESS on 127.0.0.1:`port` (0: any free port).

    Raises:
        OSError: the port cannot be bound.
    """
    slots = asyncio.Semaphore(_MAX_CONNECTIONS)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with slots:
            try:
                async with asyncio.timeout(_DEADLINE_S):
                    status, body = _reply(farm, clock, await _request_line(reader))
                    writer.write(_head(status, body) + body)
                    await writer.drain()
            except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                pass
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    return await asyncio.start_server(answer, "127.0.0.1", port, limit=_REQUEST_LIMIT)


async def _request_line(reader: asyncio.StreamReader) -> str:
    head = await reader.readuntil(b"\r\n\r\n")
    return head.split(b"\r\n", 1)[0].decode("latin-1")


def _reply(farm: Farm, clock: Clock, line: str) -> tuple[str, bytes]:
    words = line.split(" ")
    if len(words) != 3 or words[0] != "GET":
        return "405 Method Not Allowed", _body({"error": "only GET"})
    path = words[1].split("?", 1)[0].rstrip("/")
    if path == "/truth":
        return "200 OK", _body(truth(farm, clock))
    machine = farm.machines.get(path.removeprefix("/truth/"))
    if not path.startswith("/truth/") or machine is None:
        return "404 Not Found", _body({"error": "try /truth or /truth/ADDRESS"})
    return "200 OK", _body(state_json(machine.state()))


def _head(status: str, body: bytes) -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    ).encode()


def _body(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()


def _time(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} is not JSON")

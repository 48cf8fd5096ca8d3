"""The cgminer API of old Antminers on TCP 4028: one JSON request, one JSON reply, then close.

There is no new API, no mode, no percent and no power; commands may be joined with `+`.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from simulator.machine import MachineState
from simulator.peers.antminer import layouts as legacy
from simulator.peers.antminer.api import DENIED, IDLE_S, REQUEST_LIMIT_BYTES
from simulator.peers.antminer_old import layouts
from simulator.peers.antminer_old.unit import OldUnit
from simulator.peers.faults import send
from simulator.peers.listener import Hangup, compact, read_json_request

MAX_JOINED = 8


class OldApi:
    """Answers connections to port 4028, and the web pages that print its replies."""

    def __init__(self, unit: OldUnit) -> None:
        self._unit = unit
        self._surface = unit.surface

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection.

        Raises:
            Hangup: the mining process is down, or does not listen.
        """
        raw = await read_json_request(reader, REQUEST_LIMIT_BYTES, IDLE_S)
        if not raw:
            return
        state = self._surface.state()
        if not self._unit.serves_api(state):
            raise Hangup
        faults = self._surface.faults
        if faults.process_down:
            if self._unit.is_s9:
                raise Hangup
            # The S17 has a process that listens and another that mines; the first outlives the second.
            await send(writer, layouts.PROXY_REFUSAL, faults)
            return
        await send(writer, faults.spoil_json(self.answer(raw, state)), faults)

    def answer(self, raw: bytes, state: MachineState) -> bytes:
        """The reply to one request, byte for byte."""
        text = raw.strip(b"\x00\r\n\t ")
        if not text.startswith(b"{"):
            return self._text_refusal(state)
        try:
            request = json.loads(text)
        except (ValueError, RecursionError):
            return self._ended(compact(self._refusal(state, 23, "Invalid JSON")))
        command = request.get("command") if isinstance(request, dict) else None
        if not isinstance(command, str):
            return self._ended(compact(self._refusal(state, 24, "Missing JSON 'command'")))
        return self.reply(command, state)

    def printed(self, command: str, state: MachineState) -> bytes:
        """What `cgminer-api -o COMMAND` prints on the control board."""
        if not self._unit.serves_api(state) or self._surface.faults.process_down:
            return layouts.PROXY_REFUSAL
        return self.reply(command, state).rstrip(b"\x00")

    def rows(self, command: str, state: MachineState) -> list[Any]:
        """The rows of one command's reply, none while there is nothing to show."""
        if command == "version":
            return [layouts.version(state, is_s9=self._unit.is_s9)]
        if command == "pools":
            return list(legacy.legacy_pools(state, self._surface.machine.pools))
        if legacy.is_silent(state):
            return []
        if command == "devs":
            return list(legacy.legacy_devs(state))
        if command == "summary":
            return [layouts.s9_summary(state) if self._unit.is_s9 else legacy.legacy_summary(state)]
        if self._unit.is_s9:
            return [layouts.s9_header(state), layouts.s9_stats(state)]
        return [legacy.legacy_header(state), legacy.legacy_stats(state)]

    def reply(self, command: str, state: MachineState) -> bytes:
        """The reply to a command or to several joined with `+`."""
        if "+" in command:
            joined = {name: [self._document(name, state)] for name in command.split("+")[:MAX_JOINED]}
            return self._ended(compact(joined | {"id": 1}))
        body = compact(self._document(command, state))
        if command == "stats":
            # The firmware forgets the comma between the two elements.
            body = body.replace(b"},{", b"}{", 1)
        return self._ended(body)

    def _document(self, command: str, state: MachineState) -> legacy.Json:
        if command in DENIED:
            return self._refusal(state, 45, f"Access denied to '{command}' command")
        if command not in _ANSWERS:
            return self._refusal(state, 14, "Invalid command")
        code, message, key = _ANSWERS[command]
        rows = self.rows(command, state)
        status = self._status(state, code, message.format(len(rows)))
        return {"STATUS": status, key: rows, "id": 1}

    def _status(self, state: MachineState, code: int, message: str, letter: str = "S") -> list[legacy.Json]:
        return layouts.status_list(state, code, message, is_s9=self._unit.is_s9, letter=letter)

    def _refusal(self, state: MachineState, code: int, message: str) -> legacy.Json:
        return {"STATUS": self._status(state, code, message, "E"), "id": 1}

    def _text_refusal(self, state: MachineState) -> bytes:
        # A request that is not JSON is answered in the older `|` format.
        (status,) = self._status(state, 14, "Invalid command", "E")
        return ",".join(f"{name}={value}" for name, value in status.items()).encode() + b"|\x00"

    def _ended(self, body: bytes) -> bytes:
        return body + b"\x00" if self._unit.is_s9 else body


_ANSWERS = {
    "version": (22, "CGMiner versions", "VERSION"),
    "summary": (11, "Summary", "SUMMARY"),
    "stats": (70, "CGMiner stats", "STATS"),
    "pools": (7, "{} Pool(s)", "POOLS"),
    "devs": (9, "{} ASC(s)", "DEVS"),
}

"""The cgminer API of stock Antminers on TCP 4028: one JSON request, one JSON reply, then close.

The layouts themselves are in `layouts` and `new_layouts`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from simulator.machine import MachineState
from simulator.peers.antminer import layouts as layouts
from simulator.peers.antminer import new_layouts as newer
from simulator.peers.faults import send
from simulator.peers.listener import Hangup, compact, read_json_request
from simulator.peers.surface import Surface

REQUEST_LIMIT_BYTES = 8192
IDLE_S = 10.0
NEW_API = ("stats", "summary", "pools", "rate", "warning", "reload")
# Known to cgminer, but outside the firmware's access group.
DENIED = frozenset(
    """addpool asccount ascdisable ascenable ascidentify ascset check coin config debug devdetails disablepool
    edevs enablepool estats failover-only hotplug lcd lockstats notify poolpriority poolquota privileged quit
    removepool restart save setconfig switchpool usbstats zero""".split()  # noqa: SIM905 - readable
)


class AntminerApi:
    """Answers connections to port 4028."""

    def __init__(self, surface: Surface) -> None:
        self._surface = surface

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection.

        Raises:
            Hangup: the mining process is down.
        """
        raw = await read_json_request(reader, REQUEST_LIMIT_BYTES, IDLE_S)
        if not raw:
            return
        state = self._surface.state()
        if not state.process_up:
            raise Hangup
        faults = self._surface.faults
        await send(writer, faults.spoil_json(self.answer(raw, state)), faults)

    def answer(self, raw: bytes, state: MachineState) -> bytes:
        """The reply to one request, byte for byte."""
        text = raw.strip(b"\x00\r\n\t ")
        if not text.startswith(b"{"):
            return _text_refusal(state)
        try:
            request = json.loads(text)
        except (ValueError, RecursionError):
            return compact(_refusal(state, 23, "Invalid JSON"))
        command = request.get("command") if isinstance(request, dict) else None
        if not isinstance(command, str):
            return compact(_refusal(state, 24, "Missing JSON 'command'"))
        if request.get("new_api") is True:
            return compact(self.new_api(command, state))
        return compact(self._legacy_reply(command, state))

    def new_api(self, command: str, state: MachineState) -> layouts.Json:
        """The reply of the new API, which the web pages show too."""
        if command not in NEW_API:
            return _refusal(state, 14, "Invalid command")
        reply = newer.new_envelope(state, command)
        silent = layouts.is_silent(state)
        if command == "stats":
            reply["STATS"] = [] if silent else [newer.new_stats(state)]
        elif command == "summary":
            reply["SUMMARY"] = [] if silent else [newer.new_summary(state)]
        elif command == "pools":
            reply["POOLS"] = newer.new_pools(state, self._surface.machine.pools)
        elif command == "rate":
            reply["RATE"] = [] if silent else newer.new_rate(state)
        elif command == "warning":
            reply["WARNING"] = [{"code": code, "msg": code} for code in state.errors]
        return reply

    def _legacy_reply(self, command: str, state: MachineState) -> layouts.Json:
        if command in DENIED:
            return _refusal(state, 45, f"Access denied to '{command}' command")
        if command == "stats":
            return self._legacy_stats(state)
        build = _LEGACY.get(command)
        if build is None:
            return _refusal(state, 14, "Invalid command")
        code, message, key, rows = build(state, self._surface)
        return {"STATUS": layouts.status_list(state, code, message), key: rows, "id": 1}

    def _legacy_stats(self, state: MachineState) -> layouts.Json:
        empty = _shows_nothing(state, self._surface)
        rows = [] if empty else [layouts.legacy_header(state), layouts.legacy_stats(state)]
        return {"STATS": rows, "STATUS": layouts.status_list(state, 70, "CGMiner stats"), "id": 1}


_Rows = tuple[int, str, str, list[Any]]


def _version(state: MachineState, _: Surface) -> _Rows:
    return 22, "CGMiner versions", "VERSION", [layouts.legacy_version(state)]


def _summary(state: MachineState, surface: Surface) -> _Rows:
    empty = _shows_nothing(state, surface)
    return 11, "Summary", "SUMMARY", [] if empty else [layouts.legacy_summary(state)]


def _pools(state: MachineState, surface: Surface) -> _Rows:
    rows = layouts.legacy_pools(state, surface.machine.pools)
    return 7, f"{len(rows)} Pool(s)", "POOLS", rows


def _devs(state: MachineState, _: Surface) -> _Rows:
    rows = [] if layouts.is_silent(state) else layouts.legacy_devs(state)
    return 9, f"{len(rows)} ASC(s)", "DEVS", rows


_LEGACY: dict[str, Callable[[MachineState, Surface], _Rows]] = {
    "version": _version,
    "summary": _summary,
    "pools": _pools,
    "devs": _devs,
}


def _shows_nothing(state: MachineState, surface: Surface) -> bool:
    # A sleeping S19 of 2022 still counts chips and fans; a newer one shows nothing.
    return layouts.is_silent(state) and (surface.options.layout == "new" or state.phase != "sleep")


def _refusal(state: MachineState, code: int, message: str) -> layouts.Json:
    return {"STATUS": layouts.status_list(state, code, message, "E"), "id": 1}


def _text_refusal(state: MachineState) -> bytes:
    # cgminer answers a request that is not JSON in its older `|` format.
    parts = f"STATUS=E,When={layouts.epoch(state)},Code=14,Msg=Invalid command,"
    return f"{parts}Description={layouts.DESCRIPTION}|\x00".encode()

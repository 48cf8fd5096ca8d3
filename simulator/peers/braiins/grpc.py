"""The gRPC API of Braiins OS on TCP 50051, which is older than REST: reading, pause and power target."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping
from typing import Any

from simulator.machine import MachineState
from simulator.peers.braiins import layouts, protobuf, settings
from simulator.peers.braiins.accounts import TIMEOUT_S
from simulator.peers.braiins.http2 import Answer, Call, serve_calls
from simulator.peers.braiins.refusals import Refusal
from simulator.peers.braiins.tuner import Target
from simulator.peers.braiins.unit import BraiinsUnit
from simulator.peers.listener import Hangup

_PREFIX = "/braiins.bos.v1."
_HEADERS = ((":status", "200"), ("content-type", "application/grpc"))
_CODES = {
    "invalid_argument": 3,
    "not_found": 5,
    "permission_denied": 7,
    "failed_precondition": 9,
    "aborted": 10,
    "out_of_range": 11,
    "unimplemented": 12,
    "internal": 13,
    "unauthenticated": 16,
}
# What reads the configuration.
_SAVED = ("PoolService/GetPoolGroups", "ConfigurationService/GetMinerConfiguration")
Document = dict[str, Any]


class BraiinsGrpc:
    """Answers connections to port 50051."""

    def __init__(self, unit: BraiinsUnit) -> None:
        self._unit = unit
        self._reads: Mapping[str, tuple[str, Callable[[MachineState], Document]]] = {
            "MinerService/GetMinerDetails": (
                "GetMinerDetailsResponse",
                lambda state: layouts.details(state, unit),
            ),
            "MinerService/GetMinerStats": ("GetMinerStatsResponse", lambda state: layouts.stats(state, unit)),
            "MinerService/GetHashboards": (
                "GetHashboardsResponse",
                lambda state: layouts.hashboards(state, unit),
            ),
            "CoolingService/GetCoolingState": (
                "GetCoolingStateResponse",
                lambda state: layouts.cooling(state, unit),
            ),
            "PerformanceService/GetTunerState": (
                "GetTunerStateResponse",
                lambda state: settings.tuner_state(state, unit),
            ),
            "PerformanceService/GetActivePerformanceMode": (
                "PerformanceMode",
                lambda _: settings.performance_mode(unit.tuner.configured),
            ),
            "PoolService/GetPoolGroups": (
                "GetPoolGroupsResponse",
                lambda state: {"pool_groups": settings.pool_groups(state, unit)},
            ),
            "ConfigurationService/GetMinerConfiguration": (
                "GetMinerConfigurationResponse",
                lambda state: settings.configuration(state, unit),
            ),
            "ConfigurationService/GetConstraints": (
                "GetConstraintsResponse",
                lambda state: settings.constraints(state, unit),
            ),
            "ActionsService/GetLocateDeviceStatus": (
                "LocateDeviceStatusResponse",
                lambda _: {"enabled": unit.locating},
            ),
        }
        self._writes: Mapping[str, tuple[str, Callable[[bytes], Document]]] = {
            "ActionsService/PauseMining": ("PauseMiningResponse", lambda _: {"already_paused": unit.pause()}),
            "ActionsService/ResumeMining": (
                "ResumeMiningResponse",
                lambda _: {"already_mining": unit.resume()},
            ),
            "PerformanceService/SetPowerTarget": ("SetPowerTargetResponse", self._set_power_target),
        }

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        await serve_calls(reader, writer, self.respond, lambda: self._unit.surface.faults)

    async def respond(self, call: Call) -> Answer:
        """The reply to one call.

        Raises:
            Hangup: the control board is down.
        """
        state = self._unit.surface.state()
        if not state.ports_open:
            raise Hangup
        try:
            return self._answer(call, state)
        except Refusal as refusal:
            code = _CODES[refusal.kind]
            return Answer(_HEADERS, b"", (("grpc-status", str(code)), ("grpc-message", refusal.message)))

    def _answer(self, call: Call, state: MachineState) -> Answer:
        faults = self._unit.surface.faults
        name = call.path.removeprefix(_PREFIX)
        if name == "AuthenticationService/Login":
            return self._login(call)
        if not self._unit.accounts.knows(call.headers.get("authorization", "")):
            raise Refusal("unauthenticated", "missing or invalid session token")
        if name in self._reads:
            if name in _SAVED and faults.http_500_on_conf:
                raise Refusal("internal", "failed to read configuration")
            message, read = self._reads[name]
            return _reply(message, read(state))
        if name not in self._writes:
            raise Refusal("unimplemented", "method is not implemented")
        if not self._unit.surface.write_open:
            raise Refusal("permission_denied", "configuration changes are not allowed")
        message, write = self._writes[name]
        return _reply(message, write(_message_of(call.body)))

    def _login(self, call: Call) -> Answer:
        fields = _fields(_message_of(call.body))
        words = [fields.get(number, b"") for number in (1, 2)]
        username, password = (
            word.decode("utf-8", errors="replace") if isinstance(word, bytes) else "" for word in words
        )
        token = self._unit.accounts.login(username, password)
        return _reply("LoginResponse", {"token": token, "timeout_s": TIMEOUT_S}, (("authorization", token),))

    def _set_power_target(self, raw: bytes) -> Document:
        inner = _fields(raw).get(2)
        watts = _fields(inner).get(1, 0) if isinstance(inner, bytes) else None
        if not isinstance(watts, int):
            raise Refusal("invalid_argument", "missing power target")
        self._unit.tuner.choose(Target("power", watts))
        return {"power_target": {"watt": watts}}


def _message_of(body: bytes) -> bytes:
    """The message in the body of a call, which carries a flag and a length before it."""
    if len(body) < 5 or body[0] != 0 or struct.unpack(">I", body[1:5])[0] != len(body) - 5:
        raise Refusal("internal", "invalid message length")
    return body[5:]


def _fields(raw: bytes) -> dict[int, int | bytes]:
    try:
        return protobuf.decode(raw)
    except ValueError as error:
        raise Refusal("internal", "failed to decode Protobuf message") from error


def _reply(message: str, document: Document, more: tuple[tuple[str, str], ...] = ()) -> Answer:
    raw = protobuf.encode(message, document)
    return Answer((*_HEADERS, *more), struct.pack(">BI", 0, len(raw)) + raw, (("grpc-status", "0"),))

"""Whatever bytes a meter answers with: a figure or a typed error, never another exception."""

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.clock import ManualClock
from agent.errors import DeviceError
from agent.meters.config import MeterConfig
from agent.meters.reader import MeterReader, MeterReadings
from simulator.meters.snmp import APC_RPDU2, SnmpPeer
from tests.chain.farms import NOON
from tests.meters.site import answering, config, read, running, secret, surface

HOST = "127.62.4.1"
BYTES = st.binary(min_size=1, max_size=300)


def whole(found: MeterReadings) -> None:
    """Each point is a figure in range or an error, and never both."""
    for watts, error in zip(found.power_w, found.errors, strict=True):
        assert (error is None) == bool(np.isfinite(watts))
        # An error the driver did not foresee is typed too, but asks to be reported.
        assert error is None or (isinstance(error, DeviceError) and "please report" not in str(error))
        assert error is not None or 0.0 <= watts <= 15_000.0


def modbus(port: int) -> MeterConfig:
    registers: list[dict[str, Any]] = [
        {"register": 0, "miners": ["a"]},
        {"register": 2, "type": "int16", "miners": ["b"]},
    ]
    return config(name="x", kind="modbus", host=HOST, port=port, deadline_s=1.0, points=registers)


@settings(max_examples=60)
@given(BYTES)
def test_any_bytes_over_modbus(raw: bytes) -> None:
    async def run() -> None:
        async with answering(HOST, raw) as port:
            whole(await read([modbus(port)]))

    asyncio.run(run())


@settings(max_examples=60)
@given(st.binary(max_size=20), st.integers(0, 255), st.integers(0, 255))
def test_any_body_in_a_good_frame_over_modbus(body: bytes, function: int, size: int) -> None:
    pdu = bytes((function, size)) + body
    raw = b"\x00\x01\x00\x00" + (len(pdu) + 1).to_bytes(2, "big") + b"\x01" + pdu

    async def run() -> None:
        async with answering(HOST, raw) as port:
            whole(await read([modbus(port)]))

    asyncio.run(run())


def http(port: int) -> MeterConfig:
    paths = [{"path": "a.0", "miners": ["a"]}, {"path": "b", "miners": ["b"]}]
    return config(name="x", kind="http", url=f"http://{HOST}:{port}/", deadline_s=1.0, points=paths)


@settings(max_examples=60)
@given(BYTES)
def test_any_bytes_over_http(raw: bytes) -> None:
    async def run() -> None:
        async with answering(HOST, raw) as port:
            whole(await read([http(port)]))

    asyncio.run(run())


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=5)


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(["a", "b"]), VALUES))
def test_any_document_over_http(document: dict[str, Any]) -> None:
    body = json.dumps(document).encode()
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body

    async def run() -> None:
        async with answering(HOST, raw) as port:
            whole(await read([http(port)]))

    asyncio.run(run())


class Scripted(SnmpPeer):
    """A PDU whose answers are spoiled by `spoil`."""

    raw: bytes = b""
    at: int | None = None

    def answer(self, request: bytes) -> bytes | None:
        if self.at is None:
            return self.raw
        good = super().answer(request) or b""
        at = self.at % len(good)
        return good[:at] + self.raw + good[at + len(self.raw) :]


@pytest.fixture(scope="module")
def community(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return secret(tmp_path_factory.mktemp("snmp"), "readers")


def snmp(peer: SnmpPeer, community: Path) -> MeterConfig:
    outlets = [{"oid": peer.layout.oid(i), "miners": [f"m{i}"]} for i in range(3)]
    return config(
        name="x", kind="snmp", host=HOST, port=peer.port, deadline_s=0.2, outlets=outlets,
        community_file=str(community),
    )  # fmt: skip


@settings(max_examples=60)
@given(raw=BYTES)
def test_any_bytes_over_snmp(community: Path, raw: bytes) -> None:
    async def run() -> None:
        peer = Scripted(surface(1.0, 2.0, 3.0), HOST, community="readers", layout=APC_RPDU2)
        peer.raw = raw
        async with running(peer):
            whole(await read([snmp(peer, community)]))

    asyncio.run(run())


@settings(max_examples=80)
@given(raw=st.binary(min_size=1, max_size=3), at=st.integers(0, 400))
def test_a_good_snmp_answer_with_any_bytes_changed(community: Path, raw: bytes, at: int) -> None:
    async def run() -> None:
        peer = Scripted(surface(1.0, 2.0, 3.0), HOST, community="readers", layout=APC_RPDU2)
        peer.raw, peer.at = raw, at
        async with running(peer):
            whole(await read([snmp(peer, community)]))

    asyncio.run(run())


async def test_an_endless_answer_ends_with_the_deadline() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\n\r\n"
        try:
            while True:
                writer.write(head + b"9" * 65536)
                head = b""
                await writer.drain()
        except OSError:
            writer.close()

    server = await asyncio.start_server(handle, HOST, 0)
    try:
        port = server.sockets[0].getsockname()[1]
        reader = MeterReader([http(port)], ManualClock(NOON))
        async with asyncio.timeout(5.0):
            found = await reader.read()
    finally:
        server.close()
        await server.wait_closed()
    assert all(isinstance(error, DeviceError) for error in found.errors)

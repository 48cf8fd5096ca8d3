"""Whoever answers at a miner's address: no reply, however long or deep, costs more memory than its bound."""

import asyncio
import gzip
import struct
import tracemalloc
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import pytest

from agent.clock import ManualClock
from agent.devices.device import Endpoint, Ports
from agent.devices.families import FAMILIES
from agent.errors import DeviceError
from agent.hardware.bounds import permit
from tests.devices.proxied import BOUNDS, STOP
from tests.devices.tcp_miner import tcp_miner

OWN = sorted(name for name in FAMILIES if name != "pyasic-rs")
MIB = 1 << 20
PIECE = 65536
# The worst that fits into the longest reply that is taken, decoded, and the pieces that the test sends.
MOST_BYTES = 80 * MIB
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


async def _flood(head: bytes, piece: bytes) -> AsyncIterator[bytes]:
    yield head
    for _ in range(64 * MIB // len(piece)):
        yield piece


async def _once(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def _drip(head: bytes) -> AsyncIterator[bytes]:
    yield head
    while True:
        await asyncio.sleep(0.02)
        yield b" "


def _page(body: bytes, more: bytes = b"") -> bytes:
    return _HEAD + more + b"Content-Length: %d\r\n\r\n" % len(body) + body


_PACKED = gzip.compress(b'{"a":"' + b"A" * (64 * MIB) + b'"}')
REPLIES: dict[str, Callable[[], AsyncIterator[bytes]]] = {
    "64 MiB of JSON": lambda: _flood(b'{"STATS":[', b'{"a":1},' * (PIECE // 8)),
    "64 MiB of a page": lambda: _flood(_HEAD + b"Content-Length: 67108864\r\n\r\n", b"A" * PIECE),
    "a page without end": lambda: _flood(
        _HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"A" * PIECE + b"\r\n"
    ),
    "headers without end": lambda: _flood(_HEAD, (b"X: " + b"a" * 1000 + b"\r\n") * 64),
    "64 MiB packed into 64 KiB": lambda: _once(_page(_PACKED, b"Content-Encoding: gzip\r\n")),
    "a frame of 4 GiB": lambda: _once(struct.pack("<I", 2**32 - 1)),
    "a million brackets": lambda: _once(b"[" * 1_000_000),
    "a page of a million brackets": lambda: _once(_page(b"[" * 1_000_000)),
    "half a million objects in each other": lambda: _once(_page(b'{"a":' * 500_000)),
    "as many objects as fit": lambda: _once(b"[" + b"{}," * 340_000 + b"{}]"),
    "a page of as many objects as fit": lambda: _once(_page(b"[" + b"{}," * 340_000 + b"{}]")),
    "a drip without end": lambda: _drip(b'{"STATUS":'),
    "a page that drips without end": lambda: _drip(_HEAD + b"Content-Length: 100000\r\n\r\n{"),
}


@pytest.mark.parametrize("reply", REPLIES)
@pytest.mark.parametrize("family", OWN)
async def test_a_reply_without_measure_is_a_device_error_within_bounds(family: str, reply: str) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(PIECE)
        async for piece in REPLIES[reply]():
            writer.write(piece)
            await writer.drain()
        writer.close()

    async with asyncio.timeout(120.0), tcp_miner(handle) as miner:
        port = miner.port
        endpoint = Endpoint("127.0.0.1", Ports(*[port] * 5), deadline_s=0.3, write_deadline_s=0.3)
        device = FAMILIES[family].open(endpoint, ManualClock(datetime(2026, 5, 1, tzinfo=UTC)))
        tracemalloc.start()
        try:
            with pytest.raises(DeviceError):
                await device.read()
            with pytest.raises(DeviceError):
                await device.apply(permit(STOP, BOUNDS))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < MOST_BYTES

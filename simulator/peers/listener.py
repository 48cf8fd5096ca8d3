"""One listening TCP port of a simulated miner: bounded connections, faults, clean close.

What is said on a connection is left to the handler.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from simulator.peers.faults import Faults, hang

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 32
STREAM_LIMIT_BYTES = 64 * 1024
_LINGER_RESET = struct.pack("ii", 1, 0)

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Hangup(Exception):
    """The miner drops the connection without a word (connection reset)."""


def compact(document: Any) -> bytes:
    """JSON as the firmware prints it: no spaces."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")


class Listener:
    """Serves one address and port until closed.

    Args:
        address: IP address to bind.
        port: TCP port, 0 for any free one.
        handle: coroutine for one connection; it may raise `Hangup` or `OSError`.
        faults: asked per connection.
        hangs: asked per connection; True accepts and never answers.
    """

    def __init__(
        self,
        address: str,
        port: int,
        handle: Handler,
        faults: Callable[[], Faults],
        hangs: Callable[[], bool],
    ) -> None:
        self._address = address
        self._port = port
        self._handle = handle
        self._faults = faults
        self._hangs = hangs
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def port(self) -> int:
        """The bound port; before `start` the one asked for."""
        return self._port

    async def start(self) -> None:
        """Bind and listen; does nothing when already listening.

        Raises:
            OSError: the address or port cannot be bound.
        """
        if self._server is None:
            self._server = await asyncio.start_server(
                self._accept, self._address, self._port, limit=STREAM_LIMIT_BYTES, reuse_address=True
            )
            self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening, end every connection and wait for their tasks."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        connections = dict(self._connections)
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        for writer in connections.values():
            # A task that is cancelled before its first step never closes its connection.
            writer.transport.abort()
        if server is not None:
            await server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None or len(self._connections) >= MAX_CONNECTIONS:
            _reset(writer)
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections[task] = writer
        task.add_done_callback(self._connections.pop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            faults = self._faults()
            if self._hangs():
                await hang(reader)
            elif faults.garbage:
                await reader.read(4096)
                writer.write(faults.garbage_bytes())
                await writer.drain()
            else:
                await self._handle(reader, writer)
        except Hangup:
            _reset(writer)
            return
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError) as error:
            log.debug("%s:%d connection ended: %r", self._address, self._port, error)
        finally:
            await _finish(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    sock: socket.socket | None = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
    writer.transport.abort()


async def _finish(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        async with asyncio.timeout(1.0):
            await writer.wait_closed()
    except (OSError, TimeoutError):
        writer.transport.abort()
    except asyncio.CancelledError:
        writer.transport.abort()
        raise


async def read_json_request(reader: asyncio.StreamReader, limit_bytes: int, idle_s: float) -> bytes:
    """The bytes of one JSON request that has no length and maybe no newline.

    Returns as soon as they parse, a newline or NUL arrives, or the sender pauses for a second; empty when
    nothing came in `idle_s`.

    Raises:
        Hangup: too much came.
    """
    received = bytearray()
    wait_s = idle_s
    while True:
        try:
            async with asyncio.timeout(wait_s):
                chunk = await reader.read(limit_bytes)
        except TimeoutError:
            chunk = b""
        if not chunk:
            return bytes(received)
        received += chunk
        if len(received) > limit_bytes:
            raise Hangup
        if received[-1] in b"\n\x00" or _parses(received):
            return bytes(received)
        wait_s = 1.0


def _parses(text: bytes | bytearray) -> bool:
    if text.rstrip()[-1:] not in b"}":
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True

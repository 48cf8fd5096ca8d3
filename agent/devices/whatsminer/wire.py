"""Bytes to and from a Whatsminer: JSON on port 4028, length-prefixed frames on 4433.

It keeps "never connected" apart from "sent, but no answer", because after a write they mean different
things. What the bytes say is the parsers' work.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import struct
from collections.abc import AsyncIterator, Iterator, Mapping

from agent.devices.transport import reason_of
from agent.errors import Malformed, Timeout, Unreachable

LIMIT_BYTES = 2 * 1024 * 1024
_HEAD_BYTES = 4
_RESET = (errno.ECONNRESET, os.strerror(errno.ECONNRESET))
# Some firmware keeps the socket open after its reply and closes it only after 10 s.
_QUIET_S = 1.0
_MOST_TRIES = 16


class Budget:
    """Wall-clock seconds that one call may still use."""

    def __init__(self, address: str, seconds: float) -> None:
        self._address = address
        self._seconds = seconds
        self._ends = asyncio.get_running_loop().time() + seconds

    def left(self, at_most: float | None = None) -> float:
        """Seconds left, at most `at_most`.

        Raises:
            Timeout: none is left.
        """
        left = self._ends - asyncio.get_running_loop().time()
        if left <= 0.0:
            raise Timeout(self._address, f"no answer within {self._seconds:g} s")
        return left if at_most is None else min(left, at_most)


class Wire(asyncio.Protocol):
    """One open connection. Use `connect`; every wait ends at the deadline given to it.

    A protocol of its own: asyncio's streams cost a poll as much again as everything else on the line.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._more: asyncio.Future[None] | None = None
        self._ended = False
        self._lost: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._buffer += data
        if len(self._buffer) > LIMIT_BYTES + _HEAD_BYTES:
            # Enough to say that it is too long; what comes after that is not kept.
            self.abort()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._ended, self._lost = True, exc
        self._wake()

    def abort(self) -> None:
        """Close without waiting: a miner that never reads or closes cannot hold us."""
        if self._transport is not None:
            self._transport.abort()

    async def ask(self, payload: bytes, deadline_s: float) -> bytes:
        """Send one v2 request and return its reply, which ends at the close, or where the JSON is complete.

        Raises:
            Unreachable: closed before a byte came. Timeout: the deadline passed.
            Malformed: the reply is too long.
        """
        with self._translated(deadline_s):
            async with asyncio.timeout(deadline_s):
                self._send(payload)
                return await self._document()
        raise AssertionError

    async def frame(self, payload: bytes, deadline_s: float) -> bytes:
        """Send one v3 frame and return the next frame's body.

        Raises:
            Unreachable: closed before a whole frame came. Timeout: the deadline passed.
            Malformed: the frame's length is above 2 MiB.
        """
        with self._translated(deadline_s):
            async with asyncio.timeout(deadline_s):
                self._send(struct.pack("<I", len(payload)) + payload)
                (length,) = struct.unpack("<I", await self._exactly(_HEAD_BYTES))
                if length > LIMIT_BYTES:
                    raise Malformed(
                        self._address, f"a frame of {length} bytes is above the limit of {LIMIT_BYTES}"
                    )
                return await self._exactly(length)
        raise AssertionError

    def _send(self, payload: bytes) -> None:
        if self._ended or self._transport is None:
            raise self._lost if isinstance(self._lost, OSError) else ConnectionResetError(*_RESET)
        self._transport.write(payload)

    async def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            if not await self._grow():
                cut = f"closed the connection after {len(self._buffer)} bytes of an answer"
                raise Unreachable(self._address, cut)
        found = bytes(self._buffer[:size])
        del self._buffer[:size]
        return found

    async def _document(self) -> bytes:
        tries = 0
        while True:
            ended = _looks_complete(self._buffer)
            if ended and tries < _MOST_TRIES:
                tries += 1
                if _is_json(bytes(self._buffer)):
                    return bytes(self._buffer)
            if len(self._buffer) > LIMIT_BYTES:
                raise Malformed(self._address, f"the reply is longer than {LIMIT_BYTES} bytes")
            try:
                grew = await self._grow(_QUIET_S if ended else None)
            except TimeoutError:
                if ended:
                    return bytes(self._buffer)
                raise
            if not grew:
                if not self._buffer:
                    raise Unreachable(self._address, "closed the connection without an answer")
                return bytes(self._buffer)

    async def _grow(self, at_most_s: float | None = None) -> bool:
        """Wait for more bytes. False: none will come, for the connection is closed.

        Raises:
            TimeoutError: none came within `at_most_s`. OSError: the connection broke.
        """
        if not self._ended:
            self._more = asyncio.get_running_loop().create_future()
            size = len(self._buffer)
            if at_most_s is None:
                await self._more
            else:
                async with asyncio.timeout(at_most_s):
                    await self._more
            if len(self._buffer) > size:
                return True
        if isinstance(self._lost, OSError):
            raise self._lost
        return False

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    @contextlib.contextmanager
    def _translated(self, deadline_s: float) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise Timeout(self._address, f"no answer within {deadline_s:g} s") from error
        except OSError as error:
            raise Unreachable(self._address, f"connection lost: {error.strerror or error}") from error


@contextlib.asynccontextmanager
async def connect(address: str, port: int, deadline_s: float) -> AsyncIterator[Wire]:
    """An open connection, closed at the end.

    Raises:
        Unreachable: refused, no route, or the name is unknown. Timeout: no answer to the connect.
    """
    wire = Wire(address)
    try:
        async with asyncio.timeout(deadline_s):
            await asyncio.get_running_loop().create_connection(lambda: wire, address, port)
    except TimeoutError as error:
        raise Timeout(address, f"port {port}: no connection within {deadline_s:g} s") from error
    except (OSError, ValueError) as error:
        raise Unreachable(address, f"port {port}: {reason_of(error)}") from error
    try:
        yield wire
    finally:
        wire.abort()


def encode(command: Mapping[str, object]) -> bytes:
    """A command as compact JSON."""
    return json.dumps(command, separators=(",", ":")).encode()


def _looks_complete(buffer: bytearray) -> bool:
    tail = bytes(buffer[-16:]).rstrip(b"\0\r\n\t ")
    return bool(tail) and tail.endswith(b"}")


def _is_json(raw: bytes) -> bool:
    try:
        json.loads(raw.strip(b"\0\r\n\t "))
    except (ValueError, RecursionError):
        return False
    return True

"""Bytes to and from a Whatsminer: JSON on port 4028, length-prefixed frames on 4433.

It keeps "never connected" apart from "sent, but no answer", because after a write they mean different
things. What the bytes say is the parsers' work.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator, Iterator, Mapping
from types import TracebackType

from agent.errors import Malformed, Timeout, Unreachable

LIMIT_BYTES = 2 * 1024 * 1024
_CHUNK = 65536
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


class Wire:
    """One open connection. Use `connect`; every wait ends at the deadline given to it."""

    def __init__(self, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._address = address
        self._reader = reader
        self._writer = writer

    async def __aenter__(self) -> Wire:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Nothing more is wanted of the other side, so a miner that never reads cannot hold us here.
        self._writer.transport.abort()
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            async with asyncio.timeout(1.0):
                await self._writer.wait_closed()

    async def ask(self, payload: bytes, deadline_s: float) -> bytes:
        """Send one v2 request and return its reply, which ends at the close, or where the JSON is complete.

        Raises:
            Unreachable: closed before a byte came. Timeout: the deadline passed.
            Malformed: the reply is too long.
        """
        with self._translated(deadline_s):
            async with asyncio.timeout(deadline_s):
                self._writer.write(payload)
                await self._writer.drain()
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
                self._writer.write(struct.pack("<I", len(payload)) + payload)
                await self._writer.drain()
                (length,) = struct.unpack("<I", await self._reader.readexactly(4))
                if length > LIMIT_BYTES:
                    raise Malformed(
                        self._address, f"a frame of {length} bytes is above the limit of {LIMIT_BYTES}"
                    )
                return await self._reader.readexactly(length)
        raise AssertionError

    async def _document(self) -> bytes:
        buffer = bytearray()
        tries = 0
        while True:
            ended = _looks_complete(buffer)
            if ended and tries < _MOST_TRIES:
                tries += 1
                if _is_json(bytes(buffer)):
                    return bytes(buffer)
            try:
                async with asyncio.timeout(_QUIET_S if ended else None):
                    chunk = await self._reader.read(_CHUNK)
            except TimeoutError:
                if ended:
                    return bytes(buffer)
                raise
            if not chunk:
                if not buffer:
                    raise Unreachable(self._address, "closed the connection without an answer")
                return bytes(buffer)
            buffer += chunk
            if len(buffer) > LIMIT_BYTES:
                raise Malformed(self._address, f"the reply is longer than {LIMIT_BYTES} bytes")

    @contextlib.contextmanager
    def _translated(self, deadline_s: float) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise Timeout(self._address, f"no answer within {deadline_s:g} s") from error
        except asyncio.IncompleteReadError as error:
            cut = f"closed the connection after {len(error.partial)} bytes of an answer"
            raise Unreachable(self._address, cut) from error
        except OSError as error:
            raise Unreachable(self._address, f"connection lost: {error.strerror or error}") from error


@contextlib.asynccontextmanager
async def connect(address: str, port: int, deadline_s: float) -> AsyncIterator[Wire]:
    """An open connection, closed at the end.

    Raises:
        Unreachable: refused, no route, or the name is unknown. Timeout: no answer to the connect.
    """
    try:
        async with asyncio.timeout(deadline_s):
            reader, writer = await asyncio.open_connection(address, port, limit=_CHUNK)
    except TimeoutError as error:
        raise Timeout(address, f"port {port}: no connection within {deadline_s:g} s") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Unreachable(address, f"port {port}: {reason}") from error
    async with Wire(address, reader, writer) as wire:
        yield wire


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

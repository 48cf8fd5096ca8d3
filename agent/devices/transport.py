"""One request over TCP, and the JSON that miners answer with, repaired where real firmware breaks it.

The repairs are those that captured replies need; anything else is `Malformed`. Pure but for `exchange`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from agent.errors import Malformed, Timeout, Unreachable

# Ten times the longest reply that is known. Decoded, the worst that fits takes thirty times as much memory.
LIMIT_BYTES = 2 * 1024 * 1024
_DEPTH = 64
_EDGES = "\0 \t\r\n\ufeff"
# A miner that has not taken the connection by then is not there; the rest of the deadline is for its answer.
_CONNECT_S, _CONNECT_SHARE = 5.0, 0.5
# Some firmware keeps the socket open after its answer; a whole document and this much silence end it.
_SILENCE_S = 0.5


async def exchange(
    address: str, port: int, payload: bytes, *, deadline_s: float, limit_bytes: int = LIMIT_BYTES
) -> bytes:
    """Connect, send `payload`, read until the miner closes or falls silent after a whole JSON document.

    Raises:
        Unreachable: no connection, or closed before a byte came.
        Timeout: the deadline, which covers all of it, passed.
        Malformed: the answer is longer than `limit_bytes`.
    """
    loop = asyncio.get_running_loop()
    answer = _Answer(payload, limit_bytes, loop)
    connect_s = min(_CONNECT_S, _CONNECT_SHARE * deadline_s)
    connected = False
    try:
        async with asyncio.timeout(deadline_s):
            async with asyncio.timeout(connect_s):
                await loop.create_connection(lambda: answer, address, port)
            connected = True
            found = await answer.done
    except TimeoutError as error:
        if not connected:
            raise Unreachable(address, f"port {port}: no connection within {connect_s:g} s") from error
        raise Timeout(address, f"port {port}: no whole answer within {deadline_s:g} s") from error
    except (OSError, UnicodeError) as error:
        raise Unreachable(address, f"port {port}: {reason_of(error)}") from error
    finally:
        answer.abort()
    if len(found) > limit_bytes:
        raise Malformed(address, f"port {port}: the answer is longer than {limit_bytes} bytes")
    if not found:
        raise Unreachable(address, f"port {port}: closed the connection without an answer")
    return found


class _Answer(asyncio.Protocol):
    """One connection. `done` gets all bytes that came, however the connection ended."""

    def __init__(self, payload: bytes, limit_bytes: int, loop: asyncio.AbstractEventLoop) -> None:
        self.done: asyncio.Future[bytes] = loop.create_future()
        self._loop = loop
        self._payload = payload
        self._limit_bytes = limit_bytes
        self._bytes = bytearray()
        self._transport: asyncio.Transport | None = None
        self._silence: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._payload)

    def data_received(self, data: bytes) -> None:
        self._bytes += data
        self._hush()
        if len(self._bytes) > self._limit_bytes:
            self._finish()
        elif self._bytes[-16:].rstrip(b"\0 \r\n").endswith((b"}", b"]")):
            self._silence = self._loop.call_later(_SILENCE_S, self._fell_silent)

    def connection_lost(self, exc: Exception | None) -> None:
        # Some stacks end a good answer with a reset; whether it is whole shows when it is parsed.
        if exc is not None and not self._bytes and not self.done.done():
            self.done.set_exception(exc)
        self._finish()

    def abort(self) -> None:
        """Close without waiting; a miner that does not close must not hold us."""
        self._hush()
        if not self.done.cancel() and not self.done.cancelled():
            # Mark an error as seen that came when nobody was waiting any more.
            self.done.exception()
        if self._transport is not None:
            self._transport.abort()

    def _fell_silent(self) -> None:
        text = self._bytes.decode("utf-8", errors="replace").strip(_EDGES)
        if _load(text) is not _BROKEN or _load(_repaired(text)) is not _BROKEN:
            self._finish()

    def _finish(self) -> None:
        self._hush()
        if not self.done.done():
            self.done.set_result(bytes(self._bytes))

    def _hush(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None


def reason_of(error: Exception) -> str:
    """Why a connection could not be had, in the system's words."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    # asyncio puts the address of every attempt into strerror; ours stands in front already.
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__


def tolerant_json(raw: bytes, address: str) -> Any:
    """The document in `raw`; NaN and infinities become None.

    Raises:
        Unreachable: the text says that the mining process behind the port is down.
        Malformed: it is no JSON, even after the known repairs, or nested too deeply.
    """
    if len(raw) > LIMIT_BYTES:
        raise Malformed(address, f"the answer is longer than {LIMIT_BYTES} bytes")
    text = raw.decode("utf-8", errors="replace").strip(_EDGES)
    if not text:
        raise Malformed(address, "the answer is empty")
    if text.startswith("Socket connect failed"):
        raise Unreachable(address, f"the mining process is down: {text[:80]}")
    if text[0] == "<" or text.startswith("HTTP/"):
        raise Malformed(address, "the answer is a web page, not JSON")
    if _too_deep(raw):
        raise Malformed(address, f"the answer is nested deeper than {_DEPTH} levels")
    first = _load(text)
    if first is not _BROKEN:
        return first
    second = _load(_repaired(text))
    if second is not _BROKEN:
        return second
    shown = text[:60].encode("unicode_escape").decode("ascii")
    raise Malformed(address, f"the answer is not JSON ({len(raw)} bytes, beginning {shown!r})")


_BROKEN = object()
_DECODER = json.JSONDecoder(parse_constant=lambda _: None, strict=False)
_MISSING_COMMA = re.compile(r'"[ \t\r\n]*"(?=[A-Za-z][^"\\:,{}\[\]]{0,64}"[ \t\r\n]*:)')
_BETWEEN_OBJECTS = re.compile(r"\}[ \t\r\n]*\{")
_TRAILING_COMMA = re.compile(r",[ \t\r\n]*(?=[}\]])")
_LEADING_COMMA = re.compile(r"([{\[])[ \t\r\n]*,+")
_PAIR = r'"[^"\\]{0,64}"[ \t\r\n]*:[ \t\r\n]*"[^"\\]{0,256}"'
_KEYED_LIST = re.compile(rf"\[[ \t\r\n]*({_PAIR}(?:[ \t\r\n]*,[ \t\r\n]*{_PAIR})*)[ \t\r\n]*\]")
_BARE = re.compile(r"([:\[,][ \t\r\n]*)[+-]?(?:nan|inf|infinity)\b", re.IGNORECASE)


def _repaired(text: str) -> str:
    text = "".join(c for c in text if c >= " " or c in "\t\r\n")
    text = text.lstrip(", \t\r\n")
    text = _BETWEEN_OBJECTS.sub("},{", text)
    text = _MISSING_COMMA.sub('","', text)
    text = _KEYED_LIST.sub(r"[{\1}]", text)
    text = _LEADING_COMMA.sub(r"\1", text)
    text = _TRAILING_COMMA.sub("", text)
    text = _BARE.sub(r"\1null", text)
    return text if text[:1] in "{[" else "{" + text


def _load(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        return _BROKEN


_NOT_STRUCTURE = bytes(sorted(set(range(256)) - set(b'{}[]"')))
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_SLICE = 65536


def _too_deep(raw: bytes) -> bool:
    """True if brackets outside text stand deeper than the limit; slice by slice, to take no memory."""
    if raw.count(b"{") + raw.count(b"[") <= _DEPTH:
        return False
    if b"\\" in raw:
        raw = _ESCAPED.sub(b"", raw)
    depth, quoted = 0, False
    for start in range(0, len(raw), _SLICE):
        parts = raw[start : start + _SLICE].translate(None, _NOT_STRUCTURE).split(b'"')
        for part in parts[quoted::2]:
            for sign in part:
                depth += 1 if sign in b"{[" else -1
                if depth > _DEPTH:
                    return True
        quoted ^= len(parts) % 2 == 0
    return False


@asynccontextmanager
async def deadline(address: str, seconds: float) -> AsyncIterator[None]:
    """Everything inside has `seconds` in all.

    Raises:
        Timeout: it took longer.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise Timeout(address, f"no whole answer within {seconds:g} s") from error

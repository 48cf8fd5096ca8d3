"""One request over TCP, and the JSON that miners answer with, repaired where real firmware breaks it.

The repairs are those that captured replies need; anything else is `Malformed`. Pure but for `exchange`.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from agent.errors import Malformed, Timeout, Unreachable

LIMIT_BYTES = 16 * 1024 * 1024
_REPAIR_BYTES = 2 * 1024 * 1024
_DEPTH = 64
_CHUNK = 65536


async def exchange(
    address: str, port: int, payload: bytes, *, deadline_s: float, limit_bytes: int = LIMIT_BYTES
) -> bytes:
    """Connect, send `payload`, read until the miner closes or a whole JSON document has come.

    Raises:
        Unreachable: no connection, or closed before a byte came.
        Timeout: the deadline, which covers all of it, passed.
        Malformed: the answer is longer than `limit_bytes`.
    """
    try:
        async with asyncio.timeout(deadline_s):
            return await _exchange(address, port, payload, limit_bytes)
    except TimeoutError as error:
        raise Timeout(address, f"port {port}: no whole answer within {deadline_s:g} s") from error
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Unreachable(address, f"port {port}: {reason}") from error


async def _exchange(address: str, port: int, payload: bytes, limit_bytes: int) -> bytes:
    reader, writer = await asyncio.open_connection(address, port, limit=_CHUNK)
    try:
        writer.write(payload)
        await writer.drain()
        answer = bytearray()
        while chunk := await reader.read(_CHUNK):
            answer += chunk
            if len(answer) > limit_bytes:
                raise Malformed(address, f"port {port}: the answer is longer than {limit_bytes} bytes")
            # Some firmware ends the document with NUL and keeps the socket open.
            if chunk.endswith(b"\0") and answer.rstrip(b"\0").endswith(b"}"):
                break
    finally:
        # Everything wanted has been read; a miner that does not close must not hold us.
        writer.transport.abort()
    if not answer:
        raise Unreachable(address, f"port {port}: closed the connection without an answer")
    return bytes(answer)


def tolerant_json(raw: bytes, address: str) -> Any:
    """The document in `raw`; NaN and infinities become None.

    Raises:
        Unreachable: the text says that the mining process behind the port is down.
        Malformed: it is no JSON, even after the known repairs, or nested too deeply.
    """
    if len(raw) > LIMIT_BYTES:
        raise Malformed(address, f"the answer is longer than {LIMIT_BYTES} bytes")
    text = raw.decode("utf-8", errors="replace").strip("\0 \t\r\n\ufeff")
    if not text:
        raise Malformed(address, "the answer is empty")
    if text.startswith("Socket connect failed"):
        raise Unreachable(address, f"the mining process is down: {text[:80]}")
    if text[0] == "<" or text.startswith("HTTP/"):
        raise Malformed(address, "the answer is a web page, not JSON")
    if _too_deep(text):
        raise Malformed(address, f"the answer is nested deeper than {_DEPTH} levels")
    first = _load(text)
    if first is not _BROKEN:
        return first
    if len(text) <= _REPAIR_BYTES:
        second = _load(_repaired(text))
        if second is not _BROKEN:
            return second
    shown = text[:60].encode("unicode_escape").decode("ascii")
    raise Malformed(address, f"the answer is not JSON ({len(raw)} bytes, beginning {shown!r})")


_BROKEN = object()
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
        return json.loads(text, parse_constant=lambda _: None, strict=False)
    except (ValueError, RecursionError):
        return _BROKEN


def _too_deep(text: str) -> bool:
    if text.count("{") + text.count("[") <= _DEPTH:
        return False
    depth, quoted = 0, False
    for part in re.findall(r'\\.|[{}\[\]"]', text):
        if part == '"':
            quoted = not quoted
        elif not quoted and len(part) == 1:
            depth += 1 if part in "{[" else -1
            if depth > _DEPTH:
                return True
    return False

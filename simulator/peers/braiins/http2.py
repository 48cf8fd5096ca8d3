"""The server side of HTTP/2 over plain TCP, as far as single-message gRPC calls need it."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from simulator.peers.braiins.hpack import Decoder, Header, encode
from simulator.peers.faults import Faults, send

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_FRAME_BYTES = 16384
MAX_BODY_BYTES = 32 * 1024
MAX_STREAMS = 16
# What a client takes on a connection and on a stream before it says more, less some frame headers.
MAX_REPLY_BYTES = 60_000
MAX_FRAMES = 10_000
IDLE_S = 30.0

_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _CONTINUATION = 0, 1, 3, 4, 6, 7, 9
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20


@dataclass(frozen=True, slots=True)
class Call:
    """One request, whole."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply: headers, a message, trailers. An empty message sends none."""

    headers: tuple[Header, ...]
    body: bytes
    trailers: tuple[Header, ...]


@dataclass(slots=True)
class _Stream:
    block: bytearray = field(default_factory=bytearray)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    ended: bool = False
    ready: bool = False


class _Broken(Exception):
    """The client does not speak HTTP/2, or asks for too much."""


async def serve_calls(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    answer: Callable[[Call], Awaitable[Answer]],
    faults: Callable[[], Faults],
) -> None:
    """Answer calls on one connection until either side ends it.

    Args:
        reader: what the client sends.
        writer: where replies go; closed by the caller.
        answer: the reply to a call.
        faults: asked per reply for how it is sent.
    """
    streams: dict[int, _Stream] = {}
    decoder = Decoder()
    left = MAX_REPLY_BYTES
    try:
        async with asyncio.timeout(IDLE_S):
            if await reader.readexactly(len(PREFACE)) != PREFACE:
                return
        writer.write(_frame(_SETTINGS, 0, 0, b""))
        for _ in range(MAX_FRAMES):
            async with asyncio.timeout(IDLE_S):
                kind, flags, number, payload = await _read_frame(reader)
            if kind == _GOAWAY:
                return
            if kind in (_SETTINGS, _PING) and not flags & _ACK:
                writer.write(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
            stream = _take(streams, decoder, kind, flags, number, payload)
            if stream is None:
                continue
            del streams[number]
            call = Call(stream.headers.get(":path", ""), stream.headers, bytes(stream.body))
            reply = await answer(call)
            left -= len(reply.body)
            if left < 0:
                return
            await send(writer, _encode(number, reply), faults())
    except (_Broken, ValueError):
        writer.write(_frame(_GOAWAY, 0, 0, struct.pack(">II", 0, 1)))
    except (TimeoutError, asyncio.IncompleteReadError):
        return


def _take(
    streams: dict[int, _Stream], decoder: Decoder, kind: int, flags: int, number: int, payload: bytes
) -> _Stream | None:
    """Add a frame to its stream. Returns the stream if its request is whole now."""
    if kind == _RESET:
        streams.pop(number, None)
    if kind not in (_DATA, _HEADERS, _CONTINUATION):
        return None
    if number not in streams and (kind != _HEADERS or len(streams) >= MAX_STREAMS):
        raise _Broken
    stream = streams.setdefault(number, _Stream())
    if kind != _CONTINUATION:
        stream.ended = stream.ended or bool(flags & _END_STREAM)
        payload = _bare(kind, flags, payload)
    (stream.body if kind == _DATA else stream.block).extend(payload)
    if len(stream.body) + len(stream.block) > MAX_BODY_BYTES:
        raise _Broken
    if kind != _DATA and flags & _END_HEADERS:
        stream.headers |= dict(decoder.decode(bytes(stream.block)))
        stream.block.clear()
        stream.ready = True
    return stream if stream.ready and stream.ended else None


def _bare(kind: int, flags: int, payload: bytes) -> bytes:
    """A payload without padding and priority."""
    start, end = 0, len(payload)
    if flags & _PADDED:
        if not payload:
            raise _Broken
        start, end = 1, end - payload[0]
    if kind == _HEADERS and flags & _PRIORITY:
        start += 5
    if start > end:
        raise _Broken
    return payload[start:end]


async def _read_frame(reader: asyncio.StreamReader) -> tuple[int, int, int, bytes]:
    head = await reader.readexactly(9)
    length = int.from_bytes(head[:3])
    if length > MAX_FRAME_BYTES:
        raise _Broken
    payload = await reader.readexactly(length)
    return head[3], head[4], int.from_bytes(head[5:]) & 0x7FFFFFFF, payload


def _encode(number: int, reply: Answer) -> bytes:
    frames = [
        _frame(_HEADERS, _END_HEADERS, number, encode(reply.headers)),
        *(
            _frame(_DATA, 0, number, reply.body[start : start + MAX_FRAME_BYTES])
            for start in range(0, len(reply.body), MAX_FRAME_BYTES)
        ),
        _frame(_HEADERS, _END_HEADERS | _END_STREAM, number, encode(reply.trailers)),
    ]
    return b"".join(frames)


def _frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + number.to_bytes(4) + payload

"""Raw clients for the peers' tests: bytes in, bytes out, nothing shared with the drivers."""

from __future__ import annotations

import asyncio
import json
import struct
from dataclasses import dataclass
from typing import Any

from simulator.peers import Peer

DEADLINE_S = 5.0


async def ask(peer: Peer, request: bytes, port: int | None = None) -> bytes:
    """One request, everything until the miner closes. ConnectionError when it refuses or resets."""
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection(peer.address, peer.ports.api if port is None else port)
        try:
            writer.write(request)
            await writer.drain()
            return await reader.read(-1)
        finally:
            writer.close()


async def ask_json(peer: Peer, **request: Any) -> Any:
    return json.loads(await ask(peer, json.dumps(request).encode()))


@dataclass
class Page:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def read_page(raw: bytes) -> Page:
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Page(int(first.split(" ")[1]), headers, body)


async def http(
    peer: Peer,
    port: int,
    path: str,
    *,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    body: bytes = b"",
) -> Page:
    lines = [f"{method} {path} HTTP/1.1", "Host: miner", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return read_page(await ask(peer, ("\r\n".join(lines) + "\r\n\r\n").encode() + body, port))


class Frames:
    """A keep-alive connection to API v3."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, **request: Any) -> Any:
        payload = json.dumps(request).encode()
        async with asyncio.timeout(DEADLINE_S):
            self._writer.write(struct.pack("<I", len(payload)) + payload)
            (length,) = struct.unpack("<I", await self._reader.readexactly(4))
            return json.loads(await self._reader.readexactly(length))

    def close(self) -> None:
        self._writer.close()


async def connect_frames(peer: Peer) -> Frames:
    return Frames(*await asyncio.open_connection(peer.address, peer.ports.api_v3))


async def ask_frame(peer: Peer, **request: Any) -> Any:
    frames = await connect_frames(peer)
    try:
        return await frames.ask(**request)
    finally:
        frames.close()

"""A price server on a real socket, whose pages a test sets and whose requests it can look at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit


@dataclass
class Page:
    body: bytes = b""
    status: int = 200
    drip_s: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class PriceServer:
    """Set `pages[path]`; look at `asked`: (path, query, headers)."""

    url: str = ""
    pages: dict[str, Page] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, list[str]], dict[str, str]]] = field(default_factory=list)
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            parts = urlsplit(head[0].split(" ")[1])
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
            self.asked.append((parts.path, parse_qs(parts.query), headers))
            page = self.pages.get(parts.path, Page(b"no such page", 404))
            extra = "".join(f"{name}: {value}\r\n" for name, value in page.headers.items())
            writer.write(
                f"HTTP/1.1 {page.status} X\r\nContent-Length: {len(page.body)}\r\n{extra}"
                "Connection: close\r\n\r\n".encode()
            )
            if page.drip_s:
                await asyncio.sleep(page.drip_s)
            writer.write(page.body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            await self.hang_up(writer)

    async def hang_up(self, writer: asyncio.StreamWriter) -> None:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        self.writers.discard(writer)


@asynccontextmanager
async def price_server() -> AsyncIterator[PriceServer]:
    server = PriceServer()
    listening = await asyncio.start_server(server.answer, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listening.close()
        await listening.wait_closed()
        for writer in tuple(server.writers):
            await server.hang_up(writer)

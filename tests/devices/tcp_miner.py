"""A TCP server on a free port of this machine that does to each connection what a test says, and counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class TcpMiner:
    """What the server saw."""

    port: int = 0
    connections: int = 0
    open_now: int = 0
    most_at_once: int = 0
    requests: list[bytes] = field(default_factory=list)


@asynccontextmanager
async def tcp_miner(handle: Handler, address: str = "127.0.0.1") -> AsyncIterator[TcpMiner]:
    """Listen on a free port until the block ends; `handle` is cancelled with it."""
    seen = TcpMiner()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        seen.open_now += 1
        seen.most_at_once = max(seen.most_at_once, seen.open_now)
        try:
            await handle(reader, writer)
        except OSError:
            pass
        finally:
            seen.open_now -= 1
            writer.transport.abort()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, address, 0)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        server.close()
        left = tuple(tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await server.wait_closed()


def answering(*chunks: bytes, close: bool = True) -> Handler:
    """Read a request, send `chunks` one by one, then close or stay silent."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
            # Give the client the chance to see each piece on its own.
            await asyncio.sleep(0)
        if close:
            writer.close()
            await writer.wait_closed()
        else:
            await reader.read()

    return handle

"""A proxy between a driver and a simulated miner that breaks one chosen connection at one chosen moment."""

import asyncio
import contextlib
from dataclasses import dataclass
from enum import StrEnum


class Moment(StrEnum):
    """When the connection is lost."""

    BEFORE = "before the request is delivered"
    AFTER = "after the request is delivered, before any answer"
    WITHIN = "in the middle of the answer"


@dataclass(frozen=True)
class Cut:
    """Break the connection of this number, counted from 0 over all ports."""

    connection: int
    moment: Moment


class CuttingProxy:
    """Forwards several ports of one host. Use as an async context manager; `ports` maps real to own ports."""

    def __init__(self, host: str, targets: list[int], cut: Cut | None = None) -> None:
        self._host = host
        self._targets = targets
        self.cut = cut
        self.connections = 0
        self.ports: dict[int, int] = {}
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "CuttingProxy":
        for target in self._targets:
            server = await asyncio.start_server(self._accept(target), self._host, 0)
            self._servers.append(server)
            self.ports[target] = server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, target: int):
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            number, self.connections = self.connections, self.connections + 1
            try:
                await self._carry(target, number, reader, writer)
            except (OSError, asyncio.CancelledError):
                pass
            finally:
                self._tasks.discard(task)
                writer.transport.abort()

        return handle

    async def _carry(
        self, target: int, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        moment = self.cut.moment if self.cut is not None and self.cut.connection == number else None
        if moment is Moment.BEFORE:
            return
        up_reader, up_writer = await asyncio.open_connection(self._host, target)
        sending = asyncio.create_task(_pump(reader, up_writer))
        try:
            if moment is None:
                await _pump(up_reader, writer)
                return
            answer = await up_reader.read(65536)
            if moment is Moment.WITHIN:
                writer.write(answer[: len(answer) // 2])
                await writer.drain()
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await sending
            up_writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()

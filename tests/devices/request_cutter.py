"""A proxy in front of a web page that lets so many bytes of one POST or its answer through, and no more."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class ByteCut:
    """Where the connection is lost.

    Args:
        name: for the test's id.
        of_answer: count bytes of the answer instead of the request.
        place: bytes that still pass, from the lengths of head and body.
    """

    name: str
    place: Callable[[int, int], int]
    of_answer: bool = False

    def __str__(self) -> str:
        return self.name


class RequestCutter:
    """Use as an async context manager; `port` is where it listens. Only the first POST is cut."""

    def __init__(self, host: str, target: int, cut: ByteCut) -> None:
        self._host, self._target, self._cut = host, target, cut
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.done = False
        self.port = 0

    async def __aenter__(self) -> "RequestCutter":
        self._server = await asyncio.start_server(self._handle, self._host, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        up_reader, up_writer = await asyncio.open_connection(self._host, self._target)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._one(reader, writer, up_reader, up_writer):
                    pass
        finally:
            self._tasks.discard(task)
            up_writer.transport.abort()
            writer.transport.abort()

    async def _one(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> bool:
        """Carry one request and its answer; False where the connection is to end."""
        head, body = await _message(reader)
        # The first POST may be the one that asks for the login's challenge.
        cut = head.startswith(b"POST") and b"Authorization" in head and not self.done
        if cut:
            self.done = True
        if cut and not self._cut.of_answer:
            passed = self._cut.place(len(head), len(body))
            up_writer.write((head + body)[:passed])
            await up_writer.drain()
            if passed == len(head) + len(body):
                await _message(up_reader)
            return False
        up_writer.write(head + body)
        await up_writer.drain()
        head, body = await _message(up_reader)
        passed = self._cut.place(len(head), len(body)) if cut else len(head) + len(body)
        writer.write((head + body)[:passed])
        await writer.drain()
        return not cut


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), 0)
    return head, await reader.readexactly(length)

"""Reads of API v3: several frames over one connection, each checked. Writes are the driver's work."""

from __future__ import annotations

import contextlib
from types import TracebackType

from agent.devices import whatsminer_parse_v3 as parse
from agent.devices.device import Endpoint
from agent.devices.whatsminer_parse_v3 import Document, Sections
from agent.devices.whatsminer_wire import Budget, Wire, connect, encode
from agent.errors import Unreachable


class FrameLine:
    """Reads over one connection; where the firmware closes it after a frame, over a new one each."""

    def __init__(self, endpoint: Endpoint, budget: Budget) -> None:
        self._endpoint = endpoint
        self._budget = budget
        self._stack = contextlib.AsyncExitStack()
        self._wire: Wire | None = None

    async def __aenter__(self) -> FrameLine:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def ask(self, command: str, param: str | None) -> Sections:
        """The sections of one checked reply.

        Raises:
            DeviceError: it failed, or the miner answered with an error.
        """
        document = await self.document(command, param)
        return parse.sections_of(command if param is None else f"{command}.{param}", document)

    async def document(self, command: str, param: str | None) -> Document:
        """One checked reply. Raises as `ask` does."""
        raw = await self.raw(command, param)
        address = self._endpoint.address
        return parse.check(command, parse.parse_document(command, raw, address), address)

    async def raw(self, command: str, param: str | None) -> bytes:
        """One reply as it came.

        Raises:
            DeviceError: unreachable, timeout or a frame that is too long.
        """
        request: dict[str, str] = {"cmd": command} if param is None else {"cmd": command, "param": param}
        used = self._wire is not None
        try:
            return await (await self._open()).frame(encode(request), self._budget.left())
        except Unreachable:
            if not used:
                raise
        await self._stack.aclose()
        self._wire = None
        return await (await self._open()).frame(encode(request), self._budget.left())

    async def _open(self) -> Wire:
        if self._wire is None:
            address, port = self._endpoint.address, self._endpoint.ports.api_v3
            self._wire = await self._stack.enter_async_context(connect(address, port, self._budget.left()))
        return self._wire

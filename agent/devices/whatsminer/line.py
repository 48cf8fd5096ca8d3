"""API v3 on the wire: several reads over one connection, and one write with its own token.

What to ask and to set is the driver's choice.
"""

from __future__ import annotations

import contextlib
from types import TracebackType

from agent.clock import Clock
from agent.devices.device import Credentials, Endpoint
from agent.devices.numbers import number, text
from agent.devices.whatsminer import parse_v3 as parse
from agent.devices.whatsminer.crypto import v3_seal, v3_token
from agent.devices.whatsminer.envelope import Document
from agent.devices.whatsminer.parse_v3 import INFO, Sections
from agent.devices.whatsminer.wire import Budget, Wire, connect, encode
from agent.errors import Malformed, Timeout, Unauthorised, Unreachable, WriteDisabled

_ACK_S = 5.0
_LATEST_TS = 2.0**32


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


async def write(
    endpoint: Endpoint,
    clock: Clock,
    login: Credentials,
    request: tuple[str, object],
    switch: bool | None,
    budget: Budget,
    *,
    sealed: bool = False,
) -> bool | None:
    """Send one write, once.

    Args:
        request: command and param.
        switch: whether the miner says that its write API is open.
        sealed: encrypt the param, as the firmware wants it for what holds passwords.

    Returns:
        True: the miner said OK. None: no answer that can be read, so unknown.

    Raises:
        DeviceError: nothing was sent, or the miner refused.
    """
    address = endpoint.address
    command, param = request
    async with FrameLine(endpoint, budget) as line:
        document = await line.document(INFO, "salt")
    salt = text(parse.sections_of(f"{INFO}.salt", document).get("salt"))
    if salt is None:
        raise Malformed(address, f"{INFO}: the salt is missing")
    # The token is made with the miner's own time, so that a wrong clock does not void it, however wrong.
    told = number(document.get("when"))
    ts = int(told) if told is not None and 0.0 < told < _LATEST_TS else int(clock.now().timestamp())
    token = v3_token(command, login.password, salt, ts)
    if sealed:
        param = v3_seal(command, login.password, salt, ts, param)
    payload = {"cmd": command, "param": param, "ts": ts, "account": login.username, "token": token}
    async with connect(address, endpoint.ports.api_v3, budget.left()) as wire:
        try:
            raw = await wire.frame(encode(payload), budget.left(_ACK_S))
            parse.check(command, parse.parse_document(command, raw, address), address)
        except (Timeout, Unreachable, Malformed):
            return None
        except WriteDisabled as error:
            if not switch:
                raise
            words = f"{error.detail}; apiswitch is 1, so the account {login.username} may not"
            raise Unauthorised(address, words) from error
    return True

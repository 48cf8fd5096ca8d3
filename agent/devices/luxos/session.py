"""LuxOS on the wire: one command a connection, and the one session that writes need.

A session is given back whatever happens; one that somebody else holds is left alone.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from agent.devices.antminer.parse import check_status
from agent.devices.device import Endpoint
from agent.devices.luxos.parse import row
from agent.devices.numbers import text
from agent.devices.transport import exchange, tolerant_json
from agent.errors import DeviceError, Malformed, Refused, Timeout, Unreachable

_SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")
Json = dict[str, Any]


async def raw(endpoint: Endpoint, command: str, deadline_s: float, parameter: str = "") -> bytes:
    """The reply as it came.

    Raises:
        DeviceError: unreachable, timeout, or longer than any reply.
    """
    request = {"command": command} | ({"parameter": parameter} if parameter else {})
    payload = json.dumps(request, separators=(",", ":")).encode() + b"\n"
    return await exchange(endpoint.address, endpoint.ports.api, payload, deadline_s=deadline_s)


async def ask(endpoint: Endpoint, command: str, deadline_s: float, parameter: str = "") -> Json:
    """The reply as an object that does not say error.

    Raises:
        Unsupported: the firmware does not offer the command. Refused: it says no.
        DeviceError: it cannot be had.
    """
    answer = tolerant_json(await raw(endpoint, command, deadline_s, parameter), endpoint.address)
    return dict(check_status(answer, endpoint.address))


async def joined(endpoint: Endpoint, commands: Sequence[str], deadline_s: float) -> dict[str, Json]:
    """The replies to several reads in one request, those that are whole and no error.

    Raises:
        Unsupported, Refused: the firmware does not join them. DeviceError: it cannot be had.
    """
    answer = await ask(endpoint, "+".join(commands), deadline_s)
    found: dict[str, Json] = {}
    for command in commands:
        part = answer.get(command)
        part = part[0] if isinstance(part, list) and part else part
        with contextlib.suppress(DeviceError):
            found[command] = dict(check_status(part, endpoint.address))
    return found


class Session:
    """The right to write, for as long as the context lasts."""

    def __init__(self, endpoint: Endpoint, identifier: str) -> None:
        self._endpoint = endpoint
        self._identifier = identifier

    async def write(self, command: str, *arguments: str, deadline_s: float) -> bool | None:
        """Send one write, once.

        Returns:
            True: the miner said OK. None: no answer that can be read, so unknown.

        Raises:
            Unsupported, Refused: the miner said no.
        """
        try:
            await ask(self._endpoint, command, deadline_s, ",".join((self._identifier, *arguments)))
        except (Timeout, Unreachable, Malformed):
            return None
        return True


@asynccontextmanager
async def session(endpoint: Endpoint, deadline_s: float) -> AsyncIterator[Session]:
    """Log on, and off again in the end.

    Raises:
        Refused: somebody else has the one session. DeviceError: it cannot be had.
    """
    address = endpoint.address
    held = text(row(await ask(endpoint, "session", deadline_s), "SESSION").get("SessionID"))
    if held:
        raise Refused(
            address, "another program has the miner's one session open; let it log off, then try again"
        )
    given = text(row(await ask(endpoint, "logon", deadline_s), "SESSION").get("SessionID"))
    if given is None or not _SESSION.fullmatch(given):
        raise Malformed(address, "logon: no session came")
    try:
        yield Session(endpoint, given)
    finally:
        # It would end by itself after a while; until then nobody could write.
        with contextlib.suppress(DeviceError):
            await ask(endpoint, "logoff", deadline_s, given)

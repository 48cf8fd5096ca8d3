"""Requests to one miner's REST interface behind a login: the token is renewed once where refused.

It keeps "nothing was sent" apart from "sent, but no answer": after a write they mean different things.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.devices.device import Endpoint
from agent.devices.numbers import text
from agent.devices.redact import redact
from agent.devices.rest import Reply, Rest
from agent.errors import Malformed, Refused, Timeout, Unauthorised, Unreachable, Unsupported

_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")
_NOT_OFFERED = (404, 405, 501)
Body = Mapping[str, Any] | list[Any]


@dataclass(frozen=True, slots=True)
class TokenLogin:
    """How a firmware's REST interface gives a token.

    Args:
        root: what every path begins with.
        path: where the login is sent by POST. body: what it holds, password included.
        who: the login as it may be shown.
        remedy: what to do where there is no such login.
        scheme: what stands before the token in `Authorization`.
        denied: statuses by which a request without a good token is refused.
        reads_open: reading needs no token.
    """

    root: str
    path: str
    body: Mapping[str, str] = field(repr=False)
    who: str
    remedy: str
    scheme: str = ""
    denied: tuple[int, ...] = (401,)
    reads_open: bool = False


class TokenSession:
    """The REST interface of one miner behind its login. No connection is kept between requests."""

    def __init__(self, endpoint: Endpoint, login: TokenLogin) -> None:
        self._address = endpoint.address
        self._login = login
        self._rest = Rest(endpoint.address, endpoint.ports.web, login.root)
        self._token: str | None = None
        self.logins = 0

    def __repr__(self) -> str:
        return f"TokenSession({self._address!r})"

    async def document(self, path: str, deadline_s: float) -> Any:
        """GET a JSON document of any shape.

        Raises:
            Unreachable, Timeout, Malformed, Unauthorised: as their names say.
            Unsupported: this firmware does not have `path`. Refused: another status than success.
        """
        reply = await self.raw(path, deadline_s)
        return reply.document(self._address)

    async def object(self, path: str, deadline_s: float) -> dict[str, Any]:
        """GET a JSON object.

        Raises:
            DeviceError: as `document`, or Malformed where it holds something else.
        """
        found = await self.document(path, deadline_s)
        if not isinstance(found, dict):
            raise Malformed(self._address, f"{path}: expected an object, got {type(found).__name__}")
        return found

    async def raw(self, path: str, deadline_s: float) -> Reply:
        """GET `path`; only a successful reply is returned.

        Raises:
            DeviceError: as `document`.
        """
        reply = await self._authorised("GET", path, None, deadline_s)
        self._check(f"GET {path}", reply)
        return reply

    async def write(self, method: str, path: str, body: Body | None, deadline_s: float) -> bool | None:
        """Send a command once. True: done; None: unknown, because no usable answer came.

        Raises:
            Unreachable, Timeout, Unauthorised: nothing was carried out.
            Unsupported, Refused: the miner understood it and did not do it.
        """
        try:
            reply = await self._authorised(method, path, body, deadline_s, writing=True)
        except _Unanswered:
            return None
        if reply.status >= 500 and reply.status not in _NOT_OFFERED:
            return None
        self._check(f"{method} {path}", reply)
        return True

    async def _authorised(
        self, method: str, path: str, body: Body | None, deadline_s: float, *, writing: bool = False
    ) -> Reply:
        ends_s = asyncio.get_running_loop().time() + deadline_s
        is_open = self._login.reads_open and method == "GET" and self._token is None
        fresh = self._token is None and not is_open
        if fresh:
            await self._log_in(ends_s)
        reply = await self._send(method, path, body, ends_s, writing)
        if reply.status in self._login.denied and not fresh:
            # A restart forgets tokens, and so does an hour without a request.
            self._token = None
            await self._log_in(ends_s)
            reply = await self._send(method, path, body, ends_s, writing)
        if reply.status in self._login.denied:
            self._token = None
            raise Unauthorised(self._address, f"{method} {path}: refused right after a good login")
        return reply

    async def _send(self, method: str, path: str, body: Body | None, ends_s: float, writing: bool) -> Reply:
        headers = {} if self._token is None else {"Authorization": self._login.scheme + self._token}
        left_s = self._left(ends_s)
        try:
            return await self._rest.call(method, f"/{path}", body=body, headers=headers, deadline_s=left_s)
        except (Timeout, Unreachable, Malformed) as error:
            # An error with a cause is one of connecting: the request never left.
            sent = not isinstance(error, Unreachable) or error.__cause__ is None
            if writing and sent:
                raise _Unanswered(error.detail) from error
            raise

    async def _log_in(self, ends_s: float) -> None:
        login = self._login
        reply = await self._rest.call("POST", login.path, body=login.body, deadline_s=self._left(ends_s))
        if reply.status in (400, 401, 403):
            raise Unauthorised(
                self._address,
                f"the login {login.who} was refused; correct its credentials",
            )
        if reply.status in _NOT_OFFERED or 300 <= reply.status < 400:
            raise Unsupported(
                self._address,
                f"the login answers {reply.status}: {login.remedy}",
            )
        if not 200 <= reply.status < 300:
            raise Refused(self._address, f"the login answers {reply.status}")
        found = reply.document(self._address)
        token = found.get("token") if isinstance(found, dict) else None
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise Malformed(self._address, f"{login.path}: no usable token in the answer")
        self._token = token
        self.logins += 1

    def _check(self, what: str, reply: Reply) -> None:
        if 200 <= reply.status < 300:
            return
        if reply.status in _NOT_OFFERED:
            raise Unsupported(self._address, f"{what}: this firmware does not offer it ({reply.status})")
        said = self._words(reply)
        raise Refused(self._address, f"{what}: the miner answers {reply.status}{said}")

    def _words(self, reply: Reply) -> str:
        found = text(redact(reply.body[:400]).decode("utf-8", errors="replace"))
        if found is None or found.startswith("<"):
            return ""
        if self._token is not None:
            found = found.replace(self._token, "***")
        return f": {found[:160]}"

    def _left(self, ends_s: float) -> float:
        left_s = ends_s - asyncio.get_running_loop().time()
        if left_s <= 0.0:
            raise Timeout(self._address, "no time left to ask")
        return left_s


class _Unanswered(Exception):
    """A write went out and no usable answer came."""

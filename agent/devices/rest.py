"""One HTTP request with a JSON body over a connection of its own, for firmware with a REST interface.

Much lighter than a full client, which matters at a thousand miners a cycle. Logins are the drivers' work.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import h11

from agent.devices.transport import tolerant_json
from agent.errors import Malformed, Timeout, Unreachable

LIMIT_BYTES = 2 * 1024 * 1024
_CONNECT_S, _CONNECT_SHARE = 5.0, 0.5
_HEAD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """What a miner answered: any status, the body whole."""

    status: int
    body: bytes

    def document(self, address: str) -> Any:
        """The JSON in the body.

        Raises:
            Malformed: it is none, even after the known repairs.
        """
        return tolerant_json(self.body, address)


class Rest:
    """The REST interface of one miner. Keeps no connection between calls.

    Args:
        address: IP address or host name.
        port: TCP port of the web server.
        root: what every path begins with, such as `/api/v1`.
    """

    def __init__(self, address: str, port: int, root: str = "") -> None:
        self._address = address
        self._port = port
        self._root = root.rstrip("/")
        self._host = f"[{address}]" if ":" in address else address

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | list[Any] | None = None,
        headers: Mapping[str, str] | None = None,
        deadline_s: float,
    ) -> Reply:
        """Send one request and read the whole answer, whatever its status.

        Raises:
            Unreachable: no connection, or closed before an answer began.
            Timeout: `deadline_s`, which covers all of it, passed.
            Malformed: the answer is not HTTP, is cut short, or is longer than 2 MiB.
        """
        what = f"{method} {path}"
        loop = asyncio.get_running_loop()
        exchange = _Exchange(self._address, what, self._request(method, path, body, headers or {}), loop)
        connected = False
        try:
            async with asyncio.timeout(deadline_s):
                async with asyncio.timeout(min(_CONNECT_S, _CONNECT_SHARE * deadline_s)):
                    await loop.create_connection(lambda: exchange, self._address, self._port)
                connected = True
                return await exchange.done
        except TimeoutError as error:
            if not connected:
                raise Unreachable(self._address, f"port {self._port}: no connection in time") from error
            raise Timeout(self._address, f"{what}: no whole answer within {deadline_s:g} s") from error
        except (OSError, UnicodeError) as error:
            raise Unreachable(self._address, f"port {self._port}: {error}") from error
        finally:
            exchange.abort()

    def _request(
        self, method: str, path: str, body: Mapping[str, Any] | list[Any] | None, headers: Mapping[str, str]
    ) -> tuple[h11.Request, bytes]:
        fields = {"Host": f"{self._host}:{self._port}", "Accept": "application/json", "Connection": "close"}
        content = b""
        if body is not None:
            content = json.dumps(body, separators=(",", ":")).encode()
            fields["Content-Type"] = "application/json"
        if body is not None or method in ("POST", "PUT", "PATCH"):
            fields["Content-Length"] = str(len(content))
        try:
            request = h11.Request(
                method=method, target=self._root + path, headers=[*fields.items(), *headers.items()]
            )
        except h11.LocalProtocolError as error:
            # A token that came from the miner may hold anything, and the error may quote it.
            raise Malformed(self._address, f"{method} {path}: a header cannot be sent") from error.__cause__
        return request, content


class _Exchange(asyncio.Protocol):
    """One request and its answer. `done` gets the reply, or the error that ended it."""

    def __init__(
        self, address: str, what: str, request: tuple[h11.Request, bytes], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.done: asyncio.Future[Reply] = loop.create_future()
        self._address = address
        self._what = what
        self._request, self._content = request
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
        self._transport: asyncio.Transport | None = None
        self._status: int | None = None
        self._body = bytearray()
        self._any = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        payload = self._http.send(self._request) or b""
        if self._content:
            payload += self._http.send(h11.Data(data=self._content)) or b""
        transport.write(payload + (self._http.send(h11.EndOfMessage()) or b""))

    def data_received(self, data: bytes) -> None:
        self._any = True
        if not self.done.done():
            self._feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.done.done():
            return
        if not self._any:
            words = str(exc) if exc is not None else "closed the connection without an answer"
            self._fail(Unreachable(self._address, f"{self._what}: {words}"))
            return
        # An answer without a length ends with the connection.
        self._feed(b"")
        if not self.done.done():
            self._fail(Malformed(self._address, f"{self._what}: the answer is cut short"))

    def abort(self) -> None:
        """Close without waiting; a miner that does not close must not hold us."""
        if not self.done.cancel() and not self.done.cancelled():
            # Mark an error as seen that came when nobody was waiting any more.
            self.done.exception()
        if self._transport is not None:
            self._transport.abort()

    def _feed(self, data: bytes) -> None:
        try:
            self._http.receive_data(data)
            while True:
                event = self._http.next_event()
                if isinstance(event, h11.Response):
                    self._status = event.status_code
                elif isinstance(event, h11.Data):
                    self._body += event.data
                    if len(self._body) > LIMIT_BYTES:
                        raise Malformed(self._address, f"{self._what}: longer than {LIMIT_BYTES} bytes")
                elif isinstance(event, h11.EndOfMessage) and self._status is not None:
                    self.done.set_result(Reply(self._status, bytes(self._body)))
                    return
                elif not isinstance(event, h11.InformationalResponse):
                    return
        except Malformed as error:
            self._fail(error)
        except h11.RemoteProtocolError as error:
            self._fail(Malformed(self._address, f"{self._what}: not a usable HTTP answer: {error}"))

    def _fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)

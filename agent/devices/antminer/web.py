"""The Antminer's web pages on port 80: CGI scripts behind HTTP digest, one connection at a time.

The login's nonce is kept and used again, which halves the round trips. What pages mean is the parser's.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from agent.devices.device import Credentials, Endpoint
from agent.devices.transport import tolerant_json
from agent.errors import Malformed, Refused, Timeout, Unauthorised, Unreachable, Unsupported

FACTORY = Credentials("root", "root")
_LIMIT_BYTES = 2 * 1024 * 1024
_FOLDER = "/cgi-bin/"
# Nothing here speaks TLS, and httpx would load the system's certificates anew for every client: 20 ms.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Web:
    """Pages of one miner. Keep it between calls for the sake of the nonce; open it for each use."""

    def __init__(self, endpoint: Endpoint) -> None:
        login = endpoint.credentials or FACTORY
        host = f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address
        self._address = endpoint.address
        self._base = f"http://{host}:{endpoint.ports.web}"
        self._auth = httpx.DigestAuth(login.username, login.password)
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        self._client = httpx.AsyncClient(
            base_url=self._base,
            auth=self._auth,
            limits=httpx.Limits(max_connections=1),
            follow_redirects=False,
            # No firmware packs its pages, and a packed one could grow without end.
            headers={"Accept-Encoding": "identity"},
            trust_env=False,
            verify=_NO_TLS,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def page(self, name: str, deadline_s: float) -> bytes:
        """The body of a page.

        Raises:
            Unreachable, Timeout, Unauthorised, Malformed: as their names say.
            Unsupported: the page does not exist on this firmware. Refused: a server error.
        """
        return await self._call("GET", name, None, deadline_s)

    async def document(self, name: str, deadline_s: float) -> dict[str, Any]:
        """A page that holds a JSON object.

        Raises:
            DeviceError: as `page`, or Malformed where it holds something else.
        """
        found = tolerant_json(await self.page(name, deadline_s), self._address)
        if not isinstance(found, dict):
            raise Malformed(self._address, f"{name}: expected an object, got {type(found).__name__}")
        return found

    async def send(self, name: str, body: Mapping[str, Any], deadline_s: float) -> dict[str, Any]:
        """Post a JSON object and return the answer.

        Raises:
            DeviceError: as `document`. After Timeout or Unreachable it is unknown whether it was taken.
        """
        answer = await self._call("POST", name, json.dumps(body).encode(), deadline_s, "application/json")
        found = tolerant_json(answer, self._address)
        if not isinstance(found, dict):
            raise Malformed(self._address, f"{name}: expected an object, got {type(found).__name__}")
        return found

    async def submit(self, name: str, form: bytes, deadline_s: float) -> bytes:
        """Post the fields of a form, as a browser would, and return the answer as it came.

        Raises:
            DeviceError: as `page`. After Timeout or Unreachable it is unknown whether it was taken.
        """
        return await self._call("POST", name, form, deadline_s, "application/x-www-form-urlencoded")

    async def _call(
        self, method: str, name: str, body: bytes | None, deadline_s: float, kind: str | None = None
    ) -> bytes:
        assert self._client is not None, "use `async with`"
        headers = {"Content-Type": kind} if kind is not None else {}
        timeout = httpx.Timeout(deadline_s)
        try:
            async with (
                asyncio.timeout(deadline_s),
                self._client.stream(
                    method, _FOLDER + name, content=body, headers=headers, timeout=timeout
                ) as reply,
            ):
                self._check(name, reply.status_code)
                answer = bytearray()
                async for chunk in reply.aiter_raw():
                    answer += chunk
                    if len(answer) > _LIMIT_BYTES:
                        raise Malformed(self._address, f"{name}: longer than {_LIMIT_BYTES} bytes")
                return bytes(answer)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise Timeout(self._address, f"{name}: no whole answer within {deadline_s:g} s") from error
        except (httpx.ConnectError, httpx.ReadError, httpx.WriteError, httpx.CloseError) as error:
            raise Unreachable(self._address, f"{name}: {error or type(error).__name__}") from error
        except httpx.RemoteProtocolError as error:
            if str(error).startswith("Server disconnected"):
                raise Unreachable(self._address, f"{name}: closed without an answer") from error
            raise Malformed(self._address, f"{name}: not a usable HTTP answer: {error}") from error
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, ValueError, KeyError) as error:
            # httpx raises bare ValueError and KeyError on some broken digest challenges.
            raise Malformed(self._address, f"{name}: not a usable HTTP answer: {error}") from error

    def _check(self, name: str, status: int) -> None:
        if status == 200:
            return
        if status in (401, 403):
            raise Unauthorised(
                self._address, f"{name}: user name or password is wrong; correct its credentials"
            )
        if status == 404:
            raise Unsupported(self._address, f"{name}: this firmware has no such page")
        raise Refused(self._address, f"{name}: the web server answered {status}")

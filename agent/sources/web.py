"""One bounded GET: a deadline for all of it, a most of bytes, no redirects, the machine's own authorities."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from typing import Any

import httpx

from agent import __version__
from agent.errors import SourceError


class Web:
    """Connections of all sources of one process. Close it when done."""

    def __init__(self) -> None:
        self._client = httpx.AsyncClient(
            headers={"User-Agent": f"hashmargin/{__version__}", "Accept-Encoding": "identity"},
            limits=httpx.Limits(max_connections=4),
            follow_redirects=False,
            verify=ssl.create_default_context(),
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def get(
        self,
        url: str,
        *,
        deadline_s: float,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> bytes:
        """The body of a 200.

        Raises:
            SourceError: anything else; neither headers nor parameters, which may hold secrets, are in it.
        """
        place = url.partition("?")[0]
        try:
            full = httpx.URL(url).copy_merge_params(parameters or {})
            async with (
                asyncio.timeout(deadline_s),
                self._client.stream("GET", full, headers=dict(headers or {}), timeout=deadline_s) as response,
            ):
                if response.status_code in (401, 403):
                    raise SourceError(f"{place} answers {response.status_code}; check the token")
                if response.status_code != 200:
                    raise SourceError(f"{place} answers {response.status_code}")
                if response.headers.get("content-encoding", "identity").lower() != "identity":
                    raise SourceError(f"{place} packs its answer, which was not asked for")
                body = bytearray()
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > max_bytes:
                        raise SourceError(f"{place} answers more than {max_bytes} bytes; raise max_kib")
                return bytes(body)
        except TimeoutError as error:
            raise SourceError(f"{place} did not answer within {deadline_s:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ValueError) as error:
            raise SourceError(f"{place} cannot be reached: {type(error).__name__}") from error


def as_json(body: bytes, where: str) -> Any:
    """A JSON document.

    Raises:
        SourceError: it is none.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{where}: the answer is not JSON") from error

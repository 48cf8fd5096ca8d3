"""A meter that shows a JSON document over HTTP: one GET, every figure out of it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from agent.devices.rest import Rest
from agent.errors import ConfigError, DeviceError, Malformed, Refused, Unauthorised, Unsupported
from agent.meters.config import HttpMeter
from agent.meters.watts import Found, to_watts


class JsonHttp:
    """The points of one meter. Fulfils `Meter`.

    Args:
        config: where and what.
        token: never shown anywhere.

    Raises:
        ConfigError: the token holds signs that a header cannot carry.
    """

    def __init__(self, config: HttpMeter, token: str | None) -> None:
        parts = urlsplit(config.url)
        self._host = parts.hostname or ""
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._rest = Rest(self._host, parts.port or 80)
        if token is not None and not (token.isascii() and token.isprintable() and token == token.strip()):
            raise ConfigError(
                config.token_file, None, "", "a token is one line of plain letters, digits and signs"
            )
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._config = config

    async def read(self, found: Found) -> None:
        """See `Meter.read`."""
        reply = await self._rest.call(
            "GET", self._path, headers=self._headers, deadline_s=self._config.deadline_s
        )
        if reply.status in (401, 403):
            raise Unauthorised(self._host, f"GET {self._path}: {reply.status}; check token_file")
        if reply.status == 404:
            raise Unsupported(self._host, f"GET {self._path}: there is no such page")
        if not 200 <= reply.status < 300:
            raise Refused(self._host, f"GET {self._path}: answers {reply.status}")
        document = reply.document(self._host)
        for place, point in enumerate(self._config.points):
            raw = pick(document, point.path, self._host)
            found(place, raw if isinstance(raw, DeviceError) else to_watts(raw, point, self._host))


def pick(document: Any, path: str, address: str) -> Any:
    """What stands at `path` in a JSON document, or a `Malformed` that says how far the path goes."""
    here, walked = document, ""
    for step in path.split("."):
        if isinstance(here, dict) and step in here:
            here = here[step]
        elif isinstance(here, list) and step.isascii() and step.isdigit() and int(step[:9]) < len(here):
            here = here[int(step[:9])]
        else:
            return Malformed(address, f"{path}: {walked or 'the document'} has no {step}")
        walked = f"{walked}.{step}" if walked else step
    return here

"""Which family a host belongs to, by cheap reads alone: text on 4028, then the front page of port 80.

A frame on 4433 is sent only to a host that has shown itself to be a Whatsminer.
"""

from __future__ import annotations

import json
from dataclasses import replace

from agent.clock import Clock
from agent.devices.antminer.generation import is_later, is_old
from agent.devices.antminer.web import Web
from agent.devices.device import Endpoint
from agent.devices.transport import exchange
from agent.devices.whatsminer.v3 import WhatsminerV3
from agent.errors import DeviceError, Timeout, Unreachable, Unsupported

_LIMIT_BYTES = 1024 * 1024
_PROBE_S = 3.0
_READ_BYTES = 65536
_LOGIN_REALM = "ANTMINER CONFIGURATION"
# Custom firmware imitates the stock one, so its marks are looked for first.
_MARKS: tuple[tuple[str, str], ...] = (
    ("LUXMINER", "luxos"),
    ("LUXOR FIRMWARE", "luxos"),
    ("BOSMINER", "braiins"),
    ("BOSER", "braiins"),
    ("BRAIINS OS", "braiins"),
    ("VNISH", "vnish"),
    ("ANTHILLOS", "vnish"),
    ("BITMICRO", "whatsminer"),
    ("BTMINER", "whatsminer"),
    ("WHATSMINER", "whatsminer"),
    ("/CGI-BIN/LUCI", "whatsminer"),
    ("ANTMINER", "antminer-stock"),
)


async def identify_family(endpoint: Endpoint, clock: Clock) -> str:
    """The name of the family in `agent.devices.families`.

    Raises:
        Unsupported: a firmware without a driver. Unreachable, Timeout: nobody answers on 4028 or 80.
    """
    problem: DeviceError | None = None
    answered = False
    for command in ("version", "devdetails"):
        payload = json.dumps({"command": command}, separators=(",", ":")).encode()
        try:
            answer = await exchange(
                endpoint.address,
                endpoint.ports.api,
                payload,
                deadline_s=endpoint.deadline_s,
                limit_bytes=_LIMIT_BYTES,
            )
        except Timeout:
            # It took the connection and says nothing; it would do so again.
            raise
        except DeviceError as error:
            problem = error
            if isinstance(error.__cause__, TimeoutError):
                # Nobody took the connection: there is no such host, and port 80 would only cost time.
                raise
            if isinstance(error.__cause__, ConnectionRefusedError):
                break
            continue
        answered = True
        found = _mark(answer)
        if found is not None:
            return await _settle(found, answer, endpoint, clock)
    try:
        page = await _front_page(endpoint)
    except DeviceError as error:
        if answered:
            raise Unsupported(
                endpoint.address, "answers on 4028, but as no family that is known here"
            ) from error
        raise problem or error from None
    found = _mark(page) or ("whatsminer" if _moves_to_https(page) else None)
    if found is None:
        raise Unsupported(
            endpoint.address, "answers, but as no family that is known here; name it with --family"
        )
    return await _settle(found, page, endpoint, clock)


async def _settle(found: str, answer: bytes, endpoint: Endpoint, clock: Clock) -> str:
    if found == "antminer-stock":
        return await _generation(answer, endpoint)
    if found != "whatsminer":
        return found
    try:
        # A firewall that swallows 4433 must leave time to be known as v2.
        deadline_s = min(_PROBE_S, endpoint.deadline_s / 3)
        await WhatsminerV3(replace(endpoint, deadline_s=deadline_s), clock).identify()
    except DeviceError:
        return "whatsminer-v2"
    return "whatsminer-v3"


async def _generation(answer: bytes, endpoint: Endpoint) -> str:
    """Which of the two drivers for Bitmain's own firmware; the later one where nobody tells the model."""
    text = answer[:_READ_BYTES].decode("utf-8", errors="replace")
    if not is_old(text) and not is_later(text) and _LOGIN_REALM in text.upper():
        # The front page names no model; the page behind it does, to whoever may log in.
        deadline_s = min(_PROBE_S, endpoint.deadline_s / 3)
        try:
            async with Web(endpoint) as web:
                text = str((await web.document("get_system_info.cgi", deadline_s)).get("minertype"))
        except DeviceError:
            return "antminer-stock"
    return "antminer-old" if is_old(text) else "antminer-stock"


async def _front_page(endpoint: Endpoint) -> bytes:
    request = f"GET / HTTP/1.0\r\nHost: {endpoint.address}\r\nConnection: close\r\n\r\n".encode()
    try:
        return await exchange(
            endpoint.address,
            endpoint.ports.web,
            request,
            deadline_s=min(_PROBE_S, endpoint.deadline_s / 3),
            limit_bytes=_LIMIT_BYTES,
        )
    except Timeout as error:
        raise Unreachable(endpoint.address, "port 80 takes the connection and says nothing") from error


def _mark(answer: bytes) -> str | None:
    text = answer[:_READ_BYTES].decode("utf-8", errors="replace").upper()
    return next((family for mark, family in _MARKS if mark in text), None)


def _moves_to_https(page: bytes) -> bool:
    head = page[:2048].decode("latin-1").lower()
    return head.startswith("http/") and " 307 " in head.split("\r\n", 1)[0] and "location: https" in head

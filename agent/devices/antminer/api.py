"""Requests to an Antminer's ports 4028 and 6060: one per connection, no login, nothing changed.

What the replies mean is left to the parsers.
"""

from __future__ import annotations

import json
from typing import Any

from agent.devices.antminer.parse import check_status
from agent.devices.device import Endpoint
from agent.devices.transport import exchange, tolerant_json
from agent.errors import Malformed, Unsupported

_STATUS_LIMIT_BYTES = 65536
_NO_SUCH_PAGE = b"error 6060 cmd"


async def raw(endpoint: Endpoint, command: str, deadline_s: float, *, new_api: bool = False) -> bytes:
    """The reply of 4028 as it came.

    Raises:
        DeviceError: unreachable, timeout, or longer than any reply.
    """
    # Inside `parameter` the firmware would ignore it and give the old layout as a success.
    request = {"command": command} | ({"new_api": True} if new_api else {})
    payload = json.dumps(request, separators=(",", ":")).encode()
    return await exchange(endpoint.address, endpoint.ports.api, payload, deadline_s=deadline_s)


async def ask(
    endpoint: Endpoint, command: str, deadline_s: float, *, new_api: bool = False
) -> dict[str, Any]:
    """The reply of 4028 as an object that does not say error.

    Raises:
        Unsupported: the firmware does not offer the command. DeviceError: it cannot be had.
    """
    document = tolerant_json(await raw(endpoint, command, deadline_s, new_api=new_api), endpoint.address)
    return dict(check_status(document, endpoint.address))


async def status_page(endpoint: Endpoint, path: str, deadline_s: float) -> bytes:
    """The body of a page of port 6060.

    Raises:
        Unsupported: this firmware has no such page. DeviceError: it cannot be had.
    """
    host = f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address
    request = f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode()
    answer = await exchange(
        endpoint.address,
        endpoint.ports.status,
        request,
        deadline_s=deadline_s,
        limit_bytes=_STATUS_LIMIT_BYTES,
    )
    head, separator, body = answer.partition(b"\r\n\r\n")
    if not separator or not head.startswith(b"HTTP/"):
        head, body = b"", answer
    if _NO_SUCH_PAGE in body or b" 404" in head.split(b"\r\n", 1)[0]:
        raise Unsupported(endpoint.address, f"port {endpoint.ports.status}: no page {path}")
    return body


async def status_document(endpoint: Endpoint, path: str, deadline_s: float) -> dict[str, Any]:
    """A page of port 6060 that holds a JSON object.

    Raises:
        DeviceError: as `status_page`, or Malformed where it holds something else.
    """
    found = tolerant_json(await status_page(endpoint, path, deadline_s), endpoint.address)
    if not isinstance(found, dict):
        raise Malformed(endpoint.address, f"{path}: expected an object")
    return found

"""A small HTTP/1.1 server side, enough for the miners' web pages: requests in, whole replies out.

Authentication and pages are left to the handler.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from simulator.peers.faults import Faults, send

MAX_HEADERS = 64
MAX_BODY_BYTES = 64 * 1024
MAX_REQUESTS_PER_CONNECTION = 1000
IDLE_S = 15.0
REASONS: Mapping[int, str] = {
    200: "OK",
    201: "Created",
    204: "No Content",
    307: "Temporary Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    411: "Length Required",
    412: "Precondition Failed",
    413: "Payload Too Large",
    422: "Unprocessable Entity",
    500: "Internal Server Error",
    501: "Not Implemented",
}


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `target` is as sent, `path` without the query; header names are lower case."""

    method: str
    target: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """One reply. `headers` are added to the server's own; `keep_alive` False closes after it."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = field(default=())
    keep_alive: bool = True


class BadRequest(Exception):
    """The request cannot be read; carries the status to answer."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(REASONS[status])


def html_page(status: int, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """The server's own page for a status, in HTML as lighttpd writes it."""
    title = f"{status} {REASONS[status]}"
    body = (
        '<?xml version="1.0" encoding="iso-8859-1"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 '
        'Transitional//EN"\n         "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">\n'
        f"<html>\n <head>\n  <title>{title}</title>\n </head>\n"
        f" <body>\n  <h1>{title}</h1>\n </body>\n</html>\n"
    )
    return Response(status, body.encode(), (("Content-Type", "text/html"), *headers))


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request, or None when the client is done or silent for too long.

    Raises:
        BadRequest: it is not HTTP/1.x, or larger than the limits.
    """
    try:
        async with asyncio.timeout(IDLE_S):
            head = await reader.readuntil(b"\r\n\r\n")
            request_line, *lines = head[:-4].decode("latin-1").split("\r\n")
            parts = request_line.split(" ")
            if len(parts) != 3 or not parts[2].startswith("HTTP/1.") or len(lines) > MAX_HEADERS:
                raise BadRequest(400)
            headers: dict[str, str] = {}
            for line in lines:
                name, colon, value = line.partition(":")
                if not colon:
                    raise BadRequest(400)
                headers[name.strip().lower()] = value.strip()
            body = await reader.readexactly(_body_length(headers))
    except (TimeoutError, asyncio.IncompleteReadError):
        return None
    except asyncio.LimitOverrunError as error:
        raise BadRequest(413) from error
    method, target, version = parts
    if version == "HTTP/1.0":
        headers.setdefault("connection", "close")
    return Request(method.upper(), target, target.partition("?")[0], headers, body)


def _body_length(headers: Mapping[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise BadRequest(411)
    text = headers.get("content-length", "0")
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise BadRequest(400)
    if int(text) > MAX_BODY_BYTES:
        raise BadRequest(413)
    return int(text)


async def serve_connection(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    answer: Callable[[Request], Awaitable[Response]],
    *,
    server: str,
    faults: Callable[[], Faults],
) -> None:
    """Answer requests on one connection until either side ends it.

    Args:
        reader: what the client sends.
        writer: where replies go; closed by the caller.
        answer: the page for a request.
        server: text of the `Server` header, empty for none.
        faults: asked per reply for how it is sent.
    """
    for _ in range(MAX_REQUESTS_PER_CONNECTION):
        try:
            request = await read_request(reader)
        except BadRequest as error:
            refusal = html_page(error.status)
            await send(writer, _encode(refusal, server, keep_alive=False), faults())
            return
        if request is None:
            return
        response = await answer(request)
        keep_alive = response.keep_alive and request.headers.get("connection", "").lower() != "close"
        with contextlib.suppress(ConnectionError):
            await send(writer, _encode(response, server, keep_alive=keep_alive), faults())
        if not keep_alive:
            return


def _encode(response: Response, server: str, *, keep_alive: bool) -> bytes:
    lines = [f"HTTP/1.1 {response.status} {REASONS[response.status]}"]
    lines += [f"{name}: {value}" for name, value in response.headers]
    if response.status != 204:
        lines.append(f"Content-Length: {len(response.body)}")
    if not keep_alive:
        lines.append("Connection: close")
    if server:
        lines.append(f"Server: {server}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + response.body

"""The page of LuxOS on port 80; everything it shows comes from the API, so little of it is here."""

from __future__ import annotations

import asyncio

from simulator.peers.http import Request, Response, html_page, serve_connection
from simulator.peers.listener import Hangup
from simulator.peers.luxos.unit import LuxosUnit

_PAGE = (
    b'<!doctype html><html lang="en"><head><meta charset="utf-8"/><title>Luxor Firmware</title>'
    b'<script defer="defer" src="/static/js/main.js"></script></head>'
    b"<body><noscript>You need to enable JavaScript to run this app.</noscript>"
    b'<div id="root"></div></body></html>'
)


class LuxosWeb:
    """Answers connections to port 80."""

    def __init__(self, unit: LuxosUnit) -> None:
        self._surface = unit.surface

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        await serve_connection(reader, writer, self.respond, server="", faults=lambda: self._surface.faults)

    async def respond(self, request: Request) -> Response:
        """The page for one request.

        Raises:
            Hangup: the control board is down.
        """
        if not self._surface.state().ports_open:
            raise Hangup
        if self._surface.faults.login_loop:
            return html_page(401)
        if request.method not in ("GET", "HEAD"):
            return html_page(405)
        if request.path not in ("/", "/index.html"):
            return html_page(404)
        body = b"" if request.method == "HEAD" else _PAGE
        return Response(200, body, (("Content-Type", "text/html"),))

"""Port 80 of a stock Whatsminer: every page sends the browser to HTTPS, which is how scanners know it."""

from __future__ import annotations

import asyncio

from simulator.peers.http import Request, Response, html_page, serve_connection
from simulator.peers.listener import Hangup
from simulator.peers.surface import Surface


class Redirect:
    """Answers connections to port 80."""

    def __init__(self, surface: Surface, address: str) -> None:
        self._surface = surface
        self._address = address

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection.

        Raises:
            Hangup: the control board is down.
        """
        await serve_connection(reader, writer, self.respond, server="", faults=lambda: self._surface.faults)

    async def respond(self, request: Request) -> Response:
        """307 to the same page over HTTPS, where nothing listens."""
        if not self._surface.state().ports_open:
            raise Hangup
        return html_page(307, (("Location", f"https://{self._address}{request.target[:1024]}"),))

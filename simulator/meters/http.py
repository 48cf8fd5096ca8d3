"""A simulated PDU with a web page: `GET /power` shows its outlets as JSON."""

from __future__ import annotations

import asyncio
import json

from simulator.meters.surface import MeterSurface
from simulator.peers.faults import NO_FAULTS
from simulator.peers.http import Request, Response, html_page, serve_connection
from simulator.peers.listener import Listener

PATH = "/power"


class HttpPeer:
    """One PDU on one TCP port: `{"outlets": [{"name", "power_w"}], "total_w"}`.

    Args:
        token: what a request must bear, None for an open page.
    """

    def __init__(
        self, surface: MeterSurface, address: str, port: int = 0, *, token: str | None = None
    ) -> None:
        self.surface = surface
        self.address = address
        self._token = token
        self._listener = Listener(
            address, port, self._serve, faults=lambda: NO_FAULTS, hangs=lambda: surface.faults.silent
        )

    @property
    def port(self) -> int:
        """The bound port; before `start` the one asked for."""
        return self._listener.port

    @property
    def url(self) -> str:
        """Where the document is."""
        return f"http://{self.address}:{self.port}{PATH}"

    async def start(self) -> None:
        """Bind and listen.

        Raises:
            OSError: the port cannot be bound.
        """
        await self._listener.start()

    async def close(self) -> None:
        """Stop listening and end every connection."""
        await self._listener.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.surface.faults.garbage:
            self.surface.requests += 1
            await reader.read(4096)
            writer.write(self.surface.faults.garbage_bytes())
            await writer.drain()
            return
        await serve_connection(reader, writer, self._answer, server="pdu", faults=lambda: NO_FAULTS)

    async def _answer(self, request: Request) -> Response:
        self.surface.requests += 1
        if request.path != PATH:
            return html_page(404)
        if self._token is not None and request.headers.get("authorization") != f"Bearer {self._token}":
            return html_page(401)
        faults, watts = self.surface.faults, self.surface.watts()
        shown = watts[:-1] if faults.missing else watts
        outlets = [
            {"name": f"outlet {place + 1}", "power_w": "on" if faults.wrong_type else round(value, 1)}
            for place, value in enumerate(shown)
        ]
        body = json.dumps({"outlets": outlets, "total_w": round(sum(watts), 1)}).encode()
        if faults.cut:
            body = body[: len(body) // 2]
        return Response(200, body, (("Content-Type", "application/json"),))

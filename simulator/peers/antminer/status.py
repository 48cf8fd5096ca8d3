"""The little status server of stock Antminers on port 6060: `/warning` and, on few models, `/miner_power`."""

from __future__ import annotations

import asyncio

from simulator.peers.http import Request, Response, serve_connection
from simulator.peers.listener import Hangup, compact
from simulator.peers.surface import Surface


class AntminerStatus:
    """Answers connections to port 6060."""

    def __init__(self, surface: Surface) -> None:
        self._surface = surface

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection.

        Raises:
            Hangup: the mining process, which is the server here, is down.
        """
        await serve_connection(reader, writer, self.respond, server="", faults=lambda: self._surface.faults)

    async def respond(self, request: Request) -> Response:
        """The page for one request; there is no login."""
        state = self._surface.state()
        if not state.process_up:
            raise Hangup
        faults = self._surface.faults
        body = b"error 6060 cmd"
        if request.path == "/warning":
            text = ",".join(state.errors) or "None"
            body = faults.spoil_json(compact({"error_message": text}))
        elif (
            request.path == "/miner_power" and state.reported_power_w is not None and not faults.unknown_power
        ):
            body = f"miner power:{round(state.reported_power_w)}".encode()
        return Response(200, body, keep_alive=False)

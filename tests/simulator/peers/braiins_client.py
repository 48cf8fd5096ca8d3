"""A client of the simulated Braiins OS miner, of the tests' own."""

from __future__ import annotations

import itertools
import json
from collections.abc import Awaitable, Callable
from typing import Any

from simulator.machine import Machine
from simulator.peers import Peer
from tests.simulator.peers.conftest import MakeMachine, StartPeer
from tests.simulator.peers.wire import Page, http

LOGIN = {"username": "root", "password": "root"}
STABLE, TUNING = 2, 3
NOT_STARTED, NORMAL, PAUSED = 1, 2, 3
_addresses = itertools.count(1)


class Client:
    """Somebody with a token."""

    def __init__(self, peer: Peer, machine: Machine) -> None:
        self.peer = peer
        self.machine = machine
        self.token = ""

    async def ask(self, method: str, page: str, body: Any = None) -> Page:
        headers = {"Authorization": self.token} if self.token else {}
        sent = b"" if body is None else json.dumps(body).encode()
        return await http(
            self.peer, self.peer.ports.web, f"/api/v1/{page}", method=method, headers=headers, body=sent
        )

    async def get(self, page: str) -> Any:
        reply = await self.ask("GET", page)
        assert reply.status == 200, reply.body
        return reply.json

    async def put(self, page: str, body: Any = None) -> Any:
        reply = await self.ask("PUT", page, body)
        assert reply.status == 200, reply.body
        return reply.json

    async def login(self) -> None:
        self.token = (await self.ask("POST", "auth/login", LOGIN)).json["token"]

    async def target(self) -> int:
        state = await self.get("performance/tuner-state")
        watts: int = state["mode_state"]["powertargetmodestate"]["current_target"]["watt"]
        return watts

    async def tuner(self) -> int:
        progress: int = (await self.get("performance/tuner-state"))["overall_tuner_state"]
        return progress

    async def status(self) -> int:
        status: int = (await self.get("miner/details"))["status"]
        return status


Connect = Callable[..., Awaitable[Client]]


def connector(start: StartPeer, make_machine: MakeMachine) -> Connect:
    """What starts a miner on an address of its own and gives the client of it, logged in unless told."""

    async def begin(model: str = "antminer-s19-pro", *, logged_in: bool = True, **more: Any) -> Client:
        options = {name: more.pop(name) for name in ("faults", "password", "username") if name in more}
        machine = make_machine(model, **more)
        address = f"127.61.1.{next(_addresses)}"
        peer = await start(machine, address, firmware="braiins", **options)
        client = Client(peer, machine)
        if logged_in:
            await client.login()
        return client

    return begin

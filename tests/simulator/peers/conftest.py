from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from agent.clock import ManualClock
from simulator.machine import Machine, PoolEntry
from simulator.peers import Peer, PeerOptions, PeerPorts, serve
from simulator.physics_file import default_physics

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
POOLS = (
    PoolEntry("stratum+tcp://one.example:3333", "site.worker1", "secret1"),
    PoolEntry("stratum+tcp://two.example:3333", "site.worker2", "secret2"),
    PoolEntry("", "", ""),
)
StartPeer = Callable[..., Awaitable[Peer]]
MakeMachine = Callable[..., Machine]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def make_machine(clock: ManualClock) -> MakeMachine:
    def make(model: str, **more: Any) -> Machine:
        settings: dict[str, Any] = {"seed": 5, "mac": "00:1a:2b:3c:4d:5e", "serial": "SN0001", "pools": POOLS}
        return Machine(default_physics().model(model), clock=clock, **(settings | more))

    return make


@pytest.fixture
async def start() -> AsyncIterator[StartPeer]:
    peers: list[Peer] = []

    async def begin(machine: Machine, address: str = "127.0.0.1", **options: Any) -> Peer:
        peer = await serve(machine, address, PeerPorts(0, 0, 0, 0, 0, 0), PeerOptions(**options))
        peers.append(peer)
        return peer

    yield begin
    for peer in peers:
        await peer.close()

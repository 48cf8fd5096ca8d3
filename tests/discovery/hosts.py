"""Hosts of a small network on loopback: simulated miners, and strangers that keep every byte they get."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from agent.clock import SystemClock
from agent.discovery.ranges import parse_ranges
from agent.discovery.scan import Scan, ScanOptions
from simulator.machine import Machine
from simulator.peers import NO_FAULTS, Faults, Peer, PeerOptions, PeerPorts, serve
from simulator.physics_file import default_physics
from tests.worker import WORKER

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
_BLOCKS = itertools.count(0)


def block() -> str:
    """First three bytes of addresses that no other test uses."""
    return f"127.63.{(WORKER * 50 + next(_BLOCKS)) % 256}"


@dataclass
class Network:
    """What stands on the network of one test; everything is closed with it."""

    prefix: str
    peers: dict[str, Peer] = field(default_factory=dict)
    machines: dict[str, Machine] = field(default_factory=dict)
    heard: dict[tuple[str, int], bytes] = field(default_factory=dict)
    taken: dict[tuple[str, int], int] = field(default_factory=dict)
    _servers: list[asyncio.Server] = field(default_factory=list)

    async def miner(
        self,
        host: int,
        mac: str,
        model: str = "antminer-s19-pro",
        *,
        faults: Faults = NO_FAULTS,
        machine: Machine | None = None,
        **options: object,
    ) -> str:
        """A miner on the real ports of its own address."""
        address = f"{self.prefix}.{host}"
        physics = default_physics().model(model)
        machine = machine or Machine(
            physics, seed=host, clock=SystemClock(), mac=mac, serial=f"SN{host}", ambient=21.5
        )
        chosen = PeerOptions(faults=faults, **options)  # type: ignore[arg-type]
        self.peers[address] = await serve(machine, address, PeerPorts(), chosen)
        self.machines[address] = machine
        return address

    async def stranger(
        self,
        host: int,
        port: int,
        answer: bytes | None,
        on_words: Callable[[], Awaitable[object]] | None = None,
    ) -> str:
        """A host that keeps what it hears, and runs `on_words` then; with None it never answers."""
        address = f"{self.prefix}.{host}"
        self.heard[address, port], self.taken[address, port] = b"", 0

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.taken[address, port] += 1
            try:
                while data := await reader.read(4096):
                    self.heard[address, port] += data
                    if on_words is not None:
                        await on_words()
                    if answer is not None and data.endswith((b"}", b"\r\n\r\n")):
                        writer.write(answer)
                        await writer.drain()
                        break
            except OSError:
                pass
            finally:
                writer.close()

        self._servers.append(await asyncio.start_server(handle, address, port))
        return address

    async def unplug(self, address: str) -> Machine:
        """Take a miner off the network; the machine is given back."""
        await self.peers.pop(address).close()
        return self.machines.pop(address)

    async def close(self) -> None:
        for peer in self.peers.values():
            await peer.close()
        for server in self._servers:
            server.close()


@asynccontextmanager
async def network() -> AsyncIterator[Network]:
    here = Network(block())
    try:
        yield here
    finally:
        await here.close()


async def search(*words: str, **options: object) -> Scan:
    """One whole search, fast enough for a test."""
    chosen = ScanOptions(**{"rate_per_s": 10_000.0, "host_s": 3.0, **options})  # type: ignore[arg-type]
    scan = Scan(parse_ranges(words), chosen, SystemClock())
    await scan.run()
    return scan

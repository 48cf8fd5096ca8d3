"""Meters of a small site: simulated peers and the configuration that fits them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import yaml

from agent.clock import ManualClock
from agent.meters.config import MeterConfig
from agent.meters.reader import MeterReader, MeterReadings
from agent.yamlfile import StrictModel, parse_yaml
from simulator.meters.surface import Circuit, MeterFaults, MeterSurface
from tests.chain.farms import NOON


class Block(StrictModel):
    meters: list[MeterConfig]


class Peer(Protocol):
    async def start(self) -> None: ...

    async def close(self) -> None: ...


def config(**values: Any) -> MeterConfig:
    """A meter as the site file would give it."""
    return parse_yaml(yaml.safe_dump({"meters": [values]}), Block).meters[0]


def surface(*watts: float, faults: MeterFaults | None = None, seed: int = 0) -> MeterSurface:
    """A meter whose circuits draw constant watts."""

    def constant(value: float) -> Callable[[], float]:
        return lambda: value

    circuits = [Circuit((constant(value),)) for value in watts]
    return MeterSurface(circuits, ManualClock(NOON), seed, faults)


@asynccontextmanager
async def running(*peers: Peer) -> AsyncIterator[None]:
    for peer in peers:
        await peer.start()
    try:
        yield
    finally:
        for peer in peers:
            await peer.close()


async def read(meters: Sequence[MeterConfig], clock: ManualClock | None = None) -> MeterReadings:
    return await MeterReader(meters, clock or ManualClock(NOON)).read()


def secret(folder: Path, text: str) -> Path:
    path = folder / "secret"
    path.write_text(text)
    path.chmod(0o600)
    return path


def points(count: int, make: Callable[[int], dict[str, Any]]) -> list[dict[str, Any]]:
    """`count` points, each of one miner m0, m1 ..."""
    return [{"miners": [f"m{i}"], **make(i)} for i in range(count)]


@asynccontextmanager
async def answering(address: str, raw: bytes) -> AsyncIterator[int]:
    """A TCP server that answers anything with `raw` and closes."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(raw)
        writer.close()

    server = await asyncio.start_server(handle, address, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()

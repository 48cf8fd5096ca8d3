"""Meters beside a simulated farm: which machines hang on which, and the block of `site.yaml` that fits.

One entry describes one meter as the farm file would; `run_meters` puts it on the network.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from agent.clock import Clock
from agent.errors import InputError
from agent.yamlfile import StrictModel
from simulator.machine import Machine
from simulator.meters.http import PATH, HttpPeer
from simulator.meters.modbus import EASTRON_SDM630, ModbusPeer
from simulator.meters.snmp import APC_RPDU2, SnmpPeer
from simulator.meters.surface import Circuit, MeterFaults, MeterSurface, wall_power

_PORTS = {"snmp": 161, "modbus": 502, "http": 80}
COMMUNITY = "simulated"

MeterPeer = SnmpPeer | ModbusPeer | HttpPeer


class SimulatedCircuit(StrictModel):
    """One figure: the machines on it by address, and what else draws power there."""

    miners: Annotated[list[str], Field(min_length=1, max_length=500)]
    overhead_w: Annotated[float, Field(ge=0.0)] = 0.0


class SimulatedMeter(StrictModel):
    """One meter of a farm.

    Args:
        port: 0 for any free one; left out, the real one.
        gain, noise: it shows `gain` times the truth, with noise of this share.
        faults: switches of `MeterFaults` that are on from the start.
    """

    name: str
    kind: Literal["snmp", "modbus", "http"]
    address: str
    port: Annotated[int, Field(ge=0, le=65535)] | None = None
    circuits: Annotated[list[SimulatedCircuit], Field(min_length=1, max_length=500)]
    gain: Annotated[float, Field(gt=0.0, le=100.0)] = 1.0
    noise: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    faults: list[
        Literal[
            "silent", "lossy", "garbage", "cut", "stale", "wrong_type", "negative", "swapped_words", "missing"
        ]
    ] = []

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.faults)) != len(self.faults):
            raise ValueError("a fault stands here twice")
        return self


@asynccontextmanager
async def run_meters(
    meters: Sequence[SimulatedMeter],
    machines: Mapping[str, Machine],
    clock: Clock,
    seed: int = 0,
    port_offset: int = 0,
) -> AsyncIterator[dict[str, MeterPeer]]:
    """Serve the meters until the block ends; gives the peers by name.

    Args:
        machines: the farm's machines by address.
        seed: decides the noise.
        port_offset: added to the real ports, as the farm's is.

    Raises:
        InputError: two meters of one name, or a circuit with a machine that the farm has not.
        OSError: a port cannot be bound.
    """
    peers: dict[str, MeterPeer] = {}
    async with AsyncExitStack() as stack:
        for place, meter in enumerate(meters):
            if meter.name in peers:
                raise InputError(f"meter {meter.name} stands in the farm twice")
            surface = _surface(meter, machines, clock, seed + place)
            peer = _peer(meter, surface, port_of(meter, port_offset))
            await peer.start()
            stack.push_async_callback(peer.close)
            peers[meter.name] = peer
        yield peers


def port_of(meter: SimulatedMeter, port_offset: int = 0) -> int:
    """The port it is to be found at: its own, else the real one and the farm's offset."""
    return _PORTS[meter.kind] + port_offset if meter.port is None else meter.port


def site_block(
    meters: Sequence[SimulatedMeter], ports: Mapping[str, int], community_file: Path
) -> list[dict[str, Any]]:
    """The `meters` block of the `site.yaml` that fits, as plain data.

    Args:
        ports: where each meter listens, by name.
        community_file: a file of mode 0600 that holds `COMMUNITY`.
    """
    return [_block(meter, ports[meter.name], community_file) for meter in meters]


def _surface(meter: SimulatedMeter, machines: Mapping[str, Machine], clock: Clock, seed: int) -> MeterSurface:
    circuits = []
    for circuit in meter.circuits:
        missing = [address for address in circuit.miners if address not in machines]
        if missing:
            raise InputError(f"meter {meter.name}: the farm has no machine at {missing[0]}")
        loads = tuple(wall_power(machines[address]) for address in circuit.miners)
        circuits.append(Circuit(loads, circuit.overhead_w))
    switches = dict.fromkeys(meter.faults, True)
    faults = MeterFaults(gain=meter.gain, noise=meter.noise, seed=seed, **switches)
    return MeterSurface(circuits, clock, seed, faults)


def _peer(meter: SimulatedMeter, surface: MeterSurface, port: int) -> MeterPeer:
    match meter.kind:
        case "snmp":
            return SnmpPeer(surface, meter.address, port, community=COMMUNITY, layout=APC_RPDU2)
        case "modbus":
            return ModbusPeer(surface, meter.address, port, layout=EASTRON_SDM630)
        case "http":
            return HttpPeer(surface, meter.address, port)


def _block(meter: SimulatedMeter, port: int, community_file: Path) -> dict[str, Any]:
    figures: list[dict[str, Any]] = [
        {"miners": circuit.miners, "overhead_w": circuit.overhead_w} for circuit in meter.circuits
    ]
    block: dict[str, Any] = {"name": meter.name, "kind": meter.kind}
    place = {"host": meter.address, "port": port}
    match meter.kind:
        case "snmp":
            for number, figure in enumerate(figures):
                figure["oid"] = APC_RPDU2.oid(number)
            return {**block, **place, "community_file": str(community_file), "outlets": figures}
        case "modbus":
            for number, figure in enumerate(figures):
                figure["register"] = EASTRON_SDM630.first + number * EASTRON_SDM630.stride
            return {**block, **place, "points": figures}
        case "http":
            for number, figure in enumerate(figures):
                figure["path"] = f"outlets.{number}.power_w"
            return {**block, "url": f"http://{meter.address}:{port}{PATH}", "points": figures}

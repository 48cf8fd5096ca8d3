"""A simulated farm: its miners with every default filled in, running as real socket peers on loopback."""

from __future__ import annotations

import asyncio
import errno
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from agent.clock import Clock, ManualClock
from agent.errors import HashmarginError, InputError
from agent.yamlfile import load_yaml
from simulator.farm_file import (
    ConstantAmbient,
    FarmFile,
    Group,
    Initial,
    Login,
    MinerOverride,
    SeriesAmbient,
    addresses_of,
)
from simulator.machine import Machine
from simulator.meters.farm_meters import MeterPeer, run_meters
from simulator.peers import Faults, Peer, PeerOptions, PeerPorts, serve
from simulator.physics_file import FirmwareKind, ModelPhysics, Physics, default_physics, load_physics
from simulator.physics_spread import drawn_set
from simulator.weather import Ambient, Gridded, Seasonal, constant, from_csv

__all__ = [
    "Farm",
    "FarmFile",
    "FarmMiner",
    "FarmSpec",
    "build_machine",
    "load_farm",
    "resolve_farm",
    "run_farm",
]

_FIRMWARE: Mapping[str, Literal["old", "luxos", "braiins", "vnish"]] = {
    "antminer-old": "old",
    "luxos": "luxos",
    "braiins": "braiins",
    "vnish": "vnish",
}
_STARTING_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class FarmMiner:
    """One miner of a farm, every default and override resolved."""

    address: str
    physics: ModelPhysics
    firmware: FirmwareKind
    ports: PeerPorts
    login: Login | None
    ssh_login: Login | None
    write_enabled: bool
    offers_hashrate_percent: bool
    initial: Initial
    faults: Faults
    missing_boards: tuple[int, ...]
    site_offset_c: float
    age_days: float
    running_for_s: float
    tags: tuple[str, ...]
    seed: int

    @property
    def mac(self) -> str:
        """A locally administered MAC of its own."""
        tail = zlib.crc32(f"mac {self.seed} {self.address}".encode())
        middle = zlib.crc32(f"oui {self.seed} {self.address}".encode()) & 0xFF
        return ":".join(f"{byte:02x}" for byte in (0x02, middle, *tail.to_bytes(4, "big")))

    @property
    def serial(self) -> str:
        """A serial number of its own."""
        return f"HM{zlib.crc32(f'serial {self.seed} {self.address}'.encode()):010d}"

    @property
    def family(self) -> str:
        """The agent's name for the driver that reads it."""
        stock = self.firmware in ("antminer-legacy", "antminer-new")
        return "antminer-stock" if stock else self.firmware


@dataclass(frozen=True, slots=True)
class FarmSpec:
    """A farm file together with the physics and weather it names."""

    file: FarmFile
    ambient: Ambient
    miners: tuple[FarmMiner, ...]

    @property
    def start(self) -> datetime | None:
        """When the farm's clock begins, None for now."""
        return None if self.file.start is None else self.file.start.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Farm:
    """A running farm; machines and peers by address, meters by name."""

    spec: FarmSpec
    machines: dict[str, Machine]
    peers: dict[str, Peer]
    meters: dict[str, MeterPeer]


def load_farm(path: Path, seed: int | None = None) -> FarmSpec:
    """Read a farm file and what it names; relative paths in it are taken from its own folder.

    Args:
        path: the farm file.
        seed: instead of the file's.

    Raises:
        InputError: the farm, its physics or its weather cannot be used; the message names file and key.
    """
    return resolve_farm(load_yaml(path, FarmFile), path.resolve().parent, seed)


def resolve_farm(file: FarmFile, folder: Path, seed: int | None = None) -> FarmSpec:
    """Fill in physics, weather and every miner of a farm file.

    Raises:
        InputError: as `load_farm`.
    """
    if seed is not None:
        file = file.model_copy(update={"seed": seed})
    physics = default_physics() if file.physics is None else load_physics(folder / file.physics)
    if file.physics_seed is not None:
        physics = drawn_set(physics, file.physics_seed)
    miners: list[FarmMiner] = []
    for number, group in enumerate(file.groups):
        try:
            miners += _miners(file, group, physics)
        except InputError as error:
            raise InputError(f"groups.{number}: {error}") from error
    return FarmSpec(file, Gridded(_ambient(file, folder)), tuple(miners))


@asynccontextmanager
async def run_farm(spec: FarmSpec, clock: Clock) -> AsyncIterator[Farm]:
    """Run every miner of a farm until the context ends.

    Raises:
        InputError: a port cannot be bound; the message says what to do.
    """
    machines = {miner.address: build_machine(spec, miner, clock) for miner in spec.miners}
    peers: dict[str, Peer] = {}
    gate = asyncio.Semaphore(_STARTING_AT_ONCE)

    async def start(miner: FarmMiner) -> None:
        async with gate:
            peers[miner.address] = await _serve(miner, machines[miner.address])

    try:
        started = await asyncio.gather(*map(start, spec.miners), return_exceptions=True)
        for outcome in started:
            if isinstance(outcome, BaseException):
                raise outcome
        file = spec.file
        async with run_meters(file.meters, machines, clock, file.seed, file.port_offset) as meters:
            yield Farm(spec, machines, peers, meters)
    finally:
        await asyncio.gather(*(peer.close() for peer in peers.values()))


def build_machine(spec: FarmSpec, miner: FarmMiner, clock: Clock) -> Machine:
    """The machine behind one miner, with its initial setting long in force.

    Raises:
        InputError: it cannot have the boards missing that the farm file says.
    """
    offset = spec.file.site_offset_c + miner.site_offset_c
    ambient = spec.ambient
    machine = Machine(
        miner.physics,
        seed=miner.seed,
        clock=ManualClock(clock.now() - timedelta(seconds=miner.running_for_s)),
        mac=miner.mac,
        serial=miner.serial,
        ambient=lambda at_s: ambient(at_s) + offset,
        running_for_s=0.0,
        age_days=miner.age_days,
        missing_boards=miner.missing_boards,
    )
    if _FIRMWARE.get(miner.firmware, "old") != "old":
        machine.install_tuner()
    # Settings are made on a clock that stands at the moment of switching on; from then on time passes.
    _set(machine, miner.initial)
    machine.clock = clock
    return machine


def _set(machine: Machine, initial: Initial) -> None:
    if initial.work_mode is not None:
        machine.set_work_mode(initial.work_mode)
    if initial.power_mode is not None:
        machine.set_power_mode(initial.power_mode)
    if initial.power_limit_w is not None:
        machine.set_power_limit(initial.power_limit_w)
    if initial.hashrate_percent is not None:
        machine.set_hashrate_percent(initial.hashrate_percent)
    if initial.power_percent is not None:
        machine.set_power_percent(initial.power_percent)
    if not initial.mining:
        machine.power_off()


async def _serve(miner: FarmMiner, machine: Machine) -> Peer:
    options = PeerOptions(
        firmware=_FIRMWARE.get(miner.firmware, "stock"),
        layout="new" if miner.firmware == "antminer-new" else "legacy",
        username=None if miner.login is None else miner.login.username,
        password=None if miner.login is None else miner.login.password,
        ssh_username=None if miner.ssh_login is None else miner.ssh_login.username,
        ssh_password=None if miner.ssh_login is None else miner.ssh_login.password,
        write_enabled=miner.write_enabled,
        api_v3=miner.firmware == "whatsminer-v3",
        offers_hashrate_percent=miner.offers_hashrate_percent,
        faults=miner.faults,
    )
    try:
        return await serve(machine, miner.address, miner.ports, options)
    except PermissionError as error:
        raise InputError(
            f"{miner.address}: no permission to listen on a port below 1024 (web {miner.ports.web}). "
            "Run as root, or allow it with: sysctl -w net.ipv4.ip_unprivileged_port_start=80, "
            "or set port_offset in the farm file, for example port_offset: 10000"
        ) from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(
                f"{miner.address}: a port is in use already; is another farm running? ({error})"
            ) from error
        if error.errno == errno.EMFILE:
            raise InputError("too many open files; raise the limit with: ulimit -n 65536") from error
        raise HashmarginError(f"{miner.address}: cannot listen: {error}") from error


def _miners(file: FarmFile, group: Group, physics: Physics) -> list[FarmMiner]:
    model = physics.model(group.model)
    firmware = group.firmware or model.firmware
    if firmware.startswith("whatsminer") != (model.vendor == "microbt"):
        raise InputError(f"firmware {firmware} does not run on {model.key}, which is of {model.vendor}")
    offset = file.port_offset
    ports = PeerPorts(
        group.ports.api + offset,
        group.ports.web + offset,
        group.ports.status + offset,
        group.ports.api_v3 + offset,
        group.ports.ssh + offset,
        group.ports.grpc + offset,
    )
    percent = group.offers_hashrate_percent
    miners = []
    for index, address in enumerate(addresses_of(group)):
        own = group.miners.get(str(index), MinerOverride())
        seed = zlib.crc32(f"{file.seed} {address}".encode())
        faults = group.faults if own.faults is None else own.faults
        boards = group.missing_boards if own.missing_boards is None else own.missing_boards
        if any(board >= model.boards for board in boards) or len(set(boards)) >= model.boards:
            raise InputError(f"missing_boards {boards}: {model.key} has boards 0 to {model.boards - 1}")
        miners.append(
            FarmMiner(
                address=address,
                physics=model,
                firmware=firmware,
                ports=ports,
                login=group.credentials,
                ssh_login=group.ssh_credentials,
                write_enabled=group.write_enabled if own.write_enabled is None else own.write_enabled,
                offers_hashrate_percent=model.offers_hashrate_percent if percent is None else percent,
                initial=group.initial if own.initial is None else own.initial,
                faults=Faults.from_mapping({"seed": seed, **faults}),
                missing_boards=tuple(boards),
                site_offset_c=group.site_offset_c if own.site_offset_c is None else own.site_offset_c,
                age_days=group.age_days,
                running_for_s=group.running_for_s if own.running_for_s is None else own.running_for_s,
                tags=tuple(group.tags),
                seed=seed,
            )
        )
    return miners


def _ambient(file: FarmFile, folder: Path) -> Ambient:
    ambient = file.ambient
    if isinstance(ambient, ConstantAmbient):
        return constant(ambient.celsius)
    if isinstance(ambient, SeriesAmbient):
        return from_csv(folder / ambient.path)
    return Seasonal(file.seed, **ambient.model_dump(exclude={"kind"}))

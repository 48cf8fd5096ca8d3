"""The closed schema of FARM.yaml. Running what it says is `simulator.farm`."""

from __future__ import annotations

import ipaddress
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from agent.errors import InputError
from agent.yamlfile import StrictModel
from simulator.meters.farm_meters import SimulatedMeter
from simulator.peers import Faults
from simulator.physics_file import FirmwareKind

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Celsius = Annotated[float, Field(ge=-60.0, le=80.0)]
Port = Annotated[int, Field(ge=1, le=65535)]
MAX_MINERS = 20_000


class ConstantAmbient(StrictModel):
    """The same temperature always."""

    kind: Literal["constant"]
    celsius: Celsius


class SeriesAmbient(StrictModel):
    """A CSV with `time_utc` and `temp_c`; a relative path is taken from the farm file's folder."""

    kind: Literal["series"]
    path: Path


class SeasonalAmbient(StrictModel):
    """A made-up climate; see `simulator.weather.Seasonal`."""

    kind: Literal["seasonal"]
    mean_c: Celsius = 14.0
    season_c: Annotated[float, Field(ge=0.0, le=40.0)] = 10.0
    day_c: Annotated[float, Field(ge=0.0, le=20.0)] = 5.0
    front_c: Annotated[float, Field(ge=0.0, le=10.0)] = 2.5
    heat_wave_c: Annotated[float, Field(ge=0.0, le=20.0)] = 8.0
    heat_waves_per_year: Annotated[float, Field(ge=0.0, le=9.0)] = 3.0
    utc_offset_h: Annotated[float, Field(ge=-12.0, le=14.0)] = 0.0
    southern: bool = False


AnyAmbient = Annotated[ConstantAmbient | SeriesAmbient | SeasonalAmbient, Field(discriminator="kind")]


class FarmPorts(StrictModel):
    """TCP ports before `port_offset` is added; the defaults are the real ones."""

    api: Port = 4028
    web: Port = 80
    status: Port = 6060
    api_v3: Port = 4433
    ssh: Port = 22
    grpc: Port = 50051


class Login(StrictModel):
    """What the simulated miner takes for a login. Simulated only, so the password may stand here."""

    username: Annotated[str, Field(min_length=1, max_length=64)]
    password: Annotated[str, Field(min_length=1, max_length=64)]


class Initial(StrictModel):
    """What is set when the farm starts, in the words of the machine's commands."""

    work_mode: Literal["normal", "sleep", "low", "high", "efficient"] | None = None
    power_mode: Literal["low", "normal", "high"] | None = None
    power_limit_w: Annotated[float, Field(gt=0.0, le=99999.0)] | None = None
    hashrate_percent: Annotated[float, Field(gt=0.0, le=150.0)] | None = None
    power_percent: Annotated[float, Field(ge=0.0, le=200.0)] | None = None
    mining: bool = True


class MinerOverride(StrictModel):
    """What one miner of a group has instead of the group's own."""

    faults: dict[str, bool | int | float] | None = None
    initial: Initial | None = None
    missing_boards: list[Annotated[int, Field(ge=0, le=15)]] | None = None
    site_offset_c: Celsius | None = None
    running_for_s: Annotated[float, Field(ge=0.0)] | None = None
    write_enabled: bool | None = None

    @field_validator("faults")
    @classmethod
    def _faults(cls, value: dict[str, bool | float] | None) -> dict[str, bool | float] | None:
        return _checked_faults(value)


class Group(StrictModel):
    """Miners of one model at rising addresses."""

    model: str
    count: Annotated[int, Field(ge=1, le=MAX_MINERS)] = 1
    first_address: str
    firmware: FirmwareKind | None = None
    ports: FarmPorts = FarmPorts()
    credentials: Login | None = None
    ssh_credentials: Login | None = None
    write_enabled: bool = True
    offers_hashrate_percent: bool | None = None
    initial: Initial = Initial()
    faults: dict[str, bool | int | float] = {}
    missing_boards: list[Annotated[int, Field(ge=0, le=15)]] = []
    site_offset_c: Celsius = 0.0
    age_days: Annotated[float, Field(ge=0.0, le=5000.0)] = 200.0
    running_for_s: Annotated[float, Field(ge=0.0)] = 6 * 3600.0
    tags: list[Name] = []
    miners: dict[Annotated[str, Field(pattern=r"^\d{1,5}$")], MinerOverride] = {}

    @field_validator("first_address")
    @classmethod
    def _loopback(cls, value: str) -> str:
        try:
            address = ipaddress.IPv4Address(value)
        except ValueError:
            address = None
        if address is None or not address.is_loopback:
            raise ValueError("expected an IPv4 address in 127.0.0.0/8, so that nothing leaves this computer")
        return str(address)

    @field_validator("faults")
    @classmethod
    def _faults(cls, value: dict[str, bool | float]) -> dict[str, bool | float]:
        _checked_faults(value)
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        last = ipaddress.IPv4Address(self.first_address) + (self.count - 1)
        if not last.is_loopback:
            raise ValueError(f"{self.count} miners from {self.first_address} leave 127.0.0.0/8")
        outside = next((index for index in self.miners if int(index) >= self.count), None)
        if outside is not None:
            raise ValueError(f"miners.{outside}: the group has miners 0 to {self.count - 1}")
        return self


class FarmFile(StrictModel):
    """The whole of a FARM.yaml."""

    name: Name = "farm"
    seed: Annotated[int, Field(ge=0, le=2**53)] = 1
    start: datetime | None = None
    clock_factor: Annotated[float, Field(gt=0.0, le=100_000.0)] = 1.0
    ambient: AnyAmbient = SeasonalAmbient(kind="seasonal")
    site_offset_c: Celsius = 0.0
    physics: Path | None = None
    physics_seed: Annotated[int, Field(ge=0)] | None = None
    port_offset: Annotated[int, Field(ge=0, le=60000)] = 0
    groups: Annotated[list[Group], Field(min_length=1)]
    meters: Annotated[list[SimulatedMeter], Field(max_length=500)] = []

    @field_validator("start")
    @classmethod
    def _zoned(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("needs a time zone, for example 2026-03-02T06:00:00Z")
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        seen: dict[str, int] = {}
        for number, group in enumerate(self.groups):
            ports = (
                group.ports.api,
                group.ports.web,
                group.ports.status,
                group.ports.api_v3,
                group.ports.ssh,
                group.ports.grpc if group.firmware == "braiins" else 0,
            )
            if max(ports) + self.port_offset > 65535:
                raise ValueError(f"groups.{number}: port {max(ports)} + {self.port_offset} is above 65535")
            for address in addresses_of(group):
                if address in seen:
                    raise ValueError(f"groups.{number}: {address} already belongs to groups.{seen[address]}")
                seen[address] = number
        if len(seen) > MAX_MINERS:
            raise ValueError(f"{len(seen)} miners, at most {MAX_MINERS}")
        for number, meter in enumerate(self.meters):
            for address in (address for circuit in meter.circuits for address in circuit.miners):
                if address not in seen:
                    raise ValueError(f"meters.{number}: the farm has no miner at {address}")
        return self


def addresses_of(group: Group) -> list[str]:
    """The loopback addresses of a group's miners, in order."""
    first = ipaddress.IPv4Address(group.first_address)
    return [str(first + index) for index in range(group.count)]


def _checked_faults(value: dict[str, bool | float] | None) -> dict[str, bool | float] | None:
    try:
        Faults.from_mapping(value or {})
    except InputError as error:
        raise ValueError(str(error)) from error
    return value

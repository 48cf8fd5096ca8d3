"""What a person says about one miner, the same in `site.yaml` and in an inventory file."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from agent.mac_address import normalise_mac
from agent.yamlfile import StrictModel

Mode = Literal["observe", "propose", "apply"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")]
Family = Literal[
    "antminer-stock",
    "antminer-old",
    "whatsminer-v2",
    "whatsminer-v3",
    "luxos",
    "braiins",
    "vnish",
    "pyasic-rs",
]


class Range(StrictModel):
    """An inward limit on one numeric knob, in the knob's unit."""

    minimum: float | None = None
    maximum: float | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.minimum is None and self.maximum is None:
            raise ValueError("needs minimum, maximum or both")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum:g} lies above maximum {self.maximum:g}")
        return self


class BoundsOverride(StrictModel):
    """Bounds that a site sets; they only ever narrow those of the profile."""

    power_limit_w: Range | None = None
    power_limit_share: Range | None = None
    power_percent: Range | None = None
    hashrate_percent: Range | None = None
    frequency_percent: Range | None = None
    work_modes: list[str] | None = None
    may_stop: bool | None = None


class PortsConfig(StrictModel):
    """TCP ports where they differ from the real ones."""

    api: Annotated[int, Field(ge=1, le=65535)] = 4028
    web: Annotated[int, Field(ge=1, le=65535)] = 80
    status: Annotated[int, Field(ge=1, le=65535)] = 6060
    api_v3: Annotated[int, Field(ge=1, le=65535)] = 4433
    ssh: Annotated[int, Field(ge=1, le=65535)] = 22


class MinerConfig(StrictModel):
    """One miner of the site."""

    id: Name | None = None
    address: str
    mac: str | None = None
    family: Family | None = None
    model: str | None = None
    tags: list[Name] = []
    circuit: Name | None = None
    credentials: Name | None = None
    ports: PortsConfig = PortsConfig()
    mode: Mode | None = None
    bounds: BoundsOverride | None = None

    @field_validator("address")
    @classmethod
    def _address(cls, value: str) -> str:
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            label = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-."
            if value and len(value) <= 253 and all(c in label for c in value) and not value[0].isdigit():
                return value
        raise ValueError("expected an IP address or a host name")

    @field_validator("mac", mode="before")
    @classmethod
    def _mac(cls, value: object) -> object:
        if value is None:
            return None
        if isinstance(value, int | float):
            # Pairs of decimal digits with colons are a number in YAML.
            raise ValueError('a MAC needs quotes here: "aa:bb:cc:00:11:22"')
        found = normalise_mac(value) if isinstance(value, str) else None
        if found is None:
            raise ValueError('expected the MAC of a network card such as "aa:bb:cc:00:11:22"')
        return found


Miners = Annotated[list[MinerConfig], Field(max_length=20000)]


class InventoryFile(StrictModel):
    """The whole of an inventory file: miners as in `site.yaml`, kept up by `hashmargin discover`."""

    miners: Miners | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        refuse_twins(self.miners or [])
        return self


def twins(miners: Sequence[MinerConfig]) -> Iterator[tuple[int, int, str, str]]:
    """Miners that stand twice: place of the later one, place of the earlier, the key, and its value."""
    seen: dict[tuple[str, object], int] = {}
    for i, miner in enumerate(miners):
        marks: list[tuple[str, object, str]] = [
            ("address", (miner.address.lower(), miner.ports.api), miner.address)
        ]
        if miner.id is not None:
            marks.append(("id", miner.id.lower(), miner.id))
        if miner.mac is not None:
            marks.append(("mac", miner.mac, miner.mac))
        for key, value, shown in marks:
            earlier = seen.setdefault((key, value), i)
            if earlier != i:
                yield i, earlier, key, shown


def refuse_twins(miners: Sequence[MinerConfig]) -> None:
    """Raise ValueError, for a pydantic validator, if a miner stands twice."""
    for i, earlier, key, shown in twins(miners):
        raise ValueError(f"miners.{i}: {key} {shown} already stands at miners.{earlier}")


def names_of(miners: Sequence[MinerConfig]) -> dict[str, int]:
    """Every name that a miner goes by in the files (id, MAC, address), with its place in the list."""
    return {
        name: place
        for place, miner in enumerate(miners)
        for name in (miner.address, miner.mac, miner.id)
        if name is not None
    }

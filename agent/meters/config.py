"""The `meters` block of `site.yaml`: which meter shows whose wall power, checked on load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from agent.yamlfile import StrictModel

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")]
Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9:][A-Za-z0-9.:_-]{0,252}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Deadline = Annotated[float, Field(gt=0.0, le=30.0)]
RegisterType = Literal["uint16", "int16", "uint32", "int32", "float32"]

MAX_METERS = 2000
MAX_POINTS = 500
# What one miner can draw at most; the largest hydro units take about 12 kW.
_LARGEST_MINER_W = 15_000.0
_WORDS: Mapping[RegisterType, int] = {"uint16": 1, "int16": 1, "uint32": 2, "int32": 2, "float32": 2}


class PointConfig(StrictModel):
    """One figure of a meter: the watts of one miner (an outlet) or of several (a circuit).

    Args:
        name: shown in alerts; left out, it is where the figure stands in the meter.
        scale: watts for each unit the meter counts in, such as 10 for hundredths of a kilowatt.
        miners: the miners it feeds, each by its id, MAC or address.
        overhead_w: what else hangs on it (fans, switches), taken off before miners are looked at.
        max_power_w: more than this is not believed. Left out: 15 kW for each miner, and the overhead.
    """

    name: Name | None = None
    scale: Annotated[float, Field(ge=-1e6, le=1e6)] = 1.0
    miners: Annotated[list[str], Field(min_length=1, max_length=500)]
    overhead_w: Annotated[float, Field(ge=0.0, le=1e6)] = 0.0
    max_power_w: Annotated[float, Field(gt=0.0, le=1e7)] | None = None

    @field_validator("scale")
    @classmethod
    def _scale(cls, value: float) -> float:
        if value == 0.0:
            raise ValueError("0 would make every reading 0 W")
        return value

    @field_validator("miners")
    @classmethod
    def _miners(cls, value: list[str]) -> list[str]:
        for name in value:
            if not name:
                raise ValueError("the name of a miner is empty")
            if value.count(name) > 1:
                raise ValueError(f"miner {name} stands here twice")
        return value

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.max_power_w is not None and self.max_power_w <= self.overhead_w:
            raise ValueError(f"max_power_w {self.max_power_w:g} leaves nothing above overhead_w")
        return self

    @property
    def place(self) -> str:
        """Where the figure stands in the meter."""
        raise NotImplementedError

    @property
    def resolution_w(self) -> float:
        """The smallest step it can show, 0 where it shows fractions."""
        return 0.0

    @property
    def label(self) -> str:
        """`name`, else the place."""
        return self.name or self.place

    @property
    def limit_w(self) -> float:
        """More watts than this are not believed."""
        if self.max_power_w is not None:
            return self.max_power_w
        return _LARGEST_MINER_W * len(self.miners) + self.overhead_w


class SnmpPoint(PointConfig):
    """One SNMP object that holds a number."""

    oid: Annotated[str, Field(pattern=r"^\.?[0-2](\.\d{1,10}){1,126}$", max_length=400)]

    @field_validator("oid")
    @classmethod
    def _oid(cls, value: str) -> str:
        arcs = value.removeprefix(".").split(".")
        if any(int(arc) > 0xFFFFFFFF for arc in arcs) or (arcs[0] != "2" and int(arcs[1]) > 39):
            raise ValueError("is not an object identifier")
        return ".".join(str(int(arc)) for arc in arcs)

    @property
    def place(self) -> str:
        """The object identifier."""
        return self.oid

    @property
    def resolution_w(self) -> float:
        """SNMP counts in whole numbers."""
        return abs(self.scale)


class ModbusPoint(PointConfig):
    """One number in one or two registers.

    Args:
        register: address as it goes over the wire, counted from 0: "30053" in a manual that counts from
            30001 is 52.
        kind: input (function 4) or holding (function 3).
        word_order: of a number in two registers, which half comes first: big means the upper.
    """

    register_: Annotated[int, Field(alias="register", ge=0, le=65535)]
    kind: Literal["input", "holding"] = "input"
    type: RegisterType = "float32"
    word_order: Literal["big", "little"] = "big"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.register_ + self.words - 1 > 65535:
            raise ValueError(f"a {self.type} at register {self.register_} ends beyond 65535")
        return self

    @property
    def words(self) -> int:
        """Registers it takes."""
        return _WORDS[self.type]

    @property
    def place(self) -> str:
        """Kind and register."""
        return f"{self.kind}:{self.register_}"

    @property
    def resolution_w(self) -> float:
        """One count of a whole number; nothing for a fraction."""
        return 0.0 if self.type == "float32" else abs(self.scale)


class HttpPoint(PointConfig):
    """One number of a JSON document, found by keys and list places with dots between: `outlets.0.power_w`."""

    path: Annotated[str, Field(min_length=1, max_length=256)]

    @field_validator("path")
    @classmethod
    def _path(cls, value: str) -> str:
        if not all(value.split(".")):
            raise ValueError(
                "needs keys or list places with single dots between them, such as outlets.0.power_w"
            )
        return value

    @property
    def place(self) -> str:
        """The path."""
        return self.path


class _Meter(StrictModel):
    name: Name
    deadline_s: Deadline = 3.0


class SnmpMeter(_Meter):
    """A PDU that speaks SNMPv2c. The community is never in this file: it is in one of mode 0600."""

    kind: Literal["snmp"]
    host: Host
    port: Port = 161
    community_file: Path | None = None
    systemd_credential: Name | None = None
    outlets: Annotated[list[SnmpPoint], Field(min_length=1, max_length=MAX_POINTS)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.community_file is None) == (self.systemd_credential is None):
            raise ValueError("needs exactly one of community_file and systemd_credential")
        _unlike(self.outlets)
        return self

    @property
    def figures(self) -> Sequence[PointConfig]:
        """Its outlets."""
        return self.outlets

    @property
    def line(self) -> tuple[str, int]:
        """Where it answers; those who share it are asked one after the other."""
        return self.host, self.port


class ModbusMeter(_Meter):
    """A meter, or one of several behind a gateway, that speaks Modbus TCP.

    Args:
        unit: its number behind the address.
        batch: most registers it hands out at once.
    """

    kind: Literal["modbus"]
    host: Host
    port: Port = 502
    unit: Annotated[int, Field(ge=0, le=255)] = 1
    batch: Annotated[int, Field(ge=2, le=120)] = 120
    points: Annotated[list[ModbusPoint], Field(min_length=1, max_length=MAX_POINTS)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        _unlike(self.points)
        return self

    @property
    def figures(self) -> Sequence[PointConfig]:
        """Its points."""
        return self.points

    @property
    def line(self) -> tuple[str, int]:
        """Where it answers; those who share it are asked one after the other."""
        return self.host, self.port


class HttpMeter(_Meter):
    """A meter that shows a JSON document at a plain `http` address.

    Args:
        url: the document, asked with GET.
        token_file: a file of mode 0600; what is in it goes into an `Authorization: Bearer` header.
    """

    kind: Literal["http"]
    url: Annotated[str, Field(max_length=2000)]
    token_file: Path | None = None
    systemd_credential: Name | None = None
    points: Annotated[list[HttpPoint], Field(min_length=1, max_length=MAX_POINTS)]

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            port = parts.port
        except ValueError as error:
            raise ValueError(f"is not a web address: {error}") from error
        if parts.scheme != "http" or not parts.hostname or port == 0:
            raise ValueError("expected http://HOST[:PORT]/PATH (https is not supported here)")
        if parts.username is not None or parts.password is not None:
            raise ValueError("holds a login; put a token into token_file instead")
        if not value.isascii() or any(c <= " " or c == "\x7f" for c in value) or parts.fragment:
            raise ValueError("holds signs that a web address cannot have")
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.token_file is not None and self.systemd_credential is not None:
            raise ValueError("needs at most one of token_file and systemd_credential")
        _unlike(self.points)
        return self

    @property
    def figures(self) -> Sequence[PointConfig]:
        """Its points."""
        return self.points

    @property
    def line(self) -> tuple[str, int]:
        """Where it answers; those who share it are asked one after the other."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 80


MeterConfig = Annotated[SnmpMeter | ModbusMeter | HttpMeter, Field(discriminator="kind")]


def check_meters(meters: Sequence[MeterConfig], rows: Mapping[str, int]) -> None:
    """Refuse a `meters` block whose names do not fit the site.

    Args:
        meters: the block.
        rows: from every name that a miner of the site goes by (id, MAC, address) to its row.

    Raises:
        ValueError: two meters of one name, a miner the site does not have, or a miner on two outlets or on
            two circuits. The words begin with the key, as those of other checks of the site file do.
    """
    names: dict[str, int] = {}
    fed: dict[tuple[int, bool], str] = {}
    for i, meter in enumerate(meters):
        if meter.name.lower() in names:
            other_place = names[meter.name.lower()]
            raise ValueError(f"meters.{i}: name {meter.name} already stands at meters.{other_place}")
        names[meter.name.lower()] = i
        for figure in meter.figures:
            here = f"{meter.name}/{figure.label}"
            alone = len(figure.miners) == 1
            for miner in figure.miners:
                if miner not in rows:
                    raise ValueError(f"meters.{i}: {here}: no miner of the site is called {miner}")
                other = fed.setdefault((rows[miner], alone), f"{here} as {miner}")
                if other != f"{here} as {miner}":
                    kind = "an outlet" if alone else "a circuit"
                    raise ValueError(f"meters.{i}: {here}: miner {miner} already has {kind}: {other}")


def anchor_meters(meters: Sequence[MeterConfig], folder: Path) -> list[MeterConfig]:
    """The same meters with relative paths taken from `folder`."""
    anchored: list[MeterConfig] = []
    for meter in meters:
        if isinstance(meter, SnmpMeter) and meter.community_file is not None:
            anchored.append(meter.model_copy(update={"community_file": folder / meter.community_file}))
        elif isinstance(meter, HttpMeter) and meter.token_file is not None:
            anchored.append(meter.model_copy(update={"token_file": folder / meter.token_file}))
        else:
            anchored.append(meter)
    return anchored


def _unlike(figures: Sequence[PointConfig]) -> None:
    """Two figures of one name, or from one place, would count something twice."""
    labels: set[str] = set()
    places: set[str] = set()
    for figure in figures:
        if figure.label in labels:
            raise ValueError(f"the name {figure.label} stands here twice")
        if figure.place in places:
            raise ValueError(f"{figure.place} stands here twice")
        labels.add(figure.label)
        places.add(figure.place)

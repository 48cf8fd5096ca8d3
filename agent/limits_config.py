"""The `limits` section of `site.yaml`: what may be drawn where, who gives way, when nothing is touched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from agent.miner_config import MinerConfig, Name
from agent.money.config import Window
from agent.yamlfile import StrictModel

SITE = "site"
Power = Annotated[float, Field(gt=0.0, le=1e9)]
Ramp = Annotated[float, Field(gt=0.0, le=1e6)]
Rate = Annotated[float, Field(ge=0.0, le=25.0)]


class Places(StrictModel):
    """What the site as a whole and each circuit may say: cap, least load, and how fast load may change."""

    power_cap_w: Power | None = None
    minimum_load_w: Annotated[float, Field(ge=0.0, le=1e9)] | None = None
    ramp_up_kw_per_min: Ramp | None = None
    ramp_down_kw_per_min: Ramp | None = None

    @model_validator(mode="after")
    def _least_below_cap(self) -> Self:
        least, cap = self.minimum_load_w, self.power_cap_w
        if least is not None and cap is not None and least > cap:
            raise ValueError(
                f"minimum_load_w {least:g} lies above power_cap_w {cap:g}; lower the one or raise the other"
            )
        return self


class CircuitConfig(Places):
    """A container, row or breaker inside the site or inside another circuit.

    Miners hang on it that name it as their `circuit`, or that have one of its tags and name none.
    """

    name: Name
    parent: Name = SITE
    tags: list[Name] = []


class MaintenanceWindow(StrictModel):
    """A time during which some miners are off, or stay as they are."""

    start: AwareDatetime
    end: AwareDatetime
    circuits: list[Name] = []
    tags: list[Name] = []
    action: Literal["untouched", "off"] = "untouched"
    reason: Annotated[str, Field(max_length=200)] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.end <= self.start:
            raise ValueError("end must be later than start")
        if not self.circuits and not self.tags:
            raise ValueError("needs circuits, tags or both; circuits: [site] means every miner")
        return self


class DemandEventConfig(StrictModel):
    """One demand-response event: from start to end a circuit draws no more than a target.

    `mandatory: false` lets the plan break it where keeping it costs more than it brings.
    """

    start: AwareDatetime
    end: AwareDatetime
    target_w: Annotated[float, Field(ge=0.0, le=1e9)]
    circuit: Name = SITE
    mandatory: bool = True
    notice_s: Annotated[float, Field(ge=0.0, le=31.0 * 86400.0)] | None = None
    payment_usd: Annotated[float, Field(ge=0.0, le=1e9)] = 0.0
    payment_usd_per_kwh: Rate = 0.0
    penalty_usd_per_kwh: Rate = 0.0
    baseline_w: Power | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.end <= self.start:
            raise ValueError("end must be later than start")
        if self.payment_usd_per_kwh > 0.0 and self.baseline_w is None:
            raise ValueError(
                "payment_usd_per_kwh needs baseline_w, the draw from which savings are counted, as agreed"
            )
        if self.baseline_w is not None and self.baseline_w < self.target_w:
            raise ValueError(f"baseline_w {self.baseline_w:g} lies below target_w {self.target_w:g}")
        if not self.mandatory and not (
            self.payment_usd or self.payment_usd_per_kwh or self.penalty_usd_per_kwh
        ):
            raise ValueError(
                "mandatory: false needs payment_usd, payment_usd_per_kwh or penalty_usd_per_kwh; "
                "without money there is nothing to weigh"
            )
        return self


class LimitsConfig(Places):
    """What the whole site must keep to. Power is what the site draws, cooling included."""

    cap_confidence: Annotated[float, Field(ge=0.5, lt=1.0)] = 0.9
    pue: Annotated[float, Field(ge=1.0, le=3.0)] = 1.0
    restarts_per_day: Annotated[int, Field(ge=0, le=96)] | None = None
    minimum_hold_h: Annotated[float, Field(ge=0.0, le=168.0)] = 2.0
    minimum_gain_usd_per_day: Annotated[float, Field(ge=0.0)] = 0.05
    circuits: Annotated[list[CircuitConfig], Field(max_length=1000)] = []
    priorities: dict[Name, Annotated[float, Field(gt=0.0, le=1000.0)]] = {}
    never_curtail: list[Name] = []
    demand_events: Annotated[list[DemandEventConfig], Field(max_length=500)] = []
    quiet_hours: Annotated[list[Window], Field(max_length=50)] = []
    maintenance: Annotated[list[MaintenanceWindow], Field(max_length=500)] = []

    @model_validator(mode="after")
    def _check(self) -> Self:
        parents = self._parents()
        for i, circuit in enumerate(self.circuits):
            around, seen = circuit.parent, {circuit.name}
            while around != SITE:
                if around not in parents:
                    known = ", ".join([SITE, *parents])
                    raise ValueError(
                        f"circuits.{i}: parent {around} is not a circuit of this site; known are {known}"
                    )
                if around in seen:
                    raise ValueError(
                        f"circuits.{i}: {circuit.name} lies inside itself by way of {circuit.parent}; "
                        "leave parent out for a circuit that is directly inside the site"
                    )
                seen.add(around)
                around = parents[around]
        for key, i, names in self._named_circuits():
            for name in names:
                if name != SITE and name not in parents:
                    known = ", ".join([SITE, *parents])
                    raise ValueError(f"{key}.{i}: {name} is not a circuit of this site; known are {known}")
        return self

    def _parents(self) -> dict[str, str]:
        parents: dict[str, str] = {}
        for i, circuit in enumerate(self.circuits):
            if circuit.name == SITE:
                raise ValueError(
                    f"circuits.{i}: name {SITE} is the whole site; write its limits directly under limits"
                )
            if circuit.name in parents:
                raise ValueError(f"circuits.{i}: name {circuit.name} already stands above; names are unique")
            parents[circuit.name] = circuit.parent
        return parents

    def _named_circuits(self) -> Iterator[tuple[str, int, Sequence[str]]]:
        for i, event in enumerate(self.demand_events):
            yield "demand_events", i, [event.circuit]
        for i, window in enumerate(self.maintenance):
            yield "maintenance", i, window.circuits

    def parents_first(self) -> list[CircuitConfig]:
        """The circuits, each after the one around it, else in the order of the file."""
        left, placed, out = list(self.circuits), {SITE}, list[CircuitConfig]()
        while left:
            ready = [circuit for circuit in left if circuit.parent in placed]
            out += ready
            placed |= {circuit.name for circuit in ready}
            left = [circuit for circuit in left if circuit.name not in placed]
        return out


def circuit_of(miner: MinerConfig, limits: LimitsConfig) -> str:
    """The innermost circuit of a miner: the one it names, else the one that has a tag of its, else the site.

    Raises:
        ValueError: it names one that there is not, or its tags fit two of which neither is inside the other.
    """
    around = {circuit.name: circuit.parent for circuit in limits.circuits}
    if miner.circuit is not None:
        if miner.circuit != SITE and miner.circuit not in around:
            known = ", ".join([SITE, *around])
            raise ValueError(
                f"circuit {miner.circuit} does not stand under limits.circuits; known are {known}"
            )
        return miner.circuit
    fitting = [circuit.name for circuit in limits.circuits if not set(circuit.tags).isdisjoint(miner.tags)]
    for name in fitting:
        if set(fitting) <= set(_path(name, around)):
            return name
    if fitting:
        raise ValueError(
            f"its tags {', '.join(miner.tags)} fit the circuits {' and '.join(fitting)}; "
            "write circuit: at the miner"
        )
    return SITE


def check_circuits(limits: LimitsConfig, miners: Sequence[MinerConfig]) -> None:
    """Refuse limits that do not fit the miners of the site.

    Raises:
        ValueError: the words begin with the key, as those of other checks of the site file do.
    """
    for i, miner in enumerate(miners):
        try:
            circuit_of(miner, limits)
        except ValueError as error:
            raise ValueError(f"miners.{i}: {error}") from error
    tags = {tag for miner in miners for tag in miner.tags}
    used: list[tuple[str, Sequence[str]]] = [
        ("limits.priorities", list(limits.priorities)),
        ("limits.never_curtail", limits.never_curtail),
        *((f"limits.circuits.{i}", circuit.tags) for i, circuit in enumerate(limits.circuits)),
        *((f"limits.maintenance.{i}", window.tags) for i, window in enumerate(limits.maintenance)),
    ]
    for key, names in used:
        for name in names:
            if name not in tags:
                raise ValueError(f"{key}: no miner has the tag {name}; add it to a miner or remove it here")


def _path(name: str, around: Mapping[str, str]) -> Iterator[str]:
    """A circuit and those around it, from the inside."""
    while name != SITE:
        yield name
        name = around[name]

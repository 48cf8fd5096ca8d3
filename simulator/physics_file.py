"""The closed schema of a physics file: every physical number of the simulated machines.

The agent never reads such a file. A model names a family of shared behaviour and may replace any block
of it. Nothing here computes; `simulator.physics` does.
"""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from agent.errors import InputError
from agent.yamlfile import StrictModel, load_yaml
from simulator.curve_shape import exponent_points

Key = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Exponent = Annotated[float, Field(ge=0.5, le=3.0)]
Celsius = Annotated[float, Field(ge=-60.0, le=150.0)]
Point = tuple[NotNegative, NotNegative]
FirmwareKind = Literal[
    "antminer-legacy",
    "antminer-new",
    "antminer-old",
    "luxos",
    "braiins",
    "vnish",
    "whatsminer-v2",
    "whatsminer-v3",
]
DEFAULT_FILE = Path(__file__).parent / "physics" / "default.yaml"
# How far beyond rated a curve must carry: high mode, a generous unit and a raised frequency together.
CURVE_REACH = 1.5


class Curve(StrictModel):
    """Wall power over hashrate of the average unit at reference conditions, fans included.

    Exactly one of `shape` (the name of a curve in shares of rated), `points` ((TH/s, W), rising) and
    `coefficients` (W = a + b H + c H^2). Below `floor_ths` the voltage is at its minimum: power falls
    in a straight line to `overhead_w` at no hashrate, so that J/TH worsens.
    """

    shape: Key | None = None
    points: Annotated[list[Point], Field(min_length=3, max_length=200)] | None = None
    coefficients: tuple[float, float, float] | None = None
    floor_ths: Positive | None = None
    overhead_w: NotNegative | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if sum(way is not None for way in (self.shape, self.points, self.coefficients)) != 1:
            raise ValueError("needs exactly one of shape, points and coefficients")
        if (self.shape is None) != (self.floor_ths is not None and self.overhead_w is not None):
            raise ValueError("points and coefficients need floor_ths and overhead_w; a shape has its own")
        if self.points is not None:
            _check_rising(self.points)
        return self


class Shape(StrictModel):
    """A curve in shares of rated hashrate and rated power, for any model of its kind.

    Either `points`, or `exponents`: k of P ~ h^k at the floor and at rated, rising evenly between.
    """

    points: Annotated[list[Point], Field(min_length=3, max_length=200)] | None = None
    exponents: tuple[Exponent, Exponent] | None = None
    floor_share: Annotated[float, Field(gt=0.0, le=0.9)]
    overhead_share: NotNegative

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.points is None) == (self.exponents is None):
            raise ValueError("needs exactly one of points and exponents")
        if self.points is not None:
            _check_rising(self.points)
        if self.exponents is not None and self.exponents[0] > self.exponents[1]:
            raise ValueError("exponents must not fall from the floor to rated")
        return self

    def in_shares(self) -> tuple[Point, ...]:
        """Points in shares of rated hashrate and power."""
        if self.points is not None:
            return tuple(self.points)
        assert self.exponents is not None
        return exponent_points(*self.exponents, self.floor_share, CURVE_REACH)


class Spread(StrictModel):
    """How units of one model differ: standard deviations, drawn once per unit from its seed."""

    hashrate: NotNegative
    power: NotNegative
    exponent: NotNegative
    thermal: NotNegative
    boards: NotNegative
    inlet_c: NotNegative


class Thermal(StrictModel):
    """From inlet temperature and power to chip temperature, fans and throttling.

    What goes in is never colder than `inlet_minimum_c` (a water loop is kept warm). `full_fan_rise_c` is
    the rise of the hottest chip over the inlet at full fans and rated power. Fans hold the chip at
    `chip_target_c`, plus `droop` C per C of inlet over `reference_inlet_c`, until they are at full speed.
    The curve is for `reference_inlet_c`; power rises by `power_per_c` per C of chip above what it is
    there. Above `throttle_inlet_c` the rate falls by `throttle_share`; above `protect_inlet_c` or
    `protect_chip_c` the unit stops itself, until the inlet is `resume_margin_c` below the limit.
    """

    inlet_minimum_c: Celsius
    full_fan_rise_c: Positive
    chip_target_c: Celsius
    droop: NotNegative
    board_below_chip_c: NotNegative
    outlet_rise_c: NotNegative
    power_per_c: NotNegative
    reference_inlet_c: Celsius
    time_constant_s: Positive
    fan_minimum_share: Share
    fan_full_rpm: NotNegative
    fan_idle_rpm: NotNegative
    fan_full_w: NotNegative
    throttle_inlet_c: Celsius
    throttle_share: Share
    protect_inlet_c: Celsius
    protect_chip_c: Celsius
    resume_margin_c: Positive


class Timing(StrictModel):
    """How long things take, in seconds of the machine's clock.

    `restart_gap_s`: the mining process is down; `init_s`: it is up but does not hash; `ramp_s`: frequency
    climbs from `ramp_from` of the target and hashing follows power by `hash_lag_s`.
    """

    boot_s: NotNegative
    restart_gap_s: NotNegative
    init_s: NotNegative
    ramp_s: Positive
    ramp_from: Share
    ramp_steps: Annotated[int, Field(ge=1, le=1000)]
    hash_lag_s: NotNegative
    adjust_fast_s: Positive
    adjust_normal_s: Positive


class Drift(StrictModel):
    """Ageing, as shares per day: hashrate lost, power gained, and dust that adds to thermal resistance.

    Hashrate and power stop drifting after `ends_after_days`; dust is blown out every `cleaned_every_days`.
    """

    hashrate_per_day: NotNegative
    power_per_day: NotNegative
    thermal_per_day: NotNegative
    ends_after_days: Positive
    cleaned_every_days: Positive


class Sensor(StrictModel):
    """The unit's own watts: `bias` is reported over true, drawn per unit with `spread`."""

    source: Literal["measured", "firmware_estimate"]
    bias: Positive
    spread: NotNegative


class Shares(StrictModel):
    """What the pool counts: difficulty of a share, and the share of them rejected or stale."""

    difficulty: Positive
    rejected: Share
    stale: Share


class Noise(StrictModel):
    """Standard deviation of readings: rates and power as shares, temperatures in C."""

    hashrate_5s: NotNegative
    hashrate_1m: NotNegative
    hashrate_5m: NotNegative
    hashrate_15m: NotNegative
    hashrate_30m: NotNegative
    power: NotNegative
    temperature_c: NotNegative
    fan: NotNegative


class Mode(StrictModel):
    """What a work mode aims at: a share of rated hashrate, and power against the curve there."""

    hashrate_share: Positive
    power_factor: Positive


class PowerControl(StrictModel):
    """Watt settings, for firmware that has them. Shares are of rated power.

    The unit holds its own reading `headroom` below the limit. A limit under `ignored_below` is
    acknowledged and changes nothing; a percent that leads under `unstable_below` restarts the unit.
    """

    default_limit: Positive
    headroom: Share
    ignored_below: Share
    unstable_below: Share


class Family(StrictModel):
    """Behaviour that models share, block by block."""

    spread: Spread
    thermal: Thermal
    timing: Timing
    drift: Drift
    sensor: Sensor | None
    shares: Shares
    noise: Noise
    modes: dict[Literal["low", "high", "efficient"], Mode]
    power_control: PowerControl | None
    standby_w: NotNegative


class ModelEntry(StrictModel):
    """One model as written. A block given here replaces the family's whole block."""

    family: Key
    type_text: Annotated[str, Field(min_length=1, max_length=100)]
    variants: list[str] = []
    vendor: Literal["bitmain", "microbt"]
    firmware: FirmwareKind
    offers_hashrate_percent: bool = False
    firmware_versions: Annotated[list[str], Field(min_length=1)]
    boards: Annotated[int, Field(ge=1, le=16)]
    chips_per_board: Annotated[int, Field(ge=1, le=1024)]
    fans: Annotated[int, Field(ge=0, le=16)]
    rated_hashrate_ths: Positive
    rated_power_w: Positive
    rated_frequency_mhz: Positive
    rated_voltage_v: Positive
    floor_voltage_v: Positive
    curve: Curve
    spread: Spread | None = None
    thermal: Thermal | None = None
    timing: Timing | None = None
    drift: Drift | None = None
    sensor: Sensor | None = None
    no_sensor: bool = False
    shares: Shares | None = None
    noise: Noise | None = None
    modes: dict[Literal["low", "high", "efficient"], Mode] | None = None
    power_control: PowerControl | None = None
    standby_w: NotNegative | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.firmware.startswith("antminer") != (self.vendor == "bitmain"):
            raise ValueError(f"firmware {self.firmware} is not one of {self.vendor}")
        return self


class ModelPhysics(StrictModel):
    """One model with everything resolved: curve in TH/s and W, every block present.

    `variant` tells sets of parameters of one model apart; 0 is what the file says.
    """

    key: str
    variant: int = 0
    type_text: str
    variants: tuple[str, ...]
    vendor: Literal["bitmain", "microbt"]
    firmware: FirmwareKind
    offers_hashrate_percent: bool
    firmware_versions: tuple[str, ...]
    boards: int
    chips_per_board: int
    fans: int
    rated_hashrate_ths: float
    rated_power_w: float
    rated_frequency_mhz: float
    rated_voltage_v: float
    floor_voltage_v: float
    curve_points: tuple[Point, ...]
    floor_ths: float
    overhead_w: float
    spread: Spread
    thermal: Thermal
    timing: Timing
    drift: Drift
    sensor: Sensor | None
    shares: Shares
    noise: Noise
    modes: dict[Literal["low", "high", "efficient"], Mode]
    power_control: PowerControl | None
    standby_w: float


class PhysicsFile(StrictModel):
    """A whole physics file. `extends: default` adds its families, shapes and models to the shipped ones."""

    schema_version: Literal[1]
    extends: Literal["default"] | None = None
    shapes: dict[Key, Shape] = {}
    families: dict[Key, Family] = {}
    models: Annotated[dict[Key, ModelEntry], Field(min_length=1)]


class Physics:
    """The models of a physics file, resolved and ready to use.

    Args:
        models: by physics key.
    """

    def __init__(self, models: dict[str, ModelPhysics]) -> None:
        self.models = models

    def model(self, key: str) -> ModelPhysics:
        """One model.

        Raises:
            InputError: no such model; the message lists those there are.
        """
        if key not in self.models:
            raise InputError(f"no physics for model {key!r}; there are {', '.join(sorted(self.models))}")
        return self.models[key]


def load_physics(path: Path) -> Physics:
    """Read a physics file.

    Raises:
        ConfigError: it cannot be read or does not fit the schema.
        InputError: a model names a family or shape that is not there, or its curve cannot be used.
    """
    file = load_yaml(path, PhysicsFile)
    shapes, families, models = dict(file.shapes), dict(file.families), dict(file.models)
    if file.extends is not None:
        shipped = _shipped()
        shapes, families = shipped.shapes | shapes, shipped.families | families
        models = shipped.models | models
    return Physics({key: _resolve(path, key, entry, shapes, families) for key, entry in models.items()})


@cache
def default_physics() -> Physics:
    """The physics that ships with the simulator: every model of the hardware catalogue."""
    return load_physics(DEFAULT_FILE)


@cache
def _shipped() -> PhysicsFile:
    return load_yaml(DEFAULT_FILE, PhysicsFile)


def _resolve(
    path: Path, key: str, entry: ModelEntry, shapes: dict[Key, Shape], families: dict[Key, Family]
) -> ModelPhysics:
    where = f"{path}: models.{key}"
    if entry.family not in families:
        raise InputError(
            f"{where}.family: no family {entry.family!r}; there are {', '.join(sorted(families))}"
        )
    family = families[entry.family]
    points, floor, overhead = _curve(where, entry, shapes)
    sensor = None if entry.no_sensor else entry.sensor or family.sensor
    return ModelPhysics(
        key=key,
        type_text=entry.type_text,
        variants=tuple(entry.variants),
        vendor=entry.vendor,
        firmware=entry.firmware,
        offers_hashrate_percent=entry.offers_hashrate_percent,
        firmware_versions=tuple(entry.firmware_versions),
        boards=entry.boards,
        chips_per_board=entry.chips_per_board,
        fans=entry.fans,
        rated_hashrate_ths=entry.rated_hashrate_ths,
        rated_power_w=entry.rated_power_w,
        rated_frequency_mhz=entry.rated_frequency_mhz,
        rated_voltage_v=entry.rated_voltage_v,
        floor_voltage_v=entry.floor_voltage_v,
        curve_points=points,
        floor_ths=floor,
        overhead_w=overhead,
        spread=entry.spread or family.spread,
        thermal=entry.thermal or family.thermal,
        timing=entry.timing or family.timing,
        drift=entry.drift or family.drift,
        sensor=sensor,
        shares=entry.shares or family.shares,
        noise=entry.noise or family.noise,
        modes=family.modes if entry.modes is None else entry.modes,
        power_control=entry.power_control or family.power_control,
        standby_w=family.standby_w if entry.standby_w is None else entry.standby_w,
    )


def _curve(where: str, entry: ModelEntry, shapes: dict[Key, Shape]) -> tuple[tuple[Point, ...], float, float]:
    """Points in TH/s and W, the floor and the overhead of one model."""
    curve, rated_h, rated_w = entry.curve, entry.rated_hashrate_ths, entry.rated_power_w
    if curve.shape is not None:
        if curve.shape not in shapes:
            raise InputError(
                f"{where}.curve.shape: no shape {curve.shape!r}; there are {', '.join(sorted(shapes))}"
            )
        shape = shapes[curve.shape]
        points = tuple((h * rated_h, w * rated_w) for h, w in shape.in_shares())
        return _reaching(where, points, rated_h), shape.floor_share * rated_h, shape.overhead_share * rated_w
    assert curve.floor_ths is not None and curve.overhead_w is not None
    if curve.points is not None:
        return _reaching(where, tuple(curve.points), rated_h), curve.floor_ths, curve.overhead_w
    assert curve.coefficients is not None
    a, b, c = curve.coefficients
    steps = 32
    rates = [
        curve.floor_ths + (CURVE_REACH * rated_h - curve.floor_ths) * i / steps for i in range(steps + 1)
    ]
    points = tuple((h, a + b * h + c * h * h) for h in rates)
    try:
        _check_rising(list(points))
    except ValueError as error:
        raise InputError(f"{where}.curve.coefficients: {error}") from error
    return points, curve.floor_ths, curve.overhead_w


def _reaching(where: str, points: tuple[Point, ...], rated_h: float) -> tuple[Point, ...]:
    if not points[0][0] < rated_h <= points[-1][0] * 1.05:
        raise InputError(f"{where}.curve: the points must reach from below rated hashrate to it")
    return points


def _check_rising(points: list[Point]) -> None:
    for (h0, w0), (h1, w1) in itertools.pairwise(points):
        if h1 <= h0 or w1 <= w0:
            raise ValueError(f"hashrate and power must both rise from point to point, see ({h1:g}, {w1:g})")

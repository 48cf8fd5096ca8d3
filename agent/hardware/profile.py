"""The closed schema of `configs/hardware/*.yaml`: one reviewed file per hardware model.

Every figure carries its source, so that a reader can tell a manual from a guess.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from agent.errors import InputError
from agent.hardware.bounds import Bounds
from agent.setting import WORK_MODES, Knob, Setting
from agent.yamlfile import StrictModel

Source = Annotated[str, Field(min_length=3, description="Where the figure comes from")]
STOPPING_MODES = ("sleep", "stopped")
# Rate climbs about evenly from nothing to full while a change settles: half of that time is lost.
RAMP_LOSS = 0.5
Firmware = Literal["stock", "luxos", "braiins", "vnish"]
Share = Annotated[float, Field(ge=0.0, le=2.0, description="Share of the rated figure")]


class Figure(StrictModel):
    """A positive number with its source."""

    value: Annotated[float, Field(gt=0.0)]
    source: Source


class Temperature(StrictModel):
    """A temperature in degrees Celsius with its source."""

    value: Annotated[float, Field(ge=-60.0, le=150.0)]
    source: Source


class Bin(StrictModel):
    """A factory grade of the model that is sold under its own rated figures."""

    name: str
    hashrate_ths: Annotated[float, Field(gt=0.0)]
    power_w: Annotated[float, Field(gt=0.0)]
    source: Source


class Layout(StrictModel):
    """Boards, chips and fans. Several chip counts are all genuine; None where nobody published one."""

    boards: Annotated[int, Field(ge=1, le=16)] | None
    chips_per_board: list[Annotated[int, Field(ge=1, le=1024)]] | None
    fans: Annotated[int, Field(ge=0, le=16)] | None
    source: Source


class Temperatures(StrictModel):
    """Limits the plan must respect. None where no figure is known."""

    chip_max_c: Temperature | None = None
    board_max_c: Temperature | None = None
    inlet_min_c: Temperature | None = None
    inlet_max_c: Temperature | None = None


class Choice(StrictModel):
    """What one work mode is expected to draw and hash, as shares of rated."""

    power_share: Share
    hashrate_share: Share
    source: Source


class Control(StrictModel):
    """One knob of one firmware on this model.

    `minimum`, `maximum` and `step` are what the firmware accepts, in `unit`. `choices` holds work
    modes instead. `needs_reported_range`: usable only where the unit itself reports a range.
    """

    knob: Knob
    unit: Literal["w", "percent", "mode"]
    minimum: float | None = None
    maximum: float | None = None
    step: Annotated[float, Field(gt=0.0)] | None = None
    choices: dict[str, Choice] | None = None
    restarts_hashing: bool
    settle_s: Annotated[float, Field(gt=0.0, le=7200.0)]
    needs_reported_range: bool = False
    source: Source

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.knob in (Knob.WORK_MODE, Knob.STOP):
            if self.unit != "mode":
                raise ValueError(f"{self.knob} has unit mode")
            if self.minimum is not None or self.maximum is not None or self.step is not None:
                raise ValueError(f"{self.knob} takes no minimum, maximum or step")
            if (self.knob is Knob.WORK_MODE) != bool(self.choices):
                raise ValueError("choices belong to work_mode, and work_mode needs them")
            unknown = sorted(set(self.choices or ()) - set(WORK_MODES))
            if unknown:
                raise ValueError(f"work mode {unknown[0]!r} is not one of {', '.join(WORK_MODES)}")
            return self
        if self.choices is not None:
            raise ValueError("choices belong to work_mode")
        if self.unit != ("w" if self.knob is Knob.POWER_LIMIT_W else "percent"):
            raise ValueError(f"{self.knob} has unit {'w' if self.knob is Knob.POWER_LIMIT_W else 'percent'}")
        if self.minimum is None or self.maximum is None or self.step is None:
            raise ValueError("a numeric control needs minimum, maximum and step")
        if self.minimum >= self.maximum:
            raise ValueError(f"minimum {self.minimum:g} must lie below maximum {self.maximum:g}")
        return self

    def lost_hashing_s(self, *, stops: bool) -> float:
        """Seconds of full hashing that one change costs; a stop loses them on the way back."""
        return RAMP_LOSS * self.settle_s if self.restarts_hashing or stops else 0.0


class SearchRange(StrictModel):
    """Where the optimiser may look, as shares of rated."""

    minimum: Share
    maximum: Share
    source: Source

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.minimum >= self.maximum:
            raise ValueError(f"minimum {self.minimum:g} must lie below maximum {self.maximum:g}")
        return self


class SearchBounds(StrictModel):
    """Reviewed search space per quantity; None where this model has no such knob."""

    power_limit: SearchRange
    frequency: SearchRange | None = None
    voltage: SearchRange | None = None


class Caveat(StrictModel):
    """A known fault or oddity, worth a warning, with its source."""

    text: str
    source: Source


class HardwareProfile(StrictModel):
    """Everything the agent believes about one hardware model before it has met a unit."""

    schema_version: Literal[1]
    key: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", description="Equals the file's name")]
    name: str
    vendor: Literal["bitmain", "microbt"]
    aliases: Annotated[list[str], Field(min_length=1, description="Model texts as firmware reports them")]
    status: Annotated[
        Literal["read-only", "tested", "field-proven"],
        Field(
            description="read-only: never written to; tested: passed against the simulator; "
            "field-proven: on real units"
        ),
    ]
    cooling: Literal["air", "hydro", "immersion"]
    rated_hashrate_ths: Figure
    rated_power_w: Figure
    standby_power_w: Annotated[
        Figure | None, Field(description="Wall power while stopped or asleep; null where nobody measured it")
    ] = None
    bins: list[Bin] = []
    layout: Layout
    temperatures: Temperatures
    search_bounds: SearchBounds
    controls: Annotated[
        dict[Firmware, list[Control]],
        Field(description="Per firmware; an empty list where nothing is known to be settable"),
    ]
    default_safe_setting: Annotated[
        dict[Firmware, str],
        Field(
            description="Per firmware, in the form work_mode=normal or power_limit_w=3250; "
            "needed for every firmware that has controls"
        ),
    ] = Field(default={}, validate_default=True)
    restarts_per_day: Figure
    caveats: list[Caveat] = []

    @field_validator("controls")
    @classmethod
    def _one_control_a_knob(cls, value: dict[Firmware, list[Control]]) -> dict[Firmware, list[Control]]:
        for firmware, controls in value.items():
            knobs = [control.knob for control in controls]
            twice = next((knob for knob in knobs if knobs.count(knob) > 1), None)
            if twice is not None:
                raise ValueError(f"{firmware} lists {twice} twice, expected each knob once")
        return value

    # A field validator, not one of the whole model, so that the error carries this key's line.
    @field_validator("default_safe_setting")
    @classmethod
    def _safe_inside_bounds(cls, value: dict[Firmware, str], info: ValidationInfo) -> dict[Firmware, str]:
        if not {"controls", "search_bounds", "rated_power_w"} <= info.data.keys():
            return value
        for firmware, controls in info.data["controls"].items():
            if controls and firmware not in value:
                raise ValueError(f"{firmware} has controls, expected a default safe setting for it")
        for firmware, text in value.items():
            try:
                setting = Setting.parse(text)
            except InputError as error:
                raise ValueError(f"{firmware}: {error}") from error
            bounds = [
                _bounds_of(control, info.data["search_bounds"], info.data["rated_power_w"].value)
                for control in info.data["controls"].get(firmware, [])
            ]
            if setting.stops_hashing or not any(bound.allows(setting) for bound in bounds):
                allowed = "; ".join(bound.describe() for bound in bounds) or "nothing"
                raise ValueError(f"{firmware}: {text} is not a hashing setting inside {allowed}")
        return value

    @property
    def efficiency_j_th(self) -> float:
        """Rated watts per rated TH/s."""
        return self.rated_power_w.value / self.rated_hashrate_ths.value

    def control(self, firmware: str, knob: Knob) -> Control | None:
        """The control of `firmware` for `knob`, if it has one."""
        return next((c for c in self.controls_of(firmware) if c.knob is knob), None)

    def controls_of(self, firmware: str) -> list[Control]:
        """Every control of `firmware`; none where this profile does not know the firmware."""
        return next((controls for name, controls in self.controls.items() if name == firmware), [])

    def offered_bounds(self, firmware: str) -> tuple[Bounds, ...]:
        """Each control's range inside the search bounds, whether or not the profile may be written to."""
        return tuple(
            _bounds_of(control, self.search_bounds, self.rated_power_w.value)
            for control in self.controls_of(firmware)
        )

    def bounds(self, firmware: str) -> tuple[Bounds, ...]:
        """What this profile allows on `firmware`; a read-only profile allows nothing."""
        return () if self.status == "read-only" else self.offered_bounds(firmware)


def _bounds_of(control: Control, search: SearchBounds, rated_power_w: float) -> Bounds:
    if control.knob is Knob.STOP:
        return Bounds(control.knob)
    if control.choices is not None:
        # A mode that draws more than the search bounds is known, so that it can be read, but not offered.
        within = search.power_limit
        offered = (
            mode
            for mode, choice in control.choices.items()
            if mode in STOPPING_MODES or within.minimum <= choice.power_share <= within.maximum
        )
        return Bounds(control.knob, choices=tuple(offered))
    full = Bounds(control.knob, control.minimum, control.maximum)
    # Hashrate follows frequency in a straight line, so one range serves both percents.
    by_frequency = control.knob in (Knob.FREQUENCY_PERCENT, Knob.HASHRATE_PERCENT)
    share = search.frequency if by_frequency and search.frequency is not None else search.power_limit
    if control.knob is Knob.VOLTAGE_PERCENT and search.voltage is not None:
        share = search.voltage
    scale = rated_power_w if control.knob is Knob.POWER_LIMIT_W else 100.0
    return full.intersect(Bounds(control.knob, share.minimum * scale, share.maximum * scale))

"""What can be asked of a miner. Bounds and the gate live in `agent.hardware.bounds`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from agent.errors import InputError


class Knob(StrEnum):
    """A thing that a firmware lets us set."""

    WORK_MODE = "work_mode"
    POWER_LIMIT_W = "power_limit_w"
    POWER_PERCENT = "power_percent"
    HASHRATE_PERCENT = "hashrate_percent"
    FREQUENCY_PERCENT = "frequency_percent"
    VOLTAGE_PERCENT = "voltage_percent"
    STOP = "stop"


WORK_MODES = ("normal", "low", "high", "efficient", "sleep", "stopped")


@dataclass(frozen=True, slots=True)
class Setting:
    """One value of one knob.

    Args:
        knob: what is set.
        value: a work mode's name, a finite number in the knob's unit (W or percent), or None for stop.

    Raises:
        InputError: the value does not fit the knob.
    """

    knob: Knob
    value: float | str | None = None

    def __post_init__(self) -> None:
        if self.knob is Knob.STOP:
            if self.value is not None:
                raise InputError(f"stop takes no value, got {self.value!r}")
        elif self.knob is Knob.WORK_MODE:
            if self.value not in WORK_MODES:
                raise InputError(f"work_mode must be one of {', '.join(WORK_MODES)}, got {self.value!r}")
        elif (
            isinstance(self.value, bool)
            or not isinstance(self.value, int | float)
            or not math.isfinite(self.value)
        ):
            raise InputError(f"{self.knob} needs a finite number, got {self.value!r}")

    @property
    def stops_hashing(self) -> bool:
        """True for stop and for the sleep mode."""
        return self.knob is Knob.STOP or self.value in ("sleep", "stopped")

    def __str__(self) -> str:
        if self.value is None:
            return str(self.knob)
        return (
            f"{self.knob}={self.value:g}"
            if isinstance(self.value, int | float)
            else f"{self.knob}={self.value}"
        )

    def to_dict(self) -> dict[str, float | str | None]:
        """JSON form: `{"knob": "power_limit_w", "value": 3000.0}`."""
        return {"knob": str(self.knob), "value": self.value}

    @staticmethod
    def from_dict(data: object) -> Setting:
        """Inverse of `to_dict`.

        Raises:
            InputError: not a setting.
        """
        if not isinstance(data, dict):
            raise InputError(f"a setting is an object with knob and value, got {data!r}")
        try:
            return Setting(Knob(str(data.get("knob"))), data.get("value"))
        except ValueError as error:
            raise InputError(f"unknown knob in {data!r}") from error

    @staticmethod
    def parse(text: str) -> Setting:
        """Read the form of `str(setting)`: `stop`, `work_mode=low`, `power_limit_w=3000`.

        Raises:
            InputError: not a setting.
        """
        name, _, raw = text.strip().partition("=")
        try:
            knob = Knob(name)
        except ValueError as error:
            raise InputError(f"{text!r}: unknown knob, expected one of {', '.join(Knob)}") from error
        if knob is Knob.STOP:
            return Setting(knob, raw or None)
        if knob is Knob.WORK_MODE:
            return Setting(knob, raw)
        try:
            return Setting(knob, float(raw))
        except ValueError as error:
            raise InputError(f"{text!r}: {knob} needs a number") from error

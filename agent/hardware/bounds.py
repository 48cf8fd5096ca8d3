"""Bounds of a control and the gate: the last code before the wire.

Bounds are profile ∩ firmware-reported range ∩ site override. A driver's `apply` takes a
`PermittedSetting`, and only `permit` makes one, so no path to a miner goes around the gate.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from agent.errors import OutOfBounds
from agent.setting import Knob, Setting

_SEAL = object()


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one knob may be set to.

    Args:
        knob: the control.
        minimum, maximum: inclusive, in the knob's unit; None for work modes and stop.
        choices: allowed work modes, None for numeric knobs and stop.
        values: the only numbers that the firmware takes, rising; None where any number inside will do.
        binding: which of profile, firmware or site set each end, for messages.
    """

    knob: Knob
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] | None = None
    binding: str = "profile"
    values: tuple[float, ...] | None = None

    def intersect(self, other: Bounds) -> Bounds:
        """The stricter of two bounds on one knob. An empty result permits nothing."""
        if other.knob is not self.knob:
            raise ValueError(f"cannot intersect {self.knob} with {other.knob}")
        low = _higher(self.minimum, other.minimum)
        high = _lower(self.maximum, other.maximum)
        choices = self.choices
        if other.choices is not None:
            choices = other.choices if choices is None else tuple(c for c in choices if c in other.choices)
        values = self.values
        if other.values is not None:
            values = other.values if values is None else tuple(v for v in values if v in other.values)
        before = (self.minimum, self.maximum, self.choices, self.values)
        changed = (low, high, choices, values) != before
        return Bounds(self.knob, low, high, choices, other.binding if changed else self.binding, values)

    def allows(self, setting: Setting) -> bool:
        """True if `setting` is of this knob and inside. An unknown numeric end allows nothing."""
        if setting.knob is not self.knob:
            return False
        if self.knob is Knob.STOP:
            return True
        if self.knob is Knob.WORK_MODE:
            return self.choices is not None and setting.value in self.choices
        if not isinstance(setting.value, int | float) or self.minimum is None or self.maximum is None:
            return False
        if self.values is not None and setting.value not in self.values:
            return False
        return math.isfinite(setting.value) and self.minimum <= setting.value <= self.maximum

    def describe(self) -> str:
        """Words for messages: `power_limit_w 2340 to 3600 (site)`."""
        if self.knob is Knob.STOP:
            return str(self.knob)
        if self.choices is not None:
            return f"{self.knob} {', '.join(self.choices) or 'nothing'} ({self.binding})"
        if self.minimum is None or self.maximum is None:
            return f"{self.knob} with no known range ({self.binding})"
        if self.values is not None:
            inside = (f"{v:g}" for v in self.values if self.minimum <= v <= self.maximum)
            return f"{self.knob} one of {', '.join(inside) or 'nothing'} ({self.binding})"
        return f"{self.knob} {self.minimum:g} to {self.maximum:g} ({self.binding})"


@dataclass(frozen=True, slots=True)
class PermittedSetting:
    """A setting that the gate let through. Made by `permit` alone.

    `urgent` asks a driver for the fastest way there, where the firmware has a fast and a gentle one.
    """

    setting: Setting
    bounds: Bounds
    seal: object
    urgent: bool = False

    def __post_init__(self) -> None:
        if self.seal is not _SEAL:
            raise OutOfBounds(f"{self.setting}: only the gate may permit a setting")


def permit(setting: Setting, bounds: Iterable[Bounds], *, urgent: bool = False) -> PermittedSetting:
    """Let `setting` through if the miner has bounds for its knob and all of them allow it.

    Args:
        urgent: the site waits for the effect, as when it is curtailed.

    Raises:
        OutOfBounds: otherwise; the message names the bounds of that knob and who set them.
    """
    seen = [b for b in bounds if b.knob is setting.knob]
    if seen and all(b.allows(setting) for b in seen):
        return PermittedSetting(setting, seen[0], _SEAL, urgent)
    allowed = "; ".join(b.describe() for b in seen) or "no control of that kind on this miner"
    raise OutOfBounds(f"{setting} is not allowed: {allowed}")


def nearest_permitted(setting: Setting, bounds: Iterable[Bounds]) -> Setting | None:
    """`setting` itself if the bounds allow it, else the nearest value of its knob; None if there is none."""
    seen = [b for b in bounds if b.knob is setting.knob]
    if seen and all(b.allows(setting) for b in seen):
        return setting
    low = max((b.minimum for b in seen if b.minimum is not None), default=None)
    high = min((b.maximum for b in seen if b.maximum is not None), default=None)
    if low is None or high is None or low > high or not isinstance(setting.value, int | float):
        return None
    wanted = min(high, max(low, float(setting.value)))
    listed = [set(b.values) for b in seen if b.values is not None]
    if not listed:
        return Setting(setting.knob, wanted)
    inside = [v for v in set.intersection(*listed) if low <= v <= high]
    return Setting(setting.knob, min(inside, key=lambda v: (abs(v - wanted), v))) if inside else None


def _higher(mine: float | None, theirs: float | None) -> float | None:
    known = [end for end in (mine, theirs) if end is not None]
    return max(known) if known else None


def _lower(mine: float | None, theirs: float | None) -> float | None:
    known = [end for end in (mine, theirs) if end is not None]
    return min(known) if known else None

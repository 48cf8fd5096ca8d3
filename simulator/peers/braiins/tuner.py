"""The autotuner: what it was told to hold, the bounds it takes, and how far it has come.

A new target is first accepted, then taken up, then tuned for some minutes and kept as a profile; a target
with a profile is reached without tuning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from simulator.machine import Machine, MachineState
from simulator.peers.braiins.refusals import Refusal
from simulator.peers.surface import Surface

TAKEN_UP_AFTER_S = 15.0
TUNING_S = 600.0
RETURNING_S = 180.0
MAX_PROFILES = 64

UNSPECIFIED, STABLE, TUNING = 0, 2, 3
Mode = Literal["power", "hashrate"]
# Shares of the rated figure.
_POWER_SHARES = (0.4, 1.0, 1.25)
_HASHRATE_SHARES = (0.45, 1.0, 1.18)
_REFERENCES = {1: "default", 2: "minimum", 3: "maximum", 4: "current"}


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a target may be: whole W, or TH/s."""

    minimum: float
    default: float
    maximum: float


@dataclass(frozen=True, slots=True)
class Target:
    """What the tuner holds: whole watts in mode `power`, TH/s in mode `hashrate`."""

    mode: Mode
    value: float


@dataclass(frozen=True, slots=True)
class Profile:
    """A target that was tuned, when, and what came of it; W is None where the unit does not know."""

    target: Target
    created_s: float
    estimated_w: int | None
    measured_ghs: float


class Tuner:
    """The autotuner of one miner.

    Args:
        surface: the miner; its machine gets the tuner that the firmware brings, at the default target
            unless it holds one already.
    """

    def __init__(self, surface: Surface) -> None:
        self._surface = surface
        machine = surface.machine
        machine.install_tuner()
        state = machine.state()
        self.bounds: dict[Mode, Bounds] = {
            "power": _bounds(machine.spec.rated_power_w, _POWER_SHARES, 1.0),
            "hashrate": _bounds(state.factory_hashrate_ths, _HASHRATE_SHARES, 0.1),
        }
        watts = self.bounds["power"].default if state.power_limit_w is None else round(state.power_limit_w)
        self.configured = Target("power", watts)
        if state.power_limit_w is None:
            machine.set_power_target(watts)
        self._shown = self.configured
        self._changed_s: float | None = None
        self.profiles: dict[Target, Profile] = {}
        self._keep(self.configured, machine.state())

    def current(self, state: MachineState) -> Target:
        """What the tuner works towards now; a new target is taken up some seconds after it was accepted."""
        self._pass(state)
        return self._shown

    def progress(self, state: MachineState) -> int:
        """The overall state; not specified while nothing hashes."""
        self._pass(state)
        if not state.process_up or not state.mining_enabled or state.phase == "protect":
            return UNSPECIFIED
        if self._changed_s is not None and self._shown == self.configured:
            return TUNING
        return STABLE

    def profile(self, state: MachineState) -> Profile | None:
        """The profile in use, None while it is being made."""
        return self.profiles.get(self.current(state))

    def choose(self, target: Target) -> None:
        """Hold another target.

        Raises:
            Refusal: it is out of bounds.
        """
        bounds = self.bounds[target.mode]
        if not bounds.minimum <= target.value <= bounds.maximum:
            raise Refusal(
                "out_of_range",
                f"new {target.mode} target '{_shown(target)}' is out-of-range "
                f"(min: Some({_shown(Target(target.mode, bounds.minimum))}), "
                f"max: Some({_shown(Target(target.mode, bounds.maximum))}))",
            )
        self._surface.perform(lambda: self._hold(target))

    def shifted(self, mode: Mode, by: float) -> Target:
        """The configured target of a mode plus `by`, as yet unchecked."""
        return Target(mode, self._configured(mode) + by)

    def relative(self, mode: Mode, percent: float, reference: int) -> Target:
        """A percentage of a reference, as yet unchecked.

        Raises:
            Refusal: no such reference.
        """
        name = _REFERENCES.get(reference)
        if name is None:
            raise Refusal("invalid_argument", f"unknown target reference '{reference}'")
        whole = self._configured(mode) if name == "current" else float(getattr(self.bounds[mode], name))
        value = whole * percent / 100.0
        return Target(mode, round(value) if mode == "power" else round(value, 2))

    def forget(self) -> None:
        """Remove every profile; the target in force is tuned anew."""

        def act() -> None:
            self.profiles.clear()
            self._changed_s = self._now_s()
            self._shown = self.configured

        self._surface.perform(act)

    def _configured(self, mode: Mode) -> float:
        return self.configured.value if self.configured.mode == mode else self.bounds[mode].default

    def _now_s(self) -> float:
        return self._surface.machine.clock.now().timestamp()

    def _hold(self, target: Target) -> None:
        machine = self._surface.machine
        self._pass(machine.state())
        if target == self.configured:
            return
        self.configured = target
        self._changed_s = self._now_s()
        hold(machine, target, self.bounds["hashrate"].default)

    def _pass(self, state: MachineState) -> None:
        """Catch up with the time that went by since somebody last looked."""
        if self._changed_s is None:
            return
        gone_s = self._now_s() - self._changed_s
        if gone_s >= TAKEN_UP_AFTER_S:
            self._shown = self.configured
        known = self.configured in self.profiles
        if gone_s >= (RETURNING_S if known else TUNING_S):
            self._changed_s = None
            if not known:
                self._keep(self.configured, state)

    def _keep(self, target: Target, state: MachineState) -> None:
        while len(self.profiles) >= MAX_PROFILES:
            del self.profiles[next(iter(self.profiles))]
        watts = state.reported_power_w
        self.profiles[target] = Profile(
            target,
            self._now_s(),
            None if watts is None else round(watts),
            round(state.hashrate_ths * 1000.0, 2),
        )


def hold(machine: Machine, target: Target, rated_ths: float) -> None:
    """Make a machine hold a target, without a restart."""
    if target.mode == "power":
        machine.set_power_target(target.value)
    else:
        machine.set_frequency(100.0 * (target.value / rated_ths - 1.0))


def _bounds(rated: float, shares: tuple[float, float, float], step: float) -> Bounds:
    low, middle, high = (round(round(rated * share / step) * step, 2) for share in shares)
    return Bounds(low, middle, high)


def _shown(target: Target) -> str:
    return f"{round(target.value)}" if target.mode == "power" else f"{target.value:g}"

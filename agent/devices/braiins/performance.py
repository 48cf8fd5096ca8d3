"""What a BraiinsOS miner is set to, and the requests that bring it to a permitted setting."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.devices.braiins.fields import at, status, terahash, watt
from agent.errors import Malformed, Refused, Unsupported
from agent.hardware.bounds import PermittedSetting
from agent.setting import Knob, Setting

MODES = ("normal", "sleep")
_NEAR_W = 0.5
_POWER, _HASHRATE = 1, 2
_OFF = ("sleep", "stopped")
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """One request; `watts` where it sets the power target."""

    path: str
    watts: int | None = None

    @property
    def body(self) -> dict[str, int] | None:
        """The request's body."""
        return {"watt": self.watts} if self.watts is not None else None

    def __str__(self) -> str:
        return f"PUT {self.path}" + (f' {{"watt":{self.watts}}}' if self.watts is not None else "")


@dataclass(frozen=True, slots=True)
class State:
    """What the miner says is set.

    Args:
        status: stopped, normal, sleep (paused), suspended, restricted.
        target_w: the power target that is configured; what scaling makes of it meanwhile may be less.
        follows: what the tuner follows: power, hashrate or nothing (manual); None where it does not say.
    """

    status: str
    target_w: float | None = None
    follows: str | None = None

    @property
    def off(self) -> bool:
        """True if it is paused or not started. One that the firmware suspended itself is meant to hash."""
        return self.status in _OFF


def state_of(details: Json, tuner: Json, configuration: Json | None, address: str) -> State:
    """The state by `miner/details`, `performance/tuner-state` and, where offered, `configuration/miner`.

    Raises:
        Malformed: it does not say whether the miner is paused.
    """
    found = status(details)
    if found is None:
        raise Malformed(address, "miner/details: no known status; nothing is sent")
    configured = at(configuration, "tuner")
    kind = follows(tuner, configured)
    target_w = watt(at(configured, "power_target")) or power_target(tuner)
    return State(found, target_w if kind in ("power", None) else None, kind)


def follows(tuner: Json, configured: object = None) -> str | None:
    """What the tuner follows: power, hashrate, nothing (it is off), or None where nothing says."""
    if at(configured, "enabled") is False:
        return "nothing"
    mode = at(configured, "tuner_mode")
    if mode in (_POWER, _HASHRATE) and not isinstance(mode, bool):
        return "power" if mode == _POWER else "hashrate"
    state = at(tuner, "mode_state")
    if isinstance(at(state, "powertargetmodestate"), dict):
        return "power"
    return "hashrate" if isinstance(at(state, "hashratetargetmodestate"), dict) else None


def power_target(tuner: Json) -> float | None:
    """The power target in force, in W; None where the tuner follows something else."""
    return watt(at(tuner, "mode_state", "powertargetmodestate", "current_target"))


def hashrate_target(tuner: Json) -> float | None:
    """The hashrate target in force, in TH/s; None where the tuner follows something else."""
    return terahash(at(tuner, "mode_state", "hashratetargetmodestate", "current_target"))


def power_range(constraints: Json) -> tuple[float, float] | None:
    """Smallest and largest power target that the firmware takes, in W; None without a usable range."""
    offered = at(constraints, "tuner_constraints", "power_target")
    low, high = watt(at(offered, "min")), watt(at(offered, "max"))
    return (low, high) if low is not None and high is not None and low <= high else None


def plan(permitted: PermittedSetting, state: State, address: str) -> list[Step]:
    """Requests from `state` to the setting, in order; empty if the miner is there already.

    A power setting means hashing: a paused miner gets the target first and is resumed after it, so that it
    never runs at the old one.

    Raises:
        Unsupported: BraiinsOS has no such knob or mode, or its tuner does not follow a power target.
        Refused: no whole number of watts lies inside the bounds.
    """
    setting = permitted.setting
    if setting.stops_hashing:
        return [] if state.off else [Step("actions/pause")]
    wake = []
    if state.off:
        wake = [Step("actions/resume" if state.status == "sleep" else "actions/start")]
    if setting == Setting(Knob.WORK_MODE, "normal"):
        return wake
    if setting.knob is not Knob.POWER_LIMIT_W:
        raise Unsupported(address, f"BraiinsOS cannot be set to {setting}")
    if state.follows not in ("power", None):
        raise Unsupported(
            address,
            f"its tuner follows {state.follows}; let the owner set a power target in BraiinsOS first",
        )
    watts = _whole(permitted, address)
    same = state.target_w is not None and abs(state.target_w - watts) < _NEAR_W
    return wake if same else [Step("performance/power-target", watts), *wake]


def reached(step: Step, state: State) -> bool:
    """True if `state` shows what `step` asks for."""
    if step.watts is not None:
        return state.target_w is not None and abs(state.target_w - step.watts) < _NEAR_W
    return state.off == (step.path == "actions/pause")


def governing(state: State, knob: Knob) -> Setting | None:
    """The setting in force, which an act on `knob` replaces and its undo restores; None if not known."""
    if knob is Knob.WORK_MODE:
        return Setting(knob, state.status if state.off else "normal")
    if state.off:
        return Setting(Knob.STOP)
    if state.target_w is not None:
        return Setting(Knob.POWER_LIMIT_W, state.target_w)
    return Setting(Knob.WORK_MODE, "normal") if knob is Knob.STOP else None


def _whole(permitted: PermittedSetting, address: str) -> int:
    """The nearest whole number that is still inside the bounds: the firmware takes no fractions."""
    value = permitted.setting.value
    assert isinstance(value, int | float)
    for whole in (round(value), math.floor(value), math.ceil(value)):
        if whole > 0 and permitted.bounds.allows(Setting(Knob.POWER_LIMIT_W, whole)):
            return whole
    raise Refused(address, f"{permitted.setting}: no whole number lies inside {permitted.bounds.describe()}")

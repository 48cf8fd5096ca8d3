"""What a permitted setting means on a Whatsminer, step by step.

It compares with the state the driver has read; the driver turns steps into commands and sends them.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from agent.errors import DeviceError, Refused, Unsupported
from agent.hardware.bounds import PermittedSetting
from agent.setting import Knob, Setting

_FULL_PERCENT = 100.0
_MOST_PERCENT = 200.0  # liquid-cooled models
_MOST_FREQUENCY_PERCENT = 200.0  # +100 percent is the most that the firmware takes
_DEFAULT_LIMIT_W = 99_999  # not a limit: it resets to the default
_NEAR = 0.5
_MODES = ("low", "normal", "high")
_KNOBS = (Knob.STOP, Knob.WORK_MODE, Knob.POWER_LIMIT_W, Knob.POWER_PERCENT, Knob.FREQUENCY_PERCENT)


class Verb(StrEnum):
    """One thing that both APIs can be told."""

    POWER_ON = "power_on"
    POWER_OFF = "power_off"
    MODE = "mode"
    LIMIT = "limit"
    PERCENT = "percent"
    FAST_PERCENT = "fast_percent"
    FREQUENCY = "frequency"
    FULL_POWER = "full_power"


@dataclass(frozen=True, slots=True)
class Step:
    """One command in terms of both APIs; `value` is watts, percent or a mode's name.

    The percent of a frequency is the change from normal, -100 to 100.
    """

    verb: Verb
    value: int | str | None = None


@dataclass(frozen=True, slots=True)
class State:
    """What the miner says is set. None where it does not say; `percent` 100 means that none is in force.

    `frequency_percent` is of the normal mode's frequency.
    """

    stopped: bool | None = None
    mode: str | None = None
    limit_w: float | None = None
    percent: float | None = None
    frequency_percent: float | None = None

    @property
    def reduced(self) -> bool:
        """True if a power percentage is known to be in force."""
        return self.percent is not None and abs(self.percent - _FULL_PERCENT) >= _NEAR


def plan(permitted: PermittedSetting, state: State, address: str) -> list[Step]:
    """Steps from `state` to the setting; empty if the miner is there already.

    A miner that is switched off is switched on before anything else is set.

    Raises:
        Unsupported: no Whatsminer has this knob or mode.
        Refused: the value is outside what the firmware takes.
    """
    setting = permitted.setting
    if setting.value == "sleep" or setting.knob not in _KNOBS:
        raise Unsupported(address, f"a stock Whatsminer cannot be set to {setting}")
    if setting.stops_hashing:
        return [] if state.stopped else [Step(Verb.POWER_OFF)]
    own = _own_steps(permitted, state, address)
    return [Step(Verb.POWER_ON), *own] if state.stopped else own


def governing(state: State, knob: Knob) -> Setting | None:
    """The setting that an act on `knob` replaces, and that undoing it must restore; None if not known."""
    if state.stopped:
        return Setting(Knob.STOP)
    if knob is Knob.POWER_PERCENT or state.reduced:
        return Setting(Knob.POWER_PERCENT, _FULL_PERCENT if state.percent is None else state.percent)
    if knob is Knob.POWER_LIMIT_W and state.limit_w is not None:
        return Setting(knob, state.limit_w)
    if knob is Knob.FREQUENCY_PERCENT and state.frequency_percent is not None:
        return Setting(knob, state.frequency_percent)
    if state.mode is not None and (knob is Knob.WORK_MODE or state.mode != "normal"):
        return Setting(Knob.WORK_MODE, state.mode)
    if state.limit_w is not None:
        return Setting(Knob.POWER_LIMIT_W, state.limit_w)
    return Setting(Knob.WORK_MODE, state.mode) if state.mode is not None else None


def shown(state: State, knob: Knob) -> Setting | None:
    """What a read-back says of `knob`; None where the firmware does not say."""
    if state.stopped:
        return Setting(Knob.STOP)
    if knob is Knob.STOP:
        return governing(state, knob)
    value: dict[Knob, float | str | None] = {
        Knob.POWER_PERCENT: state.percent,
        Knob.WORK_MODE: state.mode,
        Knob.POWER_LIMIT_W: state.limit_w,
        Knob.FREQUENCY_PERCENT: state.frequency_percent,
    }
    found = value.get(knob)
    return Setting(knob, found) if found is not None else None


def percent_after(step: Step, acknowledged: bool | None, before: float | None) -> float | None:
    """The power percentage known to be in force once `step` was sent, for firmware that never tells it.

    Args:
        acknowledged: the miner's answer, None where none came.
        before: what was known until then.
    """
    if step.verb in (Verb.PERCENT, Verb.FAST_PERCENT):
        return float(step.value) if isinstance(step.value, int) else None
    if acknowledged:
        return _FULL_PERCENT if step.verb is Verb.FULL_POWER else None
    return before


async def carry_out(
    steps: Sequence[Step], send: Callable[[Step], Awaitable[tuple[bool | None, str]]]
) -> tuple[bool | None, str]:
    """Send each step once, in order, until one fails.

    Args:
        send: gives the miner's answer (None: none came) and the words for the journal.

    Returns:
        True if every step was acknowledged, else None; and what was sent.

    Raises:
        DeviceError: the first step failed, so that nothing has changed. A later failure leaves a miner
            that is half changed: that is no failure but unknown, and telemetry must judge it.
    """
    answers: list[bool | None] = []
    sent: list[str] = []
    for step in steps:
        try:
            answer, words = await send(step)
        except DeviceError as error:
            if not sent:
                raise
            answer, words = None, f"then {step.verb} failed ({error.kind}): {error.detail[:200]}"
        answers.append(answer)
        sent.append(words)
        if words.startswith("then "):
            break
    return (True if all(answers) else None), "; ".join(sent)


def _own_steps(permitted: PermittedSetting, state: State, address: str) -> list[Step]:
    setting = permitted.setting
    if setting.knob is Knob.POWER_PERCENT:
        percent = _whole(permitted, address)
        if not 0 <= percent <= _MOST_PERCENT:
            raise Refused(address, f"{setting} is outside 0 to {_MOST_PERCENT:g} percent; nothing was sent")
        if _same(state.percent, percent):
            return []
        if percent == _FULL_PERCENT:
            return [Step(Verb.FULL_POWER)]
        return [Step(Verb.FAST_PERCENT if permitted.urgent else Verb.PERCENT, percent)]
    # A percentage counts from the limit or mode it was set under, and would stay in force below them.
    steps = [Step(Verb.FULL_POWER)] if state.reduced else []
    if setting.knob is Knob.WORK_MODE:
        if setting.value not in _MODES:
            raise Unsupported(address, f"a stock Whatsminer has no mode {setting.value}")
        return steps if state.mode == setting.value else [*steps, Step(Verb.MODE, str(setting.value))]
    if setting.knob is Knob.FREQUENCY_PERCENT:
        percent = _whole(permitted, address)
        if not 0 < percent <= _MOST_FREQUENCY_PERCENT:
            words = f"{setting} is outside 1 to {_MOST_FREQUENCY_PERCENT:g} percent; nothing was sent"
            raise Refused(address, words)
        if _same(state.frequency_percent, percent):
            return steps
        return [*steps, Step(Verb.FREQUENCY, percent - round(_FULL_PERCENT))]
    watts = _whole(permitted, address)
    if not 0 < watts < _DEFAULT_LIMIT_W:
        raise Refused(address, f"{setting} is outside 1 to {_DEFAULT_LIMIT_W - 1} W; nothing was sent")
    return steps if _same(state.limit_w, watts) else [*steps, Step(Verb.LIMIT, watts)]


def _whole(permitted: PermittedSetting, address: str) -> int:
    """The nearest whole number that is still inside the bounds: the firmware takes no fractions."""
    value = permitted.setting.value
    assert isinstance(value, int | float)
    for whole in (round(value), math.floor(value), math.ceil(value)):
        if permitted.bounds.allows(Setting(permitted.setting.knob, whole)):
            return whole
    raise Refused(address, f"{permitted.setting}: no whole number lies inside {permitted.bounds.describe()}")


def _same(known: float | None, target: int) -> bool:
    return known is not None and abs(known - target) < _NEAR

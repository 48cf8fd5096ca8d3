"""Whether telemetry shows that an act did what was expected. Pure; `agent.acting.actuation` acts on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from agent.records import Act, Interval
from agent.setting import Setting

# The expectation is an 80 % interval. Stretched by two it holds 99 % of honest predictions, so that an
# undo is the mark of a wrong setting and not of chance; 5 % is the sensors' own tolerance.
_STRETCH = 2.0
_SENSOR_SHARE = 0.05
# A 5 s rate is noise; the mean of this many in a row is fit to judge by.
READINGS_TO_JUDGE = 6
_STOPPED_READINGS = 2
# What firmware reckons, or a shared circuit leaves for a miner, proves no stop wrong.
_MEASURED = ("metered", "measured")


@dataclass(frozen=True, slots=True)
class Observation:
    """One reading of the acted-on miner, after the command went out.

    Args:
        hashrate_5s_ths, hashrate_ths: fast and steady rate, None where unknown.
        power_w: as reported or metered, None where nothing tells it.
        setting: what the firmware says is set, None where it does not say.
        power_source: of a Reading, whose watts they are.
    """

    at: datetime
    hashrate_5s_ths: float | None
    hashrate_ths: float | None
    power_w: float | None
    is_hashing: bool | None
    setting: Setting | None
    power_source: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What telemetry says of one act so far, with the means it was judged by and the setting last shown."""

    kind: Literal["wait", "confirmed", "missed", "unseen"]
    words: str
    hashrate_ths: float | None = None
    power_w: float | None = None
    shown: Setting | None = None


def judge(act: Act, observations: Sequence[Observation], now: datetime) -> Verdict:
    """Compare the newest observations since `act.sent_at` with what was expected.

    Confirmed as soon as enough readings in a row agree; missed once `confirm_by` has passed with readings
    that do not; unseen if by then too few readings came to say anything.
    """
    since = act.sent_at or act.intended_at
    target = act.target.setting()
    # The readings before a stop took effect say nothing of what it brings.
    enough = _STOPPED_READINGS if target.stops_hashing else READINGS_TO_JUDGE
    seen = sorted((o for o in observations if o.at > since), key=lambda o: o.at)[-enough:]
    late = now >= act.confirm_by
    if len(seen) < enough:
        if late and now >= act.confirm_by + timedelta(seconds=max(act.settle_s, 600.0)):
            return Verdict("unseen", f"only {len(seen)} readings came after the command")
        return Verdict("wait", f"{len(seen)} readings so far")
    rate, power = _rate(seen), _mean([o.power_w for o in seen])
    wrong = _wrong_stop(act, seen) if target.stops_hashing else _wrong(act, target, seen, rate, power)
    shown = seen[-1].setting
    if wrong is None:
        return Verdict("confirmed", _as_expected(act, rate, power), rate, power, shown)
    return Verdict("missed" if late else "wait", wrong, rate, power, shown)


def within(value: float, expected: Interval) -> bool:
    """True if `value` lies in the stretched interval or within the sensors' tolerance of the middle."""
    slack = _SENSOR_SHARE * abs(expected.q50)
    low = expected.q50 - max(_STRETCH * (expected.q50 - expected.q10), slack)
    high = expected.q50 + max(_STRETCH * (expected.q90 - expected.q50), slack)
    return low <= value <= high


def _wrong(
    act: Act, target: Setting, seen: Sequence[Observation], rate: float | None, power: float | None
) -> str | None:
    shown = seen[-1].setting
    if shown is not None and shown != target:
        return f"the miner shows {shown}, not {target}"
    if rate is None:
        return "no hashrate is reported"
    if not within(rate, act.expected.hashrate_ths):
        return f"hashrate {rate:.1f} TH/s against {_range(act.expected.hashrate_ths)}"
    if power is not None and not within(power, act.expected.power_w):
        return f"power {power:.0f} W against {_range(act.expected.power_w)}"
    return None


def _wrong_stop(act: Act, seen: Sequence[Observation]) -> str | None:
    if any(o.is_hashing is not False for o in seen):
        return "still hashing"
    power = _mean([o.power_w if o.power_source in _MEASURED else None for o in seen])
    before = act.expected_before
    if power is None or before is None or within(power, act.expected.power_w):
        return None
    # Standby draws are not known well enough to undo a stop for less.
    if power > 0.5 * before.power_w.q50:
        return f"says that it does not hash, but draws {power:.0f} W against {_range(act.expected.power_w)}"
    return None


def _as_expected(act: Act, rate: float | None, power: float | None) -> str:
    if act.target.setting().stops_hashing:
        return "stopped hashing"
    words = f"hashrate {rate:.1f} TH/s against {_range(act.expected.hashrate_ths)}"
    return words if power is None else f"{words}; power {power:.0f} W against {_range(act.expected.power_w)}"


def _rate(seen: Sequence[Observation]) -> float | None:
    fast = [o.hashrate_5s_ths for o in seen]
    return _mean(fast) if all(value is not None for value in fast) else seen[-1].hashrate_ths


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _range(expected: Interval) -> str:
    return f"{expected.q50:.1f} expected ({expected.q10:.1f} to {expected.q90:.1f})"

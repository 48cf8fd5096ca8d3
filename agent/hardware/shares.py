"""Settings as shares of rated: what a setting should draw and hash before any model has seen the unit.

The curve is the profile's own conservative guess; predictions for a real unit come from `agent.models`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from agent.hardware.bounds import Bounds, nearest_permitted
from agent.hardware.profile import Choice, HardwareProfile
from agent.reading import Reading
from agent.setting import Knob, Setting

# Wall power as a share of rated over hashrate as a share of rated, p = A + B h + C h^2, through the
# 17 points from 39 to 122 TH/s of the LuxOS profile table of the S19k Pro (asic-rs luxminer fixture).
_A, _B, _C = 0.074, 0.512, 0.414
# Within these shares of the figure given for it lies what 80 % of stopped units draw. Nobody measured it: the
# profiles' 30 W are a guess at idle fans, control board and supply, and a sleeping Antminer draws less than
# 150 W, where the doubled width that confirmation allows ends.
_STANDBY_LOW, _STANDBY_HIGH = 0.5, 3.0
# A limit this close to rated leaves power percent right to within the spread between units.
_NEAR_RATED = 0.97


def power_share_at(hashrate_share: float) -> float:
    """Expected wall power, as a share of rated, at a share of rated hashrate; 0.0 at 0."""
    if hashrate_share <= 0.0:
        return 0.0
    return _A + _B * hashrate_share + _C * hashrate_share**2


def hashrate_share_at(power_share: float) -> float:
    """Inverse of `power_share_at`; 0.0 where the power only just keeps the machine on."""
    if power_share <= _A:
        return 0.0
    return (math.sqrt(_B**2 + 4.0 * _C * (power_share - _A)) - _B) / (2.0 * _C)


def standby_interval_w(standby_w: float) -> tuple[float, float, float]:
    """q10, q50 and q90 of what a stopped unit draws, in W, from the figure known for its model."""
    return _STANDBY_LOW * standby_w, standby_w, _STANDBY_HIGH * standby_w


def nominal_share(profile: HardwareProfile, firmware: str, setting: Setting) -> float:
    """Expected wall power of `setting` as a share of the profile's rated power.

    Stop and sleep give 0.0. Power percent is taken of rated power, as if no lower limit were set.

    Returns:
        The share, NaN for a work mode that the profile does not know.
    """
    if setting.stops_hashing:
        return 0.0
    if setting.knob is Knob.WORK_MODE:
        choice = _choice(profile, firmware, setting)
        return math.nan if choice is None else choice.power_share
    value = _number(setting)
    if setting.knob is Knob.POWER_LIMIT_W:
        return value / profile.rated_power_w.value
    if setting.knob is Knob.POWER_PERCENT:
        return value / 100.0
    if setting.knob is Knob.VOLTAGE_PERCENT:
        # At the same frequency a chip's power goes with the square of its voltage.
        return (value / 100.0) ** 2
    return power_share_at(value / 100.0)


def nominal_hashrate_share(profile: HardwareProfile, firmware: str, setting: Setting) -> float:
    """Expected hashrate of `setting` as a share of the profile's rated hashrate.

    Returns:
        The share, NaN for a work mode that the profile does not know.
    """
    if setting.stops_hashing:
        return 0.0
    if setting.knob is Knob.WORK_MODE:
        choice = _choice(profile, firmware, setting)
        return math.nan if choice is None else choice.hashrate_share
    if setting.knob in (Knob.HASHRATE_PERCENT, Knob.FREQUENCY_PERCENT):
        return _number(setting) / 100.0
    if setting.knob is Knob.VOLTAGE_PERCENT:
        return 1.0
    return hashrate_share_at(nominal_share(profile, firmware, setting))


def current_setting(profile: HardwareProfile, firmware: str, reading: Reading) -> Setting | None:
    """What `reading` says is set, in the knob that governs the unit; None where it does not say.

    A stopped unit is `stop`. Then the knob that departs from the factory state wins: a power percent
    below 100, a mode other than normal, then hashrate or frequency percent, power limit and at last the mode.
    """
    offered = {control.knob: control for control in profile.controls_of(firmware)}
    mode = reading.work_mode
    modes = offered[Knob.WORK_MODE].choices or {} if Knob.WORK_MODE in offered else {}
    if mode in ("sleep", "stopped"):
        if Knob.STOP in offered:
            return Setting(Knob.STOP)
        return Setting(Knob.WORK_MODE, mode) if mode in modes else None
    percent = reading.power_percent
    # Firmware writes 0 for "no percent set"; 100 leaves the power limit in charge.
    if percent is not None and 0.0 < percent != 100.0 and Knob.POWER_PERCENT in offered:
        return Setting(Knob.POWER_PERCENT, percent)
    if mode in modes and mode != "normal":
        return Setting(Knob.WORK_MODE, mode)
    if reading.hashrate_percent is not None and Knob.HASHRATE_PERCENT in offered:
        return Setting(Knob.HASHRATE_PERCENT, reading.hashrate_percent)
    if reading.frequency_percent is not None and Knob.FREQUENCY_PERCENT in offered:
        return Setting(Knob.FREQUENCY_PERCENT, reading.frequency_percent)
    if reading.power_limit_w is not None and Knob.POWER_LIMIT_W in offered:
        return Setting(Knob.POWER_LIMIT_W, reading.power_limit_w)
    return Setting(Knob.WORK_MODE, mode) if mode in modes else None


def safe_setting(profile: HardwareProfile, firmware: str, bounds: Sequence[Bounds]) -> Setting | None:
    """The setting to run at when nothing better is known; None where the profile names none.

    It is the profile's own, except on a unit that offers hashrate percent: there normal mode would
    keep whatever percent is set, so the top of that range says the same and means it.
    """
    text = next((text for name, text in profile.default_safe_setting.items() if name == firmware), None)
    if text is None:
        return None
    percent = next((bound for bound in bounds if bound.knob is Knob.HASHRATE_PERCENT), None)
    setting = Setting.parse(text)
    if setting.knob is Knob.WORK_MODE and percent is not None and percent.maximum is not None:
        return Setting(Knob.HASHRATE_PERCENT, percent.maximum)
    # Where the firmware takes only its own presets, the nearest one.
    return nearest_permitted(setting, bounds) or setting


def candidate_settings(
    profile: HardwareProfile,
    firmware: str,
    bounds: Sequence[Bounds],
    count: int = 12,
    current: Setting | None = None,
) -> tuple[Setting, ...]:
    """Settings worth comparing, all inside `bounds`, in order of nominal share.

    Args:
        bounds: the miner's effective bounds; a knob without bounds gives nothing.
        count: at most so many values per numeric knob, both ends of its range among them.
        current: what is set now, if known. Power percent counts from the power limit in force, so
            it is left out while that limit is not near rated.

    Returns:
        A grid over each numeric knob on its step, the allowed modes, and one stop if allowed. The
        sleep mode is left out where stop does the same. Hashing modes are left out where a power
        limit or a hashrate percent stands beside them: going to normal does not lift a lowered
        limit, so what a mode would draw then is not known.
    """
    stoppable = any(bound.knob is Knob.STOP for bound in bounds)
    limited = any(bound.knob in (Knob.POWER_LIMIT_W, Knob.HASHRATE_PERCENT) for bound in bounds)
    found: list[Setting] = []
    for bound in bounds:
        control = profile.control(firmware, bound.knob)
        if control is None:
            continue
        if bound.knob is Knob.STOP:
            found.append(Setting(Knob.STOP))
        elif bound.knob is Knob.WORK_MODE:
            modes = (Setting(Knob.WORK_MODE, mode) for mode in bound.choices or ())
            found += [mode for mode in modes if not (stoppable if mode.stops_hashing else limited)]
        elif bound.knob is Knob.VOLTAGE_PERCENT:
            # What a lower voltage does to stability no curve says: it is for people, never for a plan.
            continue
        elif bound.knob is Knob.POWER_PERCENT and _off_rated(profile, current):
            continue
        elif bound.minimum is not None and bound.maximum is not None:
            values = _values(bound, bound.minimum, bound.maximum, control.step or 1.0, count)
            found += [Setting(bound.knob, value) for value in values]
    allowed = (setting for setting in dict.fromkeys(found) if _allowed(setting, bounds))
    known = [(nominal_share(profile, firmware, setting), setting) for setting in allowed]
    return tuple(s for share, s in sorted(known, key=lambda pair: pair[0]) if math.isfinite(share))


def _values(bound: Bounds, low: float, high: float, step: float, count: int) -> list[float]:
    if bound.values is None:
        return _grid(low, high, step, count)
    listed = [value for value in bound.values if low <= value <= high]
    if len(listed) <= count:
        return listed
    return [listed[round(i * (len(listed) - 1) / max(count - 1, 1))] for i in range(count)]


def _grid(low: float, high: float, step: float, count: int) -> list[float]:
    """Multiples of `step` in [low, high], thinned evenly to `count`; the ends of a range without any."""
    if high < low or count < 1:
        return []
    # The tolerance keeps an end such as 0.6 x 3250 W, which is a multiple but for its last bit.
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    if last < first:
        return [high]
    total = last - first + 1
    picks = min(count, total)
    if picks == 1:
        return [min(high, last * step)]
    places = [first + round(i * (total - 1) / (picks - 1)) for i in range(picks)]
    return [min(high, max(low, place * step)) for place in places]


def _allowed(setting: Setting, bounds: Iterable[Bounds]) -> bool:
    own = [bound for bound in bounds if bound.knob is setting.knob]
    return bool(own) and all(bound.allows(setting) for bound in own)


def _off_rated(profile: HardwareProfile, current: Setting | None) -> bool:
    if current is None or current.knob is not Knob.POWER_LIMIT_W:
        return False
    share = _number(current) / profile.rated_power_w.value
    return not _NEAR_RATED <= share <= 1.0 / _NEAR_RATED


def _choice(profile: HardwareProfile, firmware: str, setting: Setting) -> Choice | None:
    control = profile.control(firmware, Knob.WORK_MODE)
    return None if control is None or control.choices is None else control.choices.get(str(setting.value))


def _number(setting: Setting) -> float:
    assert isinstance(setting.value, int | float)
    return float(setting.value)

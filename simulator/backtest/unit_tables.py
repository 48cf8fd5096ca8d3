"""True hashrate, power and chip temperature of units at their settings, over outside temperature."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agent.errors import InputError
from agent.setting import Knob, Setting
from simulator.physics import (
    Units,
    curve_table,
    hashrate_at,
    level_for_power,
    operate,
    throttle,
)
from simulator.physics_file import ModelPhysics

Floats = NDArray[np.float64]
# Where power percent is counted from: what the unit settles at without it on an ordinary day.
_USUAL_C = 25.0
# How far above rated frequency a tuner goes where it is given watts.
_TUNER_REACH = 1.4


def settings_tables(
    model: ModelPhysics,
    units: Units,
    settings: Sequence[Setting],
    outside_c: Floats,
    offset_c: Floats,
    *,
    tuner: bool,
    age_days: Floats,
    missing: Floats,
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Steady states of N units of one model at K settings and J outside temperatures.

    Args:
        units: arrays [N].
        outside_c: [J].
        offset_c: [N] added to the outside temperature at the unit's place.
        tuner: firmware that holds watts by raising the frequency as far as it takes.
        age_days, missing: [N] age, and the share of the boards that is not there.

    Returns:
        Hashrate in TH/s, wall power in W, hottest chip in C, frequency as a share of rated, and fans as a
        share of full speed; each [J,N,K].

    Raises:
        InputError: a setting that the physics has no notion of.
    """
    inlet = np.maximum(outside_c[:, None] + offset_c + units.inlet_c, model.thermal.inlet_minimum_c)
    shape = (len(outside_c), len(offset_c), len(settings))
    rate, power, chip, levels, fans = (np.zeros(shape) for _ in range(5))
    table = curve_table(model)
    for k, setting in enumerate(settings):
        if setting.stops_hashing:
            power[:, :, k], chip[:, :, k] = model.standby_w, inlet
            continue
        level, factor = _level(model, units, setting, inlet, tuner, age_days, missing)
        found = operate(model, table, units, level, inlet, age_days=age_days, missing=missing)
        # A unit that is too hot stops itself until it is cool again.
        hot = (inlet > model.thermal.protect_inlet_c) | (found.chip_c > model.thermal.protect_chip_c)
        hashed = hashrate_at(model, units, level, age_days, missing)
        rate[:, :, k] = np.where(hot, 0.0, hashed)
        power[:, :, k] = np.where(hot, model.standby_w, found.power_w * factor)
        chip[:, :, k] = np.where(hot, inlet, found.chip_c)
        levels[:, :, k], fans[:, :, k] = np.where(hot, 0.0, level), np.where(hot, 0.0, found.fan)
    return rate, power, chip, levels, fans


def _level(
    model: ModelPhysics,
    units: Units,
    setting: Setting,
    inlet: Floats,
    tuner: bool,
    age_days: Floats,
    missing: Floats,
) -> tuple[Floats, float]:
    """Frequency level [J,N] that a setting leads to, and the work mode's factor on power."""
    free = throttle(model, inlet)
    if setting.knob is Knob.WORK_MODE and setting.value != "normal":
        mode = next((mode for name, mode in model.modes.items() if name == setting.value), None)
        if mode is None:
            raise InputError(f"the physics of {model.key} has no mode {setting.value}")
        return free * mode.hashrate_share, mode.power_factor
    value = float(setting.value) if isinstance(setting.value, int | float) else 100.0
    if setting.knob in (Knob.HASHRATE_PERCENT, Knob.FREQUENCY_PERCENT):
        return free * value / 100.0, 1.0
    control = model.power_control
    if control is None:
        if setting.knob is Knob.WORK_MODE:
            return free, 1.0
        raise InputError(f"{setting}: the physics of {model.key} holds no watts")

    def held(watts: Floats, at: Floats) -> Floats:
        table = curve_table(model)
        return level_for_power(model, table, units, watts, at, age_days=age_days, missing=missing)

    default_w = control.default_limit * model.rated_power_w
    limit_w = value if setting.knob is Knob.POWER_LIMIT_W else default_w
    watts = limit_w * (1.0 - control.headroom) / units.bias
    if setting.knob is Knob.POWER_PERCENT:
        usual = np.full(len(watts), _USUAL_C)
        top = np.minimum(1.0, held(watts, usual))
        table = curve_table(model)
        settled = operate(model, table, units, top, usual, age_days=age_days, missing=missing).power_w
        watts = np.minimum(watts, value / 100.0 * settled)
    reach = _TUNER_REACH if tuner else 1.0
    return np.minimum(free * reach, held(np.broadcast_to(watts, inlet.shape), inlet)), 1.0

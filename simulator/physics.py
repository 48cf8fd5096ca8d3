"""Pure, vectorised physics of a mining machine: power of a hashrate, heat, fans, and the way back.

The live `Machine` and the history writer both use these functions. Nothing here knows time or settings.
A unit's *level* is its frequency as a share of the rated one; boards all run at the same level.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from simulator.physics_file import CURVE_REACH, ModelPhysics

Floats = NDArray[np.float64]
# A missing board takes its third of the hashrate but leaves fans, control board and PSU losses.
MISSING_POWER_SHARE = 0.8
_FAN_EXPONENT = 0.8
_TABLE_SIZE = 1024
_LOWEST_LEVEL = 0.2
_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class CurveTable:
    """Power of the average unit at reference conditions, on a dense rising grid from no hashrate.

    Args:
        level: [T] share of rated frequency, from 0.
        power_w: [T] wall power, rising strictly.
    """

    level: Floats
    power_w: Floats


@dataclass(frozen=True, slots=True)
class Units:
    """What distinguishes N units of one model; every array is [N], `board_weights` [N, boards].

    Args:
        hashrate: factor on hashrate at equal frequency and power.
        power: factor on power.
        exponent: power is multiplied by level to this, so that slopes differ.
        thermal: factor on thermal resistance.
        inlet_c: added to the ambient temperature (place in the rack, recirculation).
        bias: reported over true power, 1 where the model has no sensor.
        board_weights: each board's share of the hashrate, summing to 1.
    """

    hashrate: Floats
    power: Floats
    exponent: Floats
    thermal: Floats
    inlet_c: Floats
    bias: Floats
    board_weights: Floats


@dataclass(frozen=True, slots=True)
class Operation:
    """A steady state; arrays of one shape. `chip_c` is the hottest chip, `fan` the share of full speed."""

    hashrate_ths: Floats
    power_w: Floats
    chip_c: Floats
    fan: Floats


def curve_table(model: ModelPhysics) -> CurveTable:
    """The curve as a dense table: a monotone cubic through its points, a straight line under the floor."""
    return _table(model.curve_points, model.floor_ths, model.overhead_w, model.rated_hashrate_ths)


@lru_cache(maxsize=256)
def _table(
    points: tuple[tuple[float, float], ...], floor_ths: float, overhead_w: float, rated_ths: float
) -> CurveTable:
    rates, watts = (np.array(side) for side in zip(*points, strict=True))
    grid = np.linspace(0.0, CURVE_REACH * rated_ths, _TABLE_SIZE)
    power = _monotone_cubic(rates, watts, grid)
    at_floor = float(_monotone_cubic(rates, watts, np.array([floor_ths]))[0])
    overhead = min(overhead_w, 0.9 * at_floor)
    below = grid < floor_ths
    power[below] = overhead + (at_floor - overhead) * grid[below] / floor_ths
    level = grid / rated_ths
    # Shared by every unit of the model.
    level.flags.writeable = power.flags.writeable = False
    return CurveTable(level, power)


def draw_units(model: ModelPhysics, rng: np.random.Generator, count: int) -> Units:
    """Draw `count` units of a model. Draws are cut at three standard deviations."""
    spread = model.spread

    def around(centre: float, deviation: float) -> Floats:
        return np.asarray(centre + deviation * np.clip(rng.standard_normal(count), -3.0, 3.0))

    hashrate, power = around(1.0, spread.hashrate), around(1.0, spread.power)
    exponent, thermal = around(0.0, spread.exponent), around(1.0, spread.thermal)
    inlet = np.abs(around(0.0, spread.inlet_c))
    sensor = model.sensor
    bias = around(1.0, 0.0) if sensor is None else around(sensor.bias, sensor.spread)
    weights = 1.0 + spread.boards * np.clip(rng.standard_normal((count, model.boards)), -3.0, 3.0)
    return Units(
        hashrate, power, exponent, thermal, inlet, bias, weights / weights.sum(axis=1, keepdims=True)
    )


def operate(
    model: ModelPhysics,
    table: CurveTable,
    units: Units,
    level: Floats,
    inlet_c: Floats,
    *,
    age_days: Floats | float = 0.0,
    missing: Floats | float = 0.0,
    fan: float | None = None,
) -> Operation:
    """Steady state at a frequency level.

    Args:
        level: share of rated frequency; last axis N or broadcastable to it, as all arrays here.
        inlet_c: air or water going in.
        age_days: since the unit was new, for drift.
        missing: share of the boards that is not there.
        fan: fixed share of full speed, None for the unit's own regulation.
    """
    cold = _reference_power(model, table, units, level, age_days, missing)
    power = cold
    for _ in range(_ROUNDS):
        chip, speed = heat(model, units, power, inlet_c, age_days=age_days, fan=fan)
        factor, extra = _against_reference(model, units, power, chip, speed, age_days)
        power = cold * factor + extra
    chip, speed = heat(model, units, power, inlet_c, age_days=age_days, fan=fan)
    return Operation(hashrate_at(model, units, level, age_days, missing), power, chip, speed)


def level_for_power(
    model: ModelPhysics,
    table: CurveTable,
    units: Units,
    power_w: Floats,
    inlet_c: Floats,
    *,
    age_days: Floats | float = 0.0,
    missing: Floats | float = 0.0,
) -> Floats:
    """The frequency level at which a unit draws `power_w` in the steady state; 0 for too little."""
    chip, speed = heat(model, units, power_w, inlet_c, age_days=age_days)
    factor, extra = _against_reference(model, units, power_w, chip, speed, age_days)
    cold = (power_w - extra) / factor
    cold = cold / (units.power * _aged_power(model, age_days) * (1.0 - MISSING_POWER_SHARE * missing))
    level = np.interp(cold, table.power_w, table.level, left=0.0)
    for _ in range(_ROUNDS):
        bent = np.maximum(level, _LOWEST_LEVEL) ** units.exponent
        level = np.interp(cold / bent, table.power_w, table.level, left=0.0)
    return np.asarray(level)


def hashrate_at(
    model: ModelPhysics,
    units: Units,
    level: Floats,
    age_days: Floats | float = 0.0,
    missing: Floats | float = 0.0,
) -> Floats:
    """Hashrate in TH/s at a frequency level."""
    fresh = np.maximum(0.0, 1.0 - model.drift.hashrate_per_day * _worn_days(model, age_days))
    return np.asarray(level * model.rated_hashrate_ths * units.hashrate * fresh * (1.0 - missing))


def heat(
    model: ModelPhysics,
    units: Units,
    power_w: Floats,
    inlet_c: Floats,
    *,
    age_days: Floats | float = 0.0,
    fan: float | None = None,
) -> tuple[Floats, Floats]:
    """Hottest chip in C and fan speed as a share of full, in the steady state."""
    thermal = model.thermal
    resistance = (
        units.thermal
        * (thermal.full_fan_rise_c / model.rated_power_w)
        * (1.0 + model.drift.thermal_per_day * np.mod(age_days, model.drift.cleaned_every_days))
    )
    rise_at_full = power_w * resistance
    if fan is None:
        target = thermal.chip_target_c + thermal.droop * (inlet_c - thermal.reference_inlet_c)
        room = np.maximum(target - inlet_c, 1e-3)
        speed = (rise_at_full / room) ** (1.0 / _FAN_EXPONENT)
        speed = np.minimum(np.maximum(speed, thermal.fan_minimum_share), 1.0)
    else:
        speed = np.full(np.shape(rise_at_full), max(fan, thermal.fan_minimum_share / 3.0, 0.05))
    return np.asarray(inlet_c + rise_at_full / speed**_FAN_EXPONENT), np.asarray(speed)


def throttle(model: ModelPhysics, inlet_c: Floats) -> Floats:
    """Factor on the frequency level: 1 up to the inlet limit, one degree further the whole throttle."""
    thermal = model.thermal
    return np.asarray(1.0 - thermal.throttle_share * np.clip(inlet_c - thermal.throttle_inlet_c, 0.0, 1.0))


def rail_voltage(model: ModelPhysics, level: Floats) -> Floats:
    """Hash board voltage: its minimum up to the floor, then rising with frequency."""
    floor = model.floor_ths / model.rated_hashrate_ths
    slope = (model.rated_voltage_v - model.floor_voltage_v) / max(1.0 - floor, 0.05)
    return np.asarray(model.floor_voltage_v + slope * np.maximum(0.0, level - floor))


def _reference_power(
    model: ModelPhysics,
    table: CurveTable,
    units: Units,
    level: Floats,
    age_days: Floats | float,
    missing: Floats | float,
) -> Floats:
    """Power at the inlet temperature that the curve is for."""
    bent = np.maximum(level, _LOWEST_LEVEL) ** units.exponent
    base = np.interp(level, table.level, table.power_w)
    lost = 1.0 - MISSING_POWER_SHARE * np.asarray(missing)
    return np.asarray(base * units.power * _aged_power(model, age_days) * bent * lost)


def _aged_power(model: ModelPhysics, age_days: Floats | float) -> Floats:
    return np.asarray(1.0 + model.drift.power_per_day * _worn_days(model, age_days))


def _worn_days(model: ModelPhysics, age_days: Floats | float) -> Floats:
    return np.asarray(np.minimum(age_days, model.drift.ends_after_days))


def _against_reference(
    model: ModelPhysics,
    units: Units,
    power_w: Floats,
    chip_c: Floats,
    speed: Floats,
    age_days: Floats | float,
) -> tuple[Floats, Floats]:
    """What the curve does not hold: a factor for warmer chips and watts for faster fans."""
    thermal = model.thermal
    reference = np.asarray(thermal.reference_inlet_c)
    usual_c, usual_speed = heat(model, units, power_w, reference, age_days=age_days)
    leakage = np.maximum(0.5, 1.0 + thermal.power_per_c * (chip_c - usual_c))
    return np.asarray(leakage), np.asarray(thermal.fan_full_w * (speed**3 - usual_speed**3))


def _monotone_cubic(x: Floats, y: Floats, at: Floats) -> Floats:
    """Fritsch-Carlson interpolation; beyond the ends the end slopes go on."""
    step = np.diff(x)
    slope = np.diff(y) / step
    inner = np.zeros(len(x) - 2)
    same = slope[:-1] * slope[1:] > 0.0
    left, right = 2.0 * step[1:] + step[:-1], step[1:] + 2.0 * step[:-1]
    inner[same] = ((left + right) / (left / slope[:-1] + right / slope[1:]))[same]
    tangent = np.concatenate(([slope[0]], inner, [slope[-1]]))
    place = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(x) - 2)
    width = step[place]
    t = np.clip((at - x[place]) / width, 0.0, 1.0)
    value = (
        (1.0 + 2.0 * t) * (1.0 - t) ** 2 * y[place]
        + t * (1.0 - t) ** 2 * width * tangent[place]
        + t**2 * (3.0 - 2.0 * t) * y[place + 1]
        + t**2 * (t - 1.0) * width * tangent[place + 1]
    )
    beyond = tangent[0] * np.minimum(at - x[0], 0.0) + tangent[-1] * np.maximum(at - x[-1], 0.0)
    return np.asarray(value + beyond)

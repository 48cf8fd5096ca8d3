"""The profiles that LuxOS makes for a unit: steps of 25 MHz around the nameplate, with estimated figures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simulator.physics import curve_table, rail_voltage
from simulator.physics_file import ModelPhysics

DEFAULT = "default"
_STEP_MHZ = 25.0
_STEPS_BELOW = 16
_STEPS_ABOVE = 8
_LOWEST_LEVEL = 0.3
_HIGHEST_LEVEL = 1.4
_SELECTOR = re.compile(r"(\d{1,7}(?:\.\d{1,2})?)(THs|kW|W)")
_RELATIVE = re.compile(r"[+-]\d{1,2}")


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile. `level` is its frequency as a share of the default one; `step` counts from the default."""

    name: str
    step: int
    level: float
    frequency_mhz: float
    voltage_v: float
    hashrate_ths: float
    watts: int


def profiles_of(model: ModelPhysics) -> tuple[Profile, ...]:
    """Every profile of a model, slowest first; the watts are of an average unit at reference conditions."""
    rated_mhz = model.rated_frequency_mhz
    table = curve_table(model)
    found = []
    for step in range(-_STEPS_BELOW, _STEPS_ABOVE + 1):
        mhz = rated_mhz + step * _STEP_MHZ
        level = mhz / rated_mhz
        if not _LOWEST_LEVEL <= level <= _HIGHEST_LEVEL:
            continue
        found.append(
            Profile(
                name=DEFAULT if step == 0 else f"{mhz:g}MHz",
                step=step,
                level=level,
                frequency_mhz=mhz,
                voltage_v=round(float(rail_voltage(model, np.array([level]))[0]), 2),
                hashrate_ths=round(model.rated_hashrate_ths * level, 1),
                watts=round(float(np.interp(level, table.level, table.power_w))),
            )
        )
    return tuple(found)


def nearest(profiles: Sequence[Profile], watts: float) -> Profile:
    """The profile whose watts come closest."""
    return min(profiles, key=lambda profile: abs(profile.watts - watts))


def find(profiles: Sequence[Profile], text: str, active: Profile) -> Profile | None:
    """The profile that a `profileset` names: by name, step from the active one, TH/s, kW or W."""
    for profile in profiles:
        if profile.name == text:
            return profile
    if _RELATIVE.fullmatch(text):
        wanted = active.step + int(text)
        return next((profile for profile in profiles if profile.step == wanted), None)
    selector = _SELECTOR.fullmatch(text)
    if selector is None:
        return None
    value, unit = float(selector[1]), selector[2]
    if unit == "THs":
        return next((profile for profile in profiles if profile.hashrate_ths == round(value, 1)), None)
    watts = value * 1000.0 if unit == "kW" else value
    tolerance = 5.0 if unit == "kW" else 0.5
    return next((profile for profile in profiles if abs(profile.watts - watts) <= tolerance), None)

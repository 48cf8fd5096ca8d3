"""The farm of a backtest: every unit's candidate settings, and what each truly brings at any temperature.

The units are those that `hashmargin simulate` runs for the same farm file and seed. What is left out:
faults of the wire, noise of readings, and ageing within the span.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.clock import ManualClock
from agent.errors import InputError
from agent.hardware.bounds import Bounds
from agent.hardware.catalogue import Catalogue
from agent.hardware.profile import HardwareProfile
from agent.hardware.shares import safe_setting
from agent.planner.candidates import Candidates, Choices, build_candidates
from agent.setting import Knob, Setting
from simulator.backtest.unit_tables import settings_tables
from simulator.farm import FarmMiner, FarmSpec
from simulator.machine import Machine
from simulator.peers.luxos.profiles import profiles_of
from simulator.peers.vnish.presets import presets_of
from simulator.physics import Units
from simulator.physics_file import ModelPhysics

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_TUNERS = ("luxos", "braiins", "vnish")
# BraiinsOS takes targets in this range, as shares of rated watts.
_BRAIINS_SHARES = (0.4, 1.25)
# The grid of outside temperatures in C; beyond its ends the ends hold.
_STEP_C = 1.0
_COLDEST_C, _HOTTEST_C = -40.0, 60.0


@dataclass(frozen=True, slots=True)
class FarmUnit:
    """One unit: what the agent knows of it, and its true physics (arrays of one)."""

    miner: FarmMiner
    profile: HardwareProfile | None
    firmware: str
    model: ModelPhysics
    units: Units
    tuner: bool

    @property
    def missing(self) -> float:
        """Share of the hashrate that is not there."""
        lost = list(self.miner.missing_boards)
        return float(self.units.board_weights[0, lost].sum()) if lost else 0.0


class UnitName(NamedTuple):
    """How reports call a unit."""

    address: str
    model: str
    firmware: str


@dataclass(frozen=True, slots=True)
class BacktestFarm:
    """N units with K candidate settings each, K being that of the unit with the most.

    Args:
        names: of every unit.
        units: their physics; empty where the tables come from elsewhere.
        candidates: of every unit, standing at its nominal setting.
        outside_c: [J] outside temperatures, evenly spaced and rising.
        hashrate_ths, power_w, chip_c, level, fan: [J,N,K] truth; NaN where there is no candidate. `level` is
            frequency and `fan` speed, as shares of rated and of full.
        chip_max_c: [N] limit of the profile, NaN where none is known.
        restarts_per_day: [N] wear budget of the profile.
        offset_c: [N] by which the air at the unit is warmer than outside, its rack apart.
        left_out: units of the farm file that are not among them, by reason.
    """

    names: tuple[UnitName, ...]
    units: tuple[FarmUnit, ...]
    candidates: Candidates
    outside_c: Floats
    hashrate_ths: Floats
    power_w: Floats
    chip_c: Floats
    level: Floats
    fan: Floats
    chip_max_c: Floats
    restarts_per_day: Ints
    offset_c: Floats
    left_out: dict[str, int]

    @property
    def exists(self) -> Bools:
        """[N,K] where there is a candidate."""
        return np.isfinite(self.candidates.shares)

    @property
    def start(self) -> Ints:
        """[N] the nominal setting, in which every unit begins."""
        return self.candidates.nominal

    def places(self, outside_c: Floats) -> Floats:
        """Place of each temperature [T] on the grid, 0 to J-1, for straight lines between its points."""
        place = (outside_c - self.outside_c[0]) / _STEP_C
        return np.asarray(np.clip(place, 0.0, len(self.outside_c) - 1.0))


def build_farm(
    spec: FarmSpec,
    outside_c: Floats,
    *,
    at: datetime | None = None,
    candidates: int = 12,
) -> BacktestFarm:
    """Units, candidates and tables of a farm file.

    Args:
        outside_c: temperatures that will occur, to size the grid by.
        at: when the units are as old as the farm file says; only their age counts from it.
        candidates: at most so many values per numeric knob.

    Raises:
        InputError: no unit has a profile with a setting to begin with.
    """
    born = at or datetime(2021, 1, 1, tzinfo=UTC)
    catalogue = Catalogue.load()
    everyone = [_unit(spec, miner, catalogue, born) for miner in spec.miners]
    chosen = [(unit, choice) for unit in everyone if (choice := _choices(unit)).nominal is not None]
    left_out = Counter(_why_not(unit) for unit in everyone if _choices(unit).nominal is None)
    if not chosen:
        raise InputError(f"{spec.file.name}: no unit that hashmargin could set: {dict(left_out)}")
    units = tuple(unit for unit, _ in chosen)
    table = build_candidates([choice for _, choice in chosen], candidates)
    grid = temperature_grid(outside_c)
    offset = np.array([spec.file.site_offset_c + unit.miner.site_offset_c for unit in units])
    shape = (len(grid), *table.shares.shape)
    tables = [np.full(shape, np.nan) for _ in range(5)]
    for rows in _alike(units, table).values():
        first = units[rows[0]]
        filled = settings_tables(
            first.model,
            _stacked([units[i].units for i in rows]),
            table.settings[rows[0]],
            grid,
            offset[rows],
            tuner=first.tuner,
            age_days=np.array([units[i].miner.age_days for i in rows]),
            missing=np.array([units[i].missing for i in rows]),
        )
        width = filled[0].shape[2]
        for whole, part in zip(tables, filled, strict=True):
            whole[:, rows, :width] = part
    return BacktestFarm(
        tuple(UnitName(unit.miner.address, unit.model.key, unit.firmware) for unit in units),
        units,
        table,
        grid,
        tables[0],
        tables[1],
        tables[2],
        tables[3],
        tables[4],
        np.array([chip_max_c(unit.profile) for unit in units]),
        np.array([wear_budget(unit.profile) for unit in units], dtype=np.int64),
        offset,
        dict(left_out),
    )


def temperature_grid(outside_c: Floats) -> Floats:
    """Whole degrees from the coldest to the warmest of temperatures, two at least."""
    low = max(np.floor(np.nanmin(outside_c)), _COLDEST_C)
    high = min(np.ceil(np.nanmax(outside_c)), _HOTTEST_C)
    return np.arange(low, max(high, low + _STEP_C) + _STEP_C / 2.0, _STEP_C)


def _unit(spec: FarmSpec, miner: FarmMiner, catalogue: Catalogue, at: datetime) -> FarmUnit:
    machine = Machine(
        miner.physics,
        seed=miner.seed,
        clock=ManualClock(at),
        mac=miner.mac,
        serial=miner.serial,
        running_for_s=0.0,
        age_days=miner.age_days,
    )
    tuner = miner.firmware in _TUNERS
    if tuner:
        machine.install_tuner()
    firmware = miner.firmware if tuner else "stock"
    return FarmUnit(miner, catalogue.find(miner.physics.key), firmware, machine.spec, machine.units, tuner)


def _choices(unit: FarmUnit) -> Choices:
    """What the live agent would find the unit to be: bounds of its profile as far as the firmware goes."""
    profile = unit.profile
    if profile is None:
        return Choices(None, None, (), None, None)
    offered = tuple(bound for bound in profile.offered_bounds(unit.firmware) if _reported(unit, bound))
    offered = tuple(_narrowed(unit, bound) for bound in offered)
    offered, nominal = settled_bounds(profile, unit.firmware, offered)
    writable = profile.status != "read-only" and unit.miner.write_enabled
    return Choices(profile, unit.firmware, offered if writable else (), nominal, nominal)


def settled_bounds(
    profile: HardwareProfile, firmware: str, offered: tuple[Bounds, ...]
) -> tuple[tuple[Bounds, ...], Setting | None]:
    """The bounds that do not undo each other, and the nominal setting inside them.

    Power percent needs no restart and counts from the power limit in force, which so stays at rated.
    """
    percent = next((bound for bound in offered if bound.knob is Knob.POWER_PERCENT), None)
    if percent is None or percent.maximum is None:
        return offered, safe_setting(profile, firmware, offered)
    kept = tuple(bound for bound in offered if bound.knob in (Knob.POWER_PERCENT, Knob.STOP))
    return kept, Setting(Knob.POWER_PERCENT, percent.maximum)


def _why_not(unit: FarmUnit) -> str:
    if unit.profile is None:
        return f"no hardware profile for {unit.model.key}"
    return f"{unit.profile.key} with firmware {unit.firmware} has no setting to begin with"


def _reported(unit: FarmUnit, bound: Bounds) -> bool:
    if bound.knob is Knob.POWER_PERCENT and unit.tuner:
        # Presets go further than a throttle, which counts from one of them.
        return False
    return bound.knob is not Knob.HASHRATE_PERCENT or unit.miner.offers_hashrate_percent


def _narrowed(unit: FarmUnit, bound: Bounds) -> Bounds:
    """A bound inside what the unit's firmware says it takes."""
    if bound.knob is Knob.WORK_MODE and bound.choices is not None:
        known = ("normal", "sleep", *unit.model.modes)
        return bound.intersect(Bounds(bound.knob, choices=known, binding="firmware"))
    if bound.knob is not Knob.POWER_LIMIT_W or not unit.tuner:
        return bound
    values: tuple[float, ...] | None
    if unit.firmware == "luxos":
        values = tuple(float(profile.watts) for profile in profiles_of(unit.model))
    elif unit.firmware == "vnish":
        values = tuple(float(one.watts) for one in presets_of(unit.model) if one.tuned)
    else:
        low, high = (share * unit.model.rated_power_w for share in _BRAIINS_SHARES)
        return bound.intersect(Bounds(bound.knob, low, high, binding="firmware"))
    return bound.intersect(Bounds(bound.knob, values[0], values[-1], binding="firmware", values=values))


def _alike(units: tuple[FarmUnit, ...], table: Candidates) -> dict[tuple[object, ...], list[int]]:
    """Rows of one model, firmware and list of settings."""
    groups: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for i, unit in enumerate(units):
        groups[(unit.model.key, unit.model.variant, unit.firmware, table.settings[i])].append(i)
    return groups


def _stacked(units: list[Units]) -> Units:
    names = ("hashrate", "power", "exponent", "thermal", "inlet_c", "bias", "board_weights")
    return Units(*(np.concatenate([getattr(unit, name) for unit in units]) for name in names))


def chip_max_c(profile: HardwareProfile | None) -> float:
    """The profile's limit in C, NaN where none is known."""
    limit = None if profile is None else profile.temperatures.chip_max_c
    return float("nan") if limit is None else limit.value


def wear_budget(profile: HardwareProfile | None) -> int:
    """Restarts a day."""
    return 0 if profile is None else int(profile.restarts_per_day.value)

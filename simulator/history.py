"""A farm's telemetry over months, computed at once instead of lived through.

It uses the physics of the live machines. What happens to the units is `simulator.history_events`; writing
the columns to disk is `simulator.history_lake`.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

import numpy as np
from numpy.typing import NDArray

from agent.errors import InputError
from agent.hardware.catalogue import Catalogue
from agent.hardware.profile import HardwareProfile
from agent.telemetry import TELEMETRY_COLUMNS
from simulator.history_counters import RunningTotal
from simulator.history_events import Menu, Segments, live
from simulator.history_faults import (
    FADE_ERRORS,
    FADE_POWER,
    FAN_THERMAL,
    SiteFaults,
    UnitFaults,
    draw_site_faults,
    draw_unit_faults,
)
from simulator.physics import (
    CurveTable,
    Units,
    curve_table,
    draw_units,
    hashrate_at,
    heat,
    level_for_power,
    operate,
    rail_voltage,
    throttle,
)
from simulator.physics_file import ModelPhysics
from simulator.snapshot import HASHES_PER_DIFFICULTY
from simulator.weather import Ambient

Floats = NDArray[np.float64]
Columns = dict[str, Floats]
_DAY_S = 86400.0
_DROPPED = 0.002
_RATE_LOOKBACK_S = 30.0
_METER_NOISE = 0.003
_METER_SPREAD = 0.005
_HW_ERRORS_PER_TH = 1e-4


@dataclass(frozen=True, slots=True)
class HistoryPlan:
    """What history to make.

    Args:
        models: with how many units each; at least one unit in all.
        ambient: temperature at the site over Unix seconds.
        first: first day.
        days, step_s: length and distance of readings.
        seed: of everything drawn.
        site_id: the lake's site.
        metered: share of the units without a power reading of their own that hang on a meter.
        bench: share of the units without a fine knob that are run through frequency levels all the same.
    """

    models: tuple[tuple[ModelPhysics, int], ...]
    ambient: Ambient
    first: date
    days: int
    step_s: int = 300
    seed: int = 1
    site_id: str = "sim"
    metered: float = 0.5
    bench: float = 0.5

    def __post_init__(self) -> None:
        if not 1 <= self.days <= 3660:
            raise InputError(f"{self.days} days: expected 1 to 3660")
        if not 10 <= self.step_s <= 3600 or 86400 % self.step_s:
            raise InputError(f"a step of {self.step_s} s: expected 10 to 3600 that divides a day")
        if not 0.0 <= self.metered <= 1.0 or not 0.0 <= self.bench <= 1.0:
            raise InputError("metered and bench are shares from 0 to 1")
        if not 1 <= sum(count for _, count in self.models) <= 100_000:
            raise InputError("history needs 1 to 100000 miners")

    def site_faults(self) -> SiteFaults:
        """What befalls all units; the same for every model."""
        rng = np.random.default_rng([self.seed & 0xFFFFFFFF, zlib.crc32(b"site")])
        return draw_site_faults(rng, self.start_s, self.start_s + self.days * _DAY_S)

    @property
    def start_s(self) -> float:
        """Unix seconds of the first reading."""
        return datetime(self.first.year, self.first.month, self.first.day, tzinfo=UTC).timestamp()


class HistoryGroup:
    """The units of one model: their lives, and the counters that run on from chunk to chunk."""

    def __init__(self, plan: HistoryPlan, model: ModelPhysics, count: int) -> None:
        self.plan = plan
        self.model = model
        self.count = count
        # Units of two sets of parameters are different units.
        curve = zlib.crc32(repr(model.curve_points).encode())
        name = f"{model.key}#{model.variant}.{curve:x}" if model.variant else model.key
        self.profile: HardwareProfile | None = Catalogue.load().find(model.key)
        self.rng = np.random.default_rng([plan.seed & 0xFFFFFFFF, zlib.crc32(name.encode())])
        self.units: Units = draw_units(model, self.rng, count)
        self.table: CurveTable = curve_table(model)
        self.age_days = self.rng.uniform(0.0, 800.0, count)
        self.meter = self.rng.normal(1.0, _METER_SPREAD, count)
        self.delay_s = np.round(self.rng.uniform(0.0, min(20.0, plan.step_s / 3.0), count), 3)
        self.has_meter = self.rng.random(count) < plan.metered
        self.miner_ids = [
            "02:51:"
            + ":".join(f"{b:02x}" for b in zlib.crc32(f"{plan.seed} {name} {i}".encode()).to_bytes(4, "big"))
            for i in range(count)
        ]
        # Faults draw from a source of their own, so that more of them do not change the settings.
        drawn = np.random.default_rng([plan.seed & 0xFFFFFFFF, zlib.crc32(name.encode()), 1])
        end_s = plan.start_s + plan.days * _DAY_S
        self.site = plan.site_faults()
        self.faults: list[UnitFaults] = [
            draw_unit_faults(drawn, plan.start_s, end_s, model.fans) for _ in range(count)
        ]
        # The cooler boards stay this far below the hottest.
        self.board_spread_c = 1.0 + 1.5 * drawn.uniform(0.4, 1.0, count) if model.boards > 1 else None
        self.lives = self._live()
        self.full_power = self._full_power()
        rated = [self._rated(i) for i in range(count)]
        self.rated_ths, self.rated_w = (np.array(side) for side in zip(*rated, strict=True))
        # TH, TH thrown away by the pool, and errors.
        self.hashed, self.wasted, self.errors = (
            RunningTotal(count, plan.step_s, model.timing) for _ in range(3)
        )

    def _live(self) -> list[Segments]:
        plan, thermal = self.plan, self.model.thermal
        times = evenly(plan.start_s, 300.0, int(plan.days * _DAY_S / 300.0))
        air = np.asarray(plan.ambient(times))
        lives = []
        for i in range(self.count):
            menu = Menu(self.model, self.profile, bool(self.rng.random() < plan.bench))
            inlet = np.maximum(air + self.units.inlet_c[i], thermal.inlet_minimum_c)
            above = np.asarray(inlet > thermal.protect_inlet_c)
            below = np.asarray(inlet < thermal.protect_inlet_c - thermal.resume_margin_c)
            lives.append(
                live(
                    self.model,
                    menu,
                    self.rng,
                    plan.start_s,
                    plan.start_s + plan.days * _DAY_S,
                    (times, above, below),
                    self.units.board_weights[i],
                    self.site,
                    self.faults[i],
                )
            )
        return lives

    def _full_power(self) -> Floats:
        """What each unit settles at under its factory limit; power percent counts from it."""
        control, ones = self.model.power_control, np.ones(self.count)
        inlet = 25.0 * ones
        free = operate(self.model, self.table, self.units, ones, inlet, age_days=self.age_days).power_w
        if control is None:
            return free
        limit = control.default_limit * self.model.rated_power_w * (1.0 - control.headroom) / self.units.bias
        return np.minimum(free, limit)

    def _rated(self, unit: int) -> tuple[float, float]:
        """Rated figures as the agent takes them: of the bin nearest to what the unit says it should do."""
        if self.profile is None:
            return self.model.rated_hashrate_ths, self.model.rated_power_w
        if not self.profile.bins:
            return self.profile.rated_hashrate_ths.value, self.profile.rated_power_w.value
        label = self._label_ths[unit]
        nearest = min(self.profile.bins, key=lambda b: abs(b.hashrate_ths - label))
        return nearest.hashrate_ths, nearest.power_w

    @property
    def _label_ths(self) -> Floats:
        measured = self.units.hashrate if self.model.vendor == "microbt" else np.ones(self.count)
        return np.asarray(self.model.rated_hashrate_ths * measured)

    # -- one stretch of time ---------------------------------------------------------------------

    def rows(self, times: Floats) -> tuple[Floats, Columns, NDArray[np.bool_]]:
        """Readings of every unit at every time: [N,T] times, [N,T] columns, and which of them were taken."""
        model, units = self.model, _columns_of(self.units)
        at = times[None, :] + self.delay_s[:, None]
        seg, keep = self._segments(at)
        keep &= self.rng.random(at.shape) >= _DROPPED
        age = self.age_days[:, None] + (at - self.plan.start_s) / _DAY_S
        ambient = np.broadcast_to(np.asarray(self.plan.ambient(times))[None, :], at.shape)
        inlet = np.maximum(ambient + units.inlet_c, model.thermal.inlet_minimum_c)
        faded = np.stack([faults.faded(at[i]) for i, faults in enumerate(self.faults)])
        fan_out = np.stack([faults.fan_out(at[i]) for i, faults in enumerate(self.faults)])
        if fan_out.any():
            units = replace(units, thermal=units.thermal * np.where(fan_out, FAN_THERMAL, 1.0))
        hashing = (seg["hashing"] > 0.0) & (at >= seg["ramp_s"])
        aim = self._level(seg, units, inlet, age)
        level = np.where(hashing, aim * _ramp(model, seg, at), 0.0)
        steady = operate(model, self.table, units, level, inlet, age_days=age, missing=seg["missing"])
        lagged = at - model.timing.hash_lag_s - _RATE_LOOKBACK_S
        follows = np.where(lagged >= seg["ramp_s"], _ramp(model, seg, lagged), 0.0)
        soft = seg["ramp_s"] > seg["process_s"] + model.timing.init_s + 1.0
        follows = np.where(soft & (lagged < seg["ramp_s"]), seg["ramp_first"], follows)
        true_rate = hashrate_at(model, units, aim * follows, age, seg["missing"])
        true_rate = np.where(hashing, true_rate * (1.0 - faded), 0.0)
        constant_s = model.thermal.time_constant_s
        warm = np.where(soft, 1.0, 1.0 - np.exp(-np.maximum(at - seg["ramp_s"], 0.0) / constant_s))
        cooling = 40.0 * np.exp(-np.maximum(at - seg["start_s"], 0.0) / constant_s)
        rise = np.where(hashing, (steady.chip_c - inlet) * warm, cooling)
        cold = np.maximum(0.7, 1.0 - model.thermal.power_per_c * (steady.chip_c - inlet) * (1.0 - warm))
        fade = 1.0 - FADE_POWER * faded
        power = np.where(hashing, steady.power_w * seg["power_factor"] * cold * fade, model.standby_w)
        if model.power_control is None and fan_out.any():
            # Hotter chips leak more than with all fans turning; a power limit would hold that down.
            sound, _ = heat(model, _columns_of(self.units), steady.power_w, inlet, age_days=age)
            hotter = np.where(hashing, np.maximum(steady.chip_c - sound, 0.0), 0.0)
            power = power * (1.0 + model.thermal.power_per_c * hotter)
        spinning = np.where(fan_out, 1.0 - 1.0 / max(model.fans, 1), 1.0) * steady.fan
        columns = self._telemetry(at, seg, level, true_rate, power, ambient, inlet, rise, spinning, hashing)
        wear = true_rate * _HW_ERRORS_PER_TH * (1.0 + FADE_ERRORS * faded)
        if model.vendor == "bitmain":
            columns["hw_errors"] = np.floor(self.errors.add(columns["uptime_s"], seg["process_s"], wear))
        return at, columns, keep

    def _segments(self, at: Floats) -> tuple[dict[str, Floats], NDArray[np.bool_]]:
        names = (
            "start_s", "share", "aim", "value", "power_factor", "hashing", "missing", "process_s",
            "ramp_s", "ramp_span_s", "ramp_first", "says_mode", "says_limit_w", "says_percent",
            "says_hashrate_percent",
        )  # fmt: skip
        out = {name: np.empty(at.shape) for name in names}
        keep = np.ones(at.shape, dtype=np.bool_)
        for i, life in enumerate(self.lives):
            place = np.searchsorted(life.start_s, at[i], side="right") - 1
            for name in names:
                out[name][i] = getattr(life, name)[place]
            for begin, end in life.silences:
                low, high = np.searchsorted(at[i], (begin, end))
                keep[i, low:high] = False
        return out, keep

    def _level(self, seg: dict[str, Floats], units: Units, inlet: Floats, age: Floats) -> Floats:
        """Frequency level that the setting leads to in the steady state."""
        model, control = self.model, self.model.power_control
        free = throttle(model, inlet)
        if control is None:
            return np.asarray(seg["value"] * free)
        limit = control.default_limit * model.rated_power_w
        watts = np.where(seg["aim"] == 1.0, seg["value"], limit) * (1.0 - control.headroom) / units.bias
        percent = np.where(seg["aim"] == 2.0, seg["value"], 1.0) * self.full_power[:, None]
        watts = np.where(seg["aim"] == 2.0, np.minimum(watts, percent), watts)
        held = level_for_power(model, self.table, units, watts, inlet, age_days=age, missing=seg["missing"])
        return np.minimum(held, free)

    def _telemetry(
        self,
        at: Floats,
        seg: dict[str, Floats],
        level: Floats,
        true_rate: Floats,
        power: Floats,
        ambient: Floats,
        inlet: Floats,
        rise: Floats,
        fan: Floats,
        hashing: NDArray[np.bool_],
    ) -> Columns:
        model, noise = self.model, self.model.noise
        bitmain, thermal = model.vendor == "bitmain", self.model.thermal
        shape, unknown = at.shape, np.full(at.shape, np.nan)
        uptime = np.maximum(0.0, at - seg["process_s"])
        hashed = self.hashed.add(uptime, seg["process_s"], true_rate)
        loss = self.wasted.add(uptime, seg["process_s"], true_rate * self.site.pool_loss(at) / 2.0)
        per_th = 1e12 / (model.shares.difficulty * HASHES_PER_DIFFICULTY)
        shares, thrown = hashed * per_th, loss * per_th
        rejected = np.floor(shares * model.shares.rejected + thrown)
        stale = np.floor(shares * model.shares.stale + thrown)
        fans = np.where(hashing, fan * thermal.fan_full_rpm, thermal.fan_idle_rpm)
        expected = np.where(seg["aim"] == 0.0, seg["value"], 1.0) * model.rated_hashrate_ths
        boards = model.boards - np.round(seg["missing"] * model.boards)
        wobble = noise.temperature_c
        chip = inlet + rise + self._draw(shape, wobble)
        below = thermal.board_below_chip_c * np.minimum(1.0, rise / 30.0)
        reports_inlet = model.firmware == "antminer-new"
        columns = {
            "hashrate_ths": true_rate * (1.0 + self._draw(shape, noise.hashrate_1m)),
            "hashrate_avg_ths": np.where(uptime > 0.0, hashed / np.maximum(uptime, 1.0), 0.0),
            "hashrate_expected_ths": expected if bitmain else _over(self._label_ths, shape),
            "power_w": self._power(power),
            "setting_share": seg["share"],
            "is_hashing": (true_rate > 0.0).astype(np.float64),
            "chip_temp_c": chip,
            "board_temp_c": chip - below + self._draw(shape, wobble / 2.0),
            "inlet_temp_c": inlet + self._draw(shape, wobble) if reports_inlet else unknown,
            "ambient_temp_c": unknown if bitmain else ambient + self._draw(shape, wobble),
            "fan_rpm": fans * (1.0 + self._draw(shape, noise.fan)) if model.fans else unknown,
            "voltage_v": rail_voltage(model, level) if model.firmware == "whatsminer-v2" else unknown,
            "frequency_mhz": level * model.rated_frequency_mhz,
            "boards_hashing": np.where(true_rate > 0.0, boards, 0.0),
            "boards_expected": np.full(shape, float(model.boards)),
            "hw_errors": unknown.copy(),
            "uptime_s": uptime,
            "shares_accepted": np.maximum(0.0, np.floor(shares) - rejected - stale),
            "shares_rejected": rejected,
            "shares_stale": stale,
            "rated_hashrate_ths": _over(self.rated_ths, shape),
            "rated_power_w": _over(self.rated_w, shape),
            "power_limit_w": seg["says_limit_w"],
            "power_percent": seg["says_percent"],
            "hashrate_percent": seg["says_hashrate_percent"],
            "work_mode_code": seg["says_mode"],
            "share_difficulty": np.full(shape, _shown_difficulty(model)),
        }
        columns |= self._spreads(shape, rise, boards)
        columns |= {column.name: unknown.copy() for column in TELEMETRY_COLUMNS if column.name not in columns}
        for column in TELEMETRY_COLUMNS:
            np.clip(columns[column.name], column.minimum, column.maximum, out=columns[column.name])
        return columns

    def _spreads(self, shape: tuple[int, ...], rise: Floats, boards: Floats) -> Columns:
        """Hottest less coolest board: at the chips, and at the boards themselves."""
        if self.board_spread_c is None:
            return {}
        out: Columns = {}
        for name in ("chip_temp_spread_c", "board_temp_spread_c"):
            apart = np.minimum(self.board_spread_c[:, None], np.maximum(rise, 0.0))
            wobble = np.abs(self._draw(shape, self.model.noise.temperature_c))
            out[name] = np.where(boards > 1.0, apart + np.where(rise > 5.0, wobble, 0.0), np.nan)
        return out

    def _power(self, power: Floats) -> Floats:
        noise, sensor = self.model.noise.power, self.model.sensor
        if sensor is not None:
            return power * self.units.bias[:, None] * (1.0 + self._draw(power.shape, noise))
        metered = power * self.meter[:, None] * (1.0 + self._draw(power.shape, _METER_NOISE))
        return np.where(self.has_meter[:, None], metered, np.nan)

    def _draw(self, shape: tuple[int, ...], deviation: float) -> Floats:
        if deviation == 0.0:
            return np.zeros(shape)
        drawn = self.rng.standard_normal(shape, dtype=np.float32)
        return np.asarray(np.clip(drawn, -4.0, 4.0) * deviation, dtype=np.float64)

    @property
    def power_source(self) -> list[str | None]:
        """Per unit, as the lake says it."""
        if self.model.sensor is not None:
            return [self.model.sensor.source] * self.count
        return ["metered" if meter else None for meter in self.has_meter]


def evenly(start_s: float, step_s: float, count: int) -> Floats:
    """`count` times, `step_s` apart."""
    return np.asarray(start_s + step_s * np.arange(count), dtype=np.float64)


def _columns_of(units: Units) -> Units:
    """Units as [N,1] columns, to stand beside times."""
    return Units(
        units.hashrate[:, None],
        units.power[:, None],
        units.exponent[:, None],
        units.thermal[:, None],
        units.inlet_c[:, None],
        units.bias[:, None],
        units.board_weights,
    )


def _ramp(model: ModelPhysics, seg: dict[str, Floats], at: Floats) -> Floats:
    """Share of the target frequency on the way to it."""
    done = np.clip((at - seg["ramp_s"]) / seg["ramp_span_s"], 0.0, 1.0)
    steps = model.timing.ramp_steps
    return np.asarray(seg["ramp_first"] + (1.0 - seg["ramp_first"]) * np.floor(done * steps) / steps)


def _shown_difficulty(model: ModelPhysics) -> float:
    """As the pool table shows it: Antminers in whole thousands."""
    whole = 1000.0 if model.vendor == "bitmain" else 1.0
    return float(np.floor(model.shares.difficulty / whole) * whole)


def _over(values: Floats, shape: tuple[int, ...]) -> Floats:
    return np.repeat(values[:, None], shape[1], axis=1)

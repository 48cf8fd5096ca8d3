"""A farm's telemetry over months, computed at once instead of lived through.

It uses the physics of the live machines. What happens to the units is `simulator.history_events`; writing
the columns to disk is `simulator.history_lake`.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
from numpy.typing import NDArray

from agent.errors import InputError
from agent.hardware.catalogue import Catalogue
from agent.hardware.profile import HardwareProfile
from agent.telemetry import TELEMETRY_COLUMNS
from simulator.history_events import Menu, Segments, live
from simulator.physics import (
    CurveTable,
    Units,
    curve_table,
    draw_units,
    hashrate_at,
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
        self.profile: HardwareProfile | None = Catalogue.load().find(model.key)
        self.rng = np.random.default_rng([plan.seed & 0xFFFFFFFF, zlib.crc32(model.key.encode())])
        self.units: Units = draw_units(model, self.rng, count)
        self.table: CurveTable = curve_table(model)
        self.age_days = self.rng.uniform(0.0, 800.0, count)
        self.meter = self.rng.normal(1.0, _METER_SPREAD, count)
        self.delay_s = np.round(self.rng.uniform(0.0, min(20.0, plan.step_s / 3.0), count), 3)
        self.has_meter = self.rng.random(count) < plan.metered
        self.miner_ids = [
            "02:51:"
            + ":".join(
                f"{b:02x}" for b in zlib.crc32(f"{plan.seed} {model.key} {i}".encode()).to_bytes(4, "big")
            )
            for i in range(count)
        ]
        self.lives = self._live()
        self.full_power = self._full_power()
        rated = [self._rated(i) for i in range(count)]
        self.rated_ths, self.rated_w = (np.array(side) for side in zip(*rated, strict=True))
        # Counters: TH so far, and what they were when the present process started.
        self.total_th = np.zeros(count)
        self.base_th = np.zeros(count)
        self.process_s = np.full(count, -np.inf)
        self.rate_ths = np.zeros(count)

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
        hashing = (seg["hashing"] > 0.0) & (at >= seg["ramp_s"])
        aim = self._level(seg, units, inlet, age)
        level = np.where(hashing, aim * _ramp(model, seg, at), 0.0)
        steady = operate(model, self.table, units, level, inlet, age_days=age, missing=seg["missing"])
        lagged = at - model.timing.hash_lag_s - _RATE_LOOKBACK_S
        follows = np.where(lagged >= seg["ramp_s"], _ramp(model, seg, lagged), 0.0)
        soft = seg["ramp_s"] > seg["process_s"] + model.timing.init_s + 1.0
        follows = np.where(soft & (lagged < seg["ramp_s"]), seg["ramp_first"], follows)
        true_rate = hashrate_at(model, units, aim * follows, age, seg["missing"])
        true_rate = np.where(hashing, true_rate, 0.0)
        constant_s = model.thermal.time_constant_s
        warm = np.where(soft, 1.0, 1.0 - np.exp(-np.maximum(at - seg["ramp_s"], 0.0) / constant_s))
        cooling = 40.0 * np.exp(-np.maximum(at - seg["start_s"], 0.0) / constant_s)
        rise = np.where(hashing, (steady.chip_c - inlet) * warm, cooling)
        cold = np.maximum(0.7, 1.0 - model.thermal.power_per_c * (steady.chip_c - inlet) * (1.0 - warm))
        power = np.where(hashing, steady.power_w * seg["power_factor"] * cold, model.standby_w)
        columns = self._telemetry(at, seg, level, true_rate, power, ambient, inlet, rise, steady.fan, hashing)
        return at, columns, keep

    def _segments(self, at: Floats) -> tuple[dict[str, Floats], NDArray[np.bool_]]:
        names = (
            "start_s", "share", "aim", "value", "power_factor", "hashing", "missing", "process_s",
            "ramp_s", "ramp_span_s", "ramp_first",
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
        hashed, uptime = self._count(at, seg["process_s"], true_rate)
        shares = hashed * 1e12 / (model.shares.difficulty * HASHES_PER_DIFFICULTY)
        rejected, stale = np.floor(shares * model.shares.rejected), np.floor(shares * model.shares.stale)
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
            "hw_errors": np.floor(hashed * _HW_ERRORS_PER_TH) if bitmain else unknown,
            "uptime_s": uptime,
            "shares_accepted": np.maximum(0.0, np.floor(shares) - rejected - stale),
            "shares_rejected": rejected,
            "shares_stale": stale,
            "rated_hashrate_ths": _over(self.rated_ths, shape),
            "rated_power_w": _over(self.rated_w, shape),
        }
        for column in TELEMETRY_COLUMNS:
            np.clip(columns[column.name], column.minimum, column.maximum, out=columns[column.name])
        return columns

    def _power(self, power: Floats) -> Floats:
        noise, sensor = self.model.noise.power, self.model.sensor
        if sensor is not None:
            return power * self.units.bias[:, None] * (1.0 + self._draw(power.shape, noise))
        metered = power * self.meter[:, None] * (1.0 + self._draw(power.shape, _METER_NOISE))
        return np.where(self.has_meter[:, None], metered, np.nan)

    def _count(self, at: Floats, process_s: Floats, rate: Floats) -> tuple[Floats, Floats]:
        """TH since the process in force started, and its uptime; carries on from the stretch before."""
        uptime = np.maximum(0.0, at - process_s)
        changes = np.concatenate(
            ((process_s[:, 0] != self.process_s)[:, None], process_s[:, 1:] != process_s[:, :-1]), axis=1
        )
        previous = np.concatenate((self.rate_ths[:, None], rate[:, :-1]), axis=1)
        steps = self.plan.step_s * (np.where(changes, 0.0, previous) + rate) / 2.0
        total = self.total_th[:, None] + np.cumsum(steps, axis=1)
        before = np.concatenate((self.total_th[:, None], total[:, :-1]), axis=1)
        base = np.where(changes, before, -np.inf)
        base[:, 0] = np.where(changes[:, 0], before[:, 0], self.base_th)
        # A process that began before the history has hashed since.
        timing = self.model.timing
        idle = timing.init_s + timing.ramp_s / 2.0
        older = np.isinf(self.process_s)
        base[older, 0] = -rate[older, 0] * np.maximum(uptime[older, 0] - idle, 0.0)
        base = np.maximum.accumulate(base, axis=1)
        self.total_th, self.base_th = total[:, -1].copy(), base[:, -1].copy()
        self.process_s, self.rate_ths = process_s[:, -1].copy(), rate[:, -1].copy()
        worked = rate * np.maximum(uptime - timing.init_s, 0.0)
        young = uptime <= self.plan.step_s
        return np.where(young, np.minimum(total - base, worked), total - base), uptime

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


def _over(values: Floats, shape: tuple[int, ...]) -> Floats:
    return np.repeat(values[:, None], shape[1], axis=1)

"""How a machine moves through time: restarts, ramps, heat, protection, and the hashes summed up on the way.

It knows settings and physics but no commands; those are `simulator.machine`'s. Everything is a function of
time and of the events so far, never of how often somebody looked.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simulator.machine_state import Phase
from simulator.physics import (
    Operation,
    Units,
    curve_table,
    hashrate_at,
    level_for_power,
    operate,
    throttle,
)
from simulator.physics_file import Mode, ModelPhysics
from simulator.weather import Ambient

Floats = NDArray[np.float64]
_KNOT_S = 30.0
_CHUNKS = (128, 2880)
# A jump further than this is taken in coarser steps, so that it costs no more than a month.
_FINE_JUMP_S = 30 * 86400.0
_PROTECT_HOLD_S = 600.0
_DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What has been asked of the machine. `percent_of_w`: the watts that 100 percent stood for."""

    work_mode: str = "normal"
    power_mode: str = "normal"
    power_limit_w: float | None = None
    power_percent: float = 100.0
    percent_of_w: float = 0.0
    hashrate_percent: float = 100.0
    target_freq_percent: float = 0.0
    voltage_percent: float = 100.0
    mining: bool = True
    fan_manual: bool = False
    fan_pwm: int = 100

    @property
    def asleep(self) -> bool:
        """True where nothing shall hash."""
        return self.work_mode == "sleep" or not self.mining


@dataclass(frozen=True, slots=True)
class Ramp:
    """How the frequency approaches its target from `start_s` on; earlier it is at `before` of it."""

    start_s: float
    duration_s: float
    first: float
    before: float
    steps: int
    lag_s: float

    def at(self, t: Floats) -> Floats:
        """Share of the target frequency at times `t`."""
        done = np.clip((t - self.start_s) / self.duration_s, 0.0, 1.0)
        share = self.first + (1.0 - self.first) * np.floor(done * self.steps) / self.steps
        return np.where(t < self.start_s, self.before, share)

    @property
    def end_s(self) -> float:
        """When the hashrate, too, has arrived."""
        return self.start_s + self.duration_s + self.lag_s


class Dynamics:
    """The moving parts of one machine. Times are its own seconds, which never run backwards.

    Args:
        spec, units: the model and this one unit of it.
        ambient: temperature around it over Unix seconds.
        settings: to begin with.
        start_s: when it is switched on.
        born_s: when it was new.
    """

    def __init__(
        self,
        spec: ModelPhysics,
        units: Units,
        ambient: Ambient,
        settings: Settings,
        *,
        start_s: float,
        born_s: float,
    ) -> None:
        self.spec = spec
        self.units = units
        self.ambient = ambient
        self.settings = settings
        self.missing: tuple[int, ...] = ()
        self.powered = True
        self.protect_since_s: float | None = None
        self.unstable_at_s: float | None = None
        self.knots: deque[tuple[float, float]] = deque(maxlen=256)
        self._table = curve_table(spec)
        self._born_s = born_s
        self._time_s = start_s
        self._hashed = 0.0
        self._rise_c = 0.0
        self._rise_from_s = start_s
        self._heating_from_s = start_s
        self._latest_target: tuple[object, Floats] | None = None
        self.boot_s = start_s
        self.process_s = start_s
        self.ramp = Ramp(start_s, 1.0, 0.0, 0.0, 1, 0.0)
        self.boot(start_s)

    # -- events ----------------------------------------------------------------------------------

    def boot(self, now: float) -> None:
        """The control board starts, and the mining process once it is up."""
        self.boot_s = now
        self._start_process(now, now + self.spec.timing.boot_s)

    def restart(self, now: float) -> None:
        """The mining process restarts; a control board that is still booting starts it when it is up."""
        up = max(now + self.spec.timing.restart_gap_s, self.boot_s + self.spec.timing.boot_s)
        self._start_process(now, up)

    def soften(self, now: float, settings: Settings, fast: bool) -> None:
        """Move to another target without a restart."""
        timing = self.spec.timing
        at = np.array([now])
        old = float(self.target(at, self.settings)[0] * self.ramp.at(at)[0])
        new = float(self.target(at, settings)[0])
        self.mark_heat(now)
        self.knot(now)
        self.settings = settings
        if now < self.ramp.start_s or new <= 0.0:
            return
        self._heating_from_s = now
        span = timing.adjust_fast_s if fast else timing.adjust_normal_s
        left = self.ramp.start_s + self.ramp.duration_s - now
        steps = max(1, min(timing.ramp_steps, int(span / 5.0)))
        lag = min(timing.hash_lag_s, span)
        self.ramp = Ramp(now, max(span, left), old / new, old / new, steps, lag)

    def knot(self, now: float) -> None:
        """Sum up to an event, so that nothing after it changes what was hashed before."""
        self._hashed = self.hashed_at(now)
        self._time_s = max(self._time_s, now)
        self.knots.append((self._time_s, self._hashed))

    def mark_heat(self, now: float) -> None:
        """Remember how warm the chips are at an event; from here they cool or warm to the new state."""
        self._rise_c = self.rise(now)
        self._rise_from_s = now

    def _start_process(self, now: float, process_s: float) -> None:
        """The mining process begins anew: counters, averages and temporary settings go."""
        timing = self.spec.timing
        self.settings = replace(self.settings, power_percent=100.0)
        self.protect_since_s = None
        self.unstable_at_s = None
        self.process_s = process_s
        start = process_s + timing.init_s
        self._heating_from_s = start
        self.ramp = Ramp(start, timing.ramp_s, timing.ramp_from, 0.0, timing.ramp_steps, timing.hash_lag_s)
        self._time_s = now
        self._hashed = 0.0
        self.knots.clear()
        self.knots.append((now, 0.0))

    # -- passing time ----------------------------------------------------------------------------

    def advance(self, to: float) -> None:
        """Sum hashes in whole knots up to `to`, acting on what happens by itself on the way."""
        step = _KNOT_S * max(1.0, math.ceil((to - self._time_s) / _FINE_JUMP_S))
        chunk = _CHUNKS[0]
        while True:
            due = self.unstable_at_s
            limit = to if due is None else min(to, due)
            count = min(int((limit - self._time_s) / step), chunk)
            if count > 0:
                # Small chunks after something happened, larger ones the longer nothing does.
                chunk = _CHUNKS[0] if self._run(count, step) else min(2 * chunk, _CHUNKS[1])
            elif due is not None and due <= to:
                self.mark_heat(due)
                self.restart(due)
            else:
                return

    def _run(self, count: int, step: float) -> bool:
        """Pass `count` knots, or fewer if protection begins or ends; True if it did."""
        edges = np.asarray(self._time_s + step * np.arange(count + 1), dtype=np.float64)
        protected = self.protect_since_s
        if not self.powered or (self.settings.asleep and protected is None):
            self.knots.extend((float(t), self._hashed) for t in edges[-61:])
            self._time_s = float(edges[-1])
            return False
        ends = edges[1:]
        if protected is None:
            happens = self._over_temperature(ends)
        else:
            limit = self.spec.thermal.protect_inlet_c - self.spec.thermal.resume_margin_c
            happens = (self.inlet(ends) < limit) & (ends >= protected + _PROTECT_HOLD_S)
        event = bool(happens.any())
        used = int(np.argmax(happens)) + 1 if event else count
        middles = (edges[:used] + ends[:used]) / 2.0
        sums = self._hashed + np.cumsum(self.rate(middles)) * step
        self.knots.extend(zip(ends[:used].tolist(), sums.tolist(), strict=True))
        self._hashed = float(sums[-1])
        self._time_s = float(edges[used])
        if event:
            self.mark_heat(self._time_s)
            if protected is None:
                self.protect_since_s = self._time_s
            else:
                self.restart(self._time_s)
        return event

    def _over_temperature(self, t: Floats) -> NDArray[np.bool_]:
        thermal = self.spec.thermal
        inlet = self.inlet(t)
        level = self.target(t, self.settings) * self.ramp.at(t)
        warm = 1.0 - np.exp(-np.maximum(t - self._heating_from_s, 0.0) / thermal.time_constant_s)
        chip = inlet + (self.operate(level, t).chip_c - inlet) * warm
        hot = (inlet > thermal.protect_inlet_c) | (chip > thermal.protect_chip_c)
        return np.asarray((t >= self.ramp.start_s) & hot)

    # -- physics at a time -----------------------------------------------------------------------

    def inlet(self, t: Floats) -> Floats:
        """What goes into the unit, in C."""
        air = np.asarray(self.ambient(t)) + self.units.inlet_c
        return np.maximum(air, self.spec.thermal.inlet_minimum_c)

    def age_days(self, t: Floats | float) -> Floats:
        """Age in days."""
        return np.maximum(0.0, (np.asarray(t) - self._born_s) / _DAY_S)

    @property
    def missing_share(self) -> float:
        """Share of the hashrate that missing boards would have."""
        return float(self.units.board_weights[0, list(self.missing)].sum()) if self.missing else 0.0

    @property
    def mode(self) -> Mode | None:
        """The work or power mode in force where it is not the normal one."""
        return self._mode_of(self.settings)

    def _mode_of(self, settings: Settings) -> Mode | None:
        name = settings.power_mode if self.spec.vendor == "microbt" else settings.work_mode
        return next((mode for key, mode in self.spec.modes.items() if key == name), None)

    def operate(self, level: Floats, t: Floats | float) -> Operation:
        """The steady state at frequency levels and times."""
        fan = self.settings.fan_pwm / 100.0 if self.settings.fan_manual else None
        inlet = self.inlet(np.atleast_1d(np.asarray(t, dtype=np.float64)))
        age, missing = self.age_days(t), self.missing_share
        return operate(
            self.spec, self._table, self.units, level, inlet, age_days=age, missing=missing, fan=fan
        )

    def aim(self, settings: Settings) -> float:
        """Frequency level that settings ask for, power limits and heat aside."""
        mode = self._mode_of(settings)
        share = 1.0 if mode is None else mode.hashrate_share
        return share * settings.hashrate_percent / 100.0 * (1.0 + settings.target_freq_percent / 100.0)

    def target(self, t: Floats, settings: Settings) -> Floats:
        """Frequency level aimed at, at times `t`: throttled by heat, held under the power limit."""
        key = (float(t[0]), settings, self.missing) if t.size == 1 else None
        if key is None:
            return self._target(t, settings)
        # One state asks for the same moment several times.
        if self._latest_target is None or self._latest_target[0] != key:
            self._latest_target = (key, self._target(t, settings))
        return self._latest_target[1]

    def _target(self, t: Floats, settings: Settings) -> Floats:
        inlet = self.inlet(t)
        level = self.aim(settings) * throttle(self.spec, inlet)
        control = self.spec.power_control
        if control is None or settings.power_limit_w is None:
            return level
        watts = settings.power_limit_w * (1.0 - control.headroom) / float(self.units.bias[0])
        if settings.power_percent != 100.0:
            watts = min(watts, settings.power_percent / 100.0 * settings.percent_of_w)
        power, age, missing = np.full(np.shape(inlet), watts), self.age_days(t), self.missing_share
        held = level_for_power(
            self.spec, self._table, self.units, power, inlet, age_days=age, missing=missing
        )
        return np.minimum(level, held)

    @property
    def stopped(self) -> bool:
        """True where nothing hashes, whatever the ramp says."""
        return not self.powered or self.settings.asleep or self.protect_since_s is not None

    def rate(self, t: Floats) -> Floats:
        """True hashrate in TH/s: it follows the frequency, and so the power, with a lag."""
        if self.stopped:
            return np.zeros(np.shape(t))
        level = self.target(t, self.settings) * self.ramp.at(t - self.ramp.lag_s)
        return hashrate_at(self.spec, self.units, level, self.age_days(t), self.missing_share)

    def hashed_at(self, t: float) -> float:
        """TH since the process started, at a time not before the last event."""
        span = t - self._time_s
        if span <= 0.0:
            return self._hashed
        return self._hashed + float(self.rate(np.array([self._time_s + span / 2.0]))[0]) * span

    def rise(self, now: float) -> float:
        """Hottest chip over the inlet, with the lag of the heat sinks."""
        constant_s = self.spec.thermal.time_constant_s
        left = self._rise_c * math.exp(-max(0.0, now - self._rise_from_s) / constant_s)
        if self.stopped or now < self.ramp.start_s:
            return left
        at = np.array([now])
        level = self.target(at, self.settings) * self.ramp.at(at)
        steady = float(self.operate(level, now).chip_c[0] - self.inlet(at)[0])
        return left + steady * (1.0 - math.exp(-max(0.0, now - self._heating_from_s) / constant_s))

    def phase(self, t: float) -> Phase:
        """Where the machine stands in its life at time `t`."""
        if not self.powered:
            return "off"
        if t < self.boot_s + self.spec.timing.boot_s:
            return "booting"
        if self.settings.asleep:
            return "sleep"
        if self.protect_since_s is not None:
            return "protect"
        if t < self.ramp.start_s:
            return "idle"
        return "ramping" if t < self.ramp.end_s else "stable"

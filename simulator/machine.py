"""One simulated mining machine: it takes commands and can be asked for its state.

Nothing runs in the background. The machine works out its state from its clock and the commands it was
given, so two machines with one seed and one sequence of commands agree however often they are asked.
How it moves through time is `simulator.dynamics`; firmware, sockets and protocols are `simulator.peers`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from agent.clock import Clock
from agent.errors import InputError
from simulator.dynamics import Dynamics, Settings
from simulator.machine_state import POWER_MODES, WORK_MODES, BoardState, MachineState, PoolEntry
from simulator.physics import Units, draw_units
from simulator.physics_file import ModelPhysics, PowerControl, Sensor
from simulator.snapshot import Snapshot
from simulator.weather import Ambient, constant

__all__ = ["BoardState", "Machine", "MachineState", "PoolEntry"]

DEFAULT_POOLS = (
    PoolEntry("stratum+tcp://pool-a.example:3333", "farm.worker", "x"),
    PoolEntry("stratum+tcp://pool-b.example:3333", "farm.worker", "x"),
    PoolEntry("", "", ""),
)
# What firmware that tunes to watts adds to a model that leaves the factory without watt settings.
_TUNER = PowerControl(default_limit=1.0, headroom=0.0, ignored_below=0.2, unstable_below=0.35)
_TUNER_SENSOR = Sensor(source="firmware_estimate", bias=0.96, spread=0.03)
_TUNER_REACH_PERCENT = 40.0
_UNSTABLE_AFTER_S = 180.0
_RESET_LIMIT_W = 99999.0


class Machine:
    """A machine that obeys commands and can be asked for its state at any time.

    Args:
        spec: physics of its model.
        seed: decides how this unit differs from its siblings, and its noise.
        clock: gives the time; it may jump in either direction.
        mac, serial: identity.
        ambient: temperature around it, a function of Unix seconds or a constant in C.
        running_for_s: how long ago it was switched on, so that a new farm is not all booting.
        age_days: age at that moment, for drift.
        missing_boards: indices of boards that are not there.
        pools: configured pools; default two placeholders.

    Raises:
        InputError: a board index that the model does not have.
    """

    def __init__(
        self,
        spec: ModelPhysics,
        *,
        seed: int,
        clock: Clock,
        mac: str,
        serial: str,
        ambient: Ambient | float = 25.0,
        running_for_s: float = 6 * 3600.0,
        age_days: float = 0.0,
        missing_boards: Sequence[int] = (),
        pools: Sequence[PoolEntry] = DEFAULT_POOLS,
    ) -> None:
        self.spec = spec
        self.clock = clock
        self.mac = mac
        self.serial = serial
        self.pools = list(pools)
        rng = np.random.default_rng([seed & 0xFFFFFFFF, 0x6D61])
        units = draw_units(spec, rng, 1)
        texts = (spec.type_text, *spec.variants)
        type_text = texts[int(rng.integers(len(texts)))]
        version = spec.firmware_versions[int(rng.integers(len(spec.firmware_versions)))]
        self._offset_s = 0.0
        self._newest_s = clock.now().timestamp()
        start_s = self._newest_s - running_for_s
        self._dynamics = Dynamics(
            spec,
            units,
            constant(float(ambient)) if isinstance(ambient, int | float) else ambient,
            Settings(power_limit_w=self.default_power_limit_w),
            start_s=start_s,
            born_s=start_s - age_days * 86400.0,
        )
        self._snapshot = Snapshot(self._dynamics, seed, type_text, version, mac, serial)
        self._tuner_bias = float(np.random.default_rng([seed & 0xFFFFFFFF, 0x7475]).normal())
        self._has_tuner = False
        # What firmware does when the control board starts: read its configuration.
        self.on_boot: Callable[[], None] | None = None
        if missing_boards:
            self._dynamics.missing = self._checked_boards(missing_boards)

    @property
    def units(self) -> Units:
        """What distinguishes this unit from its siblings: arrays of one."""
        return self._dynamics.units

    @property
    def default_power_limit_w(self) -> float | None:
        """The limit after a factory reset, None for firmware without watt settings."""
        control = self.spec.power_control
        if control is None:
            return None
        return round(control.default_limit * self.spec.rated_power_w / 10.0) * 10.0

    def state(self) -> MachineState:
        """The machine's state at the clock's time."""
        t = self._arrive()
        return self._snapshot.at(t, self.clock.now())

    def set_work_mode(self, mode: str) -> None:
        """Antminer work mode. A change restarts the mining process; a mode the model lacks changes nothing.

        Raises:
            InputError: not a work mode at all.
        """
        if mode not in WORK_MODES:
            raise InputError(f"work mode {mode!r} is not one of {', '.join(WORK_MODES)}")
        if mode in ("normal", "sleep", *self.spec.modes):
            self._restart_with(replace(self._dynamics.settings, work_mode=mode))

    def set_power_mode(self, mode: str) -> None:
        """Whatsminer power mode low, normal or high; a change restarts the mining process.

        Raises:
            InputError: not a power mode at all.
        """
        if mode not in POWER_MODES:
            raise InputError(f"power mode {mode!r} is not one of {', '.join(POWER_MODES)}")
        if mode in ("normal", *self.spec.modes):
            self._restart_with(replace(self._dynamics.settings, power_mode=mode))

    def install_tuner(self) -> None:
        """Put firmware on an Antminer that takes watts and frequencies; nothing else changes. Twice is once.

        From now on `set_power_limit`, `set_power_target` and `set_frequency` work, also above rated, and the
        unit estimates its own watts where it has no sensor.
        """
        if self._has_tuner or self.spec.power_control is not None:
            return
        now = self._arrive()
        self._has_tuner = True
        changes: dict[str, object] = {"power_control": _TUNER}
        if self.spec.sensor is None:
            changes["sensor"] = _TUNER_SENSOR
            bias = _TUNER_SENSOR.bias + _TUNER_SENSOR.spread * min(3.0, max(-3.0, self._tuner_bias))
            self._dynamics.units = replace(self._dynamics.units, bias=np.array([bias]))
        self.spec = self.spec.model_copy(update=changes)
        self._dynamics.spec = self.spec
        self._dynamics.knot(now)

    def set_power_limit(self, watts: float) -> None:
        """Persistent limit; a change restarts the mining process. 99999 resets it; far too low is ignored."""
        settings = self._limited(watts)
        if settings is not None:
            self._restart_with(settings)

    def set_power_target(self, watts: float) -> None:
        """As `set_power_limit`, but the unit moves there without a restart."""
        self._arrive()
        settings = self._limited(watts)
        if settings is not None:
            self._soften(settings, fast=False)

    def set_frequency(self, percent: float) -> None:
        """Fixed frequency relative to normal, -100 to 40 percent, and no limit on watts; no restart."""
        self._arrive()
        if self._has_tuner and -100.0 <= percent <= _TUNER_REACH_PERCENT:
            wanted = replace(self._dynamics.settings, power_limit_w=None, target_freq_percent=float(percent))
            self._soften(wanted, fast=False)

    def _limited(self, watts: float) -> Settings | None:
        """Settings with a limit, None where the firmware ignores it."""
        control = self.spec.power_control
        if control is None or not math.isfinite(watts):
            return None
        limit_w: float | None = float(watts)
        if watts >= _RESET_LIMIT_W:
            limit_w = self.default_power_limit_w
        elif watts < control.ignored_below * self.spec.rated_power_w:
            return None
        settings = replace(self._dynamics.settings, power_limit_w=limit_w)
        return replace(settings, target_freq_percent=_TUNER_REACH_PERCENT) if self._has_tuner else settings

    def set_power_percent(self, percent: float, fast: bool = False) -> None:
        """Percent of the power the unit settles at without it; no restart, gone after the next one.

        Far too low a percent makes the unit unstable: it restarts by itself, without the percent.
        """
        control = self.spec.power_control
        if control is None or not 0.0 <= percent <= 200.0:
            return
        now = self._arrive()
        moving = self._dynamics
        whole = replace(moving.settings, power_percent=100.0)
        reference = float(moving.operate(moving.target(np.array([now]), whole), now).power_w[0])
        self._soften(replace(whole, power_percent=percent, percent_of_w=reference), fast)
        low = percent / 100.0 * reference < control.unstable_below * self.spec.rated_power_w
        moving.unstable_at_s = now + _UNSTABLE_AFTER_S if low and not moving.stopped else None

    def restore_power_percent(self) -> None:
        """Undo `set_power_percent`."""
        self._arrive()
        self._soften(replace(self._dynamics.settings, power_percent=100.0), fast=False)
        self._dynamics.unstable_at_s = None

    def set_hashrate_percent(self, percent: float) -> None:
        """Percent of rated hashrate; no restart. Nonsense is ignored."""
        self._arrive()
        if 0.0 < percent <= 150.0:
            self._soften(replace(self._dynamics.settings, hashrate_percent=float(percent)), fast=False)

    def set_target_freq(self, percent: float) -> None:
        """Frequency relative to normal mode, -100 to 100 percent; a change restarts the mining process."""
        if -100.0 <= percent <= 100.0:
            self._restart_with(replace(self._dynamics.settings, target_freq_percent=float(percent)))

    def start_mining(
        self,
        *,
        work_mode: str,
        frequency_percent: float,
        voltage_percent: float,
        fan_manual: bool,
        fan_pwm: int,
    ) -> None:
        """Start the mining process anew as its configuration file says, also where nothing changed.

        Args:
            work_mode: as in `set_work_mode`.
            frequency_percent: of the rated frequency, 0 to 200.
            voltage_percent: of the voltage that belongs to the frequency, 50 to 150.
            fan_manual, fan_pwm: as in `set_fan`.

        Raises:
            InputError: a value outside these.
        """
        if work_mode not in WORK_MODES:
            raise InputError(f"work mode {work_mode!r} is not one of {', '.join(WORK_MODES)}")
        if not 0.0 <= frequency_percent <= 200.0:
            raise InputError(f"frequency must be 0 to 200 percent, got {frequency_percent}")
        if not 50.0 <= voltage_percent <= 150.0:
            raise InputError(f"voltage must be 50 to 150 percent, got {voltage_percent}")
        now = self._arrive()
        moving = self._dynamics
        moving.mark_heat(now)
        moving.settings = replace(
            moving.settings,
            mining=True,
            work_mode=work_mode,
            target_freq_percent=float(frequency_percent) - 100.0,
            voltage_percent=float(voltage_percent),
            fan_manual=fan_manual,
            fan_pwm=min(100, max(0, int(fan_pwm))),
        )
        moving.restart(now)

    def power_off(self) -> None:
        """Stop hashing and cut the boards' power; the control board stays up."""
        now = self._arrive()
        moving = self._dynamics
        if moving.settings.mining:
            moving.mark_heat(now)
            moving.knot(now)
            moving.settings = replace(moving.settings, mining=False)
            moving.protect_since_s = None
            moving.unstable_at_s = None

    def power_on(self) -> None:
        """Whatsminer: hash again."""
        self._restart_with(replace(self._dynamics.settings, mining=True))

    def restart_mining(self) -> None:
        """Restart the mining process."""
        now = self._arrive()
        self._dynamics.mark_heat(now)
        self._dynamics.restart(now)

    def reboot(self) -> None:
        """Restart the control board and everything on it."""
        now = self._arrive()
        self._dynamics.mark_heat(now)
        self._dynamics.boot(now)
        if self.on_boot is not None:
            self.on_boot()

    def set_pools(self, pools: Sequence[PoolEntry]) -> None:
        """Replace the pools; nothing restarts."""
        self.pools = list(pools)

    def set_fan(self, manual: bool, pwm: int) -> None:
        """Fixed fan speed in percent, or the unit's own regulation."""
        now = self._arrive()
        moving = self._dynamics
        wanted = replace(moving.settings, fan_manual=manual, fan_pwm=min(100, max(0, int(pwm))))
        if wanted != moving.settings:
            moving.mark_heat(now)
            moving.knot(now)
            moving.settings = wanted

    def cut_power(self) -> None:
        """Pull the plug."""
        now = self._arrive()
        moving = self._dynamics
        if moving.powered:
            moving.mark_heat(now)
            moving.knot(now)
            moving.powered = False

    def restore_power(self) -> None:
        """Put the plug back: the machine boots."""
        now = self._arrive()
        if not self._dynamics.powered:
            self._dynamics.powered = True
            self._dynamics.boot(now)
            if self.on_boot is not None:
                self.on_boot()

    def set_missing_boards(self, indices: Sequence[int]) -> None:
        """Boards that are not there from now on.

        Raises:
            InputError: no such board, or none would be left.
        """
        wanted = self._checked_boards(indices)
        now = self._arrive()
        self._dynamics.mark_heat(now)
        self._dynamics.knot(now)
        self._dynamics.missing = wanted

    def _checked_boards(self, indices: Sequence[int]) -> tuple[int, ...]:
        wanted = tuple(sorted(set(indices)))
        last = self.spec.boards - 1
        if any(not 0 <= index <= last for index in wanted) or len(wanted) > last:
            raise InputError(
                f"missing boards {list(wanted)}: {self.spec.key} has boards 0 to {last}, one must stay"
            )
        return wanted

    def _arrive(self) -> float:
        """Advance to the clock's time and return it in machine seconds, which never run backwards."""
        wall = self.clock.now().timestamp()
        if wall + self._offset_s < self._newest_s:
            # The clock was set back; the machine's own counters go on from where they were.
            self._offset_s = self._newest_s - wall
        self._newest_s = wall + self._offset_s
        self._dynamics.advance(self._newest_s)
        return self._newest_s

    def _restart_with(self, settings: Settings) -> None:
        now = self._arrive()
        # A percent may have gone in a restart that happened by itself just now.
        settings = replace(settings, power_percent=self._dynamics.settings.power_percent)
        if settings != self._dynamics.settings:
            self._dynamics.mark_heat(now)
            self._dynamics.settings = settings
            self._dynamics.restart(now)

    def _soften(self, settings: Settings, fast: bool) -> None:
        if settings != self._dynamics.settings:
            self._dynamics.soften(self._newest_s, settings, fast)

"""Turns a machine's dynamics at one time into the `MachineState` that firmware would know, plus the truth."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from simulator.dynamics import Dynamics
from simulator.machine_state import BoardState, MachineState, Phase
from simulator.noise import hashed_normal
from simulator.physics import rail_voltage

Floats = NDArray[np.float64]
Four = tuple[float, float, float, float]
HASHES_PER_DIFFICULTY = 2.0**32
_WINDOWS_S = np.array([5.0, 60.0, 300.0, 900.0, 1800.0])
_NOISE_BUCKET_S = 60.0
# Channels of a bucket's noise: power, up to 16 fans, up to 16 boards.
_CHANNELS = np.arange(33)
_RATE_CHANNELS = 100 + np.arange(5)
# Rise over the inlet at four places of a board, as a share of the rise of the hottest chip.
_PLACES = (1.0, 0.42, 0.86, 0.88)
_HW_ERRORS_PER_TH = 1e-4


class Snapshot:
    """Makes states of one machine.

    Args:
        dynamics: the machine's moving parts.
        seed: of its noise.
        type_text, firmware_version, mac, serial: what it says it is.
    """

    def __init__(
        self, dynamics: Dynamics, seed: int, type_text: str, firmware_version: str, mac: str, serial: str
    ) -> None:
        self._d = dynamics
        self._seed = seed
        self._type_text = type_text
        self._firmware_version = firmware_version
        self._mac = mac
        self._serial = serial
        # Both stay the same for as long as their buckets last, and firmware is asked more often than that.
        self._noise: tuple[int, Floats] = (-1, np.empty(0))
        self._rate_draw: tuple[int, Floats] = (-1, np.empty(0))
        noise = dynamics.spec.noise
        self._rate_noise = np.array(
            [
                noise.hashrate_5s,
                noise.hashrate_1m,
                noise.hashrate_5m,
                noise.hashrate_15m,
                noise.hashrate_30m,
            ]
        )

    @property
    def factory_hashrate_ths(self) -> float:
        """What the label of this unit says: rated, and for Whatsminers what the factory measured."""
        rated = self._d.spec.rated_hashrate_ths
        return rated * float(self._d.units.hashrate[0]) if self._d.spec.vendor == "microbt" else rated

    def at(self, t: float, now: datetime) -> MachineState:
        """The state at machine time `t`, which the clock calls `now`."""
        d, spec, settings = self._d, self._d.spec, self._d.settings
        noise = self._noise_at(t)
        times = np.array([t])
        phase = d.phase(t)
        hashing = phase in ("ramping", "stable")
        inlet_c = float(d.inlet(times)[0])
        target = d.target(times, settings)
        level = target * d.ramp.at(times) if hashing else np.zeros(1)
        steady = d.operate(level, t)
        chip_c = inlet_c + d.rise(t)
        power_w = self._power(phase, float(steady.power_w[0]), chip_c - float(steady.chip_c[0]), noise[0])
        up = phase not in ("off", "booting")
        elapsed_s = max(0.0, t - d.process_s) if d.powered else 0.0
        hashed = d.hashed_at(t)
        rates = self._rates(t, hashed, elapsed_s)
        aimed = float(target[0]) if spec.power_control is not None else d.aim(settings)
        ideal_ths = aimed * self.factory_hashrate_ths
        shares = hashed * 1e12 / (spec.shares.difficulty * HASHES_PER_DIFFICULTY)
        rejected, stale = int(shares * spec.shares.rejected), int(shares * spec.shares.stale)
        return MachineState(
            phase=phase,
            now=now.astimezone(UTC),
            model=spec.key,
            vendor=spec.vendor,
            type_text=self._type_text,
            firmware_version=self._firmware_version,
            mac=self._mac,
            serial=self._serial,
            hashrate_ths=rates[1],
            hashrate_5s_ths=rates[0],
            hashrate_5m_ths=rates[2],
            hashrate_15m_ths=rates[3],
            hashrate_30m_ths=rates[4],
            hashrate_avg_ths=hashed / elapsed_s if elapsed_s > 0.0 else 0.0,
            hashrate_ideal_ths=ideal_ths,
            factory_hashrate_ths=self.factory_hashrate_ths,
            power_w=power_w,
            reported_power_w=power_w * float(d.units.bias[0]) if up and spec.sensor is not None else None,
            power_limit_w=settings.power_limit_w,
            power_percent=settings.power_percent,
            power_mode=settings.power_mode,
            work_mode=self._work_mode(),
            hashrate_percent=settings.hashrate_percent,
            target_freq_percent=settings.target_freq_percent,
            mining_enabled=settings.mining,
            ambient_c=float(np.asarray(d.ambient(times))[0]),
            inlet_c=inlet_c,
            outlet_c=inlet_c + spec.thermal.outlet_rise_c * power_w / spec.rated_power_w,
            fan_rpm=self._fans(phase, float(steady.fan[0]), noise[1:17]),
            fan_manual=settings.fan_manual,
            fan_pwm=settings.fan_pwm,
            voltage_v=self._voltage(level) if hashing else 0.0,
            frequency_mhz=float(level[0]) * spec.rated_frequency_mhz,
            elapsed_s=elapsed_s,
            uptime_s=max(0.0, t - d.boot_s) if d.powered else 0.0,
            accepted=int(shares) - rejected - stale,
            rejected=rejected,
            stale=stale,
            best_share=int(shares * spec.shares.difficulty * 1.37),
            share_difficulty=spec.shares.difficulty,
            errors=self._errors(phase),
            boards=self._boards(rates[1], ideal_ths, level, chip_c, inlet_c, hashed, noise[17:]),
            upfreq_complete=phase == "stable",
            ports_open=up,
            process_up=up and t >= d.process_s,
        )

    def _work_mode(self) -> str:
        settings = self._d.settings
        if settings.asleep:
            return "sleep"
        return settings.power_mode if self._d.spec.vendor == "microbt" else settings.work_mode

    def _power(self, phase: Phase, steady_w: float, cooler_c: float, noise: float) -> float:
        spec, mode = self._d.spec, self._d.mode
        if phase == "off":
            return 0.0
        if phase not in ("ramping", "stable"):
            return spec.standby_w
        # Chips that are not warm yet leak less, so power climbs with them.
        warm = max(0.7, 1.0 + spec.thermal.power_per_c * min(0.0, cooler_c))
        factor = 1.0 if mode is None else mode.power_factor
        # At one frequency, what the chips draw goes with the square of their voltage.
        factor *= (self._d.settings.voltage_percent / 100.0) ** 2
        return steady_w * factor * warm * (1.0 + spec.noise.power * min(3.0, max(-3.0, float(noise))))

    def _voltage(self, level: Floats) -> float:
        return float(rail_voltage(self._d.spec, level)[0]) * self._d.settings.voltage_percent / 100.0

    def _rates(self, t: float, hashed: float, elapsed_s: float) -> list[float]:
        """Rates over the five windows, each with the noise of its own window."""
        if elapsed_s <= 0.0:
            return [0.0] * len(_WINDOWS_S)
        knots = np.array([*self._d.knots, (t, hashed)])
        span = np.minimum(_WINDOWS_S, elapsed_s)
        before = np.interp(t - span, knots[:, 0], knots[:, 1])
        draw = self._rate_draw_at(t)
        rates: list[float] = np.maximum(
            0.0, (hashed - before) / span * (1.0 + self._rate_noise * draw)
        ).tolist()
        return rates

    def _noise_at(self, t: float) -> Floats:
        bucket = int(t // _NOISE_BUCKET_S)
        if self._noise[0] != bucket:
            self._noise = (bucket, hashed_normal(self._seed, _CHANNELS, bucket))
        return self._noise[1]

    def _rate_draw_at(self, t: float) -> Floats:
        # Every window is whole buckets of the shortest one.
        bucket = int(t // _WINDOWS_S[0])
        if self._rate_draw[0] != bucket:
            drawn = hashed_normal(self._seed, _RATE_CHANNELS, (t // _WINDOWS_S).astype(np.int64))
            self._rate_draw = (bucket, np.clip(drawn, -3.0, 3.0))
        return self._rate_draw[1]

    def _fans(self, phase: Phase, share: float, noise: Floats) -> tuple[float, ...]:
        thermal, count = self._d.spec.thermal, self._d.spec.fans
        if phase == "off" or count == 0:
            return (0.0,) * count
        if phase in ("ramping", "stable"):
            rpm = share * thermal.fan_full_rpm
        else:
            rpm = thermal.fan_full_rpm if phase == "protect" else thermal.fan_idle_rpm
        wobble = 1.0 + self._d.spec.noise.fan * np.clip(noise[:count], -3.0, 3.0)
        return tuple((np.round(rpm * wobble / 10.0) * 10.0).tolist())

    def _errors(self, phase: Phase) -> tuple[str, ...]:
        bitmain, missing = self._d.spec.vendor == "bitmain", self._d.missing
        found = []
        if phase == "protect":
            found.append("P:1" if bitmain else "350")
        if missing and phase not in ("off", "booting"):
            found += ["J:8"] if bitmain else [f"53{index}" for index in missing]
        return tuple(found)

    def _boards(
        self,
        rate_ths: float,
        ideal_ths: float,
        level: Floats,
        chip_c: float,
        inlet_c: float,
        hashed: float,
        noise: Floats,
    ) -> tuple[BoardState, ...]:
        d, spec = self._d, self._d.spec
        weights = d.units.board_weights[0].copy()
        weights[list(d.missing)] = 0.0
        weights /= weights.sum()
        hottest = int(np.argmax(weights))
        mhz = float(level[0]) * spec.rated_frequency_mhz
        volts = self._voltage(level) if level[0] > 0.0 else 0.0
        boards = []
        for index, weight in enumerate(weights.tolist()):
            if index in d.missing:
                boards.append(self._absent(index, ideal_ths / spec.boards))
                continue
            # A number of this board's own, always the same.
            own = abs(math.sin(self._seed + 3.0 * index))
            rise = max(0.0, chip_c - inlet_c - (0.0 if index == hottest else 1.0 + 1.5 * own))
            wobble = (
                spec.noise.temperature_c * min(2.5, max(-2.5, float(noise[index]))) if rise > 5.0 else 0.0
            )
            below = spec.thermal.board_below_chip_c * min(1.0, rise / 30.0)
            boards.append(
                BoardState(
                    index=index,
                    present=True,
                    chips=spec.chips_per_board,
                    chips_expected=spec.chips_per_board,
                    hashrate_ths=rate_ths * weight,
                    ideal_ths=ideal_ths / spec.boards,
                    frequency_mhz=mhz,
                    chip_temps_c=_places(inlet_c, rise, wobble),
                    pcb_temps_c=_places(inlet_c, max(0.0, rise - below), wobble),
                    voltage_v=volts,
                    hw_errors=int(hashed * weight * _HW_ERRORS_PER_TH * (1.0 + own)),
                    serial=f"{self._serial}B{index}",
                )
            )
        return tuple(boards)

    def _absent(self, index: int, ideal_ths: float) -> BoardState:
        cold = (0.0, 0.0, 0.0, 0.0)
        chips = self._d.spec.chips_per_board
        return BoardState(index, False, 0, chips, 0.0, ideal_ths, 0.0, cold, cold, 0.0, 0, "")


def _places(inlet_c: float, rise: float, wobble: float) -> Four:
    first, second, third, fourth = (inlet_c + rise * place + wobble for place in _PLACES)
    return first, second, third, fourth

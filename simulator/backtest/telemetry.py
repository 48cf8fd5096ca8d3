"""What the units of a backtest report, step by step: the truth with the noise and gaps of their firmware.

It stands in for polling. Faults, silences and restarts by themselves are not in it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.fleet import FleetFrame, Unit
from agent.meters.fusion import METERED, REPORTED_CORRECTED
from agent.meters.offset import ratio_of_kind
from agent.setting import Knob
from agent.telemetry import TELEMETRY_COLUMNS, WORK_MODE_CODES
from simulator.backtest.farm import FarmUnit
from simulator.backtest.ledger import Standing
from simulator.backtest.scene import Scene
from simulator.physics import rail_voltage
from simulator.snapshot import HASHES_PER_DIFFICULTY

Floats = NDArray[np.float64]
_METER_NOISE = 0.003
_METER_SPREAD = 0.005
_HW_ERRORS_PER_TH = 1e-4
# A farm that is looked at for the first time has run for so long.
_RUNNING_S = 7 * 86400.0


class Telemetry:
    """Readings of N units.

    Args:
        metered: share of the units that hang on a meter, which goes before what a unit says of itself.
        seed: of noise and meters.
    """

    def __init__(self, scene: Scene, metered: float, seed: int) -> None:
        self._scene = scene
        self._rng = np.random.default_rng([seed & 0xFFFFFFFF, 0x7465])
        farm = scene.farm.units
        count = len(farm)
        models = [unit.model for unit in farm]
        self._bias = np.array([float(unit.units.bias[0]) for unit in farm])
        sensed = np.array([model.sensor is not None for model in models])
        hangs = self._rng.random(count) < metered
        self._meter = self._rng.normal(1.0, _METER_SPREAD, count)
        self._sensed, self._metered = sensed & ~hangs, hangs
        kinds = [(unit.model.key, unit.model.variant, unit.firmware) for unit in farm]
        self._ratio = ratio_of_kind(kinds, np.where(hangs & sensed, self._meter / self._bias, np.nan))
        self.sources: tuple[str | None, ...] = tuple(
            METERED
            if hangs[i]
            else None
            if unit.model.sensor is None
            else REPORTED_CORRECTED
            if np.isfinite(self._ratio[i])
            else unit.model.sensor.source
            for i, unit in enumerate(farm)
        )
        self.units = tuple(self._known_as(unit) for unit in farm)

        def of(name: str, default: float = np.nan) -> Floats:
            return np.array([float(getattr(model, name, default)) for model in models])

        self._bitmain = np.array([model.vendor == "bitmain" for model in models])
        self._inlet_told = np.array([model.firmware == "antminer-new" for model in models])
        self._voltage_told = np.array([model.firmware == "whatsminer-v2" for model in models])
        self._rated_ths, self._rated_mhz = of("rated_hashrate_ths"), of("rated_frequency_mhz")
        self._boards, self._fans = of("boards"), of("fans")
        self._factor = np.array([float(unit.units.hashrate[0]) for unit in farm])
        self._lost = np.array([float(len(unit.miner.missing_boards)) for unit in farm])
        self._noise = {
            name: np.array([getattr(model.noise, name) for model in models])
            for name in ("hashrate_1m", "power", "temperature_c", "fan")
        }
        self._below = np.array([model.thermal.board_below_chip_c for model in models])
        self._full_rpm = np.array([model.thermal.fan_full_rpm for model in models])
        self._idle_rpm = np.array([model.thermal.fan_idle_rpm for model in models])
        self._rejected = np.array([model.shares.rejected for model in models])
        self._stale = np.array([model.shares.stale for model in models])
        self._difficulty = np.array([model.shares.difficulty for model in models])
        self._inlet_c = scene.farm.offset_c + np.array([float(u.units.inlet_c[0]) for u in farm])
        self._inlet_low = np.array([model.thermal.inlet_minimum_c for model in models])
        self._spread_c = 1.0 + 1.5 * self._rng.uniform(0.4, 1.0, count)
        self._says = _says(farm, scene)
        self._uptime_s = np.full(count, _RUNNING_S)
        self._hashed = np.zeros(count)
        self._calm = 1.0

    @staticmethod
    def _known_as(unit: FarmUnit) -> Unit:
        profile, label = unit.profile, unit.model.rated_hashrate_ths
        rated, watts = label, unit.model.rated_power_w
        if profile is not None:
            rated, watts = profile.rated_hashrate_ths.value, profile.rated_power_w.value
            if profile.bins:
                told = label * (float(unit.units.hashrate[0]) if unit.model.vendor == "microbt" else 1.0)
                nearest = min(profile.bins, key=lambda one: abs(one.hashrate_ths - told))
                rated, watts = nearest.hashrate_ths, nearest.power_w
        miner = unit.miner
        return Unit(miner.mac, miner.address, miner.family, profile, unit.firmware, rated, watts, miner.tags)

    def frame(
        self, step: int, part: float, standing: Standing, restarted: NDArray[np.bool_], readings: int = 1
    ) -> FleetFrame:
        """Readings within a step.

        Args:
            part: how far into the step, 0 to 1.
            standing: settings in force.
            restarted: [N] units whose mining process began at the beginning of this step.
            readings: the mean of so many, as an agent that polls all the time has them.
        """
        self._calm = 1.0 / np.sqrt(readings)
        scene, rows = self._scene, np.arange(self._scene.count)
        place, at = scene.places[step], standing.at
        low = min(int(place), len(scene.farm.outside_c) - 2)
        share = place - low

        def now(table: Floats) -> Floats:
            return np.asarray(table[low, rows, at] * (1.0 - share) + table[low + 1, rows, at] * share)

        farm = scene.farm
        rate, power, chip = now(farm.hashrate_ths), now(farm.power_w), now(farm.chip_c)
        level, fan = now(farm.level), now(farm.fan)
        passed = part * scene.grid.step_s
        uptime = np.where(restarted, passed, self._uptime_s + passed)
        hashed = np.where(restarted, 0.0, self._hashed) + rate * passed
        hashing = rate > 0.0
        outside = float(scene.grid.outside_c[step])
        inlet = np.maximum(outside + self._inlet_c, self._inlet_low)
        nan = np.full(scene.count, np.nan)
        noisy = self._noisy
        chip_told = chip + noisy("temperature_c")
        rise = np.maximum(chip - inlet, 0.0)
        warm = np.where(rise > 5.0, 1.0, 0.0)
        shares = hashed * 1e12 / (self._difficulty * HASHES_PER_DIFFICULTY)
        rejected, stale = np.floor(shares * self._rejected), np.floor(shares * self._stale)
        measured = power * self._bias * np.nan_to_num(self._ratio, nan=1.0) * (1.0 + noisy("power"))
        metered = power * self._meter * (1.0 + self._calm * self._rng.normal(0.0, _METER_NOISE, scene.count))
        spread = np.minimum(self._spread_c, rise)
        some = np.where(self._boards > 1.0, 1.0, np.nan)
        columns = {
            "hashrate_ths": rate * (1.0 + noisy("hashrate_1m")),
            "hashrate_avg_ths": np.where(uptime > 0.0, hashed / np.maximum(uptime, 1.0), 0.0),
            "hashrate_expected_ths": np.where(
                self._bitmain, self._says["level"][rows, at] * self._rated_ths, self._rated_ths * self._factor
            ),
            "power_w": np.where(self._sensed, measured, np.where(self._metered, metered, np.nan)),
            "setting_share": farm.candidates.shares[rows, at],
            "is_hashing": hashing.astype(np.float64),
            "chip_temp_c": chip_told,
            "board_temp_c": chip_told - self._below * np.minimum(1.0, rise / 30.0),
            "inlet_temp_c": np.where(self._inlet_told, inlet + noisy("temperature_c"), np.nan),
            "ambient_temp_c": np.where(self._bitmain, np.nan, outside + noisy("temperature_c")),
            "fan_rpm": np.where(
                self._fans > 0,
                np.where(hashing, fan * self._full_rpm, self._idle_rpm) * (1.0 + noisy("fan")),
                np.nan,
            ),
            "voltage_v": np.where(self._voltage_told, self._voltage(level), np.nan),
            "frequency_mhz": level * self._rated_mhz,
            "boards_hashing": np.where(hashing, self._boards - self._lost, 0.0),
            "boards_expected": self._boards,
            "hw_errors": np.where(self._bitmain, np.floor(hashed * _HW_ERRORS_PER_TH), np.nan),
            "uptime_s": uptime,
            "shares_accepted": np.maximum(0.0, np.floor(shares) - rejected - stale),
            "shares_rejected": rejected,
            "shares_stale": stale,
            "rated_hashrate_ths": np.array([unit.rated_hashrate_ths for unit in self.units]),
            "rated_power_w": np.array([unit.rated_power_w for unit in self.units]),
            "power_limit_w": self._says["limit"][rows, at],
            "power_percent": self._says["percent"][rows, at],
            "hashrate_percent": self._says["hashrate"][rows, at],
            "work_mode_code": self._says["mode"][rows, at],
            "share_difficulty": np.where(
                self._bitmain, np.floor(self._difficulty / 1e3) * 1e3, self._difficulty
            ),
            "chip_temp_spread_c": some * (spread + warm * np.abs(noisy("temperature_c"))),
            "board_temp_spread_c": some * (spread + warm * np.abs(noisy("temperature_c"))),
        }
        columns = {c.name: columns.get(c.name, nan) for c in TELEMETRY_COLUMNS}
        for column in TELEMETRY_COLUMNS:
            columns[column.name] = np.clip(columns[column.name], column.minimum, column.maximum)
        moment = datetime.fromtimestamp(scene.grid.start_s + step * scene.grid.step_s + passed, UTC)
        fresh = np.ones(scene.count, dtype=np.bool_)
        return FleetFrame(moment, self.units, columns, fresh, self.sources)

    def pass_step(self, step: int, standing: Standing, restarted: NDArray[np.bool_]) -> None:
        """Let the counters run through a step."""
        scene, rows = self._scene, np.arange(self._scene.count)
        rate = scene.rate_ths(step)[rows, standing.at]
        self._uptime_s = np.where(restarted, 0.0, self._uptime_s) + scene.grid.step_s
        self._hashed = np.where(restarted, 0.0, self._hashed) + rate * scene.grid.step_s

    def _noisy(self, name: str) -> Floats:
        drawn = self._rng.standard_normal(self._scene.count)
        return np.asarray(np.clip(drawn, -4.0, 4.0) * self._noise[name] * self._calm)

    def _voltage(self, level: Floats) -> Floats:
        units = self._scene.farm.units
        out = np.full(len(units), np.nan)
        for i in np.flatnonzero(self._voltage_told):
            out[i] = float(rail_voltage(units[i].model, level[i : i + 1])[0])
        return out


def _says(farm: tuple[FarmUnit, ...], scene: Scene) -> dict[str, Floats]:
    """[N,K] what the firmware says is set at each candidate; NaN where it says nothing."""
    shape = scene.stops.shape
    out = {name: np.full(shape, np.nan) for name in ("limit", "percent", "hashrate", "mode", "level")}
    for i, unit in enumerate(farm):
        model, control = unit.model, unit.model.power_control
        old = model.firmware == "antminer-old"
        asleep = "sleep" if model.vendor == "bitmain" else "stopped"
        for k, setting in enumerate(scene.farm.candidates.settings[i]):
            value: Any = setting.value
            out["level"][i, k] = 1.0
            mode = "normal"
            if setting.stops_hashing:
                mode = asleep
            elif setting.knob is Knob.WORK_MODE:
                mode = str(value)
            if not old:
                out["mode"][i, k] = WORK_MODE_CODES[mode]
            if control is not None:
                out["limit"][i, k] = round(control.default_limit * model.rated_power_w / 10.0) * 10.0
            if setting.knob is Knob.POWER_LIMIT_W:
                out["limit"][i, k] = value
            if setting.knob is Knob.POWER_PERCENT and value != 100.0:
                out["percent"][i, k] = value
            if unit.miner.offers_hashrate_percent:
                out["hashrate"][i, k] = 100.0
            if setting.knob is Knob.HASHRATE_PERCENT:
                out["hashrate"][i, k] = value
                out["level"][i, k] = value / 100.0
    return out

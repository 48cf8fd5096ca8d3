"""Ambient temperature over time: constant, from a CSV, or made up with seasons, days, fronts and heat waves.

An ambient is a function of Unix seconds, so that it gives the same value whoever asks and whenever.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.errors import DataError
from simulator.noise import hashed_normal, hashed_uniform

Floats = NDArray[np.float64]
Ambient = Callable[[Floats], Floats]
_DAY_S = 86400.0
_YEAR_S = 365.2425 * _DAY_S
_FRONT_S = 2.5 * _DAY_S
_WAVE_S = 20.0 * _DAY_S
_MAX_ROWS = 2_000_000
_GRID_S = 120.0
_GRID_A_DAY = 720
_DAYS_KEPT = 64


def constant(celsius: float) -> Ambient:
    """The same temperature always."""
    return lambda at_s: np.full(np.shape(at_s), celsius)


@dataclass(frozen=True, slots=True)
class Seasonal:
    """A made-up climate, callable with Unix seconds.

    Args:
        seed: which weather.
        mean_c: yearly mean.
        season_c: half the span between the warmest and the coldest season.
        day_c: half the span between afternoon and night.
        front_c: standard deviation of weather that changes over days.
        heat_wave_c: height of a heat wave; they come in the warm half of the year.
        heat_waves_per_year: how many of them on average.
        utc_offset_h: local solar time.
        southern: warmest in January.
    """

    seed: int
    mean_c: float = 14.0
    season_c: float = 10.0
    day_c: float = 5.0
    front_c: float = 2.5
    heat_wave_c: float = 8.0
    heat_waves_per_year: float = 3.0
    utc_offset_h: float = 0.0
    southern: bool = False

    def __call__(self, at_s: Floats) -> Floats:
        """Temperatures in C, in the shape of `at_s`."""
        at = np.asarray(at_s, dtype=np.float64)
        # Warmest around 25 July (206 days into the year; 1970-01-01 began one) and at 15 h local time.
        season = np.cos(2.0 * np.pi * (at - 206.0 * _DAY_S) / _YEAR_S) * (-1.0 if self.southern else 1.0)
        local_h = (at / 3600.0 + self.utc_offset_h) % 24.0
        day = np.cos(2.0 * np.pi * (local_h - 15.0) / 24.0)
        return np.asarray(
            self.mean_c
            + self.season_c * season
            + self.day_c * day
            + self.front_c * self._fronts(at)
            + self.heat_wave_c * self._waves(at)
        )

    def _fronts(self, at: Floats) -> Floats:
        place = at / _FRONT_S
        first = np.floor(place)
        smooth = 0.5 - 0.5 * np.cos(np.pi * (place - first))
        index = first.astype(np.int64)
        before = hashed_normal(self.seed, 1, index).reshape(at.shape)
        after = hashed_normal(self.seed, 1, index + 1).reshape(at.shape)
        return np.asarray(before + (after - before) * smooth)

    def _waves(self, at: Floats) -> Floats:
        index = np.floor(at / _WAVE_S).astype(np.int64)
        draw = [hashed_uniform(self.seed, channel, index).reshape(at.shape) for channel in (2, 3, 4)]
        length = (3.0 + 4.0 * draw[1]) * _DAY_S
        start = index * _WAVE_S + draw[2] * (_WAVE_S - length)
        inside = (at - start) / length
        warm = np.cos(2.0 * np.pi * (start - 206.0 * _DAY_S) / _YEAR_S) * (-1.0 if self.southern else 1.0)
        # Half of all places lie in the warm half of the year, so twice the share of them has a wave.
        chance = 2.0 * self.heat_waves_per_year * _WAVE_S / _YEAR_S
        happens = (draw[0] < chance) & (warm > 0.0) & (inside > 0.0) & (inside < 1.0)
        return np.where(happens, np.sin(np.pi * np.clip(inside, 0.0, 1.0)) ** 0.5, 0.0)


class Gridded:
    """An ambient looked up on a grid of two minutes, straight lines between, shared by a whole farm.

    Machines ask for nearly the same moments all the time; the grid makes that cheap and the answer the
    same for one moment and for many.
    """

    def __init__(self, ambient: Ambient) -> None:
        self._ambient = ambient
        self._days: dict[int, Floats] = {}

    def __call__(self, at_s: Floats) -> Floats:
        """Temperatures in C, in the shape of `at_s`."""
        place = np.asarray(at_s, dtype=np.float64) / _GRID_S
        low = np.floor(place).astype(np.int64)
        first, last = int(low.min()) // _GRID_A_DAY, (int(low.max()) + 1) // _GRID_A_DAY
        if last - first >= _DAYS_KEPT:
            return self._ambient(np.asarray(at_s))
        grid = (
            self._day(first) if first == last else np.concatenate([*map(self._day, range(first, last + 1))])
        )
        index = low - first * _GRID_A_DAY
        return np.asarray(grid[index] + (grid[index + 1] - grid[index]) * (place - low))

    def _day(self, number: int) -> Floats:
        day = self._days.get(number)
        if day is None:
            if len(self._days) >= _DAYS_KEPT:
                self._days.clear()
            points = number * _GRID_A_DAY + np.arange(_GRID_A_DAY)
            day = self._days[number] = self._ambient(np.asarray(points * _GRID_S, dtype=np.float64))
        return day


def from_csv(path: Path) -> Ambient:
    """A series from a CSV with `time_utc` (ISO 8601) and `temp_c`, straight lines between rows.

    Raises:
        DataError: it cannot be read, a row is wrong, or the times do not rise.
    """
    times: list[float] = []
    temps: list[float] = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                at = datetime.fromisoformat(row["time_utc"])
                at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
                times.append(at.timestamp())
                temps.append(float(row["temp_c"]))
                if not -90.0 <= temps[-1] <= 70.0 or number > _MAX_ROWS:
                    raise DataError(
                        f"{path}:{number}: temp_c: expected -90 to 70 and at most {_MAX_ROWS} rows"
                    )
                if len(times) > 1 and times[-1] <= times[-2]:
                    raise DataError(f"{path}:{number}: time_utc: expected a later time than the row before")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: needs columns time_utc and temp_c: {error}") from error
    if not times:
        raise DataError(f"{path}: holds no rows")
    xs, ys = np.array(times), np.array(temps)
    return lambda at_s: np.asarray(np.interp(at_s, xs, ys))

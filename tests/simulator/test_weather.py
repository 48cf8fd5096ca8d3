from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from agent.errors import DataError
from simulator.noise import hashed_normal, hashed_uniform
from simulator.weather import Gridded, Seasonal, constant, from_csv

YEAR = datetime(2025, 1, 1, tzinfo=UTC).timestamp() + 3600.0 * np.arange(365 * 24)


def test_a_number_depends_on_its_place_and_not_on_the_order() -> None:
    together = hashed_normal(7, 3, np.arange(10))
    alone = hashed_normal(7, 3, 4)
    assert together[4] == alone[0]
    assert hashed_normal(8, 3, 4)[0] != alone[0]
    assert hashed_normal(7, 4, 4)[0] != alone[0]


def test_numbers_by_place_are_spread_as_they_should_be() -> None:
    uniform, normal = hashed_uniform(1, 2, np.arange(50_000)), hashed_normal(1, 2, np.arange(50_000))
    assert uniform.mean() == pytest.approx(0.5, abs=0.01)
    assert 0.0 < uniform.min() < uniform.max() < 1.0
    assert normal.mean() == pytest.approx(0.0, abs=0.02)
    assert normal.std() == pytest.approx(1.0, abs=0.02)


def test_summer_is_warmer_than_winter_and_the_afternoon_than_the_night() -> None:
    air = Seasonal(1)(YEAR).reshape(365, 24)
    assert air[181:243].mean() > air[:59].mean() + 12
    assert air[:, 15].mean() > air[:, 3].mean() + 8


def test_the_south_has_its_summer_in_january() -> None:
    air = Seasonal(1, southern=True)(YEAR).reshape(365, 24)
    assert air[:31].mean() > air[181:212].mean() + 10


def test_heat_waves_come_in_the_warm_half_only() -> None:
    with_waves = Seasonal(5, heat_waves_per_year=9.0)(YEAR)
    without = Seasonal(5, heat_waves_per_year=0.0)(YEAR)
    extra = (with_waves - without).reshape(365, 24).max(axis=1)
    assert extra.max() > 7.0
    assert extra[:60].max() == 0.0


def test_weather_is_the_same_whoever_asks() -> None:
    assert Seasonal(3)(YEAR)[100:110] == pytest.approx(Seasonal(3)(YEAR[100:110]))
    assert not np.allclose(Seasonal(3)(YEAR), Seasonal(4)(YEAR))


def test_the_grid_of_a_farm_follows_the_weather_and_gives_one_answer_to_one_and_to_many() -> None:
    air, grid = Seasonal(3), Gridded(Seasonal(3))
    times = YEAR[:200] + 77.0
    assert grid(times) == pytest.approx(air(times), abs=0.01)
    assert [float(grid(times[i : i + 1])[0]) for i in range(200)] == grid(times).tolist()
    assert grid(YEAR) == pytest.approx(air(YEAR))


def test_a_constant_is_constant() -> None:
    assert (constant(21.0)(YEAR) == 21.0).all()


def test_a_series_runs_straight_between_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "air.csv"
    path.write_text("time_utc,temp_c\n2026-01-01T00:00:00Z,10\n2026-01-01T02:00:00Z,20\n")
    begin = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    assert from_csv(path)(begin + np.array([-9e9, 3600.0, 9e9])) == pytest.approx([10, 15, 20])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("time_utc,warmth\n2026-01-01T00:00:00Z,10\n", "needs columns time_utc and temp_c"),
        ("time_utc,temp_c\n2026-01-01T00:00:00Z,warm\n", "needs columns time_utc and temp_c"),
        (
            "time_utc,temp_c\n2026-01-01T02:00:00Z,1\n2026-01-01T01:00:00Z,1\n",
            ":3: time_utc: expected a later",
        ),
        ("time_utc,temp_c\n2026-01-01T02:00:00Z,nan\n", ":2: temp_c: expected -90 to 70"),
        ("time_utc,temp_c\n", "no rows"),
    ],
)
def test_a_series_that_cannot_be_used_says_why(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "air.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=problem):
        from_csv(path)

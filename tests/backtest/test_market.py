"""Prices on the steps, what is known at each, and files that are wrong."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from agent.errors import DataError, InputError
from simulator.backtest.market import Grid, MarketPlan, known_until, lay_out
from simulator.backtest.weather_csv import read_weather
from simulator.weather import constant
from tests.backtest.files import write_market, write_prices, write_weather


def hours(start: datetime, count: int) -> np.ndarray:
    return start.timestamp() + 3600.0 * np.arange(count)


def laid(folder: Path, **changes: object) -> Grid:
    plan = {"market": write_market(folder), "weather": constant(10.0), "zone": "here"}
    if "prices" not in changes:
        plan["prices"] = write_prices(folder)
    return lay_out(MarketPlan(**plan | changes))  # type: ignore[arg-type]


def test_day_ahead_prices_are_known_to_the_end_of_tomorrow_from_noon_on() -> None:
    known = known_until(hours(datetime(2022, 3, 1, tzinfo=UTC), 72), 3600, "day-ahead")
    assert known[0] == known[11] == 24
    assert known[12] == known[23] == known[24] == 48
    assert known[36] == known[71] == 72


def test_in_real_time_only_the_step_at_hand_is_known() -> None:
    known = known_until(hours(datetime(2022, 3, 1, tzinfo=UTC), 5), 3600, "none")
    assert known.tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("day", "length"), [(date(2022, 3, 27), 23), (date(2022, 10, 30), 25)])
def test_days_are_local_and_as_long_as_they_are(day: date, length: int) -> None:
    """The day on which the clocks change, in Berlin: it begins at 23:00 or 22:00 UTC of the day before."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() - 86400.0
    known = known_until(start + 3600.0 * np.arange(72), 3600, "day-ahead", "Europe/Berlin")
    offset = 1 if length == 23 else 2
    begins = 24 - offset
    assert known[begins] == begins + length
    # Local noon of the day before brings that day's prices.
    assert known[12 - offset] == begins + length
    assert known[11 - offset] == begins


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(InputError, match="Europe/Berlin"):
        known_until(np.zeros(1), 3600, "day-ahead", "Berlin")


def test_steps_finer_than_the_prices_repeat_them(tmp_path: Path) -> None:
    hourly, fine = laid(tmp_path), laid(tmp_path, step_s=300)
    assert fine.steps == 12 * hourly.steps
    assert fine.price_usd_per_kwh[::12] == pytest.approx(hourly.price_usd_per_kwh)
    assert fine.price_usd_per_kwh[11] == fine.price_usd_per_kwh[0]


def test_prices_finer_than_the_steps_are_averaged(tmp_path: Path) -> None:
    path = tmp_path / "quarters.csv"
    rows = ["time_utc,price_usd_per_kwh"]
    rows += [f"2022-03-01T{i // 4:02d}:{15 * (i % 4):02d}:00Z,{i % 4}" for i in range(96)]
    path.write_text("\n".join(rows) + "\n")
    assert laid(tmp_path, prices=path, zone=None).price_usd_per_kwh == pytest.approx(np.full(24, 1.5))


def test_missing_hours_are_carried_and_counted(tmp_path: Path) -> None:
    grid = laid(tmp_path, prices=write_prices(tmp_path, leave_out=(5, 6, 30)))
    assert grid.carried["price"] == 3
    assert np.flatnonzero(~grid.price_known).tolist() == [5, 6, 30]
    assert grid.price_usd_per_kwh[6] == grid.price_usd_per_kwh[4]


def test_rows_that_stand_twice_count_once(tmp_path: Path) -> None:
    path = write_prices(tmp_path)
    once = laid(tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, *lines[1:10]]) + "\n")
    again = lay_out(MarketPlan(path, write_market(tmp_path), constant(10.0), "here"))
    assert (again.price_usd_per_kwh == once.price_usd_per_kwh).all()


def test_one_day_of_several(tmp_path: Path) -> None:
    grid = laid(tmp_path, first=date(2022, 3, 2), last=date(2022, 3, 3))
    assert grid.steps == 24
    assert grid.months == ["2022-03"] * 24


def test_days_that_the_files_do_not_cover_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"2022-03-01 to 2022-04-01 is not covered.*move --from and --to"):
        laid(tmp_path, first=date(2022, 3, 1), last=date(2022, 4, 1))
    with pytest.raises(InputError, match="not before"):
        laid(tmp_path, first=date(2022, 3, 3), last=date(2022, 3, 3))


def test_weather_is_read_by_zone_and_carried(tmp_path: Path) -> None:
    path = write_weather(tmp_path, days=2)
    grid = laid(tmp_path, weather=path)
    assert grid.outside_c[15] == pytest.approx(16.0)
    assert grid.carried["weather"] == 3 * 24
    with pytest.raises(DataError, match=r"no rows for zone 'there'; it has here; .*--weather-zone"):
        read_weather(path, "there")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("time_utc,t\n", "weather.csv:1: column temp_c is missing"),
        ("time_utc,temp_c\n2022-03-01T00:00:00Z,warm\n", "weather.csv:2: temp_c: expected -90 to 70"),
        ("time_utc,temp_c\nyesterday,4\n", "weather.csv:2: time_utc: not an ISO 8601 time"),
        ("time_utc,temp_c\n2022-03-01T02:00:00+01:00,4\n", "weather.csv:2: time_utc: .* is not in UTC"),
        ("time_utc,temp_c\n2022-03-02T00:00:00Z,4\n2022-03-01T00:00:00Z,4\n", "weather.csv:3: time_utc"),
        ("time_utc,temp_c\n", "no rows"),
    ],
)
def test_wrong_weather_names_file_line_and_column(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "weather.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=problem):
        read_weather(path)

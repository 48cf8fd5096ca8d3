"""The lake is checked at the door; what is wrong is named by file, row and column."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agent.errors import DataError
from agent.telemetry import TELEMETRY_COLUMNS
from tests.trainer.synthetic import fleet, write_lake
from trainer.lake import read_lake

FILE = "date=2026-01-02/site=farm/part-0.parquet"


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    telemetry, _ = fleet(days=3, units_per_model=1, step_s=3600.0)
    write_lake(tmp_path, telemetry)
    return tmp_path


def spoil(lake: Path, name: str, values: pa.Array | None) -> None:
    table = pq.ParquetFile(lake / FILE).read()
    place = table.column_names.index(name)
    table = table.remove_column(place)
    if values is not None:
        table = table.add_column(place, name, values)
    pq.write_table(table, lake / FILE)


def test_rows_come_back_by_unit_and_time(lake: Path) -> None:
    telemetry = read_lake(lake)
    assert len(telemetry.units) == 4
    assert len(telemetry.at_s) == 4 * 72
    assert (np.diff(telemetry.at_s)[np.diff(telemetry.unit) == 0] > 0).all()
    assert telemetry.starts.tolist() == [0, 72, 144, 216, 288]


def test_only_the_days_asked_for_are_read(lake: Path) -> None:
    telemetry = read_lake(lake, date(2026, 1, 2), date(2026, 1, 2))
    assert len(telemetry.at_s) == 4 * 24


def test_days_without_data_are_named(lake: Path) -> None:
    with pytest.raises(DataError, match="no telemetry from 2027-01-01 to the end"):
        read_lake(lake, date(2027, 1, 1))


def test_a_missing_folder_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="hashmargin simulate history"):
        read_lake(tmp_path / "none")


def test_an_impossible_value_is_named_by_file_row_and_column(lake: Path) -> None:
    power = np.full(96, 3000.0)
    power[7] = -5.0
    spoil(lake, "power_w", pa.array(power))
    with pytest.raises(DataError, match=rf"{FILE}: row 7, column power_w: -5 W"):
        read_lake(lake)


def test_a_missing_column_is_named(lake: Path) -> None:
    spoil(lake, "uptime_s", None)
    with pytest.raises(DataError, match="columns missing: uptime_s"):
        read_lake(lake)


def test_text_in_a_column_of_numbers_is_refused(lake: Path) -> None:
    spoil(lake, "chip_temp_c", pa.array(["hot"] * 96))
    with pytest.raises(DataError, match="column chip_temp_c: holds string, expected double"):
        read_lake(lake)


def test_times_without_a_zone_are_refused(lake: Path) -> None:
    spoil(lake, "at", pa.array(np.arange(96) * 10**6, pa.timestamp("us")))
    with pytest.raises(DataError, match="time zone is missing, expected UTC"):
        read_lake(lake)


def test_a_file_that_is_no_parquet_is_refused(lake: Path) -> None:
    (lake / FILE).write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match="not readable as Parquet"):
        read_lake(lake)


def test_the_same_rows_in_two_files_are_refused(lake: Path) -> None:
    (lake / FILE).with_name("part-1.parquet").write_bytes((lake / FILE).read_bytes())
    with pytest.raises(DataError, match="one time in two files"):
        read_lake(lake)


def test_a_lake_of_an_earlier_schema_is_read_with_what_it_lacks_unknown(lake: Path) -> None:
    table = pq.ParquetFile(lake / FILE).read()
    later = [column.name for column in TELEMETRY_COLUMNS if column.since > 1]
    pq.write_table(table.drop_columns(later), lake / FILE)
    telemetry = read_lake(lake, date(2026, 1, 2), date(2026, 1, 2))
    assert later
    assert all(np.isnan(telemetry.columns[name]).all() for name in later)


def test_power_of_a_meter_is_told_from_what_a_miner_says_of_itself(lake: Path) -> None:
    sources = ["metered", "metered-circuit", "measured", "reported-corrected"] * 24
    power = np.full(96, 3000.0)
    power[95] = np.nan
    spoil(lake, "power_source", pa.array(sources))
    spoil(lake, "power_w", pa.array(power))
    table = pq.ParquetFile(lake / FILE).read()
    order = np.lexsort((table["at"].to_numpy(), np.array(table["miner_id"].to_pylist())))
    got = read_lake(lake, date(2026, 1, 2), date(2026, 1, 2)).columns["power_metered"]
    wanted = np.tile([1.0, 1.0, 0.0, 0.0], 24)
    wanted[95] = np.nan
    np.testing.assert_array_equal(got, wanted[order])


def test_null_numbers_are_unknown(lake: Path) -> None:
    spoil(lake, "inlet_temp_c", pa.array([None] * 96, pa.float64()))
    assert np.isnan(read_lake(lake, date(2026, 1, 2), date(2026, 1, 2)).columns["inlet_temp_c"]).all()

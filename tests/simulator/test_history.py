from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from agent.errors import InputError
from agent.features.validation import validate_telemetry
from agent.telemetry import TELEMETRY_COLUMNS, TELEMETRY_KEYS
from simulator.history import HistoryPlan
from simulator.history_lake import write_history
from simulator.weather import constant
from tests.simulator.making import machine, model

Rows = dict[str, Any]
KEYS = (
    "antminer-s19-pro",
    "antminer-s21",
    "antminer-s21-plus",
    "whatsminer-m30s-plus-plus",
    "whatsminer-m60s",
)


def plan(**changes: Any) -> HistoryPlan:
    given: dict[str, Any] = {
        "models": tuple((model(key), 4) for key in KEYS),
        "ambient": constant(22.0),
        "first": date(2026, 2, 1),
        "days": 6,
    }
    return HistoryPlan(**(given | changes))


def plain(table: Any) -> Rows:
    """Columns as arrays; pyarrow's own way is wrong for dictionaries with nulls."""
    texts = {name: np.array(table[name].to_pylist(), dtype=object) for name in TELEMETRY_KEYS}
    numbers = ["at", *(column.name for column in TELEMETRY_COLUMNS)]
    return texts | {name: table[name].to_numpy(zero_copy_only=False) for name in numbers}


def read(lake: Path) -> Rows:
    files = sorted(lake.glob("date=*/site=*/part-0.parquet"))
    parts = [plain(pq.ParquetFile(file).read()) for file in files]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    lake = tmp_path_factory.mktemp("lake")
    write_history(plan(), lake)
    return read(lake)


def of(rows: Rows, key: str) -> Rows:
    mine = rows["model"] == key
    return {name: values[mine] for name, values in rows.items()}


def settled(rows: Rows) -> Any:
    return (rows["is_hashing"] == 1.0) & (rows["uptime_s"] > 3600.0)


def test_the_lake_is_laid_out_by_date_and_site(tmp_path: Path) -> None:
    count = write_history(plan(days=2, site_id="north"), tmp_path / "lake")
    files = sorted(
        str(file.relative_to(tmp_path / "lake")) for file in (tmp_path / "lake").rglob("*.parquet")
    )
    assert files == [f"date=2026-02-0{day}/site=north/part-0.parquet" for day in (1, 2)]
    assert len(read(tmp_path / "lake")["at"]) == count


def test_columns_are_those_of_telemetry_in_utc_and_compressed(tmp_path: Path) -> None:
    write_history(plan(days=1), tmp_path)
    file = pq.ParquetFile(next(tmp_path.rglob("*.parquet")))
    assert file.schema_arrow.names == ["at", *TELEMETRY_KEYS, *(c.name for c in TELEMETRY_COLUMNS)]
    assert str(file.schema_arrow.field("at").type) == "timestamp[us, tz=UTC]"
    assert str(file.schema_arrow.field("model").type).startswith("dictionary<values=string")
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_every_day_passes_the_checks_at_the_door(tmp_path: Path) -> None:
    write_history(plan(days=3), tmp_path)
    for file in tmp_path.rglob("*.parquet"):
        validate_telemetry(plain(pq.ParquetFile(file).read()))


def test_a_seed_gives_the_same_history_and_another_a_different_one(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_history(plan(days=2, seed=seed), tmp_path / name)
    a, b, c = (read(tmp_path / name) for name in "abc")
    np.testing.assert_array_equal(a["power_w"], b["power_w"])
    assert set(a["miner_id"]) != set(c["miner_id"])


def test_history_agrees_with_live_machines(tmp_path: Path) -> None:
    spec = model("whatsminer-m50")
    write_history(plan(models=((spec, 60),), days=8), tmp_path)
    mine = read(tmp_path)
    near = settled(mine) & (np.abs(mine["setting_share"] - 2700 / 3422) < 0.015)
    live = []
    for seed in range(60):
        unit, clock = machine("whatsminer-m50", seed=seed, ambient=22.0, age_days=400.0)
        unit.set_power_limit(2700)
        clock.advance(3600)
        live.append(unit.state())
    hashrates = [state.hashrate_30m_ths for state in live]
    watts = [state.reported_power_w or np.nan for state in live]
    assert np.median(mine["hashrate_ths"][near]) == pytest.approx(np.median(hashrates), rel=0.02)
    assert np.median(mine["power_w"][near]) == pytest.approx(np.median(watts), rel=0.02)
    chips = [max(board.chip_temps_c[0] for board in state.boards) for state in live]
    assert np.median(mine["chip_temp_c"][near]) == pytest.approx(np.median(chips), abs=2.0)


def test_settings_cover_the_range_and_stops(rows: Rows) -> None:
    shares = of(rows, "whatsminer-m30s-plus-plus")["setting_share"]
    assert shares.min() == 0.0
    assert np.percentile(shares[shares > 0], 5) < 0.75
    assert shares.max() > 0.98
    assert len(np.unique(np.round(shares, 3))) > 10


def test_nothing_hashes_at_a_stop(rows: Rows) -> None:
    stopped = rows["setting_share"] == 0.0
    assert stopped.any()
    assert (rows["hashrate_ths"][stopped] == 0.0).all()
    assert (rows["is_hashing"][stopped] == 0.0).all()


def test_a_whatsminer_draws_what_its_setting_says(rows: Rows) -> None:
    mine = of(rows, "whatsminer-m30s-plus-plus")
    steady = settled(mine)
    ratio = mine["power_w"][steady] / mine["rated_power_w"][steady] / mine["setting_share"][steady]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.06)


def test_an_s21_hashes_what_its_percent_says(rows: Rows) -> None:
    mine = of(rows, "antminer-s21")
    steady = settled(mine)
    level = mine["frequency_mhz"][steady] / 490.0
    ratio = mine["hashrate_ths"][steady] / level / 200.0
    assert np.median(ratio) == pytest.approx(1.0, abs=0.05)


def test_power_is_known_where_a_sensor_or_a_meter_is(rows: Rows) -> None:
    sources = {key: set(of(rows, key)["power_source"]) for key in KEYS}
    assert sources["whatsminer-m60s"] == {"measured"}
    assert sources["antminer-s21"] == {"measured"}
    assert sources["antminer-s19-pro"] == {"metered", None}
    known = np.isfinite(rows["power_w"])
    assert (known == np.array([source is not None for source in rows["power_source"]])).all()


@pytest.mark.parametrize(("metered", "known"), [(0.0, 0.0), (1.0, 1.0)])
def test_the_metered_share_decides_how_many_stock_units_have_watts(
    tmp_path: Path, metered: float, known: float
) -> None:
    models = ((model("antminer-s19-pro"), 8),)
    write_history(plan(models=models, days=1, metered=metered), tmp_path)
    assert np.isfinite(read(tmp_path)["power_w"]).mean() == known


def test_counters_only_fall_with_the_process(rows: Rows) -> None:
    for miner in np.unique(rows["miner_id"]):
        mine = rows["miner_id"] == miner
        same = np.diff(rows["uptime_s"][mine]) > 0
        for name in ("shares_accepted", "shares_rejected", "shares_stale"):
            assert (np.diff(rows[name][mine])[same] >= 0).all(), name


def test_restarts_reset_uptime_and_show_a_ramp(rows: Rows) -> None:
    young = (rows["uptime_s"] > 150) & (rows["uptime_s"] < 400) & (rows["setting_share"] > 0)
    assert young.sum() > 5
    partial = rows["frequency_mhz"][young] < 0.95 * np.max(rows["frequency_mhz"])
    assert partial.mean() > 0.5


def test_some_readings_are_missing(rows: Rows) -> None:
    full = 6 * 288
    counts = np.array([(rows["miner_id"] == miner).sum() for miner in np.unique(rows["miner_id"])])
    assert counts.max() < full + 1
    assert counts.min() < 0.999 * full


def test_boards_go_missing_and_take_their_hashrate(tmp_path: Path) -> None:
    write_history(plan(models=((model("antminer-s19-pro"), 30),), days=30, metered=1.0), tmp_path)
    mine = read(tmp_path)
    steady = settled(mine) & (mine["setting_share"] == 1.0)
    short = steady & (mine["boards_hashing"] == 2.0)
    assert short.any()
    ratio = mine["hashrate_ths"][short].mean() / mine["hashrate_ths"][steady & ~short].mean()
    assert ratio == pytest.approx(2 / 3, abs=0.05)


def test_great_heat_stops_units(tmp_path: Path) -> None:
    write_history(plan(days=1, ambient=constant(55.0)), tmp_path)
    mine = read(tmp_path)
    late = mine["at"] > mine["at"].min() + np.timedelta64(2, "h")
    assert mine["is_hashing"][late].mean() == 0.0


def test_heat_costs_efficiency(tmp_path: Path) -> None:
    results = []
    for celsius in (20.0, 38.0):
        write_history(
            plan(models=((model("antminer-s21"), 6),), days=2, ambient=constant(celsius)),
            tmp_path / str(celsius),
        )
        mine = read(tmp_path / str(celsius))
        steady = settled(mine) & (mine["setting_share"] == 1.0)
        results.append(np.median(mine["power_w"][steady] / mine["hashrate_ths"][steady]))
    assert results[1] > 1.04 * results[0]


def test_rated_figures_are_those_of_the_profile_or_its_bin(rows: Rows) -> None:
    assert set(of(rows, "antminer-s21")["rated_power_w"]) == {3500.0}
    assert set(of(rows, "whatsminer-m60s")["rated_power_w"]) <= {3145.0, 3349.0, 3441.0}


def test_a_model_without_profile_is_rated_by_its_physics(tmp_path: Path) -> None:
    unknown = model("antminer-s21").model_copy(update={"key": "acme-x1", "rated_power_w": 3600.0})
    write_history(plan(models=((unknown, 2),), days=1), tmp_path)
    assert set(read(tmp_path)["rated_power_w"]) == {3600.0}


def test_a_folder_with_telemetry_is_not_mixed_with_more(tmp_path: Path) -> None:
    write_history(plan(days=1), tmp_path)
    with pytest.raises(InputError, match="already"):
        write_history(plan(days=1), tmp_path)


@pytest.mark.parametrize(
    "changes", [{"days": 0}, {"step_s": 7}, {"step_s": 7201}, {"metered": 1.5}, {"models": ()}]
)
def test_plans_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        plan(**changes)


def test_progress_goes_to_the_end(tmp_path: Path) -> None:
    seen: list[float] = []
    write_history(plan(days=3), tmp_path, seen.append)
    assert seen[-1] == 1.0
    assert seen == sorted(seen)

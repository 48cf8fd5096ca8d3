"""A site's own lake as the farm: what was set comes back, and what would have been earned."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.cli import main
from agent.errors import DataError
from simulator.backtest.market import MarketPlan, lay_out
from simulator.backtest.recorded import days_of, read_readings, recorded_farm
from simulator.backtest.setup import LAKE_POLICIES
from simulator.history import HistoryPlan
from simulator.history_lake import write_history
from simulator.physics_file import default_physics
from simulator.weather import constant
from tests.backtest.files import START, write_farm, write_market, write_prices

MODELS = ("antminer-s19j-pro", "whatsminer-m50s")


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "lake"
    known = tuple((default_physics().model(name), 2) for name in MODELS)
    # No profile claims this one, so that nothing can be set.
    unknown = {"key": "antminer-t99", "type_text": "Antminer T99"}
    strange = default_physics().model("antminer-t21").model_copy(update=unknown)
    models = (*known, (strange, 2))
    write_history(HistoryPlan(models, constant(15.0), START.date(), days=4, step_s=900, seed=5), folder)
    return folder


def run(folder: Path, *words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(
            [
                "backtest",
                "--prices",
                str(write_prices(folder)),
                "--market",
                str(write_market(folder)),
                "--zone",
                "here",
                "--out",
                str(folder / "out"),
                *words,
            ]
        )
    return int(end.value.code or 0)


def test_one_reading_an_hour_is_kept(lake: Path) -> None:
    assert days_of(lake) == (date(2022, 3, 1), date(2022, 3, 5))
    found = read_readings(lake, START.timestamp(), 96)
    assert len(found.ids) == 6
    assert np.isfinite(found.at_s).mean() > 0.9
    hour = (found.at_s - START.timestamp()) // 3600.0
    assert (np.isnan(hour) | (hour == np.arange(96))).all()
    assert np.nanmax(found.column("setting_share")) <= 1.2


def test_a_lake_against_its_own_record(
    lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "--lake", str(lake), "--json") == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert tuple(result["policies"]) == LAKE_POLICIES
    assert result["recorded"] is True
    assert result["units"] == 4
    assert sum(result["left_out"].values()) == 2
    assert result["steps"] == 96
    policies = result["policies"]
    assert policies["as-recorded"]["changes"] > 0
    assert policies["hashmargin"]["regret"] < 0.01
    assert policies["hashmargin"]["profit_usd"] > policies["as-recorded"]["profit_usd"]
    assert set(result["causes"]) == {"price forecast", "hysteresis"}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "what was really set" in page and "as known at the end of the record" in page


def test_the_record_is_what_was_set(lake: Path) -> None:
    folder = lake.parent
    grid = lay_out(
        MarketPlan(
            write_prices(folder),
            write_market(folder),
            constant(15.0),
            "here",
            first=date(2022, 3, 1),
            last=date(2022, 3, 5),
        )
    )
    farm, path, _ = recorded_farm(lake, grid, None)
    found = read_readings(lake, grid.start_s, 96)
    share = found.column("setting_share")
    for i, name in enumerate(farm.names):
        row = found.ids.index(name.address)
        known = np.isfinite(share[row])
        chosen = farm.candidates.shares[i, path[i]]
        stopped = known & (share[row] == 0.0)
        assert farm.candidates.stops[i, path[i][stopped]].all()
        # Between two candidates the nearer one stands for what was set.
        assert np.abs(chosen - share[row])[known & ~stopped].max() < 0.2


def test_farm_or_lake_and_not_both(lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path) == 2
    assert "which units? Give --farm FARM.yaml or --lake DIR" in capsys.readouterr().err
    assert run(tmp_path, "--lake", str(lake), "--farm", str(write_farm(tmp_path))) == 2
    assert run(tmp_path, "--lake", str(lake), "--policies", "hashmargin-no-learning") == 2


def test_a_lake_without_telemetry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no telemetry, expected date=YYYY-MM-DD"):
        days_of(tmp_path)
    (tmp_path / "date=today" / "site=a").mkdir(parents=True)
    (tmp_path / "date=today" / "site=a" / "part-0.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="'today' is not a date"):
        days_of(tmp_path)

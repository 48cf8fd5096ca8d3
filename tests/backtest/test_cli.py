"""The command: what it writes, what it prints, and what it says when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.cli import main
from simulator.backtest.setup import POLICIES
from tests.backtest.files import write_farm, write_market, write_prices, write_weather

FIGURES = {
    "profit_usd", "revenue_usd", "energy_cost_usd", "energy_kwh", "coins_btc", "restarts", "changes",
    "restarts_per_unit_year", "most_restarts_per_unit_year", "outside_h", "refused", "worst_day", "months",
    "seconds", "uplift_over_nominal", "uplift_over_nominal_usd", "uplift_over_on_off_fleet",
    "uplift_over_on_off_fleet_usd", "regret", "oracle_uplift_captured",
}  # fmt: skip


def run(folder: Path, *more: str) -> int:
    words = [
        "backtest", "--farm", str(write_farm(folder)), "--prices", str(write_prices(folder)),
        "--market", str(write_market(folder)), "--zone", "here", "--out", str(folder / "out"), *more,
    ]  # fmt: skip
    with pytest.raises(SystemExit) as end:
        main(words)
    return int(end.value.code or 0)


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "out" / "result.json").read_text())
    return found


def test_every_policy_in_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "--json", "--weather", str(write_weather(tmp_path)), "--wear-sweep", "0,2") == 0
    printed = json.loads(capsys.readouterr().out)
    written = result(tmp_path)
    assert {key: written[key] for key in printed} == printed
    assert tuple(printed["policies"]) == POLICIES
    assert printed["units"] == 5
    assert printed["steps"] == 120
    assert sum(printed["left_out"].values()) == 1
    best = printed["policies"]["oracle"]["profit_usd"]
    for name, one in printed["policies"].items():
        assert set(one) - {"curves", "promises"} == FIGURES, name
        assert one["profit_usd"] <= best + 1e-6, name
        assert sum(one["outside_h"].values()) == 0.0, name
        assert sum(one["months"].values()) == pytest.approx(one["profit_usd"], abs=1e-3)
        assert one["regret"] == pytest.approx(1.0 - one["profit_usd"] / best, abs=1e-6)
    assert printed["policies"]["hashmargin"]["regret"] < printed["policies"]["constant-jth"]["regret"]
    assert printed["policies"]["hashmargin"]["promises"]["changes"] > 0
    assert set(printed["causes"]) == {"price forecast", "curve error", "hysteresis"}
    assert [one["restarts_per_day"] for one in printed["wear_sweep"]] == [0, 2]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "http" not in page.replace("http://www.w3.org", "")
    for title in (
        "Profit over time",
        "Price against power",
        "Regret by cause",
        "Curves of single units",
        "What was promised",
    ):
        assert title in page


def test_one_seed_one_result(tmp_path: Path) -> None:
    found = []
    for seed in ("8", "8", "9"):
        assert run(tmp_path, "--seed", seed, "--policies", "hashmargin,oracle", "--no-causes") == 0
        policies = result(tmp_path)["policies"]
        for one in policies.values():
            one.pop("seconds")
        found.append(policies)
    assert found[0] == found[1]
    assert found[0] != found[2]


@pytest.mark.parametrize("step", ["5m", "15m"])
def test_shorter_steps(tmp_path: Path, step: str) -> None:
    assert run(tmp_path, "--step", step, "--policies", "always-nominal,on-off-unit,oracle") == 0
    fine = result(tmp_path)
    assert run(tmp_path, "--policies", "always-nominal,on-off-unit,oracle") == 0
    hourly = result(tmp_path)
    assert fine["steps"] == 120 * {"5m": 12, "15m": 4}[step]
    assert fine["policies"]["always-nominal"]["energy_kwh"] == pytest.approx(
        hourly["policies"]["always-nominal"]["energy_kwh"], rel=0.01
    )


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--policies", "sell-everything"), "no policy 'sell-everything'; there are always-nominal"),
        (("--policies", ","), "--policies: name at least one"),
        (("--step", "2h"), "--step '2h': choose one of 5m, 15m, 1h"),
        (("--horizon", "week"), "--horizon 'week': choose one of day-ahead, none"),
        (("--from", "march"), "--from 'march' is not a date, expected YYYY-MM-DD"),
        (("--to", "2022-04-01"), "is not covered"),
        (("--zone", "nowhere"), "no rows for zone 'nowhere'; it has here, there"),
        (("--wear-sweep", "few"), "--wear-sweep 'few': expected whole numbers"),
        (("--wear-sweep", "99"), "expected budgets from 0 to 24"),
        (("--timezone", "Mars"), "no time zone 'Mars'"),
        (("--physics", "/nowhere.yaml"), "/nowhere.yaml"),
        (("--weather", "/nowhere.csv"), "/nowhere.csv: cannot be read"),
        (("--models", "/nowhere"), "/nowhere/bundle.json: no such file"),
    ],
)
def test_what_is_wrong_is_said_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], problem: str
) -> None:
    assert run(tmp_path, *words) == 2
    assert problem in capsys.readouterr().err


def test_a_wrong_price_names_file_line_and_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prices = tmp_path / "bad.csv"
    prices.write_text("time_utc,zone,price_usd_per_mwh\n2022-03-01T00:00:00Z,here,cheap\n")
    assert run(tmp_path, "--prices", str(prices)) == 2
    assert f"{prices}:2: price_usd_per_mwh: expected a number, got 'cheap'" in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["backtest", "--help"])
    said = capsys.readouterr().out
    assert "Example" in said
    assert "docs/backtest.md" in said

"""A month of real prices in two zones: what has to hold there, without a bundle."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from simulator.backtest.market import MarketPlan
from simulator.backtest.run import run_backtest
from simulator.backtest.setup import Setup
from tests.backtest.files import write_farm

DATA = Path(os.environ.get("HASHMARGIN_DATA", "/work/shared/data"))
FARM = """\
name: mixed
seed: 21
physics_seed: 77
groups:
  - {model: antminer-s19j-pro, count: 4, first_address: 127.51.0.1}
  - {model: antminer-s21, count: 4, first_address: 127.51.1.1}
  - {model: antminer-s19k-pro, firmware: luxos, count: 4, first_address: 127.51.2.1}
  - {model: whatsminer-m50s, count: 4, first_address: 127.51.3.1}
"""


def month(folder: Path, zone: str, number: int) -> dict[str, Any]:
    if not (DATA / "power_prices_dev.csv.gz").is_file():
        pytest.skip(f"{DATA} is not here")
    plan = MarketPlan(
        prices=DATA / "power_prices_dev.csv.gz",
        market=DATA / "btc_network_dev.csv",
        weather=DATA / "weather_dev.csv.gz",
        zone=zone,
        first=date(2022, number, 1),
        last=date(2022, number + 1, 1),
        horizon="none" if zone == "AU-VIC" else "day-ahead",
    )
    wanted = ("on-off-unit", "constant-jth", "hashmargin", "oracle")
    setup = Setup(write_farm(folder, FARM), plan, policies=wanted, causes=())
    policies: dict[str, Any] = run_backtest(setup)["policies"]
    return policies


@pytest.mark.realdata
@pytest.mark.parametrize(("zone", "most"), [("DE-LU", 0.02), ("AU-VIC", 0.05)])
def test_a_month_of_real_prices(tmp_path: Path, zone: str, most: float) -> None:
    policies = month(tmp_path, zone, 5)
    ours = policies["hashmargin"]
    assert ours["regret"] <= most
    assert ours["profit_usd"] >= 0.995 * policies["on-off-unit"]["profit_usd"]
    assert ours["profit_usd"] > policies["constant-jth"]["profit_usd"]
    assert all(one["profit_usd"] <= policies["oracle"]["profit_usd"] + 1e-6 for one in policies.values())
    outside = {name: hours for name, hours in ours["outside_h"].items() if name != "chip temperature"}
    assert sum(outside.values()) == 0.0

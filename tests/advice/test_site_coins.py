"""Coins on a site: from its files to stored advice, and the command that compares them."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from agent.advice.desk import open_desk
from agent.advice.record import Round
from agent.cli import main
from agent.config import load_site
from agent.errors import ConfigError
from agent.reading import Pool, Reading
from agent.records import Recommendation
from agent.store import Store
from tests.advice.conftest import NOW, standing

SITE = """
site: {id: quarry}
state_dir: state
market: {hashprice_usd_per_ths_day: 0.05}
tariff: {kind: fixed, price_usd_per_kwh: 0.05}
advice: {coins: coins.yaml}
trusted_pools: ["*.pool.example"]
miners: [{id: a01, address: 10.0.0.1}, {id: a02, address: 10.0.0.2}]
"""
COINS = """
coins:
  - code: BTC
    name: Bitcoin
    subsidy: 3.125
    market: btc.csv
    pools: [{url: "stratum+tcp://btc.pool.example:3333", fee_share: 0.02}]
  - code: BCH
    name: Bitcoin Cash
    subsidy: 3.125
    market: bch.csv
    pools: [{url: "stratum+tcp://bch.pool.example:3333", fee_share: 0.02}]
"""
AT_BTC = Reading(pools=(Pool("stratum+tcp://BTC.pool.example:3333", active=True),), is_hashing=True)


def write(folder: Path, bch: float) -> Path:
    (folder / "site.yaml").write_text(SITE)
    (folder / "coins.yaml").write_text(COINS)
    (folder / "state").mkdir()
    for name, value in (("btc", 0.05), ("bch", bch)):
        days = [
            f"{NOW - timedelta(days=k):%Y-%m-%d},{value * (1 + 1e-6 * (k % 2)):.9f}"
            for k in range(39, -1, -1)
        ]
        text = "\n".join(["date_utc,hashprice_usd_per_th_day", *days, ""])
        (folder / f"{name}.csv").write_text(text)
    return folder / "site.yaml"


def advised(folder: Path, context: Round, bch: float, reading: Reading = AT_BTC) -> list[Recommendation]:
    config = load_site(write(folder, bch))
    store = Store(folder / "state" / "agent.sqlite3", "quarry")
    units = [standing("a01"), standing("a02", 110.0)]
    open_desk(config, None).look(context, units, [reading, reading], (), store)
    return store.recommendations("proposed")


def test_one_piece_of_advice_for_all_miners_of_the_pool(tmp_path: Path, context: Round) -> None:
    (found,) = advised(tmp_path, context, bch=0.055)
    assert found.type == "coin_switch"
    assert found.advice is not None
    assert (found.advice.now, found.advice.miners) == ("BTC", ["a01", "a02"])
    # 200 TH/s, of 0.05 USD 98 % is kept; 10 % more, less 5 min of 3 days.
    assert found.gain_usd_per_day.q50 == pytest.approx(200 * 0.05 * 0.98 * (0.1 - 5 / 1440 / 3))
    assert "hashmargin pools set" in " ".join(found.steps)


def test_equal_coins_and_an_unknown_pool_advise_nothing(tmp_path: Path, context: Round) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert advised(tmp_path / "a", context, bch=0.05) == []
    elsewhere = Reading(pools=(Pool("stratum+tcp://x.example:1", active=True),), is_hashing=True)
    assert advised(tmp_path / "b", context, bch=0.5, reading=elsewhere) == []


def test_a_source_that_the_site_does_not_have_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, 0.05)
    (tmp_path / "coins.yaml").write_text(COINS.replace("market: bch.csv", "source: bch"))
    with pytest.raises(ConfigError, match="no source 'bch'"):
        open_desk(load_site(path), None)


def test_the_command_compares_coins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, 0.055)
    with pytest.raises(SystemExit) as ended:
        main(["coins", "show", "--config", str(path), "--json", "--clock", f"{NOW.isoformat()}@0x1e-12"])
    assert ended.value.code == 0
    rows = {row["coin"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["BCH"]["net_usd_per_ths_day"] == pytest.approx(0.055 * 0.98)
    assert rows["BTC"]["pool"] == "stratum+tcp://btc.pool.example:3333"

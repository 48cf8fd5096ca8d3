"""Prices in, money out: worked by hand, and never from a stale or absurd figure."""

from __future__ import annotations

import gzip
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from agent.config import SiteConfig
from agent.errors import ConfigError, DataError
from agent.money.economics import (
    Economics,
    break_even_usd_per_kwh,
    hashprice_usd_per_ths_day,
    profit_usd_per_day,
)
from agent.money.prices import read_market, read_prices
from agent.yamlfile import parse_yaml

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)  # a Monday


def site(
    market: str = "hashprice_usd_per_ths_day: 0.05", tariff: str = "kind: fixed, price_usd_per_kwh: 0.05"
) -> SiteConfig:
    text = f"site: {{id: s}}\nmarket: {{{market}}}\ntariff: {{{tariff}}}\nminers: [{{address: 127.0.0.1}}]\n"
    return parse_yaml(text, SiteConfig)


def test_hashprice_is_the_reward_shared_over_the_network() -> None:
    # 450 BTC subsidy + 50 fees at 100,000 USD over 1 ZH/s (1e9 TH/s).
    assert hashprice_usd_per_ths_day(450, 50, 100_000, 1e9) == pytest.approx(0.05)


def test_profit_by_hand() -> None:
    # 100 TH/s x 0.05 x 0.98 = 4.90; 3 kW x 24 h x 0.05 x 1.1 = 3.96.
    got = profit_usd_per_day(np.array([100.0]), np.array([3000.0]), 0.05, 0.05, pool_fee_share=0.02, pue=1.1)
    assert got[0] == pytest.approx(0.94)


def test_unknown_power_gives_unknown_profit() -> None:
    got = profit_usd_per_day(np.array([100.0]), np.array([np.nan]), 0.05, 0.05, pool_fee_share=0.0, pue=1.0)
    assert np.isnan(got[0])


def test_break_even_by_hand() -> None:
    # 50 USD/PH/day over 0.024 x 25 J/TH is 83.3 USD/MWh.
    assert break_even_usd_per_kwh(25.0, 0.05, pool_fee_share=0.0, pue=1.0) == pytest.approx(0.08333, rel=1e-4)


def test_time_of_use_follows_local_time_over_a_clock_change() -> None:
    tariff = (
        "kind: time_of_use, timezone: Europe/Berlin, otherwise_usd_per_kwh: 0.20, "
        "periods: [{days: [sat, sun], from: '22:00', to: '06:00', price_usd_per_kwh: 0.05}]"
    )
    money = Economics(site(tariff=tariff))
    # Summer time began on Sunday 2026-03-29 at 01:00 UTC; the period ends at 06:00 local, then 04:00 UTC.
    for hour, expected in ((2, 0.05), (3, 0.05), (4, 0.20)):
        at = datetime(2026, 3, 29, hour, 30, tzinfo=UTC)
        assert money.conditions(at).price_usd_per_kwh == expected
    assert money.conditions(datetime(2026, 3, 28, 20, 59, tzinfo=UTC)).price_usd_per_kwh == 0.20
    assert money.conditions(datetime(2026, 3, 28, 21, 0, tzinfo=UTC)).price_usd_per_kwh == 0.05


def test_an_unknown_time_zone_is_named() -> None:
    tariff = (
        "kind: time_of_use, timezone: Mars/Olympus, otherwise_usd_per_kwh: 0.2, "
        "periods: [{days: [mon], from: '00:00', to: '24:00', price_usd_per_kwh: 0.1}]"
    )
    with pytest.raises(ConfigError, match="Mars/Olympus"):
        Economics(site(tariff=tariff))


def prices(folder: Path, hours: int, start: datetime = NOW - timedelta(hours=30)) -> Path:
    path = folder / "prices.csv"
    rows = [f"{(start + timedelta(hours=h)).isoformat()},{10.0 + h}" for h in range(hours)]
    path.write_text("time_utc,price_usd_per_mwh\n" + "\n".join(rows) + "\n")
    return path


def test_known_hours_come_from_the_series(tmp_path: Path) -> None:
    path = prices(tmp_path, 60)
    forecast = Economics(site(tariff=f"kind: series, path: {path}")).forecast(NOW, 3)
    assert forecast.price_usd_per_kwh.tolist() == pytest.approx([0.040, 0.041, 0.042])


def test_hours_beyond_the_series_are_forecast_from_it_with_a_spread(tmp_path: Path) -> None:
    path = prices(tmp_path, 31)  # the row of NOW is the last
    forecast = Economics(site(tariff=f"kind: series, path: {path}")).forecast(NOW, 4)
    assert forecast.price_usd_per_kwh[0] == pytest.approx(0.040)
    # Above the same hours of the day before (0.017 to 0.019), as the present price is, and less so later.
    assert ((forecast.price_usd_per_kwh[1:] > 0.019) & (forecast.price_usd_per_kwh[1:] < 0.040)).all()
    assert forecast.price_sigma_usd_per_kwh[0] == 0.0 and (forecast.price_sigma_usd_per_kwh[1:] > 0.0).all()
    assert forecast.known_until == NOW + timedelta(hours=1)
    assert "then a forecast" in forecast.price_source


def test_a_stale_series_is_unknown_or_the_stated_fallback(tmp_path: Path) -> None:
    path = prices(tmp_path, 2)  # ends 29 h ago, over the limit of 26 h
    assert np.isnan(Economics(site(tariff=f"kind: series, path: {path}")).conditions(NOW).price_usd_per_kwh)
    money = Economics(site(tariff=f"kind: series, path: {path}, fallback_usd_per_kwh: 0.12"))
    assert money.conditions(NOW).price_usd_per_kwh == 0.12
    assert "fallback" in money.forecast(NOW, 1).price_source


def market(folder: Path, day: str, extra: str = "") -> Path:
    path = folder / "market.csv"
    head = "date_utc,price_usd_per_btc,network_hashrate_ths,subsidy_btc_per_day,fees_btc_per_day\n"
    path.write_text(head + f"{day},100000,1e9,450,50\n" + extra)
    return path


def test_hashprice_is_computed_where_the_file_has_none(tmp_path: Path) -> None:
    money = Economics(site(market=f"path: {market(tmp_path, '2026-03-01')}"))
    assert money.conditions(NOW).hashprice_usd_per_ths_day == pytest.approx(0.05)
    assert money.conditions(NOW).price_usd_per_btc == 100_000


def test_an_old_market_file_is_unknown_and_says_so(tmp_path: Path) -> None:
    money = Economics(site(market=f"path: {market(tmp_path, '2026-02-20')}"))
    assert np.isnan(money.conditions(NOW).hashprice_usd_per_ths_day)
    assert "over the limit" in money.forecast(NOW, 1).hashprice_source


def test_tomorrows_rows_are_not_looked_at(tmp_path: Path) -> None:
    path = market(tmp_path, "2026-03-01", extra="2026-03-03,900000,1e9,450,50\n")
    assert Economics(site(market=f"path: {path}")).conditions(NOW).hashprice_usd_per_ths_day == pytest.approx(
        0.05
    )


def test_a_file_that_goes_bad_leaves_the_last_good_data_in_use(tmp_path: Path) -> None:
    path = prices(tmp_path, 60)
    money = Economics(site(tariff=f"kind: series, path: {path}"))
    path.write_text("time_utc,price_usd_per_mwh\nyesterday,5\n")
    os.utime(path, (1, 1))
    problems = money.refresh()
    assert len(problems) == 1
    assert "prices.csv:2: time_utc" in problems[0]
    assert money.conditions(NOW).price_usd_per_kwh == pytest.approx(0.040)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("time_utc,price_usd_per_mwh\n2026-01-01T00:00Z,abc\n", ":2: price_usd_per_mwh: expected a number"),
        (
            "time_utc,price_usd_per_mwh\n2026-01-01T00:00Z,1e6\n",
            ":2: price_usd_per_mwh: 1000 USD/kWh is outside",
        ),
        ("time_utc,price_usd_per_mwh\n2026-01-01T00:00+02:00,5\n", ":2: time_utc: .* is not in UTC"),
        (
            "time_utc,cost\n2026-01-01T00:00Z,5\n",
            ":1: column price_usd_per_kwh or price_usd_per_mwh is missing",
        ),
        ("when,price_usd_per_mwh\n", ":1: column time_utc is missing"),
        ("time_utc,price_usd_per_mwh\n2026-01-01T00:00Z,5\n2026-01-01T00:00Z,6\n", "stands twice"),
        (
            "time_utc,zone,price_usd_per_mwh\n2026-01-01T00:00Z,A,5\n2026-01-01T00:00Z,B,6\n",
            "several zones .A, B.",
        ),
        ("time_utc,price_usd_per_mwh\n", "no rows"),
    ],
)
def test_bad_price_files_are_named_to_the_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        read_prices(path)


def test_equal_rows_that_stand_twice_count_once_and_gzip_is_read(tmp_path: Path) -> None:
    path = tmp_path / "p.csv.gz"
    rows = "2026-01-01 00:00:00+00:00,A,5\n" * 2 + "2026-01-01 01:00:00+00:00,A,-7\n"
    path.write_bytes(gzip.compress(("time_utc,zone,price_usd_per_mwh\n" + rows).encode()))
    assert read_prices(path, "A").values.tolist() == pytest.approx([0.005, -0.007])


def test_a_gap_in_the_prices_stays_unknown(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    rows = [f"2026-01-01T{h:02d}:00Z,5" for h in (0, 1, 2, 6, 7, 8)]
    path.write_text("time_utc,price_usd_per_mwh\n" + "\n".join(rows) + "\n")
    at = np.array([datetime(2026, 1, 1, h, tzinfo=UTC).timestamp() for h in (2, 3, 4, 6)])
    known = np.isfinite(read_prices(path).at(at))
    assert known.tolist() == [True, False, False, True]


def test_an_absurd_hashprice_is_refused(tmp_path: Path) -> None:
    path = market(tmp_path, "2026-03-01", extra="2026-03-02,1e12,1e9,450,50\n")
    with pytest.raises(DataError, match=r"market.csv:3: hashprice .* is outside"):
        read_market(path)


@pytest.mark.realdata
def test_the_recorded_network_data_matches_its_own_hashprice() -> None:
    folder = Path(os.environ.get("HASHMARGIN_DATA", "../shared/data"))
    if not (folder / "btc_network_dev.csv").exists():
        pytest.skip("the recorded data is not on this machine")
    assert len(read_market(folder / "btc_network_dev.csv").hashprice.values) == 1096
    assert len(read_prices(folder / "power_prices_dev.csv.gz", "DE-LU").values) > 17_000

"""Market features are what their words say, once for a whole fleet."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from agent.config import SiteConfig
from agent.money.conditions import MARKET_COLUMNS
from agent.money.economics import Economics
from agent.money.market_history import market_columns, tariff_rank, trends
from agent.money.prices import MarketSeries, Series, read_market, read_prices
from agent.yamlfile import parse_yaml

DAY_S = 86400.0
START_S = 1_767_225_600.0  # 2026-01-01, a midnight
DAYS = START_S + DAY_S * np.arange(40)


def rising(values: np.ndarray) -> MarketSeries:
    series = Series(DAYS, values, DAY_S)
    return MarketSeries(series, series, series, Series(DAYS, np.full(len(DAYS), 0.02), DAY_S))


def test_changes_are_against_so_many_days_before() -> None:
    found = trends(rising(1.01 ** np.arange(40.0)), START_S + DAY_S * np.array([35.0, 35.5]))
    np.testing.assert_allclose(found["hashprice_change_7d"], 1.01**7 - 1.0)
    np.testing.assert_allclose(found["hashprice_change_30d"], 1.01**30 - 1.0)
    np.testing.assert_allclose(found["difficulty_change_14d"], 1.01**14 - 1.0)
    np.testing.assert_allclose(found["difficulty"], 1.01**35)
    np.testing.assert_allclose(found["fee_share"], 0.02)


def test_volatility_is_the_root_of_the_squared_steps_of_a_day() -> None:
    hours = START_S + 3600.0 * np.arange(48)
    price = np.exp(np.cumsum(np.where(np.arange(48) % 2 == 0, 0.01, -0.01)))
    market = MarketSeries(Series(hours, price, 3600.0), Series(hours, price, 3600.0))
    found = trends(market, hours[[40]])["price_volatility_24h"]
    np.testing.assert_allclose(found, 0.01 * np.sqrt(24.0))


def test_a_market_without_a_column_leaves_its_features_unknown() -> None:
    bare = MarketSeries(Series(DAYS, np.ones(40), DAY_S), Series(DAYS, np.full(40, np.nan), DAY_S))
    found = market_columns(bare, Series(DAYS, np.ones(40), DAY_S), DAYS[[10]])
    unknown = {name for name, values in found.items() if np.isnan(values[0])}
    assert unknown == {
        "price_usd_per_btc",
        "price_volatility_24h",
        "price_change_7d",
        "difficulty",
        "difficulty_change_14d",
        "fee_share",
        "hashprice_change_30d",
    }


def test_stale_market_data_say_nothing() -> None:
    found = trends(rising(np.ones(40)), DAYS[-1:] + 4 * DAY_S)
    assert all(np.isnan(values[0]) for values in found.values())


def evening(times_s: np.ndarray) -> np.ndarray:
    hour = times_s / 3600.0 % 24.0
    return np.where((hour >= 17.0) & (hour < 21.0), 0.12, 0.05)


def test_the_rank_tells_the_dear_hours_from_the_cheap_ones() -> None:
    at = START_S + 3600.0 * np.array([6.0, 18.0])
    found = tariff_rank(evening, at)
    # At 6: 4 of the 17 hours to come are dearer, the rest as cheap. At 18: of 29, 6 are as dear.
    np.testing.assert_allclose(found, [0.5 * 13 / 17, (23 + 0.5 * 6) / 29])


def test_before_noon_only_today_is_known() -> None:
    def price_at(times_s: np.ndarray) -> np.ndarray:
        return np.where(times_s < START_S + DAY_S, 0.05, -1.0)

    found = tariff_rank(price_at, START_S + 3600.0 * np.array([11.9, 12.0]))
    np.testing.assert_allclose(found, [0.5, (0.5 * 11 + 24) / 35])


def test_an_unknown_price_has_no_rank() -> None:
    found = tariff_rank(lambda times_s: np.full(times_s.shape, np.nan), np.array([START_S]))
    assert np.isnan(found[0])


@pytest.mark.parametrize(
    ("columns", "row", "difficulty", "fee_share"),
    [
        ("hashprice_usd_per_th_day,difficulty,fee_share", "0.05,1.4e14,0.02", 1.4e14, 0.02),
        ("hashprice_usd_per_th_day,difficulty_mean_derived", "0.05,2e13", 2e13, np.nan),
        ("hashprice_usd_per_th_day", "0.05", np.nan, np.nan),
        (
            "price_usd_per_btc,subsidy_btc_per_day,fees_btc_per_day,network_hashrate_ths",
            "90000,450,9,1e9",
            1e9 * 1e12 * 600 / 2**32,
            9 / 459,
        ),
    ],
)
def test_difficulty_and_fees_are_read_where_the_file_has_them(
    tmp_path: Path, columns: str, row: str, difficulty: float, fee_share: float
) -> None:
    path = tmp_path / "market.csv"
    path.write_text(f"date_utc,{columns}\n2026-01-01,{row}\n")
    market = read_market(path)
    at = np.array([START_S])
    np.testing.assert_allclose(market.difficulty.at(at), [difficulty])
    np.testing.assert_allclose(market.fee_share.at(at), [fee_share])


def test_the_live_agent_and_history_take_the_same_from_the_same_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    market = ["date_utc,hashprice_usd_per_th_day,price_usd_per_btc,difficulty,fee_share"]
    for k in range(40):
        day = np.datetime64("2026-01-01") + k
        market.append(
            f"{day},{rng.uniform(0.04, 0.06):.5f},{rng.uniform(8e4, 9e4):.2f},{1e14 + k * 1e12},0.02"
        )
    (tmp_path / "market.csv").write_text("\n".join(market) + "\n")
    prices = ["time_utc,price_usd_per_kwh"]
    for k in range(40 * 24):
        prices.append(f"{np.datetime64('2026-01-01T00') + k}:00:00Z,{rng.uniform(0.02, 0.2):.4f}")
    (tmp_path / "prices.csv").write_text("\n".join(prices) + "\n")
    config = parse_yaml(
        f"site: {{id: s}}\nmarket: {{path: {tmp_path}/market.csv}}\n"
        f"tariff: {{kind: series, path: {tmp_path}/prices.csv}}\nminers: [{{address: 127.0.0.1}}]\n",
        SiteConfig,
    )
    now = datetime(2026, 2, 5, 15, 25, tzinfo=UTC)
    live = Economics(config).conditions(now)
    history = market_columns(
        read_market(tmp_path / "market.csv"),
        read_prices(tmp_path / "prices.csv"),
        np.array([now.timestamp()]),
    )
    assert set(history) == set(MARKET_COLUMNS)
    for name in MARKET_COLUMNS:
        assert getattr(live, name) == history[name][0], name
        assert np.isfinite(history[name][0]), name

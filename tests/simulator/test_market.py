from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from agent.errors import InputError
from agent.money.prices import read_market, read_prices
from simulator.market import market_days, price_hours, write_market, write_prices

FIRST = datetime(2026, 2, 1, 15, 30, tzinfo=UTC)


def test_the_agent_reads_both_files(tmp_path: Path) -> None:
    write_market(tmp_path / "market.csv", FIRST, 30, 1)
    write_prices(tmp_path / "prices.csv", FIRST, 30, 1)
    market, prices = read_market(tmp_path / "market.csv"), read_prices(tmp_path / "prices.csv")
    assert len(market.hashprice.values) == 30
    assert len(prices.values) == 30 * 24
    midnight = FIRST.replace(hour=0, minute=0).timestamp()
    assert market.hashprice.times_s[0] == prices.times_s[0] == midnight


def test_hashprice_is_what_the_other_columns_make() -> None:
    for _, price, network, subsidy, fees, hashprice in market_days(FIRST, 20, 3):
        assert hashprice == pytest.approx((subsidy + fees) * price / network)


def test_years_of_market_stay_believable() -> None:
    hashprice = np.array([row[5] for row in market_days(FIRST, 1500, 2)])
    assert 0.015 < hashprice.min() < hashprice.max() < 0.25


def test_overlapping_series_of_one_seed_agree() -> None:
    whole = price_hours(FIRST, 20, 4)
    later = price_hours(FIRST + timedelta(days=5), 10, 4)
    assert whole[5 * 24 : 15 * 24] == pytest.approx(later)
    assert market_days(FIRST, 20, 4)[5:15] == market_days(FIRST + timedelta(days=5), 10, 4)


def test_prices_have_spikes_cheap_noons_and_a_plain_mean() -> None:
    year = price_hours(FIRST, 365, 1)
    assert 40 < year.mean() < 70
    assert (year > 250).sum() > 10
    assert (year < 10).sum() > 20
    assert year.max() <= 5000


def test_evenings_are_dearer_than_nights() -> None:
    year = price_hours(FIRST, 365, 1).reshape(365, 24)
    assert year[:, 18].mean() > 1.5 * year[:, 3].mean()


def test_seeds_differ() -> None:
    assert not np.allclose(price_hours(FIRST, 10, 1), price_hours(FIRST, 10, 2))


@pytest.mark.parametrize("days", [0, -1, 40_000])
def test_absurd_lengths_are_refused(days: int) -> None:
    with pytest.raises(InputError, match="expected 1 to"):
        price_hours(FIRST, days, 1)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_market(tmp_path / "file" / "market.csv", FIRST, 1, 1)

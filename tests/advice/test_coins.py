from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from agent.advice.coin_switch import coin_book, coin_switch
from agent.advice.coins import (
    Coin,
    CoinBook,
    CoinPool,
    CoinsFile,
    SwitchRules,
    daily_sigma,
    gross_history,
    gross_usd_per_ths_day,
    kept_share,
    load_coins,
    switch_gain,
)
from agent.advice.record import Standing
from agent.errors import ConfigError
from agent.money.prices import MarketSeries, Series
from agent.pools.guard import PoolGuard
from agent.records import SettingRecord

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
GUARD = PoolGuard(["*.pool.example"])
RULES = SwitchRules(minimum_gain_share=0.02, hold_h=72.0, lost_min=5.0)


def coin(code: str, host: str = "", **changes: object) -> Coin:
    url = f"stratum+tcp://{host or code.lower() + '.pool.example'}:3333"
    values = {
        "code": code,
        "name": code,
        "subsidy": 3.125,
        "source": "x",
        "pools": [CoinPool(url=url, fee_share=0.0)],
    }
    return Coin.model_validate(values | changes)


def market(revenue: np.ndarray, end: datetime = NOW) -> MarketSeries:
    times = end.timestamp() - 86400.0 * np.arange(len(revenue) - 1, -1, -1, dtype=np.float64)
    return MarketSeries(Series(times, revenue, 2 * 86400.0), Series(np.empty(0), np.empty(0), 0.0))


def standing(rate: float = 100.0) -> Standing:
    return Standing("a01", "antminer-s19", SettingRecord(knob="power_limit_w", value=3000), rate, 3000.0)


def quiet(level: float) -> MarketSeries:
    # It moves a little every day, or it would be a frozen feed.
    return market(level * (1.0 + 1e-6 * (np.arange(39, -1, -1) % 2)))


def decide(theirs: MarketSeries, *, host: str = "", last: datetime | None = None, rules: SwitchRules = RULES):  # type: ignore[no-untyped-def]
    coins = CoinsFile(switch=rules, coins=[coin("BTC"), coin("BCH", host)])
    book = coin_book(coins, {"BTC": quiet(0.05), "BCH": theirs}, GUARD, NOW)
    return coin_switch(book, coins, "BTC", [standing()], last, NOW)


def test_what_the_network_pays_by_hand() -> None:
    # 1 TH/s at difficulty 2^32 * 1e3 is 86400e12 / (2^32 * 2^32 * 1e3) blocks a day; a block is 2 + 2 coins.
    blocks = 86400e12 / (2.0**64 * 1e3)
    pays = gross_usd_per_ths_day(np.array([100.0]), np.array([2.0**32 * 1e3]), 2.0, np.array([0.5]))
    assert pays[0] == pytest.approx(blocks * 4.0 * 100.0)


def test_unknown_fees_are_left_out_and_an_unknown_price_is_unknown() -> None:
    pays = gross_usd_per_ths_day(
        np.array([100.0, np.nan]), np.array([1e12, 1e12]), 2.0, np.array([np.nan, 0.1])
    )
    assert pays[0] == pytest.approx(86400e12 / (1e12 * 2.0**32) * 2.0 * 100.0)
    assert np.isnan(pays[1])


def test_what_is_kept_after_every_loss_by_hand() -> None:
    one = coin("BCH", orphan_share=0.1, payout_risk_share=0.2, exchange_cost_share=0.5)
    assert kept_share(one, 0.25) == pytest.approx(0.9 * 0.8 * 0.5 * 0.75)


def test_the_future_is_not_looked_at_and_an_old_market_is_unknown() -> None:
    late = market(np.full(40, 0.05), NOW + timedelta(days=5))
    assert np.isfinite(gross_history(late, coin("BTC"), NOW.timestamp(), 48.0)[-1])
    shifted = market(np.concatenate([np.full(35, 0.05), np.full(5, 9.0)]), NOW + timedelta(days=5))
    assert gross_history(shifted, coin("BTC"), NOW.timestamp(), 48.0)[-1] == 0.05
    old = market(np.full(40, 0.05), NOW - timedelta(days=3))
    assert np.isnan(gross_history(old, coin("BTC"), NOW.timestamp(), 48.0)[-1])


def test_volatility_is_of_the_ratio_so_that_what_coins_share_drops_out() -> None:
    rng = np.random.default_rng(3)
    common = np.exp(np.cumsum(rng.normal(0.0, 0.05, 31)))
    wobble = np.exp(0.01 * (-1.0) ** np.arange(31))
    sigma = daily_sigma(np.column_stack([common, common, common * wobble]), 0)
    assert sigma[:2] == pytest.approx([0.0, 0.0], abs=1e-12)
    assert sigma[2] == pytest.approx(0.02)


def test_volatility_of_few_days_is_unknown() -> None:
    gross = np.full((31, 2), np.nan)
    gross[-10:] = 0.05 + 0.001 * np.arange(10)[:, None]
    assert np.isnan(daily_sigma(gross, 0)[1])


def test_a_frozen_feed_is_no_market_without_risk() -> None:
    moving = 0.05 + 0.001 * (np.arange(31) % 2)
    assert np.isnan(daily_sigma(np.column_stack([moving, np.full(31, 0.09)]), 0)[1])
    assert np.isnan(daily_sigma(np.column_stack([np.full(31, 0.05), moving]), 0)[1])
    assert decide(market(np.full(40, 0.5))) is None


def test_gain_of_a_switch_by_hand() -> None:
    # 3 days, 3 % a day: the mean of the walk lies 0.03 * sqrt(3 / 3) off. 14.4 min are 0.01 of a day.
    gain, sure = switch_gain(np.array([0.05, 0.055]), 0, np.array([0.0, 0.03]), 72.0, 14.4)
    assert gain[1, 1] == pytest.approx(0.05 * (0.1 - 0.01 / 3.0))
    assert gain[1, 0] == pytest.approx(0.05 * (1.1 * np.exp(-1.2815515655 * 0.03) - 1.0 - 0.01 / 3.0))
    assert 0.99 < sure[1] < 1.0
    assert gain[0, 1] < 0.0
    assert sure[0] == 0.0


def test_a_coin_that_pays_a_tenth_more_is_advised_with_its_money() -> None:
    found = decide(quiet(0.055))
    assert found is not None
    assert found.kind == "coin_switch"
    assert found.then.startswith("BCH at stratum+tcp://bch.pool.example")
    # 100 TH/s * 0.05 * (10 % - 5 min of 3 days)
    assert found.gain_usd_per_day[1] == pytest.approx(100 * 0.05 * (0.1 - 5 / 1440 / 3))
    assert found.others[0][0] == "stay with BTC"


def test_a_gain_under_the_minimum_is_not_worth_a_persons_time() -> None:
    assert decide(quiet(0.0509)) is None
    assert decide(quiet(0.0511)) is not None


def test_a_gain_whose_lower_bound_does_not_pay_is_not_advised() -> None:
    swinging = np.full(40, 0.055) * np.exp(0.08 * (-1.0) ** (1 + np.arange(40)))
    swinging *= 0.055 / swinging[-1]
    assert decide(market(swinging)) is None


def test_only_trusted_pools_are_ever_proposed() -> None:
    assert decide(quiet(0.5), host="bch.evil.example") is None


def test_nothing_is_advised_within_the_hold_of_the_last_switch() -> None:
    assert decide(quiet(0.055), last=NOW - timedelta(hours=71)) is None
    assert decide(quiet(0.055), last=NOW - timedelta(hours=73)) is not None


def test_an_unknown_market_here_or_there_advises_nothing() -> None:
    assert decide(quiet(np.nan)) is None
    coins = CoinsFile(switch=RULES, coins=[coin("BTC"), coin("BCH")])
    book = coin_book(coins, {"BCH": quiet(0.5)}, GUARD, NOW)
    assert coin_switch(book, coins, "BTC", [standing()], None, NOW) is None


def bch_gain(
    price: float = 600.0,
    difficulty: float = 1e12,
    swing: float = 0.01,
    hold_h: float = 72.0,
    lost_min: float = 5.0,
    **changes: object,
) -> tuple[float, float]:
    """Lower end and middle of what leaving BTC for BCH brings 100 TH/s, however small it is."""
    days = np.arange(39, -1, -1)
    times = NOW.timestamp() - 86400.0 * days.astype(np.float64)
    nothing = Series(np.empty(0), np.empty(0), 0.0)
    prices = price * np.exp(swing * (days % 2))
    theirs = MarketSeries(nothing, Series(times, prices, 2e5), Series(times, np.full(40, difficulty), 2e5))
    rules = SwitchRules(minimum_gain_share=0.0, hold_h=hold_h, lost_min=lost_min)
    coins = CoinsFile(switch=rules, coins=[coin("BTC"), coin("BCH", **changes)])  # type: ignore[arg-type]
    found = coin_switch(
        coin_book(coins, {"BTC": quiet(0.03), "BCH": theirs}, GUARD, NOW),
        coins,
        "BTC",
        [standing()],
        None,
        NOW,
    )
    assert found is not None
    return found.gain_usd_per_day[0], found.gain_usd_per_day[1]


def test_the_whole_of_a_switch_by_hand() -> None:
    # 10^12 * 86400 / (10^12 * 2^32) * 3.125 * 600 = 0.037718 USD per TH/s and day; the walk of 3 days lies
    # 1.2816 * 0.01 * sqrt(3 / 3) off, and 5 minutes are 1/288 of a day.
    gross = 86400.0 / 2**32 * 3.125 * 600.0
    net = gross * 0.99 * 0.98 * 0.97 * 0.96
    low, middle = bch_gain(
        orphan_share=0.01,
        payout_risk_share=0.02,
        exchange_cost_share=0.03,
        pools=[CoinPool(url="stratum+tcp://bch.pool.example:3333", fee_share=0.04)],
    )
    assert gross == pytest.approx(0.037718, abs=1e-6)
    assert middle == pytest.approx(100.0 * 0.03 * (net / 0.03 - 1.0 - 1.0 / 288.0 / 3.0), rel=1e-4)
    assert low == pytest.approx(100.0 * 0.03 * (net / 0.03 * np.exp(-0.012816) - 1.0 - 1 / 864), rel=1e-3)


@pytest.mark.parametrize(
    ("worse", "middle_moves"),
    [
        ({"price": 590.0}, True),
        ({"difficulty": 1.02e12}, True),
        ({"orphan_share": 0.02}, True),
        ({"payout_risk_share": 0.02}, True),
        ({"exchange_cost_share": 0.02}, True),
        ({"pools": [CoinPool(url="stratum+tcp://bch.pool.example:3333", fee_share=0.02)]}, True),
        ({"lost_min": 60.0}, True),
        ({"swing": 0.05}, False),
        ({"hold_h": 24.0}, True),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_every_cost_and_risk_makes_a_switch_worth_less(worse: dict[str, object], middle_moves: bool) -> None:
    low, middle = bch_gain()
    less_low, less_middle = bch_gain(**worse)  # type: ignore[arg-type]
    assert less_low < low or worse == {"hold_h": 24.0}
    assert (less_middle < middle) is middle_moves


def test_prices_in_another_currency_advise_the_same() -> None:
    book = CoinBook(("A", "B"), np.full((31, 2), 1.0) * [0.05, 0.06], np.ones(2), ("u", "v"))
    gain, sure = switch_gain(book.net, 0, np.array([0.0, 0.01]), 72.0, 5.0)
    other, same = switch_gain(7.0 * book.net, 0, np.array([0.0, 0.01]), 72.0, 5.0)
    assert other == pytest.approx(7.0 * gain)
    assert same == pytest.approx(sure)


def test_the_example_is_whole_and_a_pool_under_two_coins_is_refused(tmp_path: Path) -> None:
    assert {one.code for one in load_coins(ROOT / "configs" / "coins.yaml").coins} >= {"BTC", "BCH"}
    text = (ROOT / "configs" / "coins.yaml").read_text().replace("bch.pool.example", "eu.pool.example")
    (tmp_path / "coins.yaml").write_text(text)
    with pytest.raises(ConfigError, match="stands twice"):
        load_coins(tmp_path / "coins.yaml")

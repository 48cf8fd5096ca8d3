"""What the market and the tariff have done and are known to do, at any moment: the same for a whole fleet.

Live cycles and training take it from here, so that both see the same. Nothing after a moment is looked at,
but for electricity prices that are known ahead.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from agent.features.windows import Floats
from agent.money.prices import MarketSeries, Series

# A row older than this says nothing about the present.
_LONGEST_AGE_S = 3 * 86400.0
_DAY_S = 86400.0
_TICK_S = 300.0
# The prices of tomorrow (UTC) are taken to be known from this hour on, as day-ahead auctions publish them.
_PUBLISHED_H = 12
# From noon to the end of tomorrow.
_MOST_HOURS = 36


def market_columns(market: MarketSeries, prices: Series, times_s: Floats) -> dict[str, Floats]:
    """Every name of `agent.money.conditions.MARKET_COLUMNS` at `times_s` [R]; NaN where unknown.

    Args:
        prices: electricity in USD/kWh.
    """
    now = {
        "hashprice_usd_per_ths_day": market.hashprice.at(times_s),
        "price_usd_per_btc": market.price_usd_per_btc.at(times_s),
        "price_usd_per_kwh": prices.at(times_s),
        "tariff_rank": tariff_rank(prices.at, times_s),
    }
    return now | trends(market, times_s)


def trends(market: MarketSeries, times_s: Floats) -> dict[str, Floats]:
    """Volatility, difficulty, fees and changes at `times_s` [R]; a row holds for 3 days at most."""
    difficulty = _newest(market.difficulty, times_s)
    return {
        "price_volatility_24h": _volatility(market.price_usd_per_btc, times_s),
        "price_change_7d": _change(market.price_usd_per_btc, times_s, 7.0),
        "difficulty": difficulty,
        "difficulty_change_14d": _change(market.difficulty, times_s, 14.0),
        "fee_share": _newest(market.fee_share, times_s),
        "hashprice_change_7d": _change(market.hashprice, times_s, 7.0),
        "hashprice_change_30d": _change(market.hashprice, times_s, 30.0),
    }


def tariff_rank(price_at: Callable[[Floats], Floats], times_s: Floats) -> Floats:
    """Share of the known coming hours whose electricity is cheaper than now, [R]; equal ones count half.

    Known are today's hours (UTC) and, from noon on, tomorrow's. NaN where the present price is not known or
    no coming one is. Times count by their five minutes.

    Args:
        price_at: prices in USD/kWh at Unix seconds.
    """
    ticks, place = np.unique(np.floor(times_s / _TICK_S), return_inverse=True)
    now_s = ticks * _TICK_S
    hours, hour = np.unique(np.floor(now_s / 3600.0), return_inverse=True)
    coming = hours[:, None] + np.arange(1.0, _MOST_HOURS + 1.0)
    of_day = hours % 24.0
    end = hours - of_day + np.where(of_day >= _PUBLISHED_H, 48.0, 24.0)
    prices = price_at((coming * 3600.0).ravel()).reshape(coming.shape)
    prices = np.where(coming < end[:, None], prices, np.nan)
    now = price_at(now_s)[:, None]
    ahead = prices[hour]
    cheaper = (ahead < now).sum(axis=1) + 0.5 * (ahead == now).sum(axis=1)
    known = np.where(np.isfinite(now[:, 0]), np.isfinite(ahead).sum(axis=1), 0).astype(np.float64)
    rank = np.where(known > 0.0, cheaper / np.maximum(known, 1.0), np.nan)
    return np.asarray(rank[place], dtype=np.float64)


def _newest(series: Series, times_s: Floats) -> Floats:
    """The newest row at or before each time; NaN where it is too old."""
    if not len(series.times_s):
        return np.full(len(times_s), np.nan)
    index = np.searchsorted(series.times_s, times_s, side="right") - 1
    held = np.maximum(index, 0)
    fresh = (index >= 0) & (times_s - series.times_s[held] <= _LONGEST_AGE_S)
    return np.where(fresh, series.values[held], np.nan)


def _change(series: Series, times_s: Floats, days: float) -> Floats:
    before = _newest(series, times_s - days * _DAY_S)
    return np.asarray(_newest(series, times_s) / np.where(before > 0.0, before, np.nan) - 1.0)


def _volatility(series: Series, times_s: Floats) -> Floats:
    """Root of the summed squared steps of the price's logarithm over the 24 h before; NaN without a step."""
    if len(series.times_s) < 2:
        return np.full(len(times_s), np.nan)
    logs = np.log(np.where(series.values > 0.0, series.values, np.nan))
    steps = np.diff(logs, prepend=np.nan) ** 2
    steps[1:][np.diff(series.times_s) > _LONGEST_AGE_S] = np.nan
    known = np.isfinite(steps)
    total = np.concatenate([[0.0], np.cumsum(np.where(known, steps, 0.0))])
    count = np.concatenate([[0], np.cumsum(known)])
    until = np.searchsorted(series.times_s, times_s, side="right")
    since = np.searchsorted(series.times_s, times_s - _DAY_S, side="right")
    some = count[until] > count[since]
    return np.where(some, np.sqrt(np.maximum(total[until] - total[since], 0.0)), np.nan)

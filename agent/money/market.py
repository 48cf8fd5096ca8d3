"""What hashing pays at any moment of the horizon, how sure that is, and how old what is known is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from agent.money.config import MarketConfig
from agent.money.forecasting import HashpriceForecaster
from agent.money.market_history import trends
from agent.money.prices import MarketSeries, Series
from agent.sources.feed import Derived, Feed

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The market at S moments.

    Args:
        hashprice: [S] USD per TH/s and day before pool fee; NaN where unknown.
        sigma: [S] its standard deviation; 0 for a fixed one, NaN where unknown.
        price_usd_per_btc: [S] the last known, NaN where unknown.
        words: where they come from, naming any fallback in use.
        trouble: why hashprice is a fallback or unknown, None where it is neither.
    """

    hashprice: Floats
    sigma: Floats
    price_usd_per_btc: Floats
    words: str
    trouble: str | None = None


class Market:
    """Hashprice and coin price of one site; the last known row holds for `max_age_h`.

    Args:
        feed: the network by time; None where hashprice is fixed.
    """

    def __init__(self, config: MarketConfig, feed: Feed[MarketSeries] | None) -> None:
        self._config = config
        self._network = (
            Derived(feed, lambda network: HashpriceForecaster(network.hashprice), "market")
            if feed is not None
            else None
        )

    def refresh(self) -> str | None:
        """Read what changed. Returns what is wrong, if something is; the last good data stays in use."""
        return self._network.refresh() if self._network is not None else None

    def trends(self, at: Floats) -> dict[str, float]:
        """What `agent.money.market_history.trends` says of one moment; nothing where hashprice is fixed."""
        if self._network is None:
            return {}
        return {name: float(values[0]) for name, values in trends(self._network.feed.value, at).items()}

    def at(self, times_s: Floats, now: datetime) -> Outcome:
        """The market at `times_s` [S] as known at `now`. Rows after `now` are not looked at."""
        unknown = np.full(len(times_s), np.nan)
        fixed = self._config.hashprice_usd_per_ths_day
        if self._network is None:
            assert fixed is not None, "configuration has one of the three"
            return self._flat(fixed, unknown, f"fixed at {fixed:g} USD/TH/day")
        feed, limit_h = self._network.feed, self._config.max_age_h
        market = feed.value
        coin, _ = _newest(market.price_usd_per_btc, now, limit_h)
        coins = np.full(len(times_s), coin)
        hashprice, age_h = _newest(market.hashprice, now, limit_h)
        if np.isnan(hashprice):
            old = f"is {age_h:.0f} h old, over the limit of {limit_h:g} h"
            words = f"{feed.name} {old if np.isfinite(age_h) else 'has no rows yet'}"
            fallback = self._config.fallback_usd_per_ths_day
            if fallback is None:
                return Outcome(unknown, unknown, coins, words, f"{words}; no miner is moved")
            words += f"; the fallback of {fallback:g} USD/TH/day holds"
            return replace(self._flat(fallback, coins, words), trouble=words)
        outlook = self._network.value.forecast(now.timestamp(), times_s, market.adjustment)
        words = f"{feed.name} of {age_h:.0f} h ago, held over the horizon"
        if (outlook.mean != hashprice).any() and market.adjustment is not None:
            words += f" but for difficulty, expected to change by {market.adjustment[1]:+.1%}"
        return Outcome(outlook.mean, outlook.sigma, coins, words)

    def _flat(self, hashprice: float, coins: Floats, words: str) -> Outcome:
        return Outcome(np.full(len(coins), hashprice), np.zeros(len(coins)), coins, words)


def _newest(series: Series, now: datetime, max_age_h: float) -> tuple[float, float]:
    """The newest row at or before now and its age in hours; NaN if it is older than the limit.

    Rows after `now` that happen to stand in a file are not looked at: a live site has no such rows, and a
    recorded one must not see its own future.
    """
    index = int(np.searchsorted(series.times_s, now.timestamp(), side="right")) - 1
    if index < 0:
        return float("nan"), float("inf")
    age_h = (now.timestamp() - float(series.times_s[index])) / 3600.0
    return (float(series.values[index]) if age_h <= max_age_h else float("nan")), age_h

"""Hashprice, tariff and cooling: from what a site file says to money per hour, now and over the horizon.

Where figures come from is left to `agent.sources`; a stale or absurd one is NaN here, and NaN never moves
a miner.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from agent.config import SiteConfig
from agent.energy import KWH_PER_W_DAY
from agent.errors import DataError
from agent.money.conditions import Conditions, Forecast
from agent.money.config import CoolingConfig, MarketConfig, SeriesTariff
from agent.money.cooling import Cooling
from agent.money.demand import DemandMeter
from agent.money.market import Market
from agent.money.market_history import tariff_rank
from agent.money.prices import MarketSeries, Series, read_market, read_prices, read_temperatures
from agent.money.tariffs import Tariff
from agent.sources.feed import Feed
from agent.sources.table import NOTHING, Table, cache_path, market_of, read_table, series_of

Floats = NDArray[np.float64]
_T = TypeVar("_T")


def hashprice_usd_per_ths_day(
    subsidy_btc_per_day: float, fees_btc_per_day: float, price_usd_per_btc: float, network_hashrate_ths: float
) -> float:
    """USD that one TH/s earns per day before pool fee. Raises DataError for a network of no hashrate."""
    if not network_hashrate_ths > 0:
        raise DataError(f"network hashrate must be above 0 TH/s, got {network_hashrate_ths}")
    return (subsidy_btc_per_day + fees_btc_per_day) * price_usd_per_btc / network_hashrate_ths


def profit_usd_per_day(
    hashrate_ths: Floats,
    power_w: Floats,
    hashprice: float,
    price_usd_per_kwh: float,
    *,
    pool_fee_share: float,
    pue: float,
) -> Floats:
    """Revenue minus electricity, elementwise; NaN where an input is unknown. `hashprice` in USD/TH/day."""
    revenue = hashrate_ths * hashprice * (1.0 - pool_fee_share)
    return np.asarray(revenue - power_w * KWH_PER_W_DAY * price_usd_per_kwh * pue, dtype=np.float64)


def break_even_usd_per_kwh(
    efficiency_j_th: float, hashprice: float, *, pool_fee_share: float, pue: float
) -> float:
    """Electricity price at which a setting of `efficiency_j_th` earns nothing."""
    return hashprice * (1.0 - pool_fee_share) / (KWH_PER_W_DAY * efficiency_j_th * pue)


class Economics:
    """The money side of one site, read from its configuration and re-read when a file or a source changes.

    Raises:
        ConfigError, DataError: on creation, if a file cannot be used at all.
    """

    def __init__(self, config: SiteConfig) -> None:
        self._market = Market(config.market, _market_feed(config))
        tariff = config.tariff
        self._tariff = Tariff(tariff, _price_feed(config))
        self._cooling = Cooling(config.cooling, config.limits.pue, _weather_feed(config))
        self.demand = DemandMeter(tariff.demand, tariff.timezone) if tariff.demand is not None else None

    def refresh(self) -> list[str]:
        """Re-read what changed. Returns what is wrong with it; the last good data stays in use."""
        sources = (self._market, self._tariff, self._cooling)
        return [problem for source in sources if (problem := source.refresh())]

    def troubles(self, now: datetime) -> dict[str, str]:
        """Words for people where a price is unknown or a fallback: by `electricity` and `hashprice`."""
        at = np.array([now.timestamp()], dtype=np.float64)
        tariff, market = self._tariff.at(at, now).trouble, self._market.at(at, now).trouble
        found = {"electricity": tariff, "hashprice": market}
        return {name: f"{name}: {words}" for name, words in found.items() if words is not None}

    def conditions(self, now: datetime) -> Conditions:
        """What holds now; NaN where a source is stale."""
        at = np.array([now.timestamp()], dtype=np.float64)
        market = self._market.at(at, now)
        rank = tariff_rank(lambda times_s: self._tariff.at(times_s, now).usd_per_kwh, at)
        return Conditions(
            now,
            float(market.hashprice[0]),
            float(market.price_usd_per_btc[0]),
            float(self._tariff.at(at, now).usd_per_kwh[0]),
            tariff_rank=float(rank[0]),
            **self._market.trends(at),
        )

    def forecast(self, now: datetime, hours: float, step_h: float = 1.0) -> Forecast:
        """Conditions over the next `hours` in steps of `step_h`, from `now` on."""
        steps = max(1, round(hours / step_h))
        times = now.timestamp() + 3600.0 * step_h * np.arange(steps, dtype=np.float64)
        market, priced = self._market.at(times, now), self._tariff.at(times, now)
        pue, pue_words = self._cooling.at(times, now)
        end_s = float(times[-1]) + 3600.0 * step_h
        known_s = min(priced.known_until_s, end_s)
        return Forecast(
            now,
            step_h,
            priced.usd_per_kwh,
            market.hashprice,
            f"{priced.words}; {pue_words}",
            market.words,
            price_sigma_usd_per_kwh=priced.sigma_usd_per_kwh,
            hashprice_sigma_usd_per_ths_day=market.sigma,
            known_until=datetime.fromtimestamp(known_s, UTC),
            pue=pue,
        )

    def cost_usd_per_kwh(self, times_s: Floats, now: datetime) -> Floats:
        """What a kWh drawn by miners costs at `times_s` [S], rising, with cooling; NaN where unknown."""
        return np.asarray(self._tariff.at(times_s, now).usd_per_kwh * self._cooling.at(times_s, now)[0])

    def pue(self, now: datetime) -> float:
        """Power of the site over that of its miners, now."""
        return float(self._cooling.at(np.array([now.timestamp()]), now)[0][0])

    def outside_c(self, times_s: Floats, now: datetime) -> Floats:
        """Outside temperature at `times_s` [S], rising; NaN where no source says it."""
        return self._cooling.outside_c(times_s, now)


def _market_feed(config: SiteConfig) -> Feed[MarketSeries] | None:
    market = config.market
    if market.hashprice_usd_per_ths_day is not None:
        return None
    return _feed(config.state_dir, market, read_market, market_of)


def _price_feed(config: SiteConfig) -> Feed[Series] | None:
    tariff = config.tariff
    if not isinstance(tariff, SeriesTariff):
        return None
    return _feed(
        config.state_dir,
        tariff,
        lambda path: read_prices(path, tariff.zone),
        lambda table: series_of(table, "price_usd_per_kwh"),
    )


def _weather_feed(config: SiteConfig) -> Feed[Series] | None:
    cooling = config.cooling
    if cooling is None or cooling.outside_c is not None:
        return None
    return _feed(
        config.state_dir,
        cooling,
        lambda path: read_temperatures(path, cooling.zone),
        lambda table: series_of(table, "temp_c"),
    )


def _feed(
    state_dir: Path,
    section: MarketConfig | SeriesTariff | CoolingConfig,
    read: Callable[[Path], _T],
    of: Callable[[Table], _T],
) -> Feed[_T]:
    """The file that a section of the site file names, or the cache of the source that it names."""
    if section.path is not None:
        return Feed(section.path, read)
    assert section.source is not None, "configuration has one of the two"
    cache = cache_path(state_dir, section.source)
    return Feed(cache, lambda path: of(read_table(path)), of(NOTHING), section.source)

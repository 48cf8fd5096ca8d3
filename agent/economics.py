"""Hashprice, tariff and their forecasts: from what a site file says to money per hour.

Prices come from `agent.prices`; a stale or absurd one becomes NaN here, and NaN never moves a miner.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from agent.conditions import Conditions, Forecast
from agent.config import FixedTariff, MarketConfig, SeriesTariff, SiteConfig, TimeOfUseTariff
from agent.errors import ConfigError, DataError
from agent.market_history import tariff_rank, trends
from agent.prices import MarketSeries, Series, read_market, read_prices

Floats = NDArray[np.float64]
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


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
    return np.asarray(revenue - power_w * 0.024 * price_usd_per_kwh * pue, dtype=np.float64)


def break_even_usd_per_kwh(
    efficiency_j_th: float, hashprice: float, *, pool_fee_share: float, pue: float
) -> float:
    """Electricity price at which a setting of `efficiency_j_th` earns nothing."""
    return hashprice * (1.0 - pool_fee_share) / (0.024 * efficiency_j_th * pue)


class Economics:
    """The money side of one site, read from its configuration and re-read when a file changes.

    Raises:
        ConfigError, DataError: on creation, if a source cannot be used at all.
    """

    def __init__(self, config: SiteConfig) -> None:
        self._market = _Market(config.market)
        self._tariff = _tariff(config)

    def refresh(self) -> list[str]:
        """Re-read files that changed. Returns what is wrong with them; the last good data stays in use."""
        return [problem for source in (self._market, self._tariff) if (problem := source.refresh())]

    def conditions(self, now: datetime) -> Conditions:
        """What holds now; NaN where a source is stale."""
        at = np.array([now.timestamp()], dtype=np.float64)
        hashprice, coin, _ = self._market.at(at, now)
        price, _ = self._tariff.at(at, now)
        rank = tariff_rank(lambda times_s: self._tariff.at(times_s, now)[0], at)
        return Conditions(
            now,
            float(hashprice[0]),
            float(coin[0]),
            float(price[0]),
            tariff_rank=float(rank[0]),
            **self._market.trends(at),
        )

    def forecast(self, now: datetime, hours: float, step_h: float = 1.0) -> Forecast:
        """Conditions over the next `hours` in steps of `step_h`, from `now` on."""
        steps = max(1, round(hours / step_h))
        times = now.timestamp() + 3600.0 * step_h * np.arange(steps, dtype=np.float64)
        hashprice, _, hash_source = self._market.at(times, now)
        price, price_source = self._tariff.at(times, now)
        return Forecast(now, step_h, price, hashprice, price_source, hash_source)


class _File:
    """A source file with the time stamp it was last read at."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen = self._stamp()

    def _stamp(self) -> tuple[int, int] | None:
        try:
            info = self.path.stat()
        except OSError:
            return None
        return info.st_mtime_ns, info.st_size

    def changed(self) -> bool:
        stamp = self._stamp()
        if stamp is None or stamp == self._seen:
            return False
        self._seen = stamp
        return True


class _Market:
    """Hashprice and coin price; the last known day is carried forward up to `max_age_h`."""

    def __init__(self, config: MarketConfig) -> None:
        self._config = config
        self._file = _File(config.path) if config.path is not None else None
        self._series: MarketSeries | None = read_market(config.path) if config.path is not None else None

    def refresh(self) -> str | None:
        if self._file is None or not self._file.changed():
            return None
        try:
            self._series = read_market(self._file.path)
        except DataError as error:
            return f"market: {error}; the data read before stays in use"
        return None

    def trends(self, at: Floats) -> dict[str, float]:
        """What `agent.market_history.trends` says of one moment; nothing where hashprice is fixed."""
        if self._series is None:
            return {}
        return {name: float(values[0]) for name, values in trends(self._series, at).items()}

    def at(self, times_s: Floats, now: datetime) -> tuple[Floats, Floats, str]:
        fixed = self._config.hashprice_usd_per_ths_day
        if self._series is None:
            unknown = np.full(len(times_s), np.nan)
            return np.full(len(times_s), fixed), unknown, f"fixed at {fixed} USD/TH/day"
        hashprice, age_h = _carry(self._series.hashprice, times_s, now, self._config.max_age_h)
        coin, _ = _carry(self._series.price_usd_per_btc, times_s, now, self._config.max_age_h)
        words = f"{self._config.path} of {age_h:.0f} h ago, held over the horizon"
        if np.isnan(hashprice[0]):
            words = (
                f"{self._config.path} is {age_h:.0f} h old, over the limit of {self._config.max_age_h:g} h"
            )
        return hashprice, coin, words


def _carry(series: Series, times_s: Floats, now: datetime, max_age_h: float) -> tuple[Floats, float]:
    """The newest row at or before now, for every time; NaN if it is older than the limit.

    Days after `now` that happen to stand in the file are not looked at: a live site has no such rows,
    and a recorded one must not see its own future.
    """
    index = int(np.searchsorted(series.times_s, now.timestamp(), side="right")) - 1
    if index < 0:
        return np.full(len(times_s), np.nan), float("inf")
    age_h = (now.timestamp() - float(series.times_s[index])) / 3600.0
    value = float(series.values[index]) if age_h <= max_age_h else float("nan")
    return np.full(len(times_s), value), age_h


class _FixedTariff:
    def __init__(self, config: FixedTariff) -> None:
        self._price = config.price_usd_per_kwh

    def refresh(self) -> str | None:
        return None

    def at(self, times_s: Floats, now: datetime) -> tuple[Floats, str]:
        return np.full(len(times_s), self._price), f"fixed at {self._price:g} USD/kWh"


class _TimeOfUseTariff:
    """A weekly table in local time. Each minute of the week has one price, worked out once."""

    def __init__(self, config: TimeOfUseTariff) -> None:
        try:
            self._zone = ZoneInfo(config.timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ConfigError(
                None, None, "tariff.timezone", f"unknown time zone {config.timezone!r}"
            ) from error
        self._name = config.timezone
        self._table = np.full(7 * 1440, config.otherwise_usd_per_kwh)
        for period in config.periods:
            start, end = _minutes(period.from_time), _minutes(period.to_time)
            length = (end - start) % 1440 or 1440
            for day in period.days:
                first = _DAYS.index(day) * 1440 + start
                self._table[(first + np.arange(length)) % (7 * 1440)] = period.price_usd_per_kwh

    def refresh(self) -> str | None:
        return None

    def at(self, times_s: Floats, now: datetime) -> tuple[Floats, str]:
        local = [datetime.fromtimestamp(t, UTC).astimezone(self._zone) for t in times_s]
        index = [t.weekday() * 1440 + t.hour * 60 + t.minute for t in local]
        return self._table[index], f"time-of-use table in {self._name}"


class _SeriesTariff:
    """Prices by time. Steps that are not known yet take the same hour of the last known day."""

    def __init__(self, config: SeriesTariff) -> None:
        self._config = config
        self._file = _File(config.path)
        self._series = read_prices(config.path, config.zone)

    def refresh(self) -> str | None:
        if not self._file.changed():
            return None
        try:
            self._series = read_prices(self._config.path, self._config.zone)
        except DataError as error:
            return f"tariff: {error}; the data read before stays in use"
        return None

    def at(self, times_s: Floats, now: datetime) -> tuple[Floats, str]:
        values = self._series.at(times_s)
        words = str(self._config.path)
        missing = np.isnan(values)
        if missing.any():
            limit = timedelta(hours=self._config.max_age_h).total_seconds()
            for days in range(1, 8):
                earlier = times_s - 86400.0 * days
                recent = (now.timestamp() - earlier) <= limit
                values = np.where(missing & recent, self._series.at(earlier), values)
                missing = np.isnan(values)
            words += ", unknown hours as on the last known day"
        fallback = self._config.fallback_usd_per_kwh
        if missing.any() and fallback is not None:
            values = np.where(missing, fallback, values)
            words += f", else the fallback of {fallback:g} USD/kWh"
        return values, words


_Tariff = _FixedTariff | _TimeOfUseTariff | _SeriesTariff


def _tariff(config: SiteConfig) -> _Tariff:
    tariff = config.tariff
    if isinstance(tariff, FixedTariff):
        return _FixedTariff(tariff)
    if isinstance(tariff, TimeOfUseTariff):
        return _TimeOfUseTariff(tariff)
    return _SeriesTariff(tariff)


def _minutes(text: str) -> int:
    hours, minutes = text.split(":")
    return (int(hours) * 60 + int(minutes)) % 1440 if text != "24:00" else 0

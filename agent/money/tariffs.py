"""What a kilowatt-hour costs at any moment of the horizon, how sure that is, and how far it is known.

Cooling is left to `agent.money.cooling`, the charge on the monthly peak to `agent.money.demand`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agent.localtime import LocalMoments, LocalTime
from agent.money.config import (
    HOLIDAY,
    WEEKDAYS,
    FixedTariff,
    SeriesTariff,
    TariffConfig,
    TimeOfUseTariff,
    Window,
)
from agent.money.forecasting import PriceForecaster
from agent.money.prices import Series
from agent.sources.feed import Derived, Feed

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Priced:
    """Electricity at S moments.

    Args:
        usd_per_kwh: [S]; NaN where unknown.
        sigma_usd_per_kwh: [S] standard deviation; 0 where known, NaN where unknown.
        known_until_s: Unix seconds up to which prices are no forecast; infinite for a table.
        words: where they come from, naming any fallback in use.
        trouble: why they are a fallback or unknown, None where they are neither.
    """

    usd_per_kwh: Floats
    sigma_usd_per_kwh: Floats
    known_until_s: float
    words: str
    trouble: str | None = None


class _Kind(Protocol):
    def refresh(self) -> str | None:
        """What is wrong with the file or source behind it, if something is."""
        ...

    def at(self, times_s: Floats, now: datetime) -> Priced:
        """Prices at `times_s` [S], rising, as known at `now`."""
        ...


class Tariff:
    """The tariff of one site: its prices, with what comes on top and what is paid for not drawing.

    A payment for not drawing is lost with every kWh that is drawn, so it counts as part of the price.

    Args:
        feed: where prices by time come from; needed for that kind.

    Raises:
        InputError: an unknown time zone.
        DataError: the file cannot be used.
    """

    def __init__(self, config: TariffConfig, feed: Feed[Series] | None = None) -> None:
        self._local = LocalTime(config.timezone)
        holidays = [(day - _EPOCH).days for day in config.holidays]
        self._adder = config.adder_usd_per_kwh
        self._payments = [(When(window, holidays), window.usd_per_kwh) for window in config.payments]
        self._kind: _Kind
        if isinstance(config, FixedTariff):
            self._kind = _Fixed(config)
        elif isinstance(config, TimeOfUseTariff):
            self._kind = _TimeOfUse(config, self._local, holidays)
        else:
            assert feed is not None, "prices by time need their feed"
            self._kind = _ByTime(config, self._local, feed)

    def refresh(self) -> str | None:
        """Read what changed. Returns what is wrong, if something is; the last good prices stay in use."""
        return self._kind.refresh()

    def at(self, times_s: Floats, now: datetime) -> Priced:
        """Prices at `times_s` [S], rising, as known at `now`."""
        priced = self._kind.at(times_s, now)
        price, words = priced.usd_per_kwh + self._adder, priced.words
        if self._adder:
            words += f", {self._adder:+g} USD/kWh on top"
        if self._payments:
            moments = self._local.of(times_s)
            paid = np.zeros(len(times_s))
            for when, usd_per_kwh in self._payments:
                paid += np.where(when.covers(moments), usd_per_kwh, 0.0)
            if paid.any():
                price = price + paid
                words += f", and up to {paid.max():g} USD/kWh paid for not drawing"
        return Priced(price, priced.sigma_usd_per_kwh, priced.known_until_s, words, priced.trouble)


class When:
    """A window of a tariff, asked of many moments at once.

    Args:
        holidays: days since 1970-01-01.
    """

    def __init__(self, window: Window, holidays: Sequence[int]) -> None:
        self._from_s, self._to_s = _seconds(window.from_time), _seconds(window.to_time)
        self._past_midnight = self._to_s <= self._from_s
        self._weekdays = np.array([day in window.days for day in WEEKDAYS])
        self._on_holidays = HOLIDAY in window.days
        self._holidays = np.asarray(holidays, dtype=np.int64)
        self._season = tuple(_month_day(text) for text in window.season) if window.season else None

    def covers(self, moments: LocalMoments) -> Bools:
        """[R] True inside the window. One that runs past midnight belongs to the day on which it began."""
        second = moments.second
        if not self._past_midnight:
            return self._days(moments.day) & (second >= self._from_s) & (second < self._to_s)
        late = self._days(moments.day) & (second >= self._from_s)
        return late | (self._days(moments.day - 1) & (second < self._to_s))

    def _days(self, day: Ints) -> Bools:
        good = self._weekdays[(day + 3) % 7]
        if len(self._holidays):
            good = np.where(np.isin(day, self._holidays), self._on_holidays, good)
        if self._season is not None:
            date_of = day.astype("datetime64[D]")
            month = date_of.astype("datetime64[M]")
            number = (month.astype(np.int64) % 12 + 1) * 100 + (date_of - month).astype(np.int64) + 1
            first, last = self._season
            if first <= last:
                good = good & (number >= first) & (number <= last)
            else:
                good = good & ((number >= first) | (number <= last))
        return np.asarray(good, dtype=bool)


class _Fixed:
    def __init__(self, config: FixedTariff) -> None:
        self._price = config.price_usd_per_kwh

    def refresh(self) -> str | None:
        return None

    def at(self, times_s: Floats, now: datetime) -> Priced:
        prices = np.full(len(times_s), self._price)
        return Priced(prices, np.zeros(len(times_s)), np.inf, f"fixed at {self._price:g} USD/kWh")


class _TimeOfUse:
    def __init__(self, config: TimeOfUseTariff, local: LocalTime, holidays: Sequence[int]) -> None:
        self._local = local
        self._otherwise = config.otherwise_usd_per_kwh
        self._periods = [(When(period, holidays), period.price_usd_per_kwh) for period in config.periods]

    def refresh(self) -> str | None:
        return None

    def at(self, times_s: Floats, now: datetime) -> Priced:
        moments = self._local.of(times_s)
        prices = np.full(len(times_s), self._otherwise)
        for when, price in self._periods:
            prices[when.covers(moments)] = price
        return Priced(prices, np.zeros(len(times_s)), np.inf, f"time-of-use table in {self._local.name}")


class _ByTime:
    """Prices by time; steps that are not known yet are forecast from the past."""

    def __init__(self, config: SeriesTariff, local: LocalTime, feed: Feed[Series]) -> None:
        self._config = config
        self._local = local
        self._prices = Derived(feed, lambda series: PriceForecaster(series, local.name), "tariff")
        self._published_s = _seconds(config.published)

    def refresh(self) -> str | None:
        return self._prices.refresh()

    def at(self, times_s: Floats, now: datetime) -> Priced:
        now_s = now.timestamp()
        limit_s = self._known_until(now)
        series = self._prices.feed.value
        count = int(np.searchsorted(series.times_s, limit_s, side="left"))
        trouble = self._trouble(series, count, now_s)
        if trouble is not None:
            return self._without(times_s, now_s, trouble)
        outlook = self._prices.value.forecast(now_s, times_s, limit_s)
        # A row that has begun is known to its end.
        end_s = float(series.times_s[count - 1]) + series.hold_s
        if self._config.horizon == "day_ahead":
            end_s = min(limit_s, end_s)
        until = datetime.fromtimestamp(max(end_s, now_s), UTC)
        words = f"{self._prices.feed.name}, known to {until:%Y-%m-%d %H:%M} UTC"
        if not outlook.known.all():
            words += ", then a forecast"
        return Priced(outlook.mean, outlook.sigma, max(end_s, now_s), words)

    def _known_until(self, now: datetime) -> float:
        """Rows that begin before this are known."""
        if self._config.horizon == "real_time":
            return float(np.nextafter(now.timestamp(), np.inf))
        clock_s = float(self._local.of(np.array([now.timestamp()])).second[0])
        return self._local.midnight(now, 2 if clock_s >= self._published_s else 1).timestamp()

    def _trouble(self, series: Series, count: int, now_s: float) -> str | None:
        """Why the first `count` rows say nothing of the present, if they do not."""
        where = self._prices.feed.name
        if not count:
            return f"{where} has no prices yet"
        last_s = float(series.times_s[count - 1])
        age_h, oldest_h = (now_s - last_s) / 3600.0, self._config.oldest_h
        if age_h > oldest_h:
            return f"{where} ended {age_h:.0f} h ago, over the limit of {oldest_h:g} h"
        values = series.values[:count]
        others = np.flatnonzero(values != values[-1])
        first = int(others[-1]) + 1 if len(others) else 0
        same_h = (last_s + series.hold_s - float(series.times_s[first])) / 3600.0
        if same_h > self._config.frozen_after_h:
            return (
                f"{where} has stood still at {values[-1]:g} USD/kWh for {same_h:.0f} h, over the limit of "
                f"{self._config.frozen_after_h:g} h"
            )
        return None

    def _without(self, times_s: Floats, now_s: float, trouble: str) -> Priced:
        fallback = self._config.fallback_usd_per_kwh
        if fallback is None:
            unknown = np.full(len(times_s), np.nan)
            return Priced(unknown, unknown, now_s, trouble, f"{trouble}; no miner is moved")
        prices, sigma = np.full(len(times_s), fallback), np.zeros(len(times_s))
        words = f"{trouble}; the fallback of {fallback:g} USD/kWh holds"
        return Priced(prices, sigma, now_s, words, words)


def _seconds(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 3600 + int(minutes) * 60


def _month_day(text: str) -> int:
    return int(text[:2]) * 100 + int(text[3:])

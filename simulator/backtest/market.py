"""Prices, hashprice and weather on the steps of a backtest, and what of them is known at each step."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from agent.errors import InputError
from agent.money.prices import MarketSeries, Series, read_market, read_prices
from simulator.backtest.weather_csv import read_weather
from simulator.weather import Ambient

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Horizon = Literal["day-ahead", "none"]

STEPS_S: dict[str, int] = {"5m": 300, "15m": 900, "1h": 3600}
# The prices of a day are published at this hour (local time) of the day before.
PUBLISHED_H = 12
_MOST_STEPS = 2_000_000


@dataclass(frozen=True, slots=True)
class MarketPlan:
    """Where a backtest's money comes from.

    Args:
        prices, market: CSV files.
        weather: CSV file, or the farm's own weather.
        zone, weather_zone: rows to take where a file holds several zones.
        first, last: days, `last` not included; None is as far as the files reach.
        step_s: length of a step.
        horizon: how far prices are known ahead.
        timezone: in whose days the prices are published.
        pool_fee_share: taken off hashprice.
        pue: power of the site over that of its miners.
    """

    prices: Path
    market: Path
    weather: Path | Ambient
    zone: str | None = None
    weather_zone: str | None = None
    first: date | None = None
    last: date | None = None
    step_s: int = 3600
    horizon: Horizon = "day-ahead"
    timezone: str = "UTC"
    pool_fee_share: float = 0.02
    pue: float = 1.0


@dataclass(frozen=True, slots=True)
class Grid:
    """T equal steps from `start_s` (Unix seconds) on.

    Args:
        price_usd_per_kwh: [T] billed, before PUE; a missing hour is billed as the one before it.
        price_known: [T] False where the price file has no row: nothing may be changed then.
        known_until: [T] the first step whose price is not known yet at each step.
        hashprice_usd_per_ths_day: [T] before pool fee, of the day that the step is in.
        price_usd_per_btc: [T] NaN where unknown.
        outside_c: [T].
        day: [T] number of the UTC day, from 0.
        carried: steps whose price, hashprice and temperature had to be carried.
    """

    start_s: float
    step_s: int
    price_usd_per_kwh: Floats
    price_known: Bools
    known_until: Ints
    hashprice_usd_per_ths_day: Floats
    price_usd_per_btc: Floats
    outside_c: Floats
    day: Ints
    pue: float
    pool_fee_share: float
    carried: dict[str, int]
    prices: Series
    market: MarketSeries

    @property
    def steps(self) -> int:
        """T."""
        return len(self.price_usd_per_kwh)

    @property
    def step_h(self) -> float:
        """Length of a step in hours."""
        return self.step_s / 3600.0

    @property
    def times_s(self) -> Floats:
        """[T] Unix seconds at which steps begin."""
        return np.asarray(self.start_s + self.step_s * np.arange(self.steps), dtype=np.float64)

    @property
    def cost_usd_per_kwh(self) -> Floats:
        """[T] with PUE."""
        return self.price_usd_per_kwh * self.pue

    @property
    def net_hashprice(self) -> Floats:
        """[T] USD per TH/s and day after pool fee."""
        return self.hashprice_usd_per_ths_day * (1.0 - self.pool_fee_share)

    @property
    def months(self) -> list[str]:
        """[T] `2021-03` of each step."""
        return [str(month) for month in (self.times_s.astype("datetime64[s]").astype("datetime64[M]"))]


def lay_out(plan: MarketPlan) -> Grid:
    """Read the files and put them on the steps.

    Raises:
        InputError: days that the files do not cover, an unknown time zone, too many steps.
        DataError: a file is wrong; the message names file, line and column.
    """
    prices = read_prices(plan.prices, plan.zone)
    market = read_market(plan.market)
    start_s, end_s = _span(plan, prices, market)
    steps = int((end_s - start_s) // plan.step_s)
    if steps < 1:
        raise InputError(f"--from and --to leave no step of {plan.step_s} s; choose a later --to")
    if steps > _MOST_STEPS:
        raise InputError(f"{steps} steps are more than {_MOST_STEPS}; choose a longer --step or fewer days")
    times = start_s + plan.step_s * np.arange(steps, dtype=np.float64)
    price = _meaned(prices, times, plan.step_s)
    hashprice, coin = market.hashprice.at(times), market.price_usd_per_btc.at(times)
    outside, weather_missing = _outside(plan, times)
    known = np.isfinite(price)
    carried = {
        "price": int((~known).sum()),
        "hashprice": int(np.isnan(hashprice).sum()),
        "weather": weather_missing,
    }
    return Grid(
        start_s=start_s,
        step_s=plan.step_s,
        price_usd_per_kwh=_carried(price, f"{plan.prices}: no price in the days asked for"),
        price_known=known,
        known_until=known_until(times, plan.step_s, plan.horizon, plan.timezone),
        hashprice_usd_per_ths_day=_carried(hashprice, f"{plan.market}: no hashprice in the days asked for"),
        price_usd_per_btc=coin,
        outside_c=outside,
        day=np.asarray((times // 86400.0) - (times[0] // 86400.0), dtype=np.int64),
        pue=plan.pue,
        pool_fee_share=plan.pool_fee_share,
        carried=carried,
        prices=prices,
        market=market,
    )


def known_until(times_s: Floats, step_s: int, horizon: Horizon, timezone: str = "UTC") -> Ints:
    """First step whose price is not known yet at each step, [T].

    `none`: the one after the step at hand. `day-ahead`: known are the prices of the local day, and from
    noon on those of the next.

    Raises:
        InputError: there is no such time zone.
    """
    count = len(times_s)
    if horizon == "none":
        return np.arange(1, count + 1)
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise InputError(f"--timezone: no time zone {timezone!r}; give one as in Europe/Berlin") from error
    ends: dict[tuple[date, bool], float] = {}
    out = np.empty(count)
    for i, at in enumerate(times_s):
        local = datetime.fromtimestamp(at, UTC).astimezone(zone)
        key = (local.date(), local.hour >= PUBLISHED_H)
        if key not in ends:
            day = key[0] + timedelta(days=2 if key[1] else 1)
            ends[key] = datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()
        out[i] = ends[key]
    reached = np.ceil((out - times_s[0]) / step_s - 1e-9).astype(np.int64)
    return np.asarray(np.clip(reached, np.arange(1, count + 1), count))


def _span(plan: MarketPlan, prices: Series, market: MarketSeries) -> tuple[float, float]:
    """Unix seconds of the first and the last moment, whole days."""
    low = max(prices.times_s[0], market.hashprice.times_s[0])
    high = min(prices.times_s[-1] + prices.hold_s, market.hashprice.times_s[-1] + market.hashprice.hold_s)
    start = _midnight(plan.first) if plan.first is not None else float(np.ceil(low / 86400.0) * 86400.0)
    end = _midnight(plan.last) if plan.last is not None else float(np.floor(high / 86400.0) * 86400.0)
    if start >= end:
        raise InputError(f"--from {_day(start)} is not before --to {_day(end)}")
    if start < low - 1.0 or end > high + 1.0:
        raise InputError(
            f"{_day(start)} to {_day(end)} is not covered: {plan.prices.name} and {plan.market.name} both "
            f"reach from {_day(low)} to {_day(high)}; move --from and --to inside"
        )
    return start, end


def _meaned(series: Series, times: Floats, step_s: int) -> Floats:
    """Mean of a step function over each step, NaN where a part of it is missing."""
    native = float(np.median(np.diff(series.times_s))) if len(series.times_s) > 1 else float(step_s)
    parts = max(1, round(step_s / native))
    total = np.zeros(len(times))
    for part in range(parts):
        total += series.at(times + part * step_s / parts)
    return total / parts


def _carried(values: Floats, problem: str) -> Floats:
    """The last known value where one is missing; before the first, the first."""
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        raise InputError(problem)
    last = np.searchsorted(known, np.arange(len(values)), side="right") - 1
    return np.asarray(values[known[np.maximum(last, 0)]])


def _outside(plan: MarketPlan, times: Floats) -> tuple[Floats, int]:
    if not isinstance(plan.weather, Path):
        return np.asarray(plan.weather(times), dtype=np.float64), 0
    series = read_weather(plan.weather, plan.weather_zone or plan.zone)
    found = series.at(times)
    if not np.isfinite(found).any():
        raise InputError(f"{plan.weather}: no temperature in the days asked for; move --from and --to")
    return _carried(found, str(plan.weather)), int(np.isnan(found).sum())


def _midnight(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def _day(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d")

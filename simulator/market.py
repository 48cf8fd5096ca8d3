"""Made-up market and electricity prices, as CSV files in the columns that the agent and the trainer read.

A day's figures depend on the seed and the date alone, so files that overlap in time agree.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.errors import InputError
from simulator.noise import hashed_normal, hashed_uniform

Floats = NDArray[np.float64]
ZONE = "SIM"
MARKET_COLUMNS = (
    "date_utc",
    "price_usd_per_btc",
    "network_hashrate_ths",
    "subsidy_btc_per_day",
    "fees_btc_per_day",
    "hashprice_usd_per_th_day",
)
PRICE_COLUMNS = ("time_utc", "zone", "price_usd_per_mwh")
MAX_DAYS = 36_525
_EPOCH = datetime(2024, 4, 20, tzinfo=UTC)
_LONG_WAVES = ((7, 0.35), (30, 0.5), (120, 0.6), (730, 0.5))
_SHORT_WAVES = ((4, 0.7), (12, 0.6), (40, 0.4))
# Share of an ordinary day's price by hour (UTC): night low, morning peak, midday sun, evening peak.
_NIGHT_TO_NOON = (0.72, 0.68, 0.66, 0.66, 0.72, 0.85, 1.08, 1.25, 1.22, 1.02, 0.86, 0.76)
_NOON_TO_NIGHT = (0.72, 0.72, 0.80, 0.95, 1.15, 1.42, 1.55, 1.45, 1.25, 1.05, 0.90, 0.80)
_DAY_SHAPE = np.array((*_NIGHT_TO_NOON, *_NOON_TO_NIGHT))


def market_days(first: datetime, days: int, seed: int) -> list[tuple[str, float, float, float, float, float]]:
    """Rows of `MARKET_COLUMNS`, one a day from `first`'s date on: price and network wander, fees jump.

    Raises:
        InputError: not 1 to 36525 days.
    """
    index = _day_index(first, days)
    # Wandering by sums of slow waves instead of a running sum: any day can be had without those before.
    price = 88_000.0 * np.exp(0.22 * _wander(seed, 11, index) + 0.02 * hashed_normal(seed, 12, index))
    growth = 7.6e8 * np.exp(0.12 * np.tanh((index - 400.0) / 700.0) + 0.05 * _wander(seed, 13, index))
    network = growth * np.exp(0.03 * hashed_normal(seed, 14, index))
    subsidy = 450.0 * np.exp(0.03 * hashed_normal(seed, 15, index))
    fees = 8.0 * np.exp(0.5 * _wander(seed, 16, index) + 0.3 * hashed_normal(seed, 17, index))
    fees = fees * np.where(hashed_uniform(seed, 18, index) < 0.01, 6.0, 1.0)
    hashprice = (subsidy + fees) * price / network
    dates = [(_EPOCH + timedelta(days=int(i))).date().isoformat() for i in index]
    rows = zip(dates, *(x.tolist() for x in (price, network, subsidy, fees, hashprice)), strict=True)
    return list(rows)


def price_hours(first: datetime, days: int, seed: int, mean_usd_per_mwh: float = 52.0) -> Floats:
    """Electricity prices in USD/MWh for every hour of `days` days from `first`'s date on, [24 x days].

    Spikes of several hundred dollars on a few evenings, cheap and sometimes negative noons.

    Raises:
        InputError: not 1 to 36525 days.
    """
    day = np.repeat(_day_index(first, days), 24)
    hour = np.tile(np.arange(24), days)
    weekend = ((day + _EPOCH.weekday()) % 7) >= 5
    year = np.cos(2.0 * np.pi * (day + 95.0) / 365.25)
    level = mean_usd_per_mwh * (1.0 + 0.12 * year) * np.where(weekend, 0.82, 1.0)
    level = level * np.exp(0.30 * _wander(seed, 21, day, _SHORT_WAVES))
    price = level * _DAY_SHAPE[hour] * np.exp(0.08 * hashed_normal(seed, 22, day * 24 + hour))
    sun = np.maximum(0.0, np.cos(2.0 * np.pi * (hour - 12.5) / 24.0)) ** 2
    windy = hashed_uniform(seed, 23, day) < 0.18
    price = price - np.where(windy, level * (0.45 + 0.6 * hashed_uniform(seed, 24, day)) * sun, 0.0)
    evening = np.exp(-0.5 * ((hour - 18.5) / 1.6) ** 2)
    height = 150.0 * np.exp(1.1 * np.clip(hashed_normal(seed, 25, day), -1.5, 2.5))
    price = price + np.where(hashed_uniform(seed, 26, day) < 0.045, height * evening, 0.0)
    return np.asarray(np.clip(price, -150.0, 5000.0))


def write_market(path: Path, first: datetime, days: int, seed: int) -> None:
    """Write `market.csv`.

    Raises:
        InputError: the file cannot be written, or not 1 to 36525 days.
    """
    rows = (
        (date, f"{price:.2f}", f"{network:.0f}", f"{subsidy:.4f}", f"{fees:.4f}", f"{hashprice:.8f}")
        for date, price, network, subsidy, fees, hashprice in market_days(first, days, seed)
    )
    _write(path, MARKET_COLUMNS, rows)


def write_prices(path: Path, first: datetime, days: int, seed: int, mean_usd_per_mwh: float = 52.0) -> None:
    """Write `prices.csv`, hourly.

    Raises:
        InputError: the file cannot be written, or not 1 to 36525 days.
    """
    start = _midnight(first)
    rows = (
        ((start + timedelta(hours=hour)).isoformat().replace("+00:00", "Z"), ZONE, f"{price:.2f}")
        for hour, price in enumerate(price_hours(first, days, seed, mean_usd_per_mwh).tolist())
    )
    _write(path, PRICE_COLUMNS, rows)


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(rows)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def _midnight(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _day_index(first: datetime, days: int) -> NDArray[np.int64]:
    if not 1 <= days <= MAX_DAYS:
        raise InputError(f"{days} days: expected 1 to {MAX_DAYS}")
    start = (_midnight(first) - _EPOCH).days
    return np.arange(start, start + days, dtype=np.int64)


def _wander(
    seed: int, channel: int, index: NDArray[np.int64], waves: Sequence[tuple[int, float]] = _LONG_WAVES
) -> Floats:
    """A wandering series of about unit size: smooth random steps on several time scales (days, weight)."""
    total = np.zeros(len(index))
    for scale, weight in waves:
        place = index / scale
        low = np.floor(place).astype(np.int64)
        smooth = 0.5 - 0.5 * np.cos(math.pi * (place - low))
        before = hashed_normal(seed, channel * 1000 + scale, low)
        after = hashed_normal(seed, channel * 1000 + scale, low + 1)
        total += weight * (before + (after - before) * smooth)
    return total

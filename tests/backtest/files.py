"""Price, market and weather files, and a farm, made up for a few days."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

FARM = """\
name: small
seed: 3
groups:
  - {model: antminer-s19j-pro, count: 2, first_address: 127.50.0.1}
  - {model: whatsminer-m50s, count: 2, first_address: 127.50.1.1}
  - {model: antminer-s19k-pro, firmware: luxos, count: 1, first_address: 127.50.2.1}
  - {model: antminer-t21, firmware: luxos, count: 1, first_address: 127.50.3.1}
"""
START = datetime(2022, 3, 1, tzinfo=UTC)


def write_farm(folder: Path, text: str = FARM) -> Path:
    path = folder / "farm.yaml"
    path.write_text(text)
    return path


def write_prices(
    folder: Path,
    days: int = 5,
    leave_out: tuple[int, ...] = (),
    zones: tuple[str, ...] = ("here", "there"),
    packed: bool = False,
) -> Path:
    rng = np.random.default_rng(4)
    lines = ["time_utc,zone,price_usd_per_mwh"]
    for zone in zones:
        for hour in range(24 * days):
            value = 70.0 + 45.0 * np.cos(2.0 * np.pi * (hour % 24 - 18) / 24.0) + rng.normal(0.0, 10.0)
            if hour not in leave_out:
                lines.append(f"{START + timedelta(hours=hour):%Y-%m-%d %H:%M:%S+00:00},{zone},{value:.3f}")
    text = "\n".join(lines) + "\n"
    path = folder / ("prices.csv.gz" if packed else "prices.csv")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    return path


def write_market(folder: Path, days: int = 5) -> Path:
    path = folder / "market.csv"
    rows = ["date_utc,price_usd_per_btc,hashprice_usd_per_th_day"]
    rows += [f"{START + timedelta(days=day):%Y-%m-%d},40000,{0.075 + 0.001 * day}" for day in range(-2, days)]
    path.write_text("\n".join(rows) + "\n")
    return path


def write_weather(folder: Path, days: int = 5) -> Path:
    path = folder / "weather.csv"
    rows = ["time_utc,zone,temp_c"]
    for hour in range(24 * days):
        temp = 10.0 + 6.0 * np.cos(2.0 * np.pi * (hour - 15) / 24.0)
        rows.append(f"{START + timedelta(hours=hour):%Y-%m-%dT%H:%M:%SZ},here,{temp:.2f}")
    path.write_text("\n".join(rows) + "\n")
    return path

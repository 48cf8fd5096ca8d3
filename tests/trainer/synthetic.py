"""A fleet with physics of its own, written down as telemetry: quick, seeded, and with known truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from agent.hardware.catalogue import Catalogue
from agent.money.prices import MarketSeries, Series
from agent.telemetry import TELEMETRY_COLUMNS
from trainer.lake import Telemetry

Floats = NDArray[np.float64]
START_S = 1_767_225_600.0  # 2026-01-01
MODELS = ("whatsminer-m30s-plus-plus", "whatsminer-m50", "antminer-s21", "antminer-t21")
# Exponent of P ~ h^k of each model: the shape that training has to find.
EXPONENT = dict(zip(MODELS, (1.25, 1.45, 1.6, 1.35), strict=True))


@dataclass(frozen=True)
class Truth:
    """What a unit really is."""

    model: str
    rated_ths: float
    rated_w: float
    power_level: float
    rate_level: float
    exponent: float

    def rate(self, share: Floats) -> Floats:
        """TH/s at a power setting, at 25 C."""
        return self.rated_ths * self.rate_level * share ** (1.0 / self.exponent)

    def power(self, share: Floats) -> Floats:
        """W at a power setting, at 25 C."""
        return self.rated_w * self.power_level * share


def fleet(
    days: int = 10,
    units_per_model: int = 6,
    seed: int = 1,
    models: tuple[str, ...] = MODELS,
    step_s: float = 600.0,
) -> tuple[Telemetry, list[Truth]]:
    """Telemetry of a whole fleet, and what its units are. Each changes its setting about twice a day."""
    rng = np.random.default_rng(seed)
    count = int(days * 86400 / step_s)
    at = START_S + step_s * np.arange(count)
    truths, parts, names = [], [], []
    for model in models:
        profile = Catalogue.load().profiles[model]
        for i in range(units_per_model):
            truth = Truth(
                model,
                profile.rated_hashrate_ths.value,
                profile.rated_power_w.value,
                float(np.exp(rng.normal(0.0, 0.03))),
                float(np.exp(rng.normal(0.0, 0.03))),
                EXPONENT[model] + float(rng.normal(0.0, 0.04)),
            )
            truths.append(truth)
            names.append(("farm", f"{model}-{i}", model))
            parts.append(_history(truth, at, rng))
    unknown = np.full(count, np.nan)
    columns = {
        c.name: np.concatenate([part.get(c.name, unknown) for part in parts]) for c in TELEMETRY_COLUMNS
    }
    columns["power_metered"] = np.where(np.isfinite(columns["power_w"]), 0.0, np.nan)
    unit = np.repeat(np.arange(len(truths)), count)
    starts = np.arange(len(truths) + 1) * count
    return Telemetry(np.tile(at, len(truths)), unit, tuple(names), columns, starts), truths


def _history(truth: Truth, at: Floats, rng: np.random.Generator) -> dict[str, Floats]:
    step_s = float(at[1] - at[0])
    per_change = round(12 * 3600 / step_s)
    levels = rng.choice([0.6, 0.7, 0.8, 0.9, 1.0], size=len(at) // per_change + 2)
    offset = int(rng.integers(per_change))
    share = np.repeat(levels, per_change)[offset : offset + len(at)]
    since = np.zeros(len(at))
    for i in range(1, len(at)):
        since[i] = 0.0 if share[i] != share[i - 1] else since[i - 1] + step_s
    since += 7200.0 * (np.cumsum(since == 0.0) <= 1)
    intake = 22.0 + 6.0 * np.sin(2 * np.pi * (at - START_S) / 86400.0) + rng.normal(0.0, 0.3, len(at))
    ramp = np.clip(since / 1500.0, 0.0, 1.0)
    rate = truth.rate(share) * (1.0 - 0.0005 * (intake - 25.0)) * ramp * np.exp(rng.normal(0, 0.01, len(at)))
    power = truth.power(share) * (1.0 + 0.002 * (intake - 25.0)) * (0.3 + 0.7 * ramp)
    power *= np.exp(rng.normal(0.0, 0.005, len(at)))
    accepted = np.cumsum(np.maximum(rng.poisson(np.maximum(rate, 0.0) * 0.5), 0)).astype(np.float64)
    nothing = np.full(len(at), np.nan)
    return {
        "hashrate_ths": rate,
        "hashrate_avg_ths": rate,
        "hashrate_expected_ths": truth.rate(share),
        "power_w": power,
        "setting_share": share,
        "is_hashing": (rate > 1.0).astype(np.float64),
        "chip_temp_c": intake + 40.0 * power / truth.rated_w,
        "board_temp_c": intake + 30.0 * power / truth.rated_w,
        "inlet_temp_c": intake,
        "ambient_temp_c": nothing,
        "fan_rpm": 4000.0 + 0.0 * at,
        "voltage_v": nothing,
        "frequency_mhz": nothing,
        "boards_hashing": np.full(len(at), 3.0),
        "boards_expected": np.full(len(at), 3.0),
        "hw_errors": np.zeros(len(at)),
        "uptime_s": since,
        "shares_accepted": accepted,
        "shares_rejected": np.floor(0.004 * accepted),
        "shares_stale": np.floor(0.002 * accepted),
        "rated_hashrate_ths": np.full(len(at), truth.rated_ths),
        "rated_power_w": np.full(len(at), truth.rated_w),
    }


def market(days: int = 400) -> MarketSeries:
    """A hashprice that falls slowly."""
    times = START_S - 86400.0 + 86400.0 * np.arange(days)
    return MarketSeries(
        Series(times, 0.055 - 0.00001 * np.arange(days), 2 * 86400.0),
        Series(times, np.full(days, 90_000.0), 2 * 86400.0),
    )


def prices(days: int = 400) -> Series:
    """Hourly electricity with a dear evening."""
    times = START_S - 86400.0 + 3600.0 * np.arange(days * 24)
    hour = np.arange(days * 24) % 24
    return Series(times, np.where((hour >= 17) & (hour < 21), 0.12, 0.05), 3 * 3600.0)


def write_lake(folder: Path, telemetry: Telemetry) -> None:
    """`telemetry` as the lake lays it out, with market.csv and prices.csv beside."""
    day = ((telemetry.at_s - START_S) // 86400.0).astype(np.int64)
    for number in np.unique(day):
        own = day == number
        date = str(np.datetime64("2026-01-01") + int(number))
        place = folder / f"date={date}" / "site=farm"
        place.mkdir(parents=True)
        unit = telemetry.unit[own]
        power = telemetry.columns["power_w"][own]
        table = {
            "at": pa.array((telemetry.at_s[own] * 1e6).astype(np.int64), pa.timestamp("us", tz="UTC")),
            "site_id": pa.array([telemetry.units[u][0] for u in unit]),
            "miner_id": pa.array([telemetry.units[u][1] for u in unit]),
            "model": pa.array([telemetry.units[u][2] for u in unit]),
            "firmware": pa.array(["stock"] * len(unit)),
            "power_source": pa.array(["measured" if np.isfinite(p) else None for p in power], pa.string()),
            **{name: pa.array(values[own]) for name, values in telemetry.columns.items()},
        }
        pq.write_table(pa.table(table), place / "part-0.parquet")
    with (folder / "market.csv").open("w") as file:
        file.write("date_utc,hashprice_usd_per_th_day\n")
        for i in range(40):
            file.write(f"{np.datetime64('2025-12-31') + i},{0.055 - 0.00001 * i:.5f}\n")
    with (folder / "prices.csv").open("w") as file:
        file.write("time_utc,price_usd_per_kwh\n")
        for i in range(40 * 24):
            moment = np.datetime64("2025-12-31T00:00:00") + np.timedelta64(i, "h")
            file.write(f"{moment}Z,{0.12 if 17 <= i % 24 < 21 else 0.05}\n")

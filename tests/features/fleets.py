"""Fleets for these tests: telemetry as rows, and the frames that a live agent would make of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import numpy as np

from agent.fleet import FleetFrame, Unit
from agent.money.conditions import MARKET_COLUMNS, Conditions
from agent.telemetry import TELEMETRY_COLUMNS

# A Monday, on the edge of every kind of bucket.
START_S = datetime(2026, 1, 5, tzinfo=UTC).timestamp()
COLUMNS = tuple(column.name for column in TELEMETRY_COLUMNS)
MARKET = Conditions(
    datetime(2026, 1, 5, tzinfo=UTC),
    hashprice_usd_per_ths_day=0.05,
    price_usd_per_btc=90_000.0,
    price_usd_per_kwh=0.06,
    price_volatility_24h=0.03,
    price_change_7d=-0.05,
    difficulty=1.4e14,
    difficulty_change_14d=0.02,
    fee_share=0.01,
    hashprice_change_7d=-0.07,
    hashprice_change_30d=0.1,
    tariff_rank=0.25,
)

Row = dict[str, float]


def units(count: int) -> tuple[Unit, ...]:
    return tuple(Unit(f"m{i}", f"10.0.0.{i}", None, None, "stock", 100.0, 3000.0) for i in range(count))


def row(**values: float) -> Row:
    """One miner's reading; what is not named is unknown."""
    blank = dict.fromkeys(COLUMNS, float("nan"))
    return blank | {"rated_hashrate_ths": 100.0, "rated_power_w": 3000.0} | values


def frame(at_s: float, fleet: Sequence[Unit], readings: dict[str, tuple[float, Row]]) -> FleetFrame:
    """A frame at `at_s` of readings `(observed_s, row)` by miner; miners without one are not fresh."""
    blank = (float("nan"), row())
    rows = [readings.get(unit.miner_id, blank) for unit in fleet]
    return FleetFrame(
        at=datetime.fromtimestamp(at_s, UTC),
        units=tuple(fleet),
        columns={name: np.array([values[name] for _, values in rows]) for name in COLUMNS},
        fresh=np.array([unit.miner_id in readings for unit in fleet], dtype=np.bool_),
        power_source=(None,) * len(fleet),
        observed_s=np.array([seen for seen, _ in rows]),
    )


def table(rows: Iterable[tuple[str, float, Row]]) -> dict[str, np.ndarray]:
    """Rows `(miner_id, at_s, row)` as a telemetry table with the market of `MARKET`."""
    kept = list(rows)
    columns = {name: np.array([values[name] for _, _, values in kept], dtype=np.float64) for name in COLUMNS}
    return columns | {
        "miner_id": np.array([miner for miner, _, _ in kept], dtype=np.str_),
        "at": np.array([at for _, at, _ in kept], dtype=np.float64),
        **{name: np.full(len(kept), getattr(MARKET, name)) for name in MARKET_COLUMNS},
    }


def lively(rng: np.random.Generator, times_s: Sequence[float]) -> list[Row]:
    """Plausible readings of one miner at rising times: restarts, lost fields, changes of setting."""
    rows: list[Row] = []
    started, accepted, rejected, share = times_s[0] - 7200.0 if len(times_s) else 0.0, 1000.0, 5.0, 0.9
    for at in times_s:
        if rng.random() < 0.05:
            started, accepted, rejected = at - rng.uniform(0.0, 200.0), 0.0, 0.0
        if rng.random() < 0.1:
            share = float(rng.choice([0.0, 0.5, 0.7, 0.9, 1.0]))
        accepted += float(rng.integers(0, 40))
        rejected += float(rng.integers(0, 2))
        values = {
            "hashrate_ths": 100.0 * share**0.7 * rng.normal(1.0, 0.02),
            "power_w": 3000.0 * share * rng.normal(1.0, 0.02),
            "setting_share": share,
            "is_hashing": float(share > 0.0),
            "chip_temp_c": 60.0 + 20.0 * share + rng.normal(),
            "ambient_temp_c": 25.0 + rng.normal(),
            "uptime_s": at - started,
            "shares_accepted": accepted,
            "shares_rejected": rejected,
            "shares_stale": 0.0,
            "hw_errors": accepted // 50,
            "fan_rpm": 3000.0 + 2500.0 * share + 100.0 * rng.normal(),
            "boards_hashing": 3.0 - float(rng.random() < 0.1),
            "boards_expected": 3.0,
            "power_limit_w": 3000.0 * share,
            "work_mode_code": float(rng.integers(0, 6)),
            "chip_temp_spread_c": abs(rng.normal(4.0, 1.0)),
            "board_temp_spread_c": abs(rng.normal(3.0, 1.0)),
            "share_difficulty": float(rng.choice([65536.0, 131072.0])),
        }
        lost = [name for name in values if rng.random() < 0.05]
        rows.append(row(**{name: value for name, value in values.items() if name not in lost}))
    return rows

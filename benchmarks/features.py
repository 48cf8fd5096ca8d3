"""Cost of features, as one JSON document: live cycle, memory per miner, and history against pandas."""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from agent.conditions import Conditions
from agent.features import FEATURES, FeatureState, batch_features
from agent.fleet import FleetFrame, Unit
from agent.telemetry import TELEMETRY_COLUMNS

START = datetime(2026, 1, 1, tzinfo=UTC)


def telemetry(rng: np.random.Generator, minutes: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """[T,N] plausible values of every column."""
    shape = (len(minutes), count)
    share = 0.7 + 0.1 * (minutes[:, None] // 720 % 4) * np.ones(shape)
    rate = 100.0 * share**0.7 * rng.normal(1.0, 0.01, shape)
    table = {column.name: np.full(shape, np.nan) for column in TELEMETRY_COLUMNS}
    table |= {
        "hashrate_ths": rate,
        "power_w": 3250.0 * share * rng.normal(1.0, 0.01, shape),
        "setting_share": share,
        "is_hashing": np.ones(shape),
        "chip_temp_c": 70.0 + rng.normal(0.0, 1.0, shape),
        "ambient_temp_c": 25.0 + rng.normal(0.0, 1.0, shape),
        "uptime_s": 60.0 * minutes[:, None] * np.ones(shape),
        "shares_accepted": 20.0 * minutes[:, None] * np.ones(shape),
        "shares_rejected": 0.1 * minutes[:, None] * np.ones(shape),
        "rated_hashrate_ths": np.full(shape, 100.0),
        "rated_power_w": np.full(shape, 3250.0),
    }
    return table


def live(miners: int, cycles: int) -> dict[str, float]:
    units = tuple(
        Unit(f"m{i}", f"10.0.{i // 250}.{i % 250}", None, None, "stock", 100.0, 3250.0) for i in range(miners)
    )
    state = FeatureState([unit.miner_id for unit in units])
    rng = np.random.default_rng(1)
    warm = np.arange(0.0, 2 * 1440.0, 10.0)
    minutes = np.concatenate([warm, warm[-1] + 0.5 * np.arange(1, cycles + 1)])
    table = telemetry(rng, minutes, miners)
    spent = []
    for k, minute in enumerate(minutes):
        at = START + timedelta(minutes=float(minute))
        columns = {name: values[k] for name, values in table.items()}
        frame = FleetFrame(at, units, columns, np.ones(miners, dtype=np.bool_), (None,) * miners)
        now = Conditions(at, 0.05, 90_000.0, 0.06)
        begun = time.process_time()
        state.observe(frame, now)
        state.compute(frame, now)
        spent.append(1000.0 * (time.process_time() - begun))
    timed = np.array(spent[len(warm) :])
    return {
        "miners": miners,
        "ms_per_cycle_median": round(float(np.median(timed)), 2),
        "ms_per_cycle_p95": round(float(np.quantile(timed, 0.95)), 2),
        "ms_per_cycle_worst": round(float(timed.max()), 2),
        "bytes_per_miner": round(state.nbytes / miners),
    }


def history(miners: int, days: float) -> dict[str, float]:
    minutes = np.arange(0.0, 1440.0 * days, 5.0)
    table = {n: v.T.ravel() for n, v in telemetry(np.random.default_rng(2), minutes, miners).items()}
    start_s = START.timestamp()
    at = np.tile(start_s + 60.0 * minutes, miners)
    ids = np.repeat([f"m{i}" for i in range(miners)], len(minutes))
    begun = time.process_time()
    batch_features({"miner_id": ids, "at": at} | table)
    ours_s = time.process_time() - begun

    frame = pd.DataFrame({"miner_id": ids, "at": pd.to_datetime(at, unit="s", utc=True)} | table)
    # The window columns of the table that pandas has a word for, over the whole history.
    begun = time.process_time()
    grouped = frame.set_index("at").groupby("miner_id")[
        ["hashrate_ths", "power_w", "chip_temp_c", "ambient_temp_c"]
    ]
    for window in ("1h", "6h", "24h", "7D"):
        rolling = grouped.rolling(window)
        for stat in ("mean", "std", "min", "max"):
            getattr(rolling, stat)()
    rolling_s = time.process_time() - begun

    # The earlier engine: for each row, a slice of the frame and its statistics. A sample of rows is enough.
    sample = frame[frame.miner_id == "m0"].reset_index(drop=True)
    rows = np.linspace(0, len(sample) - 1, 60).astype(int)
    begun = time.process_time()
    for i in rows:
        now = sample["at"].iloc[i]
        for hours in (1, 6, 24, 168):
            past = sample[(sample["at"] > now - pd.Timedelta(hours=hours)) & (sample["at"] <= now)]
            for column in ("hashrate_ths", "power_w", "chip_temp_c", "ambient_temp_c"):
                values = past[column]
                _ = values.mean(), values.std(), values.min(), values.max()
    loop_rate = len(rows) / (time.process_time() - begun)
    total = len(at)
    return {
        "rows": total,
        "seconds": round(ours_s, 2),
        "rows_per_s": round(total / ours_s),
        "pandas_rolling_seconds": round(rolling_s, 2),
        "times_faster_than_rolling": round(rolling_s / ours_s, 2),
        "pandas_loop_rows_per_s": round(loop_rate, 1),
        "times_faster_than_loop": round(total / ours_s / loop_rate, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--miners", type=int, default=1000)
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--history-miners", type=int, default=40)
    parser.add_argument("--days", type=float, default=30.0)
    parser.add_argument("--json", action="store_true", help="the only format; accepted for symmetry")
    options = parser.parse_args()
    found = {
        "features": len(FEATURES),
        "live": live(options.miners, options.cycles),
        "history": history(options.history_miners, options.days),
    }
    json.dump(found, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()

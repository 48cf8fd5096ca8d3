"""Cost of features, as one JSON document: live cycle, memory per miner, and history against pandas."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from agent.features.inputs import LAGGED, TILT_MEANS, derive
from agent.features.named_windows import blocks_of, history_windows
from agent.features.streaming import FEATURES, FeatureState, batch_features
from agent.features.window_scan import Rows
from agent.fleet import FleetFrame, Unit
from agent.money.conditions import MARKET_COLUMNS, Conditions
from agent.telemetry import TELEMETRY_COLUMNS

WINDOWED = ("hashrate_ths", "power_w", "chip_temp_c")
BLOCK_ROWS = 60_480
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
        "shares_stale": 0.05 * minutes[:, None] * np.ones(shape),
        "hw_errors": 0.2 * minutes[:, None] * np.ones(shape),
        "fan_rpm": 4500.0 + rng.normal(0.0, 50.0, shape),
        "boards_hashing": np.full(shape, 3.0),
        "boards_expected": np.full(shape, 3.0),
        "share_difficulty": np.full(shape, 65536.0),
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


def history(miners: int, days: float, step_min: float) -> dict[str, float]:
    minutes = np.arange(0.0, 1440.0 * days, step_min)
    table = {n: v.T.ravel() for n, v in telemetry(np.random.default_rng(2), minutes, miners).items()}
    start_s = START.timestamp()
    at = np.tile(start_s + 60.0 * minutes, miners)
    ids = np.repeat([f"m{i}" for i in range(miners)], len(minutes))
    market = {name: np.full(len(at), 1.0) for name in MARKET_COLUMNS}
    ours_s = best(lambda: batch_features({"miner_id": ids, "at": at} | table | market))

    frame = pd.DataFrame({"miner_id": ids, "at": pd.to_datetime(at, unit="s", utc=True)} | table)
    derived = derive({name: frame[name].to_numpy() for name in table})
    for name in ("hashrate_ratio", "power_ratio", "intake_temp_c", "steady_j_th", *TILT_MEANS):
        frame[name] = derived[name]
    miner = np.repeat(np.arange(miners), len(minutes))
    windows_s = best(lambda: windows(miner, at, derived))
    count = rolling(frame)
    rolling_s = best(lambda: rolling(frame))
    # The narrowest reading: nothing but mean, deviation, minimum and maximum of four series over 24h.
    rolling_24h_s = best(lambda: rolling_24h(frame))
    ours_24h_s = best(lambda: scan_24h(miner, at, table))

    loop_rate = row_loop(frame[frame.miner_id == "m0"].reset_index(drop=True))
    total = len(at)
    return {
        "rows": total,
        "step_minutes": step_min,
        "seconds_all_features": round(ours_s, 2),
        "rows_per_s": round(total / ours_s),
        "seconds_window_columns": round(windows_s, 2),
        "pandas_rolling_columns": count,
        "pandas_rolling_seconds": round(rolling_s, 2),
        "times_faster_same_columns": round(rolling_s / windows_s, 2),
        "times_faster_with_all_other_features": round(rolling_s / ours_s, 2),
        "seconds_24h_only": round(ours_24h_s, 3),
        "pandas_rolling_24h_only_seconds": round(rolling_24h_s, 3),
        "times_faster_24h_only": round(rolling_24h_s / ours_24h_s, 2),
        "pandas_loop_rows_per_s": round(loop_rate, 1),
        "times_faster_than_loop": round(total / ours_s / loop_rate, 1),
    }


def best(work: Callable[[], object]) -> float:
    """CPU seconds of the best of three."""
    spent = []
    for _ in range(3):
        begun = time.process_time()
        work()
        spent.append(time.process_time() - begun)
    return min(spent)


def rolling(frame: pd.DataFrame) -> int:
    """The window columns of the table by pandas, as quick as it goes; returns how many there are.

    What follows from them by arithmetic alone (momentum, drift, risk, ...) and what holds now are left out.
    """
    made = 0
    # Slopes by sums of time, value and their products; growth of counters, a restart counting anew.
    hours = (frame["at"] - frame["at"].iloc[0]).dt.total_seconds().to_numpy() / 3600.0
    extra = {"t": hours, "tt": hours * hours}
    extra |= {f"t_{column}": hours * frame[column].to_numpy() for column in WINDOWED}
    counters = ["shares_accepted", "shares_rejected", "shares_stale", "hw_errors"]
    steps = frame.groupby("miner_id")[["uptime_s", *counters]].diff()
    for column in counters:
        extra[f"{column}_step"] = steps[column].where(steps[column] >= 0.0, frame[column]).to_numpy()
    extra["restarted"] = (steps["uptime_s"] < 0.0).astype(float).to_numpy()
    grouped = frame.assign(**extra).set_index("at").groupby("miner_id")

    def over(window: str, stat: str, *columns: str) -> pd.DataFrame:
        nonlocal made
        made += len(columns)
        return getattr(grouped[list(columns)].rolling(window), stat)()

    for window in ("1h", "6h"):
        names = ("t", "tt", *WINDOWED, *(f"t_{column}" for column in WINDOWED))
        means = over(window, "mean", *names)
        spread = means["tt"] - means["t"] ** 2
        for column in WINDOWED:
            (means[f"t_{column}"] - means["t"] * means[column]) / spread
        made += 3 - 6
    over("6h", "mean", "hashrate_ratio", "power_ratio")
    day = ("hashrate_ratio", "power_ratio", "intake_temp_c", "is_hashing", "share_difficulty")
    over("24h", "mean", *WINDOWED, *day)
    over("24h", "sum", "restarted", *(f"{column}_step" for column in counters))
    over("24h", "max", *WINDOWED)
    over("24h", "std", *WINDOWED)
    over("24h", "min", "hashrate_ths", "power_w")
    over("7D", "mean", "hashrate_ths", "power_w", "hashrate_ratio", "power_ratio", *TILT_MEANS)
    over("7D", "min", "hashrate_ths", "power_w", "steady_j_th")
    over("7D", "max", "hashrate_ths", "power_w", "fan_rpm")
    over("7D", "std", "hashrate_ths", "power_w")
    for window in ("1h", "6h"):
        for stat in ("std", "min", "max"):
            over(window, stat, "hashrate_ths", "power_w")
    # Correlations of half-hour means with those of an hour before.
    halves = frame.groupby(["miner_id", pd.Grouper(key="at", freq="30min")])[[*WINDOWED, "intake_temp_c"]]
    means = halves.mean()
    before = means.groupby(level=0).shift(2).add_suffix("_before")
    for _, part in means.join(before).groupby(level=0):
        for later, earlier in LAGGED:
            part[later].rolling(45, min_periods=6).corr(part[f"{earlier}_before"])
    return made + len(LAGGED)


def rolling_24h(frame: pd.DataFrame) -> None:
    grouped = frame.set_index("at").groupby("miner_id")[[*WINDOWED, "intake_temp_c"]].rolling("24h")
    for stat in ("mean", "std", "min", "max"):
        getattr(grouped, stat)()


def windows(miner: np.ndarray, at: np.ndarray, columns: dict[str, np.ndarray]) -> None:
    """Every window column of the table by ours, which are those of `rolling` and some more."""
    for begin, end in blocks_of(miner, at):
        history_windows(miner[begin:end], at[begin:end], {n: v[begin:end] for n, v in columns.items()})


def scan_24h(miner: np.ndarray, at: np.ndarray, table: dict[str, np.ndarray]) -> None:
    """Ours of `rolling_24h`: the same four statistics of the same four series over the same rows."""
    names = (*WINDOWED, "ambient_temp_c")
    for begin in range(0, len(at), BLOCK_ROWS):
        span = slice(begin, begin + BLOCK_ROWS)
        rows = Rows(miner[span], at[span], np.ones(len(at[span]), dtype=np.bool_))
        values = np.stack([table[name][span] for name in names])
        for _, sums in rows.moments(values, np.isfinite(values[0]), ("24h",)):
            np.sqrt(sums.m2 / np.maximum(sums.count, 1.0))
        for _, low in rows.lows(np.concatenate([values, -values]), ("24h",)):
            np.negative(low[len(names) :])


def row_loop(sample: pd.DataFrame) -> float:
    """Rows per second of the earlier engine: for each row, a slice of the frame and its statistics."""
    rows = np.linspace(0, len(sample) - 1, 60).astype(int)
    begun = time.process_time()
    for i in rows:
        now = sample["at"].iloc[i]
        for hours in (1, 6, 24, 168):
            past = sample[(sample["at"] > now - pd.Timedelta(hours=hours)) & (sample["at"] <= now)]
            for column in ("hashrate_ths", "power_w", "chip_temp_c", "ambient_temp_c"):
                values = past[column]
                _ = values.mean(), values.std(), values.min(), values.max()
    return len(rows) / (time.process_time() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--miners", type=int, default=1000)
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--history-miners", type=int, default=40)
    parser.add_argument("--days", type=float, default=30.0)
    parser.add_argument("--step-minutes", type=float, default=5.0)
    parser.add_argument("--json", action="store_true", help="the only format; accepted for symmetry")
    options = parser.parse_args()
    found = {
        "features": len(FEATURES),
        "live": live(options.miners, options.cycles),
        "history": history(options.history_miners, options.days, options.step_minutes),
    }
    json.dump(found, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()

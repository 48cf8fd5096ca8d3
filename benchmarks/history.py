"""Cost of making history as JSON: miner-years and rows a second, memory, bytes a row."""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from simulator.history import HistoryPlan
from simulator.history_lake import write_history
from simulator.physics_file import default_physics
from simulator.weather import Seasonal


def run(miners: int, days: int, seed: int) -> dict[str, float]:
    """Make history of all models in equal numbers and throw it away."""
    models = list(default_physics().models.values())
    counts = [miners // len(models) + (i < miners % len(models)) for i in range(len(models))]
    pairs = tuple((model, count) for model, count in zip(models, counts, strict=True) if count)
    plan = HistoryPlan(pairs, Seasonal(seed), date(2026, 1, 1), days, 300, seed)
    folder = Path(tempfile.mkdtemp(prefix="history-"))
    try:
        wall, busy = time.perf_counter(), time.process_time()
        rows = write_history(plan, folder / "lake")
        wall, busy = time.perf_counter() - wall, time.process_time() - busy
        size = sum(file.stat().st_size for file in folder.rglob("*.parquet"))
    finally:
        shutil.rmtree(folder)
    return {
        "miners": miners,
        "days": days,
        "rows": rows,
        "seconds": round(wall, 2),
        "cpu_seconds": round(busy, 2),
        "miner_years_per_second": round(miners * days / 365.25 / wall, 2),
        "miner_years_per_cpu_second": round(miners * days / 365.25 / busy, 2),
        "rows_per_second": round(rows / wall),
        "bytes_per_row": round(size / rows, 1),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0),
    }


def main() -> int:
    """Exit code 1 where a year of one miner takes more than a second of processor time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--miners", type=int, default=200)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    result = run(options.miners, options.days, options.seed)
    print(json.dumps(result, indent=2))
    return 0 if result["miner_years_per_cpu_second"] >= 1.0 else 1


if __name__ == "__main__":
    sys.exit(main())

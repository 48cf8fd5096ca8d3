"""How long the exported graphs take, for the report: one row, a farm, a farm with all its candidates."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from agent.models.bundle import Bundle

ROWS = (1, 1_000, 60_000)
_ROUNDS = 3


def latency(bundle: Bundle) -> list[dict[str, Any]]:
    """CPU milliseconds of each graph for each number of `ROWS`, the quickest of a few runs.

    The agent runs its graphs in one thread, so this is also how long it waits where nothing else runs.
    """
    golden = bundle.manifest.golden
    found: list[dict[str, Any]] = []
    for rows in ROWS:
        place = np.arange(rows) % len(golden.share)
        features = np.array(golden.features, dtype=np.float32)[place]
        share = np.array(golden.share, dtype=np.float32)[place, None]
        money = np.array(golden.economics, dtype=np.float32)[place]
        found.append(
            {
                "rows": rows,
                "power_ms": _quickest(partial(bundle.run_power, features, share)),
                "profit_ms": _quickest(partial(bundle.run_profit, features, share, money)),
            }
        )
    return found


def _quickest(run: Callable[[], object]) -> float:
    times = []
    for _ in range(_ROUNDS):
        begun = time.process_time()
        run()
        times.append(time.process_time() - begun)
    return round(1000.0 * min(times), 3)

"""From books to figures: what each policy earned, month by month, and how it stands to the others."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

from simulator.backtest.ledger import Books, Run
from simulator.backtest.scene import Scene

SCHEMA_VERSION = 1
_YEAR_H = 8766.0


def figures(scene: Scene, run: Run, books: Books, seconds: float) -> dict[str, Any]:
    """What one policy earned and did; money in USD. None where a figure is not known."""
    grid = scene.grid
    years = grid.steps * grid.step_h / _YEAR_H
    days = np.bincount(grid.day, weights=books.profit)
    worst = int(days.argmin())
    months: dict[str, float] = {}
    for month, profit in zip(*_by_month(scene, books), strict=True):
        months[month] = round(profit, 4)
    coins = float(books.coins_btc.sum())
    return {
        "profit_usd": _rounded(books.profit.sum()),
        "revenue_usd": _rounded(books.revenue.sum()),
        "energy_cost_usd": _rounded((books.energy_kwh * grid.price_usd_per_kwh).sum()),
        "energy_kwh": _rounded(books.energy_kwh.sum()),
        "coins_btc": round(coins, 8) if np.isfinite(coins) else None,
        "restarts": int(books.restarts.sum()),
        "changes": int(books.changes.sum()),
        "restarts_per_unit_year": round(float(books.restarts.mean()) / years, 3),
        "most_restarts_per_unit_year": round(float(books.restarts.max()) / years, 3),
        "outside_h": {name: round(hours, 3) for name, hours in books.outside_h.items()},
        "refused": run.refused,
        "worst_day": {"date": _date(grid.start_s + 86400.0 * worst), "profit_usd": _rounded(days[worst])},
        "months": months,
        "seconds": round(seconds, 2),
    }


def compare(policies: dict[str, dict[str, Any]]) -> None:
    """Add uplift, regret and the share of what was possible to each policy's figures, where they exist."""
    for name, base in (("nominal", "always-nominal"), ("on_off_fleet", "on-off-fleet")):
        if base not in policies:
            continue
        for one in policies.values():
            gain = one["profit_usd"] - policies[base]["profit_usd"]
            one[f"uplift_over_{name}_usd"] = _rounded(gain)
            one[f"uplift_over_{name}"] = _ratio(gain, abs(policies[base]["profit_usd"]))
    if "oracle" not in policies:
        return
    most = policies["oracle"]["profit_usd"]
    for one in policies.values():
        one["regret"] = _ratio(most - one["profit_usd"], most) if most > 0.0 else None
        if "always-nominal" in policies:
            least = policies["always-nominal"]["profit_usd"]
            one["oracle_uplift_captured"] = _ratio(one["profit_usd"] - least, most - least)


def _by_month(scene: Scene, books: Books) -> tuple[list[str], list[float]]:
    names, place = np.unique(np.array(scene.grid.months), return_inverse=True)
    return [str(name) for name in names], [float(sum_) for sum_ in np.bincount(place, weights=books.profit)]


def _ratio(top: float, bottom: float) -> float | None:
    return round(top / bottom, 6) if bottom else None


def _rounded(value: float) -> float:
    return round(float(value), 4)


def _date(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d")

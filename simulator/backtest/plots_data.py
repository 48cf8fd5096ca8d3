"""The figures behind the plots of a report: by day, by hour, and of single units."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.models.inference import Curves
from simulator.backtest.ledger import Books
from simulator.backtest.scene import Scene

_DOTS = 600
_UNITS = 6
_OURS = "hashmargin"


def plots_of(scene: Scene, books: dict[str, Books], believed: Curves | None) -> dict[str, Any]:
    """Everything that the report draws.

    Args:
        books: by policy.
        believed: curves of ours at the end.
    """
    shown = _OURS if _OURS in books else next(iter(books))
    return {
        "days": [str(day) for day in _days(scene)],
        "cumulative_usd": {
            name: [round(float(x), 2) for x in np.cumsum(np.bincount(scene.grid.day, weights=one.profit))]
            for name, one in books.items()
        },
        "shown": shown,
        "price_against_power": _price_against_power(scene, books[shown]),
        "setting_map": _setting_map(scene, books[shown]),
        "curves": _curves(scene, believed),
    }


def _days(scene: Scene) -> NDArray[np.datetime64]:
    first = np.datetime64(int(scene.grid.start_s), "s").astype("datetime64[D]")
    return np.asarray(first + np.arange(int(scene.grid.day[-1]) + 1))


def _price_against_power(scene: Scene, books: Books) -> dict[str, list[float]]:
    """Dots spread evenly over the span."""
    grid = scene.grid
    at = np.unique(np.linspace(0, grid.steps - 1, _DOTS).astype(np.int64))
    power_kw = books.energy_kwh[at] / grid.step_h
    return {
        "price_usd_per_mwh": [round(1000.0 * float(x), 3) for x in grid.price_usd_per_kwh[at]],
        "power_kw": [round(float(x), 2) for x in power_kw],
    }


def _setting_map(scene: Scene, books: Books) -> dict[str, Any]:
    """Mean share of rated power by month and hour of day (UTC)."""
    months, place = np.unique(np.array(scene.grid.months), return_inverse=True)
    hour = ((scene.grid.times_s % 86400.0) // 3600.0).astype(np.int64)
    total, count = np.zeros((len(months), 24)), np.zeros((len(months), 24))
    np.add.at(total, (place, hour), books.share)
    np.add.at(count, (place, hour), 1.0)
    mean = np.where(count > 0.0, total / np.maximum(count, 1.0), np.nan)
    return {
        "months": [str(month) for month in months],
        "share": [[None if np.isnan(x) else round(float(x), 4) for x in row] for row in mean],
    }


def _curves(scene: Scene, believed: Curves | None) -> list[dict[str, Any]]:
    """True and believed watts over TH/s at the end, of units of different models."""
    if believed is None:
        return []
    last = scene.grid.steps - 1
    rate, power = scene.rate_ths(last), 1000.0 * scene.power_kw(last)
    seen: set[tuple[str, str]] = set()
    out = []
    for i, unit in enumerate(scene.farm.names):
        key = (unit.model, unit.firmware)
        hashing = np.flatnonzero(scene.farm.exists[i] & ~scene.stops[i])
        if key in seen or len(hashing) < 2 or len(seen) >= _UNITS:
            continue
        seen.add(key)
        out.append(
            {
                "unit": unit.address,
                "model": unit.model,
                "firmware": unit.firmware,
                "rate": [round(float(x), 3) for x in rate[i, hashing]],
                "power": [round(float(x), 1) for x in power[i, hashing]],
                "believed_rate": [round(float(x), 3) for x in believed.hashrate_ths[i, hashing, 1]],
                "believed_power": [round(float(x), 1) for x in believed.power_w[i, hashing, 1]],
            }
        )
    return out

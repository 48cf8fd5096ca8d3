"""What of the coming prices a policy sees: those that are known, then a forecast; or the truth."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agent.money.forecasting import HashpriceForecaster, PriceForecaster
from agent.planner.margins import Horizon
from simulator.backtest.scene import Scene

Floats = NDArray[np.float64]


class Foresight(Protocol):
    """Prices of the coming steps, as seen at one of them."""

    def horizon(self, step: int) -> Horizon:
        """From `step` on, net of fee and with PUE."""
        ...


class TruePrices:
    """The next `hours`, exactly as they come."""

    def __init__(self, scene: Scene, hours: float = 48.0) -> None:
        self._grid = scene.grid
        self._steps = max(1, round(hours / scene.grid.step_h))

    def horizon(self, step: int) -> Horizon:
        """See `Foresight`."""
        span = slice(step, step + self._steps)
        grid = self._grid
        return Horizon(grid.step_h, grid.net_hashprice[span], grid.cost_usd_per_kwh[span])


class ForecastPrices:
    """Published prices, and the agent's own forecasts beyond them and of hashprice.

    Args:
        timezone: whose hours and weekends prices follow.
    """

    def __init__(self, scene: Scene, timezone: str = "UTC", hours: float = 48.0) -> None:
        self._grid = scene.grid
        self._times_s = scene.grid.times_s
        self._steps = max(1, round(hours / scene.grid.step_h))
        self._prices = PriceForecaster(scene.grid.prices, timezone)
        self._hashprice = HashpriceForecaster(scene.grid.market.hashprice)

    def horizon(self, step: int) -> Horizon:
        """See `Foresight`."""
        grid = self._grid
        end = min(step + self._steps, grid.steps)
        now_s, times_s = float(self._times_s[step]), self._times_s[step:end]
        known = min(int(grid.known_until[step]), end)
        until_s = float(self._times_s[0] + grid.step_s * known)
        outlook = self._prices.forecast(now_s, times_s, until_s)
        price, price_sigma = outlook.mean * grid.pue, outlook.sigma * grid.pue
        # What is billed at the steps that are known, so that means over a step and gaps are the same here.
        price[: known - step], price_sigma[: known - step] = grid.cost_usd_per_kwh[step:known], 0.0
        coins = self._hashprice.forecast(now_s, times_s)
        hashprice = coins.mean * (1.0 - grid.pool_fee_share)
        hashprice_sigma = coins.sigma * (1.0 - grid.pool_fee_share)
        hashprice[0], hashprice_sigma[0] = grid.net_hashprice[step], 0.0
        unknown = np.isnan(hashprice)
        return Horizon(
            grid.step_h,
            np.where(unknown, grid.net_hashprice[step], hashprice),
            price,
            np.where(unknown, 0.0, hashprice_sigma),
            price_sigma,
        )

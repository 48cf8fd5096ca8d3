"""What money conditions hold now and over the horizon: the inputs every model and decision shares."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from datetime import datetime

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Conditions:
    """Market and tariff at one moment. NaN where unknown.

    Args:
        at: UTC.
        hashprice_usd_per_ths_day: before pool fee.
        price_usd_per_btc: market price of a coin.
        price_usd_per_kwh: electricity, before PUE.
        price_volatility_24h, price_change_7d: of the coin's price, as `market_history` works them out;
            so are the following.
        difficulty, difficulty_change_14d: of the network.
        fee_share: fees as a share of what blocks bring.
        hashprice_change_7d, hashprice_change_30d: trend of hashprice.
        tariff_rank: share of the known coming hours that are cheaper than now.
    """

    at: datetime
    hashprice_usd_per_ths_day: float
    price_usd_per_btc: float
    price_usd_per_kwh: float
    price_volatility_24h: float = math.nan
    price_change_7d: float = math.nan
    difficulty: float = math.nan
    difficulty_change_14d: float = math.nan
    fee_share: float = math.nan
    hashprice_change_7d: float = math.nan
    hashprice_change_30d: float = math.nan
    tariff_rank: float = math.nan


# What features use of them, the same for a whole fleet.
MARKET_COLUMNS: tuple[str, ...] = tuple(each.name for each in fields(Conditions) if each.name != "at")


@dataclass(frozen=True, slots=True)
class Forecast:
    """Conditions over the holding horizon in equal steps.

    Args:
        start: UTC start of step 0.
        step_h: length of a step in hours.
        price_usd_per_kwh: [S] electricity price per step, PUE not included.
        hashprice_usd_per_ths_day: [S] before pool fee.
        price_source, hashprice_source: words for the stored reasons, naming any fallback in use.
        price_sigma_usd_per_kwh, hashprice_sigma_usd_per_ths_day: [S] standard deviations, 0 where known;
            all 0 where not given.
        pue: [S] power of the site over that of its miners; all 1 where not given.
        known_until: UTC end of the steps whose electricity price is known; None: that of the last step.
    """

    start: datetime
    step_h: float
    price_usd_per_kwh: NDArray[np.float64]
    hashprice_usd_per_ths_day: NDArray[np.float64]
    price_source: str
    hashprice_source: str
    price_sigma_usd_per_kwh: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    hashprice_sigma_usd_per_ths_day: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    known_until: datetime | None = None
    pue: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @property
    def cost_usd_per_kwh(self) -> NDArray[np.float64]:
        """[S] what a kWh drawn by miners costs, cooling included."""
        return np.asarray(self.price_usd_per_kwh * self.pue)

    def __post_init__(self) -> None:
        """Give what was left out its length."""
        if not len(self.pue):
            object.__setattr__(self, "pue", np.ones(len(self.price_usd_per_kwh)))
        for name in ("price_sigma_usd_per_kwh", "hashprice_sigma_usd_per_ths_day"):
            if not len(getattr(self, name)):
                object.__setattr__(self, name, np.zeros(len(self.price_usd_per_kwh)))

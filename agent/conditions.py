"""What money conditions hold now and over the horizon: the inputs every model and decision shares."""

from __future__ import annotations

from dataclasses import dataclass
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
    """

    at: datetime
    hashprice_usd_per_ths_day: float
    price_usd_per_btc: float
    price_usd_per_kwh: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """Conditions over the holding horizon in equal steps.

    Args:
        start: UTC start of step 0.
        step_h: length of a step in hours.
        price_usd_per_kwh: [S] electricity price per step, PUE not included.
        hashprice_usd_per_ths_day: [S] before pool fee.
        price_source, hashprice_source: words for the stored reasons, naming any fallback in use.
    """

    start: datetime
    step_h: float
    price_usd_per_kwh: NDArray[np.float64]
    hashprice_usd_per_ths_day: NDArray[np.float64]
    price_source: str
    hashprice_source: str

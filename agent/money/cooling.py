"""Power of the site over that of its miners, by outside temperature."""

from __future__ import annotations

from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from agent.money.config import CoolingConfig
from agent.money.forecasting import PriceForecaster
from agent.money.prices import Series
from agent.sources.feed import Derived, Feed

Floats = NDArray[np.float64]


class Cooling:
    """PUE over the horizon.

    Args:
        config: None for a PUE that is the same at every temperature.
        fixed: that PUE.
        feed: temperatures, where the configuration takes them from a file or a source.
    """

    def __init__(self, config: CoolingConfig | None, fixed: float, feed: Feed[Series] | None) -> None:
        self._fixed = fixed
        self._config = config
        self._weather = Derived(feed, PriceForecaster, "cooling") if feed is not None else None

    def refresh(self) -> str | None:
        """Read what changed. Returns what is wrong, if something is."""
        return self._weather.refresh() if self._weather is not None else None

    def at(self, times_s: Floats, now: datetime) -> tuple[Floats, str]:
        """PUE at `times_s` [S], rising, and where it comes from."""
        if self._config is None:
            return np.full(len(times_s), self._fixed), f"PUE {self._fixed:g}"
        points = self._config.points
        at_c = [point.outside_c for point in points]
        pues = [point.pue for point in points]
        outside = self.outside_c(times_s, now)
        known = np.isfinite(outside)
        pue = np.where(known, np.interp(outside, at_c, pues), max(pues))
        words = f"PUE {pue[0]:.3g} at {outside[0]:.0f} C" if known[0] else f"PUE {pue[0]:.3g}"
        return pue, words

    def outside_c(self, times_s: Floats, now: datetime) -> Floats:
        """Outside temperature at `times_s` [S]: given or forecast; NaN where unknown or too old."""
        if self._config is None:
            return np.full(len(times_s), np.nan)
        if self._config.outside_c is not None:
            return np.full(len(times_s), self._config.outside_c)
        assert self._weather is not None
        rows = self._weather.feed.value.times_s
        now_s = now.timestamp()
        begun = int(np.searchsorted(rows, now_s, side="right"))
        if not begun or now_s - rows[begun - 1] > 3600.0 * self._config.max_age_h:
            return np.full(len(times_s), np.nan)
        # Rows ahead are a weather forecast, which is better than any of ours.
        return self._weather.value.forecast(now_s, times_s, float(rows[-1]) + 1.0).mean

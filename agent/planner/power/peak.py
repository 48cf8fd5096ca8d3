"""The charge on a month's highest power: below which draw a plan stays, as more would not pay for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Draws looked at between the peak so far and that of the plan without the charge, and again near the best.
_PARTS = 3


@dataclass(frozen=True, slots=True)
class PeakCharge:
    """What a higher peak costs.

    Args:
        peak_w: the highest mean power of a window of this month so far.
        usd_per_w: what one watt more costs for the month.
        month_left_h: hours until the month ends. The peak is paid once and serves for all of them, so that
            a horizon bears its part.
        reached_at: local start of the window in which the peak was set; None without a peak, or where that
            is not known.
    """

    peak_w: float
    usd_per_w: float
    month_left_h: float
    reached_at: datetime | None = None

    @property
    def words(self) -> str:
        """`peak of this month so far 412.0 kW (set on 3 Nov 18:15), costs 15 USD/kW`; times are local."""
        usd_per_kw = 1000.0 * self.usd_per_w
        if not self.peak_w > 0.0:
            return f"no peak of this month yet; each kW costs {usd_per_kw:g} USD"
        at = self.reached_at
        when = f" (set on {at.day} {at:%b %H:%M})" if at is not None else ""
        return f"peak of this month so far {self.peak_w / 1000.0:,.1f} kW{when}, costs {usd_per_kw:g} USD/kW"

    def share_usd(self, highest_w: float, horizon_h: float) -> float:
        """What a horizon with the highest draw `highest_w` bears of the charge."""
        part = min(1.0, horizon_h / max(self.month_left_h, 1e-9))
        return max(highest_w - self.peak_w, 0.0) * self.usd_per_w * part


def worthwhile_peak_w(
    charge: PeakCharge, horizon_h: float, plan: Callable[[float], tuple[float, Floats]]
) -> float:
    """The draw below which the site earns most, the charge counted; infinite where no bound is better.

    Args:
        plan: from a cap of the site in W to the profit in USD over the horizon, without the charge, and the
            draw [T] of the site.
    """

    def net(cap_w: float) -> tuple[float, float]:
        profit_usd, draw_w = plan(cap_w)
        highest = float(draw_w.max(initial=0.0))
        return profit_usd - charge.share_usd(highest, horizon_h), highest

    best_usd, highest = net(np.inf)
    best_w, step = np.inf, (highest - charge.peak_w) / _PARTS
    if not step > 0.0:
        return best_w
    tried = [charge.peak_w + step * part for part in range(_PARTS)]
    for _ in range(2):
        for cap_w in tried:
            found_usd, _ = net(cap_w)
            if found_usd > best_usd:
                best_usd, best_w = found_usd, cap_w
        middle = best_w if np.isfinite(best_w) else highest
        tried = [cap_w for cap_w in (middle - step / 2.0, middle + step / 2.0) if cap_w > charge.peak_w]
    return float(best_w)

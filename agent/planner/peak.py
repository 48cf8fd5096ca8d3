"""The charge on a month's highest power: below which draw a plan stays, as more would not pay for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
    """

    peak_w: float
    usd_per_w: float
    month_left_h: float

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

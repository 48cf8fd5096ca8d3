"""What has been learned of one unit, in numbers and in words for its page."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.learning.correct import rest_variance
from agent.learning.state import UnitLearning, without_bias
from agent.learning.tuning import HASHRATE, POWER, regressors
from agent.quantiles import Z80

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Explanation:
    """One unit at one setting; shares, so 0.031 is 3.1 %. Half-widths are of 80 % intervals.

    Args:
        hashrate_off, power_off: against the predictor.
        hashrate_known_to, power_known_to: half-widths.
        hashrate_h, power_h: hours of readings that taught it.
    """

    hashrate_off: float
    hashrate_known_to: float
    power_off: float
    power_known_to: float
    hashrate_h: float
    power_h: float

    @property
    def words(self) -> str:
        """`hashes 1.2 % less than its model (known to 0.3 %), draws 3.1 % more (known to 0.4 %) ...`."""
        if not self.hashrate_h and not self.power_h:
            return "not watched yet: its curve is that of its model"
        rate = self._part("hashes", self.hashrate_off, self.hashrate_known_to, self.hashrate_h)
        power = self._part("draws", self.power_off, self.power_known_to, self.power_h)
        hours = max(self.hashrate_h, self.power_h)
        span = f"{hours / 24.0:.0f} days" if hours >= 48.0 else f"{hours:.0f} h"
        return f"{rate} and {power} than its model at this setting, from {span} of readings"

    @staticmethod
    def _part(verb: str, off: float, known_to: float, hours: float) -> str:
        source = "" if hours else ", by its kind"
        return f"{verb} {abs(off):.1%} {'more' if off >= 0.0 else 'less'} (known to {known_to:.1%}{source})"


def explain(state: UnitLearning, shares: Floats) -> list[Explanation]:
    """What is known of every unit at a setting.

    Args:
        shares: [N] nominal share of rated power.
    """
    x = regressors(shares, np.full(len(shares), math.nan))
    means, covariances = without_bias(state)
    off = np.expm1(np.einsum("nqd,nd->nq", means, x))
    spread = np.einsum("nd,nqde,ne->nq", x, covariances, x) + rest_variance(state)
    known_to = Z80 * np.sqrt(spread)
    hours = state.slots * (state.tuning.slot_s or 1800.0) / 3600.0
    columns = (off[:, HASHRATE], known_to[:, HASHRATE], off[:, POWER], known_to[:, POWER])
    rows = np.stack([*columns, hours[:, HASHRATE], hours[:, POWER]], axis=1)
    return [Explanation(*row) for row in rows.tolist()]

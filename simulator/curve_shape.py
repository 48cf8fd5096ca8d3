"""Power curves by their exponents: P ~ h^k, with k rising from the voltage floor to the top.

Real ladders look like that: the LuxOS profiles of an S19k Pro (25 points, 39 to 163 TH/s) rise from k = 1.0
at minimum voltage to 1.43 at 135 % of rated, and lie within 0.5 % of such a curve above the floor.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# Above rated the exponent goes on rising to this and no further: nothing measured is steeper.
STEEPEST = 1.75
_STEP = 0.05


def exponent_points(
    low: float, rated: float, floor_share: float, reach: float
) -> tuple[tuple[float, float], ...]:
    """Points of a curve in shares of rated hashrate and power, from the floor to `reach`.

    Args:
        low: exponent at the floor.
        rated: exponent at rated hashrate.
        floor_share: hashrate at which the voltage is at its minimum, below 1.
    """
    count = round((reach - floor_share) / _STEP) + 1
    # Rated itself is one of the points, so that the curve goes through it exactly.
    shares = np.union1d(np.linspace(floor_share, reach, count), [1.0])
    shares = shares[np.append(np.diff(shares) > 1e-3, True) | (shares == 1.0)]
    watts = np.exp(log_power(shares, low, rated, floor_share))
    return tuple((float(h), float(w)) for h, w in zip(shares, watts, strict=True))


def log_power(share: Floats, low: float, rated: float, floor_share: float) -> Floats:
    """Logarithm of power over rated power at shares of rated hashrate that are not below the floor."""
    slope = (rated - low) / (1.0 - floor_share)
    start = low - slope * floor_share
    cap = max(STEEPEST, rated)
    bend = (cap - start) / slope if slope > 1e-9 else np.inf
    within = np.minimum(share, bend)
    value = start * np.log(within) + slope * (within - 1.0)
    return np.asarray(value + cap * np.log(np.maximum(share / within, 1.0)))

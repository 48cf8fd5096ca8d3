"""How fast units are believed to change, how much readings are trusted, and how far units may differ.

All variances are of logarithms, so 0.01 is about one percent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# What a residual is made of: level, slope and bend over the logarithm of the setting's share, and intake
# temperature in tens of degrees from 25 C. See `regressors`.
TERMS = ("level", "slope", "bend", "heat")
QUANTITIES = ("hashrate", "power")
HASHRATE, POWER = 0, 1
REFERENCE_C = 25.0
_LEAST_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Tuning:
    """Constants of the method; the defaults are for live sites and for backtests alike.

    Args:
        slot_s: readings of so many seconds become one median; 0 takes each reading for itself.
        forget_days: what was seen so long ago counts for 1/e.
        level_per_root_day: standard deviation by which a unit's level wanders in one day.
        slow_h: errors of prediction that last this long (weather, dust) count as one reading.
        group_share: how much of the variance of the predictor units of one group have in common.
        huber, gate: standard deviations beyond which a slot counts less, and not at all.
        reopen: so many slots refused in a row on the same side, and the unit has really changed.
        least_noise: standard deviation of residuals below which none is believed to be.
        common_noise: what all units of a group may err by at once.
        common_doubt: share of the variance of sensors' biases that those of one group have in common.
    """

    slot_s: float = 1800.0
    forget_days: float = 45.0
    level_per_root_day: float = 0.0015
    slow_h: float = 6.0
    group_share: float = 0.5
    huber: float = 2.0
    gate: float = 4.0
    reopen: int = 6
    first_noise: float = 0.006
    least_noise: float = 0.001
    common_noise: float = 0.001
    common_doubt: float = 0.8


def regressors(share: Floats, temp_c: Floats | float = np.nan) -> Floats:
    """[..., 4] of `TERMS` at a setting.

    Args:
        share: nominal share of rated power; the slope counts from 1.
        temp_c: intake, broadcastable to `share`; NaN is taken as 25 C.
    """
    u = np.log(np.maximum(share, _LEAST_SHARE))
    heat = heat_of(np.asarray(temp_c, dtype=np.float64)) + np.zeros_like(u)
    return np.stack([np.ones_like(u), u, u * u, heat], axis=-1)


def heat_of(temp_c: Floats) -> Floats:
    """The last of `TERMS`; 0 where the temperature is unknown."""
    return np.nan_to_num((temp_c - REFERENCE_C) / 10.0)


def group_variance(level: Floats, tuning: Tuning) -> Floats:
    """[..., 4] prior variances of what the units of a group have in common.

    Args:
        level: variance of the predictor, of which slope and bend take their measure.
    """
    spread = np.sqrt(level)
    slope = np.clip(4.0 * spread, 0.06, 0.25)
    heat = np.clip(0.4 * spread, 0.01, 0.04)
    return np.stack([tuning.group_share * level, slope**2, (0.7 * slope) ** 2, heat**2], axis=-1)


def own_variance(level: Floats, tuning: Tuning) -> Floats:
    """[..., 4] prior variances of what a unit has for itself; `level` as in `group_variance`."""
    slope = np.clip(np.sqrt(level), 0.03, 0.08)
    bend, heat = np.full_like(level, 0.02), np.full_like(level, 0.005)
    return np.stack([(1.0 - tuning.group_share) * level, slope**2, bend**2, heat**2], axis=-1)

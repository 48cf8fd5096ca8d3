"""Units whose curve fell: less hashrate, or more power for it, than the same unit showed before.

Each unit is held against its own earlier level at the same setting, not against a prediction: a predictor
that looks at recent telemetry would follow the fall and hide it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agent.energy import KWH_PER_W_DAY
from agent.features.inputs import nominal_hashrate_share
from agent.quantiles import Z80

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

# Settings of one bin are held to be the same; beyond the last everything is in it.
BINS = 12
_BIN_WIDTH = 0.1
_DAY_S = 86400.0
_SLOT_S = 1800.0
# The earlier level is the mean of so many days at a setting, and after that follows this slowly, so that
# wear which no repair brings back becomes the unit's level.
_SETTLED_DAYS = 10.0
_SLOW_DAYS = 180.0
_FAST_DAYS = 1.5
_LEAST_DAYS = 5.0
# Slots within `_FAST_DAYS` whose errors have nothing in common: weather lasts for hours.
_FREE_SLOTS = 6.0
# What is off by less than this is weather and noise.
LEAST_FALL = 0.03
LASTING_DAYS = 3.0
# Intake moves power by about this much per degree, and summer is no defect.
_POWER_PER_C = 0.002
_WILDEST = 1.0


@dataclass(frozen=True, slots=True)
class BaselineState:
    """N units; quantities are log hashrate and log power against the rated curve.

    Args:
        level: [N,2,12] earlier level by bin of the setting, NaN where never seen.
        days: [N,12] days seen in each bin, counted up to what the level still weighs.
        away: [N,2] how far the last days are from it; NaN before any.
        spread: [N,2] variance of single slots around `away`.
        fell_s: [N] since when the unit has been down without a break, NaN while it is not.
        at_s: [N] the last slot, NaN before any.
    """

    level: Floats
    days: Floats
    away: Floats
    spread: Floats
    fell_s: Floats
    at_s: Floats


@dataclass(frozen=True, slots=True)
class Decline:
    """One unit whose curve fell.

    Args:
        row: place in the fleet.
        hashrate_share, power_share: by how much it differs from its own earlier level, -0.05 for 5 % less.
        since_s: Unix seconds from which it has lasted.
        gain_usd_per_day: q10, q50, q90 of what bringing it back to that level earns at its present setting.
    """

    row: int
    hashrate_share: float
    power_share: float
    since_s: float
    gain_usd_per_day: tuple[float, float, float]

    @property
    def words(self) -> str:
        """For the recommendation."""
        efficiency = (1.0 + self.power_share) / (1.0 + self.hashrate_share) - 1.0
        low, middle, high = self.gain_usd_per_day
        return (
            f"at the same setting it hashes {abs(self.hashrate_share):.1%} "
            f"{'less' if self.hashrate_share < 0.0 else 'more'} and draws {abs(self.power_share):.1%} "
            f"{'less' if self.power_share < 0.0 else 'more'} than it used to ({efficiency:+.1%} J/TH); "
            f"repair is worth {middle:.2f} USD/day ({low:.2f} to {high:.2f})"
        )


def fresh_baselines(count: int) -> BaselineState:
    """Nothing seen of `count` units."""

    def nan(*shape: int) -> Floats:
        return np.full((count, *shape), np.nan)

    return BaselineState(
        level=nan(2, BINS),
        days=np.zeros((count, BINS)),
        away=nan(2),
        spread=np.full((count, 2), 0.005**2),
        fell_s=nan(),
        at_s=nan(),
    )


def follow(
    state: BaselineState,
    share: Floats,
    hashrate_ths: Floats,
    power_w: Floats,
    rated_ths: Floats,
    rated_w: Floats,
    temp_c: Floats,
    at_s: float,
    usable: Bools,
) -> BaselineState:
    """Take in one moment, at most one each half-hour for a unit; arrays are [N].

    `usable` is wider than in `agent.learning.update`: a unit with a lost board is what is looked for.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.log(hashrate_ths / (rated_ths * nominal_hashrate_share(share)))
        power = np.log(power_w / (rated_w * share))
    power = power - _POWER_PER_C * np.nan_to_num(temp_c - 25.0)
    value = np.stack([rate, power], axis=1)
    value = np.where(np.abs(value) <= _WILDEST, value, np.nan)
    gap = np.nan_to_num(at_s - state.at_s, nan=np.inf)
    taken = usable & np.isfinite(value[:, 0]) & ((gap >= _SLOT_S) | (gap < 0.0))
    rows = np.flatnonzero(taken)
    if not len(rows):
        return state
    days = np.clip(gap[rows], _SLOT_S, 0.25 * _DAY_S) / _DAY_S
    box = np.clip((share[rows] / _BIN_WIDTH).astype(np.int64), 0, BINS - 1)
    new, at = value[rows], np.arange(len(rows))
    level, seen = state.level[rows], state.days[rows]
    # Far from where it is the earlier level stands still: a fall must not become the level.
    own = level[at, :, box]
    off = new - own
    fallen = np.isfinite(state.fell_s[rows])
    weight = np.minimum(seen[at, box] + days, np.where(seen[at, box] < _SETTLED_DAYS, np.inf, _SLOW_DAYS))
    gain = np.where(fallen, 0.0, days / np.maximum(weight, days))[:, None]
    level[at, :, box] = np.where(np.isfinite(own), own + gain * np.nan_to_num(off), new)
    seen[at, box] = np.minimum(seen[at, box] + np.where(fallen, 0.0, days), _SLOW_DAYS)
    away, spread = _fast(state, rows, np.where(np.isfinite(own), off, 0.0), days)
    known = seen[at, box] >= _LEAST_DAYS
    down = known & _is_down(away[:, 0], np.nan_to_num(away[:, 1]))
    since = np.where(down, np.where(fallen, state.fell_s[rows], at_s), np.nan)
    since = np.where(known, since, state.fell_s[rows])
    return replace(
        state,
        level=_put(state.level, rows, level),
        days=_put(state.days, rows, seen),
        away=_put(state.away, rows, away),
        spread=_put(state.spread, rows, spread),
        fell_s=_put(state.fell_s, rows, since),
        at_s=_put(state.at_s, rows, np.full(len(rows), at_s)),
    )


def declines(
    state: BaselineState,
    hashrate_ths: Floats,
    power_w: Floats,
    hashprice_usd_per_ths_day: tuple[float, float, float],
    price_usd_per_kwh: tuple[float, float, float],
    at_s: float,
) -> Sequence[Decline]:
    """Units that have been down for days, dearest first.

    Args:
        hashrate_ths, power_w: [N] what they do now; NaN where unknown or stopped.
        hashprice_usd_per_ths_day, price_usd_per_kwh: q10, q50, q90 over the time that counts, the first
            after pool fee and the second with PUE.
        at_s: Unix seconds.
    """
    lasting = (at_s - state.fell_s >= LASTING_DAYS * _DAY_S) & (hashrate_ths > 0.0)
    found = []
    for row in np.flatnonzero(lasting).tolist():
        off_rate, off_power = (float(x) for x in np.nan_to_num(state.away[row]))
        watts = float(np.nan_to_num(power_w[row]))
        gains = _gain(
            float(hashrate_ths[row]), watts, off_rate, off_power, hashprice_usd_per_ths_day, price_usd_per_kwh
        )
        deviations = np.sqrt(state.spread[row] / _FREE_SLOTS)
        slack = Z80 * float(
            np.hypot(
                hashprice_usd_per_ths_day[1] * hashrate_ths[row] * deviations[0],
                price_usd_per_kwh[1] * KWH_PER_W_DAY * watts * deviations[1],
            )
        )
        low = gains[1] - float(np.hypot(gains[1] - gains[0], slack))
        high = gains[1] + float(np.hypot(gains[2] - gains[1], slack))
        found.append(
            Decline(
                row,
                float(np.expm1(off_rate)),
                float(np.expm1(off_power)),
                float(state.fell_s[row]),
                (low, gains[1], high),
            )
        )
    return sorted(found, key=lambda decline: -decline.gain_usd_per_day[1])


def _gain(
    rate: float,
    watts: float,
    off_rate: float,
    off_power: float,
    hashprice: tuple[float, float, float],
    price: tuple[float, float, float],
) -> tuple[float, float, float]:
    more = rate * float(np.expm1(-off_rate))
    less = watts * -float(np.expm1(-off_power)) * KWH_PER_W_DAY
    middle = hashprice[1] * more + price[1] * less
    spans = [
        float(np.hypot((h - hashprice[1]) * more, (p - price[1]) * less))
        for h, p in zip(hashprice, price, strict=True)
    ]
    return middle - spans[0], middle, middle + spans[2]


def _fast(state: BaselineState, rows: Ints, off: Floats, days: Floats) -> tuple[Floats, Floats]:
    gain = (1.0 - np.exp(-days / _FAST_DAYS))[:, None]
    away, spread = state.away[rows], state.spread[rows]
    known = np.isfinite(off)
    moved = np.where(np.isfinite(away), away + gain * (off - away), off)
    wider = spread + 0.1 * gain * ((off - moved) ** 2 - spread)
    return np.where(known, moved, away), np.where(known, wider, spread)


def _is_down(rate: Floats, power: Floats) -> Bools:
    """Less hashrate at the setting, or more energy for each terahash."""
    return np.asarray((rate < -LEAST_FALL) | (power - rate > LEAST_FALL))


def _put(old: Floats, rows: Ints, values: Floats) -> Floats:
    new = old.copy()
    new[rows] = values
    return new


def take_rows(state: BaselineState, rows: Sequence[int | None]) -> BaselineState:
    """Another fleet from this one: unit i is row `rows[i]`, or one that nothing is known of."""
    new = fresh_baselines(len(rows))
    to = np.array([i for i, row in enumerate(rows) if row is not None], dtype=np.int64)
    old = np.array([row for row in rows if row is not None], dtype=np.int64)
    for name in BaselineState.__slots__:
        getattr(new, name)[to] = getattr(state, name)[old]
    return new

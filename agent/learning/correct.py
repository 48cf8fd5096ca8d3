"""Curves of the predictor, moved to where each unit really is and narrowed to what is not known of it yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.energy import KWH_PER_W_DAY
from agent.learning.state import UnitLearning, priors, without_bias
from agent.learning.tuning import HASHRATE, POWER, heat_of
from agent.models.inference import STOP_SHARE, Curves, Economics
from agent.quantiles import Z80

Floats = NDArray[np.float64]

# A correction beyond this says that the curve is another one altogether.
_MOST = 0.5
# Intervals of a unit that has just changed may be wider than the predictor's, but not without bound.
_WIDEST = 3.0


def correct(
    state: UnitLearning,
    shares: Floats,
    curves: Curves,
    temp_c: Floats | None = None,
    economics: Economics | None = None,
    lost_hashing_h: Floats | None = None,
) -> Curves:
    """Curves of N units at K candidates, corrected; a unit that nothing is known of keeps its own.

    Hashrate and power are multiplied by exp(m), with m and its variance v at the candidate's setting and
    `temp_c`. A half-width h, as a share of the median, becomes sqrt(r h^2 + (1 - r) f^2): r is v over what it
    was before anything was seen, and f is what stays uncertain however long the unit is watched. Neither
    falls as the setting rises. Chip temperatures are the predictor's.

    Args:
        shares: [N,K] rising along K, NaN where there is no candidate.
        curves: of the predictor, [N,K,3].
        temp_c: [N] as in `update`; None is 25 C.
        economics, lost_hashing_h: as they were given to the predictor. Without them profit is NaN.
    """
    hashing = shares >= STOP_SHARE
    u = np.log(np.where(hashing, shares, 1.0))
    heat = heat_of(np.full(state.count, np.nan) if temp_c is None else temp_c)
    rest = rest_variance(state)
    beliefs = _beliefs(state, u, heat)
    rate, power = (
        _moved(curve, belief, rest[:, q], hashing)
        for q, (belief, curve) in enumerate(zip(beliefs, (curves.hashrate_ths, curves.power_w), strict=True))
    )
    profit = np.full_like(curves.profit_usd_per_day, np.nan)
    if economics is not None and lost_hashing_h is not None:
        profit = _profit(curves, rate, power, hashing, economics, np.nan_to_num(lost_hashing_h))
    return Curves(rate, power, curves.chip_temp_c, profit)


def rest_variance(state: UnitLearning) -> Floats:
    """[N,Q] variance that watching a unit does not take away: what moves slower than a slot."""
    slow = np.maximum(state.noise_var - state.white_var, state.tuning.least_noise**2)
    return np.asarray(slow + state.tuning.common_noise**2)


@dataclass(frozen=True, slots=True)
class _Belief:
    """Of one quantity, [N,K]: logarithm of the correction, its variance now and before anything was seen.

    `widest` [N] is how much wider than the predictor's the variance may be: 1, more after a lasting change.
    """

    shift: Floats
    variance: Floats
    first: Floats
    widest: Floats


def _beliefs(state: UnitLearning, u: Floats, heat: Floats) -> tuple[_Belief, _Belief]:
    """Both quantities at `u`, the logarithm of the share. All of it is polynomials in `u`."""
    means, covariances = without_bias(state)
    common, own = priors(state, raised=False)
    before = common[state.group] + own
    widest = np.minimum(1.0 + state.own_var / own[..., 0], _WIDEST**2)
    square = u * u

    def belief(q: int) -> _Belief:
        a, p, w = means[:, q], covariances[:, q], before[:, q]
        shift = _polynomial([a[:, 0] + heat * a[:, 3], a[:, 1], a[:, 2]], u)
        after = [
            p[:, 0, 0] + heat * (2.0 * p[:, 0, 3] + heat * p[:, 3, 3]),
            2.0 * (p[:, 0, 1] + heat * p[:, 1, 3]),
            p[:, 1, 1] + 2.0 * (p[:, 0, 2] + heat * p[:, 2, 3]),
            2.0 * p[:, 1, 2],
            p[:, 2, 2],
        ]
        first = _polynomial([w[:, 0] + heat * heat * w[:, 3], w[:, 1], w[:, 2]], square)
        return _Belief(np.clip(shift, -_MOST, _MOST), _polynomial(after, u), first, widest[:, q])

    return belief(HASHRATE), belief(POWER)


def _polynomial(coefficients: Sequence[Floats], at: Floats) -> Floats:
    """[N,K] from [N] coefficients, the constant first."""
    total = np.broadcast_to(coefficients[-1][:, None], at.shape).copy()
    for coefficient in coefficients[-2::-1]:
        total *= at
        total += coefficient[:, None]
    return total


def _moved(curve: Floats, belief: _Belief, rest: Floats, hashing: NDArray[np.bool_]) -> Floats:
    # Plane by plane: numbers that lie side by side are worked on several times as fast.
    low, middle, high = np.ascontiguousarray(np.moveaxis(curve, 2, 0))
    square = middle * middle
    below, above = middle - low, high - middle
    # Where the predictor claims to know better than the prior of its errors, its word is the measure.
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.fmin(belief.first * square, ((below + above) / (2.0 * Z80)) ** 2)
        left = belief.variance * square / left
    left = np.clip(left, 0.0, belief.widest[:, None])
    learned = np.maximum(1.0 - left, 0.0) * square * (Z80**2 * rest)[:, None]
    moved = np.empty((3, *middle.shape))
    moved[0] = np.maximum(middle - np.sqrt(left * below * below + learned), 0.0)
    moved[1] = middle
    moved[2] = middle + np.sqrt(left * above * above + learned)
    moved *= np.exp(belief.shift)
    np.copyto(moved, 0.0, where=~hashing)
    rising = np.maximum.accumulate(moved, axis=2)
    return np.where(hashing[:, :, None], np.moveaxis(rising, 0, 2), curve)


def _profit(
    old: Curves,
    rate: Floats,
    power: Floats,
    hashing: NDArray[np.bool_],
    economics: Economics,
    lost_h: Floats,
) -> Floats:
    """The predictor's profit plus what the corrections earn and cost, with intervals scaled alike."""
    hashprice, price, hold_h = economics.columns(len(rate))
    lost = np.clip(lost_h / hold_h[:, None], 0.0, 1.0)
    worth, cost = hashprice[:, None] * (1.0 - lost), (price * KWH_PER_W_DAY)[:, None]
    gain = worth * (rate[:, :, 1] - old.hashrate_ths[:, :, 1]) - cost * (
        power[:, :, 1] - old.power_w[:, :, 1]
    )
    # A stop pays for the hashing it loses on the way back at the unit's best rate.
    best = [np.where(hashing, r[:, :, 1], -np.inf).max(axis=1, initial=0.0) for r in (old.hashrate_ths, rate)]
    stopping = -hashprice[:, None] * lost * (best[1] - best[0])[:, None] * (best[0] > 0.0)[:, None]
    middle = old.profit_usd_per_day[:, :, 1] + np.where(hashing, gain, stopping)
    before, after = (
        (worth * (r[:, :, 2] - r[:, :, 0])) ** 2 + (cost * (w[:, :, 2] - w[:, :, 0])) ** 2
        for r, w in ((old.hashrate_ths, old.power_w), (rate, power))
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(hashing & (before > 0.0), np.sqrt(after / before), 1.0)
    away = old.profit_usd_per_day - old.profit_usd_per_day[:, :, 1:2]
    return np.asarray(middle[:, :, None] + away * scale[:, :, None])

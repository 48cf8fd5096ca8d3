"""The profit model: the power model's curves, what is paid of the rate, money, and a joint interval.

profit = hashprice x rate x paid share x (1 - lost hours / hold) - price x energy. All terms are of first
degree in hashprice and price together, the interval too, so doubling both doubles every quantile.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.energy import KWH_PER_W_DAY
from trainer.calibration import (
    LEAST_RESIDUALS,
    TAIL,
    Intervals,
    by_model,
    conformal_quantile,
    own_weight,
)
from trainer.dataset import Dataset, sampled
from trainer.graph import Floats, NumpyOps, Ops, Value
from trainer.power_model import MOST_FIT_ROWS, PowerModel
from trainer.shape import State, View, WidthState, unit_state

# Half the width of an 80 % interval of a normal distribution, in standard deviations.
_HALF_80 = 1.2816
_LEAST_PAID = 0.5
_PENALTY = 1e-2
# Energy cost per revenue at which the joint interval is judged: from a fat margin to a loss.
COST_RATIOS = (0.35, 0.6, 0.8, 0.95, 1.1)


def paid_columns(ops: Ops, view: View, features: Value, state: State) -> Value:
    """What the paid share of the rate is linear in, [B,T]."""

    def raw(name: str) -> Value:
        return ops.column(features, view.index[name])

    moved = ops.above(state.distance, 0.02)
    restarts = raw("restarts_24h")
    parts = [
        moved * 0.0 + 1.0,
        ops.clip(ops.filled(raw("reject_rate_24h"), 0.002), 0.0, 0.2),
        ops.clip(ops.filled(raw("stale_rate_24h"), 0.002), 0.0, 0.2),
        ops.clip(ops.filled(restarts, 0.0), 0.0, 6.0),
        ops.missing(restarts),
        1.0 - ops.clip(ops.filled(raw("hashing_share_24h"), 1.0), 0.0, 1.0),
        1.0 - ops.clip(ops.filled(raw("boards_share"), 1.0), 0.0, 1.0),
        state.log_share,
        moved,
        moved * state.distance,
    ]
    return ops.concat([*parts, state.members])


def fit_paid(view: View, dataset: Dataset) -> Floats:
    """Weights of `paid_columns`: a plain mean.

    The outages that a robust fit would drop are what is asked for here.
    """
    ops = NumpyOps()
    dataset = sampled(dataset, np.random.default_rng(len(dataset)), MOST_FIT_ROWS)
    features = dataset.features.astype(np.float64)
    state = unit_state(ops, view, features, dataset.share[:, None])
    columns = np.asarray(paid_columns(ops, view, features, state), dtype=np.float64)
    known = np.isfinite(dataset.effective)
    design, target = columns[known], dataset.effective[known] - 1.0
    scale = np.maximum(np.sqrt((design**2).mean(axis=0)), 1e-9)
    scaled = design / scale
    gram = scaled.T @ scaled / len(scaled)
    gram[np.diag_indices_from(gram)] += np.where(np.ptp(design, axis=0) < 1e-12, 1e-9, _PENALTY)
    weights = np.linalg.solve(gram, scaled.T @ target / len(scaled)) / scale
    weights[0] += 1.0
    return np.asarray(weights, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Joint:
    """How the errors of rate and power go together.

    Args:
        correlation: of the two, each over its own width.
        low, high: [H+1] multiples of the joint standard deviation that bound 80 %.
    """

    correlation: float
    low: Floats
    high: Floats

    def inflated(self, by: float, most: float) -> Joint:
        """The same, `by` times as wide, but no multiple above `most`."""
        return Joint(self.correlation, np.minimum(self.low * by, most), np.minimum(self.high * by, most))


@dataclass(frozen=True, slots=True)
class ProfitModel:
    """Everything `profit.onnx` holds."""

    power: PowerModel
    paid: Floats
    joint: Joint

    def paid_share(self, ops: Ops, features: Value, state: State) -> Value:
        """[B,1] of the rate that is paid, 0.5 to 1."""
        columns = paid_columns(ops, self.power.curves.view, features, state)
        return ops.clip(ops.matmul(columns, self.paid[:, None]), _LEAST_PAID, 1.0)

    def outputs(self, ops: Ops, features: Value, share: Value, economics: Value) -> dict[str, Value]:
        """`profit_usd_per_day` [B,3]; `economics` as in `agent.models.inference`."""
        state = self.power.curves.state(ops, features, share)
        hashprice, price, lost_h, hold_h = (ops.column(economics, i) for i in range(4))
        kept = ops.clip(1.0 - lost_h / ops.clip(hold_h, 1e-3, 1e6), 0.0, 1.0)
        rate = ops.exp(self.power.curves.hashrate.log_value(ops, state)) * state.rated_ths
        watts = ops.exp(self.power.curves.power.log_value(ops, state)) * state.rated_w
        revenue = hashprice * kept * (rate * self.paid_share(ops, features, state))
        energy = price * (watts * KWH_PER_W_DAY)
        spread = self.spread(ops, state, revenue, energy)
        low = spread * by_model(ops, state.members, self.joint.low)
        high = spread * by_model(ops, state.members, self.joint.high)
        middle = revenue - energy
        return {"profit_usd_per_day": ops.concat([middle - low, middle, middle + high])}

    def spread(self, ops: Ops, state: State, revenue: Value, energy: Value) -> Value:
        """[B,1] joint standard deviation of revenue minus energy cost, in their unit."""
        rate_sigma, power_sigma = sigmas(ops, self.power, state)
        a, b = revenue * rate_sigma, energy * power_sigma
        return ops.sqrt(a * a + b * b - a * b * (2.0 * self.joint.correlation))


def sigmas(ops: Ops, power: PowerModel, state: WidthState) -> tuple[Value, Value]:
    """Relative standard deviations of rate and power that their intervals speak of, each [B,1]."""

    def sigma(intervals: Intervals, missing: Value) -> Value:
        low, high = intervals.around(ops, state, missing)
        return (low + high) * (0.5 / _HALF_80)

    rate = sigma(power.hashrate_intervals, state.rate_unknown)
    return rate, sigma(power.power_intervals, state.power_unknown)


def calibrate_joint(
    rate_error: Floats,
    power_error: Floats,
    rate_sigma: Floats,
    power_sigma: Floats,
    model: NDArray[np.int64],
    unit: NDArray[np.int64],
    models: int,
) -> Joint:
    """The joint interval of profit from errors of rows never fitted.

    Args:
        rate_error, power_error: [n] observed over predicted middle, minus 1; the rate as paid.
        rate_sigma, power_sigma: [n] what the intervals say of them.
        model, unit: [n] hardware model, and rows that err together.
    """
    both = np.isfinite(rate_error) & np.isfinite(power_error)
    if both.sum() < LEAST_RESIDUALS:
        wide = np.full(models + 1, 1.5 * _HALF_80)
        return Joint(0.0, wide, wide.copy())
    # Outages say nothing of how rate and power go together.
    usual = both & (np.abs(rate_error) < 0.1) & (np.abs(power_error) < 0.1)
    scaled = np.stack([rate_error[usual] / rate_sigma[usual], power_error[usual] / power_sigma[usual]])
    steady = usual.sum() > 2 and bool((scaled.std(axis=1) > 0.0).all())
    correlation = (
        float(np.clip(np.mean(_standard(scaled[0]) * _standard(scaled[1])), -0.95, 0.95)) if steady else 0.0
    )
    scores = []
    for ratio in COST_RATIOS:
        a, b = rate_sigma, ratio * power_sigma
        spread = np.sqrt(a**2 + b**2 - 2.0 * correlation * a * b)
        scores.append((rate_error - ratio * power_error) / spread)
    table = np.stack(scores, axis=1)
    pooled = _bounds(table[both])
    low, high = np.full(models + 1, pooled[0]), np.full(models + 1, pooled[1])
    few = []
    for number in range(models):
        own = both & (model == number)
        if own.sum() < LEAST_RESIDUALS:
            few.append(number)
        else:
            weight, bounds = own_weight(unit[own]), _bounds(table[own])
            low[number] += weight * (bounds[0] - pooled[0])
            high[number] += weight * (bounds[1] - pooled[1])
    low[-1], high[-1] = low.max(), high.max()
    low[few], high[few] = low[-1], high[-1]
    # Beyond this a higher hashprice would lower the lower bound.
    most = 0.9 / max(float(rate_sigma.max()), float(power_sigma.max()))
    return Joint(correlation, np.minimum(low, most), np.minimum(high, most))


def _bounds(scores: Floats) -> tuple[float, float]:
    low = max(conformal_quantile(-scores.ravel(), TAIL), 0.05)
    return low, max(conformal_quantile(scores.ravel(), TAIL), 0.05)


def _standard(values: Floats) -> Floats:
    return np.asarray((values - values.mean()) / values.std(), dtype=np.float64)

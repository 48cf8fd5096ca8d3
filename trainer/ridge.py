"""Ridge regressions: the profile's curve times a polynomial or spline that depends on the unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.curves import FitRows, Quantity, ranked
from trainer.graph import Floats, Ops, Value
from trainer.shape import (
    GRID,
    STATE,
    Basis,
    State,
    View,
    active_pairs,
    monotone_curve,
    nominal_log,
    state_names,
)

# Residuals beyond this many robust standard deviations count less (Huber), so that a sick unit does not
# bend the curve of the healthy ones.
_HUBER = 2.0
# Rows that each round looks at: first every fourth, as which rows are sick shows soon.
_HUBER_STEPS = (4, 4, 2, 1)
_LEAST_SPARSE_ROWS = 10_000
# How many units weigh as much as the belief that a hardware model is like the others.
MODEL_PENALTY = 6.0


@dataclass(frozen=True, slots=True)
class RidgeCurve:
    """The profile's curve times the exponential of a varying-coefficient polynomial or spline.

    Args:
        weights: [Q,P] of state columns by basis functions.
        spread: [Q] typical contribution of each state column, for `importance`.
    """

    quantity: Quantity
    view: View
    basis: Basis
    weights: Floats
    spread: Floats

    def log_value(self, ops: Ops, state: State) -> Value:
        """See `Curve`."""
        coefficients = ops.matmul(state.columns, self.weights)
        correction = ops.matmul(coefficients, self.basis.values(self.view, GRID).T)
        return monotone_curve(ops, self.quantity, correction, state)

    def size(self) -> int:
        """Numbers that it holds."""
        return int((self.weights != 0.0).sum())

    def importance(self) -> dict[str, float]:
        """Standard deviation of each column's contribution to the logarithm."""
        return ranked(state_names(self.view), self.spread)


def fit_ridge(quantity: Quantity, view: View, rows: FitRows, basis: Basis, penalty: float) -> RidgeCurve:
    """Fit one curve; `penalty` is per row and standardised column."""
    state = rows.state(view)
    columns = np.asarray(state.columns, dtype=np.float64)
    pairs = active_pairs(view, basis)
    values = basis.values(view, rows.share)
    design = columns[:, [q for q, _ in pairs]] * values[:, [p for _, p in pairs]]
    wanted = rows.target - nominal_log(quantity, rows.share)
    own = _model_penalty(state.members, rows.unit)
    found = ridge(design, wanted, rows.weights, penalty + own[[q for q, _ in pairs]])
    table = np.zeros((columns.shape[1], values.shape[1]))
    spread = np.zeros(columns.shape[1])
    for j, (q, p) in enumerate(pairs):
        table[q, p] = found[j]
    for q in range(len(spread)):
        spread[q] = float(np.std(columns[:, q] * (values @ table[q])))
    return RidgeCurve(quantity, view, basis, table, spread)


def _model_penalty(members: Floats, unit: NDArray[np.int64]) -> Floats:
    """[Q] extra penalty of each state column: what a model has of its own is as sure as it has units.

    Only units of which this quantity is known count.
    """
    seen = [len(np.unique(unit[own > 0.0])) for own in members.T]
    own = MODEL_PENALTY / np.maximum(np.array(seen, dtype=np.float64), 1.0)
    return np.concatenate([np.zeros(len(STATE)), own, own])


def ridge(design: Floats, target: Floats, weights: Floats, penalty: Floats | float) -> Floats:
    """Weights [D] of a robust ridge regression on standardised columns; a constant one is not penalised."""
    scale = np.sqrt(np.average(design**2, axis=0, weights=weights))
    scale[scale < 1e-9] = 1.0
    scaled = design / scale
    constant = np.ptp(design, axis=0) < 1e-12
    robust: Floats = np.ones(len(target))
    found: Floats = np.zeros(design.shape[1])
    for step in _HUBER_STEPS if len(target) >= _LEAST_SPARSE_ROWS else [1] * len(_HUBER_STEPS):
        root: Floats = np.sqrt((weights * robust)[::step])
        # One array times itself is half the work of two.
        rooted = scaled[::step] * root[:, None]
        total = float((root**2).sum())
        gram = rooted.T @ rooted / total
        gram[np.diag_indices_from(gram)] += np.where(constant, 1e-9, penalty)
        found = np.asarray(
            np.linalg.solve(gram, rooted.T @ (root * target[::step]) / total), dtype=np.float64
        )
        residual = np.abs(target - scaled @ found)
        limit = _HUBER * 1.4826 * max(weighted_median(residual, weights), 1e-6)
        robust = np.asarray(np.minimum(1.0, limit / np.maximum(residual, 1e-12)), dtype=np.float64)
    return np.asarray(found / scale, dtype=np.float64)


def weighted_median(values: Floats, weights: Floats) -> float:
    """The value at which half of the weight lies below."""
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, 0.5 * total[-1])])

"""Fitting curves: ridge regressions on the profile's own curve, and boosted trees, by one interface.

Which family is used is decided by `trainer.selection` from the decisions that each leads to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import lightgbm as lgb
import numpy as np
import onnx
from numpy.typing import NDArray
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

from trainer.graph import Floats, NumpyOps, Ops, Value
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
    unit_state,
)

Quantity = Literal["hashrate", "power"]
QUANTITIES: tuple[Quantity, ...] = ("hashrate", "power")
# Residuals beyond this many robust standard deviations count less (Huber), so that a sick unit does not
# bend the curve of the healthy ones.
_HUBER = 2.0
# How many units weigh as much as the belief that a hardware model is like the others.
MODEL_PENALTY = 1.0
_HUBER_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Family:
    """A way to learn curves, with its hyper-parameters.

    Args:
        kind: ridge or trees.
        basis: of a ridge.
        penalty: of a ridge, per row and standardised column.
        trees: parameters of LightGBM.
    """

    name: str
    kind: Literal["ridge", "trees"]
    basis: Basis = field(default_factory=lambda: Basis(0))
    penalty: float = 1e-4
    trees: tuple[tuple[str, Any], ...] = ()

    def parameters(self) -> dict[str, Any]:
        """For metrics and the manifest."""
        if self.kind == "trees":
            return {"kind": self.kind, **dict(self.trees)}
        return {
            "kind": self.kind,
            "degree": self.basis.degree,
            "knots": list(self.basis.knots),
            "penalty": self.penalty,
        }


_TREES = (
    ("num_iterations", 100),
    ("learning_rate", 0.1),
    ("num_leaves", 15),
    ("min_data_in_leaf", 40),
    ("lambda_l2", 1.0),
    ("max_bin", 127),
    ("monotone_constraints_method", "basic"),
)

# `level-ridge` keeps the profile's curve and learns each unit's level alone: what the others have to beat.
FAMILIES: tuple[Family, ...] = (
    Family("level-ridge", "ridge", Basis(0), 1e-4),
    Family("linear-ridge", "ridge", Basis(1), 1e-4),
    Family("polynomial-ridge", "ridge", Basis(3), 1e-4),
    Family("polynomial-ridge-strong", "ridge", Basis(3), 3e-3),
    Family("spline-ridge", "ridge", Basis(2, (0.6, 0.75, 0.9)), 1e-3),
    Family("lightgbm-monotone", "trees", trees=_TREES),
)


class Curve(Protocol):
    """A fitted curve of one quantity."""

    def log_value(self, ops: Ops, state: State) -> Value:
        """[B,1] logarithm of the quantity over its rated figure; never falls as the share rises."""
        ...

    def size(self) -> int:
        """Numbers that it holds."""
        ...

    def importance(self) -> dict[str, float]:
        """How much each state column moves the prediction, largest first."""
        ...


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
        return _ranked(state_names(self.view), self.spread)


@dataclass(frozen=True, slots=True)
class TreeCurve:
    """Boosted trees with a monotone constraint on the share."""

    quantity: Quantity
    view: View
    booster: lgb.Booster

    def log_value(self, ops: Ops, state: State) -> Value:
        """See `Curve`."""
        return ops.trees(ops.concat([state.log_share, state.columns]), self)

    def size(self) -> int:
        """Numbers that it holds: four per node."""
        nodes = self.booster.trees_to_dataframe()
        return 4 * len(nodes)

    def importance(self) -> dict[str, float]:
        """Share of the gain of all splits."""
        gain = self.booster.feature_importance("gain")
        return _ranked(("share", *state_names(self.view)), gain / max(float(gain.sum()), 1e-12))

    def predict(self, x: Floats) -> Floats:
        """See `trainer.graph.TreeModel`."""
        return np.asarray(self.booster.predict(x.astype(np.float32)), dtype=np.float64)

    def node_attributes(self) -> dict[str, Any]:
        """See `trainer.graph.TreeModel`."""
        kinds = [("x", FloatTensorType([None, self.booster.num_feature()]))]
        model = convert_lightgbm(self.booster, initial_types=kinds, target_opset=15)
        node = next(n for n in model.graph.node if n.op_type == "TreeEnsembleRegressor")
        return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def fit_curve(
    family: Family,
    quantity: Quantity,
    view: View,
    features: NDArray[np.float32],
    share: Floats,
    target: Floats,
    weights: Floats,
    seed: int,
) -> Curve:
    """Fit one curve.

    Args:
        features: [D,F].
        share: [D] candidates.
        target: [D] logarithm of the quantity over its rated figure, finite.
        weights: [D] of the rows, above 0.
    """
    state = unit_state(NumpyOps(), view, features.astype(np.float64), share[:, None])
    columns = np.asarray(state.columns, dtype=np.float64)
    if family.kind == "trees":
        return TreeCurve(quantity, view, _fit_trees(family, state, columns, target, weights, seed))
    pairs = active_pairs(view, family.basis)
    basis = family.basis.values(view, share)
    design = columns[:, [q for q, _ in pairs]] * basis[:, [p for _, p in pairs]]
    wanted = target - nominal_log(quantity, share)
    found = ridge(design, wanted, weights, family.penalty + _model_penalty(view, pairs))
    table = np.zeros((columns.shape[1], basis.shape[1]))
    spread = np.zeros(columns.shape[1])
    for j, (q, p) in enumerate(pairs):
        table[q, p] = found[j]
    for q in range(len(spread)):
        spread[q] = float(np.std(columns[:, q] * (basis @ table[q])))
    return RidgeCurve(quantity, view, family.basis, table, spread)


def _model_penalty(view: View, pairs: list[tuple[int, int]]) -> Floats:
    """Extra penalty of each pair: what a hardware model has of its own is as sure as it has units."""
    own = np.array([0.0] * len(STATE) + list(MODEL_PENALTY / view.anchors.units) * 2)
    return own[[q for q, _ in pairs]]


def ridge(design: Floats, target: Floats, weights: Floats, penalty: Floats | float) -> Floats:
    """Weights [D] of a robust ridge regression on standardised columns; a constant one is not penalised."""
    scale = np.sqrt(np.average(design**2, axis=0, weights=weights))
    scale[scale < 1e-9] = 1.0
    scaled = design / scale
    constant = np.ptp(design, axis=0) < 1e-12
    robust = np.ones(len(target))
    found = np.zeros(design.shape[1])
    for _ in range(_HUBER_ROUNDS):
        weight = weights * robust
        total = weight.sum()
        gram = (scaled * weight[:, None]).T @ scaled / total
        gram[np.diag_indices_from(gram)] += np.where(constant, 1e-9, penalty)
        found = np.linalg.solve(gram, (scaled * weight[:, None]).T @ target / total)
        residual = np.abs(target - scaled @ found)
        limit = _HUBER * 1.4826 * max(weighted_median(residual, weights), 1e-6)
        robust = np.minimum(1.0, limit / np.maximum(residual, 1e-12))
    return np.asarray(found / scale, dtype=np.float64)


def weighted_median(values: Floats, weights: Floats) -> float:
    """The value at which half of the weight lies below."""
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, 0.5 * total[-1])])


def _fit_trees(
    family: Family, state: State, columns: Floats, target: Floats, weights: Floats, seed: int
) -> lgb.Booster:
    table = np.concatenate([state.log_share, columns], axis=1).astype(np.float32)
    constraints = [1, *(0 for _ in range(columns.shape[1]))]
    low, high = np.quantile(target, [0.001, 0.999])
    parameters = {
        **dict(family.trees),
        "objective": "regression",
        "monotone_constraints": constraints,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    rounds = parameters.pop("num_iterations")
    data = lgb.Dataset(table, label=np.clip(target, low, high), weight=weights)
    return lgb.train(parameters, data, num_boost_round=rounds)


def _ranked(names: tuple[str, ...], values: Floats) -> dict[str, float]:
    order = np.argsort(-values, kind="stable")
    return {names[i]: round(float(values[i]), 6) for i in order if values[i] > 1e-6}

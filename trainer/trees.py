"""Boosted trees with a monotone constraint on the share, on the columns that matter most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
import onnx
from numpy.typing import NDArray
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

from agent.features.table import FEATURES
from trainer.curves import FitRows, Quantity, ranked
from trainer.graph import Floats, Ops, Value
from trainer.shape import State, View, state_names

# Money and time say nothing of what a unit does at a setting; what is rated is in the state already.
_NOT_OF_THE_UNIT = frozenset(
    f.name for f in FEATURES if f.unit.startswith("USD") or f.name.startswith(("day_", "week_", "rated_"))
) | {"profit_margin_percent", "market_adjusted_efficiency"}
_SCOUT_ROUNDS = 40
_MOST_ROUNDS = 300
_PATIENCE = 15


@dataclass(frozen=True, slots=True)
class TreeCurve:
    """Boosted trees over the share, columns of the state and features of the table.

    Args:
        columns: chosen columns of the state.
        features: chosen columns of the feature table, with what stands in where one is missing.
    """

    quantity: Quantity
    view: View
    booster: lgb.Booster
    columns: tuple[int, ...]
    features: tuple[tuple[int, float], ...]

    def log_value(self, ops: Ops, state: State) -> Value:
        """See `Curve`."""
        parts = [state.log_share]
        parts += [ops.column(state.columns, column) for column in self.columns]
        parts += [ops.filled(ops.column(state.features, column), fill) for column, fill in self.features]
        return ops.trees(ops.concat(parts), self)

    def size(self) -> int:
        """Numbers that it holds: four per node."""
        nodes = self.booster.trees_to_dataframe()
        return 4 * len(nodes)

    def importance(self) -> dict[str, float]:
        """Share of the gain of all splits."""
        gain = self.booster.feature_importance("gain")
        names = state_names(self.view)
        chosen = (*(names[c] for c in self.columns), *(FEATURES[c].name for c, _ in self.features))
        return ranked(("share", *chosen), gain / max(float(gain.sum()), 1e-12))

    def predict(self, x: Floats) -> Floats:
        """See `trainer.graph.TreeModel`."""
        return np.asarray(self.booster.predict(x.astype(np.float32)), dtype=np.float64)

    def node_attributes(self) -> dict[str, Any]:
        """See `trainer.graph.TreeModel`."""
        kinds = [("x", FloatTensorType([None, self.booster.num_feature()]))]
        model = convert_lightgbm(self.booster, initial_types=kinds, target_opset=15)
        node = next(n for n in model.graph.node if n.op_type == "TreeEnsembleRegressor")
        return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def fit_trees(
    quantity: Quantity, view: View, rows: FitRows, parameters: Mapping[str, Any], seed: int
) -> TreeCurve:
    """Choose columns by their gain in a short fit, find the number of trees on the later rows, fit to all.

    Args:
        parameters: of LightGBM, and `most_columns`, how many are chosen beside the share.
    """
    state = rows.state(view)
    columns = np.asarray(state.columns, dtype=np.float64)
    others = [
        j for j, f in enumerate(FEATURES) if f.name not in view.index and f.name not in _NOT_OF_THE_UNIT
    ]
    fills = np.array([_middle(rows.features[:, j]) for j in others])
    extra = rows.features[:, others].astype(np.float64)
    extra = np.where(np.isnan(extra), fills, extra)
    table = np.concatenate([state.log_share, columns, extra], axis=1).astype(np.float32)

    options = dict(parameters)
    most = int(options.pop("most_columns"))
    scout = _boost(table, rows, options, seed, rounds=_SCOUT_ROUNDS)
    gain = scout.feature_importance("gain")[1:]
    chosen = np.sort(np.argsort(-gain, kind="stable")[:most])
    chosen = chosen[gain[chosen] > 0.0]
    kept = table[:, np.concatenate([[0], chosen + 1])]
    booster = _boost(kept, rows, options, seed, rounds=_rounds(kept, rows, options, seed))
    width = columns.shape[1]
    return TreeCurve(
        quantity,
        view,
        booster,
        columns=tuple(int(c) for c in chosen if c < width),
        features=tuple((others[c - width], float(fills[c - width])) for c in chosen if c >= width),
    )


def _rounds(table: NDArray[np.float32], rows: FitRows, options: Mapping[str, Any], seed: int) -> int:
    """How many trees the later rows bear when the earlier ones are fitted."""
    later = rows.later()
    if not later.any():
        return _SCOUT_ROUNDS
    found = _boost(table, rows, options, seed, rounds=_MOST_ROUNDS, later=later)
    return max(found.best_iteration, 1)


def _boost(
    table: NDArray[np.float32],
    rows: FitRows,
    options: Mapping[str, Any],
    seed: int,
    *,
    rounds: int,
    later: NDArray[np.bool_] | None = None,
) -> lgb.Booster:
    low, high = np.quantile(rows.target, [0.001, 0.999])
    label = np.clip(rows.target, low, high)
    parameters = {
        **options,
        "objective": "regression",
        "metric": "l1",
        "monotone_constraints": [1, *(0 for _ in range(table.shape[1] - 1))],
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    if later is None:
        data = lgb.Dataset(table, label=label, weight=rows.weights)
        return lgb.train(parameters, data, num_boost_round=rounds)
    early = ~later
    data = lgb.Dataset(table[early], label=label[early], weight=rows.weights[early])
    judge = lgb.Dataset(table[later], label=label[later], weight=rows.weights[later], reference=data)
    stop = lgb.early_stopping(_PATIENCE, verbose=False)
    return lgb.train(parameters, data, num_boost_round=rounds, valid_sets=[judge], callbacks=[stop])


def _middle(values: NDArray[np.float32]) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else 0.0

"""The ways to learn curves that are compared, each with its hyper-parameters.

Which one is used is decided by `trainer.selection` from the decisions that each leads to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from trainer.curves import Curve, FitRows, Quantity
from trainer.network import fit_network
from trainer.ridge import fit_ridge
from trainer.shape import Basis, View
from trainer.trees import fit_trees

Kind = Literal["ridge", "trees", "network"]


@dataclass(frozen=True, slots=True)
class Family:
    """A way to learn curves, with its hyper-parameters.

    Args:
        basis, penalty: of a ridge; the penalty per row and standardised column.
        options: of trees or a network.
    """

    name: str
    kind: Kind
    basis: Basis = field(default_factory=lambda: Basis(0))
    penalty: float = 1e-4
    options: tuple[tuple[str, Any], ...] = ()

    def parameters(self) -> dict[str, Any]:
        """For metrics and the manifest."""
        if self.kind != "ridge":
            return {"kind": self.kind, **dict(self.options)}
        return {
            "kind": self.kind,
            "degree": self.basis.degree,
            "knots": list(self.basis.knots),
            "penalty": self.penalty,
        }


_TREES = (
    ("learning_rate", 0.1),
    ("num_leaves", 15),
    ("min_data_in_leaf", 40),
    ("lambda_l2", 1.0),
    ("max_bin", 127),
    ("monotone_constraints_method", "basic"),
    ("most_columns", 16),
)
_NETWORK = (("hidden", 12), ("alpha", 1e-3), ("learning_rate", 3e-3))

# `level-ridge` keeps the profile's curve and learns each unit's level alone: what the others have to beat.
FAMILIES: tuple[Family, ...] = (
    Family("level-ridge", "ridge", Basis(0), 1e-4),
    Family("linear-ridge", "ridge", Basis(1), 1e-4),
    Family("polynomial-ridge", "ridge", Basis(3), 1e-4),
    Family("polynomial-ridge-strong", "ridge", Basis(3), 3e-3),
    Family("spline-ridge", "ridge", Basis(2, (0.6, 0.75, 0.9)), 1e-3),
    Family("network-residual", "network", options=_NETWORK),
    Family("lightgbm-monotone", "trees", options=_TREES),
)


def fit_curve(family: Family, quantity: Quantity, view: View, rows: FitRows, seed: int) -> Curve:
    """Fit one curve of `family` to `rows`."""
    if family.kind == "trees":
        return fit_trees(quantity, view, rows, dict(family.options), seed)
    if family.kind == "network":
        return fit_network(quantity, view, rows, dict(family.options), seed)
    return fit_ridge(quantity, view, rows, family.basis, family.penalty)

"""A small network that learns what the profile's curve lacks: physics times a learned residual."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neural_network import MLPRegressor

from trainer.curves import FitRows, Quantity, ranked
from trainer.graph import Floats, Ops, Value
from trainer.shape import GRID, State, View, monotone_curve, nominal_log, state_names

# More rows teach a network of this size nothing, and cost minutes.
_MOST_ROWS = 40_000
_MOST_EPOCHS = 40
_PATIENCE = 5
_CLIP = 4.0


@dataclass(frozen=True, slots=True)
class NetworkCurve:
    """The profile's curve times the exponential of one hidden layer over state and log share.

    Args:
        centre, scale: [Q] standardise the state; what lies beyond 4 is clipped.
        into: [Q + 1, H] weights of the hidden layer, the last row those of log share; bias [H].
        out: [H] weights of the result; offset added to it.
        spread: [Q] how much each column moves the hidden layer's result, for `importance`.
    """

    quantity: Quantity
    view: View
    centre: Floats
    scale: Floats
    into: Floats
    bias: Floats
    out: Floats
    offset: float
    spread: Floats

    def log_value(self, ops: Ops, state: State) -> Value:
        """See `Curve`."""
        standard = (state.columns - ops.constant(self.centre)) * ops.constant(1.0 / self.scale)
        unit = ops.matmul(ops.clip(standard, -_CLIP, _CLIP), self.into[:-1]) + ops.constant(self.bias)
        correction = []
        for z in _log_shares(self.view, GRID):
            hidden = ops.clip(unit + ops.constant(z * self.into[-1]), 0.0, 1e9)
            correction.append(ops.matmul(hidden, self.out[:, None]))
        return monotone_curve(
            ops, self.quantity, ops.concat(correction) + ops.constant(np.array([self.offset])), state
        )

    def size(self) -> int:
        """Numbers that it holds."""
        return int(self.into.size + self.bias.size + self.out.size + 1)

    def importance(self) -> dict[str, float]:
        """Mean weight of each standardised column on the result."""
        return ranked(state_names(self.view), self.spread)


def fit_network(
    quantity: Quantity, view: View, rows: FitRows, parameters: Mapping[str, Any], seed: int
) -> NetworkCurve:
    """Fit one curve, epoch by epoch until the later rows no longer gain.

    Args:
        parameters: `hidden` units, `alpha` (L2 penalty), `learning_rate`.
    """
    rng = np.random.default_rng(seed)
    # Rows are drawn by their weight, which says the same as weighing them.
    drawn = rng.choice(
        len(rows.share), size=min(_MOST_ROWS, len(rows.share)), p=rows.weights / rows.weights.sum()
    )
    columns = np.asarray(rows.state(view).columns, dtype=np.float64)
    centre = columns.mean(axis=0)
    scale = columns.std(axis=0)
    # A column that never moved here says nothing of what its movement does.
    still = scale < 1e-9
    scale[still] = 1.0
    standard = np.clip((columns[drawn] - centre) / scale, -_CLIP, _CLIP)
    inputs = np.column_stack([standard, _log_shares(view, rows.share[drawn])])
    wanted = rows.target - nominal_log(quantity, rows.share)
    low, high = np.quantile(wanted, [0.002, 0.998])
    # The residual is a few hundredths; the network's own scale is 1.
    unit = max(float(np.std(np.clip(wanted, low, high))), 1e-4)
    middle = float(np.median(wanted))
    target = (np.clip(wanted[drawn], low, high) - middle) / unit
    later = rows.later()[drawn]
    network = _trained(inputs, target, later, parameters, seed)
    into, out = network.coefs_[0].astype(np.float64), network.coefs_[1][:, 0].astype(np.float64)
    into[:-1][still] = 0.0
    spread = np.abs(into[:-1]) @ np.abs(out) * unit
    return NetworkCurve(
        quantity,
        view,
        centre=centre,
        scale=scale,
        into=into,
        bias=network.intercepts_[0].astype(np.float64),
        out=out * unit,
        offset=float(network.intercepts_[1][0]) * unit + middle,
        spread=spread,
    )


def _trained(
    inputs: Floats,
    target: Floats,
    later: NDArray[np.bool_],
    parameters: Mapping[str, Any],
    seed: int,
) -> MLPRegressor:
    def fresh() -> MLPRegressor:
        return MLPRegressor(
            hidden_layer_sizes=(int(parameters["hidden"]),),
            alpha=float(parameters["alpha"]),
            learning_rate_init=float(parameters["learning_rate"]),
            batch_size=256,
            random_state=seed,
        )

    epochs = _MOST_EPOCHS // 2
    if later.any() and not later.all():
        scout, best, since = fresh(), np.inf, 0
        for epoch in range(1, _MOST_EPOCHS + 1):
            scout.partial_fit(inputs[~later], target[~later])
            error = float(np.abs(scout.predict(inputs[later]) - target[later]).mean())
            if error < best * 0.999:
                best, epochs, since = error, epoch, 0
            else:
                since += 1
            if since >= _PATIENCE:
                break
    network = fresh()
    for _ in range(epochs):
        network.partial_fit(inputs, target)
    return network


def _log_shares(view: View, share: Floats) -> Floats:
    """Logarithm of the share, constant beyond what training covered."""
    return np.asarray(np.log(np.clip(share, view.low_share, view.high_share)))

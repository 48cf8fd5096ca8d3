"""The power model: curves of hashrate and power, chip temperature, and their calibrated intervals, as one.

Curves are fitted in `trainer.families`; how good they are is judged in `trainer.selection`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.features.streaming import feature_names
from trainer.calibration import Intervals
from trainer.curves import Curve, FitRows, Quantity
from trainer.dataset import Dataset, sampled, thinned
from trainer.families import Family, fit_curve
from trainer.graph import Floats, NumpyOps, Ops, Value
from trainer.ridge import RidgeCurve, ridge
from trainer.shape import Anchors, Basis, State, View, state_names, unit_state

# A hardware model with fewer rows or units gets no weights of its own.
_LEAST_ROWS = 100
_LEAST_UNITS = 2
_LEAST_POWER_ROWS = 200
# Rows of one unit say much the same: with more, fitting takes longer and errors stay as they are.
MOST_FIT_ROWS = 60_000
# Rows at whose eve the setting changed are rare and tell the slope: together they weigh as much as the rest.
_MOST_WEIGHT = 10.0
# A miner's own watts beside metered ones: they tell shapes as well, and levels 5 to 20 % wrong.
_OWN_FIGURE = 0.2
_COLD_SHARE = 0.2
_LEVELS = tuple(
    f"{side}_ratio{span}" for side in ("hashrate", "power") for span in ("", "_6h", "_24h", "_7d")
)
_TILTS = ("hashrate_tilt_7d", "power_tilt_7d", "setting_variance_7d", "setting_mean_7d")


@dataclass(frozen=True, slots=True)
class Curves:
    """Fitted curves of hashrate and power that share one view."""

    view: View
    hashrate: Curve
    power: Curve

    def state(self, ops: Ops, features: Value, share: Value) -> State:
        """What the curves see."""
        return unit_state(ops, self.view, features, share)

    def predict(self, features: NDArray[np.float32], share: Floats) -> tuple[Floats, Floats]:
        """Middle of hashrate_ths and power_w, each [n], at `features` [n,F] and `share` [n]."""
        ops = NumpyOps()
        state = self.state(ops, features.astype(np.float64), share[:, None])
        rate = np.exp(self.hashrate.log_value(ops, state)) * state.rated_ths
        power = np.exp(self.power.log_value(ops, state)) * state.rated_w
        return rate[:, 0], power[:, 0]

    def size(self) -> int:
        """Numbers held by both."""
        return self.hashrate.size() + self.power.size()


def anchors_of(dataset: Dataset) -> Anchors:
    """The ratings by which a graph will know the hardware models of `dataset`."""
    ths, watts = dataset.column("rated_hashrate_ths"), dataset.column("rated_power_w")
    vendor = np.nan_to_num(dataset.column("vendor_code"))
    names: list[str] = []
    ratings: list[tuple[float, float, float]] = []
    groups: list[int] = []
    for model, name in enumerate(dataset.models):
        own = (dataset.model == model) & np.isfinite(ths) & np.isfinite(watts)
        if own.sum() < _LEAST_ROWS or len(np.unique(dataset.unit[own])) < _LEAST_UNITS:
            continue
        for rating in np.unique(np.stack([ths[own], watts[own], vendor[own]], axis=1), axis=0):
            ratings.append((float(np.log(rating[0])), float(np.log(rating[1])), float(rating[2])))
            groups.append(len(names))
        names.append(name)
    if not names:
        # Too little of anything: one anchor that no rating comes near, so that every unit counts as unknown.
        names, ratings, groups = ["none"], [(-50.0, -50.0, 0.0)], [0]
    table = np.array(ratings)
    group = np.array(groups, dtype=np.float64)
    return Anchors(table[:, 0], table[:, 1], table[:, 2], group, tuple(names))


def fit_curves(family: Family, dataset: Dataset, seed: int, most_rows: int = MOST_FIT_ROWS) -> Curves:
    """Fit both curves of one family to `dataset`, thinned to `most_rows`."""
    rng = np.random.default_rng(seed)
    view = View.of(feature_names(), anchors_of(dataset), dataset.share)
    rows, _ = with_cold_copies(thinned(dataset, rng, most_rows), rng)
    weights = _weights(rows)
    rated_ths, rated_w = rows.column("rated_hashrate_ths"), rows.column("rated_power_w")

    def fitted(quantity: Quantity, target: Floats, weights: Floats) -> Curve:
        known = np.isfinite(target)
        if known.sum() < _LEAST_POWER_ROWS:
            return flat_curve(view, quantity)
        fit = FitRows(
            rows.features[known],
            rows.share[known],
            target[known],
            weights[known],
            rows.at_s[known],
            rows.unit[known],
        )
        return fit_curve(family, quantity, view, fit, seed)

    return Curves(
        view,
        fitted("hashrate", _log_ratio(rows.hashrate_ths, rated_ths), weights),
        fitted("power", _log_ratio(rows.power_w, rated_w), weights * _trust(rows)),
    )


def flat_curve(view: View, quantity: Quantity) -> RidgeCurve:
    """The profile's own curve: all that can be said of a quantity that nobody measured."""
    width = len(state_names(view))
    return RidgeCurve(quantity, view, Basis(0), np.zeros((width, 1)), np.zeros(width))


def with_cold_copies(dataset: Dataset, rng: np.random.Generator) -> tuple[Dataset, NDArray[np.int64]]:
    """`dataset` and a sample of its rows once more with less of the unit's history.

    Half of the sample is without any, as after a fresh start; the other half has levels but no tilt, as where
    one setting has been in force for a week.

    Returns:
        The rows, and which row of `dataset` each is.
    """
    count = round(_COLD_SHARE * len(dataset))
    pick = np.sort(rng.choice(len(dataset), size=count, replace=False))
    origin = np.concatenate([np.arange(len(dataset)), pick])
    both = dataset.rows(origin)
    features = both.features.copy()
    cold = np.arange(len(dataset), len(origin))
    for name in _TILTS:
        features[cold, feature_names().index(name)] = np.nan
    for name in _LEVELS:
        features[cold[::2], feature_names().index(name)] = np.nan
    return both.with_features(features), origin


@dataclass(frozen=True, slots=True)
class Temperature:
    """Chip temperature, linear in what is known of the unit, with its interval in degrees.

    Args:
        weights: [T] of the columns of `temperature_columns`.
    """

    weights: Floats
    intervals: Intervals

    def middle(self, ops: Ops, view: View, features: Value, state: State) -> Value:
        """[B,1] degrees Celsius."""
        columns, _ = temperature_columns(ops, view, features, state)
        return ops.clip(ops.matmul(columns, self.weights[:, None]), -40.0, 150.0)


def temperature_columns(ops: Ops, view: View, features: Value, state: State) -> tuple[Value, Value]:
    """What chip temperature is linear in, [B,T], and whether the unit reports none now, [B,1]."""
    chip_raw = ops.column(features, view.index["chip_temp_c"])
    intake = ops.filled(ops.column(features, view.index["intake_temp_c"]), 25.0)
    unknown = ops.missing(chip_raw)
    chip = ops.clip(ops.filled(chip_raw, intake + 40.0), -40.0, 150.0)
    present = ops.column(features, view.index["setting_share"])
    hashing = ops.above(ops.filled(present, 0.0), 0.05)
    step = (state.share - ops.clip(ops.filled(present, 1.0), 0.0, 2.0)) * hashing
    one = unknown * 0.0 + 1.0
    rise = (chip - intake) * hashing
    parts = [one, chip * hashing, intake, 1.0 - hashing, unknown, state.share, step, step * rise, rise]
    return ops.concat([*parts, state.members, state.members * step]), unknown


def fit_temperature(view: View, dataset: Dataset) -> Floats:
    """Weights of `Temperature`; a constant 65 C where nobody measured."""
    ops = NumpyOps()
    dataset = sampled(dataset, np.random.default_rng(len(dataset)), MOST_FIT_ROWS)
    features = dataset.features.astype(np.float64)
    state = unit_state(ops, view, features, dataset.share[:, None])
    columns, _ = temperature_columns(ops, view, features, state)
    known = np.isfinite(dataset.chip_temp_c)
    if known.sum() < _LEAST_POWER_ROWS:
        return np.array([65.0, *(0.0 for _ in range(columns.shape[1] - 1))])
    return ridge(columns[known], dataset.chip_temp_c[known], _weights(dataset)[known], 1e-4)


@dataclass(frozen=True, slots=True)
class PowerModel:
    """Everything `power.onnx` holds."""

    curves: Curves
    hashrate_intervals: Intervals
    power_intervals: Intervals
    temperature: Temperature

    def outputs(self, ops: Ops, features: Value, share: Value) -> dict[str, Value]:
        """`hashrate_ths`, `power_w`, `chip_temp_c`, each [B,3] for q10, q50, q90."""
        state = self.curves.state(ops, features, share)
        out = {}
        rate, power = self.curves.hashrate, self.curves.power
        for name, curve, intervals, missing, rated in (
            ("hashrate_ths", rate, self.hashrate_intervals, state.rate_unknown, state.rated_ths),
            ("power_w", power, self.power_intervals, state.power_unknown, state.rated_w),
        ):
            middle = curve.log_value(ops, state)
            low, high = intervals.around(ops, state, missing)
            out[name] = ops.exp(ops.concat([middle - low, middle, middle + high])) * rated
        middle = self.temperature.middle(ops, self.curves.view, features, state)
        _, unknown = temperature_columns(ops, self.curves.view, features, state)
        low, high = self.temperature.intervals.around(ops, state, unknown)
        out["chip_temp_c"] = ops.concat([middle - low, middle, middle + high])
        return out


def _log_ratio(values: Floats, rated: NDArray[np.float32]) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.log(values / rated.astype(np.float64))
    return np.where(np.isfinite(found), found, np.nan)


def _trust(dataset: Dataset) -> Floats:
    """[D] what a row's power weighs: less where it is a miner's own figure and others like it are metered."""
    trust = np.ones(len(dataset))
    for model in range(len(dataset.models)):
        own = dataset.model == model
        if len(np.unique(dataset.unit[own & dataset.metered])) >= _LEAST_UNITS:
            trust[own & ~dataset.metered] = _OWN_FIGURE
    return trust


def _weights(dataset: Dataset) -> Floats:
    moved = int(dataset.changed.sum())
    if not moved:
        return np.ones(len(dataset))
    return np.where(dataset.changed, np.clip((len(dataset) - moved) / moved, 1.0, _MOST_WEIGHT), 1.0)

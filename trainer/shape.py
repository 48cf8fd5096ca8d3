"""What a model sees of a unit and a candidate setting, and the curve that it lays through them.

Everything here is written in `trainer.graph` operations, so that fitting and the exported graph share it.
Fitting the weights is left to `trainer.families`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.errors import DataError
from agent.features.inputs import nominal_hashrate_share
from trainer.graph import Floats, Ops, Value

# The grid of shares on which a curve is made monotone before it is read off, even in the logarithm.
GRID = np.exp(np.linspace(math.log(0.1), math.log(2.0), 45))
_GRID_STEP = math.log(GRID[1] / GRID[0])

# Least rise of log hashrate and log power per log share: a flat stretch would say that watts are free.
LEAST_SLOPE = {"hashrate": 0.25, "power": 0.35}
# Rated figures this close (in the logarithm) are the same product.
SAME_RATING = 0.02
_STOPPED = 0.05
# Variance of the logarithm of past settings at which half of the tilt seen is believed.
_TRUSTED_VARIANCE = 0.03**2


def nominal_log(quantity: str, share: Floats) -> Floats:
    """Logarithm of the profile's hashrate or power at `share`, as shares of rated."""
    inside = np.clip(share, GRID[0], GRID[-1])
    return np.log(nominal_hashrate_share(inside) if quantity == "hashrate" else inside)


@dataclass(frozen=True, slots=True)
class Anchors:
    """Rated figures seen in training, by which a graph recognises a hardware model.

    Args:
        log_ths, log_w, vendor: [A] of each distinct rating.
        group: [A] index of its hardware model.
        names: [H] hardware models.
    """

    log_ths: Floats
    log_w: Floats
    vendor: Floats
    group: Floats
    names: tuple[str, ...]

    def kinds(self) -> NDArray[np.int64]:
        """[H] vendor of each hardware model: what can be set and measured is alike within one."""
        first = [int(np.argmax(self.group == model)) for model in range(len(self.names))]
        return self.vendor[first].astype(np.int64)

    def members(self, ops: Ops, log_ths: Value, log_w: Value, vendor: Value) -> Value:
        """[B,H] with one 1.0 where the hardware model is known, all 0.0 where it is not."""
        off_ths = log_ths - ops.constant(self.log_ths)
        off_w = log_w - ops.constant(self.log_w)
        off_vendor = vendor - ops.constant(self.vendor)
        distance = off_ths * off_ths + off_w * off_w + off_vendor * off_vendor
        table = np.eye(len(self.names))[self.group.astype(np.int64)]
        return ops.nearest(distance, table) * (1.0 - ops.above(ops.row_min(distance), SAME_RATING**2))


@dataclass(frozen=True, slots=True)
class View:
    """Where a model finds its features, and the range of shares it has seen.

    Args:
        index: column of each feature by name.
        low_share, high_share: ends of what training covered; beyond, the profile's curve gives the shape.
    """

    index: dict[str, int]
    anchors: Anchors
    low_share: float
    high_share: float

    @staticmethod
    def of(names: Sequence[str], anchors: Anchors, share: Floats) -> View:
        """The view of training data with features `names` and candidate shares [n].

        Raises:
            DataError: the feature table lacks a feature that models are made of; names it.
        """
        lacking = [name for name in NEEDED if name not in names]
        if lacking:
            raise DataError(f"the feature table has no {', '.join(lacking)}, which models are made of")
        low, high = np.quantile(share, [0.002, 0.998])
        return View({n: list(names).index(n) for n in NEEDED}, anchors, float(low), float(high))


NEEDED = (
    "setting_share",
    "hashrate_ratio",
    "hashrate_ratio_6h",
    "hashrate_ratio_24h",
    "hashrate_ratio_7d",
    "power_ratio",
    "power_ratio_6h",
    "power_ratio_24h",
    "power_ratio_7d",
    "hashrate_tilt_7d",
    "power_tilt_7d",
    "setting_variance_7d",
    "setting_mean_7d",
    "power_percent",
    "intake_temp_c",
    "chip_temp_c",
    "boards_share",
    "rated_hashrate_ths",
    "rated_power_w",
    "vendor_code",
    "cooling_code",
    "day_sin",
    "day_cos",
    "reject_rate_24h",
    "stale_rate_24h",
    "restarts_24h",
    "hashing_share_24h",
)

# How each column of a state bends with the share: 0 shifts the curve, 1 tilts it too, 2 and 3 curve it.
STATE: tuple[tuple[str, int], ...] = (
    ("one", 3),
    ("rate_level", 2),
    ("rate_level_24h", 0),
    ("rate_level_7d", 0),
    ("rate_level_now", 0),
    ("rate_unknown", 1),
    ("power_level", 2),
    ("power_level_24h", 0),
    ("power_level_7d", 0),
    ("power_level_now", 0),
    ("power_unknown", 1),
    ("tilt_known", 2),
    ("setting_mean", 1),
    ("rate_tilt", 3),
    ("rate_tilt_squared", 2),
    ("rate_tilt_x_present", 1),
    ("rate_tilt_x_present_squared", 0),
    ("rate_tilt_x_setting_mean", 2),
    ("power_tilt", 3),
    ("power_tilt_squared", 2),
    ("power_tilt_x_present", 1),
    ("power_tilt_x_present_squared", 0),
    ("power_tilt_x_setting_mean", 2),
    ("by_percent", 1),
    ("by_percent_x_rate_level", 0),
    ("by_percent_x_power_level", 0),
    ("present", 3),
    ("present_squared", 1),
    ("present_x_power_level", 1),
    ("present_x_rate_level", 1),
    ("present_unknown", 1),
    ("intake", 1),
    ("intake_unknown", 0),
    ("boards_lost", 0),
    ("efficiency", 3),
    ("microbt", 2),
    ("hydro", 1),
    ("immersion", 1),
    ("day_sin", 0),
    ("day_cos", 0),
)


@dataclass(frozen=True, slots=True)
class WidthState:
    """What the width of an interval depends on: values [B,n].

    Args:
        members: [B,H] hardware model, one-hot; all 0.0 where it is not known.
        distance: [B,1] from the present setting to the candidate, in log share, 0 to 1.
        rate_unknown, power_unknown: [B,1] 1.0 where the unit's own history says nothing.
        tilt_unknown: [B,1] 1.0 where it says nothing of the shape of the unit's curve, 0.0 where it says all.
    """

    members: Value
    distance: Value
    rate_unknown: Value
    power_unknown: Value
    tilt_unknown: Value


@dataclass(frozen=True, slots=True)
class State(WidthState):
    """What is known of each row: values [B,n].

    Args:
        features: [B,F] raw, NaN where missing.
        columns: [B,Q] those of `state_names`.
        share, log_share: [B,1] of the candidate, inside the grid.
        rated_ths, rated_w: [B,1].
    """

    features: Value
    columns: Value
    share: Value
    log_share: Value
    rated_ths: Value
    rated_w: Value


def unit_state(ops: Ops, view: View, features: Value, share: Value) -> State:
    """What a model sees of `features` [B,F] and `share` [B,1]. NaN ends here: every value is finite."""

    def raw(name: str) -> Value:
        return ops.column(features, view.index[name])

    share = ops.clip(share, GRID[0], GRID[-1])
    log_share = ops.log(share)
    rated_ths = ops.clip(ops.filled(raw("rated_hashrate_ths"), 100.0), 1.0, 5000.0)
    rated_w = ops.clip(ops.filled(raw("rated_power_w"), 3250.0), 50.0, 50000.0)
    vendor = ops.filled(raw("vendor_code"), 0.0)
    cooling = ops.filled(raw("cooling_code"), 0.0)
    hydro = ops.above(cooling, 0.5) - ops.above(cooling, 1.5)

    present_raw = raw("setting_share")
    hashing = ops.above(ops.filled(present_raw, 0.0), _STOPPED)
    present = ops.log(ops.clip(ops.filled(present_raw, 1.0), GRID[0], GRID[-1])) * hashing
    distance = ops.clip(abs(log_share - present), 0.0, 1.0)

    rate, rate_unknown = _level(ops, raw, "hashrate_ratio")
    power, power_unknown = _level(ops, raw, "power_ratio")
    known, mean = _spread(ops, raw)
    # A share of what the unit draws at will is another level than the same share as a limit in watts.
    by_percent = 1.0 - ops.above(ops.filled(raw("power_percent"), 100.0), 99.5)
    intake = raw("intake_temp_c")
    rating = ops.log(rated_w / rated_ths * (1.0 / 25.0))
    columns = [
        rating * 0.0 + 1.0,
        *rate,
        rate_unknown,
        *power,
        power_unknown,
        known,
        mean,
        *_tilt(ops, raw("hashrate_tilt_7d"), known, present, mean),
        *_tilt(ops, raw("power_tilt_7d"), known, present, mean),
        by_percent,
        by_percent * rate[0],
        by_percent * power[0],
        present,
        present * present,
        present * power[0],
        present * rate[0],
        1.0 - hashing,
        ops.clip(ops.filled(intake, 25.0) * 0.05 - 1.25, -3.0, 3.0),
        ops.missing(intake),
        1.0 - ops.clip(ops.filled(raw("boards_share"), 1.0), 0.0, 1.0),
        rating,
        vendor,
        hydro,
        ops.above(cooling, 1.5),
        ops.filled(raw("day_sin"), 0.0),
        ops.filled(raw("day_cos"), 0.0),
    ]
    members = view.anchors.members(ops, ops.log(rated_ths), ops.log(rated_w), vendor)
    return State(
        features=features,
        # What bends the curve of a model at the candidate bends it at the present setting too, where the
        # unit's level was taken.
        columns=ops.concat([*columns, members, members * present]),
        log_share=log_share,
        share=share,
        distance=distance,
        members=members,
        rated_ths=rated_ths,
        rated_w=rated_w,
        rate_unknown=rate_unknown,
        power_unknown=power_unknown,
        tilt_unknown=1.0 - known,
    )


def state_names(view: View) -> tuple[str, ...]:
    """Names of the columns of `State.columns`."""
    models = view.anchors.names
    return (
        *(name for name, _ in STATE),
        *(f"model {name}" for name in models),
        *(f"model {name} x present" for name in models),
    )


def _level(ops: Ops, raw: Value, name: str) -> tuple[list[Value], Value]:
    """The unit's log ratio to nominal over 6h, what 24h, 7d and now add to it, and whether none is known."""
    now, short, day, week = (raw(f"{name}{tail}") for tail in ("", "_6h", "_24h", "_7d"))
    base = ops.filled(ops.filled(ops.filled(short, day), week), now)
    unknown = ops.missing(base)
    level = _log_ratio(ops, ops.filled(base, 1.0))
    others = [_log_ratio(ops, ops.filled(ops.filled(x, base), 1.0)) - level for x in (day, week, now)]
    return [level, *others], unknown


def _spread(ops: Ops, raw: Callable[[str], Value]) -> tuple[Value, Value]:
    """How far the unit's own tilt can be trusted, 0 to 1, and where its settings lay."""
    variance = ops.clip(ops.filled(raw("setting_variance_7d"), 0.0), 0.0, 1.0)
    known = variance / (variance + _TRUSTED_VARIANCE)
    return known, ops.clip(ops.filled(raw("setting_mean_7d"), 0.0), -1.5, 1.0) * known


def _tilt(ops: Ops, tilt: Value, known: Value, present: Value, mean: Value) -> list[Value]:
    """How the unit's own curve leans against the profile's, and what that says where it was not measured."""
    own = ops.clip(ops.filled(tilt, 0.0), -0.6, 0.6) * known
    return [own, own * own, own * present, own * present * present, own * mean]


def _log_ratio(ops: Ops, ratio: Value) -> Value:
    return ops.log(ops.clip(ratio, 0.6, 1.6))


@dataclass(frozen=True, slots=True)
class Basis:
    """Functions of log share that a curve is made of, beside the profile's own.

    Args:
        knots: shares at which a quadratic spline bends; none for plain polynomials.
        degree: 0 for a level alone, else up to 3.
    """

    degree: int
    knots: tuple[float, ...] = ()

    def values(self, view: View, share: Floats) -> Floats:
        """[n,P] at shares [n]; constant beyond the range that training covered."""
        z = np.log(np.clip(share, view.low_share, view.high_share))
        terms = [z**power for power in range(self.degree + 1)]
        terms += [np.maximum(z - math.log(knot), 0.0) ** 2 for knot in self.knots]
        return np.stack(terms, axis=-1)

    def bends(self) -> tuple[int, ...]:
        """[P] how much each function bends the curve; compared with the second part of `STATE`."""
        return (*range(self.degree + 1), *(3 for _ in self.knots))


def active_pairs(view: View, basis: Basis) -> list[tuple[int, int]]:
    """The (state column, basis function) pairs that carry a weight."""
    models = len(view.anchors.names)
    limits = [bend for _, bend in STATE] + [2] * models + [0] * models
    return [(q, p) for q, limit in enumerate(limits) for p, bend in enumerate(basis.bends()) if bend <= limit]


def monotone_curve(ops: Ops, quantity: str, correction: Value, state: State) -> Value:
    """Read log value over rated at the candidate off a curve that never falls.

    Args:
        correction: [B,G] logarithm of the ratio to nominal on `GRID`.
    """
    tilt = LEAST_SLOPE[quantity] * np.log(GRID)
    curve = ops.rising(correction + ops.constant(nominal_log(quantity, GRID) - tilt)) + ops.constant(tilt)
    place = (state.log_share - math.log(GRID[0])) * (1.0 / _GRID_STEP)
    weight = ops.clip(1.0 - abs(place - ops.constant(np.arange(float(len(GRID))))), 0.0, 1.0)
    return ops.row_sum(weight * curve)

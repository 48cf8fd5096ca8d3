"""What is known of each unit's residuals, as columns over the fleet. Values are never changed in place.

How it grows is `agent.learning.update`, what it does to curves `agent.learning.correct`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.learning.pooling import posterior
from agent.learning.tuning import QUANTITIES, TERMS, Tuning, group_variance, own_variance

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Readings of one slot; its value is their median.
SLOT_READINGS = 15
_Q, _D = len(QUANTITIES), len(TERMS)


@dataclass(frozen=True, slots=True)
class UnitLearning:
    """N units, hashrate and power (Q = 2), parameters of `TERMS` (D = 4).

    Args:
        group: [N] units of one number have part of their residuals in common.
        at_s: Unix seconds to which the evidence is carried; NaN before any.
        looked_s: Unix seconds of the last readings, used or not; NaN before any.
        info, seen: [N,Q,D,D], [N,Q,D] evidence: precision, and precision times value.
        predictor_var: [N,Q] variance that the predictor claims at the setting in force; NaN before any.
        own_var: [N,Q] variance of the unit's own level; larger than its part of `predictor_var` where a
            lasting change has shown that the unit is like no other.
        doubt_var: [N,Q] variance of the bias of the unit's own sensor, which no averaging takes away.
        noise_var: [N,Q] variance of slots around what is believed.
        white_var: [N,Q] the part of it that is gone by the next slot.
        slots: [N,Q] slots taken in.
        refused: [N,Q] slots refused in a row, negative if they were below what was believed.
        last_value, last_share, last_s: [N,Q], [N], [N,Q] the last slot taken in.
        open_since_s, open_last_s, open_share, open_temp_c: [N] the slot that is being filled.
        open_values: [N,Q,15] residuals in it, NaN where none.
        open_width: [N,Q] variance that the predictor claimed in it.
        mean, cov: [N,Q,D], [N,Q,D,D] what readings are believed to show, worked out from the rest. What is
            true is `without_bias`.
    """

    tuning: Tuning
    group: Ints
    at_s: float
    looked_s: float
    info: Floats
    seen: Floats
    predictor_var: Floats
    own_var: Floats
    doubt_var: Floats
    noise_var: Floats
    white_var: Floats
    slots: Ints
    refused: Ints
    last_value: Floats
    last_share: Floats
    last_s: Floats
    open_since_s: Floats
    open_last_s: Floats
    open_share: Floats
    open_temp_c: Floats
    open_values: Floats
    open_width: Floats
    mean: Floats = field(repr=False)
    cov: Floats = field(repr=False)

    @property
    def count(self) -> int:
        """N."""
        return len(self.group)


# What belongs to a unit and is kept between runs.
UNIT_FIELDS: tuple[str, ...] = tuple(
    f.name
    for f in fields(UnitLearning)
    if f.name not in ("tuning", "group", "at_s", "looked_s", "mean", "cov")
)


def fresh(count: int, group: Ints | None = None, tuning: Tuning | None = None) -> UnitLearning:
    """`count` units of which nothing is known: their curves are those of the predictor.

    Args:
        group: [N] from 0, which units have something in common; None: none have.
    """
    tuning = tuning or Tuning()
    own = np.arange(count, dtype=np.int64) if group is None else np.asarray(group, dtype=np.int64)

    def nan(*shape: int) -> Floats:
        return np.full((count, *shape), np.nan)

    state = UnitLearning(
        tuning=tuning,
        group=own,
        at_s=float("nan"),
        looked_s=float("nan"),
        info=np.zeros((count, _Q, _D, _D)),
        seen=np.zeros((count, _Q, _D)),
        predictor_var=nan(_Q),
        own_var=np.zeros((count, _Q)),
        doubt_var=np.zeros((count, _Q)),
        noise_var=np.full((count, _Q), tuning.first_noise**2),
        white_var=np.full((count, _Q), 0.8 * tuning.first_noise**2),
        slots=np.zeros((count, _Q), dtype=np.int64),
        refused=np.zeros((count, _Q), dtype=np.int64),
        last_value=nan(_Q),
        last_share=nan(),
        last_s=nan(_Q),
        open_since_s=nan(),
        open_last_s=nan(),
        open_share=nan(),
        open_temp_c=nan(),
        open_values=nan(_Q, SLOT_READINGS),
        open_width=nan(_Q),
        mean=np.zeros((count, _Q, _D)),
        cov=np.zeros((count, _Q, _D, _D)),
    )
    return believe(state)


def believe(state: UnitLearning) -> UnitLearning:
    """The same evidence with `mean` and `cov` worked out anew."""
    if not state.count:
        return state
    tuning = state.tuning
    common, own = priors(state)
    # Readings show the bias of the sensor as if it were the unit's own level, and its group's.
    groups, shared = len(common), tuning.common_doubt
    common[..., 0] += shared * _group_mean(state.doubt_var, state.group, groups)
    own[..., 0] += (1.0 - shared) * state.doubt_var
    mean, cov = posterior(state.info, state.seen, state.group, common, own, tuning.common_noise**2)
    return replace(state, mean=mean, cov=cov)


def without_bias(state: UnitLearning) -> tuple[Floats, Floats]:
    """Mean [N,Q,D] and covariance [N,Q,D,D] of the units themselves.

    Of a level that readings show, the part s^2 / (s^2 + d^2) is taken to be the unit's and the rest its
    sensor's: s^2 is the variance between units, d^2 that of the bias.
    """
    if not state.doubt_var.any():
        return state.mean, state.cov
    common, own = priors(state)
    between = common[state.group, :, 0] + own[..., 0]
    part = between / (between + state.doubt_var)
    mean, cov = state.mean.copy(), state.cov.copy()
    mean[..., 0] *= part
    cov[..., 0, :] *= part[..., None]
    cov[..., :, 0] *= part[..., None]
    cov[..., 0, 0] += part * state.doubt_var
    return mean, cov


def priors(state: UnitLearning, raised: bool = True) -> tuple[Floats, Floats]:
    """Prior variances of the groups [G,Q,D] and of the units' own part [N,Q,D].

    Args:
        raised: with what lasting changes have added; False is as it was before anything was seen.
    """
    level = claimed(state)
    groups = int(state.group.max()) + 1
    usual = _group_mean(level, state.group, groups)
    common = group_variance(usual, state.tuning)
    own = own_variance(level, state.tuning)
    if raised:
        own[..., 0] = np.maximum(own[..., 0], state.own_var)
    return common, own


def _group_mean(values: Floats, group: Ints, groups: int) -> Floats:
    """[G,Q] mean over the members; of a group without any, the mean of all."""
    total = np.zeros((groups, values.shape[1]))
    np.add.at(total, group, values)
    members = np.bincount(group, minlength=groups)[:, None]
    return np.where(members > 0, total / np.maximum(members, 1), values.mean(axis=0))


def claimed(state: UnitLearning) -> Floats:
    """[N,Q] variance that the predictor claims; the mean of all units where none was seen yet."""
    known = np.isfinite(state.predictor_var)
    usual = np.array(
        [np.mean(state.predictor_var[known[:, q], q]) if known[:, q].any() else _UNSEEN**2 for q in range(_Q)]
    )
    return np.where(known, state.predictor_var, usual)


_UNSEEN = 0.04


def take(state: UnitLearning, rows: Sequence[int | None], group: Ints | None) -> UnitLearning:
    """Another fleet from this one: unit i is row `rows[i]` of `state`, or one that nothing is known of."""
    new = fresh(len(rows), group, state.tuning)
    to = np.array([i for i, row in enumerate(rows) if row is not None], dtype=np.int64)
    old = np.array([row for row in rows if row is not None], dtype=np.int64)
    changed: dict[str, Any] = {}
    for name in UNIT_FIELDS:
        values = getattr(new, name).copy()
        values[to] = getattr(state, name)[old]
        changed[name] = values
    return believe(replace(new, at_s=state.at_s, looked_s=state.looked_s, **changed))


def widen(state: UnitLearning, factor: float) -> UnitLearning:
    """Evidence made weaker, for when it was gathered against another predictor.

    Args:
        factor: what is left of it, 0 to 1.
    """
    kept = replace(
        state,
        info=state.info * factor,
        seen=state.seen * factor,
        predictor_var=np.full_like(state.predictor_var, np.nan),
        last_value=np.full_like(state.last_value, np.nan),
        refused=np.zeros_like(state.refused),
        open_since_s=np.full_like(state.open_since_s, np.nan),
        open_values=np.full_like(state.open_values, np.nan),
    )
    return believe(kept)


def head(state: UnitLearning, count: int) -> UnitLearning:
    """The first `count` units, believed as they are."""
    if count == state.count:
        return state
    names = (*UNIT_FIELDS, "mean", "cov", "group")
    return replace(state, **{name: getattr(state, name)[:count] for name in names})

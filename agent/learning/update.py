"""Takes in readings: residuals against the predictor, gathered into slots, weighed, added to what is known.

A slot far off what is believed counts less, one very far off not at all, until several in a row agree.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from agent.learning.state import SLOT_READINGS, UnitLearning, believe
from agent.learning.tuning import POWER, Tuning, regressors
from agent.quantiles import Z80

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

_DAY_S = 86400.0
_LEAST_SHARE = 0.05
# Shares closer than this are one setting.
_SAME_SHARE = 0.003
# Beyond these a reading is of no unit that a curve is for.
_WILDEST = 1.0
# A step is learned by letting the level go by this much; slope and bend stay.
_LET_GO = 0.3
_NOISE_SLOTS = 20.0
_NOISE_LIMIT = 0.05


def update(
    state: UnitLearning,
    share: Floats,
    predicted_hashrate: Floats,
    predicted_power: Floats,
    hashrate: Floats,
    power: Floats,
    temp_c: Floats,
    at_s: float,
    usable: Bools,
    power_doubt: Floats | None = None,
) -> UnitLearning:
    """Take in one moment of N units.

    Args:
        share: [N] nominal share of rated power in force.
        predicted_hashrate, predicted_power: [N,3] by the same predictor whose curves are to be corrected,
            now, at `share`; NaN where it has none.
        hashrate, power: [N] TH/s and W as measured; NaN where unknown.
        temp_c: [N] intake or outside temperature, always the same of the two; NaN where unknown.
        at_s: Unix seconds.
        usable: [N] True where the unit is settled, hashes, is fresh and sound.
        power_doubt: [N] standard deviation of the power sensor's own bias, as a share; 0 is a meter.
    """
    state = _with_doubt(state, power_doubt, usable & np.isfinite(power))
    predicted = np.stack([predicted_hashrate, predicted_power], axis=1)
    good = usable & (share >= _LEAST_SHARE)
    residual = _residuals(predicted, np.stack([hashrate, power], axis=1), good)
    good = good & np.isfinite(residual).any(axis=1)
    moved = good & ~(np.abs(share - state.open_share) <= _SAME_SHARE)
    begun = np.isfinite(state.open_since_s)
    full = begun & (moved | (good & (at_s - state.open_since_s >= max(state.tuning.slot_s, 1e-9))))
    # A clock that was set back leaves a slot that would never end.
    full |= begun & (state.open_since_s > at_s)
    if full.any():
        state = _close(state, full)
    state = _gather(state, good, residual, predicted, share, temp_c, at_s)
    # Where readings are further apart than slots are long, each is a slot of its own, and complete.
    if state.tuning.slot_s <= 0.0 or at_s - state.looked_s >= state.tuning.slot_s:
        state = _close(state, good)
    return replace(state, looked_s=at_s)


def _with_doubt(state: UnitLearning, power_doubt: Floats | None, told: Bools) -> UnitLearning:
    doubt = np.zeros(state.count) if power_doubt is None else power_doubt**2
    known = told & np.isfinite(doubt) & (doubt != state.doubt_var[:, POWER])
    if not known.any():
        return state
    doubts = state.doubt_var.copy()
    doubts[known, POWER] = doubt[known]
    return believe(replace(state, doubt_var=doubts))


def _residuals(predicted: Floats, measured: Floats, good: Bools) -> Floats:
    """[N,Q] logarithm of measured over predicted; NaN where either is unknown or absurd."""
    middle = predicted[:, :, 1]
    known = good[:, None] & (middle > 0.0) & (measured > 0.0)
    value = np.full(middle.shape, np.nan)
    value[known] = np.log(measured[known] / middle[known])
    return np.where(np.abs(value) <= _WILDEST, value, np.nan)


def _gather(
    state: UnitLearning,
    good: Bools,
    residual: Floats,
    predicted: Floats,
    share: Floats,
    temp_c: Floats,
    at_s: float,
) -> UnitLearning:
    """Put readings into the slots that are open, opening one where there is none."""
    new = good & ~np.isfinite(state.open_since_s)
    apart = state.tuning.slot_s / SLOT_READINGS
    taken = good & (new | (at_s - state.open_last_s >= apart))
    if not taken.any():
        return state
    values = state.open_values.copy()
    values[new] = np.nan
    place = np.isfinite(values).any(axis=1).sum(axis=1)
    room = taken & (place < SLOT_READINGS)
    values[room, :, place[room]] = residual[room]
    half = (predicted[:, :, 2] - predicted[:, :, 0]) / (2.0 * Z80)
    with np.errstate(divide="ignore", invalid="ignore"):
        claimed = (half / predicted[:, :, 1]) ** 2
    return replace(
        state,
        open_values=values,
        open_width=np.where(taken[:, None] & np.isfinite(residual), claimed, state.open_width),
        open_since_s=np.where(new, at_s, state.open_since_s),
        open_last_s=np.where(taken, at_s, state.open_last_s),
        open_share=np.where(taken, share, state.open_share),
        open_temp_c=np.where(taken, temp_c, state.open_temp_c),
    )


def _close(state: UnitLearning, rows: Bools) -> UnitLearning:
    """Add the open slots of `rows` to the evidence and close them."""
    tuning = state.tuning
    value = np.where(rows[:, None], _median(state.open_values), np.nan)
    known = np.isfinite(value)
    if known.any():
        now_s = float(np.nanmax(np.where(rows, state.open_last_s, np.nan)))
        state = _carry(state, now_s)
        x = regressors(np.where(rows, state.open_share, 1.0), state.open_temp_c)
        state = _weigh(state, x, value, known, now_s)
        state = believe(state)
    return replace(
        state,
        open_since_s=np.where(rows, np.nan, state.open_since_s),
        open_values=np.where(rows[:, None, None], np.nan, state.open_values),
        tuning=tuning,
    )


def _weigh(state: UnitLearning, x: Floats, value: Floats, known: Bools, now_s: float) -> UnitLearning:
    tuning = state.tuning
    gap_days = np.clip(np.nan_to_num((now_s - state.last_s) / _DAY_S, nan=tuning.forget_days), 0.0, None)
    believed = np.einsum("nd,nqd->nq", x, state.mean)
    doubtful = np.einsum("nd,nqde,ne->nq", x, state.cov, x) + tuning.level_per_root_day**2 * gap_days
    off = value - believed
    sigma = np.sqrt(doubtful + state.noise_var)
    z = np.abs(off) / sigma
    with np.errstate(invalid="ignore"):
        wild = known & (z > tuning.gate)
        weight = np.where(z > tuning.huber, tuning.huber / np.maximum(z, 1e-9), 1.0)
    side = np.where(off > 0.0, 1, -1)
    again = np.where(np.sign(state.refused) == side, state.refused + side, side)
    refused = np.where(wild, again, np.where(known, 0, state.refused))
    changed = wild & (np.abs(refused) >= tuning.reopen)
    state = _let_go(state, changed, off)
    refused = np.where(changed, 0, refused)
    weight = np.where(changed, 1.0, np.where(known & ~wild, weight, 0.0))
    noise = _noise_of_sum(state, gap_days)
    strength = np.where(weight > 0.0, weight / noise, 0.0)
    point = np.where(known, value, 0.0)
    outer = x[:, None, :, None] * x[:, None, None, :]
    taken = weight > 0.0
    fitting = known & ~wild
    total, white = _noise(state, off, value, doubtful, fitting, changed)
    width = np.where(np.isfinite(state.open_width) & known, state.open_width, np.nan)
    return replace(
        state,
        info=state.info + strength[:, :, None, None] * outer,
        seen=state.seen + (strength * point)[:, :, None] * x[:, None, :],
        predictor_var=_follow(state.predictor_var, width, 0.05),
        noise_var=total,
        white_var=white,
        slots=state.slots + taken,
        refused=refused,
        last_value=np.where(taken, value, state.last_value),
        last_share=np.where(known.any(axis=1), state.open_share, state.last_share),
        last_s=np.where(taken, now_s, state.last_s),
    )


def _noise_of_sum(state: UnitLearning, gap_days: Floats) -> Floats:
    """[N,Q] variance to weigh one slot with, so that slots whose errors last are not counted twice."""
    tuning = state.tuning
    slow = np.maximum(state.noise_var - state.white_var, tuning.least_noise**2)
    gap_h = np.maximum(24.0 * gap_days, max(tuning.slot_s / 3600.0, 1e-3))
    repeats = np.maximum(tuning.slow_h / gap_h, 1.0)
    return np.asarray(state.white_var + slow * repeats)


def _noise(
    state: UnitLearning, off: Floats, value: Floats, explained: Floats, fitting: Bools, changed: Bools
) -> tuple[Floats, Floats]:
    """Variance of slots, whole and white, followed where the slot is believed."""
    tuning = state.tuning
    gain = 1.0 / np.minimum(state.slots + _NOISE_SLOTS, 10.0 * _NOISE_SLOTS)
    floor = tuning.least_noise**2
    seen = np.maximum(off**2 - explained, 0.0)
    total = np.where(fitting, state.noise_var + gain * (seen - state.noise_var), state.noise_var)
    same = np.abs(state.open_share - state.last_share) <= _SAME_SHARE
    both = fitting & same[:, None] & np.isfinite(state.last_value)
    step = 0.5 * (value - state.last_value) ** 2
    white = np.where(both, state.white_var + gain * (step - state.white_var), state.white_var)
    total = np.where(changed, tuning.first_noise**2, np.clip(total, floor, _NOISE_LIMIT**2))
    return total, np.clip(white, 0.25 * floor, total)


def _let_go(state: UnitLearning, changed: Bools, off: Floats) -> UnitLearning:
    """Free the level of units that have really changed, from their past and from their group."""
    if not changed.any():
        return state
    info, seen = loosen(state.info, state.seen, np.where(changed, _LET_GO**2, 0.0))
    own = np.where(changed, np.maximum(state.own_var, 2.0 * np.nan_to_num(off) ** 2), state.own_var)
    return replace(state, info=info, seen=seen, own_var=own)


def _carry(state: UnitLearning, now_s: float) -> UnitLearning:
    """Let evidence age up to `now_s`; a clock that was set back lets nothing age."""
    days = (now_s - state.at_s) / _DAY_S if math.isfinite(state.at_s) else 0.0
    if days <= 0.0:
        return replace(state, at_s=now_s)
    tuning: Tuning = state.tuning
    kept = math.exp(-days / tuning.forget_days)
    wander = np.full(state.own_var.shape, tuning.level_per_root_day**2 * days)
    info, seen = loosen(state.info * kept, state.seen * kept, wander)
    return replace(state, info=info, seen=seen, own_var=state.own_var * kept, at_s=now_s)


def loosen(info: Floats, seen: Floats, variance: Floats) -> tuple[Floats, Floats]:
    """Evidence after the level has moved by an unknown amount of this variance [N,Q].

    It is (A^-1 + Q)^-1 for a Q that only the level has, without inverting an A that may be singular.
    """
    level = info[..., 0]
    by = variance / (1.0 + variance * info[..., 0, 0])
    return (
        info - by[..., None, None] * level[..., :, None] * level[..., None, :],
        seen - by[..., None] * level * seen[..., :1],
    )


def _median(values: Floats) -> Floats:
    """Median over the last axis of what is not NaN; NaN where nothing is."""
    order = np.sort(values, axis=-1)
    count = np.isfinite(order).sum(axis=-1)
    low, high = np.maximum(count - 1, 0) // 2, count // 2
    pick = np.minimum(np.stack([low, high], axis=-1), values.shape[-1] - 1)
    both = np.take_along_axis(order, pick, axis=-1)
    return np.where(count > 0, both.mean(axis=-1), np.nan)


def _follow(old: Floats, new: Floats, gain: float) -> Floats:
    started = np.where(np.isfinite(old), old + gain * (new - old), new)
    return np.where(np.isfinite(new), started, old)

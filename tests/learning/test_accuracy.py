"""Against the simulator's units, whose true curves are known; the predictor knows only other physics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from agent.learning.correct import correct
from agent.learning.state import fresh
from agent.learning.tuning import Tuning
from agent.learning.update import update
from tests.learning.farm import GRID, Farm, make_farm

SEEDS = (31, 32, 33, 34)
VISITED = (0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True)
class Score:
    """Errors in logarithms and whether intervals hold them, [N,K] for hashrate and power."""

    before: np.ndarray
    after: np.ndarray
    inside: np.ndarray
    steepness: np.ndarray


def live(farm: Farm, seed: int, days: int, wander: bool, pooled: bool = True) -> Score:
    """Readings every two hours under weather; units move between four settings each day, or stay at rated."""
    rng = np.random.default_rng(seed)
    count = farm.count
    state = fresh(count, farm.group if pooled else None, Tuning(slot_s=0.0))
    for day in range(days):
        share = rng.choice(VISITED, count) if wander else np.ones(count)
        now = farm.predict(share[:, None])
        for hour in range(0, 24, 2):
            inlet = 25.0 + 5.0 * np.sin(2.0 * np.pi * hour / 24.0) + 3.0 * np.sin(day / 7.0)
            rate, power = farm.truth(share, inlet)
            state = update(
                state,
                share,
                now.hashrate_ths[:, 0],
                now.power_w[:, 0],
                rate * np.exp(0.005 * rng.standard_normal(count)),
                power * np.exp(0.003 * rng.standard_normal(count)),
                np.full(count, inlet),
                86400.0 * day + 3600.0 * hour,
                np.ones(count, dtype=bool),
            )
    shares = np.tile(GRID, (count, 1))
    fleet = farm.predict(shares)
    own = correct(state, shares, fleet)
    true = farm.truth(shares)
    pairs = list(zip(true, (fleet.hashrate_ths, fleet.power_w), (own.hashrate_ths, own.power_w), strict=True))
    slopes = [
        np.diff(np.log(power), axis=1) / np.diff(np.log(rate), axis=1)
        for rate, power in (true, (own.hashrate_ths[:, :, 1], own.power_w[:, :, 1]))
    ]
    return Score(
        np.stack([np.log(f[:, :, 1] / t) for t, f, _ in pairs]),
        np.stack([np.log(o[:, :, 1] / t) for t, _, o in pairs]),
        np.stack([(t >= o[:, :, 0]) & (t <= o[:, :, 2]) for t, _, o in pairs]),
        slopes[1] / slopes[0] - 1.0,
    )


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


@pytest.mark.parametrize("by_power", [True, False], ids=["power limits", "frequencies"])
def test_a_week_brings_the_error_down_to_a_fifth(by_power: bool) -> None:
    before, after = [], []
    for seed in SEEDS:
        score = live(make_farm(4, seed, by_power, models=6), seed, days=7, wander=True)
        visited = (min(VISITED) - 1e-9 <= GRID) & (max(VISITED) + 1e-9 >= GRID)
        before.append(score.before[:, :, visited])
        after.append(score.after[:, :, visited])
    assert rms(np.concatenate(before, axis=1)) > 0.02
    assert rms(np.concatenate(after, axis=1)) < 0.2 * rms(np.concatenate(before, axis=1))


def test_one_setting_brings_the_error_there_down_to_a_tenth() -> None:
    score = live(make_farm(4, 35, by_power=False, models=6), 35, days=3, wander=False)
    at = int(np.argmin(np.abs(GRID - 1.0)))
    assert rms(score.after[:, :, at]) < 0.1 * rms(score.before[:, :, at])


def test_units_learn_faster_together() -> None:
    errors = {
        pooled: rms(live(make_farm(8, 36, models=4), 36, days=1, wander=True, pooled=pooled).after)
        for pooled in (True, False)
    }
    assert errors[True] < 0.7 * errors[False]


def test_the_slope_of_power_over_hashrate_becomes_the_true_one() -> None:
    """It sets the marginal decision."""
    off = [live(make_farm(4, seed, models=6), seed, days=10, wander=True).steepness for seed in SEEDS]
    visited = slice(int(np.argmin(np.abs(GRID - 0.7))), int(np.argmin(np.abs(GRID - 1.0))))
    assert np.median(np.abs(np.concatenate(off)[:, visited])) < 0.05


def test_intervals_hold_what_they_say_where_units_were_never_seen() -> None:
    """Units that stay at rated: elsewhere the interval is the only thing that is known."""
    inside = []
    for seed in range(40, 48):
        score = live(make_farm(4, seed, by_power=True, models=12), seed, days=3, wander=False)
        # Power limits hold power by themselves; hashrate is what has to be guessed.
        inside.append(score.inside[0][:, np.abs(GRID - 1.0) > 0.05])
    assert 0.72 < np.mean(np.concatenate(inside)) < 0.92


def test_intervals_are_not_too_narrow_where_units_were_seen() -> None:
    """There they are of tenths of a percent, and kept on the wide side."""
    inside = [
        live(make_farm(4, seed, by_power=False, models=8), seed, days=10, wander=True).inside
        for seed in SEEDS
    ]
    whole = np.concatenate(inside, axis=1)
    assert whole.mean() > 0.77
    assert whole[:, :, 2:6].mean() > 0.85

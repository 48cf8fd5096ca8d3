"""Intervals cover what they promise, stay in order and are wider for what was never seen."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.calibration import Residuals, calibrate, conformal_quantile

RNG = np.random.default_rng(5)


def residuals(
    value: np.ndarray, distance: float = 0.0, model: int = 0, units: int = 40, tilt_unknown: float = 0.0
) -> Residuals:
    count = len(value)
    return Residuals(
        value,
        np.full(count, distance),
        np.zeros(count),
        np.full(count, tilt_unknown),
        np.full(count, model),
        np.arange(count) % units,
        np.zeros(count, dtype=np.bool_),
    )


def joined(*parts: Residuals) -> Residuals:
    names = ("value", "distance", "missing", "tilt_unknown", "model", "unit", "bare")
    return Residuals(*(np.concatenate([getattr(p, n) for p in parts]) for n in names))


def test_the_quantile_counts_the_score_that_is_still_to_come() -> None:
    # ceil(10 x 0.9) = 9th of nine scores; of ten scores ceil(11 x 0.9) = 10th.
    assert conformal_quantile(np.arange(1.0, 10.0), 0.9) == 9.0
    assert conformal_quantile(np.arange(1.0, 11.0), 0.9) == 10.0
    assert conformal_quantile(np.arange(1.0, 101.0), 0.9) == 91.0


def test_no_scores_have_no_quantile() -> None:
    with pytest.raises(ValueError, match="no scores"):
        conformal_quantile(np.empty(0), 0.9)


def test_eighty_percent_of_skewed_residuals_lie_inside() -> None:
    draw = RNG.gamma(2.0, 0.01, 8000) - 0.015
    found = calibrate(residuals(draw[:4000]), None, np.zeros(1, dtype=np.int64), 0.1, 0.1)
    fresh = draw[4000:]
    inside = (fresh >= -found.low[0]) & (fresh <= found.high[0])
    assert inside.mean() == pytest.approx(0.8, abs=0.02)
    assert (fresh < -found.low[0]).mean() == pytest.approx(0.1, abs=0.02)


def test_a_hardware_model_that_errs_more_gets_a_wider_interval() -> None:
    quiet = residuals(RNG.normal(0.0, 0.01, 3000), model=0)
    loud = residuals(RNG.normal(0.0, 0.05, 3000), model=1)
    found = calibrate(joined(quiet, loud), None, np.zeros(2, dtype=np.int64), 0.1, 0.1)
    assert found.high[1] > 2.0 * found.high[0]


def test_a_model_never_seen_is_never_known_better_than_one_that_was() -> None:
    seen = residuals(RNG.normal(0.0, 0.02, 3000))
    unseen = residuals(RNG.normal(0.0, 0.001, 3000), model=-1)
    found = calibrate(seen, unseen, np.zeros(1, dtype=np.int64), 0.1, 0.1)
    assert found.low[-1] >= found.low[0]
    assert found.high[-1] >= found.high[0]


def test_intervals_widen_with_the_way_from_the_present_setting() -> None:
    near = residuals(RNG.normal(0.0, 0.01, 3000))
    far = residuals(RNG.normal(0.0, 0.02, 3000), distance=0.4)
    found = calibrate(joined(near, far), None, np.zeros(1, dtype=np.int64), 10.0, 0.1)
    assert found.stretch[0] * 0.4 == pytest.approx(1.0, abs=0.2)


def test_bounds_never_open_faster_than_the_curve_rises() -> None:
    near = residuals(RNG.normal(0.0, 0.01, 3000))
    far = residuals(RNG.normal(0.0, 0.2, 3000), distance=0.4)
    found = calibrate(joined(near, far), None, np.zeros(1, dtype=np.int64), 0.05, 0.1)
    assert (np.maximum(found.low, found.high) * found.stretch <= 0.05 + 1e-12).all()


def test_far_settings_of_a_unit_that_never_moved_are_known_less() -> None:
    near = residuals(RNG.normal(0.0, 0.01, 3000))
    told = residuals(RNG.normal(0.0, 0.015, 3000), distance=0.4)
    blind = residuals(RNG.normal(0.0, 0.03, 3000), distance=0.4, tilt_unknown=1.0)
    found = calibrate(joined(near, told, blind), None, np.zeros(1, dtype=np.int64), 10.0, 0.1)
    assert found.stretch[0] * 0.4 == pytest.approx(0.5, abs=0.2)
    assert (found.stretch[0] + found.blind[0]) * 0.4 == pytest.approx(2.0, abs=0.3)
    tight = calibrate(joined(near, told, blind), None, np.zeros(1, dtype=np.int64), 0.03, 0.1)
    assert (np.maximum(tight.low, tight.high) * (tight.stretch + tight.blind) <= 0.03 + 1e-12).all()


def test_without_any_residual_the_interval_is_the_default() -> None:
    found = calibrate(residuals(np.empty(0)), None, np.zeros(2, dtype=np.int64), 0.1, 0.12)
    assert (found.low == 0.12).all()

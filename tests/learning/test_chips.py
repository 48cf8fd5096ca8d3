"""Chips that run hotter than predicted: what a limit of temperature is checked with."""

from __future__ import annotations

import numpy as np

from agent.features.table import feature_names
from agent.learning.chips import ChipHeat, follow, hotter, without_present

NAN = float("nan")
HOUR = 3600.0


def seen(chip_c: float, *, air_c: float = 30.0, at_h: float = 0.0, heat: ChipHeat | None = None) -> ChipHeat:
    """One unit, predicted at 80 C and 3000 W."""
    one = np.ones(1)
    before = heat or ChipHeat.unknown(1)
    return follow(before, 80.0 * one, 3000.0 * one, chip_c * one, air_c * one, one > 0.0, at_h * HOUR)


def upper(heat: ChipHeat, *, power_w: float = 3000.0, air_c: float = 30.0, standing: bool = False) -> float:
    chip = np.array([[[78.0, 80.0, 83.0]]])
    one = np.ones((1, 1), dtype=bool)
    found = hotter(heat, chip, np.array([[power_w]]), np.array([air_c]), one, np.array([standing]))
    return float(found[0, 0, 2])


def test_nothing_seen_leaves_the_prediction_as_it_is() -> None:
    assert upper(ChipHeat.unknown(1)) == 83.0


def test_a_hotter_unit_counts_at_once_and_a_cooler_one_slowly() -> None:
    heat = seen(90.0)
    assert upper(heat) == 93.0
    later = seen(80.0, at_h=1.0, heat=heat)
    assert 92.0 < upper(later) < 93.0


def test_more_power_is_more_heat() -> None:
    assert upper(seen(90.0), power_w=3300.0) > upper(seen(90.0)) > upper(seen(90.0), power_w=2700.0)


def test_a_unit_that_is_cooler_than_predicted_is_not_trusted_to_stay_so() -> None:
    assert upper(seen(70.0)) == 83.0


def test_the_hottest_hour_holds_in_air_like_then_and_says_nothing_of_cool_air() -> None:
    # 104 C in air of 35 C: a rise of 69. What is predicted now knows nothing of it.
    heat = seen(80.0, at_h=1.0, heat=seen(104.0, air_c=35.0))
    forgot = ChipHeat(np.zeros(1), heat.at_w, heat.hottest_c, heat.hottest_w, heat.hottest_air_c, heat.seen_s)
    assert 106.0 < upper(forgot, air_c=35.0) <= 107.0
    assert upper(forgot, air_c=20.0) == 83.0


def test_a_broken_sensor_and_a_unit_that_does_not_hash_teach_nothing() -> None:
    assert upper(seen(140.0)) == 83.0
    assert upper(seen(NAN)) == 83.0


def test_the_present_temperature_is_left_out_of_a_copy() -> None:
    features = np.ones((2, len(feature_names())), dtype=np.float32)
    blind = without_present(features)
    assert np.isnan(blind).sum() == 2
    assert np.isfinite(features).all()


def test_a_stopped_unit_does_not_look_hotter_than_predicted_for_ever() -> None:
    # 25 C above what was predicted for a frost, then stopped: nothing can contradict it any more.
    heat, one = seen(105.0, air_c=-15.0), np.ones(1)
    for day in range(1, 6):
        heat = follow(heat, 80.0 * one, 60.0 * one, NAN * one, 10.0 * one, one < 0.0, 24.0 * day * HOUR)
    assert 0.0 < heat.above_c[0] < 0.5
    # The hottest hour itself is still known.
    assert 102.0 < heat.hottest_c[0] < 103.0


def test_a_unit_that_is_woken_has_something_to_spare() -> None:
    assert upper(seen(80.0), standing=True) == upper(seen(80.0)) + 2.5


def test_a_unit_goes_up_by_what_it_showed() -> None:
    # Half as much power again as when its chips were last seen: 6 C to spare for what is not known of that.
    shown = upper(seen(80.0), power_w=4500.0)
    assert shown == upper(seen(80.0)) + 6.0
    assert upper(seen(80.0), power_w=2000.0) == upper(seen(80.0))


def test_a_slip_of_the_sensor_is_given_up_within_a_day_and_a_hot_day_is_not() -> None:
    heat = seen(104.0, air_c=35.0)
    for hour in range(1, 25):
        heat = seen(82.0, air_c=35.0, at_h=hour, heat=heat)
    assert heat.hottest_c[0] < 87.0
    # Cooler air says nothing of it, and the same heat again confirms it.
    heat = seen(104.0, air_c=35.0)
    for hour in range(1, 25):
        heat = seen(82.0, air_c=28.0, at_h=hour, heat=heat)
    assert heat.hottest_c[0] > 103.0
    heat = seen(102.0, air_c=34.0, at_h=25.0, heat=heat)
    assert heat.hottest_c[0] > 103.0

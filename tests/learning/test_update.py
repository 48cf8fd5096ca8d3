"""What readings teach, what they must not, and how it is forgotten."""

from __future__ import annotations

import numpy as np
import pytest

from agent.learning.correct import correct
from agent.learning.explain import explain
from agent.learning.state import fresh, widen
from agent.learning.tuning import HASHRATE, POWER, Tuning
from agent.learning.update import loosen, update
from tests.learning.feed import DAY_S, Feed, fleet_curve


def factors(feed: Feed, share: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Corrected over predicted, hashrate and power."""
    shares = np.full((feed.count, 1), share)
    curves = fleet_curve(shares)
    moved = correct(feed.state, shares, curves)
    return (
        moved.hashrate_ths[:, 0, 1] / curves.hashrate_ths[:, 0, 1],
        moved.power_w[:, 0, 1] / curves.power_w[:, 0, 1],
    )


def width(feed: Feed, share: float = 1.0) -> np.ndarray:
    """[N] half-width of power as a share."""
    shares = np.full((feed.count, 1), share)
    power = correct(feed.state, shares, fleet_curve(shares)).power_w[:, 0]
    return np.asarray((power[:, 2] - power[:, 0]) / (2.0 * power[:, 1]))


def test_a_day_teaches_each_unit_its_own_level() -> None:
    true_rate, true_power = np.array([0.96, 1.0, 1.03]), np.array([1.05, 0.98, 1.0])
    rate, power = factors(Feed(3).run(48, true_rate, true_power))
    np.testing.assert_allclose(rate, true_rate, atol=0.004)
    np.testing.assert_allclose(power, true_power, atol=0.004)


def test_the_interval_narrows_with_what_is_seen() -> None:
    feed = Feed(1)
    widths = [float(width(feed)[0])]
    for slots in (4, 44, 10 * 48):
        feed.run(slots)
        widths.append(float(width(feed)[0]))
    assert widths[0] == pytest.approx(0.05)
    assert 0.01 > widths[1] > widths[2]
    # Beyond the noise that is there it does not narrow: slow errors are not averaged away.
    assert 0.0015 < widths[3] < 0.005


def test_one_setting_says_little_about_another_far_away() -> None:
    feed = Feed(1).run(96, power=1.04)
    assert width(feed)[0] < 0.01
    assert width(feed, 0.6)[0] > 0.03


def test_two_settings_teach_the_slope() -> None:
    feed = Feed(1)
    for _ in range(3):
        feed.run(24, power=1.04, share=1.0).run(24, power=0.98, share=0.7)
    assert factors(feed, 0.85)[1][0] == pytest.approx(1.04 * (0.98 / 1.04) ** 0.456, abs=0.005)
    assert factors(feed, 0.7)[1][0] == pytest.approx(0.98, abs=0.004)


def test_units_of_a_group_teach_each_other() -> None:
    feed = Feed(12, pooled=True)
    seen = np.arange(12) < 11
    feed.run(24, power=1.05, usable=seen)
    feed.run(24, power=1.0, share=0.7, usable=seen)
    alone = Feed(12).run(24, power=1.05, usable=seen)
    assert factors(alone)[1][11] == 1.0
    assert factors(feed)[1][11] == pytest.approx(1.05, abs=0.02)
    assert factors(feed, 0.7)[1][11] == pytest.approx(1.0, abs=0.02)
    # It is still another unit: less is known of it than of those that were seen.
    assert width(feed)[0] < width(feed)[11] < 0.05


@pytest.mark.parametrize("wrong", [0.3, 1.5, 1.9])
def test_outliers_do_not_move_a_unit(wrong: float) -> None:
    feed = Feed(1).run(48)
    for _ in range(6):
        feed.run(3, power=wrong).run(6)
    assert factors(feed)[1][0] == pytest.approx(1.0, abs=0.004)
    assert factors(feed)[0][0] == pytest.approx(1.0, abs=0.004)


def test_one_reading_in_a_slot_may_be_absurd() -> None:
    feed = Feed(1, tuning=Tuning(slot_s=1800.0))
    for _ in range(40):
        feed.run(5, step_s=180.0).run(1, power=2.5, rate=0.4, step_s=180.0).run(4, step_s=180.0)
    assert factors(feed)[1][0] == pytest.approx(1.0, abs=0.002)
    assert factors(feed)[0][0] == pytest.approx(1.0, abs=0.002)


def test_a_lasting_step_is_learned_within_hours() -> None:
    feed = Feed(2).run(5 * 48)
    changed = np.array([0.75, 1.0])
    feed.run(4, rate=changed)
    assert factors(feed)[0][0] > 0.98, "four half-hours are no proof"
    feed.run(12, rate=changed)
    assert factors(feed)[0][0] == pytest.approx(0.75, abs=0.01)
    assert factors(feed)[0][1] == pytest.approx(1.0, abs=0.004)


def test_a_step_of_one_unit_leaves_its_group_alone() -> None:
    feed = Feed(8, pooled=True).run(96)
    changed = np.where(np.arange(8) == 0, 0.7, 1.0)
    feed.run(48, rate=changed)
    rate, _ = factors(feed)
    assert rate[0] == pytest.approx(0.7, abs=0.01)
    np.testing.assert_allclose(rate[1:], 1.0, atol=0.005)


def test_a_unit_that_changed_keeps_the_shape_of_its_curve() -> None:
    feed = Feed(1)
    for _ in range(4):
        feed.run(24, power=1.0).run(24, power=0.95, share=0.7)
    feed.run(48, power=0.8)
    assert factors(feed, 0.7)[1][0] == pytest.approx(0.8 * 0.95, abs=0.015)


def test_drift_is_followed() -> None:
    feed = Feed(1)
    for day in range(60):
        feed.run(48, rate=1.0 - 0.001 * day)
    assert factors(feed)[0][0] == pytest.approx(1.0 - 0.001 * 59, abs=0.006)


def test_what_is_not_seen_for_months_is_forgotten() -> None:
    feed = Feed(2).run(10 * 48, power=1.06)
    before = float(width(feed)[0])
    feed.run(120, power=1.06, usable=np.array([False, True]), step_s=DAY_S)
    assert 2.0 * before < width(feed)[0] <= 0.05
    assert width(feed)[1] < 0.01
    assert 1.01 < factors(feed)[1][0] < 1.06


def test_heat_is_told_from_level() -> None:
    feed = Feed(1)
    for day in range(20):
        hot = day % 2 == 0
        feed.run(24, power=1.02 if hot else 1.0, temp_c=35.0 if hot else 25.0)
    shares = np.ones((1, 1))
    cold, warm = (
        correct(feed.state, shares, fleet_curve(shares), np.array([t])).power_w[0, 0, 1] for t in (25.0, 35.0)
    )
    assert warm / cold == pytest.approx(1.02, abs=0.005)


def test_unknown_power_teaches_hashrate_only() -> None:
    feed = Feed(1).run(48, rate=1.03, power=np.nan)
    rate, power = factors(feed)
    assert rate[0] == pytest.approx(1.03, abs=0.004)
    assert power[0] == 1.0
    assert feed.state.slots[0].tolist() == [48, 0]


def test_a_sensor_that_may_be_off_for_good_is_never_wholly_believed() -> None:
    feed = Feed(2).run(60 * 48, power=1.05, doubt=np.array([0.0, 0.03]))
    assert width(feed)[0] < 0.006
    assert width(feed)[1] > 0.015
    assert factors(feed)[1][1] < factors(feed)[1][0]


def test_many_sensors_of_a_kind_may_all_be_off_alike() -> None:
    feed = Feed(20, pooled=True)
    feed.run(10 * 48, power=0.94, doubt=np.full(20, 0.05))
    assert (width(feed) > 0.02).all()
    # Part of what they show is the units, part the sensors.
    assert ((factors(feed)[1] > 0.945) & (factors(feed)[1] < 0.99)).all()


def test_a_sensor_that_is_off_still_teaches_the_shape() -> None:
    feed = Feed(1)
    doubt = np.full(1, 0.08)
    for _ in range(6):
        feed.run(24, power=0.90, doubt=doubt).run(24, power=0.945, share=0.7, doubt=doubt)
    ratio = factors(feed, 0.7)[1][0] / factors(feed, 1.0)[1][0]
    assert ratio == pytest.approx(0.945 / 0.90, abs=0.006)


def test_units_that_are_not_usable_teach_nothing() -> None:
    feed = Feed(1).run(48, power=1.3, usable=False)
    assert not feed.state.info.any()
    assert not np.isfinite(feed.state.last_s).any()


def test_a_clock_that_was_set_back_does_no_harm() -> None:
    feed = Feed(1, tuning=Tuning(slot_s=1800.0)).run(300, power=1.04, step_s=300.0)
    before = feed.state
    feed.now_s -= 30 * DAY_S
    feed.run(300, power=1.04, step_s=300.0)
    assert factors(feed)[1][0] == pytest.approx(1.04, abs=0.004)
    assert feed.state.slots[0, POWER] > before.slots[0, POWER]


def test_readings_that_are_rare_count_at_once() -> None:
    feed = Feed(1, tuning=Tuning(slot_s=1800.0)).run(1, step_s=3600.0)
    assert feed.state.slots[0].tolist() == [0, 0], "more may follow"
    feed.run(3, power=1.02, step_s=3600.0)
    assert feed.state.slots[0].tolist() == [4, 4]


def test_readings_of_two_settings_never_share_a_slot() -> None:
    feed = Feed(1, tuning=Tuning(slot_s=1800.0), seed=5)
    feed.run(2, share=1.0, step_s=120.0).run(2, share=0.8, step_s=120.0)
    assert feed.state.slots[0].tolist() == [1, 1]
    assert feed.state.open_share[0] == 0.8
    assert np.isfinite(feed.state.open_values[0, HASHRATE]).sum() == 2


def test_a_predictor_that_follows_the_unit_itself_is_not_counted_twice() -> None:
    """It looks at the unit's last week: its errors shrink as it follows, and so must the correction."""
    rng = np.random.default_rng(4)
    state, follows = fresh(1, None, Tuning(slot_s=0.0)), 1.0
    errors = []
    for slot in range(40 * 48):
        true = 1.0 if slot < 10 * 48 else 0.94
        follows += (true - follows) / (7 * 48)
        curves = fleet_curve(np.ones((1, 1)))
        rate, power = curves.hashrate_ths[:, 0] * follows, curves.power_w[:, 0]
        corrected = rate[0, 1] * np.exp(state.mean[0, HASHRATE, 0])
        errors.append(abs(corrected / (100.0 * true) - 1.0))
        seen = 100.0 * true * np.exp(0.005 * rng.standard_normal(1))
        at_s, yes = 1800.0 * slot, np.ones(1, dtype=bool)
        state = update(state, np.ones(1), rate, power, seen, power[:, 1], np.full(1, 25.0), at_s, yes)
    assert np.mean(errors[11 * 48 :]) < 0.006
    assert abs(state.mean[0, HASHRATE, 0]) < 0.004


def test_another_bundle_leaves_less_certainty() -> None:
    feed = Feed(1).run(48, power=1.05)
    before = float(width(feed)[0])
    feed.state = widen(feed.state, 0.2)
    assert width(feed)[0] > before
    assert factors(feed)[1][0] == pytest.approx(1.05, abs=0.01)


def test_loosening_is_adding_variance_to_the_level() -> None:
    rng = np.random.default_rng(6)
    half = rng.normal(size=(3, 2, 4, 6))
    info = half @ np.swapaxes(half, -1, -2)
    value = rng.normal(size=(3, 2, 4))
    seen = np.einsum("nqij,nqj->nqi", info, value)
    variance = rng.uniform(0.1, 1.0, (3, 2))
    looser, moved = loosen(info, seen, variance)
    expected = np.linalg.inv(info)
    expected[..., 0, 0] += variance
    np.testing.assert_allclose(np.linalg.inv(looser), expected, rtol=1e-8)
    np.testing.assert_allclose(np.einsum("nqij,nqj->nqi", expected, moved), value, rtol=1e-7)


def test_words_for_the_page_of_a_miner() -> None:
    feed = Feed(1).run(5 * 48, rate=0.99, power=1.031, noise=0.0005)
    told = explain(feed.state, np.ones(1))[0]
    assert told.power_off == pytest.approx(0.031, abs=0.001)
    assert told.words.startswith("hashes 1.0% less (known to 0.")
    assert "draws 3.1% more (known to 0." in told.words
    assert told.words.endswith("from 5 days of readings")
    assert explain(fresh(1), np.ones(1))[0].words == "not watched yet: its curve is that of its model"

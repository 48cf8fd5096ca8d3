"""Learning on a live site: which readings count, and whose they are."""

from __future__ import annotations

import numpy as np
import pytest

from agent.learning.live import Learner, intake
from tests.learning.site import NO_MONEY, SmallSite, reading, unit


def site(count: int = 2, **more: object) -> SmallSite:
    return SmallSite(Learner(), [unit(f"m{i}") for i in range(count)], **more)  # type: ignore[arg-type]


def test_a_day_of_readings_corrects_the_curves() -> None:
    found = site().run(24, rate=0.97, power=1.04).corrected()
    np.testing.assert_allclose(found, [[0.97, 1.04]] * 2, atol=0.004)


def test_before_the_first_reading_curves_are_the_predictors() -> None:
    assert site().corrected().tolist() == [[1.0, 1.0]] * 2


@pytest.mark.parametrize(
    "columns",
    [
        {"uptime_s": 600.0},
        {"is_hashing": 0.0},
        {"boards_hashing": 2.0, "boards_expected": 3.0},
        {"chip_temp_c": 150.0},
        {"inlet_temp_c": 42.0},
        {"setting_share": np.nan},
    ],
    ids=["just started", "not hashing", "board lost", "too hot", "intake too hot", "setting unknown"],
)
def test_readings_of_a_unit_that_is_not_itself_teach_nothing(columns: dict[str, float]) -> None:
    assert site(columns=columns).run(24, rate=0.8, power=0.9).corrected().tolist() == [[1.0, 1.0]] * 2


def test_a_unit_with_a_critical_fault_teaches_nothing() -> None:
    farm = site(readings={"m0": reading(fault="critical"), "m1": reading(fault="warning")})
    found = farm.run(24, power=1.05).learner.state.slots[:, 1]
    assert found[0] == 0 and found[1] > 20


def test_after_a_change_of_setting_it_waits_until_the_unit_is_settled() -> None:
    farm = site(1).run(6)
    before = int(farm.learner.state.slots[0, 0])
    farm.run(0.5, share=0.7)
    # The slot of the old setting is the last that was taken.
    assert farm.learner.state.slots[0, 0] <= before + 1
    assert farm.learner.state.last_share[0] == 1.0
    farm.run(2, share=0.7)
    assert farm.learner.state.last_share[0] == pytest.approx(0.7)


def test_who_knows_when_the_setting_changed_need_not_wait_for_a_second_look() -> None:
    farm = site(2)
    frame, curves = farm.frame(0.8, power=1.05)
    since_s = farm.at.timestamp() - np.array([7200.0, 60.0])
    farm.learner.observe(frame, [None, None], curves, "a", since_s)
    assert np.isfinite(farm.learner.state.open_share).tolist() == [True, False]


@pytest.mark.parametrize(
    ("source", "slots"), [("metered", True), ("measured", True), ("firmware_estimate", False), (None, False)]
)
def test_watts_that_nobody_measured_teach_nothing(source: str | None, slots: bool) -> None:
    state = site(source=source).run(12, power=1.08).learner.state
    assert (state.slots[:, 1] > 0).all() == slots
    assert (state.slots[:, 0] > 0).all()


def test_a_unit_that_tells_no_intake_has_that_of_the_others() -> None:
    farm = site(3, columns={"inlet_temp_c": np.array([np.nan, 20.0, 30.0])})
    assert intake(farm.frame(1.0)[0]).tolist() == [25.0, 20.0, 30.0]
    dark = site(2, columns={"inlet_temp_c": np.nan})
    assert np.isnan(intake(dark.frame(1.0)[0])).all()


def test_sensors_and_meters_are_groups_apart_without_forgetting() -> None:
    farm = site(2).run(12, power=1.05)
    farm.source = "measured"
    farm.run(1, power=1.05)
    assert (farm.learner.state.slots[:, 1] > 10).all()
    assert (farm.learner.state.doubt_var[:, 1] > 0.0).all()


def test_units_of_one_profile_and_firmware_share_what_is_common() -> None:
    units = [unit("m0"), unit("m1"), unit("m2", kind=1), unit("m3", firmware="stock")]
    groups = SmallSite(Learner(), units).run(0.5).learner.state.group
    assert groups[0] == groups[1]
    assert len({*groups.tolist()}) == 3


def test_what_is_learned_follows_the_miner_not_its_place() -> None:
    farm = site(2).run(24, power=1.06)
    farm.units = [unit("m5"), *farm.units[::-1]]
    farm.run(0.5, power=1.06)
    assert farm.learner.state.slots[:, 1].tolist()[0] == 0
    assert (farm.learner.state.slots[1:, 1] > 20).all()


def test_a_miner_that_comes_back_is_as_it_was() -> None:
    farm = site(2).run(24, power=1.06)
    gone = farm.units.pop()
    farm.run(48, power=1.06)
    farm.units.append(gone)
    assert farm.run(0.2, power=1.06).corrected()[1, 1] == pytest.approx(1.06, abs=0.005)
    assert farm.learner.state.slots[1, 1] > 20


def test_a_miner_that_stays_away_is_dropped() -> None:
    farm = site(2).run(12)
    farm.units.pop()
    farm.at = farm.at.replace(year=2027)
    farm.run(1)
    farm.units.append(unit("m1"))
    assert farm.run(0.2).learner.state.slots[1, 0] == 0


def test_a_new_hash_board_makes_another_unit() -> None:
    farm = site(2, readings={"m0": reading(("A", "B", "C")), "m1": reading(("D", "E", "F"))})
    farm.run(12, power=1.06)
    farm.readings["m0"] = reading(("A", "B"))
    assert farm.run(0.2).learner.state.slots[0, 0] > 0, "a board that is missing is the same unit"
    farm.readings["m0"] = reading(("A", "B", "X"))
    slots = farm.run(0.2).learner.state.slots[:, 0]
    assert slots[0] == 0 and slots[1] > 0


def test_other_firmware_makes_another_unit() -> None:
    farm = site(1).run(12)
    farm.units = [unit("m0", firmware="stock")]
    assert farm.run(0.2).learner.state.slots[0, 0] == 0


def test_another_bundle_keeps_what_is_known_with_less_certainty() -> None:
    farm = site(1).run(48, power=1.05)
    certain = farm.learner.explain(np.ones(farm.learner.state.count))[0].power_known_to
    farm.bundle = "b"
    farm.run(0.2, power=1.05)
    assert farm.learner.explain(np.ones(farm.learner.state.count))[0].power_known_to > certain
    assert farm.corrected()[0, 1] == pytest.approx(1.05, abs=0.01)


def test_it_goes_on_after_a_restart() -> None:
    farm = site(2).run(24, power=1.05)
    again = SmallSite(Learner(farm.learner.to_bytes()), farm.units, at=farm.at)
    again.run(0.2, power=1.05)
    assert again.corrected()[0, 1] == pytest.approx(farm.corrected()[0, 1], abs=0.002)
    assert again.learner.problem is None


def test_a_fall_is_found_and_priced() -> None:
    farm = site(2).run(24 * 15)
    farm.run(24 * 6, rate=0.93)
    frame, _ = farm.frame(1.0, rate=0.93)
    found = farm.learner.declines(frame, (0.045, 0.05, 0.055), (0.05, 0.05, 0.05))
    assert len(found) == 2
    assert found[0].hashrate_share == pytest.approx(-0.07, abs=0.005)
    lost_ths = farm.units[0].rated_hashrate_ths * 0.07
    assert found[0].gain_usd_per_day[1] == pytest.approx(lost_ths * 0.05, rel=0.1)


def hottest(farm: SmallSite) -> list[float]:
    """Upper chip temperature that each unit is believed to reach at full power."""
    shares = np.ones((len(farm.units), 1))
    curves = farm.learner.correct(farm.frame(1.0)[0], shares, farm.curves(shares), NO_MONEY, 0.0 * shares)
    return [float(c) for c in curves.chip_temp_c[:, 0, 2]]


def test_how_hot_chips_got_is_known_after_a_restart_and_of_a_unit_that_comes_back() -> None:
    farm = site(2, columns={"chip_temp_c": np.array([92.0, 60.0])}).run(3)
    told = hottest(farm)
    assert told[0] > 90.0
    again = SmallSite(Learner(farm.learner.to_bytes()), farm.units, at=farm.at, columns=farm.columns)
    again.run(1 / 6)
    assert hottest(again) == pytest.approx(told, abs=0.5)
    away = SmallSite(again.learner, farm.units[1:], at=again.at, columns={"chip_temp_c": 60.0}).run(1 / 6)
    back = SmallSite(away.learner, farm.units, at=away.at, columns={"chip_temp_c": np.nan}).run(1 / 6)
    assert hottest(back)[0] > 90.0


def test_another_bundle_forgets_how_far_off_the_last_was_but_not_the_hottest_hour() -> None:
    farm = site(1, columns={"chip_temp_c": 92.0, "inlet_temp_c": 25.0}).run(3)
    farm.bundle, farm.columns = "b", {"chip_temp_c": np.nan, "inlet_temp_c": 5.0}
    farm.run(1 / 6)
    assert np.isnan(farm.learner._learned.heat.above_c).all()
    assert farm.learner._learned.heat.hottest_c[0] == pytest.approx(92.0, abs=0.1)

"""Settings as shares of rated, what a reading says is set, and the candidates worth comparing."""

import math
from itertools import pairwise

import pytest

from agent.config import BoundsOverride, Range
from agent.devices.device import Capabilities, ReportedControl
from agent.hardware.bounds import permit
from agent.hardware.catalogue import Catalogue
from agent.hardware.effective import effective_bounds
from agent.hardware.profile import HardwareProfile
from agent.hardware.shares import (
    candidate_settings,
    current_setting,
    hashrate_share_at,
    nominal_hashrate_share,
    nominal_share,
    power_share_at,
    safe_setting,
)
from agent.reading import Reading
from agent.setting import Knob, Setting

PROFILES = Catalogue.load().profiles
M30SPP = PROFILES["whatsminer-m30s-plus-plus"]
S19 = PROFILES["antminer-s19"]
S21 = PROFILES["antminer-s21"]
each_profile = pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
FULL_RANGE = Capabilities(
    (
        ReportedControl(Knob.WORK_MODE),
        ReportedControl(Knob.HASHRATE_PERCENT, 65.0, 100.0),
        ReportedControl(Knob.FREQUENCY_PERCENT, 50.0, 100.0),
        ReportedControl(Knob.VOLTAGE_PERCENT, 90.0, 100.0),
        ReportedControl(Knob.POWER_LIMIT_W),
        ReportedControl(Knob.POWER_PERCENT),
        ReportedControl(Knob.STOP),
    )
)


def candidates(profile: HardwareProfile, count: int = 12) -> tuple[Setting, ...]:
    return candidate_settings(profile, "stock", effective_bounds(profile, "stock", FULL_RANGE, ()), count)


@pytest.mark.parametrize(
    ("hashrate_ths", "power_w"),
    # LuxOS profile table of the S19k Pro, default 121.8 TH/s at 2794 W.
    [(39.2, 784), (59.8, 1188), (80.5, 1657), (96.0, 2052), (111.5, 2485), (121.8, 2794)],
)
def test_the_curve_follows_the_published_table_within_three_percent(hashrate_ths, power_w) -> None:
    assert 2794 * power_share_at(hashrate_ths / 121.8) == pytest.approx(power_w, rel=0.03)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.65, 1.0, 1.1])
def test_hashrate_at_a_power_is_the_inverse_of_power_at_a_hashrate(share: float) -> None:
    assert hashrate_share_at(power_share_at(share)) == pytest.approx(share)


def test_nothing_hashed_draws_nothing_nominally() -> None:
    assert (power_share_at(0.0), hashrate_share_at(0.0), hashrate_share_at(0.05)) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("profile", "setting", "share"),
    [
        (M30SPP, Setting(Knob.STOP), 0.0),
        (S19, Setting(Knob.WORK_MODE, "sleep"), 0.0),
        (S19, Setting(Knob.WORK_MODE, "normal"), 1.0),
        (S19, Setting(Knob.WORK_MODE, "low"), 0.6),
        (M30SPP, Setting(Knob.POWER_LIMIT_W, 1736.0), 0.5),
        (M30SPP, Setting(Knob.POWER_PERCENT, 80.0), 0.8),
        (S21, Setting(Knob.HASHRATE_PERCENT, 100.0), 1.0),
    ],
)
def test_nominal_share_of_a_setting(profile: HardwareProfile, setting: Setting, share: float) -> None:
    assert nominal_share(profile, "stock", setting) == pytest.approx(share, abs=1e-9)


def test_less_hashrate_takes_more_than_its_part_off_the_power() -> None:
    setting = Setting(Knob.HASHRATE_PERCENT, 70.0)

    assert nominal_hashrate_share(S21, "stock", setting) == pytest.approx(0.7)
    assert nominal_share(S21, "stock", setting) < 0.65


def test_a_mode_the_profile_does_not_know_has_no_share() -> None:
    assert math.isnan(nominal_share(S21, "stock", Setting(Knob.WORK_MODE, "efficient")))
    assert math.isnan(nominal_hashrate_share(S21, "stock", Setting(Knob.WORK_MODE, "efficient")))


@each_profile
def test_rated_power_is_rated_hashrate(profile: HardwareProfile) -> None:
    setting = Setting(Knob.POWER_LIMIT_W, profile.rated_power_w.value)

    assert nominal_hashrate_share(profile, "stock", setting) == pytest.approx(1.0, abs=1e-3)


@each_profile
def test_every_candidate_passes_the_gate(profile: HardwareProfile) -> None:
    bounds = effective_bounds(profile, "stock", FULL_RANGE, ())

    for setting in candidate_settings(profile, "stock", bounds):
        assert permit(setting, bounds).setting == setting


@each_profile
def test_candidates_rise_in_power_and_never_fall_in_hashrate(profile: HardwareProfile) -> None:
    found = candidates(profile)
    power = [nominal_share(profile, "stock", setting) for setting in found]
    hashrate = [nominal_hashrate_share(profile, "stock", setting) for setting in found]

    assert power == sorted(power)
    assert all(after >= before - 0.005 for before, after in pairwise(hashrate))


@each_profile
def test_a_writable_model_can_stop_and_run_at_rated_and_a_read_only_one_has_no_candidate(
    profile: HardwareProfile,
) -> None:
    found = candidates(profile)
    if profile.status == "read-only":
        assert found == ()
    else:
        # Old generations cannot be put to sleep.
        stops = profile.control("stock", Knob.STOP) is not None
        assert (found[0] == Setting(Knob.STOP)) is stops
        assert 0.97 <= nominal_share(profile, "stock", found[-1]) <= 1.05


def test_a_grid_lies_on_the_step_and_keeps_to_the_count() -> None:
    limits = [s.value for s in candidates(M30SPP, count=6) if s.knob is Knob.POWER_LIMIT_W]

    assert len(limits) == 6
    assert all(isinstance(w, float) and w % 50 == 0 for w in limits)
    assert (limits[0], limits[-1]) == (2300.0, 3450.0)


def test_a_range_narrower_than_a_step_still_has_a_candidate() -> None:
    override = BoundsOverride(power_limit_w=Range(minimum=3010.0, maximum=3030.0))
    bounds = effective_bounds(M30SPP, "stock", None, (override,))

    found = [s for s in candidate_settings(M30SPP, "stock", bounds) if s.knob is Knob.POWER_LIMIT_W]

    assert found == [Setting(Knob.POWER_LIMIT_W, 3030.0)]


def test_an_empty_range_has_no_candidate() -> None:
    overrides = (
        BoundsOverride(power_limit_w=Range(minimum=3300.0)),
        BoundsOverride(power_limit_w=Range(maximum=2500.0)),
    )
    bounds = effective_bounds(M30SPP, "stock", None, overrides)

    assert [s for s in candidate_settings(M30SPP, "stock", bounds) if s.knob is Knob.POWER_LIMIT_W] == []


def test_a_site_that_forbids_stopping_has_no_candidate_that_stops() -> None:
    bounds = effective_bounds(S19, "stock", None, (BoundsOverride(may_stop=False),))

    assert not any(s.stops_hashing for s in candidate_settings(S19, "stock", bounds))


def test_sleep_and_stop_are_one_candidate() -> None:
    assert [s for s in candidates(S19) if s.stops_hashing] == [Setting(Knob.STOP)]


def test_modes_are_no_candidates_beside_a_power_limit() -> None:
    assert not any(s.knob is Knob.WORK_MODE for s in candidates(M30SPP))


def test_percents_are_no_candidates_while_a_lowered_limit_redefines_them() -> None:
    bounds = M30SPP.bounds("stock")
    lowered, rated = Setting(Knob.POWER_LIMIT_W, 2600.0), Setting(Knob.POWER_LIMIT_W, 3450.0)

    def percents(current: Setting | None) -> list[Setting]:
        found = candidate_settings(M30SPP, "stock", bounds, current=current)
        return [s for s in found if s.knob is Knob.POWER_PERCENT]

    assert percents(lowered) == []
    assert percents(rated) == percents(None) != []


@pytest.mark.parametrize(
    ("profile", "reading", "expected"),
    [
        (S19, Reading(work_mode="normal"), Setting(Knob.WORK_MODE, "normal")),
        (S19, Reading(work_mode="low"), Setting(Knob.WORK_MODE, "low")),
        (S19, Reading(work_mode="sleep", hashrate_ths=0.0), Setting(Knob.STOP)),
        (S19, Reading(work_mode="high"), None),
        (S19, Reading(hashrate_ths=95.0), None),
        (S21, Reading(work_mode="normal"), Setting(Knob.WORK_MODE, "normal")),
        (S21, Reading(work_mode="normal", hashrate_percent=80.0), Setting(Knob.HASHRATE_PERCENT, 80.0)),
        (S21, Reading(work_mode="sleep", hashrate_percent=80.0), Setting(Knob.STOP)),
        (M30SPP, Reading(work_mode="normal", power_limit_w=3400.0), Setting(Knob.POWER_LIMIT_W, 3400.0)),
        (
            M30SPP,
            Reading(work_mode="normal", power_limit_w=3400.0, power_percent=0.0),
            Setting(Knob.POWER_LIMIT_W, 3400.0),
        ),
        (
            M30SPP,
            Reading(work_mode="normal", power_limit_w=3400.0, power_percent=100.0),
            Setting(Knob.POWER_LIMIT_W, 3400.0),
        ),
        (
            M30SPP,
            Reading(work_mode="normal", power_limit_w=3400.0, power_percent=75.0),
            Setting(Knob.POWER_PERCENT, 75.0),
        ),
        (M30SPP, Reading(work_mode="low", power_limit_w=3400.0), Setting(Knob.WORK_MODE, "low")),
        (M30SPP, Reading(work_mode="high", power_limit_w=3400.0), Setting(Knob.WORK_MODE, "high")),
        (M30SPP, Reading(work_mode="stopped", power_limit_w=3400.0), Setting(Knob.STOP)),
        (M30SPP, Reading(work_mode="normal"), Setting(Knob.WORK_MODE, "normal")),
        (M30SPP, Reading(), None),
        (PROFILES["antminer-s9"], Reading(work_mode="normal"), None),
    ],
)
def test_current_setting_is_the_knob_that_governs(profile, reading, expected) -> None:
    assert current_setting(profile, "stock", reading) == expected


def test_the_safe_setting_is_the_profiles_own() -> None:
    assert safe_setting(S21, "stock", effective_bounds(S21, "stock", None, ())) == Setting(
        Knob.WORK_MODE, "normal"
    )


def test_the_safe_setting_of_a_unit_with_hashrate_percent_is_the_top_of_that_range() -> None:
    bounds = effective_bounds(S21, "stock", FULL_RANGE, ())

    assert safe_setting(S21, "stock", bounds) == Setting(Knob.HASHRATE_PERCENT, 100.0)


def test_a_firmware_without_controls_has_no_safe_setting() -> None:
    assert safe_setting(PROFILES["antminer-t21"], "vnish", ()) is None

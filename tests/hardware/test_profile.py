"""What every shipped profile promises, and what a profile allows."""

import pytest

from agent.errors import OutOfBounds
from agent.hardware.bounds import permit
from agent.hardware.catalogue import Catalogue
from agent.hardware.effective import effective_bounds
from agent.hardware.profile import HardwareProfile
from agent.hardware.shares import candidate_settings
from agent.setting import Knob, Setting
from tests.hardware.conftest import profile_with

PROFILES = Catalogue.load().profiles
each_profile = pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)


@each_profile
def test_no_profile_claims_to_be_proven_in_the_field(profile: HardwareProfile) -> None:
    assert profile.status in ("read-only", "tested")


@pytest.mark.parametrize("key", [key for key, profile in PROFILES.items() if profile.status == "read-only"])
def test_a_read_only_profile_permits_no_write_at_all(key: str) -> None:
    profile = PROFILES[key]
    assert profile.bounds("stock") == ()
    assert effective_bounds(profile, "stock", None, ()) == ()
    for setting in (
        Setting(Knob.STOP),
        Setting(Knob.WORK_MODE, "normal"),
        Setting(Knob.WORK_MODE, "sleep"),
        Setting(Knob.POWER_PERCENT, 90.0),
        Setting(Knob.POWER_LIMIT_W, profile.rated_power_w.value),
    ):
        with pytest.raises(OutOfBounds):
            permit(setting, profile.bounds("stock"))


def test_turning_a_profile_read_only_takes_every_bound_away() -> None:
    before = profile_with("whatsminer-m60s")
    after = profile_with("whatsminer-m60s", ("status: tested", "status: read-only"))

    assert before.bounds("stock")
    assert after.bounds("stock") == ()
    assert after.offered_bounds("stock") == before.bounds("stock")
    assert candidate_settings(after, "stock", after.bounds("stock")) == ()


@each_profile
def test_the_safe_setting_passes_the_gate(profile: HardwareProfile) -> None:
    for firmware, text in profile.default_safe_setting.items():
        setting = Setting.parse(text)

        assert permit(setting, profile.offered_bounds(firmware)).setting == setting


@each_profile
def test_no_profile_lets_power_go_above_its_control_or_search_range(profile: HardwareProfile) -> None:
    for bound in profile.bounds("stock"):
        if bound.knob is Knob.POWER_LIMIT_W:
            assert bound.maximum is not None
            assert bound.maximum <= profile.search_bounds.power_limit.maximum * profile.rated_power_w.value
        if bound.knob is Knob.POWER_PERCENT:
            assert (bound.minimum, bound.maximum) == (65.0, 100.0)


@each_profile
def test_unverified_rated_figures_say_so_in_a_caveat_or_source(profile: HardwareProfile) -> None:
    for figure in (profile.rated_hashrate_ths, profile.rated_power_w):
        assert "(G)" not in figure.source
        assert "protocols.md" not in figure.source


def test_a_mode_above_the_search_bounds_is_known_but_not_offered() -> None:
    profile = PROFILES["whatsminer-m30s-plus-plus"]
    control = profile.control("stock", Knob.WORK_MODE)

    assert control is not None
    assert "high" in (control.choices or {})
    with pytest.raises(OutOfBounds, match="work_mode low, normal"):
        permit(Setting(Knob.WORK_MODE, "high"), profile.bounds("stock"))


def test_an_unknown_firmware_has_no_bounds() -> None:
    assert PROFILES["antminer-t21"].bounds("vnish") == ()


def test_a_stock_antminer_has_no_watt_target() -> None:
    profile = PROFILES["antminer-s19-pro"]

    with pytest.raises(OutOfBounds, match="no control of that kind"):
        permit(Setting(Knob.POWER_LIMIT_W, 3000.0), profile.bounds("stock"))


@pytest.mark.parametrize(
    ("key", "modes"),
    [
        ("antminer-s19", ("normal", "low", "sleep")),
        ("antminer-s19-pro", ("normal", "low", "sleep")),
        ("antminer-s19j-pro", ("normal", "low", "sleep")),
        ("antminer-s19-xp", ("normal", "sleep")),
        ("antminer-s19k-pro", ("normal", "efficient", "sleep")),
        ("antminer-s21", ("normal", "sleep")),
        ("antminer-s21-pro", ("normal", "sleep")),
    ],
)
def test_antminer_modes_are_those_the_firmware_is_known_to_take(key: str, modes: tuple[str, ...]) -> None:
    bound = next(b for b in PROFILES[key].bounds("stock") if b.knob is Knob.WORK_MODE)

    assert bound.choices == modes

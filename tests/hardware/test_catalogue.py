"""Finding a profile by what a miner reports, and loading a folder of them."""

from pathlib import Path

import pytest

from agent.errors import ConfigError
from agent.hardware.catalogue import Catalogue, check_folder, default_folder, find

PROFILES = Catalogue.load().profiles


@pytest.mark.parametrize(
    ("reported", "key"),
    [
        ("antminer-s19-pro", "antminer-s19-pro"),
        ("Antminer S19 Pro", "antminer-s19-pro"),
        ("Antminer S19j Pro", "antminer-s19j-pro"),
        ("ANTMINER S19J PRO (104T)", "antminer-s19j-pro"),
        ("ANTMINER S19J PRO (104T)?", "antminer-s19j-pro"),
        ("Antminer S19j Pro 104TH/s", "antminer-s19j-pro"),
        ("Antminer_S19", "antminer-s19"),
        ("Antminer S19 XP", "antminer-s19-xp"),
        ("Bitmain Antminer S19k Pro", "antminer-s19k-pro"),
        ("S21", "antminer-s21"),
        ("S21 Pro", "antminer-s21-pro"),
        ("Antminer S21+", "antminer-s21-plus"),
        ("Antminer S21 Hyd.", "antminer-s21-hyd"),
        ("Antminer S21 (Hyd.)", "antminer-s21-hyd"),
        ("Antminer S21+ Hyd.", "antminer-s21-plus-hyd"),
        ("Antminer S21 XP Hyd.", "antminer-s21-xp-hyd"),
        ("Antminer T21", "antminer-t21"),
        ("M20SV13", "whatsminer-m20s"),
        ("M20SV10", "whatsminer-m20s"),
        ("M30S_V10", "whatsminer-m30s"),
        ("M30S+_VE40", "whatsminer-m30s-plus"),
        ("M30S+V100", "whatsminer-m30s-plus"),
        ("M30S++_VG40", "whatsminer-m30s-plus-plus"),
        ("whatsminer-m30s-plus-plus", "whatsminer-m30s-plus-plus"),
        ("WhatsMiner M30S++", "whatsminer-m30s-plus-plus"),
        ("m50_vh30", "whatsminer-m50"),
        ("M50S_VH10", "whatsminer-m50s"),
        ("M60_VK10", "whatsminer-m60"),
        ("M60S_VK40", "whatsminer-m60s"),
        ("M63_VK10", "whatsminer-m63"),
    ],
)
def test_find_knows_what_firmware_reports(reported: str, key: str) -> None:
    found = find(reported)

    assert found is not None
    assert found.key == key


@pytest.mark.parametrize(
    "reported",
    [
        "Antminer BHB42XXX",
        "Antminer",
        "WhatsMiner",
        "",
        "  ",
        "V10",
        "S1",
        "Antminer S19 Pro Hyd.",
        "Antminer S19a",
        "Antminer S19 Pro+",
        "Antminer S21 XP",
        "Antminer S21e Hyd.",
        "M30S+++",
        "M31S+_V20",
        "M50S+_VK10",
        "M60S++_VL30",
        "M63S_VK10",
        "M30",
        "zynq7007_HHB56XXX",
        "M30S+_VE40" * 50,
    ],
)
def test_find_never_guesses_another_model(reported: str) -> None:
    assert find(reported) is None


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_every_name_of_a_profile_finds_that_profile(profile) -> None:
    for text in (profile.key, profile.name, *profile.aliases, profile.name.upper(), profile.name.lower()):
        assert find(text) is profile


def test_every_model_of_the_protocol_reference_has_a_profile() -> None:
    models = (
        "S9, S17 Pro, T17, S19, S19j Pro, S19 Pro, S19 XP, S19k Pro, S21, S21 Pro, S21+, T21, S21 Hyd, "
        "S21+ Hyd, S21 XP Hyd, M20S, M30S, M30S+, M30S++, M50, M50S, M60, M60S, M63, M53S, M56S"
    )

    missing = [model for model in models.split(", ") if find(model) is None]

    assert missing == []


def test_close_matches_suggest_keys_for_a_slip() -> None:
    assert "antminer-s19j-pro" in Catalogue.load().close_matches("antminer s19jpor")


def test_the_shipped_profiles_have_nothing_wrong() -> None:
    assert check_folder(default_folder()) == []


def test_the_default_catalogue_is_read_once() -> None:
    assert Catalogue.load().profiles is Catalogue.load().profiles


def test_a_missing_folder_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        Catalogue.load(tmp_path / "absent")


def test_a_folder_without_profiles_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no profile"):
        Catalogue.load(tmp_path)


def test_profiles_cannot_be_changed_after_loading() -> None:
    with pytest.raises(TypeError):
        Catalogue.load().profiles["x"] = None  # type: ignore[index]

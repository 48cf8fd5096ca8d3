from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import ConfigError, InputError
from agent.hardware.catalogue import Catalogue
from simulator.physics_file import DEFAULT_FILE, default_physics, load_physics

NEW_MODEL = """
schema_version: 1
extends: default
models:
  acme-x1:
    family: antminer-s21
    type_text: "Antminer X1"
    vendor: bitmain
    firmware: antminer-new
    firmware_versions: ["Fri May 17 20:57:32 CST 2030"]
    boards: 4
    chips_per_board: 80
    fans: 2
    rated_hashrate_ths: 500
    rated_power_w: 5000
    rated_frequency_mhz: 600
    rated_voltage_v: 14.0
    floor_voltage_v: 12.0
    curve: CURVE
"""
COEFFICIENTS = "{coefficients: [400, 5.0, 0.0084], floor_ths: 200, overhead_w: 150}"


def written(folder: Path, text: str) -> Path:
    path = folder / "physics.yaml"
    path.write_text(text)
    return path


def test_every_model_of_the_hardware_catalogue_has_physics() -> None:
    assert set(default_physics().models) == set(Catalogue.load().profiles)


@pytest.mark.parametrize("key", sorted(default_physics().models))
def test_what_a_model_reports_is_recognised_as_that_model(key: str) -> None:
    model = default_physics().model(key)
    for text in (model.type_text, *model.variants):
        profile = Catalogue.load().find(text)
        assert profile is not None
        assert profile.key == key


@pytest.mark.parametrize("key", sorted(default_physics().models))
def test_rated_figures_are_those_of_the_hardware_catalogue(key: str) -> None:
    model, profile = default_physics().model(key), Catalogue.load().profiles[key]
    assert model.rated_hashrate_ths == pytest.approx(profile.rated_hashrate_ths.value)
    assert model.rated_power_w == pytest.approx(profile.rated_power_w.value)


def test_a_model_nobody_has_seen_is_defined_by_points(tmp_path: Path) -> None:
    curve = "{points: [[200, 1600], [350, 3100], [520, 5250]], floor_ths: 200, overhead_w: 150}"
    physics = load_physics(written(tmp_path, NEW_MODEL.replace("CURVE", curve)))
    assert physics.model("acme-x1").curve_points[1] == (350.0, 3100.0)
    assert "antminer-s19" in physics.models


def test_a_model_nobody_has_seen_is_defined_by_coefficients(tmp_path: Path) -> None:
    physics = load_physics(written(tmp_path, NEW_MODEL.replace("CURVE", COEFFICIENTS)))
    hashrate, power = physics.model("acme-x1").curve_points[10]
    assert power == pytest.approx(400 + 5.0 * hashrate + 0.0084 * hashrate**2)


def test_a_block_of_a_model_replaces_the_familys_whole_block(tmp_path: Path) -> None:
    block = (
        "    drift: {hashrate_per_day: 0.01, power_per_day: 0, thermal_per_day: 0, "
        "ends_after_days: 9, cleaned_every_days: 1}\n"
    )
    physics = load_physics(written(tmp_path, NEW_MODEL.replace("CURVE", COEFFICIENTS) + block))
    assert physics.model("acme-x1").drift.hashrate_per_day == 0.01
    assert physics.model("acme-x1").noise == default_physics().model("antminer-s21").noise


def test_a_model_may_have_no_power_sensor(tmp_path: Path) -> None:
    physics = load_physics(
        written(tmp_path, NEW_MODEL.replace("CURVE", COEFFICIENTS) + "    no_sensor: true\n")
    )
    assert physics.model("acme-x1").sensor is None


@pytest.mark.parametrize(
    ("curve", "problem"),
    [
        ("{shape: s21, coefficients: [1, 2, 3]}", "exactly one of shape, points and coefficients"),
        ("{coefficients: [1, 2, 3]}", "need floor_ths and overhead_w"),
        (
            "{points: [[200, 1600], [350, 1500], [520, 5250]], floor_ths: 200, overhead_w: 1}",
            "must both rise",
        ),
    ],
)
def test_a_curve_that_cannot_be_used_is_refused_with_its_line(
    tmp_path: Path, curve: str, problem: str
) -> None:
    path = written(tmp_path, NEW_MODEL.replace("CURVE", curve))
    with pytest.raises(ConfigError, match=problem) as caught:
        load_physics(path)
    assert caught.value.line is not None
    assert caught.value.key.startswith("models.acme-x1.curve")


@pytest.mark.parametrize(
    ("wrong", "right", "problem"),
    [
        ("family: antminer-s21", "family: antminer-s99", "no family 'antminer-s99'; there are antminer-air"),
        ("curve: CURVE", "curve: {shape: round}", "no shape 'round'; there are m30"),
        (
            "curve: CURVE",
            "curve: {coefficients: [10, -5, 0.01], floor_ths: 200, overhead_w: 1}",
            "must both rise",
        ),
        (
            "curve: CURVE",
            "curve: {points: [[20, 160], [35, 310], [52, 525]], floor_ths: 20, overhead_w: 9}",
            "reach from below rated",
        ),
    ],
)
def test_what_a_model_refers_to_must_be_there(tmp_path: Path, wrong: str, right: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        load_physics(written(tmp_path, NEW_MODEL.replace(wrong, right).replace("CURVE", COEFFICIENTS)))


def test_an_unknown_key_is_named_with_its_line(tmp_path: Path) -> None:
    text = DEFAULT_FILE.read_text().replace("    standby_w: 30\n", "    standby_w: 30\n    colour: red\n", 1)
    with pytest.raises(ConfigError, match="colour: is not a known key") as caught:
        load_physics(written(tmp_path, text))
    assert caught.value.line is not None


def test_firmware_of_the_other_vendor_is_refused(tmp_path: Path) -> None:
    text = NEW_MODEL.replace("CURVE", COEFFICIENTS).replace("antminer-new", "whatsminer-v2")
    with pytest.raises(ConfigError, match="is not one of bitmain"):
        load_physics(written(tmp_path, text))


def test_asking_for_a_model_that_is_not_there_lists_those_that_are() -> None:
    with pytest.raises(InputError, match="antminer-s19, "):
        default_physics().model("antminer-s99")

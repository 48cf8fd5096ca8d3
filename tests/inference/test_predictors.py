"""Curves of a fleet: from the bundle where it covers, from the profile where it does not, always said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agent.features.streaming import feature_names
from agent.fleet import Unit
from agent.hardware.catalogue import Catalogue
from agent.hardware.family import hardware_family
from agent.models.bundle import load_bundle
from agent.models.inference import (
    BundlePredictor,
    Curves,
    Economics,
    ProfilePredictor,
    choose_predictor,
)
from tests.inference.conftest import COVERED

NAN = float("nan")
SHARES = np.array([0.0, 0.6, 0.8, 1.0, NAN])
MONEY = Economics(
    hashprice_usd_per_ths_day=0.05, price_usd_per_kwh=0.06, pue=1.1, pool_fee_share=0.02, hold_h=6.0
)


def unit(key: str | None, name: str = "m1") -> Unit:
    profile = Catalogue.load().profiles[key] if key is not None else None
    rated = (profile.rated_hashrate_ths.value, profile.rated_power_w.value) if profile else (NAN, NAN)
    return Unit(name, "127.0.0.1", None, profile, "stock", *rated)


def features(units: list[Unit]) -> np.ndarray:
    out = np.full((len(units), len(feature_names())), np.nan, dtype=np.float32)
    for i, one in enumerate(units):
        out[i, feature_names().index("rated_hashrate_ths")] = one.rated_hashrate_ths
        out[i, feature_names().index("rated_power_w")] = one.rated_power_w
    return out


def predict(predictor: BundlePredictor | ProfilePredictor, units: list[Unit], lost: float = 0.0) -> Curves:
    shares = np.tile(SHARES, (len(units), 1))
    return predictor.predict(features(units), shares, np.full(shares.shape, lost), MONEY)


def test_without_a_bundle_the_profile_stands_in_and_says_so() -> None:
    predictor = choose_predictor(None, [unit(COVERED[0])])
    assert predictor.is_fallback
    assert predictor.label == "profile curves (no model bundle is configured)"
    assert predictor.fallback_mask([unit(COVERED[0])]) == (True,)


def test_a_bundle_that_fails_its_checks_is_not_used_and_the_label_says_why(folder: Path) -> None:
    (folder / "power.onnx").write_bytes(b"")
    predictor = choose_predictor(folder, [unit(COVERED[0])])
    assert predictor.is_fallback
    assert "power.onnx: is not the file" in predictor.label


def test_a_good_bundle_is_used_and_named(folder: Path) -> None:
    predictor = choose_predictor(folder, [unit(COVERED[0])])
    assert not predictor.is_fallback
    assert predictor.label == f"bundle {load_bundle(folder).manifest.bundle_id} of 2026-02-01"


def test_every_candidate_gets_a_curve_and_no_candidate_gets_none(folder: Path) -> None:
    units = [unit(COVERED[0]), unit(COVERED[1])]
    for predictor in (BundlePredictor(load_bundle(folder), units), ProfilePredictor(units)):
        curves = predict(predictor, units)
        for values in (curves.hashrate_ths, curves.power_w, curves.profit_usd_per_day):
            assert values.shape == (2, 5, 3)
            assert np.isfinite(values[:, :4]).all()
            assert np.isnan(values[:, 4]).all()
            assert (np.diff(values[:, :4], axis=2) >= 0.0).all()


def test_a_batch_gives_what_single_rows_give(folder: Path) -> None:
    units = [unit(COVERED[i % 2], f"m{i}") for i in range(7)]
    whole = predict(BundlePredictor(load_bundle(folder), units), units)
    for i, one in enumerate(units):
        alone = predict(BundlePredictor(load_bundle(folder), [one]), [one])
        np.testing.assert_allclose(alone.profit_usd_per_day[0], whole.profit_usd_per_day[i], rtol=1e-5)


def test_a_stop_hashes_nothing_and_draws_standby_power(folder: Path) -> None:
    one = unit(COVERED[0])
    standby = one.profile.standby_power_w if one.profile is not None else None
    watts = standby.value if standby is not None else 0.02 * one.rated_power_w
    for predictor in (BundlePredictor(load_bundle(folder), [one]), ProfilePredictor([one])):
        curves = predict(predictor, [one])
        assert (curves.hashrate_ths[0, 0] == 0.0).all()
        assert curves.power_w[0, 0] == pytest.approx([watts] * 3)
        cost = watts * 0.024 * 0.06 * 1.1
        assert curves.profit_usd_per_day[0, 0] == pytest.approx([-cost] * 3)


def test_a_stop_pays_for_the_hashing_lost_on_the_way_back() -> None:
    one = unit(COVERED[0])
    free, charged = (predict(ProfilePredictor([one]), [one], lost) for lost in (0.0, 0.3))
    lost = 0.05 * 0.98 * free.hashrate_ths[0, :4, 1].max() * 0.3 / 6.0
    assert free.profit_usd_per_day[0, 0, 1] - charged.profit_usd_per_day[0, 0, 1] == pytest.approx(lost)


def test_profile_profit_by_hand() -> None:
    one = unit(COVERED[0])
    curves = predict(ProfilePredictor([one]), [one])
    # At rated: all of the rated rate, less the pool's 2 %; all of the rated power, at PUE 1.1.
    want = one.rated_hashrate_ths * 0.05 * 0.98 - one.rated_power_w * 0.024 * 0.06 * 1.1
    assert curves.profit_usd_per_day[0, 3, 1] == pytest.approx(want, rel=1e-6)


def test_the_profile_curve_saves_more_power_than_hashrate() -> None:
    one = unit(COVERED[0])
    curves = predict(ProfilePredictor([one]), [one])
    rate, power = curves.hashrate_ths[0, :, 1], curves.power_w[0, :, 1]
    exponent = np.log(power[3] / power[1]) / np.log(rate[3] / rate[1])
    assert 1.2 < exponent < 1.5


def test_profile_intervals_are_wider_than_trained_ones(folder: Path) -> None:
    one = unit(COVERED[0])
    trained = predict(BundlePredictor(load_bundle(folder), [one]), [one])
    profile = predict(ProfilePredictor([one]), [one])

    def width(curves: Curves) -> float:
        return float(curves.power_w[0, 3, 2] - curves.power_w[0, 3, 0])

    assert width(profile) > width(trained)


def test_an_uncovered_unit_falls_back_alone(folder: Path) -> None:
    units = [unit(COVERED[0], "a"), unit("antminer-s9", "b"), unit(None, "c")]
    predictor = BundlePredictor(load_bundle(folder), units)
    assert predictor.fallback_mask(units) == (False, True, True)
    assert "profile curves for 2 of 3 units" in predictor.label
    curves, profile = predict(predictor, units), predict(ProfilePredictor(units), units)
    np.testing.assert_array_equal(curves.power_w[1], profile.power_w[1])
    assert not np.array_equal(curves.power_w[0], profile.power_w[0])
    assert np.isnan(curves.power_w[2]).all()


def test_a_sibling_of_a_covered_model_is_covered_and_said(folder: Path) -> None:
    sibling = unit("whatsminer-m30s", "a")
    predictor = BundlePredictor(load_bundle(folder), [sibling])
    assert predictor.fallback_mask([sibling]) == (False,)
    assert "1 of 1 units by a related model" in predictor.label


def test_families_keep_generations_and_cooling_apart() -> None:
    profiles = Catalogue.load().profiles
    family = {key: hardware_family(profile) for key, profile in profiles.items()}
    assert family["antminer-s19"] == family["antminer-s19-pro"] == "antminer-s19/air"
    assert family["antminer-s21"] != family["antminer-s19"]
    assert family["antminer-s21"] != family["antminer-s21-hyd"]
    assert family["whatsminer-m30s"] == family["whatsminer-m30s-plus-plus"] == "whatsminer-m3/air"
    assert family["whatsminer-m50"] != family["whatsminer-m30s"]
    assert family["whatsminer-m53s"] != family["whatsminer-m50s"]


def test_a_fleet_that_changed_is_taken_up(folder: Path) -> None:
    predictor = BundlePredictor(load_bundle(folder), [unit(COVERED[0])])
    units = [unit(COVERED[1], "x"), unit("antminer-s9", "y")]
    predictor.update_units(units)
    assert np.isfinite(predict(predictor, units).power_w[:, :4]).all()


def test_shares_of_another_fleet_are_a_mistake_of_the_caller(folder: Path) -> None:
    units = [unit(COVERED[0])]
    predictor = BundlePredictor(load_bundle(folder), units)
    with pytest.raises(ValueError, match="expected"):
        predictor.predict(features(units), np.ones((2, 3)), np.zeros((2, 3)), MONEY)


def test_economics_may_differ_by_unit() -> None:
    units = [unit(COVERED[0], "a"), unit(COVERED[0], "b")]
    money = Economics(0.05, np.array([0.03, 0.09]), 1.0, 0.0, 6.0)
    curves = ProfilePredictor(units).predict(features(units), np.ones((2, 1)), np.zeros((2, 1)), money)
    gap = curves.profit_usd_per_day[0, 0, 1] - curves.profit_usd_per_day[1, 0, 1]
    assert gap == pytest.approx(units[0].rated_power_w * 0.024 * 0.06)


def test_an_empty_fleet_has_empty_curves(folder: Path) -> None:
    predictor = BundlePredictor(load_bundle(folder), [])
    width = len(feature_names())
    curves = predictor.predict(np.empty((0, width), np.float32), np.empty((0, 4)), np.empty((0, 4)), MONEY)
    assert curves.power_w.shape == (0, 4, 3)

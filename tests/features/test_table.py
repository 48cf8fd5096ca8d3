"""The feature table: one order, one hash, one document, and numbers that stay what they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.features import table as feature_table
from agent.features.inputs import nominal_hashrate_share
from agent.features.streaming import batch_features_exact, feature_docs, feature_hash, feature_names
from agent.features.table import FEATURES
from agent.features.window_choice import Window
from agent.features.windows import WINDOWS
from agent.hardware.catalogue import Catalogue
from agent.money.conditions import MARKET_COLUMNS
from tests.features.fleets import MARKET, START_S, lively, row, table

DOCS = Path(__file__).parents[2] / "docs" / "features.md"


def test_names_are_unique_and_in_the_order_of_the_table() -> None:
    assert feature_names() == tuple(feature.name for feature in FEATURES)
    assert len(set(feature_names())) == len(FEATURES)


def test_every_range_and_window_makes_sense() -> None:
    windows = {"now", "market", *(window.name for window in WINDOWS)}
    for feature in FEATURES:
        assert feature.low < feature.high, feature.name
        assert feature.window in windows, feature.name
        assert feature.missing, feature.name


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"unit": "kW"},
        {"source": "elsewhere"},
        {"window": "6h"},
        {"missing": "never"},
        {"low": -1.0},
        {"high": 9.0},
    ],
)
def test_the_hash_changes_with_any_word_of_the_table(change: dict[str, object]) -> None:
    changed = (replace(FEATURES[0], **change), *FEATURES[1:])
    assert feature_hash(changed) != feature_hash()


def test_the_hash_changes_with_the_order() -> None:
    assert feature_hash((FEATURES[1], FEATURES[0], *FEATURES[2:])) != feature_hash()


def test_the_hash_changes_with_the_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    before = feature_hash()
    monkeypatch.setattr(feature_table, "WINDOWS", (Window("1h", 0, 13), *WINDOWS[1:]))
    assert feature_hash() != before


def test_the_document_is_current() -> None:
    assert DOCS.read_text(encoding="utf-8") == feature_docs(), (
        "run: python -m agent.features.streaming > docs/features.md"
    )


def test_the_numbers_are_those_of_this_table_version() -> None:
    """A formula that changes must raise TABLE_VERSION, and then these sums change with it."""
    times = [START_S + 600.0 * k for k in range(200)]
    rows = [("m0", at, v) for at, v in zip(times, lively(np.random.default_rng(6), times), strict=True)]
    found = batch_features_exact(table(rows))
    scaled = [np.nansum((found[:, j] - f.low) / (f.high - f.low)) for j, f in enumerate(FEATURES)]
    assert feature_table.TABLE_VERSION == 2
    assert float(np.dot(scaled, np.linspace(1.0, 2.0, len(scaled)))) == pytest.approx(GOLDEN, rel=1e-10)


GOLDEN = 9393.862458413081


def last(**values: float) -> dict[str, float]:
    return dict(
        zip(feature_names(), batch_features_exact(table([("m0", START_S, row(**values))]))[-1], strict=True)
    )


def test_margin_takes_reported_power_else_the_nominal_one() -> None:
    # MARKET: 0.05 USD/TH/s/day and 0.06 USD/kWh.
    reported = last(hashrate_ths=100.0, power_w=2500.0, setting_share=1.0)
    nominal = last(hashrate_ths=100.0, setting_share=1.0)
    assert reported["profit_margin_percent"] == pytest.approx(100.0 * (5.0 - 3.6) / 5.0)
    assert nominal["profit_margin_percent"] == pytest.approx(100.0 * (5.0 - 4.32) / 5.0)
    assert np.isnan(nominal["power_w"])
    assert reported["market_adjusted_efficiency"] == pytest.approx(5.0 / 3.6)


def test_a_unit_that_does_not_hash_has_no_efficiency() -> None:
    assert np.isnan(last(hashrate_ths=0.3, power_w=40.0)["efficiency_j_th"])
    assert last(hashrate_ths=100.0, power_w=2950.0)["efficiency_j_th"] == pytest.approx(29.5)


def test_values_beyond_their_range_are_moved_to_its_end() -> None:
    assert last(hashrate_ths=5.0, power_w=40_000.0)["efficiency_j_th"] == 300.0
    assert last(fan_rpm=59_000.0)["fan_rpm"] == 12_000.0


def test_the_intake_is_the_inlet_else_the_ambient() -> None:
    assert last(inlet_temp_c=21.0, ambient_temp_c=30.0)["intake_temp_c"] == 21.0
    assert last(ambient_temp_c=30.0)["intake_temp_c"] == 30.0


def test_the_week_begins_on_monday_and_the_day_at_midnight_utc() -> None:
    monday = last()
    assert (monday["day_cos"], monday["week_cos"]) == (1.0, 1.0)
    assert monday["day_sin"] == pytest.approx(0.0, abs=1e-12)


def test_the_profile_tells_vendor_cooling_and_limit() -> None:
    rows = table([("m0", START_S, row(chip_temp_c=70.0)), ("m1", START_S, row())])
    rows["model"] = np.array(["antminer-s19-pro", "unheard-of"], dtype=object)
    found = batch_features_exact(rows)
    names = feature_names()
    assert found[0, names.index("vendor_code")] == 0.0
    assert found[0, names.index("cooling_code")] == 0.0
    assert np.isnan(found[1, names.index("vendor_code")])


def test_headroom_is_to_the_bounds_of_the_profile() -> None:
    rows = table([("m0", START_S, row(setting_share=0.8))]) | {"model": np.array(["antminer-s19-pro"])}
    found = dict(zip(feature_names(), batch_features_exact(rows)[0], strict=True))
    bounds = Catalogue.load().profiles["antminer-s19-pro"].search_bounds.power_limit
    assert (found["bound_low_share"], found["bound_high_share"]) == (bounds.minimum, bounds.maximum)
    assert found["headroom_up_share"] == pytest.approx(bounds.maximum - 0.8)
    assert found["headroom_down_share"] == pytest.approx(0.8 - bounds.minimum)


def test_what_the_firmware_reports_as_limit_and_mode_is_told() -> None:
    found = last(power_w=2900.0, power_limit_w=2940.0, power_percent=98.0, work_mode_code=4.0)
    assert found["power_limit_share"] == pytest.approx(0.98)
    assert found["power_vs_limit"] == pytest.approx(2900.0 / 2940.0)
    assert (found["power_percent"], found["work_mode_code"]) == (98.0, 4.0)


def test_the_market_is_the_same_for_every_miner() -> None:
    found = last()
    for name in MARKET_COLUMNS:
        feature = "price_usd" if name == "price_usd_per_btc" else name
        assert found[feature] == getattr(MARKET, name)


def test_the_tilt_is_the_slope_of_a_unit_against_the_profile() -> None:
    # P ~ h^1.6 of a unit whose power is as set: its rate falls slower than the profile's with the setting.
    times = [START_S + 3600.0 * k for k in range(100)]
    shares = [(0.6, 0.8, 1.0)[k // 12 % 3] for k in range(100)]

    def reading(share: float, boards: float) -> dict[str, float]:
        rate = 100.0 * share ** (1 / 1.6) * boards / 3.0
        told = {"boards_hashing": boards, "boards_expected": 3.0, "uptime_s": 9e4}
        return row(hashrate_ths=rate, power_w=3000.0 * share, setting_share=share, **told)

    rows = [("m0", at, reading(s, 3.0)) for at, s in zip(times, shares, strict=True)]
    lost = [*rows, ("m0", times[-1] + 3600.0, reading(0.6, 2.0))]
    for part in (rows, lost):
        found = dict(zip(feature_names(), batch_features_exact(table(part))[-1], strict=True))
        local = [1 / 1.6 - np.diff(np.log(nominal_hashrate_share(np.array([s, s * 1.01]))))[0] / np.log(1.01)
                 for s in (0.6, 1.0)]  # fmt: skip
        assert min(local) < found["hashrate_tilt_7d"] < max(local)
        assert found["power_tilt_7d"] == pytest.approx(0.0, abs=1e-9)
        assert found["setting_variance_7d"] == pytest.approx(np.var(np.log([0.6, 0.8, 1.0])), rel=0.1)


def test_one_setting_tells_no_tilt() -> None:
    same = row(hashrate_ths=95.0, power_w=3000.0, setting_share=1.0, uptime_s=9e4)
    found = batch_features_exact(table([("m0", START_S + 600.0 * k, same) for k in range(50)]))[-1]
    assert np.isnan(found[feature_names().index("hashrate_tilt_7d")])
    assert found[feature_names().index("setting_variance_7d")] == pytest.approx(0.0, abs=1e-12)

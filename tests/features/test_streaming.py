"""Streaming and batch agree, whatever order the readings arrive in, and neither looks ahead."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.features.streaming import (
    FEATURES,
    FeatureState,
    batch_features,
    batch_features_exact,
    feature_names,
)
from tests.features.fleets import MARKET, START_S, Row, frame, lively, row, table, units

FLEET = units(3)
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def stream(rows: list[tuple[str, float, Row]]) -> np.ndarray:
    """Features of each row as the live agent computes them, one frame per moment."""
    state = FeatureState()
    out = np.empty((len(rows), len(FEATURES)))
    for at in sorted({at for _, at, _ in rows}):
        here = [(i, miner, values) for i, (miner, when, values) in enumerate(rows) if when == at]
        now = frame(at, FLEET, {miner: (at, values) for _, miner, values in here})
        state.observe(now, MARKET)
        found = state.compute_exact(now, MARKET)
        for i, miner, _ in here:
            out[i] = found[int(miner[1:])]
    return out


@st.composite
def telemetry(draw: st.DrawFn) -> list[tuple[str, float, Row]]:
    """Rows of up to three miners over up to ten days, with gaps of minutes to days."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows: list[tuple[str, float, Row]] = []
    for unit in FLEET[: draw(st.integers(1, 3))]:
        gaps = draw(
            st.lists(st.sampled_from([7, 30, 300, 300, 1800, 3600, 20_000, 90_000]), min_size=1, max_size=60)
        )
        times = [START_S + float(t) for t in np.cumsum(gaps)]
        rows += [(unit.miner_id, at, values) for at, values in zip(times, lively(rng, times), strict=True)]
    return rows


@given(telemetry())
@settings(max_examples=25, deadline=None)
def test_streaming_and_batch_give_the_same_features(rows: list[tuple[str, float, Row]]) -> None:
    np.testing.assert_allclose(stream(rows), batch_features_exact(table(rows)), **CLOSE)


@given(telemetry(), st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_the_order_of_rows_in_a_table_does_not_matter(rows: list[tuple[str, float, Row]], random) -> None:
    order = list(range(len(rows)))
    random.shuffle(order)
    shuffled = batch_features_exact(table([rows[i] for i in order]))
    np.testing.assert_allclose(shuffled, batch_features_exact(table(rows))[order], **CLOSE)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_late_and_repeated_readings_end_where_punctual_ones_do(seed: int, moved: int) -> None:
    rng = np.random.default_rng(seed)
    times = [START_S + float(t) for t in np.cumsum(rng.choice([20.0, 60.0, 300.0, 2500.0], size=60))]
    readings = list(zip(times, lively(rng, times), strict=True))
    arrival = list(readings)
    for _ in range(moved):
        # One reading is held up, and one comes twice.
        item = arrival.pop(int(rng.integers(len(arrival))))
        arrival.insert(int(rng.integers(len(arrival) + 1)), item)
        arrival.insert(int(rng.integers(len(arrival) + 1)), arrival[int(rng.integers(len(arrival)))])
    last = max(times)
    punctual, tardy = FeatureState(), FeatureState()
    for state, sequence in ((punctual, readings), (tardy, arrival)):
        newest = 0.0
        for at, values in sequence:
            newest = max(newest, at)
            state.observe(frame(newest, FLEET, {"m0": (at, values)}), MARKET)
    now = frame(last, FLEET, {"m0": (last, readings[-1][1])})
    np.testing.assert_allclose(tardy.compute_exact(now, MARKET), punctual.compute_exact(now, MARKET), **CLOSE)


def test_what_comes_later_changes_nothing() -> None:
    rng = np.random.default_rng(3)
    times = [START_S + 300.0 * k for k in range(400)]
    rows = [("m0", at, values) for at, values in zip(times, lively(rng, times), strict=True)]
    cut = 250
    shifted = [
        (miner, at + 7777.0, {name: 3.0 * value for name, value in values.items()})
        for miner, at, values in rows[cut:]
    ]
    with_future = batch_features(table(rows))[:cut]
    with_another = batch_features(table(rows[:cut] + shifted))[:cut]
    without = batch_features(table(rows[:cut]))
    np.testing.assert_array_equal(with_future, without)
    np.testing.assert_array_equal(with_another, without)


def test_a_reading_of_another_miner_changes_nothing() -> None:
    rng = np.random.default_rng(4)
    times = [START_S + 300.0 * k for k in range(100)]
    own = [("m0", at, values) for at, values in zip(times, lively(rng, times), strict=True)]
    other = [("m1", at + 13.0, values) for at, values in zip(times, lively(rng, times), strict=True)]
    both = batch_features(table(own + other))[:100]
    np.testing.assert_array_equal(both, batch_features(table(own)))


def test_miners_of_two_sites_with_one_id_are_two_miners() -> None:
    rng = np.random.default_rng(5)
    times = [START_S + 300.0 * k for k in range(50)]
    one = [("m0", at, values) for at, values in zip(times, lively(rng, times), strict=True)]
    two = [("m0", at, values) for at, values in zip(times, lively(rng, times), strict=True)]
    both = table(one + two) | {"site_id": np.array(["a"] * 50 + ["b"] * 50)}
    found = batch_features(both)
    np.testing.assert_array_equal(found[:50], batch_features(table(one)))
    np.testing.assert_array_equal(found[50:], batch_features(table(two)))


def test_a_constant_miner_has_no_spread_and_no_slope() -> None:
    steady = row(hashrate_ths=95.1, power_w=2999.7, chip_temp_c=70.3, setting_share=1.0, uptime_s=9e4)
    rows = [("m0", START_S + 60.0 * k, steady) for k in range(3000)]
    last = dict(zip(feature_names(), batch_features_exact(table(rows))[-1], strict=True))
    for name in ("hashrate_std_7d", "power_std_24h", "temp_stability_24h", "hashrate_slope_6h"):
        assert abs(last[name]) < 1e-9, name
    assert last["hashrate_mean_7d"] == last["hashrate_max_1h"] == last["hashrate_min_24h"] == 95.1


def test_nothing_known_gives_nan_and_no_warning() -> None:
    rows = [("m0", START_S + 300.0 * k, dict.fromkeys(row(), float("nan"))) for k in range(20)]
    found = batch_features(table(rows))
    never = [i for i, feature in enumerate(FEATURES) if feature.missing == "never"]
    assert np.isfinite(found[:, never]).all()
    windowed = [i for i, feature in enumerate(FEATURES) if feature.window not in ("now", "market")]
    assert np.isnan(found[:, windowed]).all()


def test_impossible_values_count_as_unknown_and_the_rest_stays_in_range() -> None:
    wild = dict(zip(row(), np.resize([1e308, -1e308, np.inf, -np.inf], len(row())), strict=True))
    rows = [
        ("m0", START_S + 300.0 * k, wild if k % 2 else row(hashrate_ths=5000.0, power_w=0.0))
        for k in range(40)
    ]
    found = batch_features(table(rows))
    low = np.array([feature.low for feature in FEATURES], dtype=np.float32)
    high = np.array([feature.high for feature in FEATURES], dtype=np.float32)
    assert (np.isnan(found) | ((found >= low) & (found <= high))).all()
    assert not np.isinf(found).any()


@given(telemetry(), st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_a_row_that_repeats_a_time_is_not_counted(rows: list[tuple[str, float, Row]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    again = [rows[i] for i in rng.integers(0, len(rows), 20)]
    wild = [(miner, at, {name: 2.0 * value for name, value in values.items()}) for miner, at, values in again]
    found = batch_features_exact(table(rows + wild))
    expected = batch_features_exact(table(rows))
    np.testing.assert_array_equal(found[: len(rows)], expected)
    windowed = [i for i, feature in enumerate(FEATURES) if feature.name.endswith(("mean_24h", "slope_1h"))]
    windowed = [i for i in windowed if "efficiency" not in FEATURES[i].name]
    places = [rows.index(row) for row in again]
    np.testing.assert_array_equal(found[len(rows) :, windowed], expected[places][:, windowed])


def test_history_is_the_same_whatever_is_worked_on_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(12)
    rows: list[tuple[str, float, Row]] = []
    for k in range(9):
        times = [START_S + float(t) for t in np.cumsum(rng.choice([20.0, 300.0, 90_000.0], size=30 + 20 * k))]
        rows += [(f"m{k}", at, values) for at, values in zip(times, lively(rng, times), strict=True)]
    whole = batch_features_exact(table(rows))
    for cells in (1, 500, 5000):
        monkeypatch.setattr("agent.features.named_windows._BLOCK_CELLS", cells)
        np.testing.assert_array_equal(batch_features_exact(table(rows)), whole)


def test_readings_every_second_are_history_too() -> None:
    rng = np.random.default_rng(13)
    times = [START_S + float(k) for k in range(700)]
    rows = [("m0", at, values) for at, values in zip(times, lively(rng, times), strict=True)]
    np.testing.assert_allclose(stream(rows), batch_features_exact(table(rows)), **CLOSE)


def test_a_whole_fortnight_of_a_miner_agrees() -> None:
    rng = np.random.default_rng(14)
    times = [START_S + 600.0 * k + 0.125 * float(rng.integers(0, 400)) for k in range(14 * 144)]
    rows = [("m0", at, values) for at, values in zip(times, lively(rng, times), strict=True)]
    np.testing.assert_allclose(stream(rows), batch_features_exact(table(rows)), **CLOSE)

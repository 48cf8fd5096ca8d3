"""The state of the agent's windows: bytes, fleets that change, clocks that jump, bounded memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import DataError
from agent.features.streaming import FEATURES, FeatureState, batch_features_exact, feature_names
from tests.features.fleets import MARKET, START_S, frame, lively, row, table, units

FLEET = units(3)


def filled(fleet=FLEET, steps: int = 120) -> FeatureState:
    rng = np.random.default_rng(8)
    times = [START_S + 300.0 * k for k in range(steps)]
    rows = {unit.miner_id: lively(rng, times) for unit in fleet}
    state = FeatureState([unit.miner_id for unit in fleet])
    for k, at in enumerate(times):
        state.observe(frame(at, fleet, {i: (at, r[k]) for i, r in rows.items()}), MARKET)
    return state


def later(fleet=FLEET, steps: int = 120):
    at = START_S + 300.0 * steps
    return frame(
        at, fleet, {unit.miner_id: (at, row(hashrate_ths=80.0, setting_share=0.7)) for unit in fleet}
    )


def test_a_state_restored_from_bytes_goes_on_as_if_nothing_had_happened() -> None:
    state = filled()
    restored = FeatureState.from_bytes(state.to_bytes())
    now = later()
    for each in (state, restored):
        each.observe(now, MARKET)
    np.testing.assert_array_equal(restored.compute(now, MARKET), state.compute(now, MARKET))
    assert restored.to_bytes() == state.to_bytes()


def test_an_empty_state_survives_its_bytes() -> None:
    assert FeatureState.from_bytes(FeatureState().to_bytes()).miner_ids == ()


@given(st.integers(0, 10**9), st.integers(1, 255))
@settings(max_examples=60, deadline=None)
def test_one_changed_byte_is_noticed(place: int, change: int) -> None:
    data = bytearray(FeatureState(["a"]).to_bytes())
    data[place % len(data)] ^= change
    with pytest.raises(DataError, match="window state"):
        FeatureState.from_bytes(bytes(data))


@pytest.mark.parametrize("keep", [0, 3, 41, 42, 74, 200, -1])
def test_a_cut_state_is_refused(keep: int) -> None:
    with pytest.raises(DataError, match="window state"):
        FeatureState.from_bytes(FeatureState(["a"]).to_bytes()[:keep])


@given(st.binary(max_size=400))
def test_bytes_of_something_else_are_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="window state"):
        FeatureState.from_bytes(data)


def test_a_state_of_another_feature_table_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = FeatureState(["a"]).to_bytes()
    monkeypatch.setattr("agent.features.streaming.feature_hash", lambda: "00" * 32)
    with pytest.raises(DataError, match="another feature table"):
        FeatureState.from_bytes(data)


def test_miners_that_stay_keep_their_history_when_others_come_and_go() -> None:
    state, untouched = filled(), filled()
    newcomer = units(5)[4]
    fleet = (newcomer, FLEET[2], FLEET[0])
    at = START_S + 300.0 * 120
    readings = {unit.miner_id: (at, row(hashrate_ths=80.0)) for unit in (*FLEET, newcomer)}
    changed, same = (frame(at, f, {u.miner_id: readings[u.miner_id] for u in f}) for f in (fleet, FLEET))
    for each, now in ((state, changed), (untouched, same)):
        each.observe(now, MARKET)
    found, expected = state.compute(changed, MARKET), untouched.compute(same, MARKET)
    np.testing.assert_array_equal(found[[2, 1]], expected[[0, 2]])
    new = dict(zip(feature_names(), found[0], strict=True))
    assert new["hashrate_mean_24h"] == 80.0


def test_a_miner_known_by_its_address_for_a_while_gets_its_history_back() -> None:
    state = FeatureState.from_bytes(filled().to_bytes())
    state.align(["10.0.0.0", "10.0.0.1", "10.0.0.2"])
    state.align([unit.miner_id for unit in FLEET])
    now = later()
    untouched = filled()
    for each in (state, untouched):
        each.observe(now, MARKET)
    np.testing.assert_array_equal(state.compute(now, MARKET), untouched.compute(now, MARKET))
    assert state.miner_ids == ("m0", "m1", "m2")


def test_miners_that_left_do_not_pile_up() -> None:
    state = FeatureState()
    for k in range(60):
        fleet = [unit for unit in units(200) if int(unit.miner_id[1:]) // 3 == k]
        at = START_S + 60.0 * k
        state.observe(frame(at, fleet, {u.miner_id: (at, row(hashrate_ths=1.0)) for u in fleet}), MARKET)
    assert len(state.miner_ids) <= 3 + 16


def test_a_miner_that_left_a_week_ago_is_forgotten() -> None:
    state = filled()
    at = START_S + 9 * 86400.0
    state.observe(frame(at, FLEET[:1], {"m0": (at, row(hashrate_ths=1.0))}), MARKET)
    state.align(["m0"])
    assert state.miner_ids == ("m0",)


def test_two_miners_with_one_id_are_refused() -> None:
    with pytest.raises(DataError, match="share an id"):
        FeatureState().align(["a", "a"])
    with pytest.raises(DataError, match="share an id"):
        FeatureState(["a", "a"])


def test_memory_per_miner_is_bounded_whatever_is_polled() -> None:
    fresh = FeatureState([f"m{i}" for i in range(10)])
    assert fresh.nbytes / 10 < 40 * 1024
    assert filled().nbytes / 3 == fresh.nbytes / 10


def test_a_clock_set_back_forgets_what_lies_ahead_and_goes_on() -> None:
    rng = np.random.default_rng(9)
    before = [START_S + 300.0 * k for k in range(24)]
    wrong = [before[-1] + 7200.0 + 300.0 * k for k in range(10)]
    after = [before[-1] + 300.0 * (k + 1) for k in range(10)]
    times = before + wrong + after
    readings = lively(rng, times)
    state = FeatureState()
    for at, values in zip(times, readings, strict=True):
        now = frame(at, FLEET[:1], {"m0": (at, values)})
        state.observe(now, MARKET)
    kept = [("m0", at, values) for at, values in zip(times, readings, strict=True) if at not in wrong]
    expected = batch_features_exact(table(kept))[-1]
    found = state.compute_exact(now, MARKET)[0]
    # Six-hour buckets and the setting's history cannot tell the wrong hours from the right ones; the ring
    # of one hour was emptied by the leap ahead.
    lost = ("hours_since_change", "efficiency_momentum", "chip_temp_momentum")
    coarse = [
        i
        for i, f in enumerate(FEATURES)
        if f.window in ("1h", "7d") or f.name in lost or "1h" in f.source or "_1h" in f.source
    ]
    fine = np.setdiff1d(np.arange(len(found)), coarse)
    np.testing.assert_allclose(found[fine], expected[fine], rtol=1e-9, atol=1e-9)


def test_a_clock_that_was_years_ahead_leaves_no_trace_that_stays() -> None:
    state = FeatureState()
    for at in (START_S, START_S + 3e8, START_S + 300.0, START_S + 600.0):
        now = frame(at, FLEET[:1], {"m0": (at, row(hashrate_ths=90.0 if at < START_S + 1e8 else 10.0))})
        state.observe(now, MARKET)
    found = dict(zip(feature_names(), state.compute(now, MARKET)[0], strict=True))
    assert found["hashrate_min_24h"] == found["hashrate_mean_1h"] == 90.0


def test_a_reading_stamped_ahead_of_the_frame_counts_as_now() -> None:
    state = FeatureState()
    now = frame(START_S, FLEET[:1], {"m0": (START_S + 4000.0, row(hashrate_ths=90.0))})
    state.observe(now, MARKET)
    found = dict(zip(feature_names(), state.compute(now, MARKET)[0], strict=True))
    assert found["hashrate_mean_1h"] == 90.0


def test_an_unreachable_miner_shows_its_windows_but_nothing_as_present() -> None:
    state = filled()
    at = START_S + 300.0 * 120
    now = frame(at, FLEET, {})
    state.observe(now, MARKET)
    found = dict(zip(feature_names(), state.compute(now, MARKET)[0], strict=True))
    assert np.isnan(found["hashrate_ths"])
    assert np.isnan(found["power_w"])
    assert np.isfinite(found["hashrate_mean_24h"])


def test_a_fleet_of_none_gives_no_rows() -> None:
    state = FeatureState()
    now = frame(START_S, (), {})
    state.observe(now, MARKET)
    assert state.compute(now, MARKET).shape == (0, len(feature_names()))


def test_after_a_long_time_on_a_wrong_clock_the_right_one_is_believed_at_once() -> None:
    state = FeatureState()
    for k in range(400):
        at = START_S + 3e8 + 30.0 * k
        state.observe(frame(at, FLEET[:1], {"m0": (at, row(hashrate_ths=10.0))}), MARKET)
    now = frame(START_S, FLEET[:1], {"m0": (START_S, row(hashrate_ths=90.0))})
    state.observe(now, MARKET)
    found = dict(zip(feature_names(), state.compute(now, MARKET)[0], strict=True))
    assert found["hashrate_mean_1h"] == 90.0


_JUMPS_S = (30.0, 300.0, -300.0, -1800.0, 7200.0, -86400.0, 86400.0 * 3, 86400.0 * 3650, -86400.0 * 3650)


@pytest.mark.parametrize("seed", range(6))
def test_a_clock_that_jumps_to_and_fro_breaks_no_cycle_and_is_over_in_a_week(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fleet, state, at = units(1), FeatureState(), START_S
    low, high = (np.array([getattr(feature, end) for feature in FEATURES]) for end in ("low", "high"))
    for _ in range(80):
        step = float(rng.choice(_JUMPS_S, p=[0.3, 0.48, 0.04, 0.04, 0.04, 0.04, 0.04, 0.01, 0.01]))
        at = min(max(at + step, 1.3e9), 4e9)
        observed = at + float(rng.choice([0.0, 0.0, -3.0, 500.0, -4000.0]))
        now = frame(at, fleet, {"m0": (observed, lively(rng, [at])[0])})
        state.observe(now, MARKET)
        found = state.compute_exact(now, MARKET)
        assert (np.isnan(found) | ((found >= low) & (found <= high))).all()
    fresh = FeatureState()
    times = [at + 7200.0 * (k + 1) for k in range(8 * 12)]
    for moment, values in zip(times, lively(rng, times), strict=True):
        now = frame(moment, fleet, {"m0": (moment, values)})
        state.observe(now, MARKET)
        fresh.observe(now, MARKET)
    np.testing.assert_allclose(
        state.compute_exact(now, MARKET), fresh.compute_exact(now, MARKET), rtol=1e-9, atol=1e-9
    )

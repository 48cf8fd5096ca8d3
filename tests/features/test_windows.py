"""Windows hold what plain numpy says of the raw readings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.features.streaming import batch_features_exact, feature_names
from agent.features.window_choice import LEVELS
from agent.features.windows import WINDOWS
from agent.hardware.shares import hashrate_share_at
from tests.features.fleets import START_S, row, table


def last_features(rows: list[tuple[str, float, dict[str, float]]]) -> dict[str, float]:
    return dict(zip(feature_names(), batch_features_exact(table(rows))[-1], strict=True))


@given(
    st.lists(st.sampled_from([11.0, 60.0, 300.0, 299.0, 4000.0, 50_000.0]), min_size=3, max_size=300),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=40, deadline=None)
def test_every_window_matches_its_raw_readings(gaps: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = START_S + np.cumsum(gaps)
    rate = rng.uniform(0.0, 200.0, len(times))
    rate[rng.random(len(times)) < 0.2] = np.nan
    found = last_features([("m0", at, row(hashrate_ths=x)) for at, x in zip(times, rate, strict=True)])
    for window in WINDOWS:
        seconds = LEVELS[window.level].seconds
        bucket = times // seconds
        inside = rate[(bucket > bucket[-1] - window.buckets) & np.isfinite(rate)]
        when = times[(bucket > bucket[-1] - window.buckets) & np.isfinite(rate)]
        expected = {
            "mean": inside.mean() if len(inside) else np.nan,
            "min": inside.min() if len(inside) else np.nan,
            "max": inside.max() if len(inside) else np.nan,
            "std": inside.std() if len(inside) > 1 else np.nan,
        }
        if window.slopes:
            hours = (when - when[0]) / 3600.0 if len(when) else when
            expected["slope"] = np.polyfit(hours, inside, 1)[0] if len(inside) > 2 else np.nan
        for stat, value in expected.items():
            got = found[f"hashrate_{stat}_{window.name}"]
            limit = np.clip(value, -1000.0, 1000.0)
            np.testing.assert_allclose(got, limit, rtol=1e-7 if stat == "slope" else 1e-9, atol=1e-7)


def test_small_spread_on_a_large_mean_survives_merging() -> None:
    wave = 3000.0 + 1e-4 * np.sin(np.arange(5000.0))
    rows = [("m0", START_S + 17.0 * k, row(power_w=x)) for k, x in enumerate(wave)]
    found = last_features(rows)
    assert found["power_std_24h"] == pytest.approx(wave.std(), rel=1e-6)


def test_a_gap_longer_than_the_window_leaves_only_what_came_after() -> None:
    rows = [("m0", START_S + 300.0 * k, row(hashrate_ths=50.0)) for k in range(300)]
    rows.append(("m0", START_S + 30 * 86400.0, row(hashrate_ths=90.0)))
    found = last_features(rows)
    assert found["hashrate_mean_7d"] == found["hashrate_min_7d"] == 90.0


def test_a_window_keeps_nothing_older_than_itself() -> None:
    rows = [("m0", START_S, row(hashrate_ths=1.0))]
    rows += [("m0", START_S + 86400.0 + 300.0 * k, row(hashrate_ths=90.0)) for k in range(3)]
    found = last_features(rows)
    assert found["hashrate_min_24h"] == 90.0
    assert found["hashrate_min_7d"] == 1.0


def counting(*states: tuple[float, float, float, float]) -> list[tuple[str, float, dict[str, float]]]:
    """Rows from (minutes, uptime_s, accepted, rejected)."""
    return [
        (
            "m0",
            START_S + 60.0 * minutes,
            row(uptime_s=uptime, shares_accepted=accepted, shares_rejected=rejected, shares_stale=0.0),
        )
        for minutes, uptime, accepted, rejected in states
    ]


def test_rejects_are_told_from_the_growth_of_the_counters() -> None:
    found = last_features(counting((0, 9e4, 5000, 900), (40, 9e4 + 2400, 5090, 910)))
    assert found["reject_rate_24h"] == pytest.approx(10 / 100)
    assert found["restarts_24h"] == 0.0


def test_a_restart_starts_the_counters_anew() -> None:
    found = last_features(
        counting((0, 9e4, 5000, 900), (40, 9e4 + 2400, 5090, 910), (80, 600, 45, 5), (120, 3000, 90, 10))
    )
    # 90 + 10 before the restart; 45 + 5 since it, 45 + 5 more.
    assert found["reject_rate_24h"] == pytest.approx((10 + 5 + 5) / (90 + 45 + 45 + 20))
    assert found["restarts_24h"] == 1.0


def test_a_restart_is_seen_though_the_counters_have_overtaken() -> None:
    found = last_features(counting((0, 300, 10, 1), (180, 3600, 500, 1)))
    assert found["restarts_24h"] == 1.0
    assert found["reject_rate_24h"] == pytest.approx(1 / 501)


def test_a_counter_that_nobody_reports_stays_unknown() -> None:
    rows = [("m0", START_S + 1800.0 * k, row(uptime_s=1800.0 * k)) for k in range(5)]
    found = last_features(rows)
    assert np.isnan(found["reject_rate_24h"])
    assert np.isnan(found["hw_error_rate_24h"])
    assert found["restarts_24h"] == 0.0


def test_hardware_errors_are_per_hour_seen() -> None:
    rows = [("m0", START_S + 3600.0 * k, row(uptime_s=3600.0 * (k + 5), hw_errors=7.0 * k)) for k in range(6)]
    assert last_features(rows)["hw_error_rate_24h"] == pytest.approx(7.0)


def test_a_units_condition_leaves_out_stops_and_ramps() -> None:
    good = {"hashrate_ths": 95.0, "power_w": 3150.0, "setting_share": 1.0, "is_hashing": 1.0}
    stopped = {"hashrate_ths": 0.0, "power_w": 30.0, "setting_share": 0.0, "is_hashing": 0.0}
    ramping = {"hashrate_ths": 20.0, "power_w": 2800.0, "setting_share": 1.0, "is_hashing": 1.0}
    rows = []
    for k in range(60):
        state, uptime = (
            (good, 9e4) if k < 30 else (stopped, 60.0 * k) if k < 50 else (ramping, 30.0 * (k - 49))
        )
        rows.append(("m0", START_S + 300.0 * k, row(**state, uptime_s=uptime)))
    found = last_features(rows)
    assert found["power_ratio_24h"] == pytest.approx(1.05)
    # The curve of agent.hardware.shares goes through rated within half a percent.
    assert found["hashrate_ratio_24h"] == pytest.approx(0.95, rel=5e-3)
    assert found["hashing_share_24h"] == pytest.approx(40 / 60)


def test_a_units_condition_does_not_depend_on_its_setting() -> None:
    rows = []
    for k in range(48):
        share = (0.6, 0.8, 1.0)[k % 3]
        values = {"hashrate_ths": 93.0 * hashrate_share_at(share), "power_w": 3180.0 * share}
        rows.append(("m0", START_S + 1800.0 * k, row(**values, setting_share=share, is_hashing=1.0)))
    found = batch_features_exact(table(rows))
    names = feature_names()
    for name, value in (("hashrate_ratio", 0.93), ("power_ratio", 1.06), ("hashrate_ratio_24h", 0.93)):
        np.testing.assert_allclose(found[:, names.index(name)], value, rtol=1e-6)


def test_the_time_since_a_change_counts_from_the_first_reading_that_shows_it() -> None:
    shares = [1.0] * 10 + [0.8] * 6
    rows = [("m0", START_S + 600.0 * k, row(setting_share=s)) for k, s in enumerate(shares)]
    found = batch_features_exact(table(rows))[:, feature_names().index("hours_since_change")]
    assert found[9] == pytest.approx(9 / 6)
    assert found[10] == 0.0
    assert found[15] == pytest.approx(5 / 6)


def steady(**values: float) -> dict[str, float]:
    """A reading of a unit that hashes steadily."""
    usual = {"hashrate_ths": 100.0, "power_w": 3000.0, "setting_share": 1.0, "is_hashing": 1.0}
    return row(**(usual | {"uptime_s": 9e5} | values))


def hourly(**growth: float) -> list[tuple[str, float, dict[str, float]]]:
    """A day of a unit that hashes steadily, whose counters grow by so much an hour."""
    counters = [{name: k * value for name, value in growth.items()} for k in range(25)]
    return [
        ("m0", START_S + 3600.0 * k, steady(uptime_s=3600.0 * (k + 9), **values))
        for k, values in enumerate(counters)
    ]


def test_half_hours_are_correlated_with_those_of_an_hour_before() -> None:
    rng = np.random.default_rng(21)
    rate, intake = rng.normal(100.0, 5.0, 49), rng.normal(25.0, 3.0, 49)
    intake[30] = np.nan
    rows = [
        ("m0", START_S + 1800.0 * k + 7.0, row(hashrate_ths=rate[k], ambient_temp_c=intake[k]))
        for k in range(49)
    ]
    found = last_features(rows)
    # The newest half-hour still runs and is left out, and the window reaches 47 before it.
    x, y = rate[1:48], intake[1:48]
    pair = np.isfinite(y[:-2])
    expected = np.corrcoef(x[2:][pair], y[:-2][pair])[0, 1]
    assert found["hashrate_lag_correlation"] == pytest.approx(np.corrcoef(x[2:], x[:-2])[0, 1], rel=1e-9)
    assert found["hashrate_intake_lag_correlation"] == pytest.approx(expected, rel=1e-9)
    assert np.isnan(found["chip_power_lag_correlation"])


def test_what_does_not_vary_correlates_with_nothing() -> None:
    rows = [
        ("m0", START_S + 600.0 * k, row(hashrate_ths=95.1, ambient_temp_c=20.0 + k % 5)) for k in range(200)
    ]
    found = last_features(rows)
    assert np.isnan(found["hashrate_lag_correlation"])
    assert np.isnan(found["hashrate_intake_lag_correlation"])


def test_the_pool_pays_for_accepted_difficulty() -> None:
    rows = hourly(shares_accepted=500.0, shares_rejected=0.0)
    for _, _, values in rows:
        values["share_difficulty"] = 2.0**17
    found = last_features(rows)
    rate = 500.0 * 2.0**17 * 2.0**32 / 3600.0 / 1e12
    assert found["pool_hashrate_24h"] == pytest.approx(rate)
    assert found["pool_hashrate_share_24h"] == pytest.approx(rate / 100.0)
    # The window reaches 23 h back from the running half-hour; MARKET pays 0.05 USD/TH/day.
    assert found["earnings_usd_24h"] == pytest.approx(rate * 0.05 * 23.0 / 24.0)


def test_without_difficulty_earnings_are_the_reported_rate_less_rejects() -> None:
    found = last_features(hourly(shares_accepted=98.0, shares_rejected=2.0))
    assert np.isnan(found["pool_hashrate_24h"])
    assert found["earnings_usd_24h"] == pytest.approx(100.0 * 0.98 * 0.05 * 23.0 / 24.0)


def test_the_distance_to_the_best_efficiency_counts_steady_hashing_of_a_week() -> None:
    watts = [2800.0, 3200.0, 3000.0, 3100.0]
    rows = [("m0", START_S + 80_000.0 * k, steady(power_w=w)) for k, w in enumerate(watts)]
    # Half stopped, a unit looks as if it needed nothing.
    rows.insert(1, ("m0", START_S + 40_000.0, steady(power_w=300.0, uptime_s=60.0)))
    assert last_features(rows)["efficiency_above_best_7d"] == pytest.approx(3100.0 / 2800.0 - 1.0)


def test_fans_have_headroom_to_full_speed_or_to_the_highest_seen() -> None:
    rows = [
        ("m0", START_S + 3600.0 * k, row(fan_rpm=speed)) for k, speed in enumerate([4500.0, 7000.0, 5600.0])
    ]
    found = batch_features_exact(table(rows))[:, feature_names().index("fan_headroom")]
    np.testing.assert_allclose(found, [0.25, 0.0, 0.2])


def test_curvature_tells_a_slope_that_grows() -> None:
    bent = [("m0", START_S + 300.0 * k, row(hashrate_ths=0.01 * k * k)) for k in range(72)]
    straight = [("m0", START_S + 300.0 * k, row(hashrate_ths=0.5 * k)) for k in range(72)]
    # x = 0.01 (12 h)^2 has the second derivative 2.88 everywhere.
    assert last_features(bent)["hashrate_curvature"] == pytest.approx(2.88, rel=1e-6)
    assert last_features(straight)["hashrate_curvature"] == pytest.approx(0.0, abs=1e-9)


def test_volatility_is_spread_over_mean() -> None:
    rows = [("m0", START_S + 600.0 * k, row(hashrate_ths=(90.0, 110.0)[k % 2])) for k in range(144)]
    assert last_features(rows)["hashrate_volatility_24h"] == pytest.approx(0.1)


def test_risk_rises_with_each_part_and_is_unknown_where_all_are() -> None:
    fine = {"boards_hashing": 3.0, "boards_expected": 3.0}
    one_lost = fine | {"boards_hashing": 2.0}
    risk = [
        last_features([("m0", START_S, row(**v))])["operational_risk_score"] for v in (fine, one_lost, {})
    ]
    assert risk[:2] == [pytest.approx(0.0), pytest.approx(1 / 3)]
    assert np.isnan(risk[2])
    shares = {"shares_accepted": 975.0, "shares_rejected": 25.0}
    rows = [("m0", START_S, row(**one_lost, shares_accepted=0.0, shares_rejected=0.0))]
    rows.append(("m0", START_S + 3600.0, row(**one_lost, **shares)))
    assert last_features(rows)["operational_risk_score"] == pytest.approx(1.0 - (2 / 3) * (1 - 0.025 / 0.05))

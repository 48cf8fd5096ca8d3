"""The ordered table of features: what each is, in which unit, over which window, and within which range.

`agent.features.streaming` feeds it live frames and history alike; the formulas are `agent.features.formulas`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.features.formulas import (
    CURVATURE_H,
    FAN_FULL_RPM,
    Formula,
    against_week,
    curvature_of,
    drift,
    drift_now,
    earnings,
    energy_usd_per_day,
    fan_headroom,
    margin,
    market_of,
    mean_efficiency,
    minus,
    momentum_of,
    now_of,
    over_of,
    per,
    pool_hashrate,
    reject_rate,
    reject_since_start,
    revenue_usd_per_day,
    risk,
    share_of,
    std_of,
    turn,
    variance_of,
    volatility_of,
)
from agent.features.inputs import (
    COUNTERS,
    CURVE_HASHRATES,
    HASHING_SHARE,
    LAG_BUCKETS,
    LAGGED,
    LEAST_SETTING_STD,
    LOWS,
    MEANS,
    SERIES,
    STEADY_SHARE,
    STEADY_UPTIME_S,
    Inputs,
    ratio,
)
from agent.features.window_choice import LEVELS
from agent.features.windows import CORRELATION_LEVEL, CORRELATION_PAIRS, WINDOWS, Counters

# Raise when a formula changes and no word of the table does: bundles made before must not be fed with it.
TABLE_VERSION = 2


@dataclass(frozen=True, slots=True)
class Feature:
    """One row of the table.

    Args:
        name, unit: as in docs/features.md.
        source: what it is computed from, in words that are part of the hash.
        window: name of a window, or `now`.
        missing: when it is NaN. NaN is never filled here: models impute inside their graph.
        low, high: values beyond are moved to the nearest end (winsorised).
        formula: Inputs to [R].
    """

    name: str
    unit: str
    source: str
    window: str
    missing: str
    low: float
    high: float
    formula: Formula


_UNREPORTED = "not fresh or not reported"
_UNRATED = "not fresh, not reported, or the model has no profile"
_NO_READING = "no reading in the window"
_FEW_2 = "fewer than 2 readings in the window"
_FEW_3 = "fewer than 3 readings in the window"
_NO_PROFILE = "the profile does not say"
_NO_GROWTH = "fewer than 2 half-hours with a reading, or the counter is not reported"
_NOT_STEADY = "no steady hashing in the window, or not reported"
_ONE_SETTING = f"no steady hashing, ln(setting_share) spread under {LEAST_SETTING_STD:g}, or not reported"
_NEVER = "never"
_STALE = "market data stale"
_FEW_PAIRS = (
    f"fewer than {CORRELATION_PAIRS} pairs of half-hours with a reading, or a side that does not vary"
)

_STATS = {"mean": "mean", "low": "min", "high": "max"}


def _window_rows() -> list[Feature]:
    """Mean, spread and ends of rate and power, and the slopes, window by window."""
    rows = []
    for series, short, unit, top in (
        ("hashrate_ths", "hashrate", "TH/s", 5000.0),
        ("power_w", "power", "W", 50000.0),
    ):
        for window in WINDOWS:
            name = window.name
            for stat, word in _STATS.items():
                formula = over_of(series, stat, name)
                rows.append(
                    Feature(
                        f"{short}_{word}_{name}",
                        unit,
                        f"{word} of {series}",
                        name,
                        _NO_READING,
                        0.0,
                        top,
                        formula,
                    )
                )
            source = f"standard deviation of {series}"
            formula = std_of(series, name)
            rows.append(Feature(f"{short}_std_{name}", unit, source, name, _FEW_2, 0.0, top, formula))
    for series, short, unit, most in (
        ("hashrate_ths", "hashrate", "TH/s/h", 1000.0),
        ("power_w", "power", "W/h", 20000.0),
        ("chip_temp_c", "chip_temp", "C/h", 200.0),
    ):
        for name in (window.name for window in WINDOWS if window.slopes):
            source = f"least-squares slope of {series} over time"
            formula = over_of(series, "slope_per_h", name)
            rows.append(Feature(f"{short}_slope_{name}", unit, source, name, _FEW_3, -most, most, formula))
    return rows


_RATIO = "hashing steadily: setting at least 5 % of rated, process at least 30 min old, not stopped"
_WHOLE = f"{_RATIO}, no board lost"

# One row a feature; wrapped by hand, or it would be a page per ten rows.
# fmt: off
_F = Feature
FEATURES: tuple[Feature, ...] = (
    _F("hashrate_ths", "TH/s", "hashrate_ths", "now", _UNREPORTED, 0.0, 5000.0, now_of("hashrate_ths")),
    _F("power_w", "W", "power_w as reported", "now", _UNREPORTED, 0.0, 50000.0, now_of("power_w")),
    _F("setting_share", "1", "nominal share of rated power of the present setting", "now", _UNRATED, 0.0,
       3.0, now_of("setting_share")),
    _F("is_hashing", "1", "is_hashing", "now", _UNREPORTED, 0.0, 1.0, now_of("is_hashing")),
    _F("hashrate_share", "1", "hashrate_ths / rated_hashrate_ths", "now", _UNRATED, 0.0, 3.0,
       per("hashrate_ths", "rated_hashrate_ths")),
    _F("power_share", "1", "power_w / rated_power_w", "now", _UNRATED, 0.0, 3.0,
       per("power_w", "rated_power_w")),
    _F("efficiency_j_th", "J/TH", "power_w / hashrate_ths while hashing", "now",
       "not hashing or not reported", 5.0, 300.0, per("power_w", "hashing_ths")),
    _F("expected_share", "1", "hashrate_expected_ths / rated_hashrate_ths", "now", _UNRATED, 0.0, 3.0,
       per("hashrate_expected_ths", "rated_hashrate_ths")),
    _F("hashrate_vs_expected", "1", "hashrate_ths / hashrate_expected_ths", "now", _UNREPORTED, 0.0, 3.0,
       per("hashrate_ths", "hashrate_expected_ths")),
    _F("hashrate_ratio", "1", f"hashrate_ths / nominal rate at its setting, {_RATIO}", "now", _NOT_STEADY,
       0.0, 2.0, now_of("hashrate_ratio")),
    _F("power_ratio", "1", f"power_w / nominal power at its setting, {_RATIO}", "now", _NOT_STEADY, 0.0,
       2.0, now_of("power_ratio")),
    _F("chip_temp_c", "C", "hottest chip", "now", _UNREPORTED, -40.0, 150.0, now_of("chip_temp_c")),
    _F("board_temp_c", "C", "hottest board", "now", _UNREPORTED, -40.0, 150.0, now_of("board_temp_c")),
    _F("intake_temp_c", "C", "inlet_temp_c, else ambient_temp_c", "now", _UNREPORTED, -40.0, 80.0,
       now_of("intake_temp_c")),
    _F("inlet_temp_c", "C", "inlet_temp_c", "now", _UNREPORTED, -40.0, 80.0, now_of("inlet_temp_c")),
    _F("ambient_temp_c", "C", "ambient_temp_c", "now", _UNREPORTED, -40.0, 80.0, now_of("ambient_temp_c")),
    _F("chip_rise_c", "C", "chip_temp_c - intake temperature", "now", _UNREPORTED, -50.0, 120.0,
       minus("chip_temp_c", "intake_temp_c")),
    _F("chip_headroom_c", "C", "chip limit of the profile - chip_temp_c", "now",
       "not reported or the profile has no limit", -50.0, 150.0, minus("chip_max_c", "chip_temp_c")),
    _F("fan_rpm", "rpm", "mean over fans", "now", _UNREPORTED, 0.0, 12000.0, now_of("fan_rpm")),
    _F("voltage_v", "V", "voltage_v", "now", _UNREPORTED, 0.0, 1000.0, now_of("voltage_v")),
    _F("frequency_mhz", "MHz", "frequency_mhz", "now", _UNREPORTED, 0.0, 2000.0, now_of("frequency_mhz")),
    _F("boards_share", "1", "boards_hashing / boards_expected", "now", _UNREPORTED, 0.0, 1.0,
       per("boards_hashing", "boards_expected")),
    _F("chip_temp_spread_c", "C", "chip_temp_spread_c over the boards", "now", _UNREPORTED, 0.0, 100.0,
       now_of("chip_temp_spread_c")),
    _F("board_temp_spread_c", "C", "board_temp_spread_c over the boards", "now", _UNREPORTED, 0.0, 100.0,
       now_of("board_temp_spread_c")),
    _F("fan_headroom", "1", f"1 - fan_rpm / the highest over 7d, {FAN_FULL_RPM:g} rpm at least", "7d",
       _UNREPORTED, 0.0, 1.0, fan_headroom),
    _F("boards_lost", "1", "boards_expected - boards_hashing", "now", _UNREPORTED, 0.0, 16.0,
       minus("boards_expected", "boards_hashing")),
    _F("power_limit_share", "1", "power_limit_w as the firmware reports it / rated_power_w", "now", _UNRATED,
       0.0, 3.0, per("power_limit_w", "rated_power_w")),
    _F("power_vs_limit", "1", "power_w / power_limit_w", "now", _UNREPORTED, 0.0, 3.0,
       per("power_w", "power_limit_w")),
    _F("power_percent", "%", "as the firmware reports it", "now", _UNREPORTED, 0.0, 300.0,
       now_of("power_percent")),
    _F("hashrate_percent", "%", "as the firmware reports it", "now", _UNREPORTED, 0.0, 300.0,
       now_of("hashrate_percent")),
    _F("work_mode_code", "code", "0 stopped, 1 sleep, 2 low, 3 efficient, 4 normal, 5 high", "now",
       _UNREPORTED, 0.0, 5.0, now_of("work_mode_code")),
    _F("headroom_up_share", "1", "highest share the profile's search bounds allow - setting_share", "now",
       _UNRATED, -3.0, 3.0, minus("bound_high_share", "setting_share")),
    _F("headroom_down_share", "1", "setting_share - lowest share the profile's search bounds allow", "now",
       _UNRATED, -3.0, 3.0, minus("setting_share", "bound_low_share")),
    _F("uptime_h", "h", "uptime_s / 3600", "now", _UNREPORTED, 0.0, 720.0,
       lambda x: x.now("uptime_s") / 3600.0),
    _F("reject_rate", "1", "rejected / (accepted + rejected) since the process started", "now",
       "no share yet or not reported", 0.0, 1.0, reject_since_start),
    *_window_rows(),
    _F("hashrate_variance_24h", "(TH/s)^2", "variance of hashrate_ths", "24h", _FEW_2, 0.0, 1e6,
       lambda x: variance_of(x, "hashrate_ths", "24h")),
    _F("temp_stability_24h", "C", "standard deviation of chip_temp_c", "24h", _FEW_2, 0.0, 100.0,
       std_of("chip_temp_c", "24h")),
    _F("chip_temp_mean_24h", "C", "mean of chip_temp_c", "24h", _NO_READING, -40.0, 150.0,
       over_of("chip_temp_c", "mean", "24h")),
    _F("chip_temp_max_24h", "C", "max of chip_temp_c", "24h", _NO_READING, -40.0, 150.0,
       over_of("chip_temp_c", "high", "24h")),
    _F("intake_temp_mean_24h", "C", "mean of the intake temperature", "24h", _NO_READING, -40.0, 80.0,
       lambda x: x.mean_of("intake_temp_c", "24h")),
    _F("hashrate_momentum", "1", "hashrate_mean_1h / hashrate_mean_24h - 1", "24h",
       "no reading in the window, or none hashing", -1.0, 5.0,
       momentum_of("hashrate_ths")),
    _F("power_momentum", "1", "power_mean_1h / power_mean_24h - 1", "24h",
       "no reading in the window, or none above zero", -1.0, 5.0, momentum_of("power_w")),
    _F("chip_temp_momentum", "C", "mean of chip_temp_c over 1h less that over 24h", "24h", _NO_READING,
       -100.0, 100.0, lambda x: x.over("chip_temp_c", "mean", "1h") - x.over("chip_temp_c", "mean", "24h")),
    _F("hashrate_curvature", "TH/s/h2", f"(slope over 1h - slope over 6h) / {CURVATURE_H:g} h", "6h",
       _FEW_3, -1000.0, 1000.0, curvature_of("hashrate_ths")),
    _F("power_curvature", "W/h2", f"(slope over 1h - slope over 6h) / {CURVATURE_H:g} h", "6h", _FEW_3,
       -20000.0, 20000.0, curvature_of("power_w")),
    _F("chip_temp_curvature", "C/h2", f"(slope over 1h - slope over 6h) / {CURVATURE_H:g} h", "6h", _FEW_3,
       -200.0, 200.0, curvature_of("chip_temp_c")),
    _F("hashrate_volatility_24h", "1", "standard deviation / mean of hashrate_ths", "24h",
       "fewer than 2 readings in the window, or none hashing", 0.0, 5.0, volatility_of("hashrate_ths")),
    _F("power_volatility_24h", "1", "standard deviation / mean of power_w", "24h",
       "fewer than 2 readings in the window, or none above zero", 0.0, 5.0, volatility_of("power_w")),
    _F("hashrate_lag_correlation", "1", "half-hour means of hashrate_ths with those 1 h before", "24h",
       _FEW_PAIRS, -1.0, 1.0, lambda x: x.lagged("hashrate_ths", "hashrate_ths")),
    _F("hashrate_intake_lag_correlation", "1",
       "half-hour means of hashrate_ths with the intake temperature 1 h before", "24h", _FEW_PAIRS, -1.0, 1.0,
       lambda x: x.lagged("hashrate_ths", "intake_temp_c")),
    _F("chip_power_lag_correlation", "1", "half-hour means of chip_temp_c with power_w 1 h before", "24h",
       _FEW_PAIRS, -1.0, 1.0, lambda x: x.lagged("chip_temp_c", "power_w")),
    _F("efficiency_mean_24h", "J/TH", "mean of power_w / mean of hashrate_ths", "24h",
       "no reading in the window, or none hashing", 5.0, 300.0, lambda x: mean_efficiency(x, "24h")),
    _F("efficiency_momentum", "1", "the same over 1h / over 24h - 1", "24h",
       "no reading in the window, or none hashing", -1.0, 5.0,
       lambda x: ratio(mean_efficiency(x, "1h"), mean_efficiency(x, "24h")) - 1.0),
    _F("efficiency_above_best_7d", "1", f"efficiency_j_th / the best over 7d - 1, {_RATIO}", "7d",
       _NOT_STEADY, -1.0, 5.0,
       lambda x: ratio(per("power_w", "hashing_ths")(x), x.low_of("steady_j_th", "7d")) - 1.0),
    _F("hashrate_ratio_6h", "1", f"mean of hashrate_ratio, {_RATIO}", "6h", _NOT_STEADY, 0.0, 2.0,
       lambda x: x.mean_of("hashrate_ratio", "6h")),
    _F("hashrate_ratio_24h", "1", f"mean of hashrate_ratio, {_RATIO}", "24h", _NOT_STEADY, 0.0, 2.0,
       lambda x: x.mean_of("hashrate_ratio", "24h")),
    _F("hashrate_ratio_7d", "1", f"mean of hashrate_ratio, {_RATIO}", "7d", _NOT_STEADY, 0.0, 2.0,
       lambda x: x.mean_of("hashrate_ratio", "7d")),
    _F("power_ratio_6h", "1", f"mean of power_ratio, {_RATIO}", "6h", _NOT_STEADY, 0.0, 2.0,
       lambda x: x.mean_of("power_ratio", "6h")),
    _F("power_ratio_24h", "1", f"mean of power_ratio, {_RATIO}", "24h", _NOT_STEADY, 0.0, 2.0,
       lambda x: x.mean_of("power_ratio", "24h")),
    _F("power_ratio_7d", "1", f"mean of power_ratio, {_RATIO}", "7d", _NOT_STEADY, 0.0, 2.0,
       lambda x: x.mean_of("power_ratio", "7d")),
    _F("hashrate_tilt_7d", "1",
       f"slope of hashrate_ratio over ln(setting_share), per hashrate_ratio, {_WHOLE}",
       "7d", _ONE_SETTING, -2.0, 2.0, lambda x: x.tilt("hashrate")),
    _F("power_tilt_7d", "1", f"slope of power_ratio over ln(setting_share), per power_ratio, {_WHOLE}", "7d",
       _ONE_SETTING, -2.0, 2.0, lambda x: x.tilt("power")),
    _F("setting_variance_7d", "1", f"variance of ln(setting_share), {_WHOLE}", "7d", _NOT_STEADY, 0.0, 4.0,
       lambda x: x.setting_variance("hashrate")),
    _F("setting_mean_7d", "1", f"mean of ln(setting_share), {_WHOLE}", "7d", _NOT_STEADY, -4.0, 2.0,
       lambda x: x.mean_of("hashrate_tilt_x", "7d")),
    _F("efficiency_drift", "1", "power_ratio / hashrate_ratio over 24h against the same over 7d, - 1", "7d",
       _NOT_STEADY, -0.5, 0.5, drift),
    _F("efficiency_drift_now", "1", "power_ratio / hashrate_ratio now against the same over 7d, - 1", "7d",
       _NOT_STEADY, -0.5, 0.5, drift_now),
    _F("hashrate_drift", "1", "hashrate_ratio over 24h against 7d, - 1", "7d", _NOT_STEADY, -0.5, 0.5,
       against_week("hashrate_ratio", "24h")),
    _F("power_drift", "1", "power_ratio over 24h against 7d, - 1", "7d", _NOT_STEADY, -0.5, 0.5,
       against_week("power_ratio", "24h")),
    _F("hashing_share_24h", "1", "mean of is_hashing over the polls that answered", "24h", _NO_READING, 0.0,
       1.0, lambda x: x.mean_of("is_hashing", "24h")),
    _F("reject_rate_24h", "1", "growth of rejected / (accepted + rejected)", "24h", _NO_GROWTH, 0.0, 1.0,
       reject_rate),
    _F("stale_rate_24h", "1", "growth of stale / (accepted + rejected + stale)", "24h", _NO_GROWTH, 0.0,
       1.0, share_of("shares_stale", "shares_accepted", "shares_rejected", "shares_stale")),
    _F("hw_error_rate_24h", "1/h", "growth of hw_errors per hour", "24h", _NO_GROWTH, 0.0, 1e6,
       lambda x: ratio(x.growth("hw_errors"), x.windows["growth_h"])),
    _F("restarts_24h", "1", "half-hours in which the mining process restarted", "24h",
       "fewer than 2 half-hours with a reading", 0.0, 48.0, lambda x: x.windows["restarts"]),
    _F("pool_hashrate_24h", "TH/s", "growth of accepted x mean share_difficulty x 2^32 / time seen", "24h",
       _NO_GROWTH, 0.0, 10000.0, pool_hashrate),
    _F("pool_hashrate_share_24h", "1", "pool_hashrate_24h / mean of hashrate_ths", "24h", _NO_GROWTH, 0.0,
       3.0, lambda x: ratio(pool_hashrate(x), x.over("hashrate_ths", "mean", "24h"))),
    _F("earnings_usd_24h", "USD", "pool_hashrate_24h, else mean rate less rejects, at the hashprice of now, "
       "over the hours seen", "24h", "fewer than 2 half-hours with a reading, or market data stale", 0.0,
       1000.0, earnings),
    _F("operational_risk_score", "1", "1 - product of (1 - part): boards lost, rejects / 5 %, restarts / 4, "
       "10 C less chip headroom / 10 C, volatility of hashrate / 50 %", "24h", "no part known", 0.0, 1.0,
       risk),
    _F("hours_since_change", "h", "time since the setting last changed, else since first seen", "now",
       "setting never known", 0.0, 720.0, lambda x: (x.times_s - x.windows["since_s"]) / 3600.0),
    _F("rated_hashrate_ths", "TH/s", "profile or its bin", "now", _NO_PROFILE, 0.0, 5000.0,
       now_of("rated_hashrate_ths")),
    _F("rated_power_w", "W", "profile or its bin", "now", _NO_PROFILE, 0.0, 50000.0, now_of("rated_power_w")),
    _F("rated_efficiency_j_th", "J/TH", "rated_power_w / rated_hashrate_ths", "now", _NO_PROFILE, 5.0,
       300.0, per("rated_power_w", "rated_hashrate_ths")),
    _F("vendor_code", "code", "0 bitmain, 1 microbt", "now", _NO_PROFILE, 0.0, 1.0, now_of("vendor_code")),
    _F("cooling_code", "code", "0 air, 1 hydro, 2 immersion", "now", _NO_PROFILE, 0.0, 2.0,
       now_of("cooling_code")),
    _F("bound_low_share", "1", "lowest share of rated power of the profile's search bounds", "now",
       _NO_PROFILE, 0.0, 3.0, now_of("bound_low_share")),
    _F("bound_high_share", "1", "highest share of rated power of the profile's search bounds", "now",
       _NO_PROFILE, 0.0, 3.0, now_of("bound_high_share")),
    _F("hashprice_usd_per_ths_day", "USD/(TH/s)/day", "hashprice before pool fee", "now",
       _STALE, 0.0, 10.0, market_of("hashprice_usd_per_ths_day")),
    _F("hashprice_change_7d", "1", "hashprice against 7 days before, - 1", "market", _STALE, -1.0, 10.0,
       market_of("hashprice_change_7d")),
    _F("hashprice_change_30d", "1", "hashprice against 30 days before, - 1", "market", _STALE, -1.0, 10.0,
       market_of("hashprice_change_30d")),
    _F("price_usd", "USD", "price of a coin", "now", _STALE, 0.0, 1e8, market_of("price_usd_per_btc")),
    _F("price_volatility_24h", "1", "root of summed squared steps of the log price over 24 h", "market",
       _STALE, 0.0, 5.0, market_of("price_volatility_24h")),
    _F("price_change_7d", "1", "price of a coin against 7 days before, - 1", "market", _STALE, -1.0, 10.0,
       market_of("price_change_7d")),
    _F("difficulty", "1", "of the network", "now", _STALE, 0.0, 1e18, market_of("difficulty")),
    _F("difficulty_change_14d", "1", "difficulty against 14 days before, - 1", "market", _STALE, -1.0, 10.0,
       market_of("difficulty_change_14d")),
    _F("fee_share", "1", "fees / (subsidy + fees) of blocks", "now", _STALE, 0.0, 1.0,
       market_of("fee_share")),
    _F("price_usd_per_kwh", "USD/kWh", "tariff now, before PUE", "now", "tariff data stale", -5.0, 5.0,
       market_of("price_usd_per_kwh")),
    _F("tariff_rank", "1", "share of the known coming hours that are cheaper than now; known are today's "
       "(UTC), from noon on tomorrow's", "market", "tariff data stale, or no coming hour known", 0.0, 1.0,
       market_of("tariff_rank")),
    _F("profit_margin_percent", "%", "(revenue - energy) / revenue; power as reported, else nominal", "now",
       "no revenue, or a part unknown", -500.0, 500.0, margin),
    _F("market_adjusted_efficiency", "1", "revenue / cost of energy", "now",
       "energy costs nothing, or a part unknown", 0.0, 100.0,
       lambda x: ratio(revenue_usd_per_day(x), energy_usd_per_day(x))),
    _F("day_sin", "1", "sine of the time of day, UTC", "now", _NEVER, -1.0, 1.0,
       turn(86400.0, 0.0, np.sin)),
    _F("day_cos", "1", "cosine of the time of day, UTC", "now", _NEVER, -1.0, 1.0,
       turn(86400.0, 0.0, np.cos)),
    # Unix time began on a Thursday: three days on from a Monday.
    _F("week_sin", "1", "sine of the time of week from Monday, UTC", "now", _NEVER, -1.0, 1.0,
       turn(604800.0, 259200.0, np.sin)),
    _F("week_cos", "1", "cosine of the time of week from Monday, UTC", "now", _NEVER, -1.0, 1.0,
       turn(604800.0, 259200.0, np.cos)),
)
# fmt: on


def feature_names(features: Sequence[Feature] = FEATURES) -> tuple[str, ...]:
    """Names in the order of the columns of `compute`."""
    return tuple(feature.name for feature in features)


def feature_hash(features: Sequence[Feature] = FEATURES) -> str:
    """SHA-256 (hex) over the table, the windows and every constant that the numbers depend on."""
    text = json.dumps(
        {
            "version": TABLE_VERSION,
            "levels": LEVELS,
            "windows": WINDOWS,
            "counter_level": Counters.level,
            "series": [SERIES, MEANS, LOWS, COUNTERS],
            "lagged": [CORRELATION_LEVEL, LAG_BUCKETS, LAGGED],
            "rules": [STEADY_SHARE, STEADY_UPTIME_S, HASHING_SHARE, LEAST_SETTING_STD],
            "curve": [round(float(value), 9) for value in CURVE_HASHRATES[::100]],
            "features": [[f.name, f.unit, f.source, f.window, f.missing, f.low, f.high] for f in features],
        }
    )
    return hashlib.sha256(text.encode()).hexdigest()


def evaluate(inputs: Inputs, out: NDArray[np.float64] | NDArray[np.float32]) -> None:
    """Write all features of all rows, winsorised, NaN where missing, into `out` [R,F]."""
    inside = np.empty(len(out))
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        for j, feature in enumerate(FEATURES):
            np.clip(feature.formula(inputs), feature.low, feature.high, out=inside)
            out[:, j] = inside

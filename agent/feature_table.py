"""The ordered table of features: what each is, in which unit, over which window, and how it is computed.

Every formula works on whole columns and knows nothing of where they come from: `agent.features` feeds it
live frames and history alike.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.hardware.shares import hashrate_share_at
from agent.windows import LEVELS, WINDOWS, Counters, Floats

# Raise when a formula changes and no word of the table does: bundles made before must not be fed with it.
TABLE_VERSION = 1

# What the windows hold, in the order of their arrays.
SERIES = ("hashrate_ths", "power_w", "chip_temp_c", "intake_temp_c")
MEANS = ("hashrate_ratio", "power_ratio", "is_hashing")
COUNTERS = ("shares_accepted", "shares_rejected", "shares_stale", "hw_errors")

# A unit's own condition is told only while it hashes steadily: set to this share at least, and its mining
# process at least so old, so that neither stops nor ramps count.
STEADY_SHARE = 0.05
STEADY_UPTIME_S = 1800.0
# Below this share of rated the rate is noise of a unit that does not really hash.
HASHING_SHARE = 0.02

_CURVE_SHARES = np.linspace(0.0, 3.0, 3001)
_CURVE_HASHRATES = np.array([hashrate_share_at(float(share)) for share in _CURVE_SHARES])


@dataclass(frozen=True, slots=True)
class Inputs:
    """What formulas may use: R rows, one miner at one moment each.

    Args:
        columns: telemetry columns and those of `derive`, each [R].
        windows: `24h.mean` and the like, each [R,S] in the order of `SERIES`; `24h.means` [R,M] in the order
            of `MEANS`; `growth` [R,C], `restarts`, `growth_h`, `since_s` [R].
        times_s: [R] Unix seconds of the reading, else of the frame.
        hashprice_usd_per_ths_day, price_usd_per_kwh: [R].
    """

    columns: Mapping[str, Floats]
    windows: Mapping[str, Floats]
    times_s: Floats
    hashprice_usd_per_ths_day: Floats
    price_usd_per_kwh: Floats

    def now(self, name: str) -> Floats:
        """A column of the present reading."""
        return self.columns[name]

    def over(self, series: str, stat: str, window: str) -> Floats:
        """A moment of one of `SERIES` over a window."""
        return self.windows[f"{window}.{stat}"][:, SERIES.index(series)]

    def mean_of(self, name: str, window: str) -> Floats:
        """Mean of one of `MEANS` over a window."""
        return self.windows[f"{window}.means"][:, MEANS.index(name)]

    def growth(self, counter: str) -> Floats:
        """How much one of `COUNTERS` grew over 24h, process restarts allowed for."""
        return self.windows["growth"][:, COUNTERS.index(counter)]


Formula = Callable[[Inputs], Floats]


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


def derive(columns: Mapping[str, Floats]) -> dict[str, Floats]:
    """Telemetry columns plus those that formulas and windows share: intake temperature and unit ratios."""
    rate, power, share = columns["hashrate_ths"], columns["power_w"], columns["setting_share"]
    inlet, uptime = columns["inlet_temp_c"], columns["uptime_s"]
    hashing = rate > HASHING_SHARE * np.nan_to_num(columns["rated_hashrate_ths"])
    hashing &= columns["is_hashing"] != 0.0
    steady = hashing & (share >= STEADY_SHARE) & ~(uptime < STEADY_UPTIME_S)
    nominal_ths = columns["rated_hashrate_ths"] * nominal_hashrate_share(share)
    nominal_w = columns["rated_power_w"] * share
    return dict(columns) | {
        "intake_temp_c": np.where(np.isnan(inlet), columns["ambient_temp_c"], inlet),
        "hashing_ths": np.where(hashing, rate, np.nan),
        "hashrate_ratio": np.where(steady, ratio(rate, nominal_ths), np.nan),
        "power_ratio": np.where(steady, ratio(power, nominal_w), np.nan),
        # What the unit draws for all that is known: as reported, else as its setting says.
        "draw_w": np.where(np.isnan(power), nominal_w, power),
    }


def nominal_hashrate_share(power_share: Floats) -> Floats:
    """Share of rated hashrate expected at a share of rated power, [R]; the curve of `agent.hardware.shares`."""
    return np.interp(power_share, _CURVE_SHARES, _CURVE_HASHRATES)


def ratio(top: Floats, bottom: Floats) -> Floats:
    """`top / bottom`, NaN where `bottom` is not above zero."""
    out = np.full(np.broadcast_shapes(top.shape, bottom.shape), np.nan)
    return np.divide(top, bottom, out=out, where=bottom > 0.0)


def _now(name: str) -> Formula:
    return lambda x: x.now(name)


def _per(top: str, bottom: str) -> Formula:
    return lambda x: ratio(x.now(top), x.now(bottom))


def _minus(left: str, right: str) -> Formula:
    return lambda x: x.now(left) - x.now(right)


def _over(series: str, stat: str, window: str) -> Formula:
    return lambda x: x.over(series, stat, window)


def _variance(x: Inputs, series: str, window: str) -> Floats:
    count = x.over(series, "count", window)
    return ratio(x.over(series, "m2", window), np.where(count >= 2.0, count, 0.0))


def _std(series: str, window: str) -> Formula:
    return lambda x: np.sqrt(_variance(x, series, window))


def _share_of(part: str, *whole: str) -> Formula:
    return lambda x: ratio(x.growth(part), np.sum([x.growth(name) for name in whole], axis=0))


def _reject_since_start(x: Inputs) -> Floats:
    rejected = x.now("shares_rejected")
    return ratio(rejected, x.now("shares_accepted") + rejected)


def _revenue(x: Inputs) -> Floats:
    return x.now("hashrate_ths") * x.hashprice_usd_per_ths_day


def _energy(x: Inputs) -> Floats:
    return x.now("draw_w") * 0.024 * x.price_usd_per_kwh


def _margin(x: Inputs) -> Floats:
    revenue = _revenue(x)
    return 100.0 * ratio(revenue - _energy(x), revenue)


def _drift(x: Inputs) -> Floats:
    day = ratio(x.mean_of("power_ratio", "24h"), x.mean_of("hashrate_ratio", "24h"))
    week = ratio(x.mean_of("power_ratio", "7d"), x.mean_of("hashrate_ratio", "7d"))
    return ratio(day, week) - 1.0


def _turn(period_s: float, offset_s: float, wave: Callable[[Floats], Any]) -> Formula:
    def formula(x: Inputs) -> Floats:
        turns = np.mod(x.times_s + offset_s, period_s) / period_s
        return np.asarray(wave(2.0 * math.pi * turns), dtype=np.float64)

    return formula


_UNREPORTED = "not fresh or not reported"
_UNRATED = "not fresh, not reported, or the model has no profile"
_NO_READING = "no reading in the window"
_FEW_2 = "fewer than 2 readings in the window"
_FEW_3 = "fewer than 3 readings in the window"
_NO_PROFILE = "the profile does not say"
_NO_GROWTH = "fewer than 2 half-hours with a reading, or the counter is not reported"
_NOT_STEADY = "no steady hashing in the window, or not reported"
_NEVER = "never"

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
                formula = _over(series, stat, name)
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
            formula = _std(series, name)
            rows.append(Feature(f"{short}_std_{name}", unit, source, name, _FEW_2, 0.0, top, formula))
    for series, short, unit, most in (
        ("hashrate_ths", "hashrate", "TH/s/h", 1000.0),
        ("power_w", "power", "W/h", 20000.0),
        ("chip_temp_c", "chip_temp", "C/h", 200.0),
    ):
        for name in ("1h", "6h"):
            source = f"least-squares slope of {series} over time"
            formula = _over(series, "slope_per_h", name)
            rows.append(Feature(f"{short}_slope_{name}", unit, source, name, _FEW_3, -most, most, formula))
    return rows


_RATIO = "hashing steadily: setting at least 5 % of rated, process at least 30 min old, not stopped"

FEATURES: tuple[Feature, ...] = (
    Feature("hashrate_ths", "TH/s", "hashrate_ths", "now", _UNREPORTED, 0.0, 5000.0, _now("hashrate_ths")),
    Feature("power_w", "W", "power_w as reported", "now", _UNREPORTED, 0.0, 50000.0, _now("power_w")),
    Feature(
        "setting_share",
        "1",
        "nominal share of rated power of the present setting",
        "now",
        _UNRATED,
        0.0,
        3.0,
        _now("setting_share"),
    ),
    Feature("is_hashing", "1", "is_hashing", "now", _UNREPORTED, 0.0, 1.0, _now("is_hashing")),
    Feature(
        "hashrate_share",
        "1",
        "hashrate_ths / rated_hashrate_ths",
        "now",
        _UNRATED,
        0.0,
        3.0,
        _per("hashrate_ths", "rated_hashrate_ths"),
    ),
    Feature(
        "power_share",
        "1",
        "power_w / rated_power_w",
        "now",
        _UNRATED,
        0.0,
        3.0,
        _per("power_w", "rated_power_w"),
    ),
    Feature(
        "efficiency_j_th",
        "J/TH",
        "power_w / hashrate_ths while hashing",
        "now",
        "not hashing or not reported",
        5.0,
        300.0,
        _per("power_w", "hashing_ths"),
    ),
    Feature(
        "expected_share",
        "1",
        "hashrate_expected_ths / rated_hashrate_ths",
        "now",
        _UNRATED,
        0.0,
        3.0,
        _per("hashrate_expected_ths", "rated_hashrate_ths"),
    ),
    Feature(
        "hashrate_vs_expected",
        "1",
        "hashrate_ths / hashrate_expected_ths",
        "now",
        _UNREPORTED,
        0.0,
        3.0,
        _per("hashrate_ths", "hashrate_expected_ths"),
    ),
    Feature(
        "hashrate_ratio",
        "1",
        f"hashrate_ths / nominal rate at its setting, {_RATIO}",
        "now",
        _NOT_STEADY,
        0.0,
        2.0,
        _now("hashrate_ratio"),
    ),
    Feature(
        "power_ratio",
        "1",
        f"power_w / nominal power at its setting, {_RATIO}",
        "now",
        _NOT_STEADY,
        0.0,
        2.0,
        _now("power_ratio"),
    ),
    Feature("chip_temp_c", "C", "hottest chip", "now", _UNREPORTED, -40.0, 150.0, _now("chip_temp_c")),
    Feature("board_temp_c", "C", "hottest board", "now", _UNREPORTED, -40.0, 150.0, _now("board_temp_c")),
    Feature(
        "intake_temp_c",
        "C",
        "inlet_temp_c, else ambient_temp_c",
        "now",
        _UNREPORTED,
        -40.0,
        80.0,
        _now("intake_temp_c"),
    ),
    Feature("inlet_temp_c", "C", "inlet_temp_c", "now", _UNREPORTED, -40.0, 80.0, _now("inlet_temp_c")),
    Feature("ambient_temp_c", "C", "ambient_temp_c", "now", _UNREPORTED, -40.0, 80.0, _now("ambient_temp_c")),
    Feature(
        "chip_rise_c",
        "C",
        "chip_temp_c - intake temperature",
        "now",
        _UNREPORTED,
        -50.0,
        120.0,
        _minus("chip_temp_c", "intake_temp_c"),
    ),
    Feature(
        "chip_headroom_c",
        "C",
        "chip limit of the profile - chip_temp_c",
        "now",
        "not reported or the profile has no limit",
        -50.0,
        150.0,
        _minus("chip_max_c", "chip_temp_c"),
    ),
    Feature("fan_rpm", "rpm", "mean over fans", "now", _UNREPORTED, 0.0, 12000.0, _now("fan_rpm")),
    Feature("voltage_v", "V", "voltage_v", "now", _UNREPORTED, 0.0, 1000.0, _now("voltage_v")),
    Feature("frequency_mhz", "MHz", "frequency_mhz", "now", _UNREPORTED, 0.0, 2000.0, _now("frequency_mhz")),
    Feature(
        "boards_share",
        "1",
        "boards_hashing / boards_expected",
        "now",
        _UNREPORTED,
        0.0,
        1.0,
        _per("boards_hashing", "boards_expected"),
    ),
    Feature(
        "uptime_h",
        "h",
        "uptime_s / 3600",
        "now",
        _UNREPORTED,
        0.0,
        720.0,
        lambda x: x.now("uptime_s") / 3600.0,
    ),
    Feature(
        "reject_rate",
        "1",
        "rejected / (accepted + rejected) since the process started",
        "now",
        "no share yet or not reported",
        0.0,
        1.0,
        _reject_since_start,
    ),
    *_window_rows(),
    Feature(
        "hashrate_variance_24h",
        "(TH/s)^2",
        "variance of hashrate_ths",
        "24h",
        _FEW_2,
        0.0,
        1e6,
        lambda x: _variance(x, "hashrate_ths", "24h"),
    ),
    Feature(
        "temp_stability_24h",
        "C",
        "standard deviation of chip_temp_c",
        "24h",
        _FEW_2,
        0.0,
        100.0,
        _std("chip_temp_c", "24h"),
    ),
    Feature(
        "chip_temp_mean_24h",
        "C",
        "mean of chip_temp_c",
        "24h",
        _NO_READING,
        -40.0,
        150.0,
        _over("chip_temp_c", "mean", "24h"),
    ),
    Feature(
        "chip_temp_max_24h",
        "C",
        "max of chip_temp_c",
        "24h",
        _NO_READING,
        -40.0,
        150.0,
        _over("chip_temp_c", "high", "24h"),
    ),
    Feature(
        "intake_temp_mean_24h",
        "C",
        "mean of the intake temperature",
        "24h",
        _NO_READING,
        -40.0,
        80.0,
        _over("intake_temp_c", "mean", "24h"),
    ),
    Feature(
        "hashrate_momentum",
        "1",
        "hashrate_mean_1h / hashrate_mean_24h - 1",
        "24h",
        "no reading in the window, or none hashing",
        -1.0,
        5.0,
        lambda x: ratio(x.over("hashrate_ths", "mean", "1h"), x.over("hashrate_ths", "mean", "24h")) - 1.0,
    ),
    Feature(
        "hashrate_ratio_6h",
        "1",
        f"mean of hashrate_ratio, {_RATIO}",
        "6h",
        _NOT_STEADY,
        0.0,
        2.0,
        lambda x: x.mean_of("hashrate_ratio", "6h"),
    ),
    Feature(
        "hashrate_ratio_24h",
        "1",
        f"mean of hashrate_ratio, {_RATIO}",
        "24h",
        _NOT_STEADY,
        0.0,
        2.0,
        lambda x: x.mean_of("hashrate_ratio", "24h"),
    ),
    Feature(
        "hashrate_ratio_7d",
        "1",
        f"mean of hashrate_ratio, {_RATIO}",
        "7d",
        _NOT_STEADY,
        0.0,
        2.0,
        lambda x: x.mean_of("hashrate_ratio", "7d"),
    ),
    Feature(
        "power_ratio_6h",
        "1",
        f"mean of power_ratio, {_RATIO}",
        "6h",
        _NOT_STEADY,
        0.0,
        2.0,
        lambda x: x.mean_of("power_ratio", "6h"),
    ),
    Feature(
        "power_ratio_24h",
        "1",
        f"mean of power_ratio, {_RATIO}",
        "24h",
        _NOT_STEADY,
        0.0,
        2.0,
        lambda x: x.mean_of("power_ratio", "24h"),
    ),
    Feature(
        "power_ratio_7d",
        "1",
        f"mean of power_ratio, {_RATIO}",
        "7d",
        _NOT_STEADY,
        0.0,
        2.0,
        lambda x: x.mean_of("power_ratio", "7d"),
    ),
    Feature(
        "efficiency_drift",
        "1",
        "power_ratio / hashrate_ratio over 24h against the same over 7d, - 1",
        "7d",
        _NOT_STEADY,
        -0.5,
        0.5,
        _drift,
    ),
    Feature(
        "hashing_share_24h",
        "1",
        "mean of is_hashing over the polls that answered",
        "24h",
        _NO_READING,
        0.0,
        1.0,
        lambda x: x.mean_of("is_hashing", "24h"),
    ),
    Feature(
        "reject_rate_24h",
        "1",
        "growth of rejected / (accepted + rejected)",
        "24h",
        _NO_GROWTH,
        0.0,
        1.0,
        _share_of("shares_rejected", "shares_accepted", "shares_rejected"),
    ),
    Feature(
        "stale_rate_24h",
        "1",
        "growth of stale / (accepted + rejected + stale)",
        "24h",
        _NO_GROWTH,
        0.0,
        1.0,
        _share_of("shares_stale", "shares_accepted", "shares_rejected", "shares_stale"),
    ),
    Feature(
        "hw_error_rate_24h",
        "1/h",
        "growth of hw_errors per hour",
        "24h",
        _NO_GROWTH,
        0.0,
        1e6,
        lambda x: ratio(x.growth("hw_errors"), x.windows["growth_h"]),
    ),
    Feature(
        "restarts_24h",
        "1",
        "half-hours in which the mining process restarted",
        "24h",
        "fewer than 2 half-hours with a reading",
        0.0,
        48.0,
        lambda x: x.windows["restarts"],
    ),
    Feature(
        "hours_since_change",
        "h",
        "time since the setting last changed, else since first seen",
        "now",
        "setting never known",
        0.0,
        720.0,
        lambda x: (x.times_s - x.windows["since_s"]) / 3600.0,
    ),
    Feature(
        "rated_hashrate_ths",
        "TH/s",
        "profile or its bin",
        "now",
        _NO_PROFILE,
        0.0,
        5000.0,
        _now("rated_hashrate_ths"),
    ),
    Feature(
        "rated_power_w", "W", "profile or its bin", "now", _NO_PROFILE, 0.0, 50000.0, _now("rated_power_w")
    ),
    Feature(
        "rated_efficiency_j_th",
        "J/TH",
        "rated_power_w / rated_hashrate_ths",
        "now",
        _NO_PROFILE,
        5.0,
        300.0,
        _per("rated_power_w", "rated_hashrate_ths"),
    ),
    Feature("vendor_code", "code", "0 bitmain, 1 microbt", "now", _NO_PROFILE, 0.0, 1.0, _now("vendor_code")),
    Feature(
        "cooling_code",
        "code",
        "0 air, 1 hydro, 2 immersion",
        "now",
        _NO_PROFILE,
        0.0,
        2.0,
        _now("cooling_code"),
    ),
    Feature(
        "hashprice_usd_per_ths_day",
        "USD/(TH/s)/day",
        "hashprice before pool fee",
        "now",
        "market data stale",
        0.0,
        10.0,
        lambda x: x.hashprice_usd_per_ths_day,
    ),
    Feature(
        "price_usd_per_kwh",
        "USD/kWh",
        "tariff now, before PUE",
        "now",
        "tariff data stale",
        -5.0,
        5.0,
        lambda x: x.price_usd_per_kwh,
    ),
    Feature(
        "profit_margin_percent",
        "%",
        "(revenue - energy) / revenue; power as reported, else nominal",
        "now",
        "no revenue, or a part unknown",
        -500.0,
        500.0,
        _margin,
    ),
    Feature(
        "market_adjusted_efficiency",
        "1",
        "revenue / cost of energy",
        "now",
        "energy costs nothing, or a part unknown",
        0.0,
        100.0,
        lambda x: ratio(_revenue(x), _energy(x)),
    ),
    Feature(
        "day_sin", "1", "sine of the time of day, UTC", "now", _NEVER, -1.0, 1.0, _turn(86400.0, 0.0, np.sin)
    ),
    Feature(
        "day_cos",
        "1",
        "cosine of the time of day, UTC",
        "now",
        _NEVER,
        -1.0,
        1.0,
        _turn(86400.0, 0.0, np.cos),
    ),
    # Unix time began on a Thursday: three days on from a Monday.
    Feature(
        "week_sin",
        "1",
        "sine of the time of week from Monday, UTC",
        "now",
        _NEVER,
        -1.0,
        1.0,
        _turn(604800.0, 259200.0, np.sin),
    ),
    Feature(
        "week_cos",
        "1",
        "cosine of the time of week from Monday, UTC",
        "now",
        _NEVER,
        -1.0,
        1.0,
        _turn(604800.0, 259200.0, np.cos),
    ),
)


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
            "series": [SERIES, MEANS, COUNTERS],
            "rules": [STEADY_SHARE, STEADY_UPTIME_S, HASHING_SHARE],
            "curve": [round(float(value), 9) for value in _CURVE_HASHRATES[::100]],
            "features": [[f.name, f.unit, f.source, f.window, f.missing, f.low, f.high] for f in features],
        }
    )
    return hashlib.sha256(text.encode()).hexdigest()


def evaluate(inputs: Inputs, features: Sequence[Feature] = FEATURES) -> NDArray[np.float32]:
    """All features of all rows, [R,F] float32, winsorised; NaN where missing."""
    out = np.empty((len(inputs.times_s), len(features)), dtype=np.float32)
    for j, feature in enumerate(features):
        out[:, j] = np.clip(feature.formula(inputs), feature.low, feature.high)
    return out

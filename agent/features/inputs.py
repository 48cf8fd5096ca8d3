"""What formulas of features work on: telemetry columns, what is derived from them, and windows over them.

The formulas themselves are in `agent.features.table`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from agent.features.windows import Floats
from agent.hardware.shares import hashrate_share_at

# What the windows hold, in the order of their arrays.
SERIES = ("hashrate_ths", "power_w", "chip_temp_c")
# Sums over settings x (logarithm of setting_share) and ratios y, of which the tilt of a unit's own curve
# against the profile's is made; apart for rate and power, which are not always known together.
TILTED = ("hashrate", "power")
TILT_MEANS = tuple(f"{side}_tilt_{part}" for side in TILTED for part in ("x", "xx", "y", "xy"))
# Held in every bucket, those that short windows read too first; and what only the longest window reads.
FINE_MEANS = ("hashrate_ratio", "power_ratio", "is_hashing", "intake_temp_c", "share_difficulty")
MEANS = (*FINE_MEANS, *TILT_MEANS)
LOWS = ("steady_j_th", "fan_slack_rpm")
# Over which windows means are read, and lows.
MEAN_WINDOWS = {
    name: ("6h", "24h", "7d") if name.endswith("_ratio") else ("7d",) if name in TILT_MEANS else ("24h",)
    for name in MEANS
}
LOW_WINDOWS = ("7d",)
# Correlated over 24h: a series with another (or itself) so many half-hours before.
LAG_BUCKETS = 2
LAGGED = (
    ("hashrate_ths", "hashrate_ths"),
    ("hashrate_ths", "intake_temp_c"),
    ("chip_temp_c", "power_w"),
)
COUNTERS = ("shares_accepted", "shares_rejected", "shares_stale", "hw_errors")

# A unit's own condition is told only while it hashes steadily: set to this share at least, and its mining
# process at least so old, so that neither stops nor ramps count.
STEADY_SHARE = 0.05
STEADY_UPTIME_S = 1800.0
# Settings that differ less, in the logarithm, say nothing of a unit's shape.
LEAST_SETTING_STD = 0.02
# Below this share of rated the rate is noise of a unit that does not really hash.
HASHING_SHARE = 0.02

_CURVE_SHARES = np.linspace(0.0, 3.0, 3001)
CURVE_HASHRATES = np.array([hashrate_share_at(float(share)) for share in _CURVE_SHARES])


@dataclass(frozen=True, slots=True)
class Inputs:
    """What formulas may use: R rows, one miner at one moment each.

    Args:
        columns: telemetry columns and those of `derive`, each [R].
        windows: what windows hold, each [R]: `24h.mean.power_w` and the like for `SERIES` (count, mean, m2,
            low, high, slope_per_h), `MEANS` (mean) and `LOWS` (low); `lagged.` and two series of `LAGGED`;
            `growth.` and one of `COUNTERS`; `restarts`, `growth_h`, `since_s`.
        times_s: [R] Unix seconds of the reading, else of the frame.
        market: each of `MARKET_COLUMNS`, [R].
    """

    columns: Mapping[str, Floats]
    windows: Mapping[str, Floats]
    times_s: Floats
    market: Mapping[str, Floats]

    def now(self, name: str) -> Floats:
        """A column of the present reading."""
        return self.columns[name]

    def over(self, series: str, stat: str, window: str) -> Floats:
        """A moment of one of `SERIES` over a window."""
        return self.windows[f"{window}.{stat}.{series}"]

    def mean_of(self, name: str, window: str) -> Floats:
        """Mean of one of `MEANS` over a window."""
        return self.windows[f"{window}.mean.{name}"]

    def low_of(self, name: str, window: str) -> Floats:
        """Least of one of `LOWS` over a window."""
        return self.windows[f"{window}.low.{name}"]

    def setting_variance(self, side: str) -> Floats:
        """Variance over 7d of the logarithm of the setting, of the readings that tell one of `TILTED`."""
        x = self.mean_of(f"{side}_tilt_x", "7d")
        return self.mean_of(f"{side}_tilt_xx", "7d") - x * x

    def tilt(self, side: str) -> Floats:
        """Least-squares slope over 7d of a ratio to nominal over the logarithm of the setting, per ratio."""
        x, y, xy = (self.mean_of(f"{side}_tilt_{part}", "7d") for part in ("x", "y", "xy"))
        variance = self.setting_variance(side)
        return ratio(ratio(xy - x * y, np.where(variance > LEAST_SETTING_STD**2, variance, 0.0)), y)

    def lagged(self, later: str, earlier: str) -> Floats:
        """One of the correlations of `LAGGED`."""
        return self.windows[f"lagged.{later}.{earlier}"]

    def growth(self, counter: str) -> Floats:
        """How much one of `COUNTERS` grew over 24h, process restarts allowed for."""
        return self.windows[f"growth.{counter}"]


def derive(columns: Mapping[str, Floats]) -> dict[str, Floats]:
    """Telemetry columns plus those that formulas and windows share: intake temperature and unit ratios."""
    rate, power, share = columns["hashrate_ths"], columns["power_w"], columns["setting_share"]
    inlet, uptime = columns["inlet_temp_c"], columns["uptime_s"]
    hashing = rate > HASHING_SHARE * np.nan_to_num(columns["rated_hashrate_ths"])
    hashing &= columns["is_hashing"] != 0.0
    steady = hashing & (share >= STEADY_SHARE) & ~(uptime < STEADY_UPTIME_S)
    nominal_ths = columns["rated_hashrate_ths"] * nominal_hashrate_share(share)
    nominal_w = columns["rated_power_w"] * share
    hashing_ths = np.where(hashing, rate, np.nan)
    hashrate_ratio = np.where(steady, ratio(rate, nominal_ths), np.nan)
    power_ratio = np.where(steady, ratio(power, nominal_w), np.nan)
    # A lost board moves a unit's level and would be taken for its shape.
    whole = ~(columns["boards_hashing"] < columns["boards_expected"])
    return dict(columns) | {
        "intake_temp_c": np.where(np.isnan(inlet), columns["ambient_temp_c"], inlet),
        "hashing_ths": hashing_ths,
        "steady_j_th": np.where(steady, ratio(power, hashing_ths), np.nan),
        # Least slack is the highest speed.
        "fan_slack_rpm": -columns["fan_rpm"],
        "hashrate_ratio": hashrate_ratio,
        "power_ratio": power_ratio,
        **_tilt_terms("hashrate", share, np.where(whole, hashrate_ratio, np.nan)),
        **_tilt_terms("power", share, np.where(whole, power_ratio, np.nan)),
        # What the unit draws for all that is known: as reported, else as its setting says.
        "draw_w": np.where(np.isnan(power), nominal_w, power),
    }


def _tilt_terms(side: str, share: Floats, level: Floats) -> dict[str, Floats]:
    known = np.isfinite(level)
    x = np.log(np.where(known, share, 1.0))
    terms = {"x": x, "xx": x * x, "y": level, "xy": x * level}
    return {f"{side}_tilt_{part}": np.where(known, values, np.nan) for part, values in terms.items()}


def nominal_hashrate_share(power_share: Floats) -> Floats:
    """Share of rated hashrate expected at a share of rated power, by the curve of `agent.hardware.shares`."""
    return np.asarray(np.interp(power_share, _CURVE_SHARES, CURVE_HASHRATES), dtype=np.float64)


def ratio(top: Floats, bottom: Floats) -> Floats:
    """`top / bottom`, NaN where `bottom` is not above zero."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        out: Floats = np.divide(top, bottom)
    out[~(bottom > 0.0)] = np.nan
    return out

"""Predicted curves of a fleet: from a model bundle, else from each hardware profile, always said which.

Loading bundles is `agent.models.bundle`; choosing between settings is `agent.planner`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from agent.drift.reference import FamilyReference
from agent.energy import KWH_PER_W_DAY
from agent.errors import BundleError
from agent.features.inputs import nominal_hashrate_share
from agent.fleet import Unit
from agent.hardware.family import hardware_family
from agent.hardware.profile import HardwareProfile
from agent.models.bundle import Bundle, plausible
from agent.models.trial import tried

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]

# Below this share of rated power a candidate is a stop: nothing hashes so low.
STOP_SHARE = 0.05
# Rows per run of a graph: bounds memory, and keeps what is worked on in the processor's cache.
_CHUNK_ROWS = 4096

# Half-widths of 80 % intervals without any telemetry of the unit: spread between units of one model, age,
# temperature and a sensor's error together (12 % and 5 % were seen on real units).
_PROFILE_HASHRATE_SPREAD = 0.08
_PROFILE_POWER_SPREAD = 0.12
_UNKNOWN_STANDBY_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class Economics:
    """Money over the hold, each a number or [N].

    Args:
        hashprice_usd_per_ths_day: before pool fee.
        price_usd_per_kwh: before PUE.
        pool_fee_share: 0.02 for a fee of 2 %.
        hold_h: hours that a setting is held, above 0.
    """

    hashprice_usd_per_ths_day: ArrayLike
    price_usd_per_kwh: ArrayLike
    pue: ArrayLike
    pool_fee_share: ArrayLike
    hold_h: ArrayLike

    def columns(self, count: int) -> tuple[Floats, Floats, Floats]:
        """Net hashprice, price with PUE, hold hours: each [count]."""
        ones = np.ones(count)
        hashprice = (
            np.asarray(self.hashprice_usd_per_ths_day) * (1.0 - np.asarray(self.pool_fee_share)) * ones
        )
        price = np.asarray(self.price_usd_per_kwh) * np.asarray(self.pue) * ones
        return hashprice, price, np.maximum(np.asarray(self.hold_h) * ones, 1e-3)


@dataclass(frozen=True, slots=True)
class Curves:
    """Predictions at every candidate: [N,K,3] for q10, q50, q90; NaN where there is no candidate."""

    hashrate_ths: Floats
    power_w: Floats
    chip_temp_c: Floats
    profit_usd_per_day: Floats

    @staticmethod
    def empty(count: int, width: int) -> Curves:
        """All NaN."""
        return Curves(*(np.full((count, width, 3), np.nan) for _ in range(4)))


class Predictor(Protocol):
    """What decisions ask. `label` says in words what stands behind the numbers."""

    @property
    def label(self) -> str:
        """For people, and stored with every recommendation."""
        ...

    @property
    def is_fallback(self) -> bool:
        """True where no trained model is in use at all, or the one in use failed at the last prediction."""
        ...

    @property
    def bundle_id(self) -> str | None:
        """Of the bundle in use, None without one."""
        ...

    @property
    def reference(self) -> Sequence[FamilyReference]:
        """What the models learned from, to watch drift by; empty where the bundle does not say."""
        ...

    def update_units(self, units: Sequence[Unit]) -> None:
        """Make `units` the fleet that rows of `predict` belong to."""
        ...

    def fallback_mask(self, units: Sequence[Unit]) -> tuple[bool, ...]:
        """Per unit, whether its curve comes from the profile for want of a model that covers it."""
        ...

    def predict(
        self, features: Floats32, shares: ArrayLike, lost_hashing_h: ArrayLike, economics: Economics
    ) -> Curves:
        """Curves of N units at K candidates.

        Args:
            features: [N,F] raw, NaN where missing.
            shares: [N,K] nominal share of rated power; NaN is no candidate, below 0.05 is a stop.
            lost_hashing_h: [N,K] hours of full hashing that changing to the candidate costs.
        """
        ...


class ProfilePredictor:
    """The conservative curve of each unit's hardware profile, with wide intervals: no model, no telemetry.

    Power is the share of rated; hashrate follows the profile curve (P ~ h^k, k about 1.3). Chip
    temperature is unknown. A unit without rated figures gets NaN.
    """

    is_fallback = True
    bundle_id = None
    reference: Sequence[FamilyReference] = ()

    def __init__(self, units: Sequence[Unit], reason: str = "no model bundle is configured") -> None:
        self.label = f"profile curves ({reason})"
        self.update_units(units)

    def update_units(self, units: Sequence[Unit]) -> None:
        """Make `units` the fleet that rows of `predict` belong to."""
        self._rated_ths = np.array([unit.rated_hashrate_ths for unit in units], dtype=np.float64)
        self._rated_w = np.array([unit.rated_power_w for unit in units], dtype=np.float64)
        self._standby_w = _standby_w(units)

    def fallback_mask(self, units: Sequence[Unit]) -> tuple[bool, ...]:
        """True for every unit."""
        return (True,) * len(units)

    def predict(
        self, features: Floats32, shares: ArrayLike, lost_hashing_h: ArrayLike, economics: Economics
    ) -> Curves:
        """See `Predictor.predict`; `features` are not looked at."""
        share, lost_h = _candidates(shares, lost_hashing_h, len(self._rated_w))
        curves = Curves.empty(*share.shape)
        row, _ = hashing = np.nonzero(share >= STOP_SHARE)
        at, lost = share[hashing], lost_h[hashing]
        rate = self._rated_ths[row] * nominal_hashrate_share(at)
        power = self._rated_w[row] * at
        hashprice, price, hold_h = (column[row] for column in economics.columns(len(share)))
        kept = hashprice * np.clip(1.0 - lost / hold_h, 0.0, 1.0)
        cost = price * KWH_PER_W_DAY
        revenue, energy = kept * rate, cost * power
        # Hashrate and power of one unit err largely together, so the worse of the two is what counts.
        spread = np.maximum(
            np.abs(revenue) * _PROFILE_HASHRATE_SPREAD, np.abs(energy) * _PROFILE_POWER_SPREAD
        )
        profit = revenue - energy
        curves.hashrate_ths[hashing] = _around(rate, _PROFILE_HASHRATE_SPREAD * rate)
        curves.power_w[hashing] = _around(power, _PROFILE_POWER_SPREAD * power)
        curves.profit_usd_per_day[hashing] = _around(profit, spread)
        _stops(curves, share, lost_h, economics, self._standby_w, self._rated_ths)
        return curves


class BundlePredictor:
    """Curves from a bundle's graphs, in one batch over all units and candidates.

    A unit gets its profile's curve instead if the bundle never learned from its hardware family, or if what
    the graphs say of it is no number a machine can have. If they do not run at all, every unit does.
    """

    def __init__(self, bundle: Bundle, units: Sequence[Unit]) -> None:
        self._bundle = bundle
        self.bundle_id: str | None = bundle.manifest.bundle_id
        self.reference: Sequence[FamilyReference] = tuple(bundle.manifest.reference)
        self._miner_ids: list[str] = []
        self._absurd = np.zeros(0, dtype=np.bool_)
        self._keys = {entry.key for entry in bundle.manifest.hardware}
        self._families = {entry.family for entry in bundle.manifest.hardware}
        self._profiles = ProfilePredictor(units)
        self._failure: str | None = None
        self.update_units(units)

    @property
    def is_fallback(self) -> bool:
        """True if the graphs did not run at the last prediction."""
        return self._failure is not None

    @property
    def label(self) -> str:
        """Bundle id and day, how many units fall back, how many are known by their family alone."""
        if self._failure is not None:
            return f"profile curves ({self._failure})"
        manifest = self._bundle.manifest
        words = [f"bundle {manifest.bundle_id} of {manifest.created_at:%Y-%m-%d}"]
        total = len(self._uncovered)
        if related := self._related:
            words.append(f"{related} of {total} units by a related model")
        if missing := int(self._uncovered.sum()):
            words.append(f"profile curves for {missing} of {total} units")
        if absurd := int(self._absurd.sum()):
            words.append(f"profile curves for {absurd} of {total} units with impossible predictions")
        return "; ".join(words)

    def update_units(self, units: Sequence[Unit]) -> None:
        """Make `units` the fleet that rows of `predict` belong to."""
        self._profiles.update_units(units)
        if [unit.miner_id for unit in units] != self._miner_ids:
            self._miner_ids = [unit.miner_id for unit in units]
            self._absurd = np.zeros(len(units), dtype=np.bool_)
        self._uncovered = np.array([not self._covers(unit.profile) for unit in units], dtype=np.bool_)
        exact = sum(unit.profile is not None and unit.profile.key in self._keys for unit in units)
        self._related = len(units) - exact - int(self._uncovered.sum())
        self._standby_w = _standby_w(units)
        self._rated_ths = np.array([unit.rated_hashrate_ths for unit in units], dtype=np.float64)

    def fallback_mask(self, units: Sequence[Unit]) -> tuple[bool, ...]:
        """Per unit, whether its curve is the profile's: see the class, and of the last prediction."""
        absurd = dict(zip(self._miner_ids, self._absurd.tolist(), strict=True))
        return tuple(
            self._failure is not None or not self._covers(unit.profile) or absurd.get(unit.miner_id, False)
            for unit in units
        )

    def _covers(self, profile: HardwareProfile | None) -> bool:
        if profile is None:
            return False
        return profile.key in self._keys or hardware_family(profile) in self._families

    def predict(
        self, features: Floats32, shares: ArrayLike, lost_hashing_h: ArrayLike, economics: Economics
    ) -> Curves:
        """See `Predictor.predict`."""
        share, lost_h = _candidates(shares, lost_hashing_h, len(self._uncovered))
        curves = Curves.empty(*share.shape)
        try:
            absurd = self._fill(curves, features, share, lost_h, economics)
        except BundleError as error:
            if self._failure is None:
                log.exception("the models do not run, profile curves stand in")
            self._failure = str(error)
            return self._profiles.predict(features, share, lost_h, economics)
        self._failure = None
        self._absurd = absurd
        rest = self._uncovered | absurd
        _stops(curves, share, lost_h, economics, self._standby_w, self._rated_ths)
        if rest.any():
            other = self._profiles.predict(features, share, lost_h, economics)
            curves.hashrate_ths[rest] = other.hashrate_ths[rest]
            curves.power_w[rest] = other.power_w[rest]
            curves.chip_temp_c[rest] = other.chip_temp_c[rest]
            curves.profit_usd_per_day[rest] = other.profit_usd_per_day[rest]
        return curves

    def _fill(
        self, curves: Curves, features: Floats32, share: Floats, lost_h: Floats, economics: Economics
    ) -> NDArray[np.bool_]:
        """Put in what the graphs say of every candidate that hashes; which units it is absurd for, [N].

        Raises:
            BundleError: the graphs do not run on these features.
        """
        absurd = np.zeros(len(share), dtype=np.bool_)
        row, column = np.nonzero((share >= STOP_SHARE) & ~self._uncovered[:, None])
        hashprice, price, hold_h = economics.columns(len(share))
        for start in range(0, len(row), _CHUNK_ROWS):
            i, k = row[start : start + _CHUNK_ROWS], column[start : start + _CHUNK_ROWS]
            inputs = np.ascontiguousarray(features[i], dtype=np.float32)
            at = share[i, k].astype(np.float32)[:, None]
            money = np.stack([hashprice[i], price[i], lost_h[i, k], hold_h[i]], axis=1).astype(np.float32)
            rate, power, temperature = self._bundle.run_power(inputs, at)
            profit = self._bundle.run_profit(inputs, at, money)
            curves.hashrate_ths[i, k] = rate
            curves.power_w[i, k] = power
            curves.chip_temp_c[i, k] = temperature
            curves.profit_usd_per_day[i, k] = profit
            good = plausible("hashrate_ths", rate) & plausible("power_w", power)
            # Without prices no profit is known, which is no fault of the model.
            priced = np.isfinite(money).all(axis=1)
            good &= plausible("chip_temp_c", temperature)
            good &= plausible("profit_usd_per_day", profit) | ~priced
            absurd[i[~good]] = True
        return absurd


def choose_predictor(path: Path | None, units: Sequence[Unit]) -> Predictor:
    """The bundle at `path` if it passes every check, else the profiles' curves with the reason in `label`."""
    if path is None:
        return ProfilePredictor(units)
    try:
        return BundlePredictor(tried(path), units)
    except BundleError as error:
        return ProfilePredictor(units, str(error))


def _candidates(shares: ArrayLike, lost_hashing_h: ArrayLike, count: int) -> tuple[Floats, Floats]:
    share = np.asarray(shares, dtype=np.float64)
    if share.ndim != 2 or len(share) != count:
        raise ValueError(f"shares has shape {share.shape}, expected ({count}, K)")
    return share, np.nan_to_num(np.broadcast_to(np.asarray(lost_hashing_h, dtype=np.float64), share.shape))


def _standby_w(units: Sequence[Unit]) -> Floats:
    """Draw while stopped, [N]: the profile's figure, else 2 % of rated."""

    def watts(unit: Unit) -> float:
        known = unit.profile.standby_power_w if unit.profile is not None else None
        return known.value if known is not None else _UNKNOWN_STANDBY_SHARE * unit.rated_power_w

    return np.array([watts(unit) for unit in units], dtype=np.float64)


def _around(middle: Floats, half: Floats) -> Floats:
    return np.stack([middle - half, middle, middle + half], axis=1)


def _stops(
    curves: Curves,
    share: Floats,
    lost_h: Floats,
    economics: Economics,
    standby_w: Floats,
    rated_ths: Floats,
) -> None:
    """Fill in candidates that stop hashing: no rate, standby power, no uncertainty worth a name.

    The hashing that a stop will lose on the way back is charged at the unit's full rate: the highest
    predicted among its candidates, else the rated one.
    """
    row, _ = stops = np.nonzero(share < STOP_SHARE)
    hashprice, price, hold_h = economics.columns(len(share))
    best = np.nan_to_num(curves.hashrate_ths[:, :, 1], nan=0.0).max(axis=1, initial=0.0)
    full_ths = np.where(best > 0.0, best, rated_ths)
    power = standby_w[row]
    lost = hashprice[row] * full_ths[row] * np.minimum(lost_h[stops] / hold_h[row], 1.0)
    known = np.isfinite(power)
    profit = -price[row] * KWH_PER_W_DAY * power - np.where(lost_h[stops] > 0.0, lost, 0.0)
    curves.hashrate_ths[stops] = np.where(known, 0.0, math.nan)[:, None]
    curves.power_w[stops] = power[:, None]
    curves.profit_usd_per_day[stops] = profit[:, None]

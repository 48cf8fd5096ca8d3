"""Watches one site for drift; reports what began and what ended, naming the feature and the miner group."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.drift import DRIFT_PREFIX
from agent.drift.population import FeatureDrift, PopulationDrift
from agent.drift.reference import FamilyReference
from agent.drift.residual import ResidualDrift, ResidualWatch
from agent.errors import DataError
from agent.features.inputs import HASHING_SHARE, STEADY_UPTIME_S
from agent.features.table import feature_names
from agent.fleet import FleetFrame
from agent.hardware.family import hardware_family
from agent.models.inference import Curves, Predictor

log = logging.getLogger(__name__)
Floats = NDArray[np.float64]

_STOP_SHARE = 0.05
_MOST_LINES = 64
_PREDICTED = "predicted-"


@dataclass(frozen=True, slots=True)
class DriftFinding:
    """A drift that began, or one that ended (`cleared`). `key` is the same for both."""

    key: str
    words: str
    cleared: bool


@dataclass(frozen=True, slots=True)
class DriftReport:
    """The last day as it stands: what differs, the worst first; empty before half a day was seen."""

    features: tuple[FeatureDrift, ...] = ()
    residuals: tuple[ResidualDrift, ...] = ()


class DriftWatch:
    """Drift of one site against the bundle in use; without one there is nothing to compare with.

    Args:
        count: miners of the site, in the order of every frame.
        saved: what `to_bytes` gave in an earlier run; of another bundle or damaged, counting starts anew.
        raised: texts of the alerts that are open from an earlier run, by key. They stand until there is
            enough to judge by again.
    """

    def __init__(
        self, count: int, saved: bytes | None = None, raised: Mapping[str, str] | None = None
    ) -> None:
        self.report = DriftReport()
        self._count = count
        self._saved = saved
        self._use(None, ())
        self._standing = {k: text for k, text in (raised or {}).items() if k.startswith(DRIFT_PREFIX)}

    def _use(self, bundle_id: str | None, reference: Sequence[FamilyReference]) -> None:
        self._bundle_id = bundle_id
        self._population = PopulationDrift(reference, feature_names())
        self._residuals = ResidualWatch(self._count)
        self.report = DriftReport()
        if bundle_id is None:
            return
        if self._saved is not None and self._saved.startswith(_head(bundle_id)):
            try:
                self._population.restore(self._saved[len(_head(bundle_id)) :])
            except DataError as error:
                log.warning("%s; drift is watched anew", error)
        self._saved = None

    def look(
        self, predictor: Predictor, frame: FleetFrame, features: NDArray[np.float32], curves: Curves
    ) -> list[DriftFinding]:
        """Take in one cycle; what changed, at most twice an hour.

        Args:
            predictor: in use, with its reference.
            features: [N,F] of the table.
            curves: predicted at the setting in force, [N,1,3].
        """
        if predictor.bundle_id != self._bundle_id:
            # The first bundle of a run goes on from what was saved of it, any other begins anew.
            goes_on = self._saved is not None and self._saved.startswith(_head(predictor.bundle_id))
            self._use(predictor.bundle_id, predictor.reference)
            if not goes_on:
                return self._changes(anew=True)
        if self._bundle_id is None:
            return self._changes(anew=True)
        columns = frame.columns
        places = {name: g for g, name in enumerate(self._population.families)}
        family = np.array(
            [-1 if u.profile is None else places.get(hardware_family(u.profile), -1) for u in frame.units],
            dtype=np.int64,
        )
        share, rate = columns["setting_share"], columns["hashrate_ths"]
        hashing = rate > HASHING_SHARE * np.nan_to_num(columns["rated_hashrate_ths"])
        hashing &= columns["is_hashing"] != 0.0
        # The models learned from units that hash or were told to stop, not from broken ones.
        counted = np.where(frame.fresh & (hashing | (share < _STOP_SHARE)), family, -1)
        at_s = frame.at.timestamp()
        ids = tuple(unit.miner_id for unit in frame.units)
        taken = self._population.add(at_s, counted, features)
        steady = frame.fresh & hashing & (share >= _STOP_SHARE) & ~(columns["uptime_s"] < STEADY_UPTIME_S)
        measured = np.where(steady, np.stack([rate, columns["power_w"]]), np.nan)
        taken |= self._residuals.add(
            at_s, measured, np.stack([curves.hashrate_ths[:, 0], curves.power_w[:, 0]])
        )
        if not taken:
            return []
        self.report = DriftReport(
            tuple(d for d in self._population.look() if d.differs)[:_MOST_LINES],
            tuple(d for d in self._residuals.look(family, self._population.families, ids) if d.differs),
        )
        return self._changes()

    def to_bytes(self) -> bytes:
        """The counts of the last day, for the store."""
        return _head(self._bundle_id) + self._population.to_bytes()

    def _changes(self, *, anew: bool = False) -> list[DriftFinding]:
        now = {_key(d.family, d.feature): feature_words(d) for d in self.report.features}
        now |= {_key(d.family, f"{_PREDICTED}{d.quantity}"): residual_words(d) for d in self.report.residuals}
        begun = [DriftFinding(key, words, False) for key, words in now.items() if key not in self._standing]
        ended = [
            DriftFinding(key, f"no longer: {words}", True)
            for key, words in self._standing.items()
            if key not in now and (anew or self._judges(key))
        ]
        over = {finding.key for finding in ended}
        self._standing = {k: words for k, words in self._standing.items() if k not in over} | now
        return begun + ended

    def _judges(self, key: str) -> bool:
        """True if enough was seen to say that what `key` names is over."""
        is_residual = key.rpartition(":")[2].startswith(_PREDICTED)
        return self._residuals.is_ready if is_residual else self._population.is_ready


def _head(bundle_id: str | None) -> bytes:
    return f"{bundle_id}\n".encode()


def _key(family: str, what: str) -> str:
    return f"{DRIFT_PREFIX}{family.replace('/', '.')}:{what}"


def feature_words(drift: FeatureDrift) -> str:
    """For the alert and for the dashboard."""
    return (
        f"{drift.family}: {drift.feature} of {drift.units} units differs from what the models learned from "
        f"(stability index {drift.index:.2f}, limit {drift.limit:.2f}); train with recent telemetry"
    )


def residual_words(drift: ResidualDrift) -> str:
    """For the alert and for the dashboard."""
    worst = ", ".join(f"{miner} {bias:+.1%}" for miner, bias in drift.worst)
    return (
        f"{drift.family}: {drift.quantity} of {drift.units} units is {drift.bias:+.1%} off the prediction, "
        f"{drift.coverage:.0%} inside the 80 % interval (furthest off: {worst}); train with recent telemetry"
    )

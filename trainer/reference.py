"""What the features looked like in training, by hardware family, for the agent to watch drift by."""

from __future__ import annotations

import numpy as np

from agent.drift.reference import FamilyReference, FeatureReference
from agent.hardware.catalogue import Catalogue
from agent.hardware.family import hardware_family
from trainer.dataset import Dataset
from trainer.graph import Floats

# Of a unit's condition and surroundings. Prices and the time of day drift by nature and are no concern of
# the curves; rated figures never drift.
WATCHED = (
    "setting_share",
    "hashrate_ratio_6h",
    "hashrate_ratio_24h",
    "hashrate_ratio_7d",
    "power_ratio_6h",
    "power_ratio_24h",
    "power_ratio_7d",
    "efficiency_drift",
    "intake_temp_c",
    "intake_temp_mean_24h",
    "chip_temp_c",
    "chip_rise_c",
    "temp_stability_24h",
    "fan_rpm",
    "boards_share",
    "hashing_share_24h",
    "reject_rate_24h",
    "hw_error_rate_24h",
    "restarts_24h",
)
_BINS = 10


def reference(dataset: Dataset) -> list[FamilyReference]:
    """The watched features of every hardware family of the training rows, by tenths of the rows."""
    profiles = Catalogue.load().profiles
    families = [hardware_family(profiles[name]) if name in profiles else None for name in dataset.models]
    found = []
    for family in sorted({name for name in families if name is not None}):
        own = np.isin(dataset.model, [i for i, name in enumerate(families) if name == family])
        if not own.any():
            continue
        found.append(
            FamilyReference(
                family=family,
                units=len(np.unique(dataset.unit[own])),
                features={
                    name: _distribution(dataset.column(name)[own].astype(np.float64)) for name in WATCHED
                },
            )
        )
    return found


def _distribution(values: Floats) -> FeatureReference:
    known = values[np.isfinite(values)]
    edges = np.zeros(0)
    if len(known):
        edges = np.unique(np.quantile(known, np.arange(1, _BINS) / _BINS).astype(np.float32)).astype(
            np.float64
        )
        # A bound at the least value would leave the bin below it empty for ever.
        edges = edges[edges > known.min()]
    counts = np.bincount(np.searchsorted(edges, known, side="right"), minlength=len(edges) + 1)
    shares = np.append(counts, len(values) - len(known)) / len(values)
    return FeatureReference(edges=edges.tolist(), shares=np.round(shares, 6).tolist())

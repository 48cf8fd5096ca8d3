"""Choosing the family of curves: by regret in time-series cross-validation, then error, then size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import DataError
from trainer.dataset import Dataset
from trainer.families import Family
from trainer.power_model import fit_curves
from trainer.scoring import Score, score

# Share of the time span at which each fold's training ends and its test begins.
CUTS = (0.5, 0.67, 0.84)
_LEAST_TEST_ROWS = 50
# Which family is best shows on fewer rows than the last bit of its error.
_CHOOSING_ROWS = 24_000
# Errors this close, relatively, are one and the same; then the smaller model wins.
_SAME_ERROR = 0.02


@dataclass(frozen=True, slots=True)
class Tried:
    """What cross-validation showed of one family: a score per fold."""

    family: Family
    scores: tuple[Score, ...]
    size: int

    def mean(self, name: str) -> float:
        """Mean of a score over the folds that can tell; NaN where none can."""
        values = np.array([getattr(s, name) for s in self.scores], dtype=np.float64)
        return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")

    def spread(self, name: str) -> float:
        """Standard error of that mean."""
        values = np.array([getattr(s, name) for s in self.scores], dtype=np.float64)
        values = values[np.isfinite(values)]
        return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0

    @property
    def error(self) -> float:
        """Mean of the errors over the folds."""
        return float(np.mean([s.error for s in self.scores]))

    def to_dict(self) -> dict[str, Any]:
        """For metrics."""
        names = ("regret", "slope_error", "hashrate_error", "power_error", "hashrate_bias", "power_bias")
        return {
            "family": self.family.name,
            "parameters": self.family.parameters(),
            "size": self.size,
            **{name: finite(self.mean(name)) for name in names},
            "regret_standard_error": finite(self.spread("regret")),
            "folds": [{name: finite(getattr(s, name)) for name in names} for s in self.scores],
        }


def cross_validate(
    families: Sequence[Family],
    dataset: Dataset,
    seed: int,
    progress: Callable[[float], None] = lambda done: None,
) -> list[Tried]:
    """Score every family on the same folds: later time, units that were held out.

    Raises:
        DataError: too few rows or units for a single fold.
    """
    folds = list(time_and_unit_folds(dataset, seed))
    if not folds:
        raise DataError(
            f"{len(dataset)} rows of {len(np.unique(dataset.unit))} units are too few to judge a model by; "
            "give more days or more miners"
        )
    found = []
    for number, family in enumerate(families):
        scores: list[Score] = []
        size = 0
        for place, (train, test) in enumerate(folds):
            progress((number * len(folds) + place) / (len(families) * len(folds)))
            curves = fit_curves(family, dataset.rows(train), seed, _CHOOSING_ROWS)
            scores.append(score(curves, dataset.rows(test)))
            size = curves.size()
        found.append(Tried(family, tuple(scores), size))
    progress(1.0)
    return found


def choose(tried: Sequence[Tried]) -> Tried:
    """The family to use.

    Those whose regret lies within one standard error of the least stay; of these, those whose error is
    within 2 % of the least; of these, the smallest.
    """
    regrets = [t.mean("regret") for t in tried]
    rest = list(tried)
    if np.isfinite(regrets).any():
        best = tried[int(np.nanargmin(regrets))]
        limit = best.mean("regret") + best.spread("regret")
        rest = [t for t, regret in zip(tried, regrets, strict=True) if regret <= limit]
    errors = [t.error for t in rest]
    least = min(errors)
    rest = [t for t, error in zip(rest, errors, strict=True) if error <= (1.0 + _SAME_ERROR) * least]
    return min(rest, key=lambda t: t.size)


Mask = NDArray[np.bool_]


def time_and_unit_folds(dataset: Dataset, seed: int) -> Iterator[tuple[Mask, Mask]]:
    """Training and test masks: tests are later than training, and of other units.

    A training row whose window reaches into the time of test is in neither.
    """
    group = unit_groups(dataset, len(CUTS), seed)
    start, end = float(dataset.at_s.min()), float(dataset.at_s.max())
    cuts = [start + cut * (end - start) for cut in CUTS]
    for fold, cut in enumerate(cuts):
        until = cuts[fold + 1] if fold + 1 < len(cuts) else np.inf
        train = (dataset.end_s <= cut) & (group != fold)
        test = (dataset.at_s > cut) & (dataset.at_s <= until) & (group == fold)
        if test.sum() >= _LEAST_TEST_ROWS and train.sum() >= _LEAST_TEST_ROWS:
            yield train, test


def unit_groups(dataset: Dataset, count: int, seed: int) -> NDArray[np.int64]:
    """[D] group of each row, 0 to `count` - 1: units of each hardware model dealt out evenly."""
    rng = np.random.default_rng(seed)
    group_of = np.zeros(len(dataset.units), dtype=np.int64)
    dealt = 0
    for model in range(len(dataset.models)):
        units = rng.permutation(np.unique(dataset.unit[dataset.model == model]))
        group_of[units] = (np.arange(len(units)) + dealt) % count
        dealt += len(units)
    return group_of[dataset.unit]


def finite(value: float) -> float | None:
    """For JSON: rounded to six significant digits, None for NaN."""
    return float(f"{value:.6g}") if np.isfinite(value) else None

"""Hyper-parameters by search over each kind of family, on rows that no report is made of.

Trials can be kept in an SQLite file, so that a search that was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from sqlalchemy.exc import SQLAlchemyError

from agent.errors import DataError
from agent.features.table import feature_hash
from trainer.dataset import Dataset
from trainer.families import FAMILIES, Family, Kind
from trainer.selection import CUTS, cross_validate
from trainer.shape import Basis

log = logging.getLogger(__name__)

KINDS: tuple[Kind, ...] = ("ridge", "network", "trees")
# Regret decides; of two that decide alike the one with the smaller error is preferred.
_ERROR_WEIGHT = 0.1
_KNOTS: dict[str, tuple[float, ...]] = {
    "none": (),
    "one": (0.75,),
    "three": (0.6, 0.75, 0.9),
    "five": (0.5, 0.6, 0.7, 0.8, 0.95),
}


@dataclass(frozen=True, slots=True)
class Search:
    """How long to search and where to keep what was tried.

    Args:
        trials: of each kind of family, those of earlier runs included.
        seconds: in all; the trial under way is finished.
        storage: SQLite file; None keeps nothing.
    """

    trials: int
    seconds: float
    storage: Path | None = None


def tune(
    dataset: Dataset,
    search: Search,
    seed: int,
    now_s: Callable[[], float],
    progress: Callable[[float], None] = lambda done: None,
    kinds: Sequence[Kind] = KINDS,
) -> list[Family]:
    """The best family of each of `kinds`, named `ridge-tuned` and so on.

    Only rows before the first test of the cross-validation are used, so what it reports is not tuned on.

    Args:
        now_s: a clock that only goes forward.

    Raises:
        DataError: the storage cannot be used, or the rows before the first test are too few.
    """
    start, end = float(dataset.at_s.min()), float(dataset.at_s.max())
    early = dataset.rows(dataset.end_s <= start + CUTS[0] * (end - start))
    begun = now_s()
    found: list[Family] = []
    for place, kind in enumerate(kinds):
        study = _study(search.storage, f"{kind} {_fingerprint(early, seed)}")
        # Drawn anew after a resume, or the first trials would be tried twice.
        study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.get_trials(deepcopy=False)))
        try:
            while (done := len(_finished(study))) < search.trials:
                progress((place + done / search.trials) / len(kinds))
                # Every kind gets its part of the time, and one trial at least.
                if done and now_s() - begun > search.seconds * (place + 1) / len(kinds):
                    log.warning("%s: the time for the search is over after %d trials", kind, done)
                    break
                trial = study.ask()
                study.tell(trial, _regret(_drawn(kind, trial), early, seed))
        except SQLAlchemyError as error:
            raise DataError(f"{search.storage}: the search cannot be stored: {error}") from error
        best = _finished(study)
        if best:
            winner = min(best, key=lambda trial: trial.value if trial.value is not None else math.inf)
            found.append(replace(_drawn(kind, optuna.trial.FixedTrial(winner.params)), name=f"{kind}-tuned"))
    progress(1.0)
    return found


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))


def _study(storage: Path | None, name: str) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(
            study_name=name,
            storage=f"sqlite:///{storage.absolute()}" if storage is not None else None,
            load_if_exists=True,
        )
    except (SQLAlchemyError, OSError) as error:
        raise DataError(
            f"{storage}: cannot store a search ({error}); name another file with --tune-storage"
        ) from error


def _fingerprint(dataset: Dataset, seed: int) -> str:
    """Trials count again only for the same rows, the same feature table and the same seed."""
    digest = hashlib.sha256(feature_hash().encode())
    digest.update(json.dumps([seed, len(dataset), dataset.models]).encode())
    for column in (dataset.at_s, dataset.share, np.nan_to_num(dataset.hashrate_ths)):
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()[:16]


def _regret(family: Family, dataset: Dataset, seed: int) -> float:
    tried = cross_validate([family], dataset, seed)[0]
    regret = tried.mean("regret")
    return float((0.0 if math.isnan(regret) else regret) + _ERROR_WEIGHT * tried.error)


def _drawn(kind: Kind, trial: Any) -> Family:
    """The family that a trial's numbers make."""
    if kind == "ridge":
        knots = _KNOTS[trial.suggest_categorical("knots", list(_KNOTS))]
        basis = Basis(trial.suggest_int("degree", 1, 3), knots)
        return Family("ridge", "ridge", basis, trial.suggest_float("penalty", 1e-6, 1e-1, log=True))
    if kind == "network":
        options: dict[str, Any] = {
            "hidden": trial.suggest_int("hidden", 4, 24),
            "alpha": trial.suggest_float("alpha", 1e-5, 1e-1, log=True),
            "learning_rate": trial.suggest_float("learning_rate", 5e-4, 2e-2, log=True),
        }
        return Family("network", "network", options=tuple(options.items()))
    shipped = next(family for family in FAMILIES if family.kind == "trees")
    options = dict(shipped.options) | {
        "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.3, log=True),
        "num_leaves": trial.suggest_int("num_leaves", 4, 48, log=True),
        "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 10, 200, log=True),
        "lambda_l2": trial.suggest_float("lambda_l2", 1e-2, 30.0, log=True),
        "most_columns": trial.suggest_int("most_columns", 6, 40, log=True),
    }
    return Family("trees", "trees", options=tuple(options.items()))

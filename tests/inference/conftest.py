"""A bundle made in a moment, written by the trainer's own exporter, and a fresh copy of it per test."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.synthetic import MODELS, fleet, market, prices
from trainer.dataset import build_dataset
from trainer.families import FAMILIES
from trainer.learn import export, learn

CREATED = datetime(2026, 2, 1, tzinfo=UTC)
COVERED = MODELS[:2]


@pytest.fixture(scope="session")
def made_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    telemetry, _ = fleet(days=10, units_per_model=8, models=COVERED, step_s=900.0)
    dataset = build_dataset(telemetry, market(), prices(), np.random.default_rng(1))
    found = learn(dataset, 1, lambda step, done: None, [f for f in FAMILIES if f.name == "linear-ridge"])
    out = tmp_path_factory.mktemp("small") / "bundle"
    export(found, dataset, out, 1, CREATED, lambda step, done: None)
    return out


@pytest.fixture
def folder(made_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_bundle, tmp_path / "bundle"))

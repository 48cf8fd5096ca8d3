"""One small training, shared by every test of the trainer that needs a fitted model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.models.bundle import MANIFEST, Bundle, bundle_id
from tests.trainer.synthetic import MODELS, fleet, market, prices
from trainer.dataset import Dataset, build_dataset
from trainer.learn import Learned, export, learn

Make = Callable[..., Path]
CREATED = datetime(2026, 2, 1, tzinfo=UTC)


def silent(step: str, done: float) -> None:
    """Progress that nobody looks at."""


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    telemetry, _ = fleet(days=8, units_per_model=5, models=MODELS[:3])
    return build_dataset(telemetry, market(), prices(), np.random.default_rng(1))


@pytest.fixture(scope="session")
def learned(dataset: Dataset) -> Learned:
    return learn(dataset, 1, silent)


@pytest.fixture(scope="session")
def bundle(learned: Learned, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("models") / "bundle"
    return export(learned, dataset, Path(out), 1, CREATED, silent)


@pytest.fixture
def make(bundle: Bundle, tmp_path: Path) -> Make:
    """Bundles that differ in seed and metrics, so that each has an id of its own."""

    def made(seed: int, **metrics: Any) -> Path:
        folder = tmp_path / f"made-{seed}"
        shutil.copytree(bundle.path, folder)
        tree = json.loads((folder / MANIFEST).read_text())
        tree["training"]["seed"] = seed
        tree["metrics"] |= metrics
        tree["bundle_id"] = bundle_id(tree)
        (folder / MANIFEST).write_text(json.dumps(tree))
        return folder

    return made

"""Which predictor a site decides with, from cycle to cycle, and what people are told of it."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from agent.alerts import Alerts
from agent.fleet import Unit
from agent.models.bundle import POWER
from agent.models.in_use import ModelInUse
from agent.models.inference import Predictor, choose_predictor
from agent.store import Store, open_store
from tests.inference.conftest import COVERED
from tests.inference.test_predictors import MONEY, features, unit
from tests.inference.test_trial import FIRST, breaks_when_hot, with_extra

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
UNKNOWN, KNOWN = [unit(None)], [unit(COVERED[0])]
SHARES = np.array([[0.6, 1.0]])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened, _ = open_store(tmp_path / "agent.sqlite3", "farm", NOW)
    yield opened
    opened.close()


def in_use(path: Path | None, store: Store) -> ModelInUse:
    return ModelInUse(path, Alerts("farm", store))


def told(store: Store) -> dict[str, str]:
    return Alerts("farm", store).standing()


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Path | None]:
    """Every time that a bundle is loaded."""
    found: list[Path | None] = []

    def counted(path: Path | None, units: Sequence[Unit]) -> Predictor:
        found.append(path)
        return choose_predictor(path, units)

    monkeypatch.setattr("agent.models.in_use.choose_predictor", counted)
    return found


async def test_while_a_bundle_is_tried_the_loop_goes_on(
    folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, turned = asyncio.get_running_loop(), threading.Event()
    answers: list[bool] = []

    def waiting(path: Path | None, units: Sequence[Unit]) -> Predictor:
        loop.call_soon_threadsafe(turned.set)
        answers.append(turned.wait(20.0))
        return choose_predictor(path, units)

    monkeypatch.setattr("agent.models.in_use.choose_predictor", waiting)
    predictor = await in_use(folder, store).choose(KNOWN, NOW)
    assert answers == [True]
    assert predictor.bundle_id is not None


async def test_a_bundle_is_loaded_once_however_the_hardware_becomes_known(
    folder: Path, store: Store, loads: list[Path | None]
) -> None:
    models = in_use(folder, store)
    first = await models.choose(UNKNOWN, NOW)
    assert first.fallback_mask(UNKNOWN) == (True,) and "1 of 1 units" in first.label
    # What a miner is comes with its first reading.
    second = await models.choose(KNOWN, NOW)
    assert second.fallback_mask(KNOWN) == (False,) and "units" not in second.label
    assert loads == [folder]


async def test_another_bundle_in_its_place_is_loaded(
    folder: Path, store: Store, loads: list[Path | None]
) -> None:
    models = in_use(folder, store)
    first = await models.choose(KNOWN, NOW)
    with_extra(folder, breaks_when_hot)
    second = await models.choose(KNOWN, NOW)
    assert loads == [folder, folder]
    assert second.bundle_id not in (None, first.bundle_id)
    assert told(store) == {}


async def test_a_bundle_that_went_bad_is_refused_once_and_the_old_one_serves_on(
    folder: Path, store: Store, loads: list[Path | None]
) -> None:
    models = in_use(folder, store)
    first = await models.choose(UNKNOWN, NOW)
    shutil.rmtree(folder)
    assert await models.choose(KNOWN, NOW) is first
    assert first.bundle_id is not None and "units" not in first.label
    assert "new bundle refused, the old one stays" in told(store)["model-bundle"]
    assert await models.choose(UNKNOWN, NOW) is first
    assert loads == [folder, folder]
    assert "model-bundle" in told(store)


async def test_a_bundle_refused_at_the_start_is_tried_again_when_hardware_becomes_known(
    folder: Path, store: Store, loads: list[Path | None]
) -> None:
    good = (folder / POWER).read_bytes()
    (folder / POWER).write_bytes(b"")
    models = in_use(folder, store)
    assert (await models.choose(UNKNOWN, NOW)).bundle_id is None
    assert "profile curves" in told(store)["model-bundle"]
    (folder / POWER).write_bytes(good)
    assert (await models.choose(KNOWN, NOW)).bundle_id is not None
    assert told(store) == {}


async def test_people_are_told_when_models_stop_running_and_when_they_run_again(
    folder: Path, store: Store
) -> None:
    with_extra(folder, breaks_when_hot)
    models = in_use(folder, store)
    usual, hot = features(KNOWN), features(KNOWN)
    hot[:, FIRST] = 4500.0
    predictor = await models.choose(KNOWN, NOW)
    for rows, standing in ((usual, []), (hot, ["model-bundle"]), (usual, [])):
        predictor.predict(rows, SHARES, 0.0, MONEY)
        predictor = await models.choose(KNOWN, NOW)
        assert list(told(store)) == standing

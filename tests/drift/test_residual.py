"""Residual drift: predictions against what telemetry shows, by family and quantity."""

from __future__ import annotations

import numpy as np
import pytest

from agent.drift.population import LEAST_SLOTS, SLOT_S, SLOTS
from agent.drift.residual import ResidualDrift, ResidualWatch

IDS = tuple(f"m{i}" for i in range(10))
FAMILY = np.zeros(len(IDS), dtype=np.int64)


def predicted(half: float = 0.05) -> np.ndarray:
    middle = np.stack([np.full(len(IDS), 100.0), np.full(len(IDS), 3000.0)])
    return np.stack([middle * (1 - half), middle, middle * (1 + half)], axis=2)


def fill(watch: ResidualWatch, slots: int, factor: np.ndarray | float = 1.0, half: float = 0.05) -> None:
    for slot in range(slots):
        watch.add(slot * SLOT_S, predicted(half)[:, :, 1] * factor, predicted(half))


def look(watch: ResidualWatch) -> dict[str, ResidualDrift]:
    return {d.quantity: d for d in watch.look(FAMILY, ["one"], IDS)}


def test_predictions_that_hold_are_no_drift() -> None:
    watch = ResidualWatch(len(IDS))
    fill(watch, SLOTS)
    found = look(watch)
    assert found["hashrate"].bias == pytest.approx(0.0, abs=1e-6)
    assert found["power"].coverage == 1.0
    assert not any(d.differs for d in found.values())


def test_power_above_the_prediction_is_named_with_the_units_furthest_off() -> None:
    factor = np.ones((2, len(IDS)))
    factor[1] = 1.04
    factor[1, 7] = 1.10
    watch = ResidualWatch(len(IDS))
    fill(watch, SLOTS, factor)
    found = look(watch)
    assert not found["hashrate"].differs
    assert found["power"].differs
    assert found["power"].bias == pytest.approx(0.04, abs=1e-4)
    assert found["power"].worst[0] == ("m7", pytest.approx(0.10, abs=1e-4))


def test_an_interval_that_holds_too_little_is_drift_without_a_bias() -> None:
    factor = np.ones((2, len(IDS)))
    factor[:, ::2], factor[:, 1::2] = 1.02, 0.98
    watch = ResidualWatch(len(IDS))
    fill(watch, SLOTS, factor, half=0.01)
    found = look(watch)["hashrate"]
    assert abs(found.bias) < 0.03
    assert found.coverage == 0.0
    assert found.differs


def test_nothing_is_said_before_half_a_day_of_readings() -> None:
    watch = ResidualWatch(len(IDS))
    fill(watch, LEAST_SLOTS - 1, 2.0)
    assert look(watch) == {}


def test_a_quantity_that_nobody_measures_is_not_judged() -> None:
    factor = np.ones((2, len(IDS)))
    factor[1] = np.nan
    watch = ResidualWatch(len(IDS))
    fill(watch, SLOTS, factor)
    assert set(look(watch)) == {"hashrate"}


def test_units_of_other_families_do_not_count() -> None:
    watch = ResidualWatch(len(IDS))
    factor = np.ones((2, len(IDS)))
    factor[:, 5:] = 1.2
    fill(watch, SLOTS, factor)
    family = np.array([0] * 5 + [-1] * 5)
    assert not any(d.differs for d in watch.look(family, ["one"], IDS))

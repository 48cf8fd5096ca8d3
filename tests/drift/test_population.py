"""Population drift: which features differ from training, and what is only chance."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from agent.drift.population import LEAST_SLOTS, SLOT_S, SLOTS, PopulationDrift
from agent.drift.reference import FamilyReference, FeatureReference
from agent.errors import DataError

FAMILY = "antminer-s19/air"
NAMES = ("other", "intake_temp_c", "chip_rise_c")
TENTHS = FeatureReference(edges=[float(edge) for edge in range(10, 100, 10)], shares=[0.1] * 10 + [0.0])


def watch(units: int = 500, **features: FeatureReference) -> PopulationDrift:
    told = features or {"intake_temp_c": TENTHS, "chip_rise_c": TENTHS}
    return PopulationDrift([FamilyReference(family=FAMILY, units=units, features=told)], NAMES)


def fleet(rng: np.random.Generator, units: int, low: float = 0.0, high: float = 100.0) -> np.ndarray:
    table = rng.uniform(0.0, 100.0, (units, len(NAMES))).astype(np.float32)
    table[:, 1] = rng.uniform(low, high, units)
    return table


def fill(drift: PopulationDrift, slots: int, units: int, first: int = 0, **span: float) -> None:
    rng = np.random.default_rng(1)
    family = np.zeros(units, dtype=np.int64)
    for slot in range(first, first + slots):
        drift.add(slot * SLOT_S + 60.0, family, fleet(rng, units, **span))


def test_a_fleet_like_the_training_shows_none() -> None:
    drift = watch()
    fill(drift, SLOTS, 100)
    found = drift.look()
    assert {d.feature for d in found} == {"intake_temp_c", "chip_rise_c"}
    assert max(d.index for d in found) < 0.05
    assert not any(d.differs for d in found)


def test_the_feature_that_moved_is_the_one_named() -> None:
    drift = watch()
    fill(drift, SLOTS, 100, low=50.0)
    worst, other = drift.look()
    assert worst.feature == "intake_temp_c"
    assert worst.differs
    assert worst.index > 1.0
    assert worst.units == 100
    assert not other.differs


def test_two_units_differ_by_chance_from_five_hundred() -> None:
    rng = np.random.default_rng(3)
    drift = watch()
    table = fleet(rng, 2)
    for slot in range(SLOTS):
        # the same two units all day: each stays in its own bin
        drift.add(slot * SLOT_S, np.zeros(2, dtype=np.int64), table)
    worst = drift.look()[0]
    assert worst.index > 1.0
    assert not worst.differs


def test_values_that_went_missing_are_drift() -> None:
    drift = watch()
    table = fleet(np.random.default_rng(1), 200)
    table[:, 1] = np.nan
    for slot in range(SLOTS):
        drift.add(slot * SLOT_S, np.zeros(200, dtype=np.int64), table)
    assert [d.feature for d in drift.look() if d.differs] == ["intake_temp_c"]


def test_nothing_is_said_before_half_a_day() -> None:
    drift = watch()
    fill(drift, LEAST_SLOTS - 1, 100, low=90.0)
    assert drift.look() == []


def test_one_fleet_counts_once_in_a_half_hour() -> None:
    drift = watch()
    table = fleet(np.random.default_rng(1), 10)
    assert drift.add(100.0, np.zeros(10, dtype=np.int64), table)
    assert not drift.add(200.0, np.zeros(10, dtype=np.int64), table)


def test_what_is_older_than_a_day_is_forgotten() -> None:
    drift = watch()
    fill(drift, SLOTS, 100, low=90.0)
    fill(drift, SLOTS, 100, first=SLOTS)
    assert not any(d.differs for d in drift.look())


def test_a_gap_longer_than_a_day_leaves_nothing_of_before() -> None:
    drift = watch()
    fill(drift, SLOTS, 100, low=90.0)
    fill(drift, 1, 100, first=10 * SLOTS)
    assert drift.look() == []


def test_after_a_clock_was_set_back_the_future_is_forgotten() -> None:
    drift = watch()
    fill(drift, SLOTS, 100, first=1000, low=90.0)
    fill(drift, LEAST_SLOTS, 100, first=100)
    assert not any(d.differs for d in drift.look())


def test_units_that_are_not_counted_leave_no_trace() -> None:
    drift = watch()
    for slot in range(SLOTS):
        drift.add(slot * SLOT_S, np.full(5, -1, dtype=np.int64), fleet(np.random.default_rng(1), 5))
    assert drift.look() == []


def test_a_feature_that_the_table_no_longer_has_is_left_out() -> None:
    assert watch(gone=TENTHS, chip_rise_c=TENTHS).features == ("chip_rise_c",)


def test_counts_survive_a_restart() -> None:
    drift = watch()
    fill(drift, SLOTS, 100, low=50.0)
    again = watch()
    again.restore(drift.to_bytes())
    assert again.look() == drift.look()


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 cut off", b"no archive at all"])
def test_damaged_counts_are_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        watch().restore(data)


def test_counts_of_another_reference_are_refused() -> None:
    other = watch(intake_temp_c=TENTHS)
    with pytest.raises(DataError, match="another bundle"):
        watch().restore(other.to_bytes())


@pytest.mark.parametrize(
    ("edges", "shares"),
    [([1.0, 1.0], [0.25] * 4), ([2.0, 1.0], [0.25] * 4), ([1.0], [0.5, 0.5]), ([1.0], [0.5, 0.5, 0.5])],
)
def test_a_reference_that_is_no_distribution_is_refused(edges: list[float], shares: list[float]) -> None:
    with pytest.raises(ValidationError):
        FeatureReference(edges=edges, shares=shares)

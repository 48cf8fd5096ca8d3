"""Drift of a site: what begins and ends is said once, against the bundle in use."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from agent.drift.population import SLOT_S, SLOTS
from agent.drift.reference import FamilyReference, FeatureReference
from agent.drift.watch import DriftFinding, DriftWatch
from agent.features.table import feature_names
from agent.fleet import FleetFrame, Unit
from agent.hardware.catalogue import Catalogue
from agent.hardware.family import hardware_family
from agent.models.inference import Curves, ProfilePredictor
from agent.telemetry import TELEMETRY_COLUMNS

START = datetime(2026, 1, 5, tzinfo=UTC)
COUNT = 200
PROFILE = Catalogue.load().profiles["antminer-s19-pro"]
UNITS = tuple(
    Unit(f"m{i}", f"10.0.0.{i}", None, PROFILE, "stock", PROFILE.rated_hashrate_ths.value, 3250.0)
    for i in range(COUNT)
)
INTAKE = feature_names().index("intake_temp_c")


class Model(ProfilePredictor):
    """The profile's curves under the name of a bundle that learned at 0 to 40 C."""

    def __init__(self, bundle_id: str) -> None:
        super().__init__(UNITS)
        self.bundle_id = bundle_id  # type: ignore[assignment]
        told = FeatureReference(edges=[10.0, 20.0, 30.0], shares=[0.25] * 4 + [0.0])
        self.reference: Sequence[FamilyReference] = (
            FamilyReference(family=hardware_family(PROFILE), units=500, features={"intake_temp_c": told}),
        )


def day(
    watch: DriftWatch,
    model: ProfilePredictor,
    first: int,
    *,
    intake_c: tuple[float, float],
    power: float = 1.0,
    slots: int = SLOTS,
) -> list[DriftFinding]:
    rng = np.random.default_rng(first)
    found = []
    for slot in range(first, first + slots):
        columns = {column.name: np.full(COUNT, np.nan) for column in TELEMETRY_COLUMNS}
        columns |= {
            "hashrate_ths": np.full(COUNT, 110.0),
            "power_w": np.full(COUNT, 3250.0 * power),
            "setting_share": np.ones(COUNT),
            "is_hashing": np.ones(COUNT),
            "rated_hashrate_ths": np.full(COUNT, 110.0),
        }
        frame = FleetFrame(
            START + timedelta(seconds=slot * SLOT_S),
            UNITS,
            columns,
            np.ones(COUNT, dtype=np.bool_),
            (None,) * COUNT,
        )
        features = np.full((COUNT, len(feature_names())), np.nan, dtype=np.float32)
        features[:, INTAKE] = rng.uniform(*intake_c, COUNT)
        curves = Curves.empty(COUNT, 1)
        curves.hashrate_ths[:] = [105.0, 110.0, 115.0]
        curves.power_w[:] = [3150.0, 3250.0, 3350.0]
        found += watch.look(model, frame, features, curves)
    return found


def test_a_heat_wave_is_said_once_and_its_end_once() -> None:
    watch, model = DriftWatch(COUNT), Model("a")
    assert day(watch, model, 0, intake_c=(0.0, 40.0)) == []
    begun = day(watch, model, SLOTS, intake_c=(35.0, 40.0))
    assert [found.key for found in begun] == ["drift:antminer-s19.air:intake_temp_c"]
    assert "intake_temp_c of 200 units differs" in begun[0].words
    assert not begun[0].cleared
    ended = day(watch, model, 2 * SLOTS, intake_c=(0.0, 40.0))
    assert [(found.key, found.cleared) for found in ended] == [(begun[0].key, True)]


def test_power_off_the_prediction_names_group_quantity_and_units() -> None:
    watch, model = DriftWatch(COUNT), Model("a")
    found = day(watch, model, 0, intake_c=(0.0, 40.0), power=1.05)
    assert [f.key for f in found] == ["drift:antminer-s19.air:predicted-power"]
    assert "power of 200 units is +5.0% off the prediction" in found[0].words


def test_another_bundle_ends_what_was_said_of_the_old_one() -> None:
    watch = DriftWatch(COUNT)
    day(watch, Model("a"), 0, intake_c=(35.0, 40.0))
    found = day(watch, Model("b"), SLOTS, intake_c=(0.0, 40.0))
    assert [f.cleared for f in found] == [True]


def test_profile_curves_are_not_watched() -> None:
    watch = DriftWatch(COUNT)
    assert day(watch, ProfilePredictor(UNITS), 0, intake_c=(35.0, 40.0), power=2.0) == []


def test_the_day_before_a_restart_counts_after_it() -> None:
    watch, model = DriftWatch(COUNT), Model("a")
    day(watch, model, 0, intake_c=(35.0, 40.0), slots=SLOTS // 2 - 1)
    again = DriftWatch(COUNT, watch.to_bytes())
    # The very first look only took the bundle up, so two half-hours are lacking.
    begun = day(again, model, SLOTS // 2, intake_c=(35.0, 40.0), slots=2)
    assert [found.key for found in begun] == ["drift:antminer-s19.air:intake_temp_c"]


def test_what_was_said_before_a_restart_is_not_said_again_and_ends_when_it_is_over() -> None:
    watch, model = DriftWatch(COUNT), Model("a")
    raised = {f.key: f.words for f in day(watch, model, 0, intake_c=(35.0, 40.0), power=1.05)}
    assert len(raised) == 2
    again = DriftWatch(COUNT, watch.to_bytes(), raised | {"lake-pack": "not of ours"})
    assert day(again, model, SLOTS, intake_c=(35.0, 40.0), power=1.05, slots=4) == []
    ended = day(again, model, SLOTS + 4, intake_c=(0.0, 40.0), slots=2 * SLOTS)
    assert sorted((f.key, f.cleared) for f in ended) == [(key, True) for key in sorted(raised)]


def test_what_was_said_of_another_bundle_before_a_restart_ends_with_it() -> None:
    watch = DriftWatch(COUNT)
    raised = {f.key: f.words for f in day(watch, Model("a"), 0, intake_c=(35.0, 40.0))}
    again = DriftWatch(COUNT, watch.to_bytes(), raised)
    ended = day(again, Model("b"), SLOTS, intake_c=(0.0, 40.0), slots=1)
    assert [(f.key, f.cleared) for f in ended] == [(key, True) for key in raised]


@pytest.mark.parametrize("saved", [b"a\nnot an archive", b"b\n", b""])
def test_what_was_saved_damaged_or_for_another_bundle_starts_anew(saved: bytes) -> None:
    assert day(DriftWatch(COUNT, saved), Model("a"), 0, intake_c=(0.0, 40.0)) == []

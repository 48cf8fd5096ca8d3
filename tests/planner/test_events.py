"""Demand response: caps by step, the money by hand, and whether an event is worth keeping."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from agent.planner.power.circuits import PowerTree
from agent.planner.power.events import DemandEvent, choose_events, event_caps, overlap_s, settle

INF = float("inf")
START = datetime(2026, 7, 14, 16, tzinfo=UTC)
HOUR_S = 3600.0
SITE = PowerTree(
    ("site", "row"),
    np.array([-1, 0]),
    np.array([0, 1]),
    np.full(2, INF),
    np.full(2, -INF),
    np.full(2, INF),
    np.full(2, INF),
)
# 17:30 to 19:00: half of the second step, all of the third.
EVENT = DemandEvent(
    start=START + timedelta(minutes=90),
    end=START + timedelta(hours=3),
    target_w=20_000.0,
    mandatory=False,
    payment_usd=30.0,
    payment_usd_per_kwh=0.5,
    penalty_usd_per_kwh=2.0,
    baseline_w=50_000.0,
)


def draw(*site_w: float) -> np.ndarray:
    return np.array([[watts, 0.0] for watts in site_w])


def test_a_step_that_an_event_touches_has_its_cap() -> None:
    assert overlap_s([EVENT], START, HOUR_S, 4).tolist() == [[0.0, 1800.0, 3600.0, 0.0]]
    kept = event_caps([EVENT], np.array([True]), SITE, START, HOUR_S, 4)
    assert kept.tolist() == [[INF, INF], [20_000.0, INF], [20_000.0, INF], [INF, INF]]
    assert np.isinf(event_caps([EVENT], np.array([False]), SITE, START, HOUR_S, 4)).all()


def test_a_mandatory_event_is_kept_in_any_case_and_the_lower_of_two_counts() -> None:
    hard = replace(EVENT, mandatory=True, circuit="row")
    lower = replace(hard, target_w=5_000.0, start=START + timedelta(hours=2))
    caps = event_caps([hard, lower], np.zeros(2, dtype=np.bool_), SITE, START, HOUR_S, 4)
    assert caps[:, 1].tolist() == [INF, 20_000.0, 5_000.0, INF]
    assert np.isinf(caps[:, 0]).all()


def test_a_kept_event_pays_in_full() -> None:
    # 30 USD, and 30 kW less than the baseline over an hour and a half at 0.50 USD/kWh.
    found = settle([EVENT], draw(50e3, 20e3, 20e3, 50e3), SITE, START, HOUR_S)
    assert found.kept.tolist() == [True]
    assert found.payment_usd[0] == pytest.approx(30.0 + 45.0 * 0.5)
    assert found.penalty_usd[0] == 0.0
    # What is drawn below the target is not paid for.
    assert settle([EVENT], draw(50e3, 0.0, 0.0, 50e3), SITE, START, HOUR_S).net_usd == pytest.approx(52.5)


def test_a_broken_event_costs_by_what_is_drawn_above() -> None:
    # 10 kW over for half an hour: 5 kWh at 2 USD; 20 kW saved for half an hour, 30 kW for one.
    found = settle([EVENT], draw(50e3, 30e3, 20e3, 50e3), SITE, START, HOUR_S)
    assert found.kept.tolist() == [False]
    assert found.penalty_usd[0] == pytest.approx(10.0)
    assert found.payment_usd[0] == pytest.approx((10.0 + 30.0) * 0.5)
    assert found.net_usd == pytest.approx(10.0)


def test_of_an_event_beyond_the_horizon_the_part_inside_counts() -> None:
    # One of the three half hours lies inside.
    found = settle([EVENT], draw(50e3, 20e3), SITE, START, HOUR_S)
    assert found.payment_usd[0] == pytest.approx(10.0 + 15.0 * 0.5)
    later = replace(EVENT, start=START + timedelta(hours=9), end=START + timedelta(hours=10))
    missed = settle([later], draw(50e3, 20e3), SITE, START, HOUR_S)
    assert missed.kept.tolist() == [False]
    assert missed.net_usd == 0.0


def test_without_events_there_is_no_money() -> None:
    assert settle([], draw(1e3), SITE, START, HOUR_S).net_usd == 0.0
    assert event_caps([], np.zeros(0, dtype=np.bool_), SITE, START, HOUR_S, 1).shape == (1, 2)


def test_an_event_is_known_from_its_notice_until_its_end() -> None:
    short = replace(EVENT, notice_s=600.0)
    assert not short.known_at(EVENT.start - timedelta(seconds=601))
    assert short.known_at(EVENT.start - timedelta(seconds=600))
    assert EVENT.known_at(START - timedelta(days=9))
    assert not EVENT.known_at(EVENT.end)


@pytest.mark.parametrize(("hashing_usd_per_kwh", "keeps"), [(1.2, True), (4.0, False)])
def test_an_event_is_kept_only_if_that_pays(hashing_usd_per_kwh: float, keeps: bool) -> None:
    # Keeping it gives up 30 kW for two hours; 52.50 USD come in and 90 USD of penalty are saved.
    def plan(kept: np.ndarray) -> tuple[float, np.ndarray]:
        caps = event_caps([EVENT], kept, SITE, START, HOUR_S, 4)[:, 0]
        watts = np.minimum(50e3, caps)
        return float(watts.sum() / 1000.0 * hashing_usd_per_kwh), draw(*watts)

    assert choose_events([EVENT], SITE, START, HOUR_S, plan).tolist() == [keeps]
    must = replace(EVENT, mandatory=True)
    assert choose_events([must], SITE, START, HOUR_S, plan).tolist() == [True]


def test_each_voluntary_event_is_weighed_for_itself() -> None:
    dear = replace(EVENT, payment_usd_per_kwh=3.0)
    cheap = replace(EVENT, circuit="row", payment_usd=0.0, payment_usd_per_kwh=0.0, penalty_usd_per_kwh=0.01)
    asked = 0

    def plan(kept: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal asked
        asked += 1
        watts = np.minimum(50e3, event_caps([cheap, dear], kept, SITE, START, HOUR_S, 4))
        return float(watts.sum() / 1000.0 * 0.9), watts

    assert choose_events([cheap, dear], SITE, START, HOUR_S, plan).tolist() == [False, True]
    assert asked == 3

"""Trying settings: off unless asked for, inside its bounds and budget, and only where knowing pays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from agent.learning.config import ExploreConfig
from agent.learning.correct import correct
from agent.learning.explore import Probe, Terms, _expected, probes
from agent.models.inference import Curves
from tests.learning.feed import Feed, fleet_curve

SHARES = np.array([0.0, 0.7, 0.8, 0.9, 1.0, 1.1])
ON = ExploreConfig(enabled=True, budget_usd_per_day=5.0)
# At this price rated and 90 % earn nearly the same.
TERMS = Terms(0.048, 0.0521, np.linspace(0.05, 0.1, 24), 2.0, 0.0)


def ask(
    feed: Feed,
    config: ExploreConfig = ON,
    terms: Terms = TERMS,
    permitted: np.ndarray | None = None,
    lost_h: float = 0.05,
    chosen: int = 4,
) -> Sequence[Probe]:
    shares = np.tile(SHARES, (feed.count, 1))
    curves: Curves = correct(feed.state, shares, fleet_curve(np.maximum(shares, 1e-6)))
    allowed = np.ones(shares.shape, dtype=bool) if permitted is None else permitted
    lost = np.full(shares.shape, lost_h)
    at = np.full(feed.count, chosen)
    return probes(feed.state, shares, curves, allowed, at, lost, terms, config)


def taught(count: int = 6, pooled: bool = True) -> Feed:
    """Known at rated, unknown elsewhere."""
    return Feed(count, pooled=pooled).run(96)


def test_off_by_default() -> None:
    assert ask(taught(), ExploreConfig()) == ()


def test_one_unit_of_a_group_tries_what_nobody_has_tried() -> None:
    (probe,) = ask(taught())
    assert probe.column in (3, 5)
    assert probe.peers == 6
    assert probe.worth_usd > 2.0 * probe.cost_usd > 0.0
    assert "tried to learn" in probe.words and "5 of its kind" in probe.words


def test_units_with_nothing_in_common_may_each_try() -> None:
    found = ask(taught(pooled=False))
    assert len({probe.row for probe in found}) == len(found) > 1


def test_what_is_known_is_not_tried() -> None:
    feed = Feed(6, pooled=True)
    for _ in range(10):
        for share in (0.9, 1.0, 1.1):
            feed.run(24, share=share)
    assert ask(feed) == ()


def test_it_is_not_tried_where_it_cannot_pay() -> None:
    """Where electricity is nearly free no curve makes less hashing better."""
    free = replace(TERMS, price_usd_per_kwh=0.001)
    permitted = np.tile(SHARES <= 1.0, (6, 1))
    assert ask(taught(), terms=free, permitted=permitted) == ()


def test_steps_are_small() -> None:
    narrow = ON.model_copy(update={"step_share": 0.05})
    assert ask(taught(), narrow) == ()
    for probe in ask(taught(pooled=False)):
        assert abs(SHARES[probe.column] - 1.0) <= ON.step_share + 1e-9


def test_never_outside_the_bounds_of_the_miner() -> None:
    permitted = np.tile((SHARES == 1.0) | (SHARES == 0.7), (6, 1))
    assert ask(taught(), permitted=permitted) == ()


def test_never_a_stop_and_never_from_one() -> None:
    assert ask(taught(), chosen=0) == ()
    assert ask(taught(), chosen=-1) == ()


def test_only_in_cheap_hours() -> None:
    dear = replace(TERMS, later_usd_per_kwh=np.linspace(0.0, 0.05, 24))
    assert ask(taught(), terms=dear) == ()


def test_the_budget_of_the_day_is_kept() -> None:
    feed = taught(20, pooled=False)
    free = sum(probe.cost_usd for probe in ask(feed))
    tight = ON.model_copy(update={"budget_usd_per_day": 0.3 * free})
    found = ask(feed, tight)
    assert found and sum(probe.cost_usd for probe in found) <= 0.3 * free
    assert ask(feed, tight, replace(TERMS, spent_usd=0.3 * free)) == ()


def test_a_restart_that_loses_an_hour_is_not_worth_it() -> None:
    assert ask(taught(1), lost_h=3.0) == ()


def test_unknown_prices_try_nothing() -> None:
    assert ask(taught(), terms=replace(TERMS, price_usd_per_kwh=float("nan"))) == ()


@pytest.mark.parametrize("gap", [0.0, 0.3, 1.0, 4.0])
def test_the_expected_gain_of_changing_ones_mind(gap: float) -> None:
    spread = 0.7
    z = gap / spread
    normal = NormalDist()
    exact = spread * (normal.pdf(z) - z * normal.cdf(-z))
    assert _expected(np.array([gap]), np.array([spread]))[0] == pytest.approx(exact, abs=1e-6)

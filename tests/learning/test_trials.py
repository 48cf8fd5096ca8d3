"""Trials on a live site: offered within every limit, counted in the journal, left without a sure gain."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from agent.deciding.trials import COST_INPUT, Trials, offers, trials_of
from agent.hardware.effective import effective_bounds
from agent.learning.config import ExploreConfig
from agent.learning.live import Learner
from agent.models.inference import Economics
from agent.money.conditions import Forecast
from agent.planner.candidates import Choices, build_candidates
from agent.planner.decide import decide
from agent.planner.fleet import Fleet
from agent.planner.margins import Horizon
from agent.planner.power.limits import Limits, SitePower
from agent.planner.recommend import Context
from agent.records import Act, Recommendation
from agent.setting import Setting
from tests.learning.site import PROFILES, START, SmallSite, unit

INF = float("inf")
HASHPRICE, PRICE, HOURS = 0.05, 0.03, 48
LIMITS = Limits(INF, 1.28, 0.05, hold_h=2.0)
HORIZON = Horizon(1.0, np.full(HOURS, HASHPRICE), np.full(HOURS, PRICE))
FORECAST = Forecast(START, 1.0, np.full(HOURS, PRICE), np.full(HOURS, HASHPRICE), "fixed", "fixed")
CONTEXT = Context("here", START, 3600.0, FORECAST, "profile", [True] * 4, "f" * 64)
ON = ExploreConfig(enabled=True, budget_usd_per_day=5.0, step_share=0.15)


@pytest.fixture(scope="module")
def site() -> SmallSite:
    """Four units of a kind, known well at rated power and nowhere else."""
    return SmallSite(Learner(), [unit(f"m{i}", 1, "stock") for i in range(4)]).run(48)


def fleet(site: SmallSite) -> Fleet:
    profile = PROFILES[1]
    bounds = effective_bounds(profile, "stock", None, [])
    rated = Setting.parse(profile.default_safe_setting["stock"])
    table = build_candidates([Choices(profile, "stock", bounds, rated, rated)] * 4)
    frame, _ = site.frame(1.0)
    money = Economics(HASHPRICE, PRICE, pue=1.0, pool_fee_share=0.0, hold_h=24.0)
    shares = table.shares
    curves = site.learner.correct(frame, shares, site.curves(shares), money, np.zeros(shares.shape))
    rated_w = np.full(4, profile.rated_power_w.value)
    return Fleet(
        candidates=replace(table, loss_h=table.loss_h * 0.01),
        curves=curves,
        priced_at=(HASHPRICE, PRICE),
        chip_max_c=np.full(4, 200.0),
        present_power_w=rated_w,
        rated_power_w=rated_w,
        held_back=(None,) * 4,
        restarts_left=np.full(4, 4),
        held_h=np.zeros(4),
    )


def ask(
    site: SmallSite, given: Fleet, limits: Limits = LIMITS, config: ExploreConfig = ON, spent: float = 0.0
) -> list[Recommendation]:
    plan = decide(given, HORIZON, limits)
    return offers(site.units, site.learner.state, given, plan, HORIZON, limits, config, spent, CONTEXT)


def test_one_unit_of_a_kind_is_offered_with_what_it_costs_and_is_worth(site: SmallSite) -> None:
    (found,) = ask(site, fleet(site))
    assert found.type == "power_setting" and found.proposed != found.current
    assert found.why.summary.startswith("tried to learn what this setting brings on this miner and 3 of")
    cost = found.why.inputs[COST_INPUT]
    assert isinstance(cost, float) and 0.0 <= cost <= ON.budget_usd_per_day
    # Over a hold of two hours: what it costs in USD, twelve times as much a day.
    assert found.gain_usd_per_day.q50 == pytest.approx(-12.0 * cost, abs=1e-5)


def test_off_unless_asked_for_and_never_over_the_budget_or_from_a_hold(site: SmallSite) -> None:
    given = fleet(site)
    assert not ask(site, given, config=ExploreConfig())
    assert not ask(site, given, spent=ON.budget_usd_per_day)
    assert not ask(site, replace(given, held_h=np.full(4, 1.0)))
    assert not ask(site, replace(given, held_back=("mode observe",) * 4))
    # While one of its kind is trying, the others wait.
    assert not ask(site, replace(given, trying=np.array([True, False, False, False])))


def test_a_trial_keeps_to_the_limits_of_the_site(site: SmallSite) -> None:
    given = fleet(site)
    (found,) = ask(site, given)
    less = found.expected.power_w.q50 < given.present_power_w[0]
    power = SitePower.single(4, HOURS, INF)
    ramp = np.array([0.001])
    tree = replace(power.tree, ramp_down_w_per_s=ramp) if less else replace(power.tree, ramp_up_w_per_s=ramp)
    assert not ask(site, given, replace(LIMITS, site=replace(power, tree=tree, ramp_s=300.0)))


def test_the_journal_tells_what_was_spent_and_who_is_trying(site: SmallSite) -> None:
    (found,) = ask(site, fleet(site))
    cost, now = float(str(found.why.inputs[COST_INPUT])), datetime(2026, 1, 9, tzinfo=UTC)

    def act(hours_ago: float, status: str, recommendation: str | None = found.id) -> Act:
        at = now - timedelta(hours=hours_ago)
        values = {
            "id": f"a{hours_ago}",
            "recommendation_id": recommendation,
            "site_id": "here",
            "miner_id": found.miner_id,
            "status": status,
            "reason": "x",
            "approved_by": "x",
            "before": found.current,
            "target": found.proposed,
            "expected": found.expected,
            "intended_at": at,
            "confirm_by": at,
        }
        return Act.model_validate(values)

    find = {found.id: found}.get
    assert trials_of([act(3.0, "confirmed")], [], find, now) == Trials(
        pytest.approx(cost), frozenset({found.miner_id})
    )
    assert trials_of([act(30.0, "confirmed")], [found], find, now).spent_usd == pytest.approx(cost)
    assert trials_of([act(3.0, "failed")], [], find, now) == Trials(0.0, frozenset())
    # Another change since then: what it does now is no trial any more.
    later = trials_of([act(1.0, "confirmed", "other"), act(3.0, "confirmed")], [], find, now)
    assert later == Trials(pytest.approx(cost), frozenset())


def test_a_setting_that_was_tried_is_left_without_a_sure_gain(site: SmallSite) -> None:
    given = fleet(site)
    worse = int(np.flatnonzero(given.candidates.permitted[0])[-2])
    there = replace(given, candidates=replace(given.candidates, current=np.full(4, worse)))
    sure = replace(LIMITS, minimum_gain_usd_per_day=1e6)
    assert (decide(there, HORIZON, sure).chosen == worse).all()
    left = decide(replace(there, trying=np.array([True, False, False, False])), HORIZON, sure).chosen
    assert (left[1:] == worse).all()
    assert left[0] != worse

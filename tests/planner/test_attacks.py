"""Inputs that cannot be, or hardly: the plan is always one that is safe, and says what limits it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from agent.models.inference import Curves
from agent.planner.binds import binding_words
from agent.planner.candidates import Candidates, build_candidates
from agent.planner.decide import decide
from agent.planner.fleet import Fleet
from agent.planner.margins import Horizon
from agent.planner.power.events import DemandEvent
from agent.planner.power.limits import Limits, SitePower
from agent.planner.power.peak import PeakCharge
from agent.planner.preview import course
from agent.planner.worth_keeping import with_events, with_peak
from tests.planner.test_plan_money import FULL, LOW, STOP, fleet, horizon
from tests.planner.test_schedule import START, pair, random_fleet

INF, NAN = float("inf"), float("nan")
NO_LIMIT = Limits(INF, 1.28, 0.05)


def many(seed: int = 1, miners: int = 12) -> Fleet:
    return replace(random_fleet(np.random.default_rng(seed), miners, 6), held_back=(None,) * miners)


def at(hours: int = 12, price: float = 0.05, hashprice: float = 0.05) -> Horizon:
    return Horizon(1.0, np.full(hours, hashprice), np.full(hours, price))


def site(given: Fleet, steps: int = 12, **limits: float) -> SitePower:
    power = SitePower.single(len(given.held_back), steps, INF)
    return replace(power, tree=replace(power.tree, **{k: np.array([v]) for k, v in limits.items()}))


def test_without_any_price_nobody_moves_whatever_the_cap() -> None:
    given = many()
    for prices in (at(price=NAN), at(hashprice=NAN)):
        plan = decide(given, prices, replace(NO_LIMIT, site=site(given, len(prices), cap_w=10_000.0)))
        assert (plan.chosen == given.candidates.current).all()
        assert (plan.path == given.candidates.current[:, None]).all()


def test_a_fleet_that_nobody_hears_stays_and_counts_with_its_rated_power() -> None:
    given = many()
    silent = replace(given, held_back=("not read",) * 12, present_power_w=np.full(12, NAN))
    plan = decide(silent, at(), replace(NO_LIMIT, site=site(given, cap_w=1_000.0)))
    assert (plan.chosen == given.candidates.current).all()
    assert plan.left_out == {"not read": 12}
    assert plan.upper_power_w == pytest.approx(given.rated_power_w.sum())


def test_no_miner_is_no_error() -> None:
    nobody = build_candidates([])
    none = np.empty(0)
    empty = Curves(*(np.empty((0, 1, 3)) for _ in range(4)))
    given = Fleet(nobody, empty, (0.05, 0.05), none, none, none, (), np.empty(0, dtype=np.int64), none)
    for limits in (NO_LIMIT, replace(NO_LIMIT, site=SitePower.single(0, 12, 5.0))):
        plan = decide(given, at(), limits)
        assert plan.path.shape == (0, 12)
        assert plan.feasible
        assert course(given, at(), plan).profit_usd.sum() == 0.0


def only_where_it_is(given: Fleet) -> Fleet:
    rows, here = np.arange(len(given.held_back)), given.candidates.current

    def pick(name: str) -> np.ndarray:
        return getattr(given.candidates, name)[rows, here][:, None]

    names = ("shares", "stops", "loss_h", "wake_loss_h", "settle_s", "restarts", "wears", "permitted")
    table = Candidates(
        tuple((row[int(k)],) for row, k in zip(given.candidates.settings, here, strict=True)),
        **{name: pick(name) for name in names},
        current=here * 0,
        nominal=here * 0,
    )
    names = ("hashrate_ths", "power_w", "chip_temp_c", "profit_usd_per_day")
    curves = Curves(*(getattr(given.curves, name)[rows, here][:, None] for name in names))
    return replace(given, candidates=table, curves=curves)


def test_with_nothing_to_choose_from_an_impossible_cap_is_named() -> None:
    given = only_where_it_is(many())
    plan = decide(given, at(), replace(NO_LIMIT, site=site(given, cap_w=100.0)))
    assert (plan.chosen == 0).all() and not plan.feasible
    assert set(plan.unmet) == {"site"} and set(plan.bound_by) == {"site"}


@pytest.mark.parametrize("cap_w", [0.0, 1.0, 20.0])
def test_a_cap_below_standby_stops_everybody_and_is_named(cap_w: float) -> None:
    given = many()
    limits = replace(NO_LIMIT, site=site(given, cap_w=cap_w))
    plan = decide(given, at(), limits)
    assert given.candidates.stops[np.arange(12), plan.chosen].all()
    assert not plan.feasible and set(plan.unmet) == {"site"}
    assert set(plan.bound_by) == {"site"}
    assert any(f"cap of {cap_w / 1000.0:g} kW" in words for words in binding_words(0, given, limits, plan))


def test_a_least_load_beyond_what_there_is_takes_all_that_bounds_allow() -> None:
    given = replace(many(), restarts_left=np.zeros(12, dtype=np.int64), held_h=np.full(12, 5.0))
    limits = replace(NO_LIMIT, site=site(given, floor_w=1e9))
    plan = decide(given, at(price=2.0), limits)
    rows, table = np.arange(12), given.candidates
    allowed = table.permitted & (given.curves.chip_temp_c[:, :, 2] <= given.chip_max_c[:, None])
    allowed[rows, table.current] = True
    most = np.where(allowed, given.curves.power_w[:, :, 1], -INF).argmax(axis=1)
    hot = given.curves.chip_temp_c[rows, table.current, 2] > given.chip_max_c
    assert (plan.chosen == most)[~hot].all()
    assert "least load" in plan.bound_how


def test_of_events_that_contradict_one_another_the_lower_target_counts() -> None:
    prices = horizon(*[0.02] * 4)
    two, power = pair(prices)
    limits = Limits(INF, 0.0, 0.0, site=power)
    hour = timedelta(hours=1)
    events = [
        DemandEvent(START, START + 2 * hour, 5_100.0),
        DemandEvent(START, START + hour, 100.0),
        # Less than nothing, and over before it begins.
        DemandEvent(START + 3 * hour, START + 3 * hour, 0.0),
    ]
    kept = with_events(events, two, prices, limits, power, START)
    plan = decide(two, prices, replace(limits, site=kept))
    assert (plan.path[:, 0] == STOP).all()
    assert (plan.path[:, 3] == FULL).all()
    assert plan.bound_how == ("demand event", "demand event")


@pytest.mark.parametrize("hashprice", [-0.05, 0.0, 1e-12])
def test_hashing_that_pays_nothing_is_stopped_at_any_price_above_nothing(hashprice: float) -> None:
    given = many()
    priced = replace(given, priced_at=(0.05, 0.05))
    plan = decide(priced, at(hashprice=hashprice), NO_LIMIT)
    stops = given.candidates.stops[np.arange(12), plan.chosen]
    may = (given.held_h <= 0.0) & given.candidates.permitted[:, 0]
    assert stops[may].all()


@pytest.mark.parametrize("wild", [1e30, -1e30, NAN, INF, -INF])
def test_figures_that_cannot_be_never_leave_the_bounds(wild: float) -> None:
    rng = np.random.default_rng(5)
    given = many(5)
    names = ("hashrate_ths", "power_w", "chip_temp_c", "profit_usd_per_day")
    for name in names:
        values = getattr(given.curves, name).copy()
        values[rng.random(values.shape) < 0.2] = wild
        odd = replace(given, curves=replace(given.curves, **{name: values}))
        with np.errstate(all="ignore"):
            plan = decide(odd, at(), replace(NO_LIMIT, site=site(given, cap_w=15_000.0)))
        moved = plan.chosen != given.candidates.current
        assert given.candidates.permitted[np.flatnonzero(moved), plan.chosen[moved]].all()
        assert (plan.chosen >= 0).all()


def test_a_peak_charge_keeps_the_draw_where_more_would_not_pay() -> None:
    prices = horizon(*[0.02] * 4)
    two, power = pair(prices)
    limits = Limits(INF, 0.0, 0.0, site=power)
    # Both at full draw 6 kW and earn 0.28 USD an hour, at 2 kW each 0.24: 2 kW more bring 0.16 in four hours.
    for usd_per_kw, month_left_h, how in ((0.06, 4.0, FULL), (0.10, 4.0, LOW), (0.10, 8.0, FULL)):
        charge = PeakCharge(4_000.0, usd_per_kw / 1000.0, month_left_h)
        kept = with_peak(charge, two, prices, limits, power)
        plan = decide(two, prices, replace(limits, site=kept))
        assert (plan.path == how).all(), (usd_per_kw, month_left_h)
        assert plan.bound_how == (("demand charge",) * 2 if how == LOW else (None, None))
    # A peak that is reached already costs nothing more.
    assert with_peak(PeakCharge(6_000.0, 9.0, 4.0), two, prices, limits, power).peak_w == INF


def test_one_miner_alone_keeps_a_ramp_step_by_step() -> None:
    prices = horizon(*[0.30] * 4)
    one = fleet(prices)
    power = SitePower.single(1, 4, INF)
    tree = replace(power.tree, ramp_down_w_per_s=np.array([2000.0 / 3600.0]))
    plan = decide(one, prices, Limits(INF, 0.0, 0.0, site=replace(power, tree=tree, ramp_s=3600.0)))
    # 2 kW an hour: from 3,000 W to 2,000 W, then to the stop.
    assert plan.path[0].tolist() == [LOW, STOP, STOP, STOP]
    assert plan.bound_how == ("ramp",)

"""Courses under limits that are bettered: near the best there is, and more freedom is never worth less."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from agent.planner.decide import decide
from agent.planner.fleet import Fleet
from agent.planner.margins import Horizon, Margins
from agent.planner.paths import improve
from agent.planner.paths.horizon import Prospect, Steps
from agent.planner.paths.wear import restarts
from agent.planner.plan import Plan
from agent.planner.power.limits import Limits, SitePower
from agent.planner.prospects import prospect_of
from tests.planner.test_schedule import INF, random_fleet, random_site, without_doubt

Case = tuple[Fleet, Horizon, Limits]


def random_case(seed: int, most_miners: int, width: int, steps: int, *, ramps: bool = False) -> Case:
    """A site of circuits with caps and an event, sure of what it predicts."""
    rng = np.random.default_rng(seed)
    miners = int(rng.integers(2, most_miners + 1))
    given = without_doubt(random_fleet(rng, miners, int(rng.integers(3, width + 1))))
    site = random_site(rng, given, steps)
    none = np.full(len(site.tree.names), INF)
    tree = replace(site.tree, floor_w=-none)
    if not ramps:
        tree = replace(tree, ramp_up_w_per_s=none, ramp_down_w_per_s=none)
    everyone = np.zeros(miners, dtype=np.bool_)
    site = replace(site, tree=tree, protected=everyone, weight=np.ones(miners))
    prices = Horizon(1.0, rng.uniform(0.03, 0.07, steps), rng.uniform(-0.02, 0.12, steps))
    return given, prices, Limits(INF, 1.28, -INF, hold_h=float(rng.integers(1, 4)), site=site)


def facing(given: Fleet, prices: Horizon, limits: Limits) -> Prospect:
    margins = Margins(given.curves, *given.priced_at)
    return prospect_of(given, margins, prices, limits, given.candidates.permitted)


def worth(given: Fleet, prices: Horizon, limits: Limits, plan: Plan) -> float:
    """What a plan earns over the horizon and as long again."""
    return float(Steps(facing(given, prices, limits)).along(plan.path).sum())


def wider(site: SitePower) -> SitePower:
    tree = replace(site.tree, cap_w=1.2 * site.tree.cap_w)
    return replace(site, tree=tree, event_cap_w=1.2 * site.event_cap_w)


def fewer(given: Fleet, seed: int) -> Fleet:
    rng, permitted = np.random.default_rng(seed), given.candidates.permitted
    some = permitted & (rng.random(permitted.shape) < 0.6)
    some[:, 0] = True
    return replace(given, candidates=replace(given.candidates, permitted=some))


def check_freedom(case: Case, seed: int, most_lost: float) -> None:
    given, prices, limits = case
    assert limits.site is not None
    plan = decide(given, prices, limits)
    now = worth(given, prices, limits, plan)
    some = fewer(given, seed)
    with_fewer = worth(some, prices, limits, decide(some, prices, limits))
    assert now >= with_fewer - most_lost * abs(now), "more candidates are worth less"
    if any(place is not None for place in plan.unmet):
        return
    loose = replace(limits, site=wider(limits.site))
    with_more = worth(given, prices, loose, decide(given, prices, loose))
    assert with_more >= now - most_lost * abs(now), "a wider cap is worth less"


@pytest.mark.parametrize("seed", range(16))
def test_more_freedom_is_never_worth_less(seed: int) -> None:
    check_freedom(random_case(seed, 12, 5, 8), seed, 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("ramps", [False, True])
@pytest.mark.parametrize("seed", range(250))
def test_more_freedom_is_never_worth_less_on_many_sites(seed: int, ramps: bool) -> None:
    steps = (12, 24, 48)[seed % 3]
    check_freedom(random_case(10_000 + seed, 60, 10, steps, ramps=ramps), seed, 5e-2 if ramps else 5e-3)


def within_rules(paths: np.ndarray, prospect: Prospect, restarts_left: np.ndarray) -> np.ndarray:
    """[N] which paths [N,T] of as many miners keep holds, budgets and bounds."""
    rows = np.arange(len(paths))[:, None]
    moved = paths != np.concatenate([prospect.current[:, None], paths[:, :-1]], axis=1)
    fine = (~moved | (prospect.allowed[rows, paths] & prospect.may_change)).all(axis=1)
    fine &= restarts(paths, prospect).sum(axis=1) <= restarts_left
    for apart in range(1, prospect.hold_steps):
        fine &= ~(moved[:, apart:] & moved[:, :-apart]).any(axis=1)
    return fine


def best_of_all(given: Fleet, prices: Horizon, limits: Limits) -> float:
    """Every course of a tiny site looked at: the most that one within all limits and rules is worth."""
    prospect = facing(given, prices, limits)
    site, steps = limits.site, len(prices)
    assert site is not None
    worths, draws = [], []
    for miner in range(len(prospect.current)):
        one = prospect.rows(np.array([miner]))
        paths = np.array(list(product(range(one.stops.shape[1]), repeat=steps)))
        many = prospect.rows(np.full(len(paths), miner))
        fine = within_rules(paths, many, given.restarts_left[miner])
        worths.append(Steps(many).along(paths)[fine])
        draws.append(site.pue * given.curves.power_w[miner, :, 1][paths[fine]])
    cap = np.minimum(site.tree.cap_w, site.event_cap_w)
    member = site.tree.member()
    total, drawn = np.zeros(1), np.zeros((1, *cap.shape))
    for miner, (value, draw) in enumerate(zip(worths, draws, strict=True)):
        total = (total[:, None] + value).ravel()
        drawn = (drawn[:, None] + draw[:, :, None] * member[miner]).reshape(-1, *cap.shape)
        within = (drawn <= cap + 1e-6).all(axis=(1, 2))
        total, drawn = total[within], drawn[within]
    return float(total.max(initial=-INF))


def test_a_tiny_site_comes_near_the_best_of_all_its_courses() -> None:
    lost = []
    for seed in range(40):
        case = random_case(seed, 3, 3, 4)
        best = best_of_all(*case)
        if np.isfinite(best):
            plan = decide(*case)
            assert within_rules(plan.path, facing(*case), case[0].restarts_left).all()
            lost.append((best - worth(*case, plan)) / abs(best))
    assert len(lost) > 20
    assert min(lost) >= -1e-9
    # Most are the best itself.
    assert np.mean(lost) <= 1e-3 and np.mean(np.array(lost) > 1e-6) <= 0.1, sorted(lost)[-6:]


def test_a_course_is_bettered_and_stays_within_what_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    gains = []
    for seed in range(12):
        case = random_case(seed, 16, 6, 10, ramps=True)
        after = worth(*case, decide(*case))
        with monkeypatch.context() as only:
            only.setattr(improve, "_CELLS", 0)
            before = worth(*case, decide(*case))
        gains.append((after - before) / abs(before))
    assert min(gains) >= -1e-9
    assert max(gains) > 0.01


def test_the_same_twice_is_the_same_plan() -> None:
    case = random_case(3, 16, 6, 10)
    assert (decide(*case).path == decide(*case).path).all()

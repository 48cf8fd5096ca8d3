"""Plans under a site's limits at every step: kept on random sites, with the money of a small one by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.inference import Curves
from agent.planner.candidates import Candidates
from agent.planner.circuits import PowerTree
from agent.planner.decide import Fleet, Plan, decide
from agent.planner.events import DemandEvent
from agent.planner.keep_events import with_events
from agent.planner.limits import Limits, SitePower
from agent.planner.margins import Horizon
from agent.setting import Knob, Setting
from tests.planner.test_plan_money import FULL, LOW, STOP, fleet, horizon

INF = float("inf")
Z80 = 2.5631
START = datetime(2026, 3, 1, tzinfo=UTC)


def random_fleet(rng: np.random.Generator, miners: int, width: int) -> Fleet:
    share = np.sort(rng.uniform(0.45, 1.1, (miners, width)), axis=1)
    share[:, 0] = 0.0
    stops = np.zeros((miners, width), dtype=np.bool_)
    stops[:, 0] = True
    rated_w = rng.uniform(2000.0, 4000.0, (miners, 1))
    rate = rated_w / rng.uniform(18.0, 38.0, (miners, 1)) * share ** rng.uniform(0.6, 0.95, (miners, 1))
    power = np.where(stops, 25.0, rated_w * share)
    half = rng.uniform(0.0, 0.06, (miners, 1)) * np.where(stops, 0.0, power)
    current = rng.integers(0, width, miners)
    wears = np.broadcast_to(rng.random((miners, 1)) < 0.5, (miners, width)) & ~stops
    at_stop = stops[np.arange(miners), current][:, None]
    permitted = rng.random((miners, width)) < 0.9
    permitted[:, 0] = True

    def around(middle: np.ndarray, by: np.ndarray) -> np.ndarray:
        return np.stack([middle - by, middle, middle + by], axis=2)

    restarts = wears | (at_stop & ~stops)
    table = Candidates(
        settings=tuple(tuple(Setting(Knob.POWER_PERCENT, float(s)) for s in row) for row in 100.0 * share),
        shares=share,
        stops=stops,
        loss_h=np.where(wears, 0.15, 0.0),
        wake_loss_h=np.where(stops, 0.0, 0.2),
        settle_s=np.zeros((miners, width)),
        restarts=restarts,
        wears=wears,
        permitted=permitted,
        current=current,
        nominal=np.full(miners, width - 1),
    )
    profit = 0.05 * rate - 0.024 * 0.05 * power
    return Fleet(
        candidates=table,
        curves=Curves(
            around(rate, 0.02 * rate),
            around(power, half),
            around(rate * 0 + 60.0, rate * 0.0),
            around(profit, 0.02 * 0.05 * rate),
        ),
        priced_at=(0.05, 0.05),
        chip_max_c=np.full(miners, 100.0),
        present_power_w=power[np.arange(miners), current],
        rated_power_w=rated_w[:, 0],
        held_back=tuple("observe" if rng.random() < 0.1 else None for _ in range(miners)),
        restarts_left=rng.integers(0, 4, miners),
        held_h=np.where(rng.random(miners) < 0.2, rng.uniform(0.0, 6.0, miners), 0.0),
    )


def random_site(rng: np.random.Generator, given_fleet: Fleet, steps: int) -> SitePower:
    miners = len(given_fleet.rated_power_w)
    places = int(rng.integers(1, 5))
    parent = np.array([-1, *(int(rng.integers(0, g)) for g in range(1, places))])
    leaf = rng.integers(0, places, miners)
    none = np.full(places, INF)
    tree = PowerTree(tuple(f"place {g}" for g in range(places)), parent, leaf, none, -none, none, none)
    full = tree.sums(given_fleet.rated_power_w)
    cap = np.where(rng.random(places) < 0.7, full * rng.uniform(0.05, 1.1, places) + 1.0, INF)
    events = np.full((steps, places), INF)
    first = int(rng.integers(0, steps))
    events[first : first + 4, 0] = full[0] * rng.uniform(0.1, 1.0)
    return SitePower(
        tree=replace(tree, cap_w=cap),
        pue=float(rng.uniform(1.0, 1.3)),
        ramp_s=INF,
        event_cap_w=events,
        weight=rng.uniform(0.5, 2.0, miners),
        protected=rng.random(miners) < 0.1,
        may_change=np.ones((miners, steps), dtype=np.bool_),
        off=np.zeros((miners, steps), dtype=np.bool_),
    )


def loads(given_fleet: Fleet, plan: Plan, site: SitePower, z: float) -> np.ndarray:
    """[T,G] upper bound of the site's draw along the plan, by the definitions."""
    rows = np.arange(len(plan.path))
    free = np.array([reason is None for reason in given_fleet.held_back])
    power = given_fleet.curves.power_w
    sigma = (power[:, :, 2] - power[:, :, 0]) / Z80
    out = []
    for step in range(plan.path.shape[1]):
        at = plan.path[:, step]
        mean = np.where(free, power[rows, at, 1], given_fleet.present_power_w)
        variance = np.where(free, sigma[rows, at] ** 2, 0.0)
        out.append(site.pue * (site.tree.sums(mean) + z * np.sqrt(site.tree.sums(variance))))
    return np.array(out)


def check(seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps = int(rng.integers(2, 14))
    given_fleet = random_fleet(rng, int(rng.integers(2, 16)), int(rng.integers(2, 7)))
    site = random_site(rng, given_fleet, steps)
    hold = int(rng.integers(1, 4))
    limits = Limits(INF, 1.28, 0.05, hold_h=float(hold), site=site)
    price = rng.uniform(-0.02, 0.15, steps)
    plan = decide(given_fleet, Horizon(1.0, rng.uniform(0.03, 0.07, steps), price), limits)
    table, path = given_fleet.candidates, plan.path
    rows = np.arange(len(path))
    free = np.array([reason is None for reason in given_fleet.held_back])
    # Caps: kept wherever the least power of everybody keeps them.
    draw = loads(given_fleet, plan, site, limits.cap_z)
    open_to = table.permitted.copy()
    open_to[rows, table.current] = True
    least = np.where(open_to, given_fleet.curves.power_w[:, :, 1], INF).argmin(axis=1)
    floor = loads(given_fleet, replace(plan, path=np.where(free, least, table.current)[:, None]), site, 1.28)[
        0
    ]
    cap = np.minimum(site.tree.cap_w, site.event_cap_w)
    below = site.tree.member()
    for step in range(steps):
        for g in range(len(cap[step])):
            # A place that cannot be kept asks its own miners for all they have, and so those inside it.
            inside = below[:, g]
            hopeless = any(
                (inside & below[:, h]).any() and floor[h] > cap[step, h] for h in range(len(cap[step]))
            )
            assert draw[step, g] <= cap[step, g] * (1 + 1e-9) + 1e-6 or hopeless
    if (floor > cap[0]).any():
        assert not plan.feasible
    before = np.concatenate([table.current[:, None], path[:, :-1]], axis=1)
    changed = path != before
    # Bounds, and nobody who is not up for decision.
    at = rows[:, None]
    assert (table.permitted[at, path] | (path == table.current[:, None])).all()
    assert not changed[~free].any()
    # Holds and budgets, wherever the limits leave a choice: not where a cap was out of reach with them.
    if not np.isfinite(cap).any():
        restarts = changed & (table.wears[at, path] | table.stops[at, before])
        assert (restarts.sum(axis=1) <= given_fleet.restarts_left).all()
        for row in range(len(path)):
            times = np.flatnonzero(changed[row])
            assert (np.diff(times) >= hold).all()
            assert not len(times) or times[0] >= np.ceil(given_fleet.held_h[row] - 1e-9)


@settings(max_examples=250, deadline=None)
@given(st.integers(0, 10**9))
def test_limits_are_kept_at_every_step_of_a_random_site(seed: int) -> None:
    check(seed)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None)
@given(st.integers(0, 10**9))
def test_limits_are_kept_at_every_step_of_ten_thousand_sites(seed: int) -> None:
    check(seed)


def pair(prices: Horizon, **other: object) -> tuple[Fleet, SitePower]:
    """Two of the miners of `test_plan_money`."""
    one = fleet(prices)
    table = one.candidates
    stacked = {
        name: np.repeat(getattr(table, name), 2, axis=0)
        for name in (
            "shares",
            "stops",
            "loss_h",
            "wake_loss_h",
            "settle_s",
            "restarts",
            "wears",
            "permitted",
            "current",
            "nominal",
        )
    }
    two = replace(
        one,
        candidates=Candidates(settings=table.settings * 2, **stacked),
        curves=Curves(
            *(
                np.repeat(getattr(one.curves, name), 2, axis=0)
                for name in ("hashrate_ths", "power_w", "chip_temp_c", "profit_usd_per_day")
            )
        ),
        held_back=(None, None),
        **{
            name: np.repeat(getattr(one, name), 2)
            for name in ("chip_max_c", "present_power_w", "rated_power_w", "restarts_left", "held_h")
        },
    )
    return two, SitePower.single(2, len(prices), INF)


def test_a_cap_to_come_is_planned_for_and_nothing_is_done_before() -> None:
    prices = horizon(*[0.02] * 6)
    two, site = pair(prices)
    caps = site.event_cap_w.copy()
    caps[3:5] = 5100.0
    plan = decide(two, prices, Limits(INF, 0.0, 0.0, site=replace(site, event_cap_w=caps)))
    # 5,100 W hold one at full power and one at 2,000 W; the other three hours both are at full.
    assert (plan.path[:, [0, 1, 2, 5]] == FULL).all()
    assert sorted(plan.path[:, 3].tolist()) == [LOW, FULL]
    assert sorted(plan.path[:, 4].tolist()) == [LOW, FULL]


def test_the_one_that_counts_more_keeps_its_power() -> None:
    prices = horizon(*[0.02] * 4)
    two, site = pair(prices)
    tree = replace(site.tree, cap_w=np.array([5100.0]))
    for weight, protected, lower in (((1.0, 2.0), (False, False), 0), ((1.0, 1.0), (True, False), 1)):
        given_site = replace(site, tree=tree, weight=np.array(weight), protected=np.array(protected))
        plan = decide(two, prices, Limits(INF, 0.0, 0.0, site=given_site))
        assert plan.chosen[lower] == LOW and plan.chosen[1 - lower] == FULL
        assert plan.bound_by == ("site", "site")


def test_an_event_is_kept_only_if_it_pays() -> None:
    prices = horizon(*[0.02] * 4)
    two, site = pair(prices)
    # Both stopped for an hour give up 2 x (0.2 - 0.06 + 0.0006) and, waking, 2 x 0.05: 0.38 USD. Turned down
    # to 4,000 W they give up 2 x 0.02.
    for target_w, payment, path in (
        (4000.0, 0.05, LOW),
        (4000.0, 0.03, FULL),
        (100.0, 0.40, STOP),
        (100.0, 0.36, FULL),
    ):
        event = DemandEvent(
            start=START,
            end=START.replace(hour=1),
            target_w=target_w,
            circuit="site",
            mandatory=False,
            notice_s=0.0,
            payment_usd=payment,
            payment_usd_per_kwh=0.0,
            penalty_usd_per_kwh=0.0,
            baseline_w=6000.0,
        )
        limits = Limits(INF, 0.0, 0.0, site=site)
        kept = with_events([event], two, prices, limits, site, START)
        plan = decide(two, prices, replace(limits, site=kept))
        assert plan.path[:, 0].tolist() == [path, path], (target_w, payment)


def test_in_quiet_hours_nothing_changes() -> None:
    prices = horizon(0.30, 0.30, 0.30, 0.30)
    two, site = pair(prices)
    still = np.ones((2, 4), dtype=np.bool_)
    still[:, :2] = False
    plan = decide(two, prices, Limits(INF, 0.0, 0.0, site=replace(site, may_change=still)))
    assert plan.path.tolist() == [[FULL, FULL, STOP, STOP]] * 2


def test_a_ramp_brings_load_down_step_by_step() -> None:
    prices = horizon(*[0.30] * 3)
    two, site = pair(prices)
    tree = replace(site.tree, ramp_down_w_per_s=np.array([4.0]))
    plan = decide(two, prices, Limits(INF, 0.0, 0.0, site=replace(site, tree=tree, ramp_s=300.0)))
    # 4 W/s over 300 s are 1,200 W: of two at 3,000 W one may come down to 2,000 W now.
    assert sorted(plan.chosen.tolist()) == [LOW, FULL]

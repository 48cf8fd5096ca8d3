"""Plans under a site's limits at every step: kept on random sites, with the money of a small one by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.models.inference import Curves
from agent.planner.candidates import Candidates
from agent.planner.decide import decide
from agent.planner.fleet import Fleet
from agent.planner.margins import Horizon
from agent.planner.plan import Plan
from agent.planner.power.circuits import PowerTree
from agent.planner.power.events import DemandEvent
from agent.planner.power.limits import Limits, SitePower
from agent.planner.preview import course
from agent.planner.worth_keeping import with_events
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
            around(50.0 + 40.0 * share, rate * 0.0),
            around(profit, 0.02 * 0.05 * rate),
        ),
        priced_at=(0.05, 0.05),
        chip_max_c=np.where(rng.random(miners) < 0.2, 80.0, 120.0),
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

    def some(often: float, low: float, high: float, otherwise: float) -> np.ndarray:
        return np.where(rng.random(places) < often, full * rng.uniform(low, high, places) + 1.0, otherwise)

    events = np.full((steps, places), INF)
    first = int(rng.integers(0, steps))
    events[first : first + 4, 0] = full[0] * rng.uniform(0.0, 1.0)
    still = rng.random((miners, steps)) < (0.3 if rng.random() < 0.3 else 0.0)
    return SitePower(
        tree=replace(
            tree,
            cap_w=some(0.5, 0.0, 1.1, INF),
            floor_w=some(0.2, 0.0, 0.7, -INF),
            # What a step of an hour may change is from nothing to more than all.
            ramp_up_w_per_s=some(0.4, 0.0, 0.5, INF) / 3600.0,
            ramp_down_w_per_s=some(0.4, 0.0, 0.5, INF) / 3600.0,
        ),
        pue=float(rng.uniform(1.0, 1.3)),
        ramp_s=float(rng.choice([300.0, 3600.0])),
        event_cap_w=events,
        weight=rng.uniform(0.5, 2.0, miners),
        protected=rng.random(miners) < 0.1,
        may_change=~still,
        off=np.zeros((miners, steps), dtype=np.bool_),
    )


class Seen:
    """A plan, and what its definitions say of it, worked out anew."""

    def __init__(self, given_fleet: Fleet, site: SitePower, limits: Limits, plan: Plan) -> None:
        self.table, self.path, self.site, self.z = given_fleet.candidates, plan.path, site, limits.cap_z
        self.free = np.array([reason is None for reason in given_fleet.held_back])
        self.rows = np.arange(len(self.path))
        power = given_fleet.curves.power_w
        self.mean, self.sigma = power[:, :, 1], (power[:, :, 2] - power[:, :, 0]) / Z80
        self.fixed = np.where(self.free, 0.0, given_fleet.present_power_w)
        too_hot = given_fleet.curves.chip_temp_c[:, :, 2] > given_fleet.chip_max_c[:, None]
        self.may_enter = self.table.permitted & ~too_hot
        usable = self.may_enter & (~self.table.restarts | (given_fleet.restarts_left > 0)[:, None])
        usable &= site.may_change[:, :1]
        self.hot = too_hot[self.rows, self.table.current] & self.free & usable.any(axis=1)
        self.cap = np.minimum(site.tree.cap_w, site.event_cap_w)

    def before(self, step: int) -> np.ndarray:
        return self.path[:, step - 1] if step else self.table.current

    def expected(self, at: np.ndarray) -> np.ndarray:
        mean = np.where(self.free, self.mean[self.rows, at], self.fixed)
        return self.site.pue * self.site.tree.sums(mean)

    def bound(self, at: np.ndarray, side: float = 1.0) -> np.ndarray:
        variance = np.where(self.free, self.sigma[self.rows, at] ** 2, 0.0)
        return self.expected(at) + side * self.site.pue * self.z * np.sqrt(self.site.tree.sums(variance))

    def extreme(self, step: int, open_to: np.ndarray, which: str) -> np.ndarray:
        """The candidates of least or most power of those that are open, and the one before."""
        at = self.before(step)
        allowed = open_to & (self.free & self.site.may_change[:, step])[:, None]
        stays = ~(self.hot & (step == 0) & allowed.any(axis=1))
        allowed[self.rows[stays], at[stays]] = True
        if which == "least":
            return np.where(allowed, self.mean, INF).argmin(axis=1)
        return np.where(allowed, self.mean, -INF).argmax(axis=1)


def random_plan(seed: int) -> tuple[Fleet, SitePower, Limits, Plan]:
    rng = np.random.default_rng(seed)
    steps = int(rng.integers(2, 14))
    given_fleet = random_fleet(rng, int(rng.integers(2, 16)), int(rng.integers(2, 7)))
    site = random_site(rng, given_fleet, steps)
    limits = Limits(INF, 1.28, 0.05, hold_h=float(rng.integers(1, 4)), site=site)
    price = rng.uniform(-0.02, 0.15, steps)
    plan = decide(given_fleet, Horizon(1.0, rng.uniform(0.03, 0.07, steps), price), limits)
    return given_fleet, site, limits, plan


def check(seed: int) -> None:
    given_fleet, site, limits, plan = random_plan(seed)
    seen = Seen(given_fleet, site, limits, plan)
    table, path, rows, free, tree = seen.table, seen.path, seen.rows, seen.free, site.tree
    member, hold = tree.member(), int(limits.hold_h)
    left = given_fleet.restarts_left.astype(np.int64).copy()
    locked = np.ceil(given_fleet.held_h - 1e-9).astype(np.int64)
    for step in range(path.shape[1]):
        before, at = seen.before(step), path[:, step]
        moved = at != before
        # Nobody who is not up for decision, nothing beyond bounds and temperature, nothing in quiet hours.
        assert not moved[~free].any()
        assert seen.may_enter[rows[moved], at[moved]].all()
        assert site.may_change[rows[moved], step].all()
        # Caps: kept wherever the least power of everybody keeps them, else that is what is planned.
        cap, most = seen.cap[step], seen.bound(at)
        least = seen.bound(seen.extreme(step, seen.may_enter, "least"))
        over = most > cap * (1 + 1e-9) + 1e-2
        assert not (over & (least <= cap)).any(), (step, most, cap, least)
        assert (most[over] <= least[over] + 1e-2).all()
        assert (plan.unmet[step] is not None) == over.any()
        if step == 0:
            assert plan.feasible == (not over.any())
            assert plan.upper_power_w * site.pue == pytest.approx(most[0])
            for row in np.flatnonzero(member[:, over].any(axis=1) & free):
                assert plan.bound_by[row] in {tree.names[g] for g in np.flatnonzero(over)}
        # Ramps of expected power: kept, but where a cap leaves no other way.
        seconds = site.ramp_s if step == 0 else 3600.0
        change = seen.expected(at) - seen.expected(before)
        stay = np.where(seen.hot & (step == 0), at, before)
        forced = (seen.bound(stay) > cap * (1 + 1e-9)).any() or (step == 0 and seen.hot.any())
        # Whoever waits for a cap to come has to drop faster than the ramp then.
        for later in range(step + 1, path.shape[1]):
            fall = tree.ramp_down_w_per_s * 3600.0 * (later - step)
            forced |= (seen.bound(stay) > seen.cap[later] + fall).any()
        assert forced or (change <= tree.ramp_up_w_per_s * seconds + 1e-2).all()
        assert forced or (change >= -tree.ramp_down_w_per_s * seconds - 1e-2).all()
        # Holds and wear budgets: kept, but where a limit cannot be kept within them.
        was_stopped = table.stops[rows, before]
        wear = table.wears | was_stopped[:, None]
        within = ~(wear & (left <= 0)[:, None] & (step < 24)) & (locked <= 0)[:, None]
        short = seen.bound(seen.extreme(step, seen.may_enter & within, "least")) > cap
        highest = seen.extreme(step, seen.may_enter & within, "most")
        short |= seen.bound(highest, -1.0) < np.minimum(tree.floor_w, cap)
        # Greedy sharing may miss a least load that a cap, now or soon, or a ramp leaves just room for.
        ramps = np.isfinite(tree.ramp_up_w_per_s).any()
        tight = np.isfinite(tree.floor_w) & bool(np.isfinite(seen.cap).any() or ramps)
        excused = member[:, short | tight].any(axis=1) | (seen.hot & (step == 0))
        assert (within[rows, at] | ~moved | excused).all(), (step, rows[moved & ~within[rows, at] & ~excused])
        # Least loads: reached where nothing else stands in the way.
        if not np.isfinite(seen.cap).any() and not np.isfinite(tree.ramp_up_w_per_s).any():
            reach = seen.bound(seen.extreme(step, seen.may_enter, "most"), -1.0)
            assert (seen.bound(at, -1.0) >= np.minimum(tree.floor_w, reach) - 1e-2).all()
        left -= moved & wear[rows, at]
        locked = np.maximum(np.where(moved, hold, locked) - 1, 0)


@settings(max_examples=250, deadline=None)
@given(st.integers(0, 10**9))
def test_limits_are_kept_at_every_step_of_a_random_site(seed: int) -> None:
    check(seed)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None)
@given(st.integers(0, 10**9))
def test_limits_are_kept_at_every_step_of_ten_thousand_sites(seed: int) -> None:
    check(seed)


def without_doubt(given_fleet: Fleet) -> Fleet:
    """The same without intervals, holds and heat, and with everybody up for decision."""
    names = ("hashrate_ths", "power_w", "chip_temp_c", "profit_usd_per_day")
    middle = (np.repeat(getattr(given_fleet.curves, name)[:, :, 1:2], 3, axis=2) for name in names)
    return replace(
        given_fleet,
        curves=Curves(*middle),
        held_back=(None,) * len(given_fleet.held_back),
        held_h=given_fleet.held_h * 0.0,
        chip_max_c=np.full(len(given_fleet.held_back), 1e3),
    )


def earned(given_fleet: Fleet, prices: Horizon, limits: Limits) -> float:
    return float(course(given_fleet, prices, decide(given_fleet, prices, limits)).profit_usd.sum())


@pytest.mark.parametrize("seed", range(20))
def test_more_candidates_never_earn_less_along_a_plan(seed: int) -> None:
    rng = np.random.default_rng(seed)
    all_of_them = without_doubt(random_fleet(rng, 12, 6))
    prices = Horizon(1.0, rng.uniform(0.03, 0.07, 12), rng.uniform(-0.02, 0.12, 12))
    limits = Limits(INF, 1.28, -INF, hold_h=float(rng.integers(1, 4)))
    few = all_of_them.candidates.permitted & (rng.random((12, 6)) < 0.6)
    few[:, 0] = True
    some = replace(all_of_them, candidates=replace(all_of_them.candidates, permitted=few))
    assert earned(all_of_them, prices, limits) >= earned(some, prices, limits) - 1e-9


@pytest.mark.parametrize("seed", range(6))
def test_a_wider_cap_never_earns_less_along_a_plan(seed: int) -> None:
    rng = np.random.default_rng(seed)
    given_fleet = without_doubt(random_fleet(rng, 60, 6))
    prices = Horizon(1.0, rng.uniform(0.04, 0.07, 12), rng.uniform(0.0, 0.08, 12))
    full = float(given_fleet.rated_power_w.sum())
    found = []
    for share in (0.4, 0.6, 0.8, 1.2):
        site = SitePower.single(60, 12, share * full)
        found.append(earned(given_fleet, prices, Limits(INF, 0.0, -INF, hold_h=1.0, site=site)))
    # Whole steps of 60 miners fit a cap to some thousandths only.
    assert (np.diff(found) >= -5e-3 * np.abs(found[-1])).all(), found


@pytest.mark.parametrize("unit", [0.01, 150.0])
@pytest.mark.parametrize("seed", range(6))
def test_under_limits_another_currency_gives_the_same_plan(seed: int, unit: float) -> None:
    rng = np.random.default_rng(seed)
    given_fleet = random_fleet(rng, 10, 5)
    site = random_site(rng, given_fleet, 8)
    hashprice, price = rng.uniform(0.03, 0.07, 8), rng.uniform(0.01, 0.12, 8)
    limits = Limits(INF, 1.28, 0.05, hold_h=2.0, site=site)
    ours = decide(given_fleet, Horizon(1.0, hashprice, price), limits)
    curves = replace(given_fleet.curves, profit_usd_per_day=given_fleet.curves.profit_usd_per_day * unit)
    priced_at = (0.05 * unit, 0.05 * unit)
    theirs = decide(
        replace(given_fleet, curves=curves, priced_at=priced_at),
        Horizon(1.0, hashprice * unit, price * unit),
        replace(limits, minimum_gain_usd_per_day=0.05 * unit),
    )
    assert (ours.path == theirs.path).all()


def test_a_cap_to_come_is_reached_by_the_ramp() -> None:
    prices = horizon(*[0.02] * 6)
    two, site = pair(prices)
    caps = site.event_cap_w.copy()
    caps[3:] = 4100.0
    tree = replace(site.tree, ramp_down_w_per_s=np.array([1000.0 / 3600.0]))
    site = replace(site, tree=tree, ramp_s=3600.0, event_cap_w=caps)
    plan = decide(two, prices, Limits(INF, 0.0, 0.0, site=site))
    # A kilowatt an hour: 6,000 W, and 5,000 W in the hour before both are at 2,000 W.
    draw = np.array([30.0, 2000.0, 3000.0])[plan.path].sum(axis=0)
    assert draw.tolist() == [6000.0, 6000.0, 5000.0, 4000.0, 4000.0, 4000.0]


def test_what_maintenance_has_without_power_leaves_room_for_the_others() -> None:
    prices = horizon(*[0.02] * 4)
    two, site = pair(prices)
    tree = replace(site.tree, cap_w=np.array([3100.0]))
    off = np.zeros((2, 4), dtype=np.bool_)
    off[0, :2] = True
    two = replace(two, held_back=("maintenance", None))
    plan = decide(two, prices, Limits(INF, 0.0, 0.0, site=replace(site, tree=tree, off=off)))
    assert plan.path[1, :2].tolist() == [FULL, FULL]
    # Once it is back, its 3,000 W are counted again.
    assert plan.path[1, 2:].tolist() == [STOP, STOP]


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


@pytest.mark.parametrize("miners", [20, 1200])
def test_weights_count_only_beside_one_another(miners: int) -> None:
    rng = np.random.default_rng(miners)
    given_fleet = random_fleet(rng, miners, 7)
    tree = replace(SitePower.single(miners, 48, INF).tree, cap_w=np.array([1500.0 * miners]))
    prices = Horizon(1.0, np.full(48, 0.05), rng.uniform(0.0, 0.08, 48))
    plans = [
        decide(
            given_fleet,
            prices,
            Limits(
                INF,
                1.28,
                0.0,
                hold_h=2.0,
                site=replace(SitePower.single(miners, 48, INF), tree=tree, weight=np.full(miners, weight)),
            ),
        )
        for weight in (1.0, 4.0)
    ]
    assert (plans[0].chosen != given_fleet.candidates.current).any()
    assert (plans[0].path == plans[1].path).all()


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

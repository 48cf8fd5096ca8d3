"""The decision: a pure function of what is known now. No clock, no I/O, no state.

Each miner has the best path over the known horizon, with what changes cost; it moves now only where the
lower bound of the gain pays for the change; all share the site's power by one price per watt.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from agent.energy import KWH_PER_W_DAY
from agent.planner.allowed import Allowed
from agent.planner.binds import limit_behind
from agent.planner.fleet import Fleet
from agent.planner.gains import Gains, confidence
from agent.planner.margins import Horizon, Margins
from agent.planner.paths.horizon import Outlook, Prospect
from agent.planner.paths.improve import Rules, improved
from agent.planner.paths.schedule import go_through, price_limits
from agent.planner.paths.wear import look_ahead_within
from agent.planner.plan import Plan
from agent.planner.power.allot import Allotment, allot
from agent.planner.power.limits import Limits, SitePower
from agent.planner.power.shared import Shared
from agent.planner.prospects import change_usd, prospect_of, shared_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
_DAY_H = 24.0


def decide(fleet: Fleet, horizon: Horizon, limits: Limits) -> Plan:
    """Choose one candidate per miner for now, along the best path over the horizon.

    Infeasible is never an error: it gives the least power that the bounds allow and says so. Without a
    known price nobody moves.
    """
    case = _case(fleet, horizon, limits)
    best = _best_paths(case)
    now = _moves_now(case, best)
    return _told(case, best, now, _course(case, best, now))


def keeps_limits(fleet: Fleet, horizon: Horizon, limits: Limits, chosen: Ints) -> bool:
    """True if candidates [N] taken now keep to caps, ramps and least loads as well as staying does."""
    current = fleet.candidates.current
    shared = shared_of(fleet, limits, horizon.known(), fleet.up_for_decision & (current >= 0))
    nodes = shared.nodes(0, shared.draw(current))
    return not (shared.broken(chosen, nodes) & ~shared.broken(current, nodes)).any()


@dataclass(frozen=True, slots=True)
class _Case:
    """What is decided about, worked out once. `budget_steps` are those that one day's wear budget is for."""

    fleet: Fleet
    limits: Limits
    ahead: Horizon
    margins: Margins
    power: SitePower
    allowed: Allowed
    prospect: Prospect
    shared: Shared
    budget_steps: int

    def pays(self, gain: Floats) -> Bools:
        """[N,K] whether gains [N,K,3] are sure enough."""
        pays: Bools = np.greater(gain[:, :, 0], self.limits.minimum_gain_usd_per_day)
        if self.fleet.trying is not None:
            pays |= self.fleet.trying[:, None] & (gain[:, :, 1] > 0.0)
        return pays


@dataclass(frozen=True, slots=True)
class _Best:
    """Each miner's own best path, under what limits make power cost on top (`price` [N,T] USD/kWh or None).

    `gain` [N,K,3] is what a change to each candidate brings over the hours it would be kept, as surely as it
    has to pay; `pays` [N,K] whether it does.
    """

    price: Floats | None
    outlook: Outlook
    money: Gains
    gain: Floats
    pays: Bools


@dataclass(frozen=True, slots=True)
class _Now:
    """Moves of this moment: `open_to` [N,K] may be made, at `worth` [N,K] USD/day; `found` are those made."""

    open_to: Bools
    worth: Floats
    found: Allotment


@dataclass(frozen=True, slots=True)
class _Course:
    """Where all go together: `path` [N,T], kept at first for `lasts` [N] steps.

    `different` [N] moves otherwise now than its own best path would; `unmet` [T] is the place whose cap
    cannot be kept in a step, -1 for none.
    """

    chosen: Ints
    path: Ints
    lasts: Ints
    different: Bools
    unmet: Ints


def _case(fleet: Fleet, horizon: Horizon, limits: Limits) -> _Case:
    ahead = horizon.known()
    priced = len(ahead) > 0
    if not priced:
        ahead = Horizon(horizon.step_h, np.zeros(1), np.zeros(1))
    margins = Margins(fleet.curves, *fleet.priced_at)
    power = limits.power(len(fleet.held_back), len(ahead))
    allowed = Allowed.of(fleet, margins, power.may_change[:, 0], priced)
    enterable = allowed.enterable & allowed.free[:, None]
    return _Case(
        fleet,
        limits,
        ahead,
        margins,
        power,
        allowed,
        prospect_of(fleet, margins, ahead, limits, enterable),
        shared_of(fleet, limits, ahead, allowed.free),
        round(_DAY_H / ahead.step_h),
    )


def _best_paths(case: _Case) -> _Best:
    prospect, shared = case.prospect, case.shared

    def solve(given: Prospect) -> Outlook:
        left = case.fleet.restarts_left
        return look_ahead_within(given, left, case.budget_steps, keep_values=shared.limited)

    price, outlook = None, solve(prospect)
    if shared.limited:
        price, outlook = price_limits(prospect, outlook, shared, solve)
    cost = change_usd(prospect)
    money = Gains(case.margins, case.ahead, cost, case.fleet.here, prospect.hold_steps)
    gain = money.sure(outlook.lasts)
    return _Best(price, outlook, money, gain, case.pays(gain) | case.allowed.hot_now[:, None])


def _moves_now(case: _Case, best: _Best) -> _Now:
    fleet, allowed, here = case.fleet, case.allowed, case.fleet.here
    rows, hot_now, may_change = np.arange(len(here)), allowed.hot_now, case.power.may_change[:, :1]
    waits = (allowed.held & ~hot_now)[:, None]
    open_to = allowed.possible & best.pays & may_change & ~waits
    open_to[rows, here] = ~hot_now
    middle = case.margins.over(*(np.full((1, 1), mean) for mean in case.ahead.means()))[:, :, 1]
    worth = np.where(hot_now[:, None], middle, best.outlook.action_usd * (_DAY_H / case.ahead.step_h))
    worth = np.where(open_to & np.isfinite(worth), worth, np.nan)
    if best.price is not None:
        # The limits of this step take the place of their price.
        worth += best.price[:, 0][:, None] * case.shared.power_w * KWH_PER_W_DAY
    worth[~allowed.free] = np.nan
    # Where a limit cannot be kept with changes that pay: what holds and wear budgets allow, then all that
    # the hardware permits.
    anything = np.where(allowed.safe & may_change, np.nan_to_num(middle), np.nan)
    within = np.where(allowed.worn_out | waits, np.nan, anything)
    for table_usd in (within, anything):
        # Too hot where it stands: any permitted cooler setting may be taken, whatever it costs.
        table_usd[rows, here] = np.where(hot_now, np.nan, np.nan_to_num(middle[rows, here]))
        table_usd[~allowed.free] = np.nan
    current = fleet.candidates.current
    nodes = case.shared.nodes(0, case.shared.draw(current))
    return _Now(open_to, worth, allot(case.shared, nodes, current, worth, [within, anything]))


def _course(case: _Case, best: _Best, now: _Now) -> _Course:
    prospect, shared, outlook = case.prospect, case.shared, best.outlook
    chosen = now.found.chosen
    rows, width = np.arange(len(chosen)), prospect.stops.shape[1]
    path, unmet = outlook.path.copy(), np.full(len(case.ahead), -1)
    lasts = outlook.lasts[rows, np.maximum(chosen, 0)]
    different = path[:, 0] != chosen
    if shared.limited and (best.price is not None or different.any() or shared.ramped.any()):
        left, price = case.fleet.restarts_left, best.price
        dearer, first = np.zeros(path.shape) if price is None else price, np.maximum(chosen, 0)
        course = go_through(prospect, outlook, dearer, shared, first, left, case.budget_steps)

        def pays_for(steps: int) -> Bools:
            return case.pays(best.money.sure(np.full((len(rows), width), steps)))

        still = case.allowed.hot_now | case.power.protected
        rules = Rules(now.open_to, still, left, case.budget_steps, cache(pays_for))
        path, unmet = improved(prospect, shared, course.path, rules), course.unmet
        better = (path != course.path).any(axis=1)
        chosen = np.where(better, path[:, 0], chosen)
        lasts = np.where(better, _kept_steps(path), outlook.lasts[rows, np.maximum(chosen, 0)])
        different = outlook.path[:, 0] != chosen
    else:
        path[different] = chosen[different, None]
    path[case.fleet.candidates.current < 0] = -1
    if now.found.over.any():
        unmet[0] = int(now.found.over.argmax())
    return _Course(chosen, path, lasts, different, unmet)


def _told(case: _Case, best: _Best, now: _Now, course: _Course) -> Plan:
    """The plan with its money and its reasons."""
    fleet, allowed, tree = case.fleet, case.allowed, case.power.tree
    current, here, chosen = fleet.candidates.current, fleet.here, course.chosen
    free, rows, pick = allowed.free, np.arange(len(chosen)), np.maximum(chosen, 0)
    # Every candidate over the hours of the one that is taken, so that they can be compared.
    span = np.broadcast_to(course.lasts[:, None], case.prospect.stops.shape)
    profit, told = best.money.told(span)
    moved = (chosen != current) & (chosen >= 0) & free
    gain = np.where(moved[:, None], told[rows, pick], 0.0)
    mean_w = case.shared.power_w
    less = mean_w[rows, pick] < mean_w[rows, here]
    pays_alone = best.gain[rows, pick, 0] > case.limits.minimum_gain_usd_per_day
    paid = np.where(tree.member(), now.found.price, 0.0).max(axis=1)
    bound, how = limit_behind(case.power, now.found, now.worth, mean_w)
    return Plan(
        chosen=chosen,
        gain=gain,
        profit=profit,
        lasts_h=np.asarray(course.lasts * case.ahead.step_h, dtype=np.float64),
        confidence=confidence(gain),
        possible=allowed.possible,
        pays=best.pays,
        lower_usd_per_day=best.gain[:, :, 0],
        too_hot=allowed.too_hot,
        worn_out=allowed.worn_out,
        curtailed=moved & less & ~pays_alone & (paid > 0.0),
        path=course.path,
        put_off=course.different & (chosen == current),
        power_price_usd_per_w_day=paid,
        bound_by=tuple(tree.names[g] if g >= 0 and free[i] else None for i, g in enumerate(bound)),
        bound_how=tuple(words if free[i] else None for i, words in enumerate(how)),
        unmet=tuple(tree.names[g] if g >= 0 else None for g in course.unmet),
        upper_power_w=_upper_w(case.shared, chosen) + float(fleet.draw_w[~free].sum()),
        feasible=not now.found.over.any(),
        left_out=_left_out(fleet),
    )


def _kept_steps(path: Ints) -> Ints:
    """[N] steps for which paths [N,T] keep their first setting."""
    leaves = path != path[:, :1]
    return np.asarray(np.where(leaves.any(axis=1), leaves.argmax(axis=1), path.shape[1]), dtype=np.int64)


def _upper_w(shared: Shared, chosen: Ints) -> float:
    """What the miners that are up for decision draw together, at the stated confidence."""
    rows, pick = np.flatnonzero(shared.free), chosen[shared.free]
    variance = float((shared.sigma_w[rows, pick] ** 2).sum())
    return float(shared.power_w[rows, pick].sum()) + shared.z * sqrt(variance)


def _left_out(fleet: Fleet) -> dict[str, int]:
    """How many miners are not up for decision, by reason."""
    found = Counter(reason for reason in fleet.held_back if reason is not None)
    unknown = int((fleet.up_for_decision & (fleet.candidates.current < 0)).sum())
    if unknown:
        found["present setting unknown"] += unknown
    return dict(found)

"""The decision: a pure function of what is known now. No clock, no I/O, no state.

Each miner has the best path over the known horizon, with what changes cost; it moves now only where the
lower bound of the gain pays for the change; all share the site's power by one price per watt.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from agent.models.inference import Curves
from agent.planner.allot import Allotment, allot
from agent.planner.candidates import Candidates
from agent.planner.circuits import binding
from agent.planner.gains import WIDTH_80, Gains, confidence
from agent.planner.horizon import Outlook, Prospect, Steps
from agent.planner.improve import Rules, improved
from agent.planner.limits import Limits, SitePower
from agent.planner.margins import Horizon, Margins
from agent.planner.schedule import go_through, price_limits
from agent.planner.shared import Shared, share
from agent.planner.wear import look_ahead_within

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
_DAY_H = 24.0
_KWH_PER_W_DAY = 0.024


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is known of N miners at one moment.

    Args:
        candidates: what each may be set to.
        curves: predictions at those candidates, [N,K,3]; their profit is without any change.
        priced_at: hashprice after fee and electricity price with PUE at which `curves` are priced.
        chip_max_c: [N] limit of the predicted upper chip temperature; NaN where none is known.
        present_power_w: [N] measured or estimated draw now; NaN where unknown.
        rated_power_w: [N] what to reckon with where the draw is unknown.
        held_back: per miner, why it may not be moved now (unreachable, observe ...), or None.
        restarts_left: [N] restarts that the wear budget still allows within the next day.
        held_h: [N] hours for which the present setting must still be held.
        trying: [N] True where the present setting was entered to learn from it; leaving it may pay unsurely.
        restarts_a_day: [N] the whole wear budget. With 0 nothing that is stopped may be woken, so that money
            stops nobody. None: never 0.
    """

    candidates: Candidates
    curves: Curves
    priced_at: tuple[float, float]
    chip_max_c: Floats
    present_power_w: Floats
    rated_power_w: Floats
    held_back: tuple[str | None, ...]
    restarts_left: Ints
    held_h: Floats
    trying: Bools | None = None
    restarts_a_day: Ints | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The chosen candidate of each miner and why.

    Args:
        chosen: [N] column; equals `current` where the miner stays, -1 where nothing can be said.
        gain: [N,3] q10, q50, q90 of profit against staying, USD/day while the setting is held, cost of
            the change taken off; 0 where the miner stays.
        profit: [N,K,3] USD/day of every candidate over the same hours, cost of the change taken off.
        lasts_h: [N] hours for which the plan keeps what is chosen.
        confidence: [N] probability that the gain is above 0.
        possible, pays, too_hot, worn_out: [N,K] what stands for and against each candidate.
        lower_usd_per_day: [N,K] the bound of each candidate's gain, over its own hours, that has to pay.
        curtailed: [N] True where the cap, not profit, asks for the change.
        path: [N,T] column planned for each step of the horizon, -1 where nothing can be said.
        put_off: [N] True where the best path would move now, but doubt, a hold or a limit speaks against it.
        power_price_usd_per_w_day: [N] what limits make a watt worth where a miner hangs; 0 where none binds.
        bound_by: [N] name of the place whose limit holds a miner back, or None.
        bound_how: [N] which limit of it: cap, demand event, demand charge, ramp or least load; or None.
        unmet: [T] name of the place whose cap cannot be kept in a step, or None.
        upper_power_w: planned draw of all miners at the stated confidence.
        feasible: False where even the safest plan exceeds a cap.
        left_out: number of miners not up for decision, by reason.
    """

    chosen: Ints
    gain: Floats
    profit: Floats
    lasts_h: Floats
    confidence: Floats
    possible: Bools
    pays: Bools
    lower_usd_per_day: Floats
    too_hot: Bools
    worn_out: Bools
    curtailed: Bools
    path: Ints
    put_off: Bools
    power_price_usd_per_w_day: Floats
    bound_by: tuple[str | None, ...]
    bound_how: tuple[str | None, ...]
    unmet: tuple[str | None, ...]
    upper_power_w: float
    feasible: bool
    left_out: dict[str, int]


def decide(fleet: Fleet, horizon: Horizon, limits: Limits) -> Plan:
    """Choose one candidate per miner for now, along the best path over the horizon.

    Infeasible is never an error: it gives the least power that the bounds allow and says so. Without a
    known price nobody moves.
    """
    table, curves = fleet.candidates, fleet.curves
    count, width = table.shares.shape
    rows = np.arange(count)
    known_now = table.current >= 0
    here = np.maximum(table.current, 0)
    ahead = horizon.known()
    priced = len(ahead) > 0
    if not priced:
        ahead = Horizon(horizon.step_h, np.zeros(1), np.zeros(1))
    margins = Margins(curves, *fleet.priced_at)
    power = limits.power(count, len(ahead))

    free = np.array([reason is None for reason in fleet.held_back], dtype=np.bool_) & known_now & priced
    too_hot = np.nan_to_num(curves.chip_temp_c[:, :, 2], nan=-np.inf) > fleet.chip_max_c[:, None]
    worn_out = table.restarts & (fleet.restarts_left <= 0)[:, None]
    foreseen = np.isfinite(margins.rate_ths) & np.isfinite(margins.power_w)
    may_enter = foreseen & table.permitted & ~too_hot
    for_good = np.zeros_like(table.stops)
    if fleet.restarts_a_day is not None:
        for_good = table.stops & (fleet.restarts_a_day <= 0)[:, None] & ~too_hot[rows, here][:, None]
        for_good[rows, here] = False
    possible = may_enter & ~worn_out & ~for_good
    # Too hot where it stands: any permitted cooler setting may be taken, whatever it costs.
    hot_now = too_hot[rows, here] & free & (possible & power.may_change[:, :1]).any(axis=1)

    prospect = replace(
        _prospect(fleet, margins, ahead, limits, may_enter & free[:, None] & ~for_good),
        may_change=power.may_change,
    )
    draw = _present_draw(fleet)
    shared = _shared(fleet, limits, ahead, free)
    mean_w = shared.power_w
    budget_steps = round(_DAY_H / ahead.step_h)

    def solve(given: Prospect) -> Outlook:
        return look_ahead_within(given, fleet.restarts_left, budget_steps, keep_values=shared.limited)

    price, outlook = None, solve(prospect)
    if shared.limited:
        price, outlook = price_limits(prospect, outlook, shared, solve)
    money = Gains(margins, ahead, _change_usd(prospect), here, prospect.hold_steps)
    gain = money.sure(outlook.lasts)
    pays = _pays(gain, fleet, limits) | hot_now[:, None]
    held = fleet.held_h > 0.0
    open_to = possible & pays & power.may_change[:, :1] & ~(held & ~hot_now)[:, None]
    open_to[rows, here] = ~hot_now
    middle = margins.over(*(np.full((1, 1), mean) for mean in ahead.means()))[:, :, 1]
    worth = np.where(hot_now[:, None], middle, outlook.action_usd * (_DAY_H / ahead.step_h))
    worth = np.where(open_to & np.isfinite(worth), worth, np.nan)
    if price is not None:
        # The limits of this step take the place of their price.
        worth += price[:, 0][:, None] * mean_w * _KWH_PER_W_DAY
    worth[~free] = np.nan
    # Where a limit cannot be kept with changes that pay: what holds and wear budgets allow, then all that
    # the hardware permits.
    anything = np.where(may_enter & power.may_change[:, :1], np.nan_to_num(middle), np.nan)
    within = np.where(worn_out | (held & ~hot_now)[:, None], np.nan, anything)
    for table_usd in (within, anything):
        table_usd[rows, here] = np.where(hot_now, np.nan, np.nan_to_num(middle[rows, here]))
        table_usd[~free] = np.nan
    nodes = shared.nodes(0, shared.draw(table.current))
    found = allot(shared, nodes, table.current, worth, [within, anything])

    chosen, better = found.chosen, np.zeros(count, dtype=np.bool_)
    path, unmet = outlook.path.copy(), np.full(len(ahead), -1)
    different = path[:, 0] != chosen
    if shared.limited and (price is not None or different.any() or shared.ramped.any()):
        dearer, first = np.zeros(path.shape) if price is None else price, np.maximum(chosen, 0)
        course = go_through(prospect, outlook, dearer, shared, first, fleet.restarts_left, budget_steps)

        def pays_for(steps: int) -> Bools:
            return _pays(money.sure(np.full((count, width), steps)), fleet, limits)

        still = hot_now | power.protected
        rules = Rules(open_to, still, fleet.restarts_left, budget_steps, cache(pays_for))
        path, unmet = improved(prospect, shared, course.path, rules), course.unmet
        better = (path != course.path).any(axis=1)
        chosen = np.where(better, path[:, 0], chosen)
        different = outlook.path[:, 0] != chosen
    else:
        path[different] = chosen[different, None]
    moved = (chosen != table.current) & (chosen >= 0) & free
    pick = np.maximum(chosen, 0)
    lasts = np.where(better, _kept_steps(path), outlook.lasts[rows, pick])
    # Every candidate over the hours of the one that is taken, so that they can be compared.
    span = np.broadcast_to(lasts[:, None], (count, width))
    profit, told = money.told(span)
    taken = np.where(moved[:, None], told[rows, pick], 0.0)
    less = mean_w[rows, pick] < mean_w[rows, here]
    pays_alone = gain[rows, pick, 0] > limits.minimum_gain_usd_per_day
    member = power.tree.member()
    paid = np.where(member, found.price, 0.0).max(axis=1)
    curtailed = moved & less & ~pays_alone & (paid > 0.0)
    bound, how = _bound(power, found, worth, mean_w)
    path[~known_now] = -1
    if found.over.any():
        unmet[0] = int(found.over.argmax())
    left_out = Counter(reason for reason in fleet.held_back if reason is not None)
    up_for_decision = np.array([reason is None for reason in fleet.held_back], dtype=np.bool_)
    left_out["present setting unknown"] += int((~known_now & up_for_decision).sum())
    return Plan(
        chosen=chosen,
        gain=taken,
        profit=profit,
        lasts_h=np.asarray(lasts * ahead.step_h, dtype=np.float64),
        confidence=confidence(taken),
        possible=possible,
        pays=pays,
        lower_usd_per_day=gain[:, :, 0],
        too_hot=too_hot,
        worn_out=worn_out,
        curtailed=curtailed,
        path=path,
        put_off=different & (chosen == table.current),
        power_price_usd_per_w_day=paid,
        bound_by=tuple(power.tree.names[g] if g >= 0 and free[i] else None for i, g in enumerate(bound)),
        bound_how=tuple(words if free[i] else None for i, words in enumerate(how)),
        unmet=tuple(power.tree.names[g] if g >= 0 else None for g in unmet),
        upper_power_w=_upper_w(shared, chosen) + float(draw[~free].sum()),
        feasible=not found.over.any(),
        left_out={reason: n for reason, n in left_out.items() if n},
    )


def keeps_limits(fleet: Fleet, horizon: Horizon, limits: Limits, chosen: Ints) -> bool:
    """True if candidates [N] taken now keep to caps, ramps and least loads as well as staying does."""
    ahead = horizon.known()
    free = np.array([reason is None for reason in fleet.held_back], dtype=np.bool_)
    free &= fleet.candidates.current >= 0
    shared = _shared(fleet, limits, ahead, free)
    nodes = shared.nodes(0, shared.draw(fleet.candidates.current))
    before = shared.broken(fleet.candidates.current, nodes)
    return not (shared.broken(chosen, nodes) & ~before).any()


def _present_draw(fleet: Fleet) -> Floats:
    return np.where(np.isfinite(fleet.present_power_w), fleet.present_power_w, fleet.rated_power_w)


def _shared(fleet: Fleet, limits: Limits, ahead: Horizon, free: Bools) -> Shared:
    power, table = fleet.curves.power_w, fleet.candidates
    draw = _present_draw(fleet)
    mean_w = np.nan_to_num(power[:, :, 1])
    sigma_w = np.nan_to_num((power[:, :, 2] - power[:, :, 0]) / WIDTH_80)
    # Of a present setting that nothing foresees, what it draws is known all the same.
    rows, here = np.arange(len(draw)), np.maximum(table.current, 0)
    unforeseen = (table.current >= 0) & ~np.isfinite(power[rows, here, 1])
    mean_w[rows[unforeseen], here[unforeseen]] = draw[unforeseen]
    site = limits.power(len(draw), len(ahead))
    return share(site, draw, mean_w, sigma_w, limits.cap_z, free, 3600.0 * ahead.step_h, len(ahead))


def _prospect(fleet: Fleet, margins: Margins, ahead: Horizon, limits: Limits, may_enter: Bools) -> Prospect:
    table = fleet.candidates
    count = len(table.current)
    here = np.maximum(table.current, 0)
    rate, power = margins.rate_ths.copy(), margins.power_w.copy()
    # A present setting that nothing foresees earns nothing known; it is kept until somebody decides.
    blank = ~(np.isfinite(rate).any(axis=1) & np.isfinite(power).any(axis=1))
    rate[blank, 0], power[blank, 0] = 0.0, 0.0
    prospect = Prospect(
        hashrate_ths=rate,
        power_w=power,
        allowed=may_enter,
        stops=table.stops,
        loss_h=table.loss_h,
        wake_loss_h=table.wake_loss_h,
        current=here,
        held_steps=np.ceil(np.maximum(fleet.held_h, 0.0) / ahead.step_h - 1e-9).astype(np.int64),
        step_h=ahead.step_h,
        hashprice_usd_per_ths_day=ahead.hashprice_usd_per_ths_day,
        price_usd_per_kwh=ahead.price_usd_per_kwh,
        hold_steps=max(1, int(np.ceil(limits.hold_h / ahead.step_h - 1e-9))),
        restart_usd=np.full(count, limits.restart_usd),
        wears=table.wears,
    )
    return replace(prospect, after_usd=_after(prospect, ahead))


def _after(prospect: Prospect, ahead: Horizon) -> Floats:
    """[N,K] worth of ending the horizon in a setting: as long again at mean prices, from there or changed.

    Without it, what is changed late in the horizon would never pay for itself.
    """
    mean = replace(
        prospect,
        step_h=ahead.step_h * len(ahead),
        hashprice_usd_per_ths_day=np.full(1, ahead.means()[0]),
        price_usd_per_kwh=np.full(1, ahead.means()[1]),
        hold_steps=1,
        held_steps=np.zeros_like(prospect.held_steps),
    )
    money = Steps(mean)
    stay, (loss, wake_loss) = money.earning(0), money.losses(0)
    entered = np.where(prospect.allowed & prospect.exists, stay, -np.inf)
    best = np.where(
        mean.stops, (entered - wake_loss).max(axis=1)[:, None], (entered - loss).max(axis=1)[:, None]
    )
    return np.asarray(np.maximum(stay, best))


def _bound(
    power: SitePower, found: Allotment, worth: Floats, power_w: Floats
) -> tuple[Ints, list[str | None]]:
    """[N] the place whose limit shapes each miner's choice, -1 for none, and which limit that is."""
    tree = power.tree
    bound = binding(tree, found.price, found.over)
    rows = np.arange(len(bound))
    best = np.where(np.isfinite(worth), worth, -np.inf).argmax(axis=1)
    pushed = (power_w[rows, found.chosen] > power_w[rows, best]) & np.isfinite(worth[rows, best])
    raised = tree.member() & found.raised
    outer = np.where(raised.any(axis=1) & pushed & (bound < 0), raised.argmax(axis=1), -1)
    how: list[str | None] = []
    for own, up in zip(bound, outer, strict=True):
        if own >= 0:
            how.append(_which_cap(power, found, int(own)))
        elif up >= 0:
            how.append("least load" if np.isfinite(tree.floor_w[up]) else "ramp")
        else:
            how.append(None)
    return np.where(bound >= 0, bound, outer), how


def _which_cap(power: SitePower, found: Allotment, g: int) -> str:
    if not (found.cap_binds[g] or found.over[g]):
        return "ramp"
    if g == 0 and power.peak_w < min(power.event_cap_w[0, g], power.tree.cap_w[g]):
        return "demand charge"
    return "demand event" if power.event_cap_w[0, g] < power.tree.cap_w[g] else "cap"


def _pays(gain: Floats, fleet: Fleet, limits: Limits) -> Bools:
    """[N,K] whether gains [N,K,3] are sure enough."""
    pays: Bools = np.greater(gain[:, :, 0], limits.minimum_gain_usd_per_day)
    if fleet.trying is not None:
        pays |= fleet.trying[:, None] & (gain[:, :, 1] > 0.0)
    return pays


def _kept_steps(path: Ints) -> Ints:
    """[N] steps for which paths [N,T] keep their first setting."""
    leaves = path != path[:, :1]
    return np.asarray(np.where(leaves.any(axis=1), leaves.argmax(axis=1), path.shape[1]), dtype=np.int64)


def _upper_w(shared: Shared, chosen: Ints) -> float:
    """What the miners that are up for decision draw together, at the stated confidence."""
    rows, pick = np.flatnonzero(shared.free), chosen[shared.free]
    variance = float((shared.sigma_w[rows, pick] ** 2).sum())
    return float(shared.power_w[rows, pick].sum()) + shared.z * sqrt(variance)


def _change_usd(prospect: Prospect) -> Floats:
    """[N,K] USD that a change to each candidate costs now."""
    loss, wake_loss = Steps(prospect).losses(0)
    rows = np.arange(len(prospect.current))
    cost = np.where(prospect.stops[rows, prospect.current][:, None], wake_loss, loss)
    cost[rows, prospect.current] = 0.0
    return cost

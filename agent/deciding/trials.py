"""Settings tried on a live site to learn what they bring: what was spent, who is trying, what to offer.

What is worth its cost says `agent.learning.explore`; trials pass every limit that other changes pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from agent.fleet import Unit
from agent.learning.config import ExploreConfig
from agent.learning.explore import Probe, Terms, probes
from agent.learning.state import UnitLearning
from agent.planner.decide import keeps_limits
from agent.planner.fleet import Fleet
from agent.planner.margins import Horizon
from agent.planner.plan import Plan
from agent.planner.power.limits import Limits
from agent.planner.recommend import Context, recommendations
from agent.records import Act, Recommendation

COST_INPUT, WORTH_INPUT = "trial_cost_usd", "trial_worth_usd"


@dataclass(frozen=True, slots=True)
class Trials:
    """What was tried of late.

    Args:
        spent_usd: expected cost of what was begun or approved within the last 24 hours.
        trying: miners whose present setting was entered to learn from it.
    """

    spent_usd: float = 0.0
    trying: frozenset[str] = frozenset()


def trials_of(
    acts: Sequence[Act],
    approved: Sequence[Recommendation],
    find: Callable[[str], Recommendation | None],
    now: datetime,
) -> Trials:
    """What the journal says of trials.

    Args:
        acts: of the last day and of the hold time, newest first.
        approved: not sent yet.
        find: recommendations by id.
    """
    spent = sum(cost for r in approved if (cost := _cost(r)) is not None)
    trying, seen = set(), set()
    for act in acts:
        if act.status == "failed" or act.recommendation_id is None:
            continue
        recommendation = find(act.recommendation_id)
        cost = _cost(recommendation) if recommendation is not None else None
        if cost is not None and act.rolls_back is None and act.intended_at > now - timedelta(days=1):
            spent += cost
        newest = act.miner_id not in seen and act.status in ("intended", "sent", "confirmed")
        if newest and cost is not None and act.rolls_back is None:
            trying.add(act.miner_id)
        seen.add(act.miner_id)
    return Trials(spent, frozenset(trying))


def offers(
    units: Sequence[Unit],
    state: UnitLearning,
    fleet: Fleet,
    plan: Plan,
    horizon: Horizon,
    limits: Limits,
    config: ExploreConfig,
    spent_usd: float,
    context: Context,
) -> list[Recommendation]:
    """Trials to offer now, of miners that the plan leaves as they are."""
    table, rows = fleet.candidates, np.arange(len(units))
    if not config.enabled or state.count != len(units) or not len(horizon.known()):
        return []
    here = np.maximum(table.current, 0)
    stays = (plan.chosen == table.current) & (table.current >= 0) & (fleet.held_h <= 0.0)
    stays &= np.array([reason is None for reason in fleet.held_back], dtype=np.bool_)
    if limits.site is not None:
        stays &= limits.site.may_change[:, 0]
    if fleet.trying is not None:
        # One unit of a kind at a time.
        stays &= ~np.isin(state.group, state.group[fleet.trying])
    # There and back again.
    back = table.wears[rows, here].astype(np.int64)
    worn = table.restarts & (fleet.restarts_left < 1 + back)[:, None]
    terms = Terms(
        hashprice_usd_per_ths_day=float(horizon.hashprice_usd_per_ths_day[0]),
        price_usd_per_kwh=float(horizon.price_usd_per_kwh[0]),
        later_usd_per_kwh=horizon.price_usd_per_kwh,
        hold_h=max(limits.hold_h, horizon.step_h),
        spent_usd=spent_usd,
    )
    chosen = np.where(stays, table.current, -1)
    found = probes(
        state, table.shares, fleet.curves, plan.possible & ~worn, chosen, table.loss_h, terms, config
    )
    tried, taken = plan.chosen.copy(), list[Probe]()
    for probe in found:
        tried[probe.row] = probe.column
        if keeps_limits(fleet, horizon, limits, tried):
            taken.append(probe)
        else:
            tried[probe.row] = table.current[probe.row]
    return [_recommendation(probe, units, fleet, plan, limits, context, terms.hold_h) for probe in taken]


def _recommendation(
    probe: Probe,
    units: Sequence[Unit],
    fleet: Fleet,
    plan: Plan,
    limits: Limits,
    context: Context,
    hold_h: float,
) -> Recommendation:
    row, here = probe.row, int(fleet.candidates.current[probe.row])
    chosen, gain, lasts = fleet.candidates.current.copy(), plan.gain.copy(), plan.lasts_h.copy()
    chosen[row], lasts[row] = probe.column, hold_h
    # What it earns less while it is held, the way there and back included.
    lost = plan.profit[row, probe.column] - plan.profit[row, here]
    gain[row] = np.sort(lost) - (np.median(lost) + probe.cost_usd * 24.0 / hold_h)
    only = replace(plan, chosen=chosen, gain=gain, lasts_h=lasts, confidence=np.zeros(len(units)))
    (made,) = recommendations(units, fleet, only, limits, context)
    inputs = made.why.inputs | {COST_INPUT: probe.cost_usd, WORTH_INPUT: probe.worth_usd}
    return made.model_copy(
        update={"why": made.why.model_copy(update={"summary": probe.words, "inputs": inputs})}
    )


def _cost(recommendation: Recommendation) -> float | None:
    cost = recommendation.why.inputs.get(COST_INPUT)
    return float(cost) if isinstance(cost, int | float) else None

"""One round of deciding for a live site: gather what is known, call the pure `decide`, word the result.

Nothing is stored or sent here; `agent.cycle` does that with what comes back.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from agent.config import SiteConfig
from agent.deciding.trials import Trials, offers
from agent.deciding.unasked import Unasked
from agent.features.streaming import feature_hash
from agent.fleet import FleetFrame, Unit
from agent.learning.chips import without_present
from agent.learning.live import Learner
from agent.models.inference import Curves, Economics, Predictor
from agent.money.conditions import Forecast
from agent.money.demand import DemandMeter
from agent.planner.binds import Lately
from agent.planner.candidates import Candidates, build_candidates
from agent.planner.decide import decide
from agent.planner.fleet import Fleet
from agent.planner.margins import Horizon
from agent.planner.plan import Plan
from agent.planner.power.events import DemandEvent
from agent.planner.power.limits import Limits, SitePower
from agent.planner.power.peak import PeakCharge
from agent.planner.recommend import Context, recommendations
from agent.planner.snapshot import Snapshot
from agent.planner.worth_keeping import with_events, with_peak
from agent.records import Act, Recommendation
from agent.site import Member, Site
from agent.site_limits import demand_events, power_tree, protected, rests, weights

Floats = NDArray[np.float64]
# A unit that has just started says nothing yet about what its setting brings.
_WARM_UP_S = 900.0


@dataclass(frozen=True, slots=True)
class Round:
    """What one decision round found, in the order of the site's members.

    Args:
        held_back: per member, why it was not up for decision or is kept, or None.
        snapshot: all that the plan was made from.
    """

    at: datetime
    candidates: Candidates
    curves: Curves
    plan: Plan
    recommendations: tuple[Recommendation, ...]
    held_back: tuple[str | None, ...]
    snapshot: Snapshot


async def decision_round(
    site: Site,
    config: SiteConfig,
    units: Sequence[Unit],
    frame: FleetFrame,
    features: NDArray[np.float32],
    predictor: Predictor,
    forecast: Forecast,
    recent: Sequence[Act],
    busy: set[str],
    present_power_w: Floats,
    learner: Learner,
    demand: DemandMeter | None = None,
    trials: Trials | None = None,
    unasked: Unasked | None = None,
) -> Round:
    """Decide for every member of the site.

    Args:
        features: [N,F] of `agent.features.streaming`.
        recent: acts of the last day and of the hold time, whichever is longer.
        busy: miners with an act that is not settled.
        present_power_w: [N] measured or estimated draw; NaN where unknown.
        learner: what the units themselves have shown.
        demand: the month's peak so far, where the tariff charges for it.
        trials: what was tried of late to learn from it.
        unasked: what was done to the miners by another hand.
    """
    now = frame.at
    table = build_candidates(site.choices())
    kept = 1.0 - config.market.pool_fee_share
    horizon = Horizon(
        step_h=forecast.step_h,
        hashprice_usd_per_ths_day=kept * forecast.hashprice_usd_per_ths_day,
        price_usd_per_kwh=forecast.cost_usd_per_kwh,
        hashprice_sigma_usd_per_ths_day=kept * forecast.hashprice_sigma_usd_per_ths_day,
        price_sigma_usd_per_kwh=forecast.price_sigma_usd_per_kwh * forecast.pue,
    )
    hashprice, price = horizon.known().means()
    # Fee and PUE are in the horizon; what a change costs the plan takes off.
    economics = Economics(hashprice, price, pue=1.0, pool_fee_share=0.0, hold_h=24.0)
    if config.learning.enabled:
        features = without_present(features)
    curves = predictor.predict(features, table.shares.astype(np.float32), 0.0, economics)
    if config.learning.enabled:
        nothing_lost = np.zeros(table.shares.shape)
        curves = learner.correct(frame, table.shares, curves, economics, nothing_lost)
    miners = [member.config for member in site.members]
    tree = power_tree(config.limits, miners)
    step_s = 3600.0 * forecast.step_h
    resting = rests(config.limits, miners, tree, now, step_s, len(horizon), _timezone(config))
    held_back = tuple(
        _held_back(i, member, site, table, frame, busy, horizon) or resting.reason[i]
        for i, member in enumerate(site.members)
    )
    own, hold_h = _own_changes(recent), config.limits.minimum_hold_h
    holds = [_hold(m.miner_id, own.get(m.miner_id), unasked, hold_h, now) for m in site.members]
    budget = _restarts_a_day(site.members, config)
    by_others = _restarts_by_others(site.members, unasked, now)
    left = np.maximum(budget - _restarts_used(site.members, recent, now) - by_others, 0)
    fleet = Fleet(
        candidates=table,
        curves=curves,
        priced_at=(hashprice, price),
        chip_max_c=np.array([_chip_max_c(unit) for unit in units], dtype=np.float64),
        present_power_w=present_power_w,
        rated_power_w=np.nan_to_num(frame.columns["rated_power_w"]),
        held_back=held_back,
        restarts_left=left,
        restarts_a_day=budget,
        held_h=np.array([hold.hours if hold else 0.0 for hold in holds], dtype=np.float64),
        trying=_trying(site.members, trials, unasked) if trials else None,
    )
    events = demand_events(config.limits, now)
    power = SitePower(
        tree=tree,
        # The largest of the horizon, so that a cap holds in the hottest hour too.
        pue=float(forecast.pue.max()),
        ramp_s=config.decide.interval_s,
        event_cap_w=np.full((len(horizon), len(tree.names)), np.inf),
        weight=weights(config.limits, miners),
        protected=protected(config.limits, miners),
        may_change=resting.may_change,
        off=resting.off,
    )
    limits = Limits(
        cap_w=np.inf,
        cap_z=NormalDist().inv_cdf(config.limits.cap_confidence),
        minimum_gain_usd_per_day=config.limits.minimum_gain_usd_per_day,
        hold_h=config.limits.minimum_hold_h,
        site=power,
    )
    charge = None if demand is None else demand.charge(now)
    # Seconds of a large site under many limits; commands on the wire must not wait for them.
    limits, plan = await asyncio.to_thread(_planned, fleet, horizon, limits, power, events, charge, now)
    lately = Lately(tuple(hold.words if hold else None for hold in holds), by_others)
    context = Context(
        site_id=config.site.id,
        now=now,
        ttl_s=config.decide.recommendation_ttl_s,
        forecast=forecast,
        model_label=predictor.label,
        fallback=predictor.fallback_mask(units),
        feature_hash=feature_hash(),
        lately=lately,
    )
    found = recommendations(units, fleet, plan, limits, context)
    if trials is not None and config.learning.enabled:
        explore = config.learning.explore
        found += offers(
            units, learner.state, fleet, plan, horizon, limits, explore, trials.spent_usd, context
        )
    shown = tuple(
        hold.words if reason is None and hold is not None else reason
        for reason, hold in zip(held_back, holds, strict=True)
    )
    snapshot = Snapshot(
        at=now,
        miner_ids=tuple(member.miner_id for member in site.members),
        fleet=fleet,
        horizon=horizon,
        limits=limits,
        sources=(forecast.price_source, forecast.hashprice_source),
        model=predictor.label,
        holds=lately.holds,
        charge=charge,
    )
    return Round(now, table, curves, plan, tuple(found), shown, snapshot)


def _planned(
    fleet: Fleet,
    horizon: Horizon,
    limits: Limits,
    power: SitePower,
    events: Sequence[DemandEvent],
    charge: PeakCharge | None,
    now: datetime,
) -> tuple[Limits, Plan]:
    """The plan, and the limits with events and a bound of the peak where these pay."""
    if events:
        limits = replace(limits, site=with_events(events, fleet, horizon, limits, power, now))
    if charge is not None and limits.site is not None:
        limits = replace(limits, site=with_peak(charge, fleet, horizon, limits, limits.site))
    return limits, decide(fleet, horizon, limits)


def _held_back(
    i: int,
    member: Member,
    site: Site,
    table: Candidates,
    frame: FleetFrame,
    busy: set[str],
    horizon: Horizon,
) -> str | None:
    """Why this member may not be moved now; the first reason that applies."""
    if member.error is not None:
        return f"not read: {member.error.kind}"
    if not frame.fresh[i]:
        return "not read yet"
    if member.doubled:
        return "another address reports the same MAC"
    if member.profile is None:
        return "no hardware profile for this model"
    if site.mode(member) == "observe":
        return "mode observe"
    if member.capabilities is not None and member.capabilities.writable is False:
        return f"write access is closed: {member.capabilities.remedy or 'the owner must enable it'}"
    if not table.permitted[i].any():
        return f"profile {member.profile.key} is {member.profile.status}"
    if not np.isfinite(horizon.price_usd_per_kwh[0]):
        return "electricity price unknown or too old"
    if not np.isfinite(horizon.hashprice_usd_per_ths_day[0]):
        return "hashprice unknown or too old"
    if member.miner_id in busy:
        return "a change is being confirmed"
    stopped = table.current[i] >= 0 and bool(table.stops[i, table.current[i]])
    if not stopped and frame.columns["is_hashing"][i] == 0.0:
        return "set to hash but does not; needs a look"
    if not stopped and frame.columns["uptime_s"][i] < _WARM_UP_S:
        return "warming up"
    return None


def _timezone(config: SiteConfig) -> str:
    """Of the tariff, for hours that a person wrote."""
    return config.tariff.timezone or "UTC"


@dataclass(frozen=True, slots=True)
class _Hold:
    hours: float
    words: str


def _own_changes(recent: Sequence[Act]) -> dict[str, datetime]:
    """By miner, when the last of the agent's acts that may have changed it came to its end."""
    last: dict[str, datetime] = {}
    for act in recent:
        if act.status != "failed":
            at = act.settled_at or act.intended_at
            last[act.miner_id] = max(at, last.get(act.miner_id, at))
    return last


def _hold(
    miner_id: str, by_agent: datetime | None, unasked: Unasked | None, hold_h: float, now: datetime
) -> _Hold | None:
    """For how long a setting is held, and for whose last change; None if it is not held."""
    by_other = unasked.changed_at(miner_id) if unasked is not None else None
    since = max((at for at in (by_agent, by_other) if at is not None), default=None)
    if since is None or since + timedelta(hours=hold_h) <= now:
        return None
    until = since + timedelta(hours=hold_h)
    words = f"in hold until {_clock(until, now)} UTC"
    if since == by_other:
        words += f": somebody else changed the setting at {_clock(since, now)}"
    return _Hold((until - now).total_seconds() / 3600.0, words)


def _clock(at: datetime, now: datetime) -> str:
    at = at.astimezone(now.tzinfo)
    return f"{at:%H:%M}" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M}"


def _trying(members: Sequence[Member], trials: Trials, unasked: Unasked | None) -> NDArray[np.bool_]:
    """[N] True where what is set now is a trial of ours and not what somebody else set since."""
    return np.array(
        [
            m.miner_id in trials.trying and (unasked is None or unasked.changed_at(m.miner_id) is None)
            for m in members
        ],
        dtype=np.bool_,
    )


def _restarts_a_day(members: Sequence[Member], config: SiteConfig) -> NDArray[np.int64]:
    """[N] the wear budget: the profile's or the site's, whichever is smaller."""
    wear = [int(m.profile.restarts_per_day.value) if m.profile is not None else 0 for m in members]
    most = config.limits.restarts_per_day
    return np.array([one if most is None else min(one, most) for one in wear], dtype=np.int64)


def _restarts_by_others(
    members: Sequence[Member], unasked: Unasked | None, now: datetime
) -> NDArray[np.int64]:
    """[N] restarts of the last day that the agent did not ask for."""
    return np.array(
        [unasked.restarts(m.miner_id, now) if unasked is not None else 0 for m in members], dtype=np.int64
    )


def _restarts_used(members: Sequence[Member], recent: Sequence[Act], now: datetime) -> NDArray[np.int64]:
    """[N] restarts of the last day that the agent asked for."""
    since = now - timedelta(days=1)
    used = Counter(
        act.miner_id
        for act in recent
        if act.restarts_hashing and act.status != "failed" and act.intended_at > since
    )
    return np.array([used[m.miner_id] for m in members], dtype=np.int64)


def _chip_max_c(unit: Unit) -> float:
    limit = unit.profile.temperatures.chip_max_c if unit.profile is not None else None
    return limit.value if limit is not None else float("nan")

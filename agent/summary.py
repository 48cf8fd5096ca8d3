"""The site at one moment, as the status table and the dashboard show it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from agent import __version__
from agent.config import SiteConfig
from agent.deciding.decision import Round
from agent.fleet import FleetFrame
from agent.money.conditions import Conditions
from agent.money.economics import profit_usd_per_day
from agent.records import MinerLine, Recommendation, SettingRecord, Summary, known
from agent.site import Member, Site

Floats = NDArray[np.float64]


def summarise(
    site: Site,
    config: SiteConfig,
    frame: FleetFrame,
    conditions: Conditions,
    estimated_power_w: Floats,
    round_: Round | None,
    standing: Mapping[str, Recommendation],
    seen_at: Sequence[datetime | None],
    *,
    pue: float,
    power_offsets: Sequence[str | None],
    learned: Sequence[str | None],
    cycle: int,
    model_label: str,
    model_is_fallback: bool,
) -> Summary:
    """Totals and one line per miner.

    Args:
        estimated_power_w: [N] the power model's estimate, used where the firmware reports no watts.
        round_: the last decision round, None before the first.
        standing: open recommendations by miner.
        seen_at: per member, when it last answered.
        pue: power of the site over that of its miners, now.
        power_offsets: per member, how far its own watts are off its meter, in words; None where unknown.
        learned: per member, how it differs from its model, in words; None where nothing is said.
    """
    fresh = frame.fresh
    # A machine known not to hash has no rate, also where its firmware then reports none.
    idle = frame.columns["is_hashing"] == 0.0
    rate = np.where(idle & np.isnan(frame.columns["hashrate_ths"]), 0.0, frame.columns["hashrate_ths"])
    hashrate = np.where(fresh, rate, np.nan)
    measured = np.where(fresh, frame.columns["power_w"], np.nan)
    estimated = fresh & np.isnan(measured) & np.isfinite(estimated_power_w)
    power = np.where(estimated, estimated_power_w, measured)

    def money(rate_ths: Floats, draw_w: Floats) -> Floats:
        return profit_usd_per_day(
            rate_ths,
            draw_w,
            conditions.hashprice_usd_per_ths_day,
            conditions.price_usd_per_kwh,
            pool_fee_share=config.market.pool_fee_share,
            pue=pue,
        )

    profit = money(hashrate, power)
    nominal, planned = _baselines(round_, profit, site, standing, money)
    lines = [
        _line(i, member, site, frame, hashrate, power, estimated, profit, nominal, round_, standing, seen_at)
        for i, member in enumerate(site.members)
    ]
    lines = [
        line.model_copy(update={"power_offset": offset, "learned": words})
        for line, offset, words in zip(lines, power_offsets, learned, strict=True)
    ]
    total_power = float(np.nansum(power))
    return Summary(
        site_id=config.site.id,
        site_name=config.site.name,
        at=frame.at,
        cycle=cycle,
        agent_version=__version__,
        mode=config.mode,
        model=model_label,
        model_is_fallback=model_is_fallback,
        hashprice_usd_per_ths_day=known(conditions.hashprice_usd_per_ths_day),
        price_usd_per_kwh=known(conditions.price_usd_per_kwh),
        miners_total=len(lines),
        miners_reachable=int(fresh.sum()),
        hashrate_ths=float(np.nansum(hashrate)),
        power_w=total_power,
        power_estimated_share=float(power[estimated].sum()) / total_power if total_power > 0 else 0.0,
        profit_usd_per_day=_total(profit),
        profit_nominal_usd_per_day=_total(np.where(fresh, nominal, np.nan)),
        profit_recommended_usd_per_day=_total(np.where(fresh, planned, np.nan)),
        miners=lines,
    )


def _baselines(
    round_: Round | None,
    profit: Floats,
    site: Site,
    standing: Mapping[str, Recommendation],
    money: Callable[[Floats, Floats], Floats],
) -> tuple[Floats, Floats]:
    """[N] profit at the nominal setting, and [N] profit if every open recommendation were taken.

    A unit that is at its nominal setting earns what it earns; for the others the model says what they
    would, without the cost of getting there.
    """
    nominal = np.full(len(profit), np.nan)
    planned = profit.copy()
    if round_ is not None and len(round_.candidates.nominal) == len(profit):
        table, curves = round_.candidates, round_.curves
        rows = np.flatnonzero(table.nominal >= 0)
        at = table.nominal[rows]
        nominal[rows] = money(curves.hashrate_ths[rows, at, 1], curves.power_w[rows, at, 1])
        already = rows[at == table.current[rows]]
        nominal[already] = np.where(np.isfinite(profit[already]), profit[already], nominal[already])
    for i, member in enumerate(site.members):
        recommendation = standing.get(member.miner_id)
        if recommendation is not None:
            planned[i] = profit[i] + recommendation.gain_usd_per_day.q50
    return nominal, planned


def _line(
    i: int,
    member: Member,
    site: Site,
    frame: FleetFrame,
    hashrate: Floats,
    power: Floats,
    estimated: NDArray[np.bool_],
    profit: Floats,
    nominal: Floats,
    round_: Round | None,
    standing: Mapping[str, Recommendation],
    seen_at: Sequence[datetime | None],
) -> MinerLine:
    fresh = bool(frame.fresh[i])
    error = member.error
    recommendation = standing.get(member.miner_id) if fresh else None
    current = site.setting(member, member.reading) if fresh else None
    if recommendation is not None and current is not None and recommendation.proposed.setting() == current:
        recommendation = None
    hashing = frame.columns["is_hashing"][i] if fresh else np.nan
    efficiency = power[i] / hashrate[i] if hashrate[i] > 0 else np.nan
    held = round_.held_back[i] if round_ is not None and i < len(round_.held_back) else None
    reason = f"{error.kind}: {error.detail}" if error is not None else "not polled yet"
    model = member.profile.key if member.profile is not None else None
    if model is None and member.reading is not None:
        model = member.reading.model
    return MinerLine(
        miner_id=member.miner_id,
        address=member.config.address,
        model=model,
        firmware=site.firmware(member),
        tags=list(member.config.tags),
        mode=site.mode(member),
        reachable=fresh,
        unreachable_reason=None if fresh else reason[:2000],
        last_seen=seen_at[i],
        hashrate_ths=known(hashrate[i]),
        power_w=known(power[i]),
        power_is_estimate=bool(estimated[i]),
        power_source="model" if estimated[i] else frame.power_source[i],
        efficiency_j_th=known(efficiency),
        chip_temp_c=known(frame.columns["chip_temp_c"][i]) if fresh else None,
        is_hashing=bool(hashing) if np.isfinite(hashing) else None,
        profit_usd_per_day=known(profit[i]),
        profit_nominal_usd_per_day=known(nominal[i]) if fresh else None,
        current=SettingRecord.of(current) if current is not None else None,
        proposed=recommendation.proposed if recommendation is not None else None,
        gain_usd_per_day=recommendation.gain_usd_per_day if recommendation is not None else None,
        recommendation_id=recommendation.id if recommendation is not None else None,
        why=recommendation.why.summary if recommendation is not None else held,
    )


def _total(values: Floats) -> float | None:
    found = values[np.isfinite(values)]
    return float(found.sum()) if len(found) else None

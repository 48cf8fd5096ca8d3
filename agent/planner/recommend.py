"""From a plan to recommendations that a person can check: numbers, interval, reasons, alternatives, steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from agent.energy import KWH_PER_W_DAY
from agent.fleet import Unit
from agent.hardware.shares import standby_interval_w
from agent.money.conditions import Forecast
from agent.planner.binds import Lately, binding_words, limit_words
from agent.planner.fleet import Fleet
from agent.planner.plan import Plan
from agent.planner.power.limits import Limits
from agent.records import (
    Alternative,
    Expectation,
    Interval,
    Recommendation,
    RecommendationType,
    SettingRecord,
    Why,
    known,
)
from agent.setting import Knob, Setting

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Context:
    """What every recommendation of one decision round shares."""

    site_id: str
    now: datetime
    ttl_s: float
    forecast: Forecast
    model_label: str
    fallback: Sequence[bool]
    feature_hash: str
    lately: Lately | None = None


def recommendations(
    units: Sequence[Unit], fleet: Fleet, plan: Plan, limits: Limits, context: Context
) -> list[Recommendation]:
    """One recommendation per miner that should move, in the order of `units`."""
    return [
        _one(int(i), units[int(i)], fleet, plan, limits, context)
        for i in np.flatnonzero((plan.chosen != fleet.candidates.current) & (plan.chosen >= 0))
        if fleet.held_back[i] is None
    ]


def _expected(fleet: Fleet, plan: Plan, row: int, column: int, context: Context) -> Expectation:
    """What candidate `column` of miner `row` is predicted to bring while the plan holds.

    Curves take the draw of a stop for certain, as hardly a choice turns on it; a promise is judged by it.
    """
    curves = fleet.curves
    temperature = curves.chip_temp_c[row, column]
    power_w, profit = curves.power_w[row, column], plan.profit[row, column]
    if fleet.candidates.stops[row, column]:
        power_w = np.array(standby_interval_w(float(power_w[1])))
        # What is drawn more is earned less.
        cost = float(np.mean(context.forecast.cost_usd_per_kwh[: _steps_kept(row, plan, context)]))
        profit = profit - KWH_PER_W_DAY * cost * (power_w[::-1] - power_w[1])
    return Expectation(
        hashrate_ths=interval(curves.hashrate_ths[row, column]),
        power_w=interval(power_w),
        chip_temp_c=interval(temperature) if np.isfinite(temperature).all() else None,
        profit_usd_per_day=interval(profit),
    )


def interval(values: Floats) -> Interval:
    """A record of three quantiles, put in order against rounding."""
    low, middle, high = sorted(round(float(v), 6) for v in values)
    return Interval(q10=low, q50=middle, q90=high)


def _one(row: int, unit: Unit, fleet: Fleet, plan: Plan, limits: Limits, context: Context) -> Recommendation:
    table = fleet.candidates
    column, here = int(plan.chosen[row]), int(table.current[row])
    target, present = table.settings[row][column], table.settings[row][here]
    kind: RecommendationType = "curtailment" if plan.curtailed[row] else "power_setting"
    gain = interval(plan.gain[row])
    forecast = context.forecast
    stamp = context.now.strftime("%Y%m%dT%H%M%S")
    binds = binding_words(row, fleet, limits, plan, context.lately)
    if not plan.feasible:
        binds.append(f"the cap cannot be met: least possible draw is {plan.upper_power_w / 1000.0:.1f} kW")
    return Recommendation(
        id=f"{unit.miner_id}-{stamp}".replace(" ", "-"),
        type=kind,
        site_id=context.site_id,
        miner_id=unit.miner_id,
        model=unit.profile.key if unit.profile is not None else None,
        timestamp=context.now,
        expires_at=context.now + timedelta(seconds=context.ttl_s),
        status="proposed",
        confidence=float(np.clip(plan.confidence[row], 0.0, 1.0)),
        gain_usd_per_day=gain,
        current=SettingRecord.of(present),
        proposed=SettingRecord.of(target),
        expected=_expected(fleet, plan, row, column, context),
        expected_current=_expected(fleet, plan, row, here, context),
        settle_s=float(table.settle_s[row, column]),
        restarts_hashing=bool(table.restarts[row, column]),
        steps=_steps(
            unit, target, float(table.settle_s[row, column]), restarts=bool(table.restarts[row, column])
        ),
        why=Why(
            summary=_words(row, column, here, fleet, plan, limits, context),
            inputs=_inputs(row, here, unit, fleet, plan, context),
            alternatives=_alternatives(row, column, here, fleet, plan, binds),
            binds=binds,
            model=context.model_label,
            model_is_fallback=bool(context.fallback[row]),
            feature_hash=context.feature_hash,
            prices_from=forecast.start,
            prices_to=forecast.start + timedelta(hours=float(plan.lasts_h[row])),
        ),
    )


def _words(
    row: int, column: int, here: int, fleet: Fleet, plan: Plan, limits: Limits, context: Context
) -> str:
    curves, table = fleet.curves, fleet.candidates
    price, hashprice = _means(row, plan, context)
    before, after = curves.power_w[row, here, 1], curves.power_w[row, column, 1]
    rate_before, rate_after = curves.hashrate_ths[row, here, 1], curves.hashrate_ths[row, column, 1]
    money = f"at {price:.3f} USD/kWh and {1000.0 * hashprice:.1f} USD/PH/day"
    if plan.curtailed[row]:
        place = plan.bound_by[row]
        limit = (
            limit_words(place, plan.bound_how[row], limits) if place is not None else "a limit of the site"
        )
        return f"{limit} asks for {before - after:.0f} W less here"
    if table.stops[row, column]:
        j_th = before / rate_before if rate_before > 0 else float("nan")
        return f"{j_th:.1f} J/TH costs more than it earns {money}"
    if table.stops[row, here]:
        return f"hashing pays again: {after / rate_after:.1f} J/TH {money}"
    if after < before:
        saved = (before - after) * KWH_PER_W_DAY * price
        lost = (rate_before - rate_after) * hashprice
        return f"the last {before - after:.0f} W cost {saved:.2f} and earn {lost:.2f} USD/day {money}"
    cost = (after - before) * KWH_PER_W_DAY * price
    won = (rate_after - rate_before) * hashprice
    return f"{after - before:.0f} W more earn {won:.2f} and cost {cost:.2f} USD/day {money}"


def _inputs(
    row: int, here: int, unit: Unit, fleet: Fleet, plan: Plan, context: Context
) -> dict[str, float | str | None]:
    price, hashprice = _means(row, plan, context)
    curves = fleet.curves
    by_others = int(context.lately.restarts_by_others[row]) if context.lately is not None else 0
    # Said only where it is so: it is no input of the common case.
    seen = {"restarts_by_others_today": float(by_others)} if by_others else {}
    return {
        "price_usd_per_kwh": known(price),
        "price_source": context.forecast.price_source,
        "hashprice_usd_per_ths_day": known(hashprice),
        "hashprice_source": context.forecast.hashprice_source,
        "planned_h": known(float(plan.lasts_h[row])),
        "rated_hashrate_ths": known(unit.rated_hashrate_ths),
        "rated_power_w": known(unit.rated_power_w),
        "present_power_w": known(float(fleet.present_power_w[row])),
        "predicted_power_now_w": known(float(curves.power_w[row, here, 1])),
        "predicted_hashrate_now_ths": known(float(curves.hashrate_ths[row, here, 1])),
        "restarts_left_today": float(fleet.restarts_left[row]),
        **seen,
    }


def _alternatives(
    row: int, column: int, here: int, fleet: Fleet, plan: Plan, limiting: Sequence[str]
) -> list[Alternative]:
    """The three best candidates that were not taken; staying is always among them."""
    profit = plan.profit[row, :, 1]
    order = [
        int(k)
        for k in np.argsort(-np.nan_to_num(profit, nan=-np.inf), kind="stable")
        if np.isfinite(profit[k])
    ]
    others = [k for k in order if k not in (column, here)][:2]
    out = []
    for k in sorted([here, *others], key=order.index):
        if k == here:
            reason = "stay as it is"
        elif not fleet.candidates.permitted[row, k]:
            reason = "outside bounds"
        elif profit[k] > profit[column]:
            binds = "; ".join(limiting) or "a limit of the site"
            reason = f"earns more, but: {binds}"
        else:
            reason = f"earns {profit[column] - profit[k]:.2f} USD/day less"
        setting = fleet.candidates.settings[row][k]
        out.append(
            Alternative(setting=SettingRecord.of(setting), profit_usd_per_day=float(profit[k]), reason=reason)
        )
    return out


def _steps(unit: Unit, target: Setting, settle_s: float, *, restarts: bool) -> list[str]:
    where = f"{unit.miner_id} at {unit.address}"
    if target.knob is Knob.STOP:
        what = f"Stop hashing on {where} (sleep mode or power off)"
    elif target.knob is Knob.WORK_MODE:
        what = f"Set work mode {target.value} on {where}"
    else:
        unit_text = "W" if target.knob is Knob.POWER_LIMIT_W else "percent"
        knob = str(target.knob).removesuffix("_w").replace("_", " ")
        what = f"Set {knob} to {target.value:g} {unit_text} on {where}"
    steps = [what]
    if restarts:
        steps.append("Hashing restarts; expect no rate for some minutes")
    steps.append(
        f"Check hashrate and power after {max(1, round(settle_s / 60.0))} min against the expected interval"
    )
    return steps


def _means(row: int, plan: Plan, context: Context) -> tuple[float, float]:
    """Mean price and hashprice over the hours that the plan keeps what it chose."""
    forecast, steps = context.forecast, _steps_kept(row, plan, context)
    price = float(np.mean(forecast.price_usd_per_kwh[:steps]))
    return price, float(np.mean(forecast.hashprice_usd_per_ths_day[:steps]))


def _steps_kept(row: int, plan: Plan, context: Context) -> int:
    return max(1, round(float(plan.lasts_h[row]) / context.forecast.step_h))

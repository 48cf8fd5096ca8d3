"""A plan as totals over the coming steps, and what it would be if something were otherwise."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agent.errors import InputError
from agent.money.prices import PRICE_RANGE_USD_PER_KWH
from agent.planner.fleet import Fleet
from agent.planner.margins import Horizon, Margins
from agent.planner.plan import Plan
from agent.planner.snapshot import Snapshot
from agent.quantiles import Z80

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_CHANGE = re.compile(r"^\s*(?P<name>[a-z_]+)\s*(?P<how>=|\*|\+|-)\s*(?P<value>-?(\d+(\.\d*)?|\.\d+))\s*$")
# What may be asked for, its unit, and by how much its number is multiplied inside.
WHAT_IF = {
    "price": ("USD/kWh, with PUE", 1.0),
    "hashprice": ("USD/PH/day, after pool fee", 0.001),
    "cap": ("kW of the site", 1000.0),
    "hold": ("h", 1.0),
    "gain": ("USD/day that a change must surely bring", 1.0),
    "restarts": ("a day", 1.0),
}


@dataclass(frozen=True, slots=True)
class Course:
    """Totals of a fleet over the steps of a plan, [T] each. Miners of which nothing is known are left out.

    Args:
        power_w, upper_power_w: expected, and at the upper end of its 80 % interval, errors of different
            miners taken as independent.
        hashrate_ths: as paid.
        revenue_usd, energy_usd: in the step; hashing lost by changes is taken off the revenue.
        full, reduced, stopped: miners at their nominal setting or above, below it, and stopped.
        changes: miners that enter another setting at the start of the step.
        planned: miners with a plan.
    """

    power_w: Floats
    upper_power_w: Floats
    hashrate_ths: Floats
    revenue_usd: Floats
    energy_usd: Floats
    full: Ints
    reduced: Ints
    stopped: Ints
    changes: Ints
    planned: int

    @property
    def profit_usd(self) -> Floats:
        """[T] revenue less energy."""
        return self.revenue_usd - self.energy_usd


def course(fleet: Fleet, horizon: Horizon, plan: Plan) -> Course:
    """What the fleet does and earns along `plan.path`."""
    ahead = horizon.known()
    table, margins = fleet.candidates, Margins(fleet.curves, *fleet.priced_at)
    rows = np.flatnonzero((plan.path >= 0).all(axis=1) & (table.current >= 0))
    path, current = plan.path[rows], table.current[rows]
    at = rows[:, None]
    power, rate = margins.power_w[at, path], margins.rate_ths[at, path]
    sigma = (fleet.curves.power_w[at, path, 2] - fleet.curves.power_w[at, path, 1]) / Z80
    before = np.concatenate([current[:, None], path[:, :-1]], axis=1)
    changed = path != before
    stopped, was_stopped = table.stops[at, path], table.stops[at, before]
    lost_h = np.where(was_stopped, table.wake_loss_h[at, path], table.loss_h[at, path])
    lost = np.where(changed, np.nan_to_num(lost_h * rate), 0.0).sum(axis=0)
    hashprice = ahead.hashprice_usd_per_ths_day / 24.0
    kwh = np.nansum(power, axis=0) * 0.001 * ahead.step_h
    nominal = np.where(table.nominal[rows] >= 0, table.nominal[rows], path.max(axis=1, initial=0))
    full = ~stopped & (table.shares[at, path] >= table.shares[rows, nominal][:, None] - 1e-6)
    return Course(
        power_w=np.nansum(power, axis=0),
        upper_power_w=np.nansum(power, axis=0) + Z80 * np.sqrt(np.nansum(sigma**2, axis=0)),
        hashrate_ths=np.nansum(rate, axis=0),
        revenue_usd=(np.nansum(rate, axis=0) * ahead.step_h - lost) * hashprice,
        energy_usd=kwh * ahead.price_usd_per_kwh,
        full=full.sum(axis=0),
        reduced=(~full & ~stopped).sum(axis=0),
        stopped=stopped.sum(axis=0),
        changes=changed.sum(axis=0),
        planned=len(rows),
    )


def what_if(snapshot: Snapshot, changes: Sequence[str]) -> Snapshot:
    """The snapshot with things otherwise: `price=0.09`, `price*1.2`, `hashprice-5`, `cap=400`.

    Raises:
        InputError: says what may be asked for.
    """
    for text in changes:
        found = _CHANGE.match(text)
        if found is None or found["name"] not in WHAT_IF:
            known = "; ".join(f"{name} ({unit})" for name, (unit, _) in WHAT_IF.items())
            raise InputError(
                f"--what-if {text!r}: write NAME=NUMBER, NAME*NUMBER, NAME+NUMBER or NAME-NUMBER with one "
                f"of {known}; for example price=0.09 or hashprice*1.1"
            )
        snapshot = _changed(snapshot, text, found["name"], found["how"], float(found["value"]))
    return snapshot


def _changed(snapshot: Snapshot, text: str, name: str, how: str, value: float) -> Snapshot:
    horizon, limits = snapshot.horizon, snapshot.limits
    scaled = value if how == "*" else value * WHAT_IF[name][1]
    if name == "price":
        price = _moved(horizon.price_usd_per_kwh, how, scaled)
        sigma = _doubt(horizon.price_sigma_usd_per_kwh, how, scaled)
        low, high = PRICE_RANGE_USD_PER_KWH
        if bool((price < low).any() | (price > high).any()):
            raise InputError(f"--what-if {text!r}: a price must stay between {low:g} and {high:g} USD/kWh")
        return replace(
            snapshot, horizon=replace(horizon, price_usd_per_kwh=price, price_sigma_usd_per_kwh=sigma)
        )
    if name == "hashprice":
        hashprice = _moved(horizon.hashprice_usd_per_ths_day, how, scaled)
        if bool((hashprice <= 0.0).any()):
            raise InputError(f"--what-if {text!r}: hashprice must stay above 0")
        sigma = _doubt(horizon.hashprice_sigma_usd_per_ths_day, how, scaled)
        return replace(
            snapshot,
            horizon=replace(
                horizon, hashprice_usd_per_ths_day=hashprice, hashprice_sigma_usd_per_ths_day=sigma
            ),
        )
    if name == "restarts":
        if how == "=":
            _above(text, 0.0, how, value)
        left = np.maximum(_moved(snapshot.fleet.restarts_left.astype(np.float64), how, scaled), 0.0)
        return replace(snapshot, fleet=replace(snapshot.fleet, restarts_left=left.astype(np.int64)))
    if name == "hold":
        hold_h = _above(text, limits.hold_h, how, scaled)
        return replace(snapshot, limits=replace(limits, hold_h=hold_h))
    if name == "gain":
        least = _above(text, limits.minimum_gain_usd_per_day, how, scaled)
        return replace(snapshot, limits=replace(limits, minimum_gain_usd_per_day=least))
    if limits.site is None:
        return replace(snapshot, limits=replace(limits, cap_w=_cap_w(text, limits.cap_w, how, scaled)))
    tree = limits.site.tree
    cap_w = tree.cap_w.copy()
    cap_w[0] = _cap_w(text, float(cap_w[0]), how, scaled)
    site = replace(limits.site, tree=replace(tree, cap_w=cap_w))
    return replace(snapshot, limits=replace(limits, site=site))


def _cap_w(text: str, value_w: float, how: str, by: float) -> float:
    if how != "=" and not np.isfinite(value_w):
        raise InputError(f"--what-if {text!r}: the site has no cap yet; write cap=NUMBER, in kW")
    moved_w = float(_moved(np.array([value_w]), how, by)[0])
    if not moved_w >= 1.0:
        raise InputError(
            f"--what-if {text!r}: the cap comes to {moved_w / 1000.0:g} kW; it must stay above 0"
        )
    return moved_w


def _above(text: str, value: float, how: str, by: float) -> float:
    moved = float(_moved(np.array([value]), how, by)[0])
    if not moved >= 0.0:
        raise InputError(f"--what-if {text!r}: it comes to {moved:g}; it must not fall below 0")
    return moved


def _doubt(sigma: Floats, how: str, by: float) -> Floats:
    """Of prices that are told there is no doubt; by a factor it grows as they do."""
    return np.zeros_like(sigma) if how == "=" else sigma * abs(by) if how == "*" else sigma


def _moved(values: Floats, how: str, by: float) -> Floats:
    if how == "=":
        return np.full_like(values, by)
    return values * by if how == "*" else values + by if how == "+" else values - by

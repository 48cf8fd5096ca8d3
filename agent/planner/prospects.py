"""A fleet and its limits, as the arrays that the search for paths and the sharing of power work on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from agent.planner.fleet import Fleet
from agent.planner.gains import WIDTH_80
from agent.planner.margins import Horizon, Margins
from agent.planner.paths.horizon import Prospect, Steps
from agent.planner.power.limits import Limits
from agent.planner.power.shared import Shared, share

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def prospect_of(fleet: Fleet, margins: Margins, ahead: Horizon, limits: Limits, enterable: Bools) -> Prospect:
    """What each miner faces over the known horizon, and as long again after it.

    Args:
        enterable: [N,K].
    """
    table = fleet.candidates
    count = len(table.current)
    rate, power = margins.rate_ths.copy(), margins.power_w.copy()
    # A present setting that nothing foresees earns nothing known; it is kept until somebody decides.
    blank = ~(np.isfinite(rate).any(axis=1) & np.isfinite(power).any(axis=1))
    rate[blank, 0], power[blank, 0] = 0.0, 0.0
    prospect = Prospect(
        hashrate_ths=rate,
        power_w=power,
        allowed=enterable,
        stops=table.stops,
        loss_h=table.loss_h,
        wake_loss_h=table.wake_loss_h,
        current=fleet.here,
        held_steps=np.ceil(np.maximum(fleet.held_h, 0.0) / ahead.step_h - 1e-9).astype(np.int64),
        step_h=ahead.step_h,
        hashprice_usd_per_ths_day=ahead.hashprice_usd_per_ths_day,
        price_usd_per_kwh=ahead.price_usd_per_kwh,
        hold_steps=max(1, int(np.ceil(limits.hold_h / ahead.step_h - 1e-9))),
        restart_usd=np.full(count, limits.restart_usd),
        may_change=limits.power(count, len(ahead)).may_change,
        wears=table.wears,
    )
    return replace(prospect, after_usd=_after(prospect, ahead))


def change_usd(prospect: Prospect) -> Floats:
    """[N,K] USD that a change to each candidate costs now."""
    loss, wake_loss = Steps(prospect).losses(0)
    rows = np.arange(len(prospect.current))
    cost = np.where(prospect.stops[rows, prospect.current][:, None], wake_loss, loss)
    cost[rows, prospect.current] = 0.0
    return cost


def shared_of(fleet: Fleet, limits: Limits, ahead: Horizon, free: Bools) -> Shared:
    """The site's limits as those of the miners `free` [N], which are up for decision."""
    power, draw_w = fleet.curves.power_w, fleet.draw_w
    mean_w = np.nan_to_num(power[:, :, 1])
    sigma_w = np.nan_to_num((power[:, :, 2] - power[:, :, 0]) / WIDTH_80)
    # Of a present setting that nothing foresees, what it draws is known all the same.
    here = fleet.here
    unforeseen = (fleet.candidates.current >= 0) & ~np.isfinite(power[np.arange(len(here)), here, 1])
    mean_w[unforeseen, here[unforeseen]] = draw_w[unforeseen]
    site = limits.power(len(here), len(ahead))
    return share(site, draw_w, mean_w, sigma_w, limits.cap_z, free, 3600.0 * ahead.step_h, len(ahead))


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

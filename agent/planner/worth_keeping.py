"""What a plan keeps to because it pays: demand-response events, and a bound for a month's peak charge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from agent.planner.decide import decide
from agent.planner.fleet import Fleet
from agent.planner.margins import Horizon
from agent.planner.power.events import DemandEvent, choose_events, event_caps
from agent.planner.power.limits import Limits, SitePower
from agent.planner.power.peak import PeakCharge, worthwhile_peak_w
from agent.planner.preview import course

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def with_events(
    events: Sequence[DemandEvent],
    fleet: Fleet,
    horizon: Horizon,
    limits: Limits,
    power: SitePower,
    start: datetime,
) -> SitePower:
    """`power` with the caps of the events that are kept: mandatory ones, and others if they pay.

    Args:
        start: UTC, of the first step.
    """
    step_s = 3600.0 * horizon.step_h

    def kept_to(kept: Bools) -> SitePower:
        caps = event_caps(events, kept, power.tree, start, step_s, len(horizon))
        return replace(power, event_cap_w=np.minimum(power.event_cap_w, caps))

    def plan(kept: Bools) -> tuple[float, Floats]:
        return _earned(fleet, horizon, replace(limits, site=kept_to(kept)), power)

    if not len(horizon.known()):
        return kept_to(np.array([event.mandatory for event in events], dtype=np.bool_))
    return kept_to(choose_events(events, power.tree, start, step_s, plan))


def with_peak(
    charge: PeakCharge, fleet: Fleet, horizon: Horizon, limits: Limits, power: SitePower
) -> SitePower:
    """`power` with the bound above which the charge on the month's peak costs more than it brings."""
    known = horizon.known()
    if not len(known):
        return power

    def plan(cap_w: float) -> tuple[float, Floats]:
        site = replace(power, peak_w=cap_w)
        profit_usd, draw_w = _earned(fleet, horizon, replace(limits, site=site), site)
        return profit_usd, draw_w[:, 0]

    return replace(power, peak_w=worthwhile_peak_w(charge, len(known) * known.step_h, plan))


def _earned(fleet: Fleet, horizon: Horizon, limits: Limits, power: SitePower) -> tuple[float, Floats]:
    """Profit in USD over the horizon, and the draw [T,G] of the site."""
    found = decide(fleet, horizon, limits)
    rows = np.arange(len(found.path))[:, None]
    planned = fleet.curves.power_w[rows, np.maximum(found.path, 0), 1]
    draw_w = np.where(np.isfinite(fleet.present_power_w), fleet.present_power_w, fleet.rated_power_w)
    # Who is not moved goes on drawing what it draws.
    still = (found.path < 0) | ~np.isfinite(planned)
    by_step = np.where(still, draw_w[:, None], planned).T
    profit_usd = float(course(fleet, horizon, found).profit_usd.sum())
    return profit_usd, power.tree.sums(by_step) * power.pue

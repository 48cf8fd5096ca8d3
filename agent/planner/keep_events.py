"""Which demand-response events a plan keeps: those with which it earns more, money of the event included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from agent.planner.decide import Fleet, decide
from agent.planner.events import DemandEvent, choose_events, event_caps
from agent.planner.limits import Limits, SitePower
from agent.planner.margins import Horizon
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
    known = len(horizon.known())
    draw_w = np.where(np.isfinite(fleet.present_power_w), fleet.present_power_w, fleet.rated_power_w)

    def kept_to(kept: Bools) -> SitePower:
        caps = event_caps(events, kept, power.tree, start, step_s, len(horizon))
        return replace(power, event_cap_w=np.minimum(power.event_cap_w, caps))

    def plan(kept: Bools) -> tuple[float, Floats]:
        found = decide(fleet, horizon, replace(limits, site=kept_to(kept)))
        rows = np.arange(len(found.path))[:, None]
        planned = fleet.curves.power_w[rows, np.maximum(found.path, 0), 1]
        # Who is not moved goes on drawing what it draws.
        still = (found.path < 0) | ~np.isfinite(planned)
        by_step = np.where(still, draw_w[:, None], planned).T
        profit_usd = float(course(fleet, horizon, found).profit_usd.sum())
        return profit_usd, power.tree.sums(by_step) * power.pue

    if not known:
        return kept_to(np.array([event.mandatory for event in events], dtype=np.bool_))
    return kept_to(choose_events(events, power.tree, start, step_s, plan))

"""The limits of a site file as the arrays that planning works with, in the order of the site's miners."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from agent.limits_config import SITE, LimitsConfig, Places, circuit_of
from agent.localtime import LocalTime
from agent.miner_config import MinerConfig
from agent.money.tariffs import When
from agent.planner.power.circuits import PowerTree
from agent.planner.power.events import DemandEvent

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
_W_PER_S = 1000.0 / 60.0


def power_tree(limits: LimitsConfig, miners: Sequence[MinerConfig]) -> PowerTree:
    """The circuits of a site and where its miners hang.

    Raises:
        ValueError: a miner fits no circuit or two, as `check_circuits` finds on load.
    """
    circuits = limits.parents_first()
    at = {SITE: 0} | {circuit.name: g for g, circuit in enumerate(circuits, 1)}
    places: list[Places] = [limits, *circuits]

    def known(values: Sequence[float | None], otherwise: float, unit: float = 1.0) -> Floats:
        return np.array([otherwise if value is None else value * unit for value in values], dtype=np.float64)

    return PowerTree(
        names=tuple(at),
        parent=np.array([-1, *(at[circuit.parent] for circuit in circuits)], dtype=np.int64),
        leaf=np.array([at[circuit_of(miner, limits)] for miner in miners], dtype=np.int64),
        cap_w=known([place.power_cap_w for place in places], np.inf),
        # No load is less than nothing, so a floor of nothing is none.
        floor_w=known([place.minimum_load_w or None for place in places], -np.inf),
        ramp_up_w_per_s=known([place.ramp_up_kw_per_min for place in places], np.inf, _W_PER_S),
        ramp_down_w_per_s=known([place.ramp_down_kw_per_min for place in places], np.inf, _W_PER_S),
    )


def demand_events(limits: LimitsConfig, now: datetime) -> list[DemandEvent]:
    """The events that are announced and not over at `now`, the earliest first."""
    events = [
        DemandEvent(
            start=event.start,
            end=event.end,
            target_w=event.target_w,
            circuit=event.circuit,
            mandatory=event.mandatory,
            notice_s=event.notice_s,
            payment_usd=event.payment_usd,
            payment_usd_per_kwh=event.payment_usd_per_kwh,
            penalty_usd_per_kwh=event.penalty_usd_per_kwh,
            baseline_w=float("nan") if event.baseline_w is None else event.baseline_w,
        )
        for event in limits.demand_events
    ]
    return sorted((event for event in events if event.known_at(now)), key=lambda event: event.start)


def weights(limits: LimitsConfig, miners: Sequence[MinerConfig]) -> Floats:
    """[N] how much a miner counts where power is short: the highest weight among its tags, 1 without one."""
    found = [[limits.priorities[tag] for tag in miner.tags if tag in limits.priorities] for miner in miners]
    return np.array([max(own, default=1.0) for own in found], dtype=np.float64)


def protected(limits: LimitsConfig, miners: Sequence[MinerConfig]) -> Bools:
    """[N] True for miners that give way last."""
    tags = set(limits.never_curtail)
    return np.array([not tags.isdisjoint(miner.tags) for miner in miners], dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Rests:
    """When miners are left alone, step by step.

    Args:
        may_change: [N,T] False in quiet hours and in maintenance.
        off: [N,T] True where maintenance has the miner without power.
        reason: [N] why it may not be changed in the first step, or None.
    """

    may_change: Bools
    off: Bools
    reason: tuple[str | None, ...]


def rests(
    limits: LimitsConfig,
    miners: Sequence[MinerConfig],
    tree: PowerTree,
    start: datetime,
    step_s: float,
    steps: int,
    timezone: str = "UTC",
) -> Rests:
    """Quiet hours and maintenance over a horizon. A step that a maintenance window touches belongs to it.

    Args:
        start: of the first step.
        timezone: of quiet hours: the one of the tariff.
    """
    times_s = start.timestamp() + step_s * np.arange(steps, dtype=np.float64)
    quiet = np.zeros(steps, dtype=np.bool_)
    if limits.quiet_hours:
        moments = LocalTime(timezone).of(times_s)
        for hours in limits.quiet_hours:
            quiet |= When(hours, ()).covers(moments)
    may_change = np.repeat(~quiet[None, :], len(miners), axis=0)
    off = np.zeros_like(may_change)
    reason: list[str | None] = ["quiet hours" if steps and quiet[0] else None] * len(miners)
    member = tree.member()
    for window in limits.maintenance:
        during = (times_s < window.end.timestamp()) & (times_s + step_s > window.start.timestamp())
        if not during.any():
            continue
        tags = set(window.tags)
        concerned = np.array([not tags.isdisjoint(miner.tags) for miner in miners], dtype=np.bool_)
        places = np.array([tree.place(name) for name in window.circuits], dtype=np.int64)
        concerned |= member[:, places].any(axis=1)
        inside = concerned[:, None] & during
        may_change &= ~inside
        if window.action == "off":
            off |= inside
        if during[0]:
            words = f"maintenance until {window.end:%Y-%m-%d %H:%M %Z}"
            words += f": {window.reason}" if window.reason else ""
            for i in np.flatnonzero(concerned):
                reason[i] = words
    return Rests(may_change, off, tuple(reason))


def resting_now(
    limits: LimitsConfig, miners: Sequence[MinerConfig], now: datetime, timezone: str = "UTC"
) -> tuple[str | None, ...]:
    """[N] Why each miner may not be changed at `now`, or None: quiet hours or maintenance."""
    return rests(limits, miners, power_tree(limits, miners), now, 1.0, 1, timezone).reason

"""Demand response: when a site is asked to draw less, what that pays, and whether it is worth it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from agent.planner.power.circuits import SITE, PowerTree

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_KWH_PER_W_S = 1.0 / 3.6e6
# Draw this little over a target still keeps it.
_SLACK_W = 1.0


@dataclass(frozen=True, slots=True)
class DemandEvent:
    """One call to draw no more than a target, all power of the site's draw.

    Args:
        start, end: with time zone; the event holds from `start` up to `end`.
        target_w: what the place may draw.
        circuit: the place that is asked.
        mandatory: True for a limit that is kept whatever it costs; False for one that is kept if it pays.
        notice_s: how long before `start` it becomes known; None if it is known as soon as it is listed.
        payment_usd: paid if the target is kept in every step.
        payment_usd_per_kwh: paid for every kWh below `baseline_w`, up to the target.
        penalty_usd_per_kwh: owed for every kWh above the target.
        baseline_w: what the place would draw without the event, as agreed; NaN where nothing is paid by kWh.
    """

    start: datetime
    end: datetime
    target_w: float
    circuit: str = SITE
    mandatory: bool = True
    notice_s: float | None = None
    payment_usd: float = 0.0
    payment_usd_per_kwh: float = 0.0
    penalty_usd_per_kwh: float = 0.0
    baseline_w: float = float("nan")

    def known_at(self, now: datetime) -> bool:
        """True once the event has been announced and as long as it is not over."""
        if now >= self.end:
            return False
        return self.notice_s is None or now.timestamp() >= self.start.timestamp() - self.notice_s


@dataclass(frozen=True, slots=True)
class Settlement:
    """Money of E events over a horizon: paid and owed [E] in USD, and which were kept throughout."""

    payment_usd: Floats
    penalty_usd: Floats
    kept: Bools

    @property
    def net_usd(self) -> float:
        """What all of them bring together."""
        return float((self.payment_usd - self.penalty_usd).sum())


def overlap_s(events: Sequence[DemandEvent], start: datetime, step_s: float, steps: int) -> Floats:
    """[E,T] seconds of each step during which each event holds."""
    began = start.timestamp() + step_s * np.arange(steps)
    first = np.array([event.start.timestamp() for event in events], dtype=np.float64).reshape(-1, 1)
    last = np.array([event.end.timestamp() for event in events], dtype=np.float64).reshape(-1, 1)
    return np.asarray(np.maximum(np.minimum(began + step_s, last) - np.maximum(began, first), 0.0))


def event_caps(
    events: Sequence[DemandEvent],
    kept: Bools,
    tree: PowerTree,
    start: datetime,
    step_s: float,
    steps: int,
) -> Floats:
    """[T,G] caps of the site's draw by the events that are kept; infinity where there is none.

    A step that an event only touches has its cap from beginning to end.

    Args:
        kept: [E] which are kept; mandatory ones are in any case.
        start: of the first step.

    Raises:
        KeyError: an event names a circuit that the tree has not.
    """
    caps = np.full((steps, len(tree.names)), np.inf)
    touched = overlap_s(events, start, step_s, steps) > 0.0
    for event, held, rows in zip(events, kept, touched, strict=True):
        g = tree.place(event.circuit)
        if held or event.mandatory:
            caps[rows, g] = np.minimum(caps[rows, g], event.target_w)
    return caps


def settle(
    events: Sequence[DemandEvent],
    draw_w: Floats,
    tree: PowerTree,
    start: datetime,
    step_s: float,
) -> Settlement:
    """What the events pay and cost for a draw, as far as they lie inside the horizon.

    Args:
        draw_w: [T,G] expected draw of the site.
        start: of the first step.

    Raises:
        KeyError: an event names a circuit that the tree has not.
    """
    during = overlap_s(events, start, step_s, len(draw_w))
    asked = [tree.place(event.circuit) for event in events]
    drawn = draw_w[:, asked].T
    target = np.array([event.target_w for event in events], dtype=np.float64).reshape(-1, 1)
    baseline = np.array([event.baseline_w for event in events], dtype=np.float64).reshape(-1, 1)
    over_w = np.maximum(drawn - target, 0.0)
    saved_w = np.maximum(np.nan_to_num(baseline) - np.maximum(drawn, target), 0.0)
    held = during > 0.0
    kept: Bools = ((over_w <= _SLACK_W) | ~held).all(axis=1) & np.asarray(held.any(axis=1))
    length = np.array([(event.end - event.start).total_seconds() for event in events], dtype=np.float64)
    # Of an event that reaches beyond the horizon the part that lies inside counts.
    share = during.sum(axis=1) / np.maximum(length, 1.0)
    flat = np.array([event.payment_usd for event in events], dtype=np.float64) * share
    by_kwh = np.array([event.payment_usd_per_kwh for event in events], dtype=np.float64)
    owed = np.array([event.penalty_usd_per_kwh for event in events], dtype=np.float64)
    payment = np.where(kept, flat, 0.0) + by_kwh * (saved_w * during).sum(axis=1) * _KWH_PER_W_S
    return Settlement(payment, owed * (over_w * during).sum(axis=1) * _KWH_PER_W_S, kept)


def choose_events(
    events: Sequence[DemandEvent],
    tree: PowerTree,
    start: datetime,
    step_s: float,
    plan: Callable[[Bools], tuple[float, Floats]],
) -> Bools:
    """[E] which events to keep: each voluntary one only if the plan with it earns more in all.

    The costliest to break are tried first: one plan for each voluntary event, and one without any.

    Args:
        plan: from [E] events that are kept to the profit in USD over the horizon, without their money, and
            the draw [T,G] of the site.
    """

    def earned(kept: Bools) -> float:
        profit_usd, draw_w = plan(kept)
        return profit_usd + settle(events, draw_w, tree, start, step_s).net_usd

    kept = np.array([event.mandatory for event in events], dtype=np.bool_)
    voluntary = np.flatnonzero(~kept)
    if not len(voluntary):
        return kept
    best = earned(kept)
    for e in sorted(voluntary.tolist(), key=lambda e: -_at_stake(events[e])):
        tried = kept.copy()
        tried[e] = True
        found = earned(tried)
        if found > best:
            kept, best = tried, found
    return kept


def _at_stake(event: DemandEvent) -> float:
    """USD between keeping an event and drawing its baseline throughout."""
    over_w = event.baseline_w - event.target_w if np.isfinite(event.baseline_w) else event.target_w
    energy_kwh = max(over_w, 0.0) * (event.end - event.start).total_seconds() * _KWH_PER_W_S
    return event.payment_usd + (event.payment_usd_per_kwh + event.penalty_usd_per_kwh) * energy_kwh

"""What shaped a miner's choice, and words for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.planner.fleet import Fleet
from agent.planner.plan import Plan
from agent.planner.power.allot import Allotment
from agent.planner.power.circuits import SITE, binding
from agent.planner.power.limits import Limits, SitePower

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Lately:
    """What was done to N miners of late, and shapes what they may do now.

    Args:
        holds: per miner why it is in hold, and until when, in words; None where it is not.
        restarts_by_others: [N] restarts of the last day that the agent did not ask for.
    """

    holds: Sequence[str | None]
    restarts_by_others: NDArray[np.int64]


def binding_words(
    row: int, fleet: Fleet, limits: Limits, plan: Plan, lately: Lately | None = None
) -> list[str]:
    """What stands between one miner and the candidate that would earn most over the same hours."""
    table = fleet.candidates
    profit = np.where(table.permitted[row], plan.profit[row, :, 1], -np.inf)
    profit = np.where(np.isfinite(profit), profit, -np.inf)
    best, here = int(profit.argmax()), int(table.current[row])
    words: list[str] = []
    if fleet.held_back[row] is not None:
        words.append(str(fleet.held_back[row]))
    if fleet.held_h[row] > 0.0:
        hold = lately.holds[row] if lately is not None else None
        words.append(hold or f"in hold for {fleet.held_h[row]:.1f} h more")
    if plan.worn_out[row, best]:
        others = int(lately.restarts_by_others[row]) if lately is not None else 0
        words.append(f"today's restart budget is used up{_by_others(others)}")
    if plan.too_hot[row, best]:
        words.append(f"predicted chip temperature over {fleet.chip_max_c[row]:g} C")
    elif here >= 0 and best != here and plan.possible[row, best] and not plan.pays[row, best]:
        lower, least = plan.lower_usd_per_day[row, best], limits.minimum_gain_usd_per_day
        if profit[best] > profit[here]:
            words.append(f"gain not sure enough: lower bound {lower:+.2f}, needs {least:+.2f} USD/day")
    place = plan.bound_by[row]
    if place is not None and fleet.held_back[row] is None:
        words.append(limit_words(place, plan.bound_how[row], limits))
    return words


def _by_others(restarts: int) -> str:
    if not restarts:
        return ""
    return f"; {restarts} of its restarts {'was' if restarts == 1 else 'were'} not the agent's doing"


def limit_words(place: str, how: str | None, limits: Limits) -> str:
    """Words for what limits the power of a place."""
    whose = "site power" if place == SITE else f"{place}: power"
    if how is not None and how != "cap":
        return f"{whose}: {how}" if place == SITE else f"{place}: {how}"
    cap_w = limits.cap_w
    if limits.site is not None:
        cap_w = float(limits.site.tree.cap_w[limits.site.tree.place(place)])
    return f"{whose} cap of {cap_w / 1000.0:g} kW"


def limit_behind(
    power: SitePower, found: Allotment, worth: Floats, power_w: Floats
) -> tuple[Ints, list[str | None]]:
    """[N] the place whose limit shapes each miner's choice, -1 for none, and which limit that is.

    Args:
        worth, power_w: [N,K] as they were shared out.
    """
    tree = power.tree
    bound = binding(tree, found.price, found.over)
    rows = np.arange(len(bound))
    best = np.where(np.isfinite(worth), worth, -np.inf).argmax(axis=1)
    pushed = (power_w[rows, found.chosen] > power_w[rows, best]) & np.isfinite(worth[rows, best])
    raised = tree.member() & found.raised
    outer = np.where(raised.any(axis=1) & pushed & (bound < 0), raised.argmax(axis=1), -1)
    how: list[str | None] = []
    for own, up in zip(bound, outer, strict=True):
        if own >= 0:
            how.append(_which_cap(power, found, int(own)))
        elif up >= 0:
            how.append("least load" if np.isfinite(tree.floor_w[up]) else "ramp")
        else:
            how.append(None)
    return np.where(bound >= 0, bound, outer), how


def _which_cap(power: SitePower, found: Allotment, g: int) -> str:
    if not (found.cap_binds[g] or found.over[g]):
        return "ramp"
    if g == 0 and power.peak_w < min(power.event_cap_w[0, g], power.tree.cap_w[g]):
        return "demand charge"
    return "demand event" if power.event_cap_w[0, g] < power.tree.cap_w[g] else "cap"

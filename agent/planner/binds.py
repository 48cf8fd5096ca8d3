"""Words for what shaped a miner's choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.planner.circuits import SITE
from agent.planner.decide import Fleet, Plan
from agent.planner.limits import Limits


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

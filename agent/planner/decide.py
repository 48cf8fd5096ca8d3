"""The decision: a pure function of what is known now. No clock, no I/O, no state.

Each miner weighs its candidates by predicted profit over the hold, may move only where the lower bound
of the gain pays for the change, and shares the site's power cap with the others at one price per watt.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import erf, sqrt

import numpy as np
from numpy.typing import NDArray

from agent.inference import Curves
from agent.planner.allocate import allocate
from agent.planner.candidates import Candidates

Floats = NDArray[np.float64]
# An 80 % interval of a normal distribution is this many standard deviations wide.
_WIDTH_80 = 2.5631


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is known of N miners at one moment.

    Args:
        candidates: what each may be set to.
        curves: predictions at those candidates, [N,K,3].
        chip_max_c: [N] limit of the predicted upper chip temperature; NaN where none is known.
        present_power_w: [N] measured or estimated draw now; NaN where unknown.
        rated_power_w: [N] what to reckon with where the draw is unknown.
        held_back: per miner, why it may not be moved now (unreachable, observe, in hold ...), or None.
        restarts_left: [N] restarts that today's wear budget still allows.
    """

    candidates: Candidates
    curves: Curves
    chip_max_c: Floats
    present_power_w: Floats
    rated_power_w: Floats
    held_back: tuple[str | None, ...]
    restarts_left: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the site must keep to. `cap_w` is infinity where there is none."""

    cap_w: float
    cap_z: float
    minimum_gain_usd_per_day: float


@dataclass(frozen=True, slots=True)
class Plan:
    """The chosen candidate of each miner and why.

    Args:
        chosen: [N] column; equals `current` where the miner stays, -1 where nothing can be said.
        gain: [N,3] q10, q50, q90 of profit against staying, USD/day; 0 where the miner stays.
        confidence: [N] probability that the gain is above 0.
        binds: per miner, the limits that shaped its choice.
        curtailed: [N] True where the cap, not profit, asks for the change.
        power_price_usd_per_w_day: what the cap makes a watt worth; 0 where it does not bind.
        upper_power_w: the planned sum at the stated confidence.
        feasible: False where even the safest plan exceeds the cap.
        left_out: number of miners not up for decision, by reason.
    """

    chosen: NDArray[np.int64]
    gain: Floats
    confidence: Floats
    binds: tuple[tuple[str, ...], ...]
    curtailed: NDArray[np.bool_]
    power_price_usd_per_w_day: float
    upper_power_w: float
    feasible: bool
    left_out: dict[str, int]


def decide(fleet: Fleet, limits: Limits) -> Plan:
    """Choose one candidate per miner.

    Infeasible is never an error: it gives the least power that the bounds allow and says so.
    """
    table, curves = fleet.candidates, fleet.curves
    count, width = table.shares.shape
    rows = np.arange(count)
    profit = curves.profit_usd_per_day
    known_now = table.current >= 0
    here = np.maximum(table.current, 0)

    free = np.array([reason is None for reason in fleet.held_back], dtype=np.bool_) & known_now
    staying = np.zeros((count, width), dtype=np.bool_)
    staying[rows[known_now], table.current[known_now]] = True

    gain = _gain(profit, here)
    too_hot = np.nan_to_num(curves.chip_temp_c[:, :, 2], nan=-np.inf) > fleet.chip_max_c[:, None]
    worn_out = table.restarts & (fleet.restarts_left <= 0)[:, None]
    possible = np.isfinite(profit[:, :, 1]) & table.permitted & ~worn_out & ~too_hot
    # Too hot where it stands: any permitted cooler setting may be taken, whatever it costs.
    hot_now = too_hot[rows, here] & free
    pays = (gain[:, :, 0] > limits.minimum_gain_usd_per_day) | hot_now[:, None]
    stay_allowed = staying & ~(hot_now & possible.any(axis=1))[:, None]

    worth = np.where(possible & pays | stay_allowed, np.nan_to_num(profit[:, :, 1], nan=0.0), np.nan)
    worth[~free] = np.nan
    mean_w = np.nan_to_num(curves.power_w[:, :, 1])
    sigma_w = np.nan_to_num((curves.power_w[:, :, 2] - curves.power_w[:, :, 0]) / _WIDTH_80)
    draw = np.where(np.isfinite(fleet.present_power_w), fleet.present_power_w, fleet.rated_power_w)
    fixed_w = float(draw[~free].sum())

    plan = allocate(worth, mean_w, sigma_w, cap_w=limits.cap_w, fixed_power_w=fixed_w, z=limits.cap_z)
    forced = not plan.feasible
    if forced:
        # Under the cap first: changes that do not pay, and restarts over the budget, come into play.
        foreseen = np.isfinite(curves.power_w[:, :, 1]) & np.isfinite(profit[:, :, 1])
        open_to = foreseen & np.isfinite(table.shares) & table.permitted & ~too_hot | staying
        everything = np.where(open_to, np.nan_to_num(profit[:, :, 1], nan=0.0), np.nan)
        everything[~free] = np.nan
        plan = allocate(
            everything, mean_w, sigma_w, cap_w=limits.cap_w, fixed_power_w=fixed_w, z=limits.cap_z
        )

    chosen = np.where(plan.chosen >= 0, plan.chosen, table.current)
    moved = (chosen != table.current) & (chosen >= 0) & free
    pick = np.maximum(chosen, 0)
    taken = np.where(moved[:, None], gain[rows, pick], 0.0)
    less = mean_w[rows, pick] < mean_w[rows, here]
    pays_alone = gain[rows, pick, 0] > limits.minimum_gain_usd_per_day
    curtailed = moved & less & ~pays_alone & (plan.power_price_usd_per_w_day > 0)
    binds = _binds(fleet, limits, gain, possible, pays, too_hot, worn_out, plan.power_price_usd_per_w_day)
    left_out = Counter(reason for reason in fleet.held_back if reason is not None)
    left_out["present setting unknown"] += int(
        (~known_now & np.array([r is None for r in fleet.held_back])).sum()
    )
    return Plan(
        chosen=chosen,
        gain=taken,
        confidence=_confidence(taken),
        binds=binds,
        curtailed=curtailed,
        power_price_usd_per_w_day=plan.power_price_usd_per_w_day,
        upper_power_w=plan.upper_power_w,
        feasible=plan.feasible,
        left_out={reason: n for reason, n in left_out.items() if n},
    )


def _gain(profit: Floats, here: NDArray[np.int64]) -> Floats:
    """[N,K,3] profit of each candidate minus that of staying.

    What the model misjudges about a unit it misjudges at all its settings alike, so equal quantiles
    are compared; a stop, whose profit is certain, so keeps the whole interval of what it gives up.
    """
    base = profit[np.arange(len(profit)), here][:, None, :]
    return np.sort(profit - base, axis=2)


def _confidence(gain: Floats) -> Floats:
    sigma = (gain[:, 2] - gain[:, 0]) / _WIDTH_80
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(sigma > 0, gain[:, 1] / sigma, np.sign(gain[:, 1]) * 10.0)
    return np.array([0.5 * (1.0 + erf(value / sqrt(2.0))) for value in z])


def _binds(
    fleet: Fleet,
    limits: Limits,
    gain: Floats,
    possible: NDArray[np.bool_],
    pays: NDArray[np.bool_],
    too_hot: NDArray[np.bool_],
    worn_out: NDArray[np.bool_],
    power_price: float,
) -> tuple[tuple[str, ...], ...]:
    """Per miner, what stands between it and the candidate that would earn most."""
    profit = np.where(fleet.candidates.permitted, fleet.curves.profit_usd_per_day[:, :, 1], -np.inf)
    best = np.where(np.isfinite(profit), profit, -np.inf).argmax(axis=1)
    out: list[tuple[str, ...]] = []
    for i, k in enumerate(best):
        words: list[str] = []
        if fleet.held_back[i] is not None:
            words.append(str(fleet.held_back[i]))
        if worn_out[i, k]:
            words.append("today's restart budget is used up")
        if too_hot[i, k]:
            words.append(f"predicted chip temperature over {fleet.chip_max_c[i]:g} C")
        elif possible[i, k] and not pays[i, k] and k != fleet.candidates.current[i] and gain[i, k, 1] > 0:
            least = limits.minimum_gain_usd_per_day
            words.append(
                f"gain not sure enough: lower bound {gain[i, k, 0]:+.2f}, needs {least:+.2f} USD/day"
            )
        if power_price > 0 and fleet.held_back[i] is None:
            words.append(f"site power cap of {limits.cap_w / 1000.0:g} kW")
        out.append(tuple(words))
    return tuple(out)

"""One step of a plan under the limits of a site: who takes what, and what gives way where not all is kept.

First caps, then ramps, then least loads are kept, then holds, wear budgets and what a change must bring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.planner.power.allocate import Allocation
from agent.planner.power.nodes import Nodes
from agent.planner.power.priorities import allocate_by_priority
from agent.planner.power.shared import Shared

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# A limit missed by no more than this is kept.
_SLACK_W = 1e-3


@dataclass(frozen=True, slots=True)
class Allotment:
    """What each miner takes at one step.

    Args:
        chosen: [N] column; that of before for miners that are not up for decision.
        price: [G] value of one more watt at each place.
        over: [G] True where a cap is not kept.
        raised: [G] True where power is drawn that earns nothing, for a least load or a ramp.
        cap_binds: [G] True where it is the cap that asks for `price`, and not the ramp.
    """

    chosen: Ints
    price: Floats
    over: Bools
    raised: Bools
    cap_binds: Bools


def allot(shared: Shared, nodes: Nodes, at: Ints, own: Floats, instead: Sequence[Floats]) -> Allotment:
    """Share out the power of one step.

    Args:
        nodes: the limits.
        at: [N] the settings before.
        own: [N,K] worth of the candidates that may be taken; NaN for others and for miners that are not up
            for decision.
        instead: [N,K] each, what candidates earn where `own` cannot keep the limits, NaN for others: first
            those that holds and wear budgets allow, last all that the hardware permits.
    """
    found = _share(shared, nodes, own)
    taken = _taken(found, at)
    missed = _missed(shared, nodes, taken)
    if any(missed):
        taken, found = _least_missed(shared, nodes, at, own, instead, taken, found)
    place, count = shared.place, len(shared.tree.names)
    is_ramp = np.diff(place, prepend=-1) == 0
    price, by_cap = np.zeros(count), np.zeros(count)
    np.maximum.at(price, place, found.price)
    np.maximum.at(by_cap, place, np.where(is_ramp, 0.0, found.price))
    mean, variance = _power(shared, taken)
    over, raised = np.zeros(count, dtype=np.bool_), np.zeros(count, dtype=np.bool_)
    over[place[(nodes.load(mean, variance) > nodes.cap_w + _SLACK_W) & ~is_ramp]] = True
    raised[place[found.raised]] = True
    return Allotment(taken, price, over, raised, by_cap >= price)


def _share(shared: Shared, nodes: Nodes, value: Floats) -> Allocation:
    return allocate_by_priority(value, shared.power_w, shared.sigma_w, nodes, shared.weight, shared.protected)


def _taken(found: Allocation, at: Ints) -> Ints:
    return np.where(found.chosen >= 0, found.chosen, at)


def _power(shared: Shared, chosen: Ints) -> tuple[Floats, Floats]:
    """Mean and variance [N] of the miners that are up for decision."""
    rows, pick = np.arange(len(chosen)), np.maximum(chosen, 0)
    here = shared.free & (chosen >= 0)
    return (
        np.where(here, shared.power_w[rows, pick], 0.0),
        np.where(here, shared.sigma_w[rows, pick] ** 2, 0.0),
    )


def _missed(shared: Shared, nodes: Nodes, chosen: Ints) -> tuple[float, float, float]:
    """W by which caps, ramps and least loads are missed in all, in order of what goes first."""
    mean, variance = _power(shared, chosen)
    above = np.maximum(nodes.load(mean, variance) - nodes.cap_w, 0.0)
    below = np.maximum(nodes.floor_w - nodes.load(mean, variance, -1.0), 0.0)
    is_ramp = np.diff(shared.place, prepend=-1) == 0
    amounts = (above[~is_ramp].sum(), (above + below)[is_ramp].sum(), below[~is_ramp].sum())
    caps, ramps, floors = (float(w) if w > _SLACK_W else 0.0 for w in amounts)
    return caps, ramps, floors


def _least_missed(
    shared: Shared,
    nodes: Nodes,
    at: Ints,
    own: Floats,
    instead: Sequence[Floats],
    taken: Ints,
    found: Allocation,
) -> tuple[Ints, Allocation]:
    """Of what can be done where a limit is missed, the first that misses least."""
    rows = np.arange(len(at))
    # One that may not stay where it is does not.
    stays = np.isfinite(own[rows, np.maximum(at, 0)])

    def best(chosen: Ints, by: Allocation) -> tuple[tuple[float, float, float], Ints, Allocation]:
        below = nodes.member[:, shared.broken(chosen, nodes)].any(axis=1)
        tried = (chosen, np.where(below & stays, at, chosen), np.where(stays, at, chosen))
        missed = [_missed(shared, nodes, one) for one in tried]
        least = missed.index(min(missed))
        return missed[least], tried[least], by

    missed, taken, found = best(taken, found)
    for given_up in instead:
        # Who stays keeps every ramp, so nothing is given up for one.
        if not missed[0] and not missed[2]:
            break
        again = _share(shared, nodes, _released(shared, nodes, at, own, given_up, taken))
        other = best(_taken(again, at), again)
        if other[0] < missed and (other[0][0] < missed[0] or other[0][2] < missed[2]):
            missed, taken, found = other
    return taken, found


def _released(shared: Shared, nodes: Nodes, at: Ints, own: Floats, given_up: Floats, taken: Ints) -> Floats:
    """The worths given up below the nodes that miss a limit, for candidates towards it only; others stay."""
    mean, variance = _power(shared, taken)
    over: Bools = np.greater(nodes.load(mean, variance), nodes.cap_w + _SLACK_W)
    under: Bools = np.less(nodes.load(mean, variance, -1.0), nodes.floor_w - _SLACK_W)
    # Who stays keeps every ramp, so nobody has to move for one.
    is_place = np.diff(shared.place, prepend=-1) != 0
    over, under = over & is_place, under & is_place
    rows = np.arange(len(at))
    present = shared.power_w[rows, np.maximum(at, 0)][:, None]
    down = np.asarray(nodes.member[:, over].any(axis=1))[:, None] & (shared.power_w <= present)
    up = np.asarray(nodes.member[:, under].any(axis=1))[:, None] & (shared.power_w >= present)
    concerned = np.asarray(nodes.member[:, over | under].any(axis=1))
    alone = np.arange(own.shape[1]) == taken[:, None]
    loose = np.where(np.isfinite(own) | alone | down | up, given_up, np.nan)
    return np.where(concerned[:, None], loose, np.where(alone, 0.0, np.nan))

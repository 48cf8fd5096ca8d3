"""Which candidate each miner takes, so that value is greatest and no node of the site draws too much.

Steps along the miners' concave envelopes are taken best first. Limits that lie inside one another are met
from the leaves to the root, each by giving up its worst steps; for divisible steps that is the optimum. What
whole steps leave free is then filled by changes of up to three miners at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.planner.envelope import Envelope, envelope
from agent.planner.fill import filled
from agent.planner.nodes import Choices, Nodes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Allocation:
    """What each miner takes.

    Args:
        chosen: [N] column of the candidate, -1 where a miner has none.
        price: [G] value that one more watt at the node would bring; 0 where the cap does not bind.
        upper_power_w: [G] what has to stay under the cap.
        over: [G] True where even the least power of every miner is over the cap.
        under: [G] True where the least load could not be reached.
        raised: [G] True where steps were taken for the least load that are worth nothing.
    """

    chosen: Ints
    price: Floats
    upper_power_w: Floats
    over: Bools
    under: Bools
    raised: Bools

    @property
    def feasible(self) -> bool:
        """True where every cap is kept."""
        return not self.over.any()


def allocate(
    value: Floats, power_w: Floats, sigma_w: Floats, nodes: Nodes, *, fill: bool = True
) -> Allocation:
    """Maximise total value under the caps. Equal value: the lower power.

    Args:
        fill: False for who only asks for the prices.
        value, power_w, sigma_w: [N,K]; NaN value marks a candidate that may not be taken. Sigma is the
            standard deviation of predicted power.
    """
    count = len(value)
    steps = envelope(value, power_w)
    table = Choices(value, np.nan_to_num(power_w), np.nan_to_num(sigma_w) ** 2)
    taken = steps.slope > 0.0
    price = np.zeros(len(nodes.names))
    base = table.at(steps.least)
    over = nodes.load(*base) > nodes.cap_w
    added = _added(steps, table)
    for g in range(len(nodes.names) - 1, -1, -1):
        if np.isfinite(nodes.cap_w[g]):
            price[g] = _cut(steps, taken, added, nodes, base, g)
    raised = _raise(steps, taken, added, nodes, base)
    chosen = _chosen(steps, taken, count)
    if fill and price.any():
        chosen = filled(table, nodes, chosen, price)
    mean, variance = table.at(chosen)
    under = nodes.load(mean, variance, -1.0) < nodes.floor_w - 1e-6
    return Allocation(chosen, price, nodes.load(mean, variance), over, under, raised)


def _added(steps: Envelope, table: Choices) -> Floats:
    """[S] variance that each step adds."""
    before = steps.least.copy()
    # In the order along each miner's envelope: what stands before a step is the step before it.
    order = np.argsort(steps.miner, kind="stable")
    miner, column = steps.miner[order], steps.column[order]
    previous = np.where(np.diff(miner, prepend=-1) != 0, before[miner], np.roll(column, 1))
    gain = table.variance[miner, column] - table.variance[miner, previous]
    out = np.empty_like(gain)
    out[order] = gain
    return out


def _cut(
    steps: Envelope, taken: Bools, added: Floats, nodes: Nodes, base: tuple[Floats, Floats], g: int
) -> float:
    """Give up the worst steps below a node until it keeps to its cap; value per watt of the best of them."""
    below = np.flatnonzero(taken & nodes.member[steps.miner, g])
    member = nodes.member[:, g]
    mean = float(base[0][member].sum()) + np.cumsum(steps.power_w[below])
    variance = float(base[1][member].sum()) + np.cumsum(added[below])
    load = mean + nodes.free_z[g] * np.sqrt(np.maximum(variance, 0.0))
    fits = load <= nodes.cap_w[g]
    if fits.all():
        return 0.0
    first = int(fits.argmin())
    taken[below[first:]] = False
    return float(steps.slope[below[first]])


def _raise(steps: Envelope, taken: Bools, added: Floats, nodes: Nodes, base: tuple[Floats, Floats]) -> Bools:
    """Take further steps, least costly first, below nodes that draw less than they have to; tells which."""
    raised = np.zeros(len(nodes.names), dtype=np.bool_)
    z = nodes.free_z
    for g in np.flatnonzero(np.isfinite(nodes.floor_w))[::-1]:
        member = nodes.member[:, g]
        loads = [_load(steps, taken, added, nodes, base, a) for a in range(len(nodes.names))]
        missing = nodes.floor_w[g] - (loads[g][0] - z[g] * np.sqrt(max(loads[g][1], 0.0)))
        if missing <= 0.0:
            continue
        more = np.flatnonzero(~taken & member[steps.miner])
        power, variance = np.cumsum(steps.power_w[more]), np.cumsum(added[more])
        fits = np.ones(len(more), dtype=np.bool_)
        for a, (mean, spread) in enumerate(loads):
            inside = nodes.member[steps.miner[more], a]
            own_p, own_v = np.cumsum(steps.power_w[more] * inside), np.cumsum(added[more] * inside)
            fits &= mean + own_p + z[a] * np.sqrt(np.maximum(spread + own_v, 0.0)) <= nodes.cap_w[a]
        low = loads[g][0] + power - z[g] * np.sqrt(np.maximum(loads[g][1] + variance, 0.0))
        enough = np.flatnonzero(low >= nodes.floor_w[g])
        wanted = int(enough[0]) + 1 if len(enough) else len(more)
        possible = len(more) if fits.all() else int(fits.argmin())
        taken[more[: min(wanted, possible)]] = True
        raised[g] = min(wanted, possible) > 0
    return raised


def _load(
    steps: Envelope, taken: Bools, added: Floats, nodes: Nodes, base: tuple[Floats, Floats], g: int
) -> tuple[float, float]:
    """Mean and variance of a node's power."""
    below, member = taken & nodes.member[steps.miner, g], nodes.member[:, g]
    mean = float(base[0][member].sum() + steps.power_w[below].sum())
    return mean, float(base[1][member].sum() + added[below].sum())


def _chosen(steps: Envelope, taken: Bools, count: int) -> Ints:
    chosen = steps.least.copy()
    # Later steps of a miner stand later, and the last one written stays.
    chosen[steps.miner[taken]] = steps.column[taken]
    assert len(chosen) == count
    return chosen

"""Which candidate each miner takes, so that value is greatest and no node of the site draws too much.

Steps along the miners' concave envelopes are taken best first. Limits that lie inside one another are met
from the leaves to the root, each by giving up its worst steps; for divisible steps that is the optimum. What
whole steps leave free is then filled by changes of up to three miners at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from agent.planner.power.envelope import Envelope, envelope
from agent.planner.power.fill import filled
from agent.planner.power.nodes import Choices, Nodes

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
    sums = _Sums(steps, _added(steps, table), nodes, base, taken)
    for g in range(len(nodes.names) - 1, -1, -1):
        if sums.load(g) > nodes.cap_w[g]:
            price[g] = _cut(sums, g)
    raised = _raise(sums)
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


class _Sums:
    """Which steps are taken, and what all nodes draw with them.

    Args:
        added: [S] variance that each step adds.
        base: mean and variance [N] before any step.
        taken: [S]; changed here.
    """

    def __init__(
        self, steps: Envelope, added: Floats, nodes: Nodes, base: tuple[Floats, Floats], taken: Bools
    ) -> None:
        self.steps, self.added, self.nodes, self.taken = steps, added, nodes, taken
        self._member = nodes.member.astype(np.float64)
        self.mean = base[0] @ self._member
        self.variance = base[1] @ self._member
        self._add(np.flatnonzero(taken), 1.0)

    def below(self, g: int, taken: bool) -> Ints:
        """The steps below a node that are taken, or are not."""
        return np.flatnonzero((self.taken == taken) & self.nodes.member[:, g][self.steps.miner])

    def load(self, g: int, side: float = 1.0) -> float:
        """Bound of a node's power."""
        spread = sqrt(max(float(self.variance[g]), 0.0))
        return float(self.mean[g]) + side * float(self.nodes.free_z[g]) * spread

    def drop(self, which: Ints) -> None:
        """Give up steps that are taken."""
        self.taken[which] = False
        self._add(which, -1.0)

    def take(self, which: Ints) -> None:
        """Take further steps."""
        self.taken[which] = True
        self._add(which, 1.0)

    def _add(self, which: Ints, sign: float) -> None:
        miner, count = self.steps.miner[which], len(self._member)
        self.mean += sign * (np.bincount(miner, self.steps.power_w[which], count) @ self._member)
        self.variance += sign * (np.bincount(miner, self.added[which], count) @ self._member)


def _cut(sums: _Sums, g: int) -> float:
    """Give up the worst steps below a node until it keeps to its cap; value per watt of the best of them."""
    below = sums.below(g, True)
    power, added = sums.steps.power_w[below], sums.added[below]
    # What is left once each step and those worse than it are given up, and nothing else.
    mean = float(sums.mean[g]) - np.cumsum(power[::-1])[::-1] + power
    variance = float(sums.variance[g]) - np.cumsum(added[::-1])[::-1] + added
    fits = mean + sums.nodes.free_z[g] * np.sqrt(np.maximum(variance, 0.0)) <= sums.nodes.cap_w[g]
    if fits.all():
        return 0.0
    first = int(fits.argmin())
    sums.drop(below[first:])
    return float(sums.steps.slope[below[first]])


def _raise(sums: _Sums) -> Bools:
    """Take further steps, least costly first, below nodes that draw less than they have to; tells which."""
    nodes, steps = sums.nodes, sums.steps
    z, raised = nodes.free_z, np.zeros(len(nodes.names), dtype=np.bool_)
    for g in np.flatnonzero(np.isfinite(nodes.floor_w))[::-1]:
        if sums.load(g, -1.0) >= nodes.floor_w[g]:
            continue
        more = sums.below(g, False)
        mean, variance = (
            sums.mean[g] + np.cumsum(steps.power_w[more]),
            sums.variance[g] + np.cumsum(sums.added[more]),
        )
        enough = np.flatnonzero(mean - z[g] * np.sqrt(np.maximum(variance, 0.0)) >= nodes.floor_w[g])
        more = more[: int(enough[0]) + 1 if len(enough) else len(more)]
        capped = np.isfinite(nodes.cap_w)
        inside = nodes.member[steps.miner[more]][:, capped]
        power = sums.mean[capped] + np.cumsum(steps.power_w[more][:, None] * inside, axis=0)
        spread = sums.variance[capped] + np.cumsum(sums.added[more][:, None] * inside, axis=0)
        load = power + z[capped] * np.sqrt(np.maximum(spread, 0.0))
        # A node that is over its cap as it is does not stand in the way of others.
        fits = ((load <= nodes.cap_w[capped]) | ~inside.any(axis=0)).all(axis=1)
        possible = len(more) if fits.all() else int(fits.argmin())
        sums.take(more[:possible])
        raised[g] = possible > 0
    return raised


def _chosen(steps: Envelope, taken: Bools, count: int) -> Ints:
    chosen = steps.least.copy()
    # Later steps of a miner stand later, and the last one written stays.
    chosen[steps.miner[taken]] = steps.column[taken]
    assert len(chosen) == count
    return chosen

"""What whole steps leave free under a cap is used: an exact search among the choices that can still matter.

With a price on power, every choice has a loss against its miner's best one. The best allocation loses less in
all than the bound that prices give, so only choices below it are looked at; they are added up miner by miner,
node by node, and of two sums the one that draws more and is worth less is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.planner.power.exchange import exchanged
from agent.planner.power.nodes import Choices, Nodes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


# Nothing is searched where not even divisible steps could add more than this share, nor in a fleet so large
# that its steps are small against the sum.
_GOOD_ENOUGH, _MOST_CHOICES = 3e-4, 4000
# Sums kept after each miner, and of each node before two nodes are added up.
_SUMS, _NODE_SUMS = 600, 150
_MINERS, _ROUNDS = 150, 4


@dataclass(frozen=True, slots=True)
class _Sums:
    """Sums of changes against the allocation at hand, and how each came about.

    Args:
        power_w, variance, value, loss: [S]. Loss is against the prices' bound.
        origin: the sums that these were made of, each with [S] which of them.
        miner, column: the miner that was added last, -1 for none, and [S] its column.
    """

    power_w: Floats
    variance: Floats
    value: Floats
    loss: Floats
    origin: tuple[tuple[_Sums, Ints], ...] = ()
    miner: int = -1
    column: Ints | None = None

    def pick(self, rows: Ints) -> _Sums:
        return _Sums(
            self.power_w[rows],
            self.variance[rows],
            self.value[rows],
            self.loss[rows],
            tuple((sums, which[rows]) for sums, which in self.origin),
            self.miner,
            None if self.column is None else self.column[rows],
        )

    def choices(self, row: int) -> Iterator[tuple[int, int]]:
        """Miner and column of every change in one of the sums."""
        waiting: list[tuple[_Sums, int]] = [(self, row)]
        while waiting:
            sums, at = waiting.pop()
            if sums.column is not None:
                yield sums.miner, int(sums.column[at])
            waiting += [(part, int(which[at])) for part, which in sums.origin]


def filled(table: Choices, nodes: Nodes, chosen: Ints, price: Floats) -> Ints:
    """The best allocation near `chosen`, which keeps to the caps.

    Args:
        price: [G] value per watt at each node that binds.
    """
    chosen = exchanged(table, nodes, chosen, price)
    if table.value.size > _MOST_CHOICES:
        return chosen
    for _ in range(_ROUNDS):
        # What was found lowers the bound, so that less is left to look at.
        better = _searched(table, nodes, chosen, price)
        if better is None:
            break
        chosen = better
    return chosen


def _searched(table: Choices, nodes: Nodes, chosen: Ints, price: Floats) -> Ints | None:
    """A better allocation; None where there is none or not enough to gain."""
    paid = np.where(nodes.member, price, 0.0).max(axis=1)
    rows, pick = np.arange(len(chosen)), np.maximum(chosen, 0)
    score = np.where(np.isfinite(table.value), table.value - paid[:, None] * table.power_w, -np.inf)
    score[chosen < 0] = 0.0
    loss = score.max(axis=1)[:, None] - score
    mean, variance = table.at(chosen)
    free = nodes.cap_w - nodes.load(mean, variance)
    above = _parents(nodes)
    own = np.where(above >= 0, np.maximum(price - _inherited(price, above), 0.0), price)
    bound = float(loss[rows, pick].sum() + (own * np.where(own > 0.0, np.maximum(free, 0.0), 0.0)).sum())
    total = float(table.value[rows, pick][chosen >= 0].sum())
    if bound <= _GOOD_ENOUGH * abs(total):
        return None
    near = (loss <= bound) & np.isfinite(table.value) & (chosen >= 0)[:, None]
    near[rows, pick] = chosen >= 0
    movable = near.sum(axis=1) > 1
    if movable.sum() > _MINERS:
        others = np.where(near & (np.arange(near.shape[1]) != pick[:, None]), loss, np.inf).min(axis=1)
        last = float(np.partition(others[movable], _MINERS - 1)[_MINERS - 1])
        movable &= others <= last
    deepest = np.where(nodes.member, np.arange(nodes.member.shape[1]), -1).max(axis=1)
    # To weigh variance against power where sums are compared: its slope at the load at hand.
    spread = np.sqrt(np.maximum(variance.sum(), 1e-12))
    weigh = 0.5 * float(nodes.free_z.max(initial=0.0)) / float(spread)
    sums: dict[int, _Sums] = {}
    # What those that are not looked at lose in any case.
    bound -= float(loss[rows, pick][~movable].sum())
    for g in range(len(nodes.names) - 1, -1, -1):
        found = sums.pop(g, None) or _nothing(0.0)
        for miner in np.flatnonzero(movable & (deepest == g)):
            found = _with_miner(
                found, table, int(miner), int(pick[miner]), near[miner], loss[miner], bound, weigh
            )
        found = _inside(found, nodes, g, mean, variance)
        if above[g] < 0:
            sums[-1] = _both(sums[-1], found, bound, weigh) if -1 in sums else found
        else:
            up = int(above[g])
            sums[up] = _both(sums[up], found, bound, weigh) if up in sums else found
    best = sums[-1]
    winner = int(np.argmax(best.value))
    if best.value[winner] <= 1e-12 * abs(total):
        return None
    out = chosen.copy()
    for changed, column in best.choices(winner):
        out[changed] = column
    return out


def _nothing(loss: float) -> _Sums:
    zero = np.zeros(1)
    return _Sums(zero, zero, zero, np.array([loss]))


def _with_miner(
    sums: _Sums,
    table: Choices,
    miner: int,
    here: int,
    near: NDArray[np.bool_],
    loss: Floats,
    bound: float,
    weigh: float,
) -> _Sums:
    columns = np.flatnonzero(near)
    power = table.power_w[miner, columns] - table.power_w[miner, here]
    variance = table.variance[miner, columns] - table.variance[miner, here]
    value = table.value[miner, columns] - table.value[miner, here]
    lost = loss[columns]
    many = len(columns)
    old = np.repeat(np.arange(len(sums.value)), many)
    new = np.tile(np.arange(many), len(sums.value))
    grown = _Sums(
        sums.power_w[old] + power[new],
        sums.variance[old] + variance[new],
        sums.value[old] + value[new],
        sums.loss[old] + lost[new],
        ((sums, old),),
        miner,
        columns[new],
    )
    return _worthwhile(grown, bound, weigh, _SUMS)


def _both(one: _Sums, other: _Sums, bound: float, weigh: float) -> _Sums:
    """Sums of two nodes that share nothing but what is above them."""
    one, other = _fewest(one, _NODE_SUMS), _fewest(other, _NODE_SUMS)
    first = np.repeat(np.arange(len(one.value)), len(other.value))
    second = np.tile(np.arange(len(other.value)), len(one.value))
    joined = _Sums(
        one.power_w[first] + other.power_w[second],
        one.variance[first] + other.variance[second],
        one.value[first] + other.value[second],
        one.loss[first] + other.loss[second],
        ((one, first), (other, second)),
    )
    return _worthwhile(joined, bound, weigh, _SUMS)


def _worthwhile(sums: _Sums, bound: float, weigh: float, most: int) -> _Sums:
    """Without those that lose too much, and those that draw more and are worth less than another."""
    kept = np.flatnonzero(sums.loss <= bound + 1e-12)
    kept = _with_still(sums, kept)
    draw = sums.power_w[kept] + weigh * sums.variance[kept]
    order = kept[np.lexsort((-sums.value[kept], draw))]
    value = sums.value[order]
    best = np.maximum.accumulate(value)
    rising = np.concatenate([[True], value[1:] > best[:-1]])
    return _fewest(sums.pick(order[rising]), most)


def _with_still(sums: _Sums, kept: Ints) -> Ints:
    """Never without a sum at all."""
    return kept if len(kept) else np.array([np.argmin(sums.loss)])


def _fewest(sums: _Sums, most: int) -> _Sums:
    """At most so many, spread evenly over their power: of those that draw alike the one that loses least."""
    if len(sums.value) <= most:
        return sums
    low, high = float(sums.power_w.min()), float(sums.power_w.max())
    share = (sums.power_w - low) / max(high - low, 1e-9)
    place = np.minimum((share * most).astype(np.int64), most - 1)
    order = np.lexsort((sums.loss, place))
    first = np.diff(place[order], prepend=-1) != 0
    return sums.pick(np.sort(order[first]))


def _inside(sums: _Sums, nodes: Nodes, g: int, mean: Floats, variance: Floats) -> _Sums:
    """Those that keep to the cap and the floor of a node, or are no worse than what is."""
    member = nodes.member[:, g]
    now_w, now_v = float(mean[member].sum()), float(variance[member].sum())
    z = float(nodes.free_z[g])
    margin = z * np.sqrt(np.maximum(now_v + sums.variance, 0.0))
    now_margin = z * np.sqrt(max(now_v, 0.0))
    cap = max(float(nodes.cap_w[g]), now_w + now_margin)
    floor = min(float(nodes.floor_w[g]), now_w - now_margin)
    power = now_w + sums.power_w
    kept = np.flatnonzero((power + margin <= cap) & (power - margin >= floor))
    return sums.pick(kept) if len(kept) else _nothing(float(sums.loss.min()))


def _parents(nodes: Nodes) -> Ints:
    """[G] the smallest node around each, -1 for one that stands alone."""
    out = np.full(nodes.member.shape[1], -1, dtype=np.int64)
    for g in range(len(out)):
        around = [h for h in range(g) if not (nodes.member[:, g] & ~nodes.member[:, h]).any()]
        if around:
            out[g] = around[-1]
    return out


def _inherited(price: Floats, above: Ints) -> Floats:
    """[G] the highest price among the nodes around each."""
    out = np.zeros(len(price))
    for g in range(len(price)):
        if above[g] >= 0:
            out[g] = max(out[above[g]], price[above[g]])
    return out

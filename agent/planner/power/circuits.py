"""The circuits of a site as a tree: where miners hang, what each place may draw, how fast that may change.

Figures of the tree are of the site's draw, cooling included; `left_for_miners` tells what the miners
themselves may draw of it. Sharing that among them is `agent.planner.power.allocate`'s work.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

SITE = "site"


@dataclass(frozen=True, slots=True)
class PowerTree:
    """G places that limit power, each inside its parent; N miners hang on them.

    Args:
        names: [G] for messages; place 0 is the site, and a parent stands before its children.
        parent: [G] place around each, -1 for the site.
        leaf: [N] the innermost place of each miner.
        cap_w: [G] infinity without one.
        floor_w: [G] least load; minus infinity without.
        ramp_up_w_per_s, ramp_down_w_per_s: [G] how fast load may rise and fall; infinity without a limit.

    Raises:
        ValueError: on creation, if the arrays do not make a tree.
    """

    names: tuple[str, ...]
    parent: Ints
    leaf: Ints
    cap_w: Floats
    floor_w: Floats
    ramp_up_w_per_s: Floats
    ramp_down_w_per_s: Floats

    def __post_init__(self) -> None:
        count = len(self.names)
        figures = (self.parent, self.cap_w, self.floor_w, self.ramp_up_w_per_s, self.ramp_down_w_per_s)
        if not count or any(figure.shape != (count,) for figure in figures):
            raise ValueError(f"a tree of {count} places needs one figure of each kind for every place")
        before = (self.parent[1:] >= 0) & (self.parent[1:] < np.arange(1, count))
        if self.parent[0] != -1 or not before.all():
            raise ValueError("the site comes first, and every parent before its children")
        if len(self.leaf) and (self.leaf.min() < 0 or self.leaf.max() >= count):
            raise ValueError(f"a miner hangs on a place that is not among the {count} of the tree")

    @staticmethod
    def single(miners: int, cap_w: float) -> PowerTree:
        """A site without circuits."""
        none = np.array([np.inf])
        return PowerTree(
            (SITE,),
            np.array([-1]),
            np.zeros(miners, dtype=np.int64),
            np.array([cap_w]),
            np.array([-np.inf]),
            none,
            none.copy(),
        )

    @property
    def limited(self) -> bool:
        """True if anything is limited at all."""
        free = np.isinf(self.cap_w) & np.isinf(self.floor_w)
        return not (free & np.isinf(self.ramp_up_w_per_s) & np.isinf(self.ramp_down_w_per_s)).all()

    def place(self, name: str) -> int:
        """Where a name stands.

        Raises:
            KeyError: the tree has no such place.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise KeyError(f"there is no circuit {name!r}; known are {', '.join(self.names)}") from None

    def member(self) -> Bools:
        """[N,G] True where a miner hangs on a place or on one inside it."""
        inside = np.eye(len(self.names), dtype=np.bool_)
        for g in range(1, len(self.names)):
            inside[g] |= inside[self.parent[g]]
        return np.asarray(inside[self.leaf])

    def sums(self, values: Floats) -> Floats:
        """[...,G] sums of [...,N] over the miners of each place."""
        count, rows = len(self.names), math.prod(values.shape[:-1])
        flat = values.reshape(rows, len(self.leaf))
        cell = np.arange(rows)[:, None] * count + self.leaf
        total = np.bincount(cell.ravel(), flat.ravel(), rows * count).astype(np.float64)
        total = total.reshape(rows, count)
        for g in range(count - 1, 0, -1):
            total[:, self.parent[g]] += total[:, g]
        return total.reshape(*values.shape[:-1], count)


@dataclass(frozen=True, slots=True)
class Band:
    """What places may draw: caps and floors [G], or [T,G] by step, in W; infinite where there is none."""

    cap_w: Floats
    floor_w: Floats

    def within(self, cap_w: Floats) -> Band:
        """The same under further caps of any broadcastable shape; a floor gives way to a cap."""
        cap = np.minimum(self.cap_w, cap_w)
        return Band(cap, np.minimum(self.floor_w, cap))


def left_for_miners(tree: PowerTree, band: Band, fixed_w: Floats, pue: Floats | float = 1.0) -> Band:
    """What is left for the miners that are up for decision, of their own draw, [G] or [T,G].

    Args:
        band: of the site's draw.
        fixed_w: [N] or [T,N] draw of miners that are not up for decision, 0 for those that are.
        pue: a number, or [T] where `band` or `fixed_w` are by step.
    """
    share = np.asarray(pue, dtype=np.float64)
    share = share[:, None] if share.ndim else share
    fixed = tree.sums(fixed_w)
    return Band(band.cap_w / share - fixed, band.floor_w / share - fixed)


def binding(tree: PowerTree, price: Floats, over: Bools) -> Ints:
    """[N] the place that holds each miner back, -1 for none.

    Args:
        price: [G] what a watt is worth at each place, as `allocate` found it.
        over: [G] True where even the least power is over the cap; such a place binds before all others.
    """
    weight = np.where(over, np.inf, np.maximum(price, 0.0))
    # The outer one of several that ask alike, as relief must come from there.
    weighed = np.where(tree.member(), weight, 0.0)
    found = weighed.argmax(axis=1)
    return np.where(weighed.max(axis=1, initial=0.0) > 0.0, found, -1).astype(np.int64)

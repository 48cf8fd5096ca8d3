"""What the miners that are up for decision share, step by step: caps, least loads and ramps of every place.

A cap and a least load are kept with a margin for errors of prediction; a ramp bounds how far expected power
moves from one step to the next. Both stand in one tree of nodes, a ramp directly inside its place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.planner.power.circuits import Band, PowerTree, left_for_miners
from agent.planner.power.limits import SitePower
from agent.planner.power.nodes import Nodes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Against rounding where a limit is met to the watt.
_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class Shared:
    """Limits of G places over T steps, of the draw of those of N miners that are up for decision.

    Args:
        tree: the places.
        z: standard deviations of the summed error of predicted power to keep free under caps.
        power_w, sigma_w: [N,K] expected power and its standard deviation; 0 where there is no candidate.
        cap_w, floor_w: [T,G].
        ahead_w: [T,G] what expected power may be so that later caps can be reached by the ramps; infinite
            without ramps.
        rise_w, fall_w: [T,G] by how much expected power may change at the start of each step.
        weight, protected: [N] as in `allocate_by_priority`.
        free: [N] miners that are up for decision.
        may_change: [N,T].
    """

    tree: PowerTree
    z: float
    power_w: Floats
    sigma_w: Floats
    cap_w: Floats
    floor_w: Floats
    ahead_w: Floats
    rise_w: Floats
    fall_w: Floats
    weight: Floats
    protected: Bools
    free: Bools
    may_change: Bools

    @property
    def limited(self) -> bool:
        """True if anything is limited at all."""
        limits = (self.cap_w, self.floor_w, self.rise_w, self.fall_w)
        return bool(any(np.isfinite(limit).any() for limit in limits))

    @property
    def ramped(self) -> Bools:
        """[G] places with a ramp."""
        return np.asarray((np.isfinite(self.rise_w) | np.isfinite(self.fall_w)).any(axis=0))

    @property
    def place(self) -> Ints:
        """[M] the place of each node: its caps, and directly after them its ramp where it has one."""
        return np.repeat(np.arange(len(self.tree.names)), 1 + self.ramped)

    def draw(self, chosen: Ints) -> Floats:
        """[G] expected power of the miners that are up for decision at the candidates [N]."""
        power = self.power_w[np.arange(len(chosen)), np.maximum(chosen, 0)]
        return self.tree.sums(np.where(self.free & (chosen >= 0), power, 0.0))

    def nodes(self, step: int, before_w: Floats) -> Nodes:
        """The limits at a step after one with the draw `before_w` [G]. A ramp gives way to a cap."""
        low = before_w - self.fall_w[step]
        high = before_w + self.rise_w[step]
        return self._nodes(step, np.minimum(high, np.maximum(self.ahead_w[step], low)), low)

    def whatever_before(self, step: int, at_first_w: Floats) -> Nodes:
        """The limits at a step that hold whatever is done until then, from the draw `at_first_w` [G]."""
        low = at_first_w - self.fall_w[: step + 1].sum(axis=0)
        # No more than a cap in between, and what may be added since.
        since = np.cumsum(self.rise_w[step::-1], axis=0)[::-1]
        reach = np.concatenate([at_first_w[None] + since[:1], self.cap_w[:step] + since[1:]])
        return self._nodes(step, np.minimum(self.ahead_w[step], reach.min(axis=0)), low)

    def broken(self, chosen: Ints, nodes: Nodes) -> Bools:
        """[M] nodes whose limits the candidates [N] do not keep to."""
        rows = np.arange(len(chosen))
        pick, here = np.maximum(chosen, 0), self.free & (chosen >= 0)
        mean = np.where(here, self.power_w[rows, pick], 0.0)
        variance = np.where(here, self.sigma_w[rows, pick] ** 2, 0.0)
        most, least = nodes.load(mean, variance), nodes.load(mean, variance, -1.0)
        slack = 1e-6 + _SLACK * np.abs(most)
        return np.asarray((most > nodes.cap_w + slack) | (least < nodes.floor_w - slack))

    def _nodes(self, step: int, ramp_cap_w: Floats, ramp_floor_w: Floats) -> Nodes:
        place, member = self.place, self.tree.member()
        is_ramp = np.diff(place, prepend=-1) == 0
        cap = np.where(is_ramp, ramp_cap_w[place], self.cap_w[step][place])
        floor = np.where(is_ramp, ramp_floor_w[place], self.floor_w[step][place])
        # A floor gives way to a cap, its own or that of the same place.
        floor = np.minimum(floor, np.minimum(cap, self.cap_w[step][place]))
        names = tuple(self.tree.names[g] for g in place)
        return Nodes(member[:, place], cap, floor, np.where(is_ramp, 0.0, self.z), names)


def share(
    power: SitePower,
    draw_w: Floats,
    mean_w: Floats,
    sigma_w: Floats,
    z: float,
    free: Bools,
    step_s: float,
    steps: int,
) -> Shared:
    """The limits of a site as those of the miners that are up for decision.

    Args:
        draw_w: [N] of every miner now; that of those not up for decision stays, but for maintenance.
        mean_w, sigma_w: [N,K] power of the candidates.
        step_s: length of a step; the ramp from now into the first one has `power.ramp_s`.
    """
    tree = power.tree
    fixed = np.where(power.off.T | free, 0.0, draw_w)
    whole = np.repeat(tree.cap_w[None], steps, axis=0)
    whole[:, 0] = np.minimum(whole[:, 0], power.peak_w)
    band = Band(whole, np.broadcast_to(tree.floor_w, whole.shape)).within(power.event_cap_w)
    band = left_for_miners(tree, band, fixed, np.full(steps, power.pue))
    seconds = np.full((steps, 1), step_s)
    seconds[:1] = power.ramp_s
    rise = tree.ramp_up_w_per_s * seconds / power.pue
    fall = tree.ramp_down_w_per_s * seconds / power.pue
    ahead = np.full(whole.shape, np.inf)
    for step in range(steps - 2, -1, -1):
        ahead[step] = np.minimum(band.cap_w[step + 1], ahead[step + 1]) + fall[step + 1]
    return Shared(
        tree,
        z,
        mean_w,
        sigma_w,
        band.cap_w,
        band.floor_w,
        ahead,
        rise,
        fall,
        power.weight,
        power.protected,
        free,
        power.may_change,
    )

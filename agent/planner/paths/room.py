"""What the limits of a site leave beside a course: which other paths of one or two miners fit into it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agent.planner.power.shared import Shared

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_SLACK = 1e-9
_SLACK_W = 1e-6


class Room:
    """A course of N miners over T steps, and what G places have left beside it.

    Args:
        shared: the limits.
        now_w: [G] expected draw before the first step.
        path: [N,T]; changed by `take` only.
        missed: [T] steps whose limits do not count.
    """

    def __init__(self, shared: Shared, now_w: Floats, path: Ints, missed: Bools) -> None:
        limits = (shared.cap_w, shared.floor_w, shared.rise_w, shared.fall_w)
        limited = np.any([np.isfinite(limit).any(axis=0) for limit in limits], axis=0)
        member = shared.tree.member() & limited
        depth = int(member.sum(axis=1).max(initial=0))
        order = np.argsort(~member, axis=1, kind="stable")[:, :depth]
        # The limited places around each miner; the last of all places stands for none.
        self._around = np.where(np.take_along_axis(member, order, axis=1), order, member.shape[1])
        self.member = np.concatenate([member, np.zeros((len(member), 1), dtype=np.bool_)], axis=1)

        def one_more(limit: Floats, none: float) -> Floats:
            wide = np.concatenate([limit, np.full((len(limit), 1), none)], axis=1)
            wide[missed] = none
            return wide

        self.cap_w = one_more(shared.cap_w, np.inf)
        self._cap_w = self.cap_w + _SLACK * np.where(np.isfinite(self.cap_w), np.abs(self.cap_w), 0.0)
        self._floor_w = one_more(np.minimum(shared.floor_w, shared.cap_w), -np.inf) - _SLACK_W
        self._rise_w = one_more(shared.rise_w, np.inf) + _SLACK_W
        self._fall_w = one_more(shared.fall_w, np.inf) + _SLACK_W
        self._now_w = np.append(now_w, 0.0)
        self._floors = bool(np.isfinite(self._floor_w).any())
        self.ramps = bool(np.isfinite(self._rise_w).any() or np.isfinite(self._fall_w).any())
        self._free, self._power_w, self._z = shared.free, shared.power_w, shared.z
        self._variance = shared.sigma_w**2
        self._spread = self._z != 0.0 and bool(self._variance.any())
        self.path = path.copy()
        self._own_w, self._own_v = self._drawn(path)
        self._mean, self._var = self._own_w @ self.member, self._own_v @ self.member

    def over_w(self, path: Ints) -> Floats:
        """[T,G+1] W by which the paths [N,T] are over the caps, negative below them; 0 without one."""
        mean, variance = (drawn @ self.member for drawn in self._drawn(path))
        load = mean + self._z * np.sqrt(variance)
        capped = np.isfinite(self.cap_w)
        return np.where(capped, load - np.where(capped, self.cap_w, 0.0), 0.0)

    def around(self, rows: Ints, of_place: Floats) -> Floats:
        """[R,T] sums of [T,G+1] over the places around each miner."""
        return np.asarray(of_place[:, self._around[rows]].sum(axis=2).T)

    def kept(self) -> bool:
        """True if the course keeps to all limits."""
        return self._keeps(self._mean, self._var, np.arange(self.member.shape[1]))

    def take(self, miners: Sequence[int], paths: Sequence[Ints]) -> bool:
        """Change the course if what comes of it keeps to all limits; tells whether it did."""
        places = np.unique(self._around[list(miners)])
        places = places[places < self.member.shape[1] - 1]
        mean, variance = self._mean[:, places].copy(), self._var[:, places].copy()
        for miner, path in zip(miners, paths, strict=True):
            below = self.member[miner, places]
            mean += np.outer(self._power_w[miner, path] - self._own_w[:, miner], below)
            variance += np.outer(self._variance[miner, path] - self._own_v[:, miner], below)
        if not self._keeps(mean, variance, places):
            return False
        self._mean[:, places], self._var[:, places] = mean, variance
        for miner, path in zip(miners, paths, strict=True):
            self.path[miner] = path
            self._own_w[:, miner] = self._power_w[miner, path]
            self._own_v[:, miner] = self._variance[miner, path]
        return True

    def barred(
        self,
        rows: Ints,
        without: Ints | None = None,
        beside: tuple[Ints, Ints] | None = None,
        towards: int = 0,
    ) -> Bools:
        """[T,R,K] settings of miners that do not fit beside the others.

        Ramps bind one step to the next, so that no setting fits or does not: unless `towards` asks for less
        they are left to `take`.

        Args:
            without: [R] for each a miner that is left out; then least loads are left to `take`.
            beside: for each a miner [R] that is on another path [R,T].
            towards: 1 or -1: only settings of no less or no more power than now, and of these only as many
                as can follow one another in any order without breaking a ramp.
        """
        power, variance = self._power_w[rows], self._variance[rows]
        out = np.zeros((len(self.cap_w), *power.shape), dtype=np.bool_)
        for place in self._around[rows].T:
            mean = self._mean[:, place] - self._own_w[:, rows]
            var = self._var[:, place] - self._own_v[:, rows]
            if without is not None:
                below = self.member[without, place]
                mean, var = mean - self._own_w[:, without] * below, var - self._own_v[:, without] * below
            if beside is not None:
                who, paths = beside
                below = self.member[who, place]
                mean = mean + (self._power_w[who, paths.T] - self._own_w[:, who]) * below
                var = var + (self._variance[who, paths.T] - self._own_v[:, who]) * below
            margin: Floats | float = 0.0
            if self._spread:
                margin = self._z * np.sqrt(np.maximum(var[:, :, None] + variance, 0.0))
            out |= power + margin > (self._cap_w[:, place] - mean)[:, :, None]
            if self._floors and without is None:
                out |= power - margin < (self._floor_w[:, place] - mean)[:, :, None]
        if towards:
            out |= self._too_steep(rows, towards)
        return out

    def _too_steep(self, rows: Ints, towards: int) -> Bools:
        """[T,R,K] settings that are not `towards`, or further than ramps allow next to any of the others."""
        change = np.diff(self._mean, axis=0, prepend=self._now_w[None])
        up, down = np.maximum(self._rise_w - change, 0.0), np.maximum(self._fall_w + change, 0.0)
        none = np.full((1, up.shape[1]), np.inf)
        into, out_of = (up, down) if towards > 0 else (down, up)
        most = np.minimum(into, np.concatenate([out_of[1:], none]))[:, self._around[rows]].min(axis=2)
        more = towards * (self._power_w[rows] - self._own_w[:, rows][:, :, None])
        return np.asarray((more < -_SLACK_W) | (more > most[:, :, None]))

    def _drawn(self, path: Ints) -> tuple[Floats, Floats]:
        """[T,N] mean and variance of power."""
        rows = np.arange(len(path))
        mean, variance = self._power_w[rows, path.T], self._variance[rows, path.T]
        return np.where(self._free, mean, 0.0), np.where(self._free, variance, 0.0)

    def _keeps(self, mean: Floats, variance: Floats, places: Ints) -> bool:
        margin = self._z * np.sqrt(np.maximum(variance, 0.0)) if self._spread else 0.0
        if (mean + margin > self._cap_w[:, places]).any():
            return False
        if self._floors and (mean - margin < self._floor_w[:, places]).any():
            return False
        if not self.ramps:
            return True
        change = np.diff(mean, axis=0, prepend=self._now_w[places][None])
        steep = (change > self._rise_w[:, places]) | (-change > self._fall_w[:, places])
        return not steep.any()

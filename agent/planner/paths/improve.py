"""Better courses under a site's limits: what miners can do for one another that no price makes them do.

Three ways are gone, and each course that is found is worth more than the one before: every miner takes the
best path that fits beside the others; the limits get new prices, and whole courses are built along the paths
that miners would choose under these; and of every two miners one gives way to the other.

The result is worth no less than the given course, breaks no limit, hold or wear budget that it keeps,
and depends on nothing but what is given: work is bounded by counting, not by a clock. Steps at which a limit
could not be kept are left as they are, and so is all before one at which only a rule given up kept it. If the
course of least power shows that no rule need be given up, that is where the search begins instead.

That is done for small sites. In a large fleet a miner's step is small against the sum, so that prices come
within some ten-thousandths of the best.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agent.planner.paths.horizon import Prospect, Steps, may_enter
from agent.planner.paths.room import Room
from agent.planner.paths.wear import look_ahead_within, restarts
from agent.planner.power.shared import Shared

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Steps x miners x candidates looked at in all by each of the ways, and how many looks at the whole fleet have
# to be in it for anything to be done.
_CELLS, _LOOKS = 3_000_000, 8
# How often prices change at most, a course being built along each.
_TURNS = 16
# Looks at the whole fleet, each taking what fits, for the course at hand, and for one just built.
_MANY, _FEW = 12, 2
# A gain below this share of what the fleet earns is none.
_LEAST_GAIN = 1e-9
# Within this share of what prices say could be earned at most a course is good enough.
_GOOD_ENOUGH = 2e-5


@dataclass(frozen=True, slots=True)
class Rules:
    """What a miner's path keeps to beside the limits that all share.

    Args:
        first: [N,K] settings that may be held in the first step.
        still: [N] miners whose path is left as it is.
        restarts_left: [N] that may still be made in the first `budget_steps` steps.
        pays: from a number of steps to [N,K] whether a change now pays if what it leads to is kept so long.
    """

    first: Bools
    still: Bools
    restarts_left: Ints
    budget_steps: int
    pays: Callable[[int], Bools]


def improved(prospect: Prospect, shared: Shared, path: Ints, rules: Rules) -> Ints:
    """A course [N,T] that is worth no less than `path`, by the weighed worth of all paths.

    Args:
        prospect: at the prices of electricity alone.
    """
    rows = np.flatnonzero(shared.free & ~rules.still)
    if len(rows) * prospect.stops.shape[1] * prospect.steps * _LOOKS > _CELLS:
        return path
    fixed, missed = _fixed(prospect, shared, path, rules)
    if fixed.all() or not len(rows):
        return path
    search = _Search(prospect, shared, path, rules, rows, fixed, missed)
    if fixed.any() and not missed.any():
        # Step by step a hold may have been given up that looking ahead would have kept.
        anew = _Search(prospect, shared, path, rules, rows, missed, missed)
        lowest = anew.lowest(path)
        if lowest is not None and not _fixed(prospect, shared, lowest.room.path, rules)[0].any():
            search, path = anew, lowest.room.path
    course = search.given(path)
    if not course.room.kept():
        return path
    search.one_by_one(course, _MANY)
    course = search.by_price(course)
    search.one_by_one(course, _MANY)
    search.two_by_two(course)
    return course.room.path


@dataclass(slots=True)
class _Course:
    """A course and what each path of it is worth, [N] USD."""

    room: Room
    worth: Floats


class _Search:
    """What stays the same while a better course is looked for."""

    def __init__(
        self,
        prospect: Prospect,
        shared: Shared,
        path: Ints,
        rules: Rules,
        rows: Ints,
        fixed: Bools,
        missed: Bools,
    ) -> None:
        self._prospect, self._shared, self._rules = prospect, shared, rules
        self._rows, self._missed = rows, missed
        self._now_w, self._weight = shared.draw(prospect.current), shared.weight
        self._money, self._cells = Steps(prospect), 0
        barred = np.zeros((prospect.steps, *prospect.stops.shape), dtype=np.bool_)
        barred[0] = ~rules.first
        barred[fixed] = True
        kept = fixed.copy()
        kept[0] = True
        of_step = np.flatnonzero(kept)[:, None]
        barred[of_step, np.arange(len(path)), path.T[kept]] = False
        self._barred = barred

    def given(self, path: Ints) -> _Course:
        room = Room(self._shared, self._now_w, path, self._missed)
        return _Course(room, self._money.along(path))

    def one_by_one(self, course: _Course, looks: int) -> None:
        """Take the best path of each miner that fits beside the others, until there is no better one."""
        room, rows = course.room, self._rows
        ways, idle = (0, 1, -1) if room.ramps else (0,), 0
        for look in range(looks):
            barred = self._barred[:, rows] | room.barred(rows, towards=ways[look % len(ways)])
            paths, worth = self._best(rows, barred)
            gain = self._weight[rows] * (worth - course.worth[rows])
            taken = 0
            for r in self._worthwhile(gain, course):
                if room.take((int(rows[r]),), (paths[r],)):
                    course.worth[rows[r]] = worth[r]
                    taken += 1
            idle = 0 if taken else idle + 1
            if idle == len(ways):
                break

    def by_price(self, course: _Course) -> _Course:
        """The best of the courses built along the paths that miners choose as prices on limits change."""
        room, rows = course.room, self._rows
        price, scale, bound = np.zeros_like(room.cap_w), 1.0, np.inf
        own = self._barred[:, rows]
        to_kwh = 1000.0 / self._prospect.step_h / self._weight[rows][:, None]
        last = self._cells + _CELLS
        lowest = self.lowest(room.path)
        wanted = room.path.copy()
        for _ in range(_TURNS):
            if self._cells >= last:
                break
            paths, worth = self._best(rows, own, room.around(rows, price) * to_kwh)
            wanted[rows] = paths
            over = room.over_w(wanted)
            most = float((self._weight[rows] * self._along(rows, paths)).sum() - (price * over).sum())
            # Prices that overshoot are approached in smaller steps.
            scale, bound = (scale, most) if most < bound else (0.7 * scale, bound)
            if lowest is not None:
                built = self._built(lowest, paths, worth)
                self.one_by_one(built, _FEW)
                if self._total(built) > self._total(course):
                    course = built
            missing = bound - self._total(course)
            steep = np.where(price > 0.0, over, np.maximum(over, 0.0))
            if missing <= _GOOD_ENOUGH * abs(bound) or not steep.any():
                break
            # As far as would close the gap if worth fell in a straight line (Polyak's step).
            length = scale * (most - self._total(course)) / float((steep**2).sum())
            price = np.maximum(price + length * over, 0.0)
        return course

    def two_by_two(self, course: _Course) -> None:
        """Let one miner take its best path as if a second were not there, and that one what is left."""
        room, worth, rows = course.room, course.worth, self._rows
        one, other = (grid.ravel() for grid in np.meshgrid(rows, rows, indexing="ij"))
        near = (one != other) & (room.member[one] & room.member[other]).any(axis=1)
        one, other = one[near], other[near]
        cost = 2 * len(one) * self._prospect.stops.shape[1] * self._prospect.steps
        last = self._cells + _CELLS
        while len(one) and self._cells + cost <= last:
            paths, gets = self._best(one, self._barred[:, one] | room.barred(one, without=other))
            gains = np.flatnonzero(np.isfinite(gets) & (gets > worth[one]))
            if not len(gains):
                break
            first, second, path, gets = one[gains], other[gains], paths[gains], gets[gains]
            barred = self._barred[:, second] | room.barred(second, beside=(first, path))
            then, keeps = self._best(second, barred)
            gain = self._weight[first] * (gets - worth[first])
            gain += self._weight[second] * (keeps - worth[second])
            changed: set[int] = set()
            for r in self._worthwhile(gain, course):
                both = (int(first[r]), int(second[r]))
                if changed.isdisjoint(both) and room.take(both, (path[r], then[r])):
                    worth[list(both)] = gets[r], keeps[r]
                    changed.update(both)
            if not changed:
                break
            self.one_by_one(course, _FEW)

    def _best(self, rows: Ints, barred: Bools, dearer: Floats | None = None) -> tuple[Ints, Floats]:
        """The best paths [R,T] and their worth in USD, minus infinity where a rule speaks against one.

        Args:
            dearer: [R,T] USD/kWh that power costs on top.
        """
        self._cells += barred.size
        asked = replace(self._prospect.rows(rows), barred=barred)
        if dearer is not None:
            asked = replace(asked, price_usd_per_kwh=asked.price_usd_per_kwh + dearer)
        rules, steps = self._rules, np.arange(self._prospect.steps)
        paths = look_ahead_within(asked, rules.restarts_left[rows], rules.budget_steps).path
        against = barred[steps, np.arange(len(rows))[:, None], paths].any(axis=1)
        against |= ~self._pays(rows, paths)
        return paths, np.where(against, -np.inf, self._along(rows, paths))

    def _along(self, rows: Ints, paths: Ints) -> Floats:
        return self._money.along(paths, rows)

    def _pays(self, rows: Ints, paths: Ints) -> Bools:
        """[R] False where a path begins with a change that does not pay while it is kept."""
        leaves = paths != paths[:, :1]
        kept = np.where(leaves.any(axis=1), leaves.argmax(axis=1), paths.shape[1])
        moved = paths[:, 0] != self._prospect.current[rows]
        out = np.ones(len(rows), dtype=np.bool_)
        for steps in np.unique(kept[moved]):
            which = moved & (kept == steps)
            out[which] = self._rules.pays(int(steps))[rows[which], paths[which, 0]]
        return out

    def _worthwhile(self, gain: Floats, course: _Course) -> Ints:
        """Those with a gain, greatest first."""
        least = _LEAST_GAIN * float(np.abs(course.worth[self._rows]).max())
        # Equal gains keep their order, in whatever currency they are rounded.
        rounded = np.round(gain / max(float(gain.max(initial=0.0)), least, 1e-300), 9)
        order = np.argsort(-rounded, kind="stable")
        return order[gain[order] > least]

    def _total(self, course: _Course) -> float:
        return float((self._weight * course.worth)[self._rows].sum())

    def lowest(self, path: Ints) -> _Course | None:
        """The course of least power within the rules; None where that breaks a limit, as a least load.

        Args:
            path: [N,T] kept by miners that have no other.
        """
        rows, hashprice = self._rows, self._prospect.hashprice_usd_per_ths_day
        # Dearer than any hashing could pay for.
        dearer = np.full((len(rows), self._prospect.steps), 1e3 * max(float(np.abs(hashprice).max()), 1e-6))
        paths, worth = self._best(rows, self._barred[:, rows], dearer)
        path = path.copy()
        path[rows] = np.where(np.isfinite(worth)[:, None], paths, path[rows])
        found = self.given(path)
        return found if found.room.kept() else None

    def _built(self, lowest: _Course, wanted: Ints, worth: Floats) -> _Course:
        """From the course of least power on, wanted paths as they fit, the best by the watt first."""
        rows, low = self._rows, lowest.room.path
        course = _Course(Room(self._shared, self._now_w, low, self._missed), lowest.worth.copy())
        gain = self._weight[rows] * (worth - lowest.worth[rows])
        power = self._shared.power_w[rows[:, None], wanted] - self._shared.power_w[rows[:, None], low[rows]]
        for r in self._worthwhile(gain / np.maximum(power.sum(axis=1), 1.0), course):
            if course.room.take((int(rows[r]),), (wanted[r],)):
                course.worth[rows[r]] = worth[r]
        return course


def _fixed(prospect: Prospect, shared: Shared, path: Ints, rules: Rules) -> tuple[Bools, Bools]:
    """Steps left as they are, and those of them that miss a limit, [T] each.

    What is done at such a step is no more than was needed there, given the step before; where a hold or a
    budget is given up, given all before.
    """
    count, steps = path.shape
    rows, hold = np.arange(count), max(1, prospect.hold_steps)
    counts, at = restarts(path, prospect), prospect.current
    left, locked = rules.restarts_left.astype(np.int64), prospect.held_steps.astype(np.int64)
    is_place = np.diff(shared.place, prepend=-1) != 0
    before, fixed = shared.draw(at), np.zeros(steps, dtype=np.bool_)
    missed = fixed.copy()
    for step, to in enumerate(path.T):
        moved, worn = to != at, counts[:, step] & (left <= 0) & (step < rules.budget_steps)
        if (worn | (moved & ((locked > 0) | ~may_enter(prospect, step)[rows, to]))).any():
            fixed[: step + 1] = True
        draw = shared.draw(to)
        steep = (draw - before > shared.rise_w[step] + 1e-6) | (before - draw > shared.fall_w[step] + 1e-6)
        if steep.any() or (shared.broken(to, shared.nodes(step, before)) & is_place).any():
            fixed[max(step - 1, 0) : step + 1] = missed[step] = True
        left = left - counts[:, step]
        locked = np.maximum(np.where(moved, hold, locked) - 1, 0)
        at, before = to, draw
    return fixed, missed

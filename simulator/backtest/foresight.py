"""The best path of every unit through known steps, within a budget of restarts a day: dynamic programming.

It knows the daily budget exactly, which `agent.planner` meets by making restarts dearer, so what it finds
is a bound for every policy that keeps to the same limits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.backtest.scene import Scene

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Values closer than this are one and the same; then nothing is changed.
_TIE_USD = 1e-9
_ROWS = 128
# More restarts than this in a day are never worth their price; it bounds the table of states.
_MOST_BUDGET = 24


@dataclass(frozen=True, slots=True)
class Course:
    """What N units with K candidates go through in T steps.

    Args:
        earning: step to [N,K] USD of holding each candidate for the step.
        restart_usd: step to [N,K] USD that a restart into each candidate loses.
        stops, wears, enterable: [N,K] as in `Scene`.
        start: [N] setting before the first step.
        budget: [N] restarts that a day may have.
        day: [T] number of the day of each step.
        may_change: [T] steps at which settings may be changed.
        hold_steps: for how many steps a setting is kept once entered.
    """

    earning: Callable[[int], Floats]
    restart_usd: Callable[[int], Floats]
    stops: Bools
    wears: Bools
    enterable: Bools
    start: Ints
    budget: Ints
    day: Ints
    may_change: Bools
    hold_steps: int


def course_of(scene: Scene, rows: Ints) -> Course:
    """The truth for some of a scene's units."""
    return Course(
        earning=lambda step: scene.earning_within(step)[rows],
        restart_usd=lambda step: scene.restart_usd(step)[rows],
        stops=scene.stops[rows],
        wears=scene.wears[rows],
        enterable=scene.enterable[rows],
        start=scene.farm.start[rows],
        budget=scene.rules.restarts_per_day[rows],
        day=scene.grid.day,
        may_change=scene.grid.price_known,
        hold_steps=scene.rules.hold_steps,
    )


def best_course(course: Course) -> tuple[Ints, Floats]:
    """The best path [N,T] and the USD [N] it earns, what its changes cost taken off."""
    count, width = course.stops.shape
    steps, hold = len(course.day), max(1, course.hold_steps)
    most = int(min(course.budget.max(initial=0), _MOST_BUDGET))
    budget = np.minimum(course.budget, most)
    levels = most + 1
    # A restart leads to the next level; from the last one allowed there is none.
    spent = np.arange(levels)[None, :] >= budget[:, None]
    # From a hashing setting without a restart, and with one; from a stop always with one.
    free = np.where(course.enterable & ~course.wears, 0.0, -np.inf)[:, :, None]
    paid = np.where(course.enterable & course.wears, 0.0, -np.inf)[:, :, None]
    woken = np.where(course.enterable & ~course.stops, 0.0, -np.inf)[:, :, None]
    closed = np.where(spent, -np.inf, 0.0)[:, None, :]
    stops = course.stops[:, :, None]
    later: dict[int, Floats] = {steps: np.zeros((count, width, levels))}
    window = np.zeros((count, width))
    runs = np.empty((steps, count, levels), dtype=np.uint8)
    wakes = np.empty((steps, count, levels), dtype=np.uint8)
    packed = np.empty((steps, (count * width * levels + 7) // 8), dtype=np.uint8)
    for step in range(steps - 1, -1, -1):
        earning = course.earning(step)
        following = _of_day(later[step + 1], course.day, step, step + 1)
        stay = earning[:, :, None] + following
        if hold == 1:
            entered = stay
        else:
            window = window + earning
            if step + hold < steps:
                window = window - course.earning(step + hold)
            end = min(step + hold, steps)
            entered = window[:, :, None] + _of_day(later[end], course.day, step, end)
        if not course.may_change[step]:
            runs[step] = wakes[step] = packed[step] = 0
            later[step] = stay
        else:
            dearer = np.full_like(entered, -np.inf)
            dearer[:, :, :-1] = entered[:, :, 1:]
            dearer = dearer - course.restart_usd(step)[:, :, None] + closed
            running = np.maximum(entered + free, dearer + paid)
            waking = dearer + woken
            runs[step], wakes[step] = running.argmax(axis=1), waking.argmax(axis=1)
            reward = np.where(stops, waking.max(axis=1)[:, None, :], running.max(axis=1)[:, None, :])
            moves = reward > stay + _TIE_USD
            packed[step] = np.packbits(moves)
            later[step] = np.where(moves, reward, stay)
        later.pop(step + hold + 1, None)
    path = _follow(course, runs, wakes, packed, levels)
    return path, later[0][np.arange(count), course.start, 0]


def _of_day(value: Floats, day: Ints, step: int, end: int) -> Floats:
    """Worth at `end` by the restarts that the day of `step` has had: a new day begins with none."""
    if end < len(day) and day[end] != day[step]:
        return np.broadcast_to(value[:, :, :1], value.shape)
    return value


def _follow(
    course: Course, runs: NDArray[np.uint8], wakes: NDArray[np.uint8], packed: NDArray[np.uint8], levels: int
) -> Ints:
    count, width = course.stops.shape
    rows = np.arange(count)
    at, used = course.start.copy(), np.zeros(count, dtype=np.int64)
    held = np.zeros(count, dtype=np.int64)
    path = np.empty((count, len(course.day)), dtype=np.int64)
    size = count * width * levels
    for step in range(len(course.day)):
        if step and course.day[step] != course.day[step - 1]:
            used[:] = 0
        moves = np.unpackbits(packed[step], count=size).reshape(count, width, levels)[rows, at, used] > 0
        moves &= held == 0
        stopped = course.stops[rows, at]
        to = np.where(stopped, wakes[step, rows, used], runs[step, rows, used]).astype(np.int64)
        restarts = moves & ~course.stops[rows, to] & (stopped | course.wears[rows, to])
        at = np.where(moves, to, at)
        held = np.where(moves, max(1, course.hold_steps), held)
        used += restarts
        path[:, step] = at
        held = np.maximum(held - 1, 0)
    return path


def oracle_path(scene: Scene, tick: Callable[[float], None] = lambda _: None) -> Ints:
    """The best path [N,T] of every unit, all prices and true curves known."""
    parts = []
    for first in range(0, scene.count, _ROWS):
        rows = np.arange(first, min(first + _ROWS, scene.count))
        parts.append(best_course(course_of(scene, rows))[0])
        tick((first + len(rows)) / scene.count)
    return np.concatenate(parts)


def best_fixed_on_off(scene: Scene, tick: Callable[[float], None] = lambda _: None) -> Ints:
    """The best path [N,T] of each unit that knows one hashing setting and the stop, in hindsight.

    A setting's profit with free and boundless switching is a bound of what it can earn, so only settings
    whose bound is above what another one has already earned are looked at.
    """
    units, width = np.arange(scene.count), scene.stops.shape[1]
    bound = _switching_freely(scene)
    path = np.repeat(scene.farm.start[:, None], scene.grid.steps, axis=1)
    earned = np.full(scene.count, -np.inf)
    order = np.argsort(-bound, axis=1)
    for turn in range(width):
        fixed = order[:, turn]
        open_to = np.flatnonzero((bound[units, fixed] > earned) & np.isfinite(bound[units, fixed]))
        if not len(open_to):
            break
        for first in range(0, len(open_to), 4 * _ROWS):
            rows = open_to[first : first + 4 * _ROWS]
            found, value = _fixed_on_off(scene, rows, fixed[rows])
            better = value > earned[rows]
            path[rows[better]], earned[rows[better]] = found[better], value[better]
        tick((turn + 1) / width)
    tick(1.0)
    return path


def _switching_freely(scene: Scene) -> Floats:
    """[N,K] USD of each hashing candidate where stopping and waking cost nothing."""
    total = np.zeros(scene.stops.shape)
    for step in range(scene.grid.steps):
        earning = scene.earning(step)
        stopped = np.where(scene.stops & scene.enterable, earning, -np.inf).max(axis=1)
        total += np.maximum(earning, stopped[:, None])
    allowed = scene.enterable.copy()
    allowed[np.arange(scene.count), scene.farm.start] = True
    return np.where(allowed & ~scene.stops, total, -np.inf)


def _fixed_on_off(scene: Scene, units: Ints, fixed: Ints) -> tuple[Ints, Floats]:
    """Paths [U,T] of units that may be where they began, at `fixed` or stopped; and what they earn."""
    start = scene.farm.start[units]
    stops = scene.stops[units] & scene.enterable[units]
    picks = np.stack([start, fixed, np.where(stops.any(axis=1), stops.argmax(axis=1), start)], axis=1)
    rows = units[:, None]
    enterable = scene.enterable[rows, picks]
    enterable[:, 0] = False
    enterable[:, 2] &= stops.any(axis=1)
    course = Course(
        earning=lambda step: scene.earning_within(step)[rows, picks],
        restart_usd=lambda step: scene.restart_usd(step)[rows, picks],
        stops=scene.stops[rows, picks],
        wears=scene.wears[rows, picks],
        enterable=enterable,
        start=np.zeros(len(units), dtype=np.int64),
        budget=scene.rules.restarts_per_day[units],
        day=scene.grid.day,
        may_change=scene.grid.price_known,
        hold_steps=scene.rules.hold_steps,
    )
    path, value = best_course(course)
    return np.take_along_axis(picks, path, axis=1), value

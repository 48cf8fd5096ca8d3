"""Going through the steps under the limits, and the books of what came of it.

The gate is the same for every policy: what a policy wants outside a limit is not done, and counted. The
books look at the path alone and check every limit anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from simulator.backtest.scene import Scene

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_CELLS = 4_000_000
_TICK_EVERY = 24
LIMITS = ("bounds", "hold", "restarts", "chip temperature", "unknown price")


@dataclass(slots=True)
class Standing:
    """Where N units stand at the beginning of a step.

    Args:
        at: [N] setting in force.
        held: [N] steps for which it must still be kept.
        used: [N] restarts of this day so far.
    """

    at: Ints
    held: Ints
    used: Ints


class Policy(Protocol):
    """Somebody who chooses settings. `name` is how reports and `--policies` call it."""

    name: str

    def begin(self, scene: Scene) -> None:
        """Get ready for the steps of a scene."""
        ...

    def decide(self, step: int, standing: Standing) -> Ints:
        """The setting [N] that each unit shall have from this step on."""
        ...


@dataclass(frozen=True, slots=True)
class Run:
    """One policy's way through the steps.

    Args:
        path: [N,T] setting held in each step.
        refused: wishes that a limit forbade, by limit.
    """

    path: Ints
    refused: dict[str, int]


@dataclass(frozen=True, slots=True)
class Books:
    """What a path earned. Money in USD.

    Args:
        profit, revenue, energy_kwh, coins_btc: [T] over the fleet; coins are NaN where no price is known.
        unit_profit: [N].
        restarts, changes: [N].
        share: [T] mean nominal share of rated power over the fleet.
        outside_h: unit hours outside each of `LIMITS`.
    """

    profit: Floats
    revenue: Floats
    energy_kwh: Floats
    coins_btc: Floats
    unit_profit: Floats
    restarts: Ints
    changes: Ints
    share: Floats
    outside_h: dict[str, float]


def go(scene: Scene, policy: Policy, tick: Callable[[int], None] = lambda _: None) -> Run:
    """Take a policy through every step.

    Args:
        tick: called with the number of steps done, now and then.
    """
    policy.begin(scene)
    grid, rules, count = scene.grid, scene.rules, scene.count
    rows = np.arange(count)
    none = np.zeros(count, dtype=np.int64)
    now = Standing(scene.farm.start.copy(), none.copy(), none.copy())
    path = np.empty((count, grid.steps), dtype=np.int16)
    refused: Counter[str] = Counter()
    for step in range(grid.steps):
        if step and grid.day[step] != grid.day[step - 1]:
            now.used = none.copy()
        wanted = policy.decide(step, now)
        moves = wanted != now.at
        if moves.any():
            restarts = scene.restarts(now.at, wanted)
            for reason, forbidden in (
                ("unknown price", moves & (not grid.price_known[step])),
                ("bounds", moves & ~scene.enterable[rows, wanted]),
                ("hold", moves & (now.held > 0) & ~scene.too_hot(step, now.at)),
                ("restarts", moves & restarts & (now.used >= rules.restarts_per_day)),
            ):
                if forbidden.any():
                    refused[reason] += int((forbidden & moves).sum())
                    moves = moves & ~forbidden
            now.at = np.where(moves, wanted, now.at)
            now.held = np.where(moves, rules.hold_steps, now.held)
            now.used = now.used + (moves & restarts)
        path[:, step] = now.at
        now.held = np.maximum(now.held - 1, 0)
        if step % _TICK_EVERY == 0:
            tick(step + 1)
    tick(grid.steps)
    return Run(path.astype(np.int64), dict(refused))


def account(scene: Scene, path: Ints) -> Books:
    """The books of a path [N,T]."""
    grid, count = scene.grid, scene.count
    chunk = max(1, _CELLS // count)
    parts = [_chunk(scene, path, t, min(t + chunk, grid.steps)) for t in range(0, grid.steps, chunk)]
    revenue, energy, unit, restarts, changes, hot, share = zip(*parts, strict=True)
    earned, used = np.concatenate(revenue), np.concatenate(energy)
    with np.errstate(divide="ignore", invalid="ignore"):
        coins = earned / grid.price_usd_per_btc
    return Books(
        profit=earned - used * grid.price_usd_per_kwh,
        revenue=earned,
        energy_kwh=used,
        coins_btc=coins,
        unit_profit=np.sum(unit, axis=0),
        restarts=np.sum(restarts, axis=0),
        changes=np.sum(changes, axis=0),
        share=np.concatenate(share),
        outside_h=_outside(scene, path) | {"chip temperature": float(sum(hot)) * grid.step_h},
    )


def _chunk(
    scene: Scene, path: Ints, first: int, end: int
) -> tuple[Floats, Floats, Floats, Ints, Ints, int, Floats]:
    farm, grid = scene.farm, scene.grid
    rows = np.arange(scene.count)[:, None]
    held = path[:, first:end]
    before = np.concatenate([_before(scene, path, first), held[:, :-1]], axis=1)
    places = scene.places[first:end]
    low = np.minimum(places.astype(np.int64), len(farm.outside_c) - 2)
    part = (places - low)[None, :]

    def at(table: Floats) -> Floats:
        return np.asarray(table[low, rows, held] * (1.0 - part) + table[low + 1, rows, held] * part)

    rate, power_kw, chip = at(farm.hashrate_ths), at(farm.power_w) * 0.001, at(farm.chip_c)
    changed = held != before
    hashing = ~scene.stops[rows, held]
    restarts = changed & hashing & (scene.stops[rows, before] | scene.wears[rows, held])
    hashed_h = rate * grid.step_h - np.where(restarts, scene.rules.restart_h * rate, 0.0)
    revenue = hashed_h * (grid.net_hashprice[first:end] / 24.0)
    energy = power_kw * (grid.step_h * grid.pue)
    profit = revenue - energy * grid.price_usd_per_kwh[first:end]
    hot = hashing & (chip > farm.chip_max_c[:, None])
    return (
        revenue.sum(axis=0),
        energy.sum(axis=0),
        profit.sum(axis=1),
        restarts.sum(axis=1),
        changed.sum(axis=1),
        int(hot.sum()),
        farm.candidates.shares[rows, held].mean(axis=0),
    )


def _before(scene: Scene, path: Ints, step: int) -> Ints:
    return (scene.farm.start if step == 0 else path[:, step - 1])[:, None]


def _outside(scene: Scene, path: Ints) -> dict[str, float]:
    """Unit hours outside the limits that a path can break."""
    grid, rules = scene.grid, scene.rules
    rows = np.arange(scene.count)
    at, held = scene.farm.start.copy(), np.zeros(scene.count, dtype=np.int64)
    used, found = np.zeros(scene.count, dtype=np.int64), dict.fromkeys(LIMITS, 0)
    kept = scene.enterable.copy()
    # A unit may stay where it began, whatever its bounds say of that setting.
    kept[rows, at] = True
    for step in range(grid.steps):
        if step and grid.day[step] != grid.day[step - 1]:
            used[:] = 0
        to = path[:, step]
        moved = to != at
        found["bounds"] += int((~kept[rows, to]).sum())
        if moved.any():
            found["hold"] += int((moved & (held > 0) & ~scene.too_hot(step, at)).sum())
            found["unknown price"] += int(moved.sum()) if not grid.price_known[step] else 0
            used = used + scene.restarts(at, to)
            held = np.where(moved, rules.hold_steps, held)
            at = to
        found["restarts"] += int((used > rules.restarts_per_day).sum())
        held = np.maximum(held - 1, 0)
    return {name: number * grid.step_h for name, number in found.items()}

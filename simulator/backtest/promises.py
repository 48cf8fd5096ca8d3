"""What a planning policy promised of each change, and what came of it at true curves and true prices."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.planner.plan import Plan
from simulator.backtest.scene import Scene

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BANDS = (0.0, 0.8, 0.9, 0.95, 0.99, 1.0)
_DAY_H = 24.0


@dataclass(slots=True)
class Promises:
    """Changes, in the order in which they were decided; one entry per decision with any.

    Args:
        steps, units, before, after: [M] when, who, from which candidate and to which.
        lasts: [M] steps for which the plan meant to keep what it chose.
        gain: [M,3] USD/day over staying, q10, q50, q90.
        confidence: [M].
    """

    steps: list[Ints] = field(default_factory=list)
    units: list[Ints] = field(default_factory=list)
    before: list[Ints] = field(default_factory=list)
    after: list[Ints] = field(default_factory=list)
    lasts: list[Ints] = field(default_factory=list)
    gain: list[Floats] = field(default_factory=list)
    confidence: list[Floats] = field(default_factory=list)

    def take(self, step: int, units: Ints, at: Ints, plan: Plan, step_h: float) -> None:
        """Take in a decision about `units` [R] that stand at `at` [R].

        What has to leave a setting because it is too hot promises nothing and is left out.
        """
        rows = np.arange(len(units))
        moved = (plan.chosen >= 0) & (plan.chosen != at) & ~plan.too_hot[rows, at]
        if not moved.any():
            return
        self.steps.append(np.full(int(moved.sum()), step))
        self.units.append(units[moved])
        self.before.append(at[moved])
        self.after.append(plan.chosen[moved])
        self.lasts.append(np.maximum(1, np.round(plan.lasts_h[moved] / step_h)).astype(np.int64))
        self.gain.append(plan.gain[moved])
        self.confidence.append(plan.confidence[moved])


def kept(scene: Scene, path: Ints, promises: Promises) -> dict[str, Any] | None:
    """How promises stand to the truth, of changes that the limits let through; None without any.

    Args:
        path: [N,T] that was gone.
    """
    if not promises.steps:
        return None
    steps, units, before, after, lasts = (
        np.concatenate(one)
        for one in (promises.steps, promises.units, promises.before, promises.after, promises.lasts)
    )
    gain, confidence = np.concatenate(promises.gain), np.concatenate(promises.confidence)
    # Beyond the last step nothing is known of what came.
    whole = (path[units, steps] == after) & (steps + lasts <= scene.grid.steps)
    if not whole.any():
        return None
    steps, units, before, after, lasts = (one[whole] for one in (steps, units, before, after, lasts))
    gain, confidence = gain[whole], confidence[whole]
    came = _came(scene, steps, units, before, after, lasts)
    inside = (came >= gain[:, 0]) & (came <= gain[:, 2])
    return {
        "changes": len(came),
        "promised_usd_per_day": round(float(gain[:, 1].mean()), 4),
        "came_usd_per_day": round(float(came.mean()), 4),
        "inside_q10_q90": round(float(inside.mean()), 4),
        "below_q10": round(float((came < gain[:, 0]).mean()), 4),
        "confidence": round(float(confidence.mean()), 4),
        "positive": round(float((came > 0.0).mean()), 4),
        "by_confidence": _by_confidence(confidence, came > 0.0),
    }


def _came(scene: Scene, steps: Ints, units: Ints, before: Ints, after: Ints, lasts: Ints) -> Floats:
    """[M] USD/day that each change brought over staying, while the plan meant to keep it."""
    total = np.zeros(len(steps))
    order = np.argsort(steps, kind="stable")
    begun, open_to = 0, np.empty(0, dtype=np.int64)
    for step in range(scene.grid.steps):
        end = begun + int(np.searchsorted(steps[order[begun:]], step, side="right"))
        new, begun = order[begun:end], end
        if len(new):
            cost = scene.restart_usd(step)[units[new], after[new]]
            total[new] -= np.where(scene.restarts(before[new], after[new], units[new]), cost, 0.0)
        open_to = np.concatenate([open_to[steps[open_to] + lasts[open_to] > step], new])
        if len(open_to):
            earning = scene.earning(step)
            rows = units[open_to]
            total[open_to] += earning[rows, after[open_to]] - earning[rows, before[open_to]]
    return np.asarray(total / (lasts * scene.grid.step_h / _DAY_H))


def _by_confidence(confidence: Floats, positive: NDArray[np.bool_]) -> list[dict[str, float]]:
    out = []
    for low, high in itertools.pairwise(_BANDS):
        within = (confidence >= low) & ((confidence < high) | (high == 1.0))
        if within.any():
            out.append(
                {
                    "from": low,
                    "to": high,
                    "changes": int(within.sum()),
                    "confidence": round(float(confidence[within].mean()), 4),
                    "positive": round(float(positive[within].mean()), 4),
                }
            )
    return out

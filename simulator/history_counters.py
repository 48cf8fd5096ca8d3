"""What runs on from reading to reading in made-up history: work done since the mining process started."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.physics_file import Timing

Floats = NDArray[np.float64]


class RunningTotal:
    """Sum over time of a rate per unit, from zero at each start of the mining process.

    It carries on from one stretch of time to the next. A process that began before the first stretch is
    taken to have run at its first rate since.

    Args:
        count: units.
        step_s: distance of readings.
        timing: of the model: how long a process is up before it hashes.
    """

    def __init__(self, count: int, step_s: float, timing: Timing) -> None:
        self._step_s = step_s
        self._timing = timing
        self._total = np.zeros(count)
        self._base = np.zeros(count)
        self._process_s = np.full(count, -np.inf)
        self._rate = np.zeros(count)

    def add(self, uptime_s: Floats, process_s: Floats, rate: Floats) -> Floats:
        """Totals [N,T] of the next stretch: since the process in force at each time started.

        Args:
            uptime_s: [N,T] of that process.
            process_s: [N,T] when it started.
            rate: [N,T] per second.
        """
        changes = np.concatenate(
            ((process_s[:, 0] != self._process_s)[:, None], process_s[:, 1:] != process_s[:, :-1]), axis=1
        )
        previous = np.concatenate((self._rate[:, None], rate[:, :-1]), axis=1)
        steps = self._step_s * (np.where(changes, 0.0, previous) + rate) / 2.0
        total = self._total[:, None] + np.cumsum(steps, axis=1)
        before = np.concatenate((self._total[:, None], total[:, :-1]), axis=1)
        base = np.where(changes, before, -np.inf)
        base[:, 0] = np.where(changes[:, 0], before[:, 0], self._base)
        idle = self._timing.init_s + self._timing.ramp_s / 2.0
        older = np.isinf(self._process_s)
        base[older, 0] = -rate[older, 0] * np.maximum(uptime_s[older, 0] - idle, 0.0)
        base = np.maximum.accumulate(base, axis=1)
        self._total, self._base = total[:, -1].copy(), base[:, -1].copy()
        self._process_s, self._rate = process_s[:, -1].copy(), rate[:, -1].copy()
        worked = rate * np.maximum(uptime_s - self._timing.init_s, 0.0)
        young = uptime_s <= self._step_s
        return np.where(young, np.minimum(total - base, worked), total - base)

"""Readings for one kind of unit whose predictor is simple, so that what must be learned is known exactly."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from agent.learning.state import UnitLearning, fresh
from agent.learning.tuning import Tuning
from agent.learning.update import update
from agent.models.inference import Curves

DAY_S = 86400.0
HALF_WIDTH = 0.05


def fleet_curve(shares: np.ndarray) -> Curves:
    """100 TH/s and 3 kW at share 1, P ~ h^1.3, 80 % intervals of 5 %."""
    curves = Curves.empty(*shares.shape)
    for out, middle in (
        (curves.hashrate_ths, 100.0 * shares ** (1 / 1.3)),
        (curves.power_w, 3000.0 * shares),
    ):
        out[...] = middle[..., None] * np.array([1.0 - HALF_WIDTH, 1.0, 1.0 + HALF_WIDTH])
    curves.chip_temp_c[...] = 70.0
    return curves


@dataclass
class Feed:
    """N units read every half-hour, with noise; `rate` and `power` are factors on the fleet's curve."""

    count: int
    pooled: bool = False
    tuning: Tuning = field(default_factory=lambda: Tuning(slot_s=0.0))
    seed: int = 1
    now_s: float = 1_000_000.0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        group = np.zeros(self.count, dtype=np.int64) if self.pooled else None
        self.state: UnitLearning = fresh(self.count, group, self.tuning)

    def run(
        self,
        slots: int,
        rate: np.ndarray | float = 1.0,
        power: np.ndarray | float = 1.0,
        share: np.ndarray | float = 1.0,
        usable: np.ndarray | bool = True,
        temp_c: float = 25.0,
        noise: float = 0.005,
        step_s: float = 1800.0,
        doubt: np.ndarray | None = None,
    ) -> Feed:
        ones = np.ones(self.count)
        at = share * ones
        curves = fleet_curve(at[:, None])
        for _ in range(slots):
            spread = np.exp(noise * self.rng.standard_normal((2, self.count)))
            self.state = update(
                self.state,
                at,
                curves.hashrate_ths[:, 0],
                curves.power_w[:, 0],
                curves.hashrate_ths[:, 0, 1] * rate * spread[0],
                curves.power_w[:, 0, 1] * power * spread[1],
                temp_c * ones,
                self.now_s,
                np.asarray(usable) & (ones > 0.0),
                doubt,
            )
            self.now_s += step_s
        return self

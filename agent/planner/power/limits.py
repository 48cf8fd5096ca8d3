"""What a decision has to keep to, as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.planner.power.circuits import PowerTree

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class SitePower:
    """How N miners share power over T steps. Figures of power are of the site's draw, cooling included.

    Args:
        tree: the circuits.
        pue: draw of the site over that of its miners.
        ramp_s: seconds within which what is chosen now takes effect; that change keeps ramps over these,
            later ones over their step.
        event_cap_w: [T,G] caps by demand-response events that are kept; infinity where there is none.
        weight, protected: [N] as in `agent.planner.power.priorities`.
        may_change: [N,T] False where a miner is to be left alone (quiet hours, maintenance).
        off: [N,T] True where maintenance has a miner without power.
        peak_w: cap of the whole site above which the charge on the month's peak costs more than it brings.
    """

    tree: PowerTree
    pue: float
    ramp_s: float
    event_cap_w: Floats
    weight: Floats
    protected: Bools
    may_change: Bools
    off: Bools
    peak_w: float = np.inf

    @staticmethod
    def single(miners: int, steps: int, cap_w: float) -> SitePower:
        """One cap over all."""
        return SitePower(
            tree=PowerTree.single(miners, cap_w),
            pue=1.0,
            ramp_s=np.inf,
            event_cap_w=np.full((steps, 1), np.inf),
            weight=np.ones(miners),
            protected=np.zeros(miners, dtype=np.bool_),
            may_change=np.ones((miners, steps), dtype=np.bool_),
            off=np.zeros((miners, steps), dtype=np.bool_),
        )

    @property
    def limited(self) -> bool:
        """True if any power is limited at all."""
        return self.tree.limited or bool(np.isfinite(self.event_cap_w).any() or np.isfinite(self.peak_w))

    def until(self, steps: int) -> SitePower:
        """The same for the first steps."""
        return SitePower(
            self.tree,
            self.pue,
            self.ramp_s,
            self.event_cap_w[:steps],
            self.weight,
            self.protected,
            self.may_change[:, :steps],
            self.off[:, :steps],
            self.peak_w,
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """What the site must keep to.

    Args:
        cap_w: of the miners' draw, infinity where there is none; only without `site`.
        cap_z: standard deviations of the summed error of predicted power to keep free under every cap.
        minimum_gain_usd_per_day: that the lower bound of a gain must exceed.
        hold_h: how long a setting is held once entered.
        restart_usd: wear of one restart, beside the hashing that it loses.
        site: circuits and what else stands in the site file.
    """

    cap_w: float
    cap_z: float
    minimum_gain_usd_per_day: float
    hold_h: float = 0.0
    restart_usd: float = 0.0
    site: SitePower | None = None

    def power(self, miners: int, steps: int) -> SitePower:
        """How the miners share power over a horizon."""
        return SitePower.single(miners, steps, self.cap_w) if self.site is None else self.site.until(steps)

"""What a decision is: the chosen setting of each miner, what it brings, and why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Plan:
    """The chosen candidate of each miner and why.

    Args:
        chosen: [N] column; equals `current` where the miner stays, -1 where nothing can be said.
        gain: [N,3] q10, q50, q90 of profit against staying, USD/day while the setting is held, cost of
            the change taken off; 0 where the miner stays.
        profit: [N,K,3] USD/day of every candidate over the same hours, cost of the change taken off.
        lasts_h: [N] hours for which the plan keeps what is chosen.
        confidence: [N] probability that the gain is above 0.
        possible, pays, too_hot, worn_out: [N,K] what stands for and against each candidate.
        lower_usd_per_day: [N,K] the bound of each candidate's gain, over its own hours, that has to pay.
        curtailed: [N] True where the cap, not profit, asks for the change.
        path: [N,T] column planned for each step of the horizon, -1 where nothing can be said.
        put_off: [N] True where the best path would move now, but doubt, a hold or a limit speaks against it.
        power_price_usd_per_w_day: [N] what limits make a watt worth where a miner hangs; 0 where none binds.
        bound_by: [N] name of the place whose limit holds a miner back, or None.
        bound_how: [N] which limit of it: cap, demand event, demand charge, ramp or least load; or None.
        unmet: [T] name of the place whose cap cannot be kept in a step, or None.
        upper_power_w: planned draw of all miners at the stated confidence.
        feasible: False where even the safest plan exceeds a cap.
        left_out: number of miners not up for decision, by reason.
    """

    chosen: Ints
    gain: Floats
    profit: Floats
    lasts_h: Floats
    confidence: Floats
    possible: Bools
    pays: Bools
    lower_usd_per_day: Floats
    too_hot: Bools
    worn_out: Bools
    curtailed: Bools
    path: Ints
    put_off: Bools
    power_price_usd_per_w_day: Floats
    bound_by: tuple[str | None, ...]
    bound_how: tuple[str | None, ...]
    unmet: tuple[str | None, ...]
    upper_power_w: float
    feasible: bool
    left_out: dict[str, int]

"""What each miner may be set to now, before any money: hardware bounds, chip limits, wear budget, hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.planner.fleet import Fleet
from agent.planner.margins import Margins

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Allowed:
    """N miners with K candidates.

    Args:
        free: [N] up for decision, with a present setting that is known.
        held: [N] in hold.
        hot_now: [N] predicted too hot where it stands, with something cooler to go to: that may be entered
            whatever it costs.
        too_hot: [N,K] upper chip temperature predicted over the limit.
        worn_out: [N,K] would need a restart that the wear budget does not allow any more today.
        safe: [N,K] foreseen, inside the hardware's bounds and under the chip limit.
        enterable: [N,K] those that may be entered for money, on the wear budget of some day.
        possible: [N,K] those of them for which the budget that is left now is enough.
    """

    free: Bools
    held: Bools
    hot_now: Bools
    too_hot: Bools
    worn_out: Bools
    safe: Bools
    enterable: Bools
    possible: Bools

    @staticmethod
    def of(fleet: Fleet, margins: Margins, may_change: Bools, priced: bool) -> Allowed:
        """What `fleet` may do.

        Args:
            may_change: [N] False where a miner is to be left alone now.
            priced: False where no price is known, so that nobody is moved.
        """
        table, here = fleet.candidates, fleet.here
        rows = np.arange(len(here))
        free = fleet.up_for_decision & (table.current >= 0) & priced
        too_hot = np.nan_to_num(fleet.curves.chip_temp_c[:, :, 2], nan=-np.inf) > fleet.chip_max_c[:, None]
        worn_out = table.restarts & (fleet.restarts_left <= 0)[:, None]
        foreseen = np.isfinite(margins.rate_ths) & np.isfinite(margins.power_w)
        safe = foreseen & table.permitted & ~too_hot
        enterable = safe & ~_for_good(fleet, too_hot[rows, here])
        possible = enterable & ~worn_out
        hot_now = too_hot[rows, here] & free & may_change & possible.any(axis=1)
        return Allowed(free, fleet.held_h > 0.0, hot_now, too_hot, worn_out, safe, enterable, possible)


def _for_good(fleet: Fleet, hot: Bools) -> Bools:
    """[N,K] stops that nothing could be woken from; who is too hot is stopped all the same."""
    table = fleet.candidates
    if fleet.restarts_a_day is None:
        return np.zeros_like(table.stops)
    stops = table.stops & (fleet.restarts_a_day <= 0)[:, None] & ~hot[:, None]
    stops[np.arange(len(hot)), fleet.here] = False
    return stops

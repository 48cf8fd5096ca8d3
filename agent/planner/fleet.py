"""What a decision is made from: the miners, what each may be set to, and what is predicted of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.models.inference import Curves
from agent.planner.candidates import Candidates

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is known of N miners at one moment.

    Args:
        candidates: what each may be set to.
        curves: predictions at those candidates, [N,K,3]; their profit is without any change.
        priced_at: hashprice after fee and electricity price with PUE at which `curves` are priced.
        chip_max_c: [N] limit of the predicted upper chip temperature; NaN where none is known.
        present_power_w: [N] measured or estimated draw now; NaN where unknown.
        rated_power_w: [N] what to reckon with where the draw is unknown.
        held_back: per miner, why it may not be moved now (unreachable, observe ...), or None.
        restarts_left: [N] restarts that the wear budget still allows within the next day.
        held_h: [N] hours for which the present setting must still be held.
        trying: [N] True where the present setting was entered to learn from it; leaving it may pay unsurely.
        restarts_a_day: [N] the whole wear budget. With 0 nothing that is stopped may be woken, so that money
            stops nobody. None: never 0.
    """

    candidates: Candidates
    curves: Curves
    priced_at: tuple[float, float]
    chip_max_c: Floats
    present_power_w: Floats
    rated_power_w: Floats
    held_back: tuple[str | None, ...]
    restarts_left: Ints
    held_h: Floats
    trying: Bools | None = None
    restarts_a_day: Ints | None = None

    @property
    def here(self) -> Ints:
        """[N] column of the present setting; the first where it is unknown."""
        return np.maximum(self.candidates.current, 0)

    @property
    def up_for_decision(self) -> Bools:
        """[N] True where nothing holds the miner back."""
        return np.array([reason is None for reason in self.held_back], dtype=np.bool_)

    @property
    def draw_w(self) -> Floats:
        """[N] what each draws now, or is reckoned with."""
        return np.where(np.isfinite(self.present_power_w), self.present_power_w, self.rated_power_w)

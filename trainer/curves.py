"""What every fitted curve can do, and the rows that it is fitted to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from trainer.graph import Floats, NumpyOps, Ops, Value
from trainer.shape import State, View, unit_state

Quantity = Literal["hashrate", "power"]
QUANTITIES: tuple[Quantity, ...] = ("hashrate", "power")
# The last part of the span, on which fitting by steps decides when to stop.
_LATER = 0.8


class Curve(Protocol):
    """A fitted curve of one quantity."""

    def log_value(self, ops: Ops, state: State) -> Value:
        """[B,1] logarithm of the quantity over its rated figure; never falls as the share rises."""
        ...

    def size(self) -> int:
        """Numbers that it holds."""
        ...

    def importance(self) -> dict[str, float]:
        """How much each column moves the prediction, largest first."""
        ...


@dataclass(frozen=True, slots=True)
class FitRows:
    """Rows that one curve is fitted to.

    Args:
        features: [D,F].
        share: [D] candidates.
        target: [D] logarithm of the quantity over its rated figure, finite.
        weights: [D] above 0.
        at_s: [D] moment of decision.
        unit: [D] rows that err together.
    """

    features: NDArray[np.float32]
    share: Floats
    target: Floats
    weights: Floats
    at_s: Floats
    unit: NDArray[np.int64]

    def state(self, view: View) -> State:
        """What a curve sees of the rows."""
        return unit_state(NumpyOps(), view, self.features.astype(np.float64), self.share[:, None])

    def later(self) -> NDArray[np.bool_]:
        """[D] the last fifth of the time span, for early stopping; all False where that leaves nothing."""
        start, end = float(self.at_s.min()), float(self.at_s.max())
        late = self.at_s > start + _LATER * (end - start)
        return late if late.any() and not late.all() else np.zeros(len(late), dtype=np.bool_)


def ranked(names: tuple[str, ...], values: Floats) -> dict[str, float]:
    """Names with their value, largest first, without those that do nothing."""
    order = np.argsort(-values, kind="stable")
    return {names[i]: round(float(values[i]), 6) for i in order if values[i] > 1e-6}

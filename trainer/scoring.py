"""How good curves are: the decisions they lead to, their slope, their error. All on rows not fitted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.dataset import Dataset
from trainer.graph import Floats
from trainer.power_model import Curves

# Settings this close count as one level of a unit.
_LEVEL = 0.02
_LEAST_ROWS_PER_LEVEL = 3
_DECISIONS_PER_UNIT = 8
# Revenue per energy cost of the unit at its best level, from a dear hour to a cheap one.
_MARGINS = (0.85, 1.0, 1.1, 1.25, 1.5, 2.0)


@dataclass(frozen=True, slots=True)
class Score:
    """Scores of one fit on rows that it has not seen. NaN where the rows cannot tell.

    Args:
        regret: profit lost by choosing each unit's setting (stop included) by predicted instead of observed
            curves, as a share of the profit of the latter.
        slope_error: median of |predicted / observed - 1| of watts per TH/s between each unit's lowest
            and highest level.
        hashrate_error, power_error: median |predicted / observed - 1|.
        hashrate_bias, power_bias: median of predicted / observed - 1.
    """

    regret: float
    slope_error: float
    hashrate_error: float
    power_error: float
    hashrate_bias: float
    power_bias: float

    @property
    def error(self) -> float:
        """Both errors together."""
        return float(np.nan_to_num(self.hashrate_error) + np.nan_to_num(self.power_error))


@dataclass(frozen=True, slots=True)
class Levels:
    """Observed curve of one unit at the settings it was held at: [L] each, in order of share."""

    share: Floats
    rate: Floats
    power: Floats


def score(curves: Curves, test: Dataset) -> Score:
    """Score `curves` on `test`."""
    rate, power = curves.predict(test.features, test.share)
    with np.errstate(invalid="ignore"):
        rate_off = rate / test.hashrate_ths - 1.0
        power_off = power / test.power_w - 1.0
    regrets, slopes = _decisions(curves, test)
    return Score(
        regret=regrets,
        slope_error=slopes,
        hashrate_error=_median(np.abs(rate_off)),
        power_error=_median(np.abs(power_off)),
        hashrate_bias=_median(rate_off),
        power_bias=_median(power_off),
    )


def observed_levels(test: Dataset, unit: int) -> Levels | None:
    """The observed curve of `unit`; None with fewer than two levels of known power."""
    own = (test.unit == unit) & np.isfinite(test.power_w) & np.isfinite(test.hashrate_ths)
    level = np.round(test.share[own] / _LEVEL).astype(np.int64)
    found = [
        (
            float(np.median(test.share[own][level == at])),
            float(np.median(test.hashrate_ths[own][level == at])),
            float(np.median(test.power_w[own][level == at])),
        )
        for at in np.unique(level)
        if (level == at).sum() >= _LEAST_ROWS_PER_LEVEL
    ]
    if len(found) < 2:
        return None
    table = np.array(found)
    return Levels(table[:, 0], table[:, 1], table[:, 2])


def moments_of(test: Dataset, unit: int, most: int) -> NDArray[np.int64]:
    """Rows of a unit, evenly over its own: at most `most`, with the first and the last."""
    own = np.flatnonzero(test.unit == unit)
    return own[np.linspace(0, len(own) - 1, min(most, len(own))).astype(np.int64)]


def predicted_levels(
    curves: Curves, test: Dataset, moments: NDArray[np.int64], share: Floats
) -> tuple[Floats, Floats]:
    """hashrate_ths and power_w, each [M,L], at every level `share` [L] as told at the rows `moments` [M]."""
    width = len(share)
    rate, power = curves.predict(
        np.repeat(test.features[moments], width, axis=0), np.tile(share, len(moments))
    )
    return rate.reshape(-1, width), power.reshape(-1, width)


def _decisions(curves: Curves, test: Dataset) -> tuple[float, float]:
    lost = best_total = 0.0
    slopes: list[float] = []
    for unit in np.unique(test.unit):
        levels = observed_levels(test, int(unit))
        if levels is None:
            continue
        moments = moments_of(test, int(unit), _DECISIONS_PER_UNIT)
        rate, power = predicted_levels(curves, test, moments, levels.share)
        # Prices are set by what the unit does in truth: they are the market's, not the model's.
        cost = float((levels.power / levels.rate).min())
        for margin in _MARGINS:
            hashprice = margin * cost
            truth = np.append(hashprice * levels.rate - levels.power, 0.0)
            judged = np.append(hashprice * rate - power, np.zeros((len(rate), 1)), axis=1)
            best = float(truth.max())
            # As a share of revenue, so that large miners do not outvote small ones.
            scale = hashprice * float(levels.rate.max())
            lost += float((best - truth[judged.argmax(axis=1)]).sum()) / scale
            best_total += best * len(rate) / scale
        rise = levels.rate[-1] - levels.rate[0]
        if rise > 0.05 * levels.rate[-1] and levels.power[-1] > levels.power[0]:
            true_slope = (levels.power[-1] - levels.power[0]) / rise
            slope = (power[:, -1] - power[:, 0]) / np.maximum(rate[:, -1] - rate[:, 0], 1e-6)
            slopes.append(float(np.median(np.abs(slope / true_slope - 1.0))))
    regret = lost / best_total if best_total > 0.0 else float("nan")
    return regret, _median(np.array(slopes))


def _median(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")

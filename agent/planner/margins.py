"""From curves to money: what a setting earns per day at any prices, with its interval.

Curves come priced once, at reference prices; what they say of paid rate, power and of how the two err
together prices them at any other.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agent.energy import KWH_PER_W_DAY
from agent.models.inference import Curves
from agent.quantiles import Z80

Floats = NDArray[np.float64]
_LEAST_PAID = 0.5
# After so many hours an error of a forecast electricity price has faded to a third, as on recorded markets.
_ERROR_FADES_H = 6.0
# Standard deviation of a unit's slope against the learned one, in rate and in power; chosen so that promised
# intervals held what came on backtests of 2021.
_SLOPE_SIGMA = 0.02


@dataclass(frozen=True, slots=True)
class Horizon:
    """Prices of the coming steps, of equal length.

    Args:
        step_h: length of a step in hours.
        hashprice_usd_per_ths_day: [T] after pool fee; NaN where unknown.
        price_usd_per_kwh: [T] with PUE; NaN where unknown.
        hashprice_sigma_usd_per_ths_day, price_sigma_usd_per_kwh: [T] standard deviations of both; 0 where no
            forecast is needed, and all 0 where not given.
    """

    step_h: float
    hashprice_usd_per_ths_day: Floats
    price_usd_per_kwh: Floats
    hashprice_sigma_usd_per_ths_day: Floats = field(default_factory=lambda: np.empty(0))
    price_sigma_usd_per_kwh: Floats = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        """Give what was left out its length."""
        for name in ("hashprice_sigma_usd_per_ths_day", "price_sigma_usd_per_kwh"):
            if not len(getattr(self, name)):
                object.__setattr__(self, name, np.zeros(len(self)))

    def known(self) -> Horizon:
        """The steps before the first that is not known."""
        good = np.isfinite(self.hashprice_usd_per_ths_day) & np.isfinite(self.price_usd_per_kwh)
        steps = int(good.argmin()) if not good.all() else len(good)
        return Horizon(
            self.step_h,
            self.hashprice_usd_per_ths_day[:steps],
            self.price_usd_per_kwh[:steps],
            np.nan_to_num(self.hashprice_sigma_usd_per_ths_day[:steps]),
            np.nan_to_num(self.price_sigma_usd_per_kwh[:steps]),
        )

    def __len__(self) -> int:
        return len(self.price_usd_per_kwh)

    def means(self) -> tuple[float, float]:
        """Mean hashprice and mean electricity price; NaN without a step."""
        if not len(self):
            return float("nan"), float("nan")
        return float(self.hashprice_usd_per_ths_day.mean()), float(self.price_usd_per_kwh.mean())

    def means_until(self, steps: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Mean hashprice and price over the first `steps` (1 or more, any shape) each."""
        count = np.arange(1, len(self) + 1)
        at = np.clip(steps, 1, len(self)) - 1
        hashprice = np.cumsum(self.hashprice_usd_per_ths_day) / count
        price = np.cumsum(self.price_usd_per_kwh) / count
        return hashprice[at], price[at]

    @property
    def certain(self) -> bool:
        """True where no price is a forecast."""
        return not (self.hashprice_sigma_usd_per_ths_day.any() or self.price_sigma_usd_per_kwh.any())

    def sigmas_until(self, steps: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Standard deviations of `means_until`: errors of hashprice go together, those of power fade."""
        at = np.clip(steps, 1, len(self)) - 1
        count = np.arange(1, len(self) + 1)
        fades = float(np.exp(-self.step_h / _ERROR_FADES_H))
        variance, together = np.empty(len(self)), 0.0
        summed = 0.0
        for step, sigma in enumerate(self.price_sigma_usd_per_kwh.tolist()):
            summed += sigma * (sigma + 2.0 * fades * together)
            together = fades * together + sigma
            variance[step] = summed
        hashprice = np.cumsum(self.hashprice_sigma_usd_per_ths_day) / count
        return hashprice[at], (np.sqrt(variance) / count)[at]


class Margins:
    """Money of every candidate of a fleet.

    Args:
        curves: [N,K,3], priced without any change at the reference prices.
        hashprice_usd_per_ths_day, price_usd_per_kwh: those reference prices; a number or [N].

    `rate_ths` [N,K] is what is paid: rejects, outages and instability are taken off by the profit model.
    """

    def __init__(
        self, curves: Curves, hashprice_usd_per_ths_day: Floats | float, price_usd_per_kwh: Floats | float
    ) -> None:
        rate, power = curves.hashrate_ths, curves.power_w
        hashprice = np.asarray(hashprice_usd_per_ths_day, dtype=np.float64).reshape(-1, 1)
        price = np.asarray(price_usd_per_kwh, dtype=np.float64).reshape(-1, 1)
        self.power_w = power[:, :, 1]
        energy = price * KWH_PER_W_DAY * power[:, :, 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            paid = (curves.profit_usd_per_day[:, :, 1] + energy) / (hashprice * rate[:, :, 1])
            # Without a hashprice nothing tells the paid share; then all of the rate counts.
            share = np.clip(np.where(np.isfinite(paid), paid, 1.0), _LEAST_PAID, 1.0)
            self.rate_ths = np.where(
                np.isfinite(curves.profit_usd_per_day[:, :, 1]), rate[:, :, 1] * share, np.nan
            )
            self._rate_half = _relative_half(rate)
            self._power_half = _relative_half(power)
        revenue = hashprice * self.rate_ths
        below = curves.profit_usd_per_day[:, :, 1] - curves.profit_usd_per_day[:, :, 0]
        above = curves.profit_usd_per_day[:, :, 2] - curves.profit_usd_per_day[:, :, 1]
        self._cross = self._together(revenue, energy, 0.5 * (below + above))
        half = _joint(revenue * self._rate_half, energy * self._power_half, self._cross)
        with np.errstate(divide="ignore", invalid="ignore"):
            self._below = np.where(half > 0.0, below / half, 1.0)
            self._above = np.where(half > 0.0, above / half, 1.0)

    def over(self, hashprice: Floats, price: Floats, column: NDArray[np.int64] | None = None) -> Floats:
        """[N,K,3] USD/day at these prices, each broadcast to [N,K]; q10, q50, q90.

        With `column` [N] that candidate of each miner stands at every place.
        """
        rows = np.arange(len(self.rate_ths))

        def of(table: Floats) -> Floats:
            return table if column is None else table[rows, column][:, None]

        revenue = hashprice * of(self.rate_ths)
        energy = price * KWH_PER_W_DAY * of(self.power_w)
        half = _joint(revenue * of(self._rate_half), energy * of(self._power_half), of(self._cross))
        middle = revenue - energy
        low, high = middle - half * of(self._below), middle + half * of(self._above)
        return np.stack(np.broadcast_arrays(low, middle, high), axis=2)

    def slope_half(self, horizon: Horizon, steps: NDArray[np.int64], over: NDArray[np.int64]) -> Floats:
        """[N,K] as `price_half`, for what is misjudged of the way from one setting to another.

        Pairing equal quantiles knows only of what is misjudged of a unit as a whole.
        """
        return Z80 * _SLOPE_SIGMA * self._joint_usd(*horizon.means_until(steps), over)

    def price_half(
        self, horizon: Horizon, steps: NDArray[np.int64], over: NDArray[np.int64] | None = None
    ) -> Floats:
        """[N,K] half of the 80 % interval that profit has because prices are forecasts, USD/day.

        Args:
            steps: [N,K] over which it is reckoned.
            over: [N] the candidate over which it is a gain; None for the whole profit.
        """
        return Z80 * self._joint_usd(*horizon.sigmas_until(steps), over)

    def _joint_usd(self, hashprice: Floats, price: Floats, over: NDArray[np.int64] | None) -> Floats:
        """[N,K] USD/day: revenue and energy as independent errors, of candidates or of what they add."""
        rate, power = self.rate_ths, self.power_w
        if over is not None:
            rows = np.arange(len(rate))
            rate, power = rate - rate[rows, over][:, None], power - power[rows, over][:, None]
        return np.asarray(np.hypot(hashprice * rate, price * KWH_PER_W_DAY * power))

    def _together(self, revenue: Floats, energy: Floats, half: Floats) -> Floats:
        """[N,K] correlation of the errors of rate and power that makes the interval `half` wide."""
        a, b = revenue * self._rate_half, energy * self._power_half
        with np.errstate(divide="ignore", invalid="ignore"):
            found = (a * a + b * b - half * half) / (2.0 * a * b)
        return np.clip(np.where(np.isfinite(found), found, 0.0), -0.95, 0.95)


def widened(quantiles: Floats, half: Floats) -> Floats:
    """Quantiles [...,3] with an error of another source, of half width `half` [...], on top."""
    low, middle, high = np.moveaxis(quantiles, -1, 0)
    return np.stack(
        [middle - np.hypot(middle - low, half), middle, middle + np.hypot(high - middle, half)], axis=-1
    )


def _relative_half(quantiles: Floats) -> Floats:
    half = 0.5 * (quantiles[:, :, 2] - quantiles[:, :, 0]) / np.abs(quantiles[:, :, 1])
    return np.where(np.isfinite(half), half, 0.0)


def _joint(a: Floats, b: Floats, correlation: Floats) -> Floats:
    """Half width of the difference of two figures of half width `a` and `b`."""
    return np.asarray(np.sqrt(np.maximum(a * a + b * b - 2.0 * correlation * a * b, 0.0)))

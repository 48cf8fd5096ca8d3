"""Curves from frames of telemetry, as a live agent makes them: features, models, per-unit learning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agent.features.streaming import FeatureState
from agent.fleet import FleetFrame, Unit
from agent.learning.chips import without_present
from agent.learning.live import Learner
from agent.learning.state import UnitLearning
from agent.models.bundle import Bundle
from agent.models.inference import BundlePredictor, Curves, Economics, Predictor, ProfilePredictor
from agent.money.conditions import MARKET_COLUMNS, Conditions
from agent.money.market_history import market_columns
from agent.money.prices import MarketSeries, Series

Floats = NDArray[np.float64]
# Hashprice after fee and electricity price with PUE that curves are priced at.
PricedAt = tuple[float, float]


class Watching:
    """What is made of the telemetry of N units, frame by frame.

    Args:
        bundle: trained models; None for the profiles' own curves.
        learning: correct each unit's curve by its own residuals.
        shares: [N,K] of the candidates, NaN where there is none.
    """

    def __init__(
        self, units: Sequence[Unit], bundle: Bundle | None, *, learning: bool, shares: Floats
    ) -> None:
        self._predictor: Predictor = (
            ProfilePredictor(units) if bundle is None else BundlePredictor(bundle, units)
        )
        self.label = self._predictor.label + ("" if learning else ", without per-unit learning")
        self._features = FeatureState([unit.miner_id for unit in units])
        self._learner = Learner() if learning else None
        self._shares = shares

    @property
    def learned(self) -> UnitLearning | None:
        """What is known of the units' residuals."""
        return None if self._learner is None else self._learner.state

    def look(
        self,
        frame: FleetFrame,
        conditions: Conditions,
        priced: PricedAt,
        since_s: Floats | None = None,
        before: FleetFrame | None = None,
    ) -> tuple[Curves, Curves]:
        """Take a frame in. Curves [N,K,3] of the models, and as corrected for each unit.

        Args:
            since_s: [N] Unix seconds from which the settings have been in force; None: as frames show it.
            before: means of the readings since the frame before, for windows and learning; None: `frame`.

        Raises:
            BundleError: the models do not run on these features.
        """
        before = frame if before is None else before
        self._features.observe(before, conditions)
        features = self._features.compute(frame, conditions)
        if self._learner is not None:
            features = without_present(features)
        economics = Economics(*priced, pue=1.0, pool_fee_share=0.0, hold_h=24.0)
        base = self._predictor.predict(features, self._shares.astype(np.float32), 0.0, economics)
        if self._learner is None:
            return base, base
        here = frame.columns["setting_share"][:, None]
        present = self._predictor.predict(features, here.astype(np.float32), 0.0, economics)
        unread = [None] * len(frame.units)
        self._learner.observe(before, unread, present, self._predictor.bundle_id, since_s)
        lost = np.zeros_like(self._shares)
        return base, self._learner.correct(frame, self._shares, base, economics, lost)


class MarketMoments:
    """The market and tariff at the steps of a grid, as features see them."""

    def __init__(self, market: MarketSeries, prices: Series, times_s: Floats) -> None:
        self._columns = market_columns(market, prices, times_s)

    def at(self, step: int, frame: FleetFrame) -> Conditions:
        """Conditions of a frame that belongs to a step."""
        values = {name: float(self._columns[name][step]) for name in MARKET_COLUMNS}
        return Conditions(frame.at, **values)

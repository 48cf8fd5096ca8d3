"""Everything on a site that is watched for people from cycle to cycle; each finding becomes an alert.

What to look for is each watcher's business; meters and the lake, which do more than watch, are the cycle's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from agent.alerts import Alerts
from agent.clock import Clock
from agent.config import SiteConfig
from agent.drift.watch import DriftWatch
from agent.fleet import FleetFrame
from agent.models.inference import Curves, Predictor
from agent.polling.health_watch import HealthWatch
from agent.polling.mac_watch import MacWatch
from agent.pools.guard import PoolGuard
from agent.pools.watch import PoolWatch
from agent.site import Site
from agent.sources.watch import PriceWatch
from agent.telemetry import PollResult


class Watches:
    """The watchers of one site.

    Args:
        drift: saved state of `DriftWatch`, None at the first start.

    Raises:
        StoreError: from every method, if an alert cannot be stored.
    """

    def __init__(
        self, config: SiteConfig, site: Site, alerts: Alerts, clock: Clock, drift: bytes | None
    ) -> None:
        standing = alerts.standing()
        self._site = site
        self._alerts = alerts
        self._clock = clock
        self._macs = MacWatch(standing)
        self._pools = PoolWatch(PoolGuard(config.trusted_pools))
        self._health = HealthWatch(standing)
        self._prices = PriceWatch(standing)
        self._drift = DriftWatch(len(site.members), drift, standing)

    def macs(self, results: Sequence[PollResult], proofs: Mapping[int, str]) -> list[PollResult]:
        """The results without those of machines that only took a miner's address over."""
        judged = self._macs.look(self._site.posts(), results, proofs)
        self._site.heed(judged)
        now = self._clock.now()
        for found in judged.findings:
            self._alerts.found(found, now, found.severity, found.miner_id)
        return list(judged.results)

    def readings(self, results: Sequence[PollResult], now: datetime) -> None:
        """Look at what miners say of their pools and their health."""
        ids = [member.miner_id for member in self._site.members]
        readings = list(zip(ids, (result.reading for result in results), strict=True))
        for strange in self._pools.look(readings):
            self._alerts.found(strange, now, "critical", strange.miner_id)
        for ill in self._health.look(readings):
            self._alerts.found(ill, now, "critical", ill.miner_id)

    def prices(self, troubles: Mapping[str, str], now: datetime) -> None:
        """Take in what is wrong with prices, by source or price."""
        for found in self._prices.look(troubles):
            self._alerts.found(found, now)

    def drift(
        self, predictor: Predictor, frame: FleetFrame, features: NDArray[np.float32], curves: Curves
    ) -> None:
        """Compare the fleet with what the models learned from. See `DriftWatch.look`."""
        for found in self._drift.look(predictor, frame, features, curves):
            self._alerts.found(found, frame.at)

    def drift_state(self) -> bytes:
        """What the next run goes on from."""
        return self._drift.to_bytes()

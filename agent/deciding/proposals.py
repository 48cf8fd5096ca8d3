"""The proposals of one site from a decision round to their approval: kept, renewed, taken back, expired."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from agent.records import Recommendation
from agent.site import Site
from agent.store import Store

log = logging.getLogger(__name__)


class Proposals:
    """What stands open in the store of one site."""

    def __init__(self, store: Store, site: Site) -> None:
        self._store = store
        self._site = site

    def keep(self, found: Sequence[Recommendation]) -> None:
        """Store proposals; one that stands unchanged keeps its id, so that a person can still approve it."""
        standing = {r.miner_id: r for r in self._store.recommendations("proposed") if r.changes_setting}
        # All or none: a proposal is never taken back without the one in its place.
        with self._store.together():
            for new in found:
                old = standing.pop(new.miner_id, None)
                if old is not None and old.proposed == new.proposed and old.current == new.current:
                    if not _says_more(old, new):
                        continue
                    new = new.model_copy(update={"id": old.id})
                elif old is not None:
                    self._store.put_recommendation(old.model_copy(update={"status": "superseded"}))
                self._store.put_recommendation(new)
            for old in standing.values():
                self._store.put_recommendation(old.model_copy(update={"status": "superseded"}))

    def expire(self, now: datetime) -> None:
        """Mark what is past its time."""
        for old in self._store.recommendations("proposed"):
            if old.expires_at <= now:
                self._store.put_recommendation(old.model_copy(update={"status": "expired"}))

    def take_decisions(self) -> None:
        """Carry what people decided over to what they decided on."""
        for decision in self._store.new_decisions():
            recommendation = self._store.recommendation(decision.recommendation_id)
            if recommendation is None or recommendation.status != "proposed":
                status = recommendation.status if recommendation is not None else "unknown here"
                log.warning("%s by %s came too late: %s", decision.recommendation_id, decision.by, status)
                with self._store.together():
                    if recommendation is not None and status in ("superseded", "expired"):
                        words = f"{decision.verdict} by {decision.by} when it was {status} already"
                        words = words if recommendation.outcome is None else recommendation.outcome
                        self._store.put_recommendation(recommendation.model_copy(update={"outcome": words}))
                    self._store.decision_taken(decision.recommendation_id)
                continue
            decided = recommendation.model_copy(
                update={"status": decision.verdict, "decided_by": decision.by, "decided_at": decision.at}
            )
            with self._store.together():
                self._store.put_recommendation(decided)
                self._store.decision_taken(decision.recommendation_id)

    def approve_by_mode(self, now: datetime) -> None:
        """Approve what stands open of miners in mode `apply`."""
        for recommendation in self._store.recommendations("proposed"):
            member = self._site.find(recommendation.miner_id)
            if not recommendation.changes_setting:
                continue
            if member is not None and self._site.mode(member) == "apply":
                words = "automatic (mode apply)"
                decided = recommendation.model_copy(
                    update={"status": "approved", "decided_by": words, "decided_at": now}
                )
                self._store.put_recommendation(decided)


def _says_more(old: Recommendation, new: Recommendation) -> bool:
    """True if a standing proposal is worth another record: half its life is over, or its gain moved."""
    life = old.expires_at - old.timestamp
    moved = abs(new.gain_usd_per_day.q50 - old.gain_usd_per_day.q50)
    width = old.gain_usd_per_day.q90 - old.gain_usd_per_day.q10
    return new.timestamp - old.timestamp >= life / 2 or moved > max(0.5 * width, 0.05)

"""Starts what is approved: stops all at once, other changes a few at a time, undos before anything else.

What an act is and how it is judged is `agent.acting.actuation`'s; here is only when it goes out. An approval
may come long after a proposal was weighed: what has changed since keeps it from being sent, and is said.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from agent.acting.actuation import Actuator
from agent.errors import StoreError
from agent.records import Act, Recommendation, RecommendationStatus
from agent.site import Member, Site
from agent.store import Store

log = logging.getLogger(__name__)
# Every other change may restart hashing; a fleet must not do that all at once.
_CHANGES_AT_ONCE = 20
# A stop answers a price or the grid and must not queue. Each one holds a socket.
_STOPS_AT_ONCE = 500


class Dispatcher:
    """The commands of one site that are under way.

    Args:
        resting: for a moment, why each member of the site is left alone, or None, in their order.
    """

    def __init__(
        self,
        actuator: Actuator,
        store: Store,
        site: Site,
        resting: Callable[[datetime], Sequence[str | None]],
    ) -> None:
        self._actuator = actuator
        self._store = store
        self._site = site
        self._resting = resting
        # What keeps an approved recommendation waiting.
        self._waiting: dict[str, str] = {}
        self._tasks: dict[str, asyncio.Task[Act]] = {}
        self._changing: set[str] = set()
        self._sockets = asyncio.Semaphore(_STOPS_AT_ONCE)

    def start(self, now: datetime) -> None:
        """Send undos and approved recommendations as far as there is room; returns without waiting.

        Raises:
            StoreError: the journal cannot be read.
        """
        for undo in self._actuator.take_undos():
            self._spawn(undo)
        ready = self._ready(now)
        try:
            acts = self._actuator.begin(ready)
        except StoreError as error:
            log.error("%d changes were not sent: the journal cannot be written: %s", len(ready), error)
            return
        for act in acts:
            if not act.target.setting().stops_hashing:
                self._changing.add(act.id)
            self._spawn(act)

    async def finish(self) -> None:
        """Wait until every command that is under way has come to an end."""
        if self._tasks:
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _ready(self, now: datetime) -> list[Recommendation]:
        """Approved recommendations to send now; what has expired or may no longer be sent is marked so."""
        ready: list[Recommendation] = []
        room = _CHANGES_AT_ONCE - len(self._changing)
        approved = self._store.recommendations("approved")
        since = min((recommendation.timestamp for recommendation in approved), default=None)
        acts = self._store.acts(since=since, limit=100_000) if since is not None else []
        reasons = self._resting(now) if approved else [None] * len(self._site.members)
        rest = {m.miner_id: reason for m, reason in zip(self._site.members, reasons, strict=True)}
        waiting, self._waiting = self._waiting, {}
        for recommendation in approved:
            if not recommendation.changes_setting:
                # Advice is carried out by people; its approval is a record and nothing more.
                continue
            if recommendation.expires_at <= now:
                why = waiting.get(recommendation.id, "its time was over first")
                self._drop(recommendation, "expired", why)
                continue
            member = self._site.find(recommendation.miner_id)
            if member is None:
                # Its MAC has not been read since the start; it may yet turn up before this expires.
                self._waiting[recommendation.id] = "the miner did not turn up"
                continue
            if self._site.mode(member) == "observe":
                self._drop(recommendation, "superseded", "the miner is in mode observe now")
                continue
            changed = self._changed(recommendation, member, acts)
            if changed is not None:
                self._drop(recommendation, "superseded", changed)
                continue
            reason = rest[member.miner_id]
            if reason is not None:
                if recommendation.id not in waiting:
                    log.info("%s is approved and waits: %s", recommendation.id, reason)
                self._waiting[recommendation.id] = reason
                continue
            if not recommendation.proposed.setting().stops_hashing:
                if room <= 0:
                    self._waiting[recommendation.id] = "others were sent first"
                    continue
                room -= 1
            ready.append(recommendation)
        return ready

    def _changed(self, recommendation: Recommendation, member: Member, acts: Sequence[Act]) -> str | None:
        """What has happened to the miner since the proposal was weighed, if something has."""
        after = [act for act in acts if _after(act, recommendation)]
        if after:
            last = max(after, key=lambda act: act.intended_at)
            return (
                f"{last.target} was sent to the miner at {last.intended_at:%Y-%m-%d %H:%M} UTC, after this "
                "was proposed; hold and restart budget are weighed anew with the next proposal"
            )
        before = recommendation.current.setting() if recommendation.current is not None else None
        here = self._site.setting(member, member.reading) if member.error is None else None
        if before is not None and here is not None and here != before:
            return f"the miner is at {here} now and no longer at {before}, from which this was weighed"
        return None

    def _drop(self, recommendation: Recommendation, status: RecommendationStatus, why: str) -> None:
        log.warning("%s is not sent: %s", recommendation.id, why)
        dropped = recommendation.model_copy(update={"status": status, "outcome": f"not sent: {why}"[:2000]})
        self._store.put_recommendation(dropped)

    def _spawn(self, act: Act) -> None:
        task = asyncio.create_task(self._send(act), name=act.id)
        self._tasks[act.id] = task
        task.add_done_callback(self._done)

    async def _send(self, act: Act) -> Act:
        async with self._sockets:
            return await self._actuator.transmit(act)

    def _done(self, task: asyncio.Task[Act]) -> None:
        self._tasks.pop(task.get_name(), None)
        self._changing.discard(task.get_name())
        if not task.cancelled() and isinstance(task.exception(), StoreError):
            log.error("%s: what became of it could not be stored: %s", task.get_name(), task.exception())


def _after(act: Act, recommendation: Recommendation) -> bool:
    """True if the act went to the recommendation's miner after the recommendation was made."""
    same = act.miner_id == recommendation.miner_id and act.status != "failed"
    return same and act.intended_at > recommendation.timestamp

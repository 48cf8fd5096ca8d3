"""Starts what is approved: stops all at once, other changes a few at a time, undos before anything else.

What an act is and how it is judged is `agent.acting.actuation`'s; here is only when it goes out.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime

from agent.acting.actuation import Actuator
from agent.errors import StoreError
from agent.records import Act, Recommendation
from agent.site import Site
from agent.store import Store

log = logging.getLogger(__name__)
# Every other change may restart hashing; a fleet must not do that all at once.
_CHANGES_AT_ONCE = 20
# A stop answers a price or the grid and must not queue. Each one holds a socket.
_STOPS_AT_ONCE = 500


class Dispatcher:
    """The commands of one site that are under way."""

    def __init__(self, actuator: Actuator, store: Store, site: Site) -> None:
        self._actuator = actuator
        self._store = store
        self._site = site
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
        for recommendation in approved:
            if not recommendation.changes_setting:
                # Advice is carried out by people; its approval is a record and nothing more.
                continue
            if recommendation.expires_at <= now:
                self._store.put_recommendation(recommendation.model_copy(update={"status": "expired"}))
                continue
            member = self._site.find(recommendation.miner_id)
            if member is None:
                # Its MAC has not been read since the start; it may yet turn up before this expires.
                continue
            if self._site.mode(member) == "observe":
                self._store.put_recommendation(recommendation.model_copy(update={"status": "superseded"}))
                continue
            if any(_after(act, recommendation) for act in acts):
                # It was weighed with the hold and the restarts of before that act.
                log.warning("%s is not sent: the miner was changed since", recommendation.id)
                self._store.put_recommendation(recommendation.model_copy(update={"status": "superseded"}))
                continue
            if not recommendation.proposed.setting().stops_hashing:
                if room <= 0:
                    continue
                room -= 1
            ready.append(recommendation)
        return ready

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

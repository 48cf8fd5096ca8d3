"""Gives miners new pools: one alone first, then the others a few at a time, and stops when it goes wrong.

An outcome that is not known is settled by reading again, never by sending again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from agent.clock import Clock
from agent.devices.device import Device
from agent.devices.families import open_device
from agent.errors import DeviceError, Refused, StoreError, Timeout, Unsupported, WriteDisabled, WrongMiner
from agent.pools.guard import PermittedPools, shown
from agent.pools.journal import PoolJournal
from agent.pools.survey import in_order, same_pools
from agent.reading import Pool
from agent.site import Site

log = logging.getLogger(__name__)
MOST_FAILURES = 3
# Some firmware restarts hashing for it; a fleet must not do that all at once.
AT_ONCE = 20
# A restart window is over, or a reload done, by the last of these; seconds.
_PAUSES_S = (2.0, 5.0, 15.0, 30.0)
_LATER_S = (20.0, 40.0)

State = Literal["set", "already", "skipped", "failed", "unknown", "untouched"]


@dataclass(frozen=True, slots=True)
class Change:
    """One miner that is to get other pools.

    Args:
        before: what it was read to have.
        wanted: past the guard.
    """

    miner: str
    address: str
    before: tuple[Pool, ...]
    wanted: PermittedPools


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one change.

    Args:
        state: set (seen on the miner), already (nothing was to be sent), skipped (nothing was sent, and no
            fault of the change), failed, unknown (sent, and the miner could not be read since), untouched.
        pools: what the miner showed last, None where it showed nothing since.
        sent: False where it is certain that nothing was sent.
    """

    miner: str
    address: str
    state: State
    detail: str
    pools: tuple[Pool, ...] | None = None
    sent: bool = False


class Rollout:
    """One run over the miners of `site`, which nobody else may speak to meanwhile.

    Args:
        stop: set by the caller to begin no further miner.
        on_outcome: called as each miner comes to its end.
    """

    def __init__(
        self,
        site: Site,
        journal: PoolJournal,
        clock: Clock,
        stop: asyncio.Event,
        on_outcome: Callable[[Outcome], None] = lambda _: None,
    ) -> None:
        self._site = site
        self._journal = journal
        self._clock = clock
        self._stop = stop
        self._on_outcome = on_outcome
        self._failures = 0
        self.halted: str | None = None

    async def run(self, changes: Sequence[Change]) -> list[Outcome]:
        """Make the changes; one outcome for each, in order. `halted` then says why it ended early, if so."""
        done: dict[str, Outcome] = {}
        left = iter(changes)
        for change in self._going_on(left):
            outcome = await self._one(change, first=True)
            if outcome.state == "set" and len(changes) > 1:
                outcome = replace(outcome, detail=f"{outcome.detail}, first and alone")
            done[change.miner] = await self._end(change, outcome)
            if outcome.state == "set":
                break
            if outcome.state == "unknown" or (outcome.state == "failed" and outcome.sent):
                self.halted = f"the first miner, {change.miner}, did not confirm: {outcome.detail}"

        async def work() -> None:
            for change in self._going_on(left):
                done[change.miner] = await self._end(change, await self._one(change, first=False))

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        await self._read_later([change for change in changes if self._is_open(done.get(change.miner))], done)
        return [done.get(change.miner) or _untouched(change) for change in changes]

    def _going_on(self, left: Iterator[Change]) -> Iterator[Change]:
        """The next changes, as long as another one may be begun."""
        while self.halted is None and (change := next(left, None)) is not None:
            if self._stop.is_set():
                self.halted = "it was asked to stop"
                return
            yield change

    async def _end(self, change: Change, outcome: Outcome) -> Outcome:
        if outcome.state == "failed":
            self._failures += 1
            if self._failures >= MOST_FAILURES and self.halted is None:
                self.halted = f"{self._failures} miners failed"
        if outcome.state != "untouched":
            self._record("outcome", change, {"state": outcome.state, "detail": outcome.detail})
        self._on_outcome(outcome)
        return outcome

    async def _one(self, change: Change, *, first: bool) -> Outcome:
        if not self._record("intent", change, {"before": _plain(change.before), "wanted": _wanted(change)}):
            return _untouched(change)
        asked = False
        longest_s = 0.0
        try:
            async with self._site.exclusive(change.miner) as device:
                asked = True
                # Drivers keep their own deadlines; this one is for a driver that does not.
                longest_s = device.endpoint.write_deadline_s + 4.0 * device.endpoint.deadline_s
                async with asyncio.timeout(longest_s):
                    applied = await device.set_pools(change.wanted)
        except (WrongMiner, Unsupported, WriteDisabled) as error:
            return _outcome(change, "skipped", f"{error.kind}: {error.detail}")
        except (Timeout, TimeoutError, Refused) as error:
            if not asked:
                return _outcome(change, "failed", f"nothing was sent: {_words(error, longest_s)}")
            return await self._settled(change, _words(error, longest_s), refused=isinstance(error, Refused))
        except DeviceError as error:
            return _outcome(change, "failed", f"{error.kind}: {error.detail}")
        if applied.already_set:
            return _outcome(change, "already", "its configuration had these pools", applied.readback)
        confirmed = applied.readback is not None and same_pools(applied.readback, change.wanted.pools)
        if confirmed and not first:
            return _outcome(change, "set", "read back", applied.readback, sent=True)
        answer = "it said yes" if applied.acknowledged else "no answer came"
        return await self._settled(change, answer)

    async def _settled(self, change: Change, answer: str, *, refused: bool = False) -> Outcome:
        """What a miner that was sent something shows, read anew until it shows what is wanted."""
        pools: tuple[Pool, ...] | None = None
        for pause_s in _PAUSES_S[:1] if refused else _PAUSES_S:
            await self._clock.sleep(pause_s)
            shown_now = await self._read(change)
            pools = shown_now if shown_now is not None else pools
            if pools is not None and same_pools(pools, change.wanted.pools):
                return _outcome(change, "set", "read back", pools, sent=True)
        if pools is None and not refused:
            detail = f"{answer}, and it could not be read since"
            return _outcome(change, "unknown", detail, sent=True)
        if pools is None:
            return _outcome(change, "failed", f"{answer}; it could not be read since", sent=True)
        kept = pools == change.before or _plain(pools) == _plain(change.before)
        shows = "it shows its old pools" if kept else "it shows neither its old nor the new pools"
        return _outcome(change, "failed", f"{answer}; {shows}", pools, sent=True)

    async def _read_later(self, open_: Sequence[Change], done: dict[str, Outcome]) -> None:
        """Those whose outcome was not known, once more after all the others."""
        for pause_s in _LATER_S:
            if not open_:
                return
            await self._clock.sleep(pause_s)
            for change in open_:
                pools = await self._read(change)
                if pools is None:
                    continue
                if same_pools(pools, change.wanted.pools):
                    outcome = _outcome(change, "set", "read back later", pools, sent=True)
                else:
                    outcome = _outcome(change, "failed", "it took no effect", pools, sent=True)
                done[change.miner] = await self._end(change, outcome)
            open_ = [change for change in open_ if self._is_open(done[change.miner])]

    @staticmethod
    def _is_open(outcome: Outcome | None) -> bool:
        return outcome is not None and outcome.state == "unknown"

    async def _read(self, change: Change) -> tuple[Pool, ...] | None:
        """The miner's pools now, asked by a driver that remembers nothing; None where it does not tell."""
        try:
            async with self._site.exclusive(change.miner) as device:
                reading = await _anew(device, self._clock).read()
        except DeviceError as error:
            log.info("%s: its pools are not known: %s", change.miner, error)
            return None
        return in_order(reading.pools) if reading.pools is not None else None

    def _record(self, event: str, change: Change, fields: dict[str, Any]) -> bool:
        """True if it is on disk. Nothing further is begun without a journal."""
        try:
            self._journal.write(event, {"miner": change.miner, "address": change.address, **fields})
        except StoreError as error:
            self.halted = str(error)
            return False
        return True


def _anew(device: Device, clock: Clock) -> Device:
    return open_device(device.family, device.endpoint, clock)


def _outcome(
    change: Change, state: State, detail: str, pools: Sequence[Pool] | None = None, *, sent: bool = False
) -> Outcome:
    kept = in_order(pools) if pools is not None else None
    return Outcome(change.miner, change.address, state, detail, kept, sent)


def _untouched(change: Change) -> Outcome:
    return _outcome(change, "untouched", "not begun")


def _words(error: DeviceError | TimeoutError, longest_s: float) -> str:
    if isinstance(error, DeviceError):
        return f"{error.kind}: {error.detail}"
    return f"timeout: the driver did not end within {longest_s:g} s"


def _plain(pools: Sequence[Pool]) -> list[dict[str, str | None]]:
    return [{"url": shown(pool.url), "user": pool.user} for pool in pools]


def _wanted(change: Change) -> list[dict[str, str]]:
    return [{"url": pool.url, "user": pool.user} for pool in change.wanted.pools]

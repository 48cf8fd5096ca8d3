"""From an approved recommendation to a settled act: journal, gate, command, confirmation, undo.

The order is what keeps machines safe: intent is on disk before the gate, the gate is the last code before
the driver, and an act is done only when telemetry shows it. Nothing is ever sent twice on a guess.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Protocol

from agent.acting.confirm import READINGS_TO_JUDGE, Observation, Verdict, judge
from agent.clock import Clock
from agent.devices.device import Device
from agent.errors import DeviceError, OutOfBounds
from agent.hardware.bounds import Bounds, nearest_permitted, permit
from agent.records import Act, Alert, Recommendation, SettingRecord
from agent.setting import Setting
from agent.store import Store

log = logging.getLogger(__name__)
# How much longer than the control's settle time telemetry may take: the poll rhythm and slow averages.
_PATIENCE = 1.5
_LEAST_WAIT_S = 300.0
_MOST_WORDS = 2000
# How long the answer of one miner waits for others to be stored with it.
_GATHER_S = 0.02


class Miners(Protocol):
    """What acting needs of the fleet."""

    def exclusive(self, miner_id: str) -> AbstractAsyncContextManager[Device]:
        """The miner's driver, for this task alone."""
        ...

    def bounds(self, miner_id: str) -> Sequence[Bounds]:
        """Profile ∩ firmware-reported range ∩ site override, as known now."""
        ...


class Actuator:
    """Carries out recommendations of one site and watches them until they are settled.

    Args:
        profit: (miner_id, hashrate_ths, power_w) -> USD/day at present conditions, or None.
    """

    def __init__(
        self,
        store: Store,
        miners: Miners,
        clock: Clock,
        site_id: str,
        profit: Callable[[str, float | None, float | None], float | None],
    ) -> None:
        self._store = store
        self._miners = miners
        self._clock = clock
        self._site_id = site_id
        self._profit = profit
        self._seen: dict[str, deque[Observation]] = {}
        # Settings that a miner with an act open has shown since the command went out.
        self._shown: dict[str, deque[Setting]] = {}
        # Acts whose intent is journalled and whose command has not come to an end.
        self._sending: set[str] = set()
        self._undos: list[Act] = []
        self._unkept: list[Act] = []
        self._keeping: asyncio.Future[None] | None = None

    def recover(self) -> list[Act]:
        """Take up what a crash left open, and return it.

        Whether an intent went out before the crash is unknown. It is never sent again: telemetry shows
        which it was, and an act that did not happen is "undone" to the setting the miner already has.
        """
        left = self._store.open_acts()
        for act in left:
            update: dict[str, object] = {"confirm_by": self._deadline(act.settle_s)}
            if act.status == "intended":
                update |= {
                    "status": "sent",
                    "sent_at": act.intended_at,
                    "sent": "unknown: the agent stopped between intent and command",
                }
            self._store.put_act(act.model_copy(update=update))
        return left

    def busy(self) -> set[str]:
        """Miners with an act that is not settled."""
        return {act.miner_id for act in self._store.open_acts()}

    def begin(self, recommendations: Sequence[Recommendation]) -> list[Act]:
        """Journal the intent of approved recommendations, all or none; each is then to be transmitted.

        Raises:
            StoreError: the journal could not be written; nothing may be sent.
        """
        acts = [self._intent(recommendation) for recommendation in recommendations]
        with self._store.together():
            for recommendation, act in zip(recommendations, acts, strict=True):
                self._store.put_recommendation(recommendation.model_copy(update={"status": "applying"}))
                self._store.put_act(act)
        self._sending.update(act.id for act in acts)
        return acts

    def take_undos(self) -> list[Act]:
        """Undos whose intent is journalled and that are still to be transmitted; each is given once."""
        undos, self._undos = self._undos, []
        return undos

    async def transmit(self, act: Act) -> Act:
        """Gate and send an act whose intent is journalled.

        Raises:
            StoreError: what became of it could not be stored; telemetry will show it.
        """
        try:
            return await self._send(act)
        finally:
            self._sending.discard(act.id)

    def _intent(self, recommendation: Recommendation) -> Act:
        return Act(
            id=f"{recommendation.id}-act",
            recommendation_id=recommendation.id,
            site_id=self._site_id,
            miner_id=recommendation.miner_id,
            status="intended",
            reason=recommendation.why.summary,
            approved_by=recommendation.decided_by or "unknown",
            before=recommendation.current,
            target=recommendation.proposed,
            expected=recommendation.expected,
            expected_before=recommendation.expected_current,
            settle_s=recommendation.settle_s,
            restarts_hashing=recommendation.restarts_hashing,
            intended_at=self._clock.now(),
            confirm_by=self._deadline(recommendation.settle_s),
        )

    def observe(self, miner_id: str, observation: Observation) -> None:
        """Keep a reading of a miner that has an act open."""
        window = self._seen.setdefault(miner_id, deque(maxlen=2 * READINGS_TO_JUDGE))
        window.append(observation)
        shown = self._shown.setdefault(miner_id, deque(maxlen=2 * READINGS_TO_JUDGE))
        if observation.setting is not None and observation.setting not in shown:
            shown.append(observation.setting)

    def settle(self) -> list[Act]:
        """Judge every open act and journal the undo of those that missed. Returns the acts that were settled.

        Raises:
            StoreError: the journal could not be written; what it does not hold is judged again.
        """
        settled = []
        now = self._clock.now()
        for act in self._store.open_acts():
            if act.id in self._sending:
                continue
            if act.status == "intended":
                # It went out, or may have, and that could not be stored then.
                act = self._sent(act, {"sent": "unknown: the journal could not be written at the time"})
                self._store.put_act(act)
            verdict = judge(act, tuple(self._seen.get(act.miner_id, ())), now)
            if verdict.kind == "wait":
                continue
            # An act that missed and its undo stand in the journal together or not at all.
            with self._store.together():
                done, undo = self._conclude(act, verdict)
            self._forget(act.miner_id)
            settled.append(done)
            if undo is not None:
                self._sending.add(undo.id)
                self._undos.append(undo)
        return settled

    def _conclude(self, act: Act, verdict: Verdict) -> tuple[Act, Act | None]:
        confirmed = verdict.kind == "confirmed"
        done = act.model_copy(
            update={
                "status": "confirmed" if confirmed else "missed",
                "observed_hashrate_ths": verdict.hashrate_ths,
                "observed_power_w": verdict.power_w,
                "observed_profit_usd_per_day": self._profit(
                    act.miner_id, verdict.hashrate_ths, verdict.power_w
                ),
            }
        )
        done = self._settle(done, verdict.words)
        if confirmed:
            if act.rolls_back is not None:
                self._mark_undone(act.rolls_back)
            return done, None
        if act.rolls_back is not None:
            self._alert(
                act, "critical", f"{act.miner_id}: undoing {act.rolls_back} missed too: {verdict.words}"
            )
        elif verdict.kind == "unseen":
            self._alert(act, "warning", f"{act.miner_id}: {act.target} cannot be confirmed: {verdict.words}")
        else:
            return done, self._undo(done, verdict)
        return done, None

    def _undo(self, act: Act, verdict: Verdict) -> Act | None:
        """The journalled intent to bring the miner back to its setting before, or as near as bounds allow.

        None where it is there, may not go there, or where another hand has set something else since.
        """
        before = act.before.setting() if act.before is not None else None
        if before is None:
            words = f"{act.miner_id}: {act.target} missed ({verdict.words}); the setting before is unknown"
            self._alert(act, "critical", words)
            return None
        if verdict.shown == before:
            self._alert(act, "warning", f"{act.miner_id}: {act.target} had no effect: {verdict.words}")
            self._mark_undone(act.id)
            return None
        target = act.target.setting()
        taken = act.readback == act.target or target in self._shown.get(act.miner_id, ())
        # Some firmware shows a unit that fell over at its new setting as stopped; that is no other hand.
        fell = verdict.shown is not None and verdict.shown.stops_hashing
        if taken and not fell and verdict.shown not in (None, target):
            words = f"somebody else set {verdict.shown} while {act.target} was being confirmed; it is left so"
            self._alert(act, "warning", f"{act.miner_id}: {words}")
            return None
        back = nearest_permitted(before, self._miners.bounds(act.miner_id))
        if back is None:
            words = f"{act.miner_id}: {act.target} missed ({verdict.words}); {before} is not permitted"
            self._alert(act, "critical", words)
            return None
        self._alert(act, "warning", f"{act.miner_id}: {act.target} missed, undone to {back}: {verdict.words}")
        undo = Act(
            id=f"{act.id}-undo",
            recommendation_id=act.recommendation_id,
            site_id=self._site_id,
            miner_id=act.miner_id,
            status="intended",
            reason=f"undo of {act.id}: {verdict.words}",
            approved_by="automatic undo",
            before=act.target,
            target=SettingRecord.of(back),
            expected=act.expected_before or act.expected,
            settle_s=act.settle_s,
            restarts_hashing=act.restarts_hashing,
            intended_at=self._clock.now(),
            confirm_by=self._deadline(act.settle_s),
            rolls_back=act.id,
        )
        self._store.put_act(undo)
        return undo

    def _forget(self, miner_id: str) -> None:
        self._seen.pop(miner_id, None)
        self._shown.pop(miner_id, None)

    async def _send(self, act: Act) -> Act:
        try:
            async with self._miners.exclusive(act.miner_id) as device:
                # Nothing may stand between the gate and the driver.
                bounds = self._miners.bounds(act.miner_id)
                allowed = permit(act.target.setting(), bounds, urgent=self._is_urgent(act))
                applied = await device.apply(allowed)
        except OutOfBounds as error:
            return self._fail(act, f"the gate refused it: {error}")
        except DeviceError as error:
            return self._fail(act, f"{error.kind}: {error}")
        except Exception:
            # A fault of a driver may come after the command: only telemetry can tell.
            log.exception("act %s: the driver failed", act.id)
            return await self._keep(self._sent(act, {"sent": "unknown: the driver failed while sending"}))
        sent = self._sent(
            act,
            {
                # A configuration that is written back whole has no bound of its own.
                "sent": (applied.sent or "nothing: the miner was already there")[:_MOST_WORDS],
                "acknowledged": applied.acknowledged,
                "readback": SettingRecord.of(applied.readback) if applied.readback is not None else None,
                "before": SettingRecord.of(applied.before) if applied.before is not None else act.before,
            },
        )
        return await self._keep(sent)

    async def _keep(self, act: Act) -> Act:
        """Store what became of a command, with whatever else comes back in the same moment.

        A curtailment brings hundreds of answers at once, and each transaction waits for the disk. Until it
        is stored the act stands as intended: what `recover` and `settle` expect of one that got no further.

        Raises:
            StoreError: it could not be stored.
        """
        self._unkept.append(act)
        if self._keeping is None:
            self._keeping = asyncio.ensure_future(self._keep_gathered())
            # Those who wait see its error; where all of them were cancelled nobody does.
            self._keeping.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(self._keeping)
        return act

    async def _keep_gathered(self) -> None:
        await asyncio.sleep(_GATHER_S)
        acts, self._unkept, self._keeping = self._unkept, [], None
        with self._store.together():
            for act in acts:
                self._store.put_act(act)

    def _is_urgent(self, act: Act) -> bool:
        """True for what a cap or the grid asks for, which cannot wait minutes for a gentle way."""
        recommendation = (
            self._store.recommendation(act.recommendation_id) if act.recommendation_id is not None else None
        )
        return recommendation is not None and recommendation.type == "curtailment" and act.rolls_back is None

    def _sent(self, act: Act, what: dict[str, object]) -> Act:
        deadline = self._deadline(act.settle_s)
        sent = act.model_copy(
            update={"status": "sent", "sent_at": self._clock.now(), "confirm_by": deadline, **what}
        )
        self._forget(act.miner_id)
        log.info(
            "act %s sent: %s on %s, acknowledged %s", act.id, act.target, act.miner_id, sent.acknowledged
        )
        return sent

    def _fail(self, act: Act, words: str) -> Act:
        with self._store.together():
            self._alert(act, "warning", f"{act.miner_id}: {act.target} was not applied: {words}")
            return self._settle(act.model_copy(update={"status": "failed"}), words)

    def _settle(self, act: Act, words: str) -> Act:
        done = act.model_copy(update={"settled_at": self._clock.now(), "outcome": words[:2000]})
        with self._store.together():
            self._store.put_act(done)
            if done.rolls_back is None and done.recommendation_id is not None:
                self._mark(done.recommendation_id, done)
        log.info("act %s %s: %s", done.id, done.status, words)
        return done

    def _mark(self, recommendation_id: str, act: Act) -> None:
        recommendation = self._store.recommendation(recommendation_id)
        if recommendation is not None:
            self._store.put_recommendation(recommendation.model_copy(update={"status": act.status}))

    def _mark_undone(self, act_id: str) -> None:
        act = self._store.act(act_id)
        if act is None:
            return
        undone = act.model_copy(update={"status": "rolled_back"})
        self._store.put_act(undone)
        if undone.recommendation_id is not None:
            self._mark(undone.recommendation_id, undone)

    def _alert(self, act: Act, severity: str, text: str) -> None:
        alert = Alert.model_validate(
            {
                "key": f"act-{act.id}",
                "site_id": self._site_id,
                "at": self._clock.now(),
                "severity": severity,
                "text": text[:2000],
                "miner_id": act.miner_id,
            }
        )
        self._store.put_alert(alert)

    def _deadline(self, settle_s: float) -> datetime:
        return self._clock.now() + timedelta(seconds=max(_LEAST_WAIT_S, _PATIENCE * settle_s))

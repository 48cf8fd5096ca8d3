"""Driver for BraiinsOS 25.07 and newer: the public REST interface on the web port, behind a login.

A poll is `miner/stats` and one more document, the most overdue of those that change slowly.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from agent.clock import Clock
from agent.devices.antminer.fields import mac
from agent.devices.braiins.fields import FIRMWARE
from agent.devices.braiins.parse import Replies, is_hashing, reading_of
from agent.devices.braiins.performance import (
    MODES,
    State,
    Step,
    follows,
    governing,
    plan,
    power_range,
    reached,
    state_of,
)
from agent.devices.braiins.pools import PoolPlan, group_of, plan_pools, shown_pools, unchanged_but_for_pools
from agent.devices.braiins.saved import FILES, capture, decode
from agent.devices.braiins.session import session
from agent.devices.device import (
    Applied,
    Capabilities,
    Endpoint,
    Identity,
    PoolsApplied,
    ReportedControl,
)
from agent.devices.numbers import text
from agent.devices.slow_facts import SlowFacts
from agent.devices.transport import deadline
from agent.errors import DeviceError, Malformed, Timeout, Unauthorised, Unreachable, Unsupported
from agent.hardware.bounds import PermittedSetting
from agent.pools.guard import PermittedPools
from agent.reading import Reading
from agent.setting import Knob

__all__ = ["FAMILY", "FIRMWARE", "Braiins", "capture", "decode"]

log = logging.getLogger(__name__)
FAMILY = "braiins"
DETAILS, BOARDS, COOLING, TUNER, POOLS, ERRORS = (
    "details",
    "hashboards",
    "cooling",
    "tuner",
    "pools",
    "errors",
)
# Seconds between two requests. Boards carry the temperatures, so they get most turns; the status in the
# details is asked out of turn when hashing begins or ends.
_PERIODS_S = {DETAILS: 300.0, BOARDS: 30.0, COOLING: 120.0, TUNER: 120.0, POOLS: 300.0, ERRORS: 300.0}
_STEP_S = 3.0
_SLOW_SHARE = 0.8
_AGAIN_S = 60.0
_LIST = "list"


class Braiins:
    """One miner with BraiinsOS 25.07 or newer. Fulfils `Device`; raises only `DeviceError`.

    Args:
        endpoint: address, web port and login; root/root where it names none.
        clock: for the rhythm of slow facts and `observed_at`.
    """

    family = FAMILY

    def __init__(self, endpoint: Endpoint, clock: Clock) -> None:
        self.endpoint = endpoint
        self._clock = clock
        self._session = session(endpoint)
        self._slow = SlowFacts(_PERIODS_S)
        self._met = False
        self._mac: str | None = None
        self._hashing: bool | None = None
        self._logins = 0
        self._details_at: datetime | None = None
        self._pools_path = FILES[POOLS]

    async def identify(self) -> Identity:
        """Ask `miner/details`, which says it all.

        Raises:
            Unsupported: older than 25.07, or another firmware. DeviceError: unreachable, or no such answer.
        """
        async with deadline(self.endpoint.address, self.endpoint.deadline_s):
            details = await self._session.object(FILES[DETAILS], self.endpoint.deadline_s)
        now = self._clock.now()
        reading = reading_of(Replies(details=details), self.endpoint.address)
        if reading.model is None and reading.mac is None and reading.firmware_version is None:
            raise Malformed(self.endpoint.address, "miner/details: neither model, MAC nor firmware is named")
        self._keep_details(details, now)
        identity = details.get("miner_identity")
        named = identity if isinstance(identity, dict) else {}
        return Identity.of(FAMILY, reading, text(named.get("miner_model")) or text(named.get("name")))

    async def read(self) -> Reading:
        """Read once: two requests or fewer, more at first contact; a token that has expired costs two more.

        Raises:
            DeviceError: `miner/stats` could not be read.
        """
        deadline_s = self.endpoint.deadline_s
        ends_s = asyncio.get_running_loop().time() + _SLOW_SHARE * deadline_s
        try:
            async with deadline(self.endpoint.address, deadline_s):
                stats = await self._session.object(FILES["stats"], deadline_s)
                arrived = self._clock.now()
                self._notice_change(stats)
                await self._refresh(arrived, ends_s)
        except DeviceError:
            # Whoever answers next at this address may be another machine.
            self._slow.drop(DETAILS)
            raise
        replies = self._replies(stats, arrived)
        return replace(reading_of(replies, self.endpoint.address), observed_at=arrived)

    async def capabilities(self) -> Capabilities:
        """Stop and the modes always; a power limit with the firmware's own range, if the tuner follows one.

        Raises:
            DeviceError: the miner could not be asked.
        """
        deadline_s = self.endpoint.deadline_s
        controls = [ReportedControl(Knob.STOP), ReportedControl(Knob.WORK_MODE, choices=MODES)]
        remedy = None
        async with deadline(self.endpoint.address, deadline_s):
            try:
                constraints = await self._session.object(FILES["constraints"], deadline_s)
                tuner = await self._session.object(FILES[TUNER], deadline_s)
            except Unauthorised as error:
                return Capabilities(tuple(controls), writable=False, remedy=error.detail)
        offered = power_range(constraints)
        if offered is not None and follows(tuner) in ("power", None):
            controls.insert(0, ReportedControl(Knob.POWER_LIMIT_W, *offered))
        elif offered is not None:
            remedy = (
                "its tuner follows a hashrate target; set a power target in BraiinsOS to let power be set"
            )
        return Capabilities(tuple(controls), writable=True, remedy=remedy)

    async def apply(self, setting: PermittedSetting) -> Applied:
        """See `Device.apply`. Pausing and resuming keep the power target; a power setting resumes.

        Raises:
            DeviceError: the read before failed (nothing was sent), or the miner refused the first request.
        """
        knob = setting.setting.knob
        state = await self._state()
        before = governing(state, knob)
        steps = plan(setting, state, self.endpoint.address)
        if not steps:
            return Applied(None, already_set=True, before=before, readback=before, sent=None)
        try:
            acknowledged, sent = await self._carry_out(steps)
        finally:
            for name in (DETAILS, TUNER):
                self._slow.make_due(name)
        after: State | None = None
        with contextlib.suppress(DeviceError):
            after = await self._state()
        return Applied(
            acknowledged=acknowledged,
            already_set=False,
            before=before,
            readback=governing(after, knob) if after is not None else None,
            sent=sent,
        )

    async def set_pools(self, pools: PermittedPools) -> PoolsApplied:
        """See `Device.set_pools`. The one pool group keeps its name and share; its pools are replaced.

        Raises:
            Refused: there are several groups, or none; nothing was sent. DeviceError: the read before failed,
                or the miner refused.
        """
        address = self.endpoint.address
        group = group_of(await self._configuration(), address)
        before = shown_pools(group)
        pool_plan = plan_pools(group, pools.pools)
        if pool_plan is None:
            return PoolsApplied(None, already_set=True, before=before, readback=before)
        acknowledged = await self._write_pools(pool_plan)
        self._slow.make_due(POOLS)
        after: dict[str, Any] | None = None
        with contextlib.suppress(DeviceError):
            after = group_of(await self._configuration(), address)
        if after is not None and not unchanged_but_for_pools(group, after):
            # Said aloud and left to a person: another blind write could make it worse.
            log.error("%s: the write changed more of the pool group than its pools", address)
        return PoolsApplied(
            acknowledged=acknowledged,
            already_set=False,
            before=before,
            readback=shown_pools(after) if after is not None else None,
        )

    # -- writing ---------------------------------------------------------------------------------

    async def _state(self) -> State:
        deadline_s = self.endpoint.deadline_s
        async with deadline(self.endpoint.address, deadline_s):
            details = await self._session.object(FILES[DETAILS], deadline_s)
            tuner = await self._session.object(FILES[TUNER], deadline_s)
            configuration: dict[str, Any] | None = None
            with contextlib.suppress(Unsupported):
                # With dynamic scaling the tuner's target is below the one that is configured.
                configuration = await self._configuration()
        return state_of(details, tuner, configuration, self.endpoint.address)

    async def _configuration(self) -> dict[str, Any]:
        return await self._session.object(FILES["configuration"], self.endpoint.deadline_s)

    async def _carry_out(self, steps: Sequence[Step]) -> tuple[bool | None, str]:
        """Send each step once, in order, and end with the first that is not known to be done."""
        sent: list[str] = []
        acknowledged: bool | None = True
        for step in steps:
            try:
                if acknowledged is None and not await self._shows(steps[len(sent) - 1]):
                    # A miner that was woken now could run at the old target.
                    sent.append(f"not sent, as the one before is unknown: {step}")
                    break
                done = await self._session.write("PUT", step.path, step.body, self.endpoint.write_deadline_s)
            except DeviceError as error:
                if not sent:
                    raise
                # Half of it stands: no failure but unknown, and telemetry must judge it.
                acknowledged = None
                sent.append(f"then {step} failed ({error.kind}): {error.detail[:200]}")
                break
            acknowledged = acknowledged and done
            sent.append(str(step))
        return acknowledged, "; ".join(sent)

    async def _shows(self, step: Step) -> bool:
        try:
            return reached(step, await self._state())
        except DeviceError:
            return False

    async def _write_pools(self, pool_plan: PoolPlan) -> bool | None:
        deadline_s = self.endpoint.write_deadline_s
        if pool_plan.uid is not None:
            with contextlib.suppress(Unsupported):
                return await self._session.write("PUT", f"pools/{pool_plan.uid}", pool_plan.body, deadline_s)
        # The whole list at once, which is this one group.
        return await self._session.write("PUT", "pools/batch", [pool_plan.body], deadline_s)

    # -- reading ---------------------------------------------------------------------------------

    def _notice_change(self, stats: dict[str, Any]) -> None:
        """Ask at once what has gone stale: the status where hashing began or ended, all after a new login."""
        hashing = is_hashing(stats, None)
        if hashing != self._hashing:
            self._hashing = hashing
            self._slow.make_due(DETAILS)
            for name in (BOARDS, COOLING):
                self._slow.drop(name)
        if self._session.logins != self._logins:
            self._logins = self._session.logins
            self._slow.make_due(DETAILS)

    async def _refresh(self, now: datetime, ends_s: float) -> None:
        """Ask for slow facts that are due: all of them at first contact, later one.

        They are extras: none may stop a reading, so each has little time and a failure is remembered.
        """
        wanted = self._slow.due(now)
        if self._met:
            wanted = wanted[:1]
        swapped = await self._ask(wanted, now, ends_s)
        if swapped:
            await self._ask([name for name in self._slow.due(now) if name != DETAILS], now, ends_s)
        self._met = True

    async def _ask(self, wanted: Sequence[str], now: datetime, ends_s: float) -> bool:
        """Ask for each; True where another machine answers here now, whose facts are not known."""
        for name in wanted:
            left_s = ends_s - asyncio.get_running_loop().time()
            if left_s <= 0.0:
                self._slow.failed(name, now, unsupported=False, again_s=_AGAIN_S)
                continue
            try:
                document = await self._fact(name, min(_STEP_S, left_s))
            except DeviceError as error:
                log.debug("%s: %s is not to be had: %s", self.endpoint.address, name, error)
                again_s = _AGAIN_S if isinstance(error, Timeout | Unreachable) else None
                self._slow.failed(name, now, isinstance(error, Unsupported), again_s=again_s)
                continue
            if name != DETAILS:
                self._slow.put(name, document, now)
            elif self._keep_details(document, now):
                return True
        return False

    async def _fact(self, name: str, deadline_s: float) -> dict[str, Any]:
        if name != POOLS:
            return await self._session.object(FILES[name], deadline_s)
        try:
            found = await self._session.document(self._pools_path, deadline_s)
        except Unsupported:
            # Documents and field disagree on the slash at the end.
            other = FILES[POOLS].rstrip("/") if self._pools_path.endswith("/") else FILES[POOLS]
            found = await self._session.document(other, deadline_s)
            self._pools_path = other
        if not isinstance(found, list):
            raise Malformed(self.endpoint.address, f"pools: expected a list, got {type(found).__name__}")
        return {_LIST: found}

    def _keep_details(self, details: dict[str, Any], now: datetime) -> bool:
        """Keep who it is; True where that is another machine than before, and all else was forgotten."""
        card = mac(details.get("mac_address"))
        swapped = card is not None and self._mac is not None and card != self._mac
        if swapped:
            self._slow.clear()
        self._mac = card or self._mac
        self._slow.put(DETAILS, details, now)
        self._details_at = now
        return swapped

    def _replies(self, stats: dict[str, Any], now: datetime) -> Replies:
        pools = self._slow.get(POOLS)
        age_s = (now - self._details_at).total_seconds() if self._details_at is not None else 0.0
        return Replies(
            stats=stats,
            details=self._slow.get(DETAILS),
            hashboards=self._slow.get(BOARDS),
            cooling=self._slow.get(COOLING),
            tuner=self._slow.get(TUNER),
            errors=self._slow.get(ERRORS),
            pools=pools[_LIST] if pools is not None else None,
            age_s=max(age_s, 0.0),
        )

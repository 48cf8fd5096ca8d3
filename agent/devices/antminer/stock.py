"""Driver for Antminers with stock firmware: 4028 for figures, the web pages for identity and configuration.

Writing is read, change, write back whole, read again: the firmware rewrites its whole configuration.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace
from datetime import datetime
from typing import Any

from agent.clock import Clock
from agent.devices.antminer import api as api
from agent.devices.antminer.config import Plan, plan_write, shown, strict_json, unchanged_but_for, usable
from agent.devices.antminer.generation import is_old
from agent.devices.antminer.layouts import is_new_layout, uptime
from agent.devices.antminer.parse import Replies, reading_of, version_row
from agent.devices.antminer.pools import plan_pools, pools_of
from agent.devices.antminer.saved import capture, decode
from agent.devices.antminer.web import Web
from agent.devices.device import (
    Applied,
    Capabilities,
    Endpoint,
    Identity,
    PoolsApplied,
    ReportedControl,
)
from agent.devices.numbers import number, text
from agent.devices.redact import redact
from agent.devices.slow_facts import SlowFacts
from agent.devices.transport import deadline
from agent.errors import DeviceError, Malformed, Refused, Timeout, Unauthorised, Unreachable, Unsupported
from agent.hardware.bounds import PermittedSetting
from agent.pools.guard import PermittedPools
from agent.reading import Reading
from agent.setting import Knob

__all__ = ["AntminerStock", "capture", "decode"]

log = logging.getLogger(__name__)
FAMILY = "antminer-stock"
POOLS, IDENTITY, CONFIG, ERRORS, POWER = "pools", "identity", "config", "errors", "power"
# Seconds between two requests. What changes only when somebody changes it is asked for rarely; the
# configuration sooner, because it holds the mode.
_PERIODS_S = {POOLS: 120.0, IDENTITY: 3600.0, CONFIG: 300.0, ERRORS: 300.0, POWER: 3600.0}
# Where the watts are the second request of a reading, a slow fact is a third: it comes more rarely.
_WITH_WATTS_S = {POOLS: 300.0, CONFIG: 900.0}
_AGAIN_S = 60.0
_STEP_S, _POWER_S = 3.0, 2.0
# A control board answers a page in well under this share of a deadline; the rest is for the figures.
_SLOW_SHARE = 0.8
_DRIFT_S = 30.0


class AntminerStock:
    """One stock Antminer.

    Args:
        endpoint: address, ports and login; the factory login where it names none.
        clock: for the rhythm of slow facts and `observed_at`.
    """

    family = FAMILY
    # False for a generation that has neither the new layout nor watts and warnings on port 6060.
    later = True

    def __init__(self, endpoint: Endpoint, clock: Clock) -> None:
        self.endpoint = endpoint
        self._clock = clock
        self._web = Web(endpoint)
        known = _PERIODS_S if self.later else {name: _PERIODS_S[name] for name in (POOLS, IDENTITY, CONFIG)}
        self._slow = SlowFacts(known)
        self._new_api = self.later
        self._has_power = False
        self._warns = True
        self._met = False
        self._seen: tuple[datetime, float] | None = None

    async def identify(self) -> Identity:
        """See `Device.identify`."""
        address, deadline_s = self.endpoint.address, self.endpoint.deadline_s
        version: dict[str, Any] | None = None
        problem: DeviceError | None = None
        async with deadline(self.endpoint.address, deadline_s):
            try:
                version = await api.ask(self.endpoint, "version", deadline_s / 2)
            except DeviceError as error:
                # With a broken pool entry 4028 is closed while the pages still answer.
                problem = error
            try:
                info: dict[str, Any] | None = await self._page("get_system_info.cgi", deadline_s / 3)
                self._slow.put(IDENTITY, info or {}, self._clock.now())
            except DeviceError as error:
                problem, info = problem or error, None
        reading = reading_of(Replies(version=version, system_info=info), address)
        if reading.model is None and reading.mac is None and reading.firmware_version is None:
            raise problem or Malformed(address, "neither port 4028 nor the web page says what this is")
        return Identity.of(
            self.family,
            reading,
            text((info or {}).get("minertype")) or text(version_row(version).get("Type")),
        )

    async def read(self) -> Reading:
        """See `Device.read`: `stats` each time, and one slow fact when due.

        Where port 6060 tells the watts they are the second request of every reading, since older ones are of
        another moment; a slow fact is then a third, on its own rarer rhythm.
        """
        deadline_s = self.endpoint.deadline_s
        ends_s = asyncio.get_running_loop().time() + _SLOW_SHARE * deadline_s
        async with deadline(self.endpoint.address, deadline_s):
            stats = await self._stats()
            arrived = self._clock.now()
            self._notice_restart(stats, arrived)
            power, asked = await self._power(arrived)
            # A unit that turns out to have no watts has used its second request.
            await self._refresh(arrived, ends_s, most=1 if self._has_power or not asked else 0)
        replies = Replies(
            stats=stats,
            pools=self._slow.get(POOLS),
            system_info=self._slow.get(IDENTITY),
            conf=self._slow.get(CONFIG),
            warning=self._slow.get(ERRORS),
            web_summary=self._slow.get(ERRORS),
            miner_power=power,
        )
        return replace(self._reading(replies), observed_at=arrived)

    async def capabilities(self) -> Capabilities:
        """See `Device.capabilities`: modes always, hashrate percent where the firmware gives its range."""
        deadline_s = self.endpoint.deadline_s
        controls = [ReportedControl(Knob.WORK_MODE), ReportedControl(Knob.STOP)]
        async with deadline(self.endpoint.address, deadline_s), self._web:
            try:
                conf = await self._web.document("get_miner_conf.cgi", deadline_s)
            except Unauthorised as error:
                return Capabilities(tuple(controls), writable=False, remedy=error.detail)
            try:
                limits = await self._web.document("get_adjustment_params.cgi", deadline_s / 3)
            except DeviceError:
                limits = {}
        low, high = (number(limits.get(f"hashrate_percent_{end}")) for end in ("min", "max"))
        if (
            "bitmain-hashrate-percent" in conf
            and low is not None
            and high is not None
            and 0 < low < high <= 200
        ):
            controls.append(ReportedControl(Knob.HASHRATE_PERCENT, low, high))
        return Capabilities(tuple(controls), writable=True)

    async def apply(self, setting: PermittedSetting) -> Applied:
        """See `Device.apply`. A timeout after the command is "unknown" and resolved by reading."""
        target = setting.setting
        async with self._web:
            model = await self._model()
            self._refuse_old(model)
            # Last before the write: what somebody else changes in between would be written back.
            conf = await self._read_config()
            before = shown(conf, target.knob, model)
            if before == target:
                return Applied(None, already_set=True, before=before, readback=before, sent=None)
            plan = plan_write(conf, target, model, self.endpoint.address)
            acknowledged = await self._write(plan)
            after = await self._read_back()
        if after is None:
            self._slow.drop(CONFIG)
        else:
            self._slow.put(CONFIG, after, self._clock.now())
        if after is not None and not unchanged_but_for(plan, conf, after):
            # Said aloud and left to a person: another blind write could make it worse.
            log.error("%s: the write changed more of the configuration than was asked", self.endpoint.address)
        return Applied(
            acknowledged=acknowledged,
            already_set=False,
            before=before,
            readback=shown(after, target.knob, model) if after is not None else None,
            sent=f"POST set_miner_conf.cgi {redact(json.dumps(plan.body).encode()).decode()}",
        )

    async def set_pools(self, pools: PermittedPools) -> PoolsApplied:
        """See `Device.set_pools`. The mode stays, so that the firmware reloads and keeps on hashing."""
        async with self._web:
            self._refuse_old(await self._model())
            conf = await self._read_config()
            plan = plan_pools(conf, pools.pools)
            before = pools_of(conf)
            if plan is None:
                return PoolsApplied(None, already_set=True, before=before, readback=before)
            acknowledged = await self._write(plan)
            after = await self._read_back()
        self._slow.drop(CONFIG)
        self._slow.make_due(POOLS)
        if after is not None and not unchanged_but_for(plan, conf, after):
            log.error("%s: the write changed more of the configuration than the pools", self.endpoint.address)
        return PoolsApplied(
            acknowledged=acknowledged,
            already_set=False,
            before=before,
            readback=pools_of(after) if after is not None else None,
        )

    # -- writing ---------------------------------------------------------------------------------

    async def _read_config(self) -> dict[str, Any]:
        raw = await self._web.page("get_miner_conf.cgi", self.endpoint.deadline_s)
        return usable(strict_json(raw, self.endpoint.address), self.endpoint.address)

    def _refuse_old(self, model: str | None) -> None:
        # Its script would take a JSON body for the first field of a form, and lose everything else.
        if model is not None and is_old(model):
            raise Unsupported(self.endpoint.address, f"{model} takes forms: set its family to antminer-old")

    async def _write(self, plan: Plan) -> bool | None:
        try:
            answer = await self._web.send("set_miner_conf.cgi", plan.body, self.endpoint.write_deadline_s)
        except (Timeout, Unreachable, Malformed, Refused):
            # No answer, or one of the web server instead of the script's: what was done shows on reading.
            return None
        if answer.get("code") == "M000" or answer.get("stats") == "success":
            return True
        if answer.get("code") or answer.get("stats"):
            said = f"{answer.get('code')} {answer.get('msg')}"
            raise Refused(self.endpoint.address, f"set_miner_conf.cgi: {said[:100]}")
        return None

    async def _read_back(self) -> dict[str, Any] | None:
        try:
            return await self._read_config()
        except DeviceError:
            return None

    async def _model(self) -> str | None:
        """What the miner calls itself, which decides what a mode number means."""
        if self._slow.get(IDENTITY) is None:
            info = await self._web.document("get_system_info.cgi", self.endpoint.deadline_s)
            self._slow.put(IDENTITY, info, self._clock.now())
        return text((self._slow.get(IDENTITY) or {}).get("minertype"))

    # -- reading ---------------------------------------------------------------------------------

    def _reading(self, replies: Replies) -> Reading:
        return reading_of(replies, self.endpoint.address)

    async def _stats(self) -> dict[str, Any]:
        deadline_s = self.endpoint.deadline_s
        if self._new_api:
            try:
                document = await self._listed(deadline_s, new_api=True)
            except (Unsupported, Refused):
                self._new_api = False
            else:
                self._new_api = is_new_layout(document)
                return document
        return await self._listed(deadline_s, new_api=False)

    async def _listed(self, deadline_s: float, *, new_api: bool) -> dict[str, Any]:
        document = await api.ask(self.endpoint, "stats", deadline_s, new_api=new_api)
        if not isinstance(document.get("STATS"), list):
            # An empty list is a machine that starts or sleeps; none at all is no machine.
            raise Malformed(self.endpoint.address, "stats: the reply has no list of figures")
        return document

    def _notice_restart(self, stats: dict[str, Any], now: datetime) -> None:
        """Ask all slow facts anew if the process, or the machine at this address, is another one."""
        elapsed_s = uptime(stats)
        if elapsed_s is None:
            return
        seen, self._seen = self._seen, (now, elapsed_s)
        if seen is None:
            return
        since_s, slack_s = (now - seen[0]).total_seconds(), _DRIFT_S + self._clock.factor
        if abs(elapsed_s - seen[1] - since_s) <= slack_s:
            return
        for name in _PERIODS_S:
            # A process that started since then is the same machine, even while its pages are busy.
            if name == IDENTITY and elapsed_s <= since_s + slack_s:
                self._slow.make_due(name)
            else:
                self._slow.drop(name)
        self._new_api = self.later
        self._warns = True
        self._met = False

    async def _power(self, now: datetime) -> tuple[bytes | None, bool]:
        """Watts from port 6060, and whether it was asked; a machine that has none is rarely asked."""
        if not self._has_power and POWER not in self._slow.due(now):
            return None, False
        known = self._has_power
        deadline_s = min(_POWER_S, self.endpoint.deadline_s / 4)
        try:
            answer = await api.status_page(self.endpoint, "/miner_power", deadline_s)
        except DeviceError as error:
            self._has_power = False
            again_s = _AGAIN_S if known else None
            self._slow.failed(POWER, now, isinstance(error, Unsupported), again_s=again_s)
            return None, True
        self._has_power = b"miner power" in answer
        if not self._has_power:
            self._slow.failed(POWER, now, unsupported=True)
        return answer, True

    async def _refresh(self, now: datetime, ends_s: float, most: int) -> None:
        """Ask for slow facts that are due: all of them at first contact, later `most`.

        They are extras: none may stop a reading, so each has little time and a failure is remembered.
        """
        web_silent = False
        rarer = _WITH_WATTS_S if self._has_power else None
        wanted = [name for name in self._slow.due(now, rarer) if name != POWER]
        for name in wanted if not self._met else wanted[:most]:
            left_s = ends_s - asyncio.get_running_loop().time()
            problem: DeviceError | None = None
            if left_s <= 0.0 or (web_silent and name in (IDENTITY, CONFIG)):
                problem = Timeout(self.endpoint.address, "no time left to ask")
            else:
                try:
                    self._slow.put(name, await self._fact(name, min(_STEP_S, left_s)), now)
                except DeviceError as error:
                    problem = error
            if problem is None:
                continue
            log.debug("%s: %s is not to be had: %s", self.endpoint.address, name, problem)
            web_silent |= isinstance(problem, Timeout | Unreachable) and name in (IDENTITY, CONFIG)
            keep = name == IDENTITY
            again_s = _AGAIN_S if keep else None
            self._slow.failed(name, now, isinstance(problem, Unsupported), again_s=again_s, keep=keep)
        self._met = True

    async def _fact(self, name: str, deadline_s: float) -> dict[str, Any]:
        if name == POOLS:
            return await api.ask(self.endpoint, "pools", deadline_s, new_api=self._new_api)
        if name == CONFIG:
            return await self._page("get_miner_conf.cgi", deadline_s)
        if name == IDENTITY:
            return await self._page("get_system_info.cgi", deadline_s)
        return await self._faults(deadline_s)

    async def _faults(self, deadline_s: float) -> dict[str, Any]:
        if self._warns:
            try:
                return await api.status_document(self.endpoint, "/warning", deadline_s / 2)
            except (Unsupported, Unreachable, Malformed):
                self._warns = False
        if self._new_api:
            # The same document as the web page `summary.cgi`, without a login.
            return await api.ask(self.endpoint, "summary", deadline_s / 2, new_api=True)
        return await self._page("summary.cgi", deadline_s / 2)

    async def _page(self, name: str, deadline_s: float) -> dict[str, Any]:
        async with self._web:
            return await self._web.document(name, deadline_s)

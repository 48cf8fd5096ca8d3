"""Driver for stock Whatsminer firmware with API v3: frames on TCP 4433, writes by v2 where that port answers.

A poll is two frames over one connection, the second for the slow fact that is most overdue.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

from agent.clock import Clock
from agent.devices.device import (
    Applied,
    Capabilities,
    Endpoint,
    Identity,
    PoolsApplied,
    ReportedControl,
)
from agent.devices.redact import redact
from agent.devices.slow_facts import SlowFacts
from agent.devices.whatsminer import fields as field
from agent.devices.whatsminer import parse_v3 as parse
from agent.devices.whatsminer.envelope import REMEDY, Document, process_is_down
from agent.devices.whatsminer.line import FrameLine
from agent.devices.whatsminer.parse_v2 import without_counts
from agent.devices.whatsminer.parse_v3 import INFO, SETTING, STATUS, Sections, decode
from agent.devices.whatsminer.pools import same_pools
from agent.devices.whatsminer.session import V2Session
from agent.devices.whatsminer.v2 import MODES
from agent.devices.whatsminer.wire import Budget
from agent.devices.whatsminer.writer_v3 import WriterV3
from agent.devices.whatsminer.writes import State, carry_out, governing, plan, shown
from agent.errors import (
    DeviceError,
    Malformed,
    Refused,
    Timeout,
    Unreachable,
    Unsupported,
    WriteDisabled,
)
from agent.hardware.bounds import PermittedSetting
from agent.pools.guard import PermittedPools
from agent.reading import Pool, Reading
from agent.setting import Knob

__all__ = ["WhatsminerV3", "capture", "decode"]

FAMILY = "whatsminer-v3"
_SECTIONS = ("network", "system", "miner", "power", "error-code")
_PERIODS_S = {
    "setting": 120.0,
    "miner": 300.0,
    "error-code": 300.0,
    "shares": 300.0,
    "network": 900.0,
    "system": 900.0,
    "pools": 900.0,
}
_SHARES_S = 3.0


class WhatsminerV3:
    """One Whatsminer behind API v3. Fulfils `Device`; raises only `DeviceError`.

    Args:
        endpoint: credentials hold account and password; None means super/super, and the factory's
            admin password for writes by v2.
    """

    family = FAMILY

    def __init__(self, endpoint: Endpoint, clock: Clock) -> None:
        self.endpoint = endpoint
        self._clock = clock
        self._writer = WriterV3(endpoint, clock)
        self._slow = SlowFacts(_PERIODS_S)
        self._whole_info = True
        self._joins: bool | None = None
        self._known = False
        self._mac: str | None = None

    async def identify(self) -> Identity:
        """Ask for network, system and miner; one request on most firmware.

        Raises:
            DeviceError: unreachable, or nothing that a Whatsminer would answer.
        """
        self._relearn()
        self._writer.relearn()
        budget = self._budget(self.endpoint.deadline_s)
        async with FrameLine(self.endpoint, budget) as line:
            sections = await self._info(line, ("network", "system", "miner"))
        reading = parse.reading_of(sections, None, self.endpoint.address)
        model = field.model_text(parse.section(sections, "miner").get("type"))
        if model is None and reading.mac is None and reading.firmware_version is None:
            raise Malformed(self.endpoint.address, f"{INFO}: neither model, MAC nor firmware is named")
        return Identity.of(FAMILY, reading, model)

    async def read(self) -> Reading:
        """Read once: two requests or fewer, more after the first call and after a failure.

        Raises:
            DeviceError: the summary could not be read.
        """
        budget = self._budget(self.endpoint.deadline_s)
        try:
            return await self._read(budget)
        except DeviceError:
            # Whoever answers next at this address may be another machine.
            self._known = False
            raise

    async def capabilities(self) -> Capabilities:
        """What can be set, and whether the owner has opened the write API (`apiswitch`).

        Raises:
            DeviceError: the miner could not be asked.
        """
        budget = self._budget(self.endpoint.deadline_s)
        async with FrameLine(self.endpoint, budget) as line:
            sections = await self._info(line, ("system",))
        writable = parse.write_switch(sections)
        controls = (
            ReportedControl(Knob.POWER_LIMIT_W),
            ReportedControl(Knob.POWER_PERCENT),
            ReportedControl(Knob.FREQUENCY_PERCENT),
            ReportedControl(Knob.WORK_MODE, choices=MODES),
            ReportedControl(Knob.STOP),
        )
        return Capabilities(controls, writable, REMEDY if writable is False else None)

    async def apply(self, setting: PermittedSetting) -> Applied:
        """Read, send what is missing, read back once. See `Device.apply`.

        Raises:
            DeviceError: the read before failed or the write API is off (nothing was sent), or the
                miner refused.
        """
        budget = self._budget(self.endpoint.write_deadline_s)
        address = self.endpoint.address
        sections = await self._sections_set(budget)
        state = self._state(sections, remembered=True)
        knob = setting.setting.knob
        steps = plan(setting, state, address)
        before = governing(state, knob)
        if not steps:
            return Applied(None, already_set=True, before=before, readback=shown(state, knob), sent=None)
        switch = parse.write_switch(sections)
        if switch is False:
            raise WriteDisabled(address, f"apiswitch is 0; {REMEDY}")
        acknowledged, sent = await carry_out(steps, lambda step: self._writer.send(step, switch, budget))
        self._slow.make_due("setting")
        self._slow.make_due("miner")
        readback = None
        with contextlib.suppress(DeviceError):
            readback = shown(self._state(await self._sections_set(budget), remembered=False), knob)
        return Applied(
            acknowledged=acknowledged,
            already_set=False,
            before=before,
            readback=readback,
            sent=sent,
        )

    async def set_pools(self, pools: PermittedPools) -> PoolsApplied:
        """Read, replace where they differ, read back; by v2 where it is to be had. See `Device.set_pools`.

        Raises:
            DeviceError: the read before failed or the write API is off (nothing was sent), or the
                miner refused.
        """
        budget = self._budget(self.endpoint.write_deadline_s)
        before, switch = await self._pools_set(budget)
        if same_pools(before, pools.pools):
            return PoolsApplied(None, already_set=True, before=before, readback=before)
        if switch is False:
            raise WriteDisabled(self.endpoint.address, f"apiswitch is 0; {REMEDY}")
        acknowledged = await self._writer.send_pools(pools.pools, switch, budget)
        self._slow.make_due("pools")
        self._slow.drop("shares")
        after: tuple[Pool, ...] | None = None
        with contextlib.suppress(DeviceError):
            after, _ = await self._pools_set(budget)
        return PoolsApplied(acknowledged, already_set=False, before=before, readback=after)

    async def _pools_set(self, budget: Budget) -> tuple[tuple[Pool, ...], bool | None]:
        part = self._budget(budget.left(self.endpoint.deadline_s))
        async with FrameLine(self.endpoint, part) as line:
            sections = await line.ask(STATUS, "pools")
            sections |= await self._info(line, ("system",))
        found = parse.reading_of(sections, None, None).pools
        if found is None:
            raise Malformed(self.endpoint.address, "pools: no list of pools came; nothing is written")
        return found, parse.write_switch(sections)

    async def _read(self, budget: Budget, again: bool = True) -> Reading:
        if not self._known:
            self._relearn()
        async with FrameLine(self.endpoint, budget) as line:
            sections, requests = await self._status(line)
            if "summary" in sections and not parse.has_figures(parse.section(sections, "summary")):
                problem = "the summary holds no figures; the process may be restarting"
                raise Malformed(self.endpoint.address, problem)
            shares: Document | None = None
            for wanted in self._wanted(sections):
                if self._known and requests >= 2:
                    break
                if wanted in sections:
                    continue
                requests += 1
                try:
                    if wanted == "shares":
                        shares = await self._shares(budget)
                    else:
                        sections |= await self._fact(line, wanted)
                except (Timeout, Unreachable):
                    self._slow.failed(wanted, self._clock.now(), unsupported=False)
                    # Share counts come from another port, which this firmware need not have.
                    if wanted != "shares":
                        break
                except DeviceError as error:
                    self._slow.failed(wanted, self._clock.now(), isinstance(error, Unsupported))
        self._known = True
        mac = field.mac(parse.section(sections, "network").get("mac"))
        swapped = mac is not None and self._mac is not None and mac != self._mac
        self._mac = mac or self._mac
        if swapped and again:
            self._known, self._writer.percent = False, None
            return await self._read(budget, again=False)
        return self._reading(sections, shares)

    async def _status(self, line: FrameLine) -> tuple[Sections, int]:
        """Summary and boards, in one request where the firmware joins; and the number of requests."""
        if self._joins is not False:
            try:
                sections = await line.ask(STATUS, "edevs+summary")
            except (Timeout, Unreachable, Malformed):
                raise
            except DeviceError as error:
                if process_is_down(error):
                    return await self._fact(line, "miner"), 2
                if self._joins and not isinstance(error, Refused):
                    raise
                sections = {}
            if {"edevs", "summary"} <= set(sections):
                self._joins = True
                return sections, 1
        try:
            sections = await line.ask(STATUS, "summary")
        except Refused as error:
            # A miner that is off may refuse, and with its process down the rest still answers.
            sections = await self._fact(line, "miner")
            if parse.is_off(sections) or process_is_down(error):
                return sections, 2
            raise
        with contextlib.suppress(Unsupported, Refused):
            sections |= await line.ask(STATUS, "edevs")
        if "summary" not in sections:
            raise Malformed(self.endpoint.address, f"{STATUS}: the reply has no summary")
        self._joins = bool(self._joins)
        return sections, 2

    def _wanted(self, sections: Sections) -> list[str]:
        """Slow facts to ask now, the most urgent first."""
        fast, steady, _ = parse.rates(parse.section(sections, "summary"))
        rate = fast if fast is not None else steady
        wanted = []
        if not rate or parse.is_off(self._kept()):
            wanted.append("miner")
        return list(dict.fromkeys([*wanted, *self._slow.due(self._clock.now())]))

    async def _fact(self, line: FrameLine, wanted: str) -> Sections:
        """The sections that came for one wanted slow fact, kept."""
        if wanted == "setting":
            found = await line.ask(SETTING, None)
        elif wanted == "pools":
            found = await line.ask(STATUS, "pools")
        else:
            found = await self._info(line, (wanted,))
        if wanted not in found:
            raise Malformed(self.endpoint.address, f"the reply to {wanted} does not hold it")
        now = self._clock.now()
        for name, value in found.items():
            if name in _PERIODS_S:
                # Wrapped, so that a list and a mapping are kept alike.
                self._slow.put(name, {"section": value}, now)
        return found

    async def _info(self, line: FrameLine, wanted: tuple[str, ...]) -> Sections:
        """Device sections: all at once where the firmware gives them, else the wanted ones one by one."""
        if self._whole_info:
            try:
                return await line.ask(INFO, None)
            except (Unsupported, Refused):
                self._whole_info = False
        sections: Sections = {}
        for name in wanted:
            sections |= await line.ask(INFO, name)
        return sections

    async def _shares(self, budget: Budget) -> Document:
        """Pools with share counts, which only v2 has."""
        shares = await V2Session(self.endpoint, self._clock, "").read("pools", budget, _SHARES_S)
        self._slow.put("shares", shares, self._clock.now())
        return shares

    def _reading(self, fresh: Sections, shares: Document | None) -> Reading:
        merged = self._kept() | fresh
        old = self._slow.get("shares")
        if shares is None and old is not None:
            shares = without_counts(old)
        reading = parse.reading_of(merged, shares, self.endpoint.address)
        return replace(reading, observed_at=self._clock.now())

    def _kept(self) -> Sections:
        """The last reply of each slow section."""
        kept = {name: self._slow.get(name) for name in _PERIODS_S if name != "shares"}
        return {name: value["section"] for name, value in kept.items() if value is not None}

    async def _sections_set(self, budget: Budget) -> Sections:
        """Everything that says what is set.

        Raises:
            DeviceError: summary or device info could not be read. Settings are new in API 3.0.3.
        """
        part = self._budget(budget.left(self.endpoint.deadline_s))
        async with FrameLine(self.endpoint, part) as line:
            sections, _ = await self._status(line)
            if "summary" not in sections and not parse.is_off(sections):
                raise Malformed(self.endpoint.address, f"{STATUS}: no summary came; nothing was sent")
            sections |= await self._info(line, ("miner", "system"))
            with contextlib.suppress(Unsupported, Refused):
                sections |= await line.ask(SETTING, None)
        return sections

    def _state(self, sections: Sections, *, remembered: bool) -> State:
        setting = parse.section(sections, "setting")
        reading = parse.reading_of(sections, None, None)
        percent = self._writer.percent if remembered else None
        if "power-percent" in setting:
            percent = 100.0 if reading.power_percent is None else reading.power_percent
        return State(
            stopped=parse.is_off(sections),
            mode=None if reading.work_mode == "stopped" else reading.work_mode,
            limit_w=reading.power_limit_w,
            percent=percent,
            frequency_percent=parse.frequency_percent(setting),
        )

    def _relearn(self) -> None:
        self._slow.clear()
        self._whole_info = True
        self._joins = None
        self._known = False

    def _budget(self, seconds: float) -> Budget:
        return Budget(self.endpoint.address, seconds)


async def capture(endpoint: Endpoint, clock: Clock) -> dict[str, bytes]:
    """Raw replies to every read command, redacted, by file name (`get.miner.status.summary.json`).

    Raises:
        DeviceError: not one command was answered.
    """
    replies: dict[str, bytes] = {}
    asked: list[tuple[str, str | None]] = [(STATUS, part) for part in ("summary", "edevs", "pools")]
    asked += [(SETTING, None), *((INFO, part) for part in _SECTIONS)]
    for command, param in asked:
        try:
            async with FrameLine(endpoint, Budget(endpoint.address, endpoint.deadline_s)) as line:
                raw = await line.raw(command, param)
        except DeviceError:
            if not replies:
                raise
            continue
        replies[f"{command if param is None else f'{command}.{param}'}.json"] = redact(raw)
    with contextlib.suppress(DeviceError):
        shares = V2Session(endpoint, clock, "")
        budget = Budget(endpoint.address, endpoint.deadline_s)
        replies["pools.json"] = redact(await shares.ask("pools", budget, _SHARES_S))
    return replies

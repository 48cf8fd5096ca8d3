"""Driver for stock Whatsminer firmware with API v2: plain reads and encrypted writes on TCP 4028.

A poll is one joined request and at most one more, for the slow fact that is most overdue.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from agent.clock import Clock
from agent.devices.device import Applied, Capabilities, Endpoint, Identity, PoolsApplied, ReportedControl
from agent.devices.redact import redact
from agent.devices.slow_facts import SlowFacts
from agent.devices.whatsminer import envelope as envelope
from agent.devices.whatsminer import fields as field
from agent.devices.whatsminer import parse_v2 as parse
from agent.devices.whatsminer.envelope import REMEDY, Document
from agent.devices.whatsminer.parse_v2 import decode
from agent.devices.whatsminer.pools import numbered, same_pools
from agent.devices.whatsminer.session import DEFAULT_PASSWORD, V2Session
from agent.devices.whatsminer.wire import Budget
from agent.devices.whatsminer.writes import (
    State,
    Step,
    Verb,
    carry_out,
    governing,
    percent_after,
    plan,
    shown,
)
from agent.errors import DeviceError, Malformed, Refused, Timeout, Unreachable, Unsupported
from agent.hardware.bounds import PermittedSetting
from agent.pools.guard import PermittedPools, PoolLogin
from agent.reading import Pool, Reading
from agent.setting import Knob

__all__ = ["WhatsminerV2", "capture", "commands_of", "decode"]

FAMILY = "whatsminer-v2"
MODES = ("low", "normal", "high")
_JOIN = ("summary", "edevs")
_IDENTITY = ("get_version", "get_miner_info", "devdetails")
_PERIODS_S = {
    "status": 120.0,
    "get_error_code": 300.0,
    "pools": 300.0,
    "get_miner_info": 900.0,
    "get_version": 6 * 3600.0,
    "devdetails": 24 * 3600.0,
}
_ACK_S = 10.0
# Mode changes and power_off often get no answer at all; waiting longer would only delay the read-back.
_SHORT_ACK_S = 5.0
_READBACK_S = 5.0
_SLOW_TURN = 8


class WhatsminerV2:
    """One Whatsminer behind API v2. Fulfils `Device`; raises only `DeviceError`.

    Args:
        endpoint: credentials hold the admin password; None means the factory's.
    """

    family = FAMILY

    def __init__(self, endpoint: Endpoint, clock: Clock) -> None:
        self.endpoint = endpoint
        self._clock = clock
        password = endpoint.credentials.password if endpoint.credentials is not None else DEFAULT_PASSWORD
        self._session = V2Session(endpoint, clock, password)
        self._slow = SlowFacts(_PERIODS_S)
        self._joins: bool | None = None
        self._known = False
        self._elapsed_s: float | None = None
        self._mac: str | None = None
        # The percentage last sent: classic firmware cannot be asked for it, and a restart ends it.
        self._percent: float | None = None
        self._turn = 0

    async def identify(self) -> Identity:
        """Ask for version, model and MAC; three requests, a fourth where they name no MAC.

        Raises:
            DeviceError: unreachable, or nothing that a Whatsminer would answer.
        """
        budget = self._budget(self.endpoint.deadline_s)
        self._relearn()
        documents: dict[str, Document] = {}
        first: DeviceError | None = None
        for command in (*_IDENTITY, "summary"):
            if command == "summary" and envelope.message(documents.get("get_miner_info")).get("mac"):
                continue
            try:
                documents[command] = await self._session.read(command, budget)
            except (Timeout, Unreachable):
                raise
            except DeviceError as error:
                first = first or error
                continue
            if command in _IDENTITY:
                self._slow.put(command, documents[command], self._clock.now())
        reading = parse.reading_of(documents, self.endpoint.address)
        model = parse.model_text(documents)
        if model is None and reading.mac is None and reading.firmware_version is None:
            raise first or Malformed(self.endpoint.address, "no reply names model, MAC or firmware")
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
        """What can be set. Firmware reports no ranges; the write switch shows only when it refuses.

        Raises:
            DeviceError: the miner could not be asked.
        """
        budget = self._budget(self.endpoint.deadline_s)
        writable = await self._session.may_write(budget)
        with contextlib.suppress(Unsupported, Refused):
            self._slow.put("status", await self._session.read("status", budget), self._clock.now())
        controls = [ReportedControl(Knob.POWER_LIMIT_W)]
        # Classic firmware takes a percentage and never shows it again, so telemetry could not confirm it.
        if "power_pct" in envelope.message(self._slow.get("status")):
            controls.append(ReportedControl(Knob.POWER_PERCENT))
        controls += [ReportedControl(Knob.WORK_MODE, choices=MODES), ReportedControl(Knob.STOP)]
        return Capabilities(tuple(controls), writable, REMEDY if writable is False else None)

    async def apply(self, setting: PermittedSetting) -> Applied:
        """Read, send what is missing, read back once. See `Device.apply`.

        Raises:
            DeviceError: the read before failed (nothing was sent), or the miner refused.
        """
        budget = self._budget(self.endpoint.write_deadline_s)
        state = await self.state(budget, self.endpoint.deadline_s)
        knob = setting.setting.knob
        steps = plan(setting, state, self.endpoint.address)
        before = governing(state, knob)
        if not steps:
            return Applied(None, already_set=True, before=before, readback=shown(state, knob), sent=None)
        acknowledged, sent = await carry_out(steps, lambda step: self.send(step, budget))
        after: State | None = None
        with contextlib.suppress(DeviceError):
            after = await self.state(budget, _READBACK_S, remembered=False)
        return Applied(
            acknowledged=acknowledged,
            already_set=False,
            before=before,
            readback=shown(after, knob) if after is not None else None,
            sent=sent,
        )

    async def set_pools(self, pools: PermittedPools) -> PoolsApplied:
        """Read, replace where they differ, read back. Passwords are not told, so they are not compared.

        Raises:
            DeviceError: the read before failed (nothing was sent), or the miner refused.
        """
        budget = self._budget(self.endpoint.write_deadline_s)
        before = await self.pools(budget)
        if same_pools(before, pools.pools):
            return PoolsApplied(None, already_set=True, before=before, readback=before)
        acknowledged = await self.send_pools(pools.pools, budget)
        after: tuple[Pool, ...] | None = None
        with contextlib.suppress(DeviceError):
            after = await self.pools(budget)
        return PoolsApplied(acknowledged, already_set=False, before=before, readback=after)

    async def pools(self, budget: Budget) -> tuple[Pool, ...]:
        """The pools as the miner lists them now.

        Raises:
            DeviceError: they could not be read whole.
        """
        document = await self._session.read("pools", budget, self.endpoint.deadline_s)
        found = parse.pools_of(document)
        if found is None:
            raise Malformed(self.endpoint.address, "pools: no list of pools came; nothing is written")
        return found

    async def send_pools(self, pools: Sequence[PoolLogin], budget: Budget) -> bool | None:
        """Send `update_pools`, once. True: the miner said OK; None: no answer.

        Raises:
            DeviceError: nothing was sent, or the miner refused.
        """
        ack_s = min(_ACK_S, self.endpoint.write_deadline_s / 4.0)
        self._slow.make_due("pools")
        return await self._session.write("update_pools", numbered(pools), budget, ack_s)

    async def send(self, step: Step, budget: Budget) -> tuple[bool | None, str]:
        """Send one step, once. Returns the answer, None where none came, and the words for the journal.

        Raises:
            DeviceError: nothing was sent, or the miner refused.
        """
        command, parameters = commands_of(step)
        ack_s = _SHORT_ACK_S if step.verb in (Verb.MODE, Verb.POWER_OFF) else _ACK_S
        ack_s = min(ack_s, self.endpoint.write_deadline_s / 4.0)
        answer = await self._session.write(command, parameters, budget, ack_s)
        self._percent = percent_after(step, answer, self._percent)
        self._slow.make_due("status")
        return answer, json.dumps({"cmd": command, **parameters})

    async def state(self, budget: Budget, at_most_s: float | None = None, remembered: bool = True) -> State:
        """What is set now, read for the purpose.

        Args:
            remembered: fill in the percentage last sent where the firmware does not tell it.

        Raises:
            DeviceError: it could not be read. A miner that is off need not answer `summary`.
        """
        status: Document | None = None
        try:
            status = await self._session.read("status", budget, at_most_s)
            self._slow.put("status", status, self._clock.now())
        except Unsupported:
            pass
        off = parse.is_off(status)
        row: Document = {}
        try:
            row = parse.summary_row(await self._session.read("summary", budget, at_most_s))
        except Refused:
            if not off:
                raise
        if not row and not off:
            raise Malformed(self.endpoint.address, "summary has no row; nothing was sent")
        said = envelope.message(status)
        percent = parse.power_percent(status)
        if percent is None:
            percent = 100.0 if "power_pct" in said else self._percent if remembered else None
        return State(
            stopped=off,
            mode=field.mode(row.get("Power Mode")) or field.mode(said.get("power_mode")),
            limit_w=field.power_limit_w(row.get("Power Limit"), said.get("power_limit_set")),
            percent=percent,
        )

    async def _read(self, budget: Budget, again: bool = True) -> Reading:
        if not self._known:
            self._relearn()
        documents, requests = await self._summary(budget)
        row = parse.summary_row(documents.get("summary"))
        if "summary" in documents and not parse.has_figures(row):
            raise Malformed(self.endpoint.address, "summary holds no figures; the process may be restarting")
        self._watch(row)
        fresh: set[str] = set()
        for command in self._wanted(row, documents):
            if requests >= 2 and self._known:
                break
            if command != "edevs" and requests >= 2 and budget.left() < self.endpoint.deadline_s / 4.0:
                break
            requests += 1
            try:
                documents[command] = await self._session.read(command, budget)
            except (Timeout, Unreachable):
                self._failed(command, unsupported=False)
                if command == "edevs":
                    raise
                break
            except DeviceError as error:
                self._failed(command, unsupported=isinstance(error, Unsupported))
                continue
            fresh.add(command)
            if command in _PERIODS_S:
                self._slow.put(command, documents[command], self._clock.now())
        self._known = True
        if self._swapped(documents) and again:
            return await self._read(budget, again=False)
        return self._reading(documents, fresh)

    async def _summary(self, budget: Budget) -> tuple[dict[str, Document], int]:
        """`summary`, with `edevs` where the firmware joins; and the number of requests it took."""
        requests = 0
        if self._joins is not False:
            requests += 1
            at_most = None if self._joins else self.endpoint.deadline_s / 2.0
            try:
                parts = await self._joined(budget, at_most)
            except DeviceError as error:
                if envelope.process_is_down(error):
                    return {"status": await self._session.read("status", budget)}, requests + 1
                if self._joins and not isinstance(error, Refused):
                    raise
                parts = {}
            if set(_JOIN) <= set(parts):
                self._joins = True
                return parts, requests
        documents: dict[str, Document] = {}
        requests += 1
        try:
            documents["summary"] = await self._session.read("summary", budget)
        except Refused as error:
            # A miner that is off may refuse, and with its process down the rest still answers.
            documents["status"] = await self._session.read("status", budget)
            if parse.is_off(documents["status"]) or envelope.process_is_down(error):
                return documents, requests + 1
            raise
        self._joins = bool(self._joins)
        return documents, requests

    async def _joined(self, budget: Budget, at_most_s: float | None) -> dict[str, Document]:
        command = "+".join(_JOIN)
        address = self.endpoint.address
        document = envelope.parse_document(
            command, await self._session.ask(command, budget, at_most_s), address
        )
        parts = envelope.split_join(document, _JOIN)
        if not parts:
            envelope.check(command, document, address)
        return {name: envelope.check(name, part, address) for name, part in parts.items()}

    def _wanted(self, row: Document, documents: Mapping[str, Document]) -> list[str]:
        """Commands to ask beyond the summary, the most urgent first."""
        wanted: list[str] = []
        fast, steady, _ = parse.rates(row)
        rate = fast if fast is not None else steady
        if "status" not in documents and (not rate or parse.is_off(self._slow.get("status"))):
            wanted.append("status")
        watts = [field.power_w(row.get(key), True) for key in ("Power", "Power_RT")]
        if rate and watts == [None, None]:
            wanted.append("get_psu")
        listed = parse.summary_errors(row)
        cached = self._slow.get("get_error_code")
        if listed is not None and cached is not None:
            known = {error.code for error in parse.listed_errors(cached)}
            if known != {error.code for error in listed}:
                self._slow.drop("get_error_code")
        due = self._slow.due(self._clock.now())
        if "edevs" not in documents and "summary" in documents:
            # Without joins boards and slow facts share the second request: every eighth goes to the latter.
            self._turn = (self._turn + 1) % _SLOW_TURN
            wanted += ["edevs", *due] if self._turn or not self._known else [*due, "edevs"]
        else:
            wanted += due
        return list(dict.fromkeys(wanted))

    def _watch(self, row: Document) -> None:
        """A process that restarted may be another machine, and has forgotten its percentage."""
        elapsed = field.seconds(row.get("Elapsed"))
        if elapsed is not None and self._elapsed_s is not None and elapsed < self._elapsed_s:
            self._percent = None
            self._slow.make_due("get_miner_info")
        self._elapsed_s = elapsed

    def _swapped(self, documents: Mapping[str, Document]) -> bool:
        """True if the MAC is not the one seen before: everything cached belongs to another machine."""
        info = documents.get("get_miner_info")
        mac = field.mac(envelope.message(info).get("mac"))
        if mac is None and self._slow.get("get_miner_info") is None:
            mac = field.mac(parse.summary_row(documents.get("summary")).get("MAC"))
        swapped = mac is not None and self._mac is not None and mac != self._mac
        self._mac = mac or self._mac
        if swapped:
            self._known = False
            self._percent = None
        return swapped

    def _reading(self, documents: dict[str, Document], fresh: set[str]) -> Reading:
        merged = {c: d for c in _PERIODS_S if (d := self._slow.get(c)) is not None} | documents
        if "pools" in merged and "pools" not in fresh:
            merged["pools"] = parse.without_counts(merged["pools"])
        reading = parse.reading_of(merged, self.endpoint.address)
        return replace(reading, observed_at=self._clock.now())

    def _failed(self, command: str, *, unsupported: bool) -> None:
        if command in _PERIODS_S:
            self._slow.failed(command, self._clock.now(), unsupported)

    def _relearn(self) -> None:
        self._slow.clear()
        self._joins = None
        self._known = False

    def _budget(self, seconds: float) -> Budget:
        return Budget(self.endpoint.address, seconds)


async def capture(endpoint: Endpoint, clock: Clock) -> dict[str, bytes]:
    """Raw replies to every read command, redacted, by file name (`summary.json`).

    Raises:
        DeviceError: not one command was answered.
    """
    session = V2Session(endpoint, clock, "")
    replies: dict[str, bytes] = {}
    first: DeviceError | None = None
    for command in parse.COMMANDS:
        try:
            raw = await session.ask(command, Budget(endpoint.address, endpoint.deadline_s))
        except DeviceError as error:
            first = first or error
            if not replies:
                raise
            continue
        replies[f"{command}.json"] = redact(raw)
    if not replies:
        raise first or Unreachable(endpoint.address, "no reply")
    return replies


def commands_of(step: Step) -> tuple[str, dict[str, str]]:
    """The v2 command of one step and its parameters, which are strings on the wire."""
    if step.verb is Verb.POWER_OFF:
        return "power_off", {"respbefore": "true"}
    if step.verb is Verb.MODE:
        return f"set_{step.value}_power", {}
    if step.verb is Verb.LIMIT:
        return "adjust_power_limit", {"power_limit": str(step.value)}
    if step.verb is Verb.PERCENT:
        return "set_power_pct_v2", {"percent": str(step.value)}
    if step.verb is Verb.FAST_PERCENT:
        return "set_power_pct", {"percent": str(step.value)}
    if step.verb is Verb.FREQUENCY:
        return "set_target_freq", {"percent": str(step.value)}
    return ("restore_power_pct" if step.verb is Verb.FULL_POWER else "power_on"), {}

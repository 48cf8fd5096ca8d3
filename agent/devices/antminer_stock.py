"""Driver for Antminers with stock firmware: 4028 for figures, the web pages for identity and configuration.

Writing is read, change, write back whole, read again: the firmware rewrites its whole configuration.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from agent.clock import Clock
from agent.devices.antminer_config import Plan, plan_write, shown, unchanged_but_for, usable
from agent.devices.antminer_parse import FIRMWARE, VENDOR, Replies, check_status, reading_of
from agent.devices.antminer_web import Web
from agent.devices.device import Applied, Capabilities, Endpoint, Identity, ReportedControl
from agent.devices.numbers import number
from agent.devices.redact import redact
from agent.devices.transport import exchange, tolerant_json
from agent.errors import DeviceError, Malformed, Refused, Timeout, Unauthorised, Unreachable, Unsupported
from agent.hardware.bounds import PermittedSetting
from agent.reading import Reading
from agent.setting import Knob

log = logging.getLogger(__name__)
FAMILY = "antminer-stock"
# Facts that change only when somebody changes them; configuration sooner, because it holds the mode.
_IDENTITY_EVERY_S, _CONFIG_EVERY_S, _POOLS_EVERY_S, _ERRORS_EVERY_S = 3600.0, 300.0, 120.0, 300.0
_RETRY_S = 60.0


@dataclass(slots=True)
class _Slow:
    """A reply that is asked for rarely, and when it is due again."""

    value: Any = None
    due_s: float = float("-inf")


class AntminerStock:
    """One stock Antminer.

    Args:
        endpoint: address, ports and login; the factory login where it names none.
        clock: for the rhythm of slow facts and `observed_at`.
    """

    family = FAMILY

    def __init__(self, endpoint: Endpoint, clock: Clock) -> None:
        self.endpoint = endpoint
        self._clock = clock
        self._web = Web(endpoint)
        self._new_api = True
        self._has_power: bool | None = None
        self._identity = _Slow()
        self._config = _Slow()
        self._pools = _Slow()
        self._errors = _Slow()

    async def identify(self) -> Identity:
        """See `Device.identify`."""
        async with self._within(self.endpoint.deadline_s):
            try:
                version = await self._ask("version")
            except Unsupported:
                version = None
            async with self._web:
                info = await self._optional(
                    self._web.document("get_system_info.cgi", self.endpoint.deadline_s)
                )
            reading = reading_of(Replies(version=version, system_info=info), self.endpoint.address)
        if reading.model is None and info is None:
            raise Malformed(self.endpoint.address, "neither port 4028 nor the web page says what this is")
        named = (info or {}).get("minertype") or ((version or {}).get("VERSION") or [{}])[0].get("Type")
        return Identity(
            family=FAMILY,
            vendor=VENDOR,
            firmware=FIRMWARE,
            firmware_version=reading.firmware_version,
            model=named if isinstance(named, str) else reading.model,
            mac=reading.mac,
            serial=reading.serial,
        )

    async def read(self) -> Reading:
        """See `Device.read`: `stats` each time, one slow fact beside it when due."""
        async with self._within(self.endpoint.deadline_s):
            stats = await self._stats()
            arrived = self._clock.now()
            power = await self._power()
            await self._refresh_slow(first=self._identity.value is None)
        replies = Replies(
            stats=stats,
            pools=self._pools.value,
            system_info=self._identity.value,
            conf=self._config.value,
            warning=self._errors.value,
            miner_power=power,
        )
        return replace(reading_of(replies, self.endpoint.address), observed_at=arrived)

    async def capabilities(self) -> Capabilities:
        """See `Device.capabilities`: modes always, hashrate percent where the firmware gives its range."""
        deadline_s = self.endpoint.deadline_s
        controls = [ReportedControl(Knob.WORK_MODE), ReportedControl(Knob.STOP)]
        async with self._within(deadline_s), self._web:
            try:
                conf = await self._web.document("get_miner_conf.cgi", deadline_s)
            except Unauthorised as error:
                return Capabilities(tuple(controls), writable=False, remedy=error.detail)
            limits = await self._optional(self._web.document("get_adjustment_params.cgi", deadline_s))
        low, high = (number((limits or {}).get(f"hashrate_percent_{end}")) for end in ("min", "max"))
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
            conf = await self._read_config()
            model = self._model_text()
            before = shown(conf, target.knob, model)
            if before == target:
                return Applied(None, already_set=True, before=before, readback=before, sent=None)
            plan = plan_write(conf, target, model, self.endpoint.address)
            acknowledged = await self._write(plan)
            after = await self._read_back()
        self._config.due_s = float("-inf")
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

    # -- writing ---------------------------------------------------------------------------------

    async def _read_config(self) -> dict[str, Any]:
        conf = await self._web.document("get_miner_conf.cgi", self.endpoint.deadline_s)
        return usable(conf, self.endpoint.address)

    async def _write(self, plan: Plan) -> bool | None:
        try:
            answer = await self._web.send("set_miner_conf.cgi", plan.body, self.endpoint.write_deadline_s)
        except (Timeout, Unreachable, Malformed):
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

    def _model_text(self) -> str | None:
        info = self._identity.value or {}
        named = info.get("minertype")
        return named if isinstance(named, str) else None

    # -- reading ---------------------------------------------------------------------------------

    async def _stats(self) -> dict[str, Any]:
        if self._new_api:
            try:
                document = await self._ask("stats", new_api=True)
                self._new_api = isinstance(document.get("INFO"), dict)
                return document
            except Unsupported:
                self._new_api = False
        return await self._ask("stats")

    async def _ask(self, command: str, *, new_api: bool = False) -> dict[str, Any]:
        address = self.endpoint.address
        document = tolerant_json(await self._raw(command, new_api=new_api), address)
        return dict(check_status(document, address))

    async def _raw(self, command: str, *, new_api: bool = False) -> bytes:
        request: dict[str, Any] = {"command": command}
        if new_api:
            request["new_api"] = True
        payload = json.dumps(request, separators=(",", ":")).encode()
        return await exchange(
            self.endpoint.address, self.endpoint.ports.api, payload, deadline_s=self.endpoint.deadline_s
        )

    async def _power(self) -> bytes | None:
        """Watts from port 6060; a machine that has none is not asked again."""
        if self._has_power is False:
            return None
        try:
            answer = await self._status_page("/miner_power")
        except DeviceError:
            return None
        self._has_power = b"miner power" in answer
        return answer

    async def _status_page(self, path: str) -> bytes:
        request = f"GET {path} HTTP/1.0\r\nHost: {self.endpoint.address}\r\n\r\n".encode()
        deadline_s = min(2.0, self.endpoint.deadline_s)
        answer = await exchange(
            self.endpoint.address,
            self.endpoint.ports.status,
            request,
            deadline_s=deadline_s,
            limit_bytes=65536,
        )
        head, separator, body = answer.partition(b"\r\n\r\n")
        return body if separator and head.startswith(b"HTTP/") else answer

    async def _refresh_slow(self, *, first: bool) -> None:
        """Ask for slow facts that are due: all of them at first contact, later one a poll."""
        now_s = self._clock.now().timestamp()
        steps = (
            (self._pools, self._ask_pools, _POOLS_EVERY_S),
            (self._config, self._ask_config, _CONFIG_EVERY_S),
            (self._errors, self._ask_errors, _ERRORS_EVERY_S),
            (self._identity, self._ask_identity, _IDENTITY_EVERY_S),
        )
        due = sorted((step for step in steps if step[0].due_s <= now_s), key=lambda step: step[0].due_s)
        for slow, ask, every_s in due if first else due[:1]:
            try:
                slow.value = await ask()
                slow.due_s = now_s + every_s
            except DeviceError as error:
                # Figures still count without it; an old configuration must not pass for the present one.
                log.debug("%s: a slow fact is not to be had: %s", self.endpoint.address, error)
                if slow is not self._identity:
                    slow.value = None
                slow.due_s = now_s + _RETRY_S

    async def _ask_pools(self) -> dict[str, Any]:
        return await self._ask("pools", new_api=self._new_api)

    async def _ask_config(self) -> dict[str, Any]:
        async with self._web:
            return await self._web.document("get_miner_conf.cgi", self.endpoint.deadline_s)

    async def _ask_identity(self) -> dict[str, Any]:
        async with self._web:
            return await self._web.document("get_system_info.cgi", self.endpoint.deadline_s)

    async def _ask_errors(self) -> dict[str, Any]:
        found = tolerant_json(await self._status_page("/warning"), self.endpoint.address)
        if not isinstance(found, dict):
            raise Malformed(self.endpoint.address, "warning: expected an object")
        return found

    async def _optional(self, call: Any) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = await call
        except (Unsupported, Malformed, Unauthorised, Unreachable, Refused):
            return None
        return found

    @asynccontextmanager
    async def _within(self, seconds: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError as error:
            raise Timeout(self.endpoint.address, f"no whole answer within {seconds:g} s") from error


async def capture(endpoint: Endpoint, clock: Clock) -> dict[str, bytes]:
    """Raw replies of every read command, by file name, with secrets taken out.

    Raises:
        DeviceError: not one command was answered.
    """
    device = AntminerStock(endpoint, clock)
    found: dict[str, bytes] = {}
    problem: DeviceError | None = None
    for name in ("version", "stats", "summary", "pools", "devs"):
        for suffix, new_api in (("", False), (".new_api", True)):
            try:
                found[f"{name}{suffix}.json"] = redact(await device._raw(name, new_api=new_api))
            except DeviceError as error:
                problem = error
    async with device._web as web:
        for page in (
            "get_system_info",
            "miner_type",
            "get_network_info",
            "get_miner_conf",
            "get_adjustment_params",
        ):
            with contextlib.suppress(DeviceError):
                found[f"{page}.json"] = redact(await web.page(f"{page}.cgi", endpoint.deadline_s))
        with contextlib.suppress(DeviceError):
            found["web_summary.json"] = redact(await web.page("summary.cgi", endpoint.deadline_s))
    for path, file in (("/warning", "warning.json"), ("/miner_power", "miner_power.txt")):
        with contextlib.suppress(DeviceError):
            found[file] = redact(await device._status_page(path))
    if not found:
        raise problem or Unreachable(endpoint.address, "not one command was answered")
    return found


def decode(replies: Mapping[str, bytes], address: str | None = None) -> Reading:
    """Saved replies to a Reading; whatever subset is there is used.

    Args:
        replies: by file name; the part before the first dot is the command. Of two layouts of one
            command the new one is taken if it holds figures.

    Raises:
        Malformed: nothing usable, or a reply that cannot be read. Unsupported, Refused, Unreachable: what
            the only reply says.
    """
    where = address or "saved replies"
    documents: dict[str, Any] = {}
    power: bytes | None = None
    problem: DeviceError | None = None
    for file in sorted(replies, key=lambda name: (name.count("."), name)):
        command = file.split(".", 1)[0]
        if command == "miner_power":
            power = replies[file]
            continue
        try:
            document = check_status(tolerant_json(replies[file], where), where)
        except DeviceError as error:
            problem = problem or error
            continue
        if command not in documents or _holds_figures(document):
            documents[command] = document
    known = {"stats", "summary", "pools", "version", "get_system_info", "miner_type", "get_miner_conf"}
    if not documents.keys() & (known | {"web_summary", "warning", "devs"}) and power is None:
        raise problem or Malformed(
            where, f"no reply of a known command; expected some of {', '.join(sorted(known))}"
        )
    if (
        problem is not None
        and not documents.keys() & {"stats", "summary", "get_system_info"}
        and power is None
    ):
        raise problem
    summary = documents.get("summary")
    return reading_of(
        Replies(
            stats=documents.get("stats"),
            summary=summary,
            pools=documents.get("pools"),
            version=documents.get("version"),
            system_info=documents.get("get_system_info"),
            miner_type=documents.get("miner_type"),
            conf=documents.get("get_miner_conf"),
            web_summary=documents.get("web_summary") or summary,
            warning=documents.get("warning"),
            miner_power=power,
        ),
        address,
    )


def _holds_figures(document: Mapping[str, Any]) -> bool:
    return any(isinstance(document.get(key), list) and document[key] for key in ("STATS", "SUMMARY", "POOLS"))

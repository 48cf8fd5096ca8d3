"""Driver for VNish: one summary a poll; settings by preset and throttle, stop and pause.

A preset is named by its watts, so the unit is set in watts and takes only those of its own list. A throttle
is a percent of the preset, at once and without a restart.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agent.clock import Clock
from agent.devices.device import (
    Applied,
    Capabilities,
    Credentials,
    Endpoint,
    Identity,
    PoolsApplied,
    ReportedControl,
)
from agent.devices.redact import redact
from agent.devices.slow_facts import SlowFacts
from agent.devices.token_session import TokenLogin, TokenSession
from agent.devices.transport import deadline
from agent.devices.vnish.parse import (
    FILES,
    FIRMWARE,
    THROTTLE_RANGE,
    Documents,
    Json,
    decode,
    is_at_rest,
    preset_w,
    presets_of,
    reading_of,
    state_of,
    throttle_of,
    with_scheme,
    within,
)
from agent.errors import DeviceError, Malformed, Refused, Timeout, Unauthorised, Unreachable, Unsupported
from agent.hardware.bounds import PermittedSetting
from agent.pools.guard import PermittedPools, PoolLogin, shown
from agent.reading import Pool, Reading
from agent.setting import Knob, Setting

__all__ = ["FAMILY", "FIRMWARE", "VNish", "capture", "decode"]

FAMILY = "vnish"
FACTORY = Credentials("admin", "admin")
_PERIODS_S = {"info": 3600.0, "perf-summary": 300.0}
_ACK_S = 10.0
_NO_PRESET = (
    "no preset is chosen, so a change could not be undone; choose one in VNish once, then power can be set"
)
_MODES = ("normal", "sleep")
_FULL = 100.0


@dataclass(frozen=True, slots=True)
class _State:
    """What the miner says is set.

    Args:
        word: its own for what it does, such as `mining` or `paused`.
        at_rest: somebody stopped or paused it.
        percent: the throttle, None before VNish 1.3.3.
        watts: of the chosen preset, None where none is chosen.
    """

    word: str
    at_rest: bool
    percent: float | None
    watts: float | None

    @property
    def throttled(self) -> bool:
        """True while it is held below its preset."""
        return self.percent is not None and self.percent != _FULL

    def shown(self, knob: Knob) -> Setting:
        """What is set, in terms of `knob`; a throttle goes before the preset it counts from."""
        if self.at_rest:
            return Setting(Knob.WORK_MODE, "sleep") if knob is Knob.WORK_MODE else Setting(Knob.STOP)
        if knob is Knob.WORK_MODE:
            return Setting(knob, "normal")
        if self.percent is not None and (knob is Knob.POWER_PERCENT or self.throttled):
            return Setting(Knob.POWER_PERCENT, self.percent)
        if self.watts is not None:
            return Setting(Knob.POWER_LIMIT_W, self.watts)
        return Setting(Knob.WORK_MODE, "normal")


class VNish:
    """One Antminer with VNish. Fulfils `Device`; raises only `DeviceError`.

    Args:
        endpoint: address, web port and password; the factory one where it names none.
        clock: for the rhythm of slow facts and `observed_at`.
    """

    family = FAMILY

    def __init__(self, endpoint: Endpoint, clock: Clock) -> None:
        self.endpoint = endpoint
        self._clock = clock
        self._session = _session(endpoint)
        self._slow = SlowFacts(_PERIODS_S)
        self._state: str | None = None

    async def identify(self) -> Identity:
        """See `Device.identify`; one request."""
        async with deadline(self.endpoint.address, self.endpoint.deadline_s):
            info = await self._object("info")
        name = str(info.get("fw_name", ""))
        if name.lower() not in ("vnish", "anthillos"):
            raise Malformed(self.endpoint.address, "info: not VNish; another machine may answer here now")
        reading = reading_of(Documents(info=info), self.endpoint.address)
        return Identity.of(FAMILY, reading, reading.model)

    async def read(self) -> Reading:
        """See `Device.read`: the summary, and one slow fact when due."""
        try:
            async with deadline(self.endpoint.address, self.endpoint.deadline_s):
                summary = await self._object("summary")
                if not isinstance(summary.get("miner"), dict):
                    raise Malformed(self.endpoint.address, "summary: the reply says nothing of the miner")
                arrived = self._clock.now()
                self._notice_change(summary)
                await self._refresh()
        except DeviceError:
            # Whoever answers next at this address may be another machine.
            self._slow.drop("info")
            raise
        documents = Documents(summary, self._slow.get("info"), self._slow.get("perf-summary"))
        return replace(reading_of(documents, self.endpoint.address), observed_at=arrived)

    async def capabilities(self) -> Capabilities:
        """See `Device.capabilities`: the watts of the unit's own presets, the throttle, sleep and waking."""
        controls = [ReportedControl(Knob.WORK_MODE, choices=_MODES), ReportedControl(Knob.STOP)]
        async with deadline(self.endpoint.address, self.endpoint.deadline_s):
            try:
                watts = await self._presets()
            except Unauthorised as error:
                return Capabilities(tuple(controls), writable=False, remedy=error.detail)
            chosen = await self._preset()
            if throttle_of(Documents(status=await self._object("status"))) is not None:
                controls.append(ReportedControl(Knob.POWER_PERCENT, *THROTTLE_RANGE))
        if chosen is None:
            return Capabilities(tuple(controls), writable=True, remedy=_NO_PRESET)
        if watts:
            controls.append(ReportedControl(Knob.POWER_LIMIT_W, watts[0], watts[-1], values=watts))
        return Capabilities(tuple(controls), writable=True)

    async def apply(self, setting: PermittedSetting) -> Applied:
        """See `Device.apply`. A unit that was stopped is started after its preset stands, never before."""
        target = setting.setting
        async with deadline(self.endpoint.address, self.endpoint.write_deadline_s):
            await self._check_offered(target)
            state = await self._read_state()
            before = state.shown(target.knob)
            if target.knob is Knob.POWER_LIMIT_W and not state.at_rest and state.watts is None:
                raise Refused(self.endpoint.address, _NO_PRESET)
            if target.knob is Knob.POWER_PERCENT and state.percent is None:
                raise Unsupported(self.endpoint.address, "a throttle needs VNish 1.3.3 or newer")
            if before == target:
                return Applied(None, already_set=True, before=before, readback=before, sent=None)
            try:
                acknowledged, sent = await self._carry_out(target, state)
            finally:
                self._slow.make_due("perf-summary")
            readback: Setting | None = None
            with contextlib.suppress(DeviceError):
                readback = (await self._read_state()).shown(target.knob)
        return Applied(
            acknowledged=acknowledged, already_set=False, before=before, readback=readback, sent=sent
        )

    async def set_pools(self, pools: PermittedPools) -> PoolsApplied:
        """See `Device.set_pools`. Only the list of pools is sent; the firmware keeps every other setting."""
        async with deadline(self.endpoint.address, self.endpoint.write_deadline_s):
            present = await self._pool_rows()
            before = _pools_of(present)
            if _same(present, pools.pools):
                return PoolsApplied(None, already_set=True, before=before, readback=before)
            rows = [{"url": p.url, "user": p.user, "pass": p.password} for p in pools.pools]
            acknowledged, _ = await self._save({"pools": rows})
            after: tuple[Pool, ...] | None = None
            with contextlib.suppress(DeviceError):
                after = _pools_of(await self._pool_rows())
        return PoolsApplied(acknowledged=acknowledged, already_set=False, before=before, readback=after)

    # -- writing ---------------------------------------------------------------------------------

    async def _check_offered(self, target: Setting) -> None:
        """Raises:
        Unsupported: VNish cannot be set so, or no preset has just these watts.
        """
        if target.stops_hashing or target == Setting(Knob.WORK_MODE, "normal"):
            return
        address = self.endpoint.address
        if target.knob is Knob.POWER_PERCENT and isinstance(target.value, int | float):
            low, high = THROTTLE_RANGE
            if not low <= target.value <= high or target.value != round(target.value):
                words = f"the throttle takes whole percents from {low:g} to {high:g}, not {target.value:g}"
                raise Unsupported(address, words)
            return
        if target.knob is not Knob.POWER_LIMIT_W:
            raise Unsupported(address, f"VNish cannot be set to {target}")
        watts = await self._presets()
        if target.value not in watts:
            known = ", ".join(f"{found:g}" for found in watts) or "none"
            raise Unsupported(address, f"no preset of this unit has {target.value} W (it has {known})")

    async def _carry_out(self, target: Setting, state: _State) -> tuple[bool | None, str]:
        """Send what leads from `state` to the target, each once, until one is not known to be done.

        A unit at rest is started last, so that it never runs at what was set before.
        """
        if target == Setting(Knob.WORK_MODE, "sleep"):
            return await self._act("pause"), "mining/pause"
        if target.stops_hashing:
            return await self._act("stop"), "mining/stop"
        wake = ["resume" if state.word == "paused" else "start"] if state.at_rest else []
        if target.knob is Knob.WORK_MODE:
            return await self._act(wake[0]), f"mining/{wake[0]}"
        if target.knob is Knob.POWER_PERCENT:
            acknowledged, restart = await self._throttle(target)
            sent = f"throttle {target.value:g} %"
        else:
            name = f"{target.value:g}"
            acknowledged, restart = await self._save({"overclock": {"preset": name}})
            sent = f"preset {name}"
            if acknowledged and state.throttled:
                # It counts from the preset and would stay in force below the new one.
                try:
                    acknowledged, _ = await self._throttle(Setting(Knob.POWER_PERCENT, _FULL))
                except DeviceError as error:
                    return None, f"{sent}; then throttle 100 % failed ({error.kind})"
                sent += "; throttle 100 %"
        if acknowledged is None:
            # A unit that was started now could run at the old preset.
            return None, sent
        for step in wake or (["restart"] if restart else []):
            try:
                acknowledged = await self._act(step)
            except DeviceError as error:
                # Half of it stands: no failure but unknown, and telemetry must judge it.
                return None, f"{sent}; then mining/{step} failed ({error.kind})"
            sent += f"; mining/{step}"
        return acknowledged, sent

    async def _throttle(self, target: Setting) -> tuple[bool | None, bool]:
        """Send one percent, once. Returns what was answered, and if a restart is due."""
        assert isinstance(target.value, int | float)
        body = {"percent": round(target.value)}
        acknowledged = await self._session.write("POST", "mining/throttle", body, _ACK_S)
        return acknowledged, acknowledged is True and await self._restart_is_due()

    async def _act(self, step: str) -> bool | None:
        return await self._session.write("POST", f"mining/{step}", None, _ACK_S)

    async def _save(self, part: dict[str, Any]) -> tuple[bool | None, bool]:
        """Send one part of the miner's settings, once. Returns what was answered, and if a restart is due."""
        body = {"miner": part}
        acknowledged = await self._session.write("POST", "settings", body, self.endpoint.write_deadline_s)
        return acknowledged, acknowledged is True and await self._restart_is_due()

    async def _restart_is_due(self) -> bool:
        # The answer to the write repeats this; the status also knows it from before.
        with contextlib.suppress(DeviceError):
            return (await self._object("status")).get("restart_required") is True
        return False

    # -- reading ---------------------------------------------------------------------------------

    async def _object(self, name: str, deadline_s: float | None = None) -> dict[str, Any]:
        found = await self._session.object(FILES[name], deadline_s or self.endpoint.deadline_s)
        if "err" in found:
            raise Malformed(self.endpoint.address, f"{name}: the miner says {found['err']!s:.160}")
        return found

    async def _refresh(self) -> None:
        """One slow fact that is due; all of them at the first contact. None of them may stop a reading."""
        due = self._slow.due(self._clock.now())
        for name in due if self._slow.get("info") is None else due[:1]:
            now = self._clock.now()
            try:
                self._slow.put(name, await self._object(name, self.endpoint.deadline_s / 3), now)
            except DeviceError as error:
                self._slow.failed(name, now, isinstance(error, Unsupported))
                if isinstance(error, Timeout | Unreachable):
                    return

    def _notice_change(self, summary: Json) -> None:
        """The preset may be another one after every change of state."""
        state = state_of(Documents(summary))
        if state != self._state:
            self._slow.make_due("perf-summary")
        self._state = state

    async def _presets(self) -> tuple[float, ...]:
        return presets_of(await self._session.document(FILES["presets"], self.endpoint.deadline_s))

    async def _preset(self) -> float | None:
        return preset_w(within(await self._object("settings"), "miner", "overclock", "preset"))

    async def _read_state(self) -> _State:
        """What is set now.

        Raises:
            Malformed: the miner does not say whether it is at rest. DeviceError: it could not be read.
        """
        documents = Documents(status=await self._object("status"))
        word = state_of(documents)
        at_rest = is_at_rest(word)
        if word is None or at_rest is None:
            raise Malformed(self.endpoint.address, "it does not say what is set; nothing is sent")
        return _State(word, at_rest, throttle_of(documents), await self._preset())

    async def _pool_rows(self) -> list[Json]:
        """The pools as the settings hold them.

        Raises:
            Malformed: no whole list came; nothing may be written.
        """
        found = within(await self._object("settings"), "miner", "pools")
        if not isinstance(found, list) or not all(
            isinstance(row, Mapping) and isinstance(row.get("url"), str) for row in found
        ):
            raise Malformed(self.endpoint.address, "settings: no whole list of pools; nothing is written")
        return found


async def capture(endpoint: Endpoint, clock: Clock) -> dict[str, bytes]:
    """Raw replies to every read request, redacted, by file name (`summary.json`).

    Raises:
        DeviceError: not one request was answered.
    """
    session = _session(endpoint)
    replies: dict[str, bytes] = {}
    for name, path in FILES.items():
        try:
            replies[f"{name}.json"] = redact((await session.raw(path, endpoint.deadline_s)).body)
        except DeviceError:
            if not replies:
                raise
    return replies


def _session(endpoint: Endpoint) -> TokenSession:
    login = endpoint.credentials or FACTORY
    return TokenSession(
        endpoint,
        TokenLogin(
            root="/api/v1",
            path="/unlock",
            body={"pw": login.password},
            who="password",
            remedy="VNish 1.2 or newer is needed; upgrade the firmware",
            scheme="Bearer ",
            denied=(401, 403),
            reads_open=True,
        ),
    )


def _pools_of(rows: Sequence[Json]) -> tuple[Pool, ...]:
    """The pools that are configured; empty places are not pools."""
    filled = [row for row in rows if row["url"].strip()]
    return tuple(
        Pool(shown(with_scheme(row["url"])), user=str(row.get("user") or "") or None, priority=place)
        for place, row in enumerate(filled)
    )


def _same(rows: Sequence[Json], wanted: Sequence[PoolLogin]) -> bool:
    """True if the pools stand in this order; a password that is not told is taken to be the right one."""
    filled = [row for row in rows if row["url"].strip()]
    return len(filled) == len(wanted) and all(
        with_scheme(row["url"]) == with_scheme(pool.url)
        and (row.get("user") or "") == pool.user
        and (not str(row.get("pass") or "").strip("*") or row.get("pass") == pool.password)
        for row, pool in zip(filled, wanted, strict=True)
    )

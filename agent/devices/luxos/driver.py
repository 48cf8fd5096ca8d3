"""Driver for LuxOS: figures, power and configuration in one joined read; power target, profile, curtailment.

A profile is a frequency and a voltage with the watts that go with them, so a model without a power target is
set in watts too, and takes only those of its own table.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import replace

from agent.clock import Clock
from agent.devices.antminer.layouts import uptime
from agent.devices.device import (
    Applied,
    Capabilities,
    Endpoint,
    Identity,
    PoolsApplied,
    ReportedControl,
)
from agent.devices.luxos.parse import (
    COMMANDS,
    FIRMWARE,
    Json,
    Profile,
    decode,
    is_asleep,
    limit_w,
    profiles_of,
    reading_of,
    row,
    takes_target,
    target_range,
)
from agent.devices.luxos.session import Session, ask, joined, raw, session
from agent.devices.redact import redact
from agent.devices.slow_facts import SlowFacts
from agent.devices.transport import deadline
from agent.errors import DeviceError, Malformed, Refused, Timeout, Unreachable, Unsupported
from agent.hardware.bounds import PermittedSetting
from agent.pools.guard import PermittedPools, PoolLogin
from agent.reading import Pool, Reading
from agent.setting import Knob, Setting

__all__ = ["FAMILY", "FIRMWARE", "LuxOS", "capture", "decode"]

log = logging.getLogger(__name__)
FAMILY = "luxos"
_FAST = ("stats", "power", "config")
# The configuration comes with every reading where the firmware joins commands.
_PERIODS_S = {"version": 3600.0, "profiles": 1800.0, "pools": 120.0, "config": 120.0}
_ACK_S = 10.0
_MODES = ("normal", "sleep")
# How often waking the automatic tuner is tried before it is left to a person.
_TUNER_TRIES = 3
_TUNER_S = 5.0


class LuxOS:
    """One Antminer with LuxOS. Fulfils `Device`; raises only `DeviceError`."""

    family = FAMILY

    def __init__(self, endpoint: Endpoint, clock: Clock) -> None:
        self.endpoint = endpoint
        self._clock = clock
        self._slow = SlowFacts(_PERIODS_S)
        self._joins: bool | None = None
        self._mac: str | None = None
        self._elapsed_s: float | None = None
        # True once the tuner was paused and could not be woken again.
        self._owes_tuner = False

    async def identify(self) -> Identity:
        """See `Device.identify`; two requests."""
        deadline_s = self.endpoint.deadline_s
        async with deadline(self.endpoint.address, deadline_s):
            documents = {
                command: await ask(self.endpoint, command, deadline_s) for command in ("version", "config")
            }
        reading = reading_of(documents, self.endpoint.address)
        if "LUXminer" not in row(documents["version"], "VERSION"):
            raise Malformed(self.endpoint.address, "version: not LuxOS; another machine may answer here now")
        return Identity.of(FAMILY, reading, reading.model)

    async def read(self) -> Reading:
        """See `Device.read`: one joined request, and one slow fact when due.

        Firmware that joins nothing is asked for figures and watts each time; a slow fact is a third request.
        """
        async with deadline(self.endpoint.address, self.endpoint.deadline_s):
            documents = await self._figures()
            arrived = self._clock.now()
            self._notice_swap(documents)
            await self._refresh()
        kept = {name: found for name in _PERIODS_S if (found := self._slow.get(name)) is not None}
        return replace(reading_of(kept | documents, self.endpoint.address), observed_at=arrived)

    async def capabilities(self) -> Capabilities:
        """See `Device.capabilities`: a power target in its range, else the watts of the profiles; sleep."""
        async with deadline(self.endpoint.address, self.endpoint.deadline_s):
            profiles = await self._profiles()
            offered = await self._target_range()
        controls = [ReportedControl(Knob.WORK_MODE, choices=_MODES), ReportedControl(Knob.STOP)]
        if offered is not None:
            controls.append(ReportedControl(Knob.POWER_LIMIT_W, *offered))
        elif profiles:
            watts = tuple(profile.watts for profile in profiles)
            controls.append(ReportedControl(Knob.POWER_LIMIT_W, watts[0], watts[-1], values=watts))
        return Capabilities(tuple(controls), writable=None)

    async def apply(self, setting: PermittedSetting) -> Applied:
        """See `Device.apply`. The automatic tuner is paused for a change of profile, or it would undo it."""
        target, address = setting.setting, self.endpoint.address
        async with deadline(self.endpoint.address, self.endpoint.write_deadline_s):
            profiles = await self._profiles()
            before = await self._shown(target.knob, profiles)
            if before is None:
                raise Malformed(address, "the configuration does not say what is set; nothing is sent")
            if before == target:
                return Applied(None, already_set=True, before=before, readback=before, sent=None)
            offered = await self._target_range() if target.knob is Knob.POWER_LIMIT_W else None
            power = _power_command(target, profiles, offered, address)
            acknowledged, sent = await self._carry_out(target, power, asleep=before.stops_hashing)
            self._slow.make_due("config")
            readback: Setting | None = None
            with contextlib.suppress(DeviceError):
                readback = await self._shown(target.knob, profiles)
        return Applied(
            acknowledged=acknowledged, already_set=False, before=before, readback=readback, sent=sent
        )

    async def set_pools(self, pools: PermittedPools) -> PoolsApplied:
        """See `Device.set_pools`. New pools are added before an old one goes, so that one always works."""
        async with deadline(self.endpoint.address, self.endpoint.write_deadline_s):
            before = await self._pools()
            if _same(before, pools.pools):
                return PoolsApplied(None, already_set=True, before=before, readback=before)
            answers = await self._replace_pools(before, pools.pools)
            after: tuple[Pool, ...] | None = None
            with contextlib.suppress(DeviceError):
                after = await self._pools()
        self._slow.make_due("pools")
        return PoolsApplied(
            acknowledged=True if all(answers) else None, already_set=False, before=before, readback=after
        )

    # -- writing ---------------------------------------------------------------------------------

    async def _carry_out(
        self, target: Setting, power: tuple[str, str] | None, *, asleep: bool
    ) -> tuple[bool | None, str]:
        sent: list[str] = []
        answers: list[bool | None] = []

        async def write(own: Session, command: str, *arguments: str) -> None:
            sent.append(f"{command} {','.join(arguments)}")
            answers.append(await own.write(command, *arguments, deadline_s=_ACK_S))

        by_profile = power is not None and power[0] == "profileset"
        paused = by_profile and await self._tuner_is_on()
        async with session(self.endpoint, self.endpoint.deadline_s) as own:
            try:
                if target.stops_hashing:
                    await write(own, "curtail", "sleep")
                elif asleep:
                    await write(own, "curtail", "wakeup")
                if paused:
                    await write(own, "atmset", "enabled=false")
                if power is not None:
                    await write(own, *power)
            finally:
                if paused or self._owes_tuner:
                    sent.append("atmset enabled=true")
                    answers.append(await self._wake_tuner(own))
        return (True if all(answers) else None), "; ".join(sent)

    async def _wake_tuner(self, own: Session) -> bool | None:
        """True once it is on again. It guards the boards' temperature, and waking it twice does no harm."""
        for _ in range(_TUNER_TRIES):
            try:
                done = await own.write("atmset", "enabled=true", deadline_s=_TUNER_S)
                if done or await self._tuner_is_on():
                    self._owes_tuner = False
                    return True
            except DeviceError as error:
                log.debug("%s: the tuner cannot be woken: %s", self.endpoint.address, error)
        self._owes_tuner = True
        log.error("%s: ATM is left off: it could not be enabled again; enable it", self.endpoint.address)
        return None

    async def _tuner_is_on(self) -> bool:
        try:
            found = await ask(self.endpoint, "atm", self.endpoint.deadline_s)
        except Unsupported:
            return False
        return row(found, "ATM").get("Enabled") is True

    async def _replace_pools(self, before: Sequence[Pool], wanted: Sequence[PoolLogin]) -> list[bool | None]:
        address = self.endpoint.address
        if any("," in part for pool in wanted for part in (pool.url, pool.user, pool.password)):
            raise Refused(address, "LuxOS takes no comma in a pool's URL, user or password; nothing was sent")
        # Pools are numbered from 0 and the old ones stand first. The active one cannot be removed, so the
        # first new one is made active; then the old ones go from the end, so that numbers stay right.
        steps: list[tuple[str, ...]] = [("addpool", p.url, p.user, p.password) for p in wanted]
        steps.append(("switchpool", str(len(before))))
        steps += [("removepool", str(place)) for place in reversed(range(len(before)))]
        answers: list[bool | None] = []
        for step in steps:
            try:
                await ask(self.endpoint, step[0], _ACK_S, ",".join(step[1:]))
            except DeviceError as error:
                if not answers and not isinstance(error, Timeout | Unreachable | Malformed):
                    raise
                # Half-way: every pool that stands there now is an old one or a permitted new one.
                return [*answers, None]
            answers.append(True)
        return answers

    # -- reading ---------------------------------------------------------------------------------

    async def _figures(self) -> dict[str, Json]:
        deadline_s = self.endpoint.deadline_s
        if self._joins is not False:
            try:
                found = await joined(self.endpoint, _FAST, deadline_s)
            except (Unsupported, Refused):
                found = {}
            if "stats" in found:
                self._joins = True
                return found
            if self._joins:
                raise Malformed(self.endpoint.address, "stats: missing from the joined reply")
            self._joins = False
        documents = {"stats": await ask(self.endpoint, "stats", deadline_s)}
        if not isinstance(documents["stats"].get("STATS"), list):
            raise Malformed(self.endpoint.address, "stats: the reply has no list of figures")
        # Watts are of the same moment or none; the configuration, which holds the MAC, is a slow fact then.
        with contextlib.suppress(Unsupported, Refused):
            documents["power"] = await ask(self.endpoint, "power", deadline_s)
        return documents

    async def _refresh(self) -> None:
        """One slow fact that is due; all of them at the first contact. None of them may stop a reading."""
        unasked = ("config",) if self._joins else ()
        due = [name for name in self._slow.due(self._clock.now()) if name not in unasked]
        for command in due if self._slow.get("version") is None else due[:1]:
            now = self._clock.now()
            try:
                found = await ask(self.endpoint, command, self.endpoint.deadline_s / 3)
                self._notice_swap({command: found})
                self._slow.put(command, found, now)
            except DeviceError as error:
                # Who it is stays true while it cannot be asked.
                keep = command == "config"
                self._slow.failed(command, now, isinstance(error, Unsupported) and not keep, keep=keep)
                if isinstance(error, Timeout | Unreachable):
                    return

    def _notice_swap(self, documents: dict[str, Json]) -> None:
        """Forget every slow fact when another machine answers at this address."""
        mac = reading_of({"config": documents["config"]}, None).mac if "config" in documents else None
        if mac is not None and self._mac is not None and mac != self._mac:
            self._slow.clear()
        self._mac = mac or self._mac
        elapsed_s = uptime(documents["stats"]) if "stats" in documents else None
        if elapsed_s is not None and self._elapsed_s is not None and elapsed_s < self._elapsed_s:
            # A process that started anew may be another machine's.
            self._slow.make_due("config")
        self._elapsed_s = elapsed_s if elapsed_s is not None else self._elapsed_s

    async def _profiles(self) -> tuple[Profile, ...]:
        found = await ask(self.endpoint, "profiles", self.endpoint.deadline_s)
        self._slow.put("profiles", found, self._clock.now())
        return profiles_of(found)

    async def _target_range(self) -> tuple[float, float] | None:
        """The range of the power target; None on models that hold none."""
        config = await ask(self.endpoint, "config", self.endpoint.deadline_s)
        if not takes_target(config):
            return None
        with contextlib.suppress(Unsupported, Refused):
            return target_range(await ask(self.endpoint, "limits", self.endpoint.deadline_s))
        return None

    async def _shown(self, knob: Knob, profiles: tuple[Profile, ...]) -> Setting | None:
        """What the configuration says is set, in terms of `knob`."""
        config = await ask(self.endpoint, "config", self.endpoint.deadline_s)
        asleep = is_asleep(config)
        if asleep is None:
            return None
        if asleep:
            return Setting(Knob.WORK_MODE, "sleep") if knob is Knob.WORK_MODE else Setting(Knob.STOP)
        if knob is Knob.WORK_MODE:
            return Setting(knob, "normal")
        watts = limit_w(config, profiles)
        return Setting(Knob.POWER_LIMIT_W, watts) if watts is not None else Setting(Knob.WORK_MODE, "normal")

    async def _pools(self) -> tuple[Pool, ...]:
        document = await ask(self.endpoint, "pools", self.endpoint.deadline_s)
        found = reading_of({"pools": document}, None).pools
        if not found:
            raise Malformed(self.endpoint.address, "pools: no list of pools came; nothing is written")
        return found


async def capture(endpoint: Endpoint, clock: Clock) -> dict[str, bytes]:
    """Raw replies to every read command, redacted, by file name (`stats.json`).

    Raises:
        DeviceError: not one command was answered.
    """
    replies: dict[str, bytes] = {}
    for command in COMMANDS:
        try:
            replies[f"{command}.json"] = redact(await raw(endpoint, command, endpoint.deadline_s))
        except DeviceError:
            if not replies:
                raise
    return replies


def _power_command(
    target: Setting,
    profiles: Sequence[Profile],
    offered: tuple[float, float] | None,
    address: str,
) -> tuple[str, str] | None:
    """The command and argument that bring the unit to the watts of a setting; None for sleep and waking.

    Args:
        offered: the range of the power target, None on models that hold none.

    Raises:
        Unsupported: LuxOS cannot be set so, the watts are outside its range, or no profile has just these.
    """
    if target.stops_hashing or target == Setting(Knob.WORK_MODE, "normal"):
        return None
    if target.knob is not Knob.POWER_LIMIT_W or not isinstance(target.value, int | float):
        raise Unsupported(address, f"LuxOS cannot be set to {target}")
    if offered is not None:
        low, high = offered
        if not low <= target.value <= high:
            raise Unsupported(address, f"the power target takes {low:g} to {high:g} W, not {target.value:g}")
        if target.value != round(target.value):
            raise Unsupported(address, f"the power target takes whole watts, not {target.value}")
        return "powertargetset", f"power={round(target.value)}"
    found = next((profile for profile in profiles if profile.watts == target.value), None)
    if found is None:
        known = ", ".join(f"{profile.watts:g}" for profile in profiles) or "none"
        raise Unsupported(address, f"no profile of this unit has {target.value} W (it has {known})")
    return "profileset", found.name


def _same(present: Sequence[Pool], wanted: Sequence[PoolLogin]) -> bool:
    """True if URLs and users stand in this order. Passwords are not told, so they cannot be compared."""
    return [(p.url, p.user or "") for p in present] == [(p.url, p.user) for p in wanted]

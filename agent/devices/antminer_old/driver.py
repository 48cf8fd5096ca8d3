"""Driver for Antminers before the S19 (S9, T9, S17, T17 ...) with stock firmware.

Figures are read as from later models. Frequency and voltage stand in configuration files alone and are set by
ssh; pools are set by the form of the web page.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from agent.clock import Clock
from agent.devices.antminer.config import strict_json, with_pools
from agent.devices.antminer.generation import has_coarse_clock, is_later
from agent.devices.antminer.parse import Replies
from agent.devices.antminer.pools import pools_of, replacement
from agent.devices.antminer.stock import CONFIG, POOLS, AntminerStock
from agent.devices.antminer_old import form
from agent.devices.antminer_old.files import Change, Files, Kept, LostMidway, plan, shown
from agent.devices.antminer_old.percent import HIGHEST, KEYS, LOWEST
from agent.devices.antminer_old.saved import capture, decode, frequency_of, old_reading
from agent.devices.device import Applied, Capabilities, Endpoint, PoolsApplied, ReportedControl
from agent.devices.transport import deadline
from agent.errors import (
    DeviceError,
    Malformed,
    Refused,
    Timeout,
    Unauthorised,
    Unreachable,
    Unsupported,
    WrongMiner,
)
from agent.hardware.bounds import PermittedSetting
from agent.pools.guard import PermittedPools
from agent.reading import Reading
from agent.setting import Knob, Setting

if TYPE_CHECKING:
    from agent.devices.antminer_old.ssh import Door, Session

__all__ = ["AntminerOld", "capture", "decode"]

log = logging.getLogger(__name__)
FAMILY = "antminer-old"
_EXTRA = "writing needs the ssh client: pip install 'hashmargin[ssh]'"


class AntminerOld(AntminerStock):
    """One Antminer of the generation before the S19.

    Args:
        endpoint: address, ports and login, the same for web and ssh; where it names none, the factory's:
            root/root on the web, root/admin by ssh.
        clock: for the rhythm of slow facts and `observed_at`.
    """

    family = FAMILY
    later = False

    def __init__(self, endpoint: Endpoint, clock: Clock) -> None:
        super().__init__(endpoint, clock)
        self._known_door: Door | None = None
        # The digits that count as 100 percent, as the files on the miner last said.
        self._reference: str | None = None
        # What was asked for last: several percentages round to the same digits.
        self._asked: Setting | None = None
        self._asked_figures: tuple[str, ...] = ()
        self._owes_restart = False

    async def capabilities(self) -> Capabilities:
        """See `Device.capabilities`: what the configuration files hold, if ssh lets us at them."""
        try:
            async with (
                deadline(self.endpoint.address, self.endpoint.deadline_s),
                self._door().open(self.endpoint) as session,
            ):
                files = self._files(session)
                kept = await files.read()
                await files.script()
        except (Timeout, WrongMiner):
            raise
        except Unreachable as error:
            if not isinstance(error.__cause__, ConnectionRefusedError):
                raise
            remedy = (
                f"{error.detail}: this firmware, or its owner, has closed ssh; frequency is set by it alone"
            )
            return Capabilities((), writable=False, remedy=remedy)
        except Unauthorised as error:
            remedy = f"{error.detail}; web and ssh are given the same login: set both to it"
            return Capabilities((), writable=False, remedy=remedy)
        except DeviceError as error:
            return Capabilities((), writable=False, remedy=error.detail)
        self._learn(kept)
        problems: list[DeviceError] = []
        controls = []
        for knob in KEYS:
            try:
                plan(kept, knob, HIGHEST, coarse=True, address=self.endpoint.address)
            except DeviceError as error:
                problems.append(error)
            else:
                controls.append(ReportedControl(knob, LOWEST, HIGHEST))
        if not controls:
            return Capabilities((), writable=False, remedy=problems[0].detail)
        return Capabilities(tuple(controls), writable=True)

    async def apply(self, setting: PermittedSetting) -> Applied:
        """See `Device.apply`: the files first, then a restart of the process that reads them.

        A connection lost after a file was replaced is "unknown" and resolved by reading.
        """
        target = setting.setting
        percent = self._percent(target)
        coarse = has_coarse_clock(await self._told_model())
        acknowledged: bool | None
        async with self._door().open(self.endpoint) as session:
            files = self._files(session)
            kept = await files.read()
            script = await files.script()
            changes = plan(kept, target.knob, percent, coarse, self.endpoint.address)
            self._learn(kept)
            different = tuple(change for change in changes if change.before != change.after)
            before = self._shown(kept, target, coarse)
            if not different:
                self._remember(target, changes)
                if not self._owes_restart:
                    told = Setting(target.knob, percent)
                    return Applied(None, already_set=True, before=told, readback=told, sent=None)
            try:
                await files.replace(kept, different)
            except LostMidway as error:
                acknowledged, self._owes_restart = None, True
                log.warning("%s: %s", self.endpoint.address, error.detail)
            else:
                acknowledged = await self._restart(files, script)
            self._remember(target, changes)
        after = await self._read_anew()
        self._slow.drop(CONFIG)
        return Applied(
            acknowledged=acknowledged,
            already_set=False,
            before=before,
            readback=self._shown(after, target, coarse) if after is not None else None,
            sent=_words(different, percent, script),
        )

    async def set_pools(self, pools: PermittedPools) -> PoolsApplied:
        """See `Device.set_pools`. The form restarts the mining process; its answer takes half a minute."""
        async with self._web:
            self._refuse_later(await self._model())
            conf = await self._read_pools()
            wanted = replacement(conf, pools.pools)
            before = pools_of(conf)
            if wanted is None:
                return PoolsApplied(None, already_set=True, before=before, readback=before)
            body = form.fields(conf, wanted, self.endpoint.address)
            acknowledged = await self._submit(body)
            try:
                after = await self._read_pools()
            except DeviceError:
                after = None
        self._slow.drop(CONFIG)
        self._slow.make_due(POOLS)
        if after is not None and not form.unchanged(conf, after):
            # Said aloud and left to a person: another blind write could make it worse.
            log.error("%s: the form changed more of the configuration than the pools", self.endpoint.address)
        return PoolsApplied(
            acknowledged=acknowledged,
            already_set=False,
            before=before,
            readback=pools_of(after) if after is not None else None,
        )

    # -- the configuration files -----------------------------------------------------------------

    def _door(self) -> Door:
        if self._known_door is None:
            try:
                from agent.devices.antminer_old.ssh import Door
            except ImportError as error:
                raise Unsupported(self.endpoint.address, _EXTRA) from error
            self._known_door = Door()
        return self._known_door

    def _files(self, session: Session) -> Files:
        return Files(session, self.endpoint.address, self.endpoint.deadline_s)

    def _percent(self, target: Setting) -> float:
        """The number of a setting that this generation has.

        Raises:
            Unsupported: it has not, or the number lies outside what is ever sent.
        """
        address = self.endpoint.address
        if target.stops_hashing:
            raise Unsupported(address, "this generation cannot be put to sleep: switch it off at its outlet")
        if target.knob not in KEYS or not isinstance(target.value, int | float):
            raise Unsupported(address, f"this generation has no control {target.knob}")
        if not LOWEST <= target.value <= HIGHEST:
            raise Unsupported(
                address, f"{target.knob} takes {LOWEST:g} to {HIGHEST:g} percent, got {target.value:g}"
            )
        return float(target.value)

    async def _told_model(self) -> str | None:
        """The model if the web page tells it; ssh does not depend on the web's login."""
        try:
            async with self._web:
                model = await self._model()
        except DeviceError:
            return None
        self._refuse_later(model)
        return model

    def _refuse_later(self, model: str | None) -> None:
        if model is not None and is_later(model):
            raise Unsupported(
                self.endpoint.address, f"{model} takes no forms: set its family to antminer-stock"
            )

    async def _restart(self, files: Files, script: str) -> bool | None:
        """True if the process was restarted; None where that is not known, and is owed to the next write."""
        self._owes_restart = True
        try:
            await files.restart(script, self.endpoint.write_deadline_s)
        except (Unreachable, Timeout, Refused) as error:
            log.warning("%s: the files are written; %s", self.endpoint.address, error.detail)
            return None
        self._owes_restart = False
        return True

    async def _read_anew(self) -> tuple[Kept, ...] | None:
        """The files over a new connection: the one that wrote them could show what never came to stay."""
        try:
            async with self._door().open(self.endpoint) as session:
                return await self._files(session).read()
        except DeviceError:
            return None

    def _learn(self, kept: tuple[Kept, ...]) -> None:
        found = (frequency_of(each.reference.values) for each in kept)
        self._reference = next((figure for figure in found if figure is not None), None)

    def _remember(self, target: Setting, changes: tuple[Change, ...]) -> None:
        self._asked, self._asked_figures = target, tuple(change.after for change in changes)

    def _shown(self, kept: tuple[Kept, ...], target: Setting, coarse: bool) -> Setting | None:
        """What the files say of the target's knob, in the words of the last that was asked for."""
        asked = self._asked
        if asked is not None and asked.knob is target.knob:
            figures = tuple(
                str(v) for each in kept if (v := each.now.values.get(KEYS[asked.knob])) is not None
            )
            if figures == self._asked_figures:
                return asked
        percent = shown(kept, target.knob, coarse, self.endpoint.address)
        return Setting(target.knob, percent) if percent is not None else None

    # -- reading and the web ---------------------------------------------------------------------

    def _reading(self, replies: Replies) -> Reading:
        asked, percent = self._asked, None
        if (
            asked is not None
            and asked.knob is Knob.FREQUENCY_PERCENT
            and isinstance(asked.value, int | float)
            and frequency_of(replies.conf or {}) in self._asked_figures
        ):
            percent = float(asked.value)
        return old_reading(replies, self.endpoint.address, self._reference, replies.conf, percent)

    async def _read_pools(self) -> dict[str, object]:
        address = self.endpoint.address
        raw = await self._web.page("get_miner_conf.cgi", self.endpoint.deadline_s)
        return with_pools(strict_json(raw, address), address)

    async def _submit(self, body: bytes) -> bool | None:
        try:
            answer = await self._web.submit("set_miner_conf.cgi", body, self.endpoint.write_deadline_s)
        except (Timeout, Unreachable, Malformed, Refused):
            # No answer, or one of the web server instead of the script's: what was done shows on reading.
            return None
        # Another form in progress is told by silence.
        return True if answer.strip(b"\0 \t\r\n").lower() == b"ok" else None


def _words(changes: tuple[Change, ...], percent: float, script: str) -> str:
    parts = [
        f"{change.key} {change.before} -> {change.after} in {change.kept.now.path} "
        f"({percent:g} % of {change.reference})"
        for change in changes
    ]
    return "ssh: " + "; ".join([*parts, f"restart of {script}"])

"""The configuration files on an old Antminer: read whole, backed up on the device, replaced or left alone.

Commands are constants. A file is only ever replaced by `mv` of one that was written beside it and read back,
so that a lost connection leaves the old file or the new one, never a part of either.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.devices.antminer_old.conf_file import ConfFile, parse
from agent.devices.antminer_old.percent import KEYS, figure_at, percent_of
from agent.errors import DeviceError, Malformed, Refused, Timeout, Unreachable, Unsupported
from agent.setting import Knob

if TYPE_CHECKING:
    # It needs the extra `ssh`; this module is wanted without it too.
    from agent.devices.antminer_old.ssh import Answer, Session

log = logging.getLogger(__name__)
# One of them or both exist; which one holds frequency and voltage differs between models.
NAMES = ("bmminer", "cgminer")
PATHS = {name: f"/config/{name}.conf" for name in NAMES}
BACKUPS = {name: f"{path}.hashmargin" for name, path in PATHS.items()}
_RESTARTS = {name: f"/etc/init.d/{name}.sh restart >/dev/null 2>&1" for name in NAMES}


class LostMidway(Unreachable):
    """The connection went after the first file was moved: what was done shows on reading."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One file as it is, and its backup; None where none was made yet."""

    name: str
    now: ConfFile
    backup: ConfFile | None

    @property
    def reference(self) -> ConfFile:
        """What percentages count from."""
        return self.backup or self.now


@dataclass(frozen=True, slots=True)
class Change:
    """New digits for one key of one file."""

    kept: Kept
    key: str
    before: str
    after: str
    reference: str

    @property
    def text(self) -> str:
        """The whole new file."""
        return self.kept.now.with_figure(self.key, self.after)


class Files:
    """The configuration files of one miner, over one ssh session.

    Args:
        step_s: seconds for one command.
    """

    def __init__(self, session: Session, address: str, step_s: float) -> None:
        self._session = session
        self._address = address
        self._step_s = step_s

    async def read(self) -> tuple[Kept, ...]:
        """Every file that exists, with its backup.

        Raises:
            Unsupported: there is none. Malformed: one, or a backup, is not whole.
            DeviceError: one cannot be read.
        """
        found = []
        for name in NAMES:
            now = await self._show(PATHS[name])
            if now is not None:
                found.append(Kept(name, now, await self._show(BACKUPS[name])))
        if not found:
            raise Unsupported(self._address, f"ssh: neither {' nor '.join(PATHS.values())} is there")
        return tuple(found)

    async def raw(self) -> dict[str, bytes]:
        """Every file and backup as it is, by path; for captures."""
        found = {}
        for path in (*PATHS.values(), *BACKUPS.values()):
            raw = await self._cat(path)
            if raw is not None:
                found[path] = raw
        return found

    async def script(self) -> str:
        """Which of the names has a start script.

        Raises:
            Unsupported: none has, so what is written would never be read.
        """
        for name in NAMES:
            if (await self._run(f"test -x /etc/init.d/{name}.sh")).status == 0:
                return name
        raise Unsupported(
            self._address, "ssh: there is no /etc/init.d/bmminer.sh nor cgminer.sh to restart with"
        )

    async def restart(self, name: str, deadline_s: float) -> None:
        """Restart the mining process, which reads its configuration at the start.

        Raises:
            DeviceError: it said no, or the connection was lost and it is not known.
        """
        answer = await self._session.run(_RESTARTS[name], deadline_s)
        if answer.status != 0:
            raise Refused(self._address, f"/etc/init.d/{name}.sh restart ended with status {answer.status}")

    async def replace(self, kept: Sequence[Kept], changes: Sequence[Change]) -> None:
        """Make the backups that are missing, then put every change in place, or none.

        Raises:
            LostMidway: the connection was lost when a file may have been replaced.
            DeviceError: nothing is changed; or the message says what could not be put back.
        """
        for each in kept:
            if each.backup is None:
                await self._back_up(each)
        for change in changes:
            await self._stage(change.kept.name, change.text)
        for change in changes:
            # The owner may have saved a form since it was read; the moment left for that is short.
            await self._same(PATHS[change.kept.name], change.kept.now.text, "was changed meanwhile")
        moved: list[Change] = []
        for change in changes:
            moved.append(change)
            try:
                await self._put(change.kept.name, change.text)
            except (Unreachable, Timeout) as error:
                raise LostMidway(self._address, error.detail) from error
            except DeviceError as error:
                await self._put_back(moved)
                raise Refused(self._address, f"{error.detail}; the files are as before") from error

    # -- steps -------------------------------------------------------------------------------------

    async def _back_up(self, kept: Kept) -> None:
        path, backup = PATHS[kept.name], BACKUPS[kept.name]
        await self._do(f"cp -p {path} {backup}.new && sync")
        await self._same(f"{backup}.new", kept.now.text, "is no true copy")
        await self._do(f"mv {backup}.new {backup} && sync")

    async def _stage(self, name: str, text: str) -> None:
        """Write the new file beside the old one, with its owner and mode, and read it back."""
        path = PATHS[name]
        await self._do(f"cp -p {path} {path}.new")
        await self._do(f"cat > {path}.new && sync", text.encode())
        await self._same(f"{path}.new", text, "was not written whole")

    async def _put(self, name: str, text: str) -> None:
        path = PATHS[name]
        await self._do(f"mv {path}.new {path} && sync")
        await self._same(path, text, "reads otherwise after the write")

    async def _put_back(self, moved: Sequence[Change]) -> None:
        """Undo in reverse order what may have been moved."""
        for change in reversed(moved):
            name, before = change.kept.name, change.kept.now.text
            try:
                if await self._cat(PATHS[name]) == before.encode():
                    continue
                await self._stage(name, before)
                await self._put(name, before)
            except DeviceError as error:
                log.error("%s: %s could not be put back: %s", self._address, PATHS[name], error.detail)
                raise Malformed(
                    self._address,
                    f"{PATHS[name]} is not as written and could not be put back ({error.detail}); "
                    f"its copy is {BACKUPS[name]}",
                ) from error

    async def _same(self, path: str, text: str, otherwise: str) -> None:
        if await self._cat(path) != text.encode():
            raise Malformed(self._address, f"ssh: {path} {otherwise}")

    async def _show(self, path: str) -> ConfFile | None:
        raw = await self._cat(path)
        return None if raw is None else parse(raw, path, self._address)

    async def _cat(self, path: str) -> bytes | None:
        """A file; None where there is none."""
        answer = await self._run(f"cat {path}")
        if answer.status == 0:
            return answer.output
        if (await self._run(f"test -e {path}")).status == 1:
            return None
        raise Refused(self._address, f"ssh: {path} cannot be read; nothing is written")

    async def _do(self, command: str, sent: bytes = b"") -> None:
        answer = await self._run(command, sent)
        if answer.status != 0:
            raise Refused(self._address, f"ssh: {command} ended with status {answer.status}")

    async def _run(self, command: str, sent: bytes = b"") -> Answer:
        return await self._session.run(command, self._step_s, sent)


def plan(kept: Sequence[Kept], knob: Knob, percent: float, coarse: bool, address: str) -> tuple[Change, ...]:
    """The changes that bring every file that holds the knob's key to `percent`; already there included.

    Raises:
        Malformed: a value is no number, or no file has pools: such files are not touched.
        Unsupported: no file has the key, or boards have figures of their own.
    """
    key = KEYS[knob]
    found = []
    for each in kept:
        _refuse_own_figures(each.now, key, address)
        before, reference = each.now.figure(key, address), each.reference.figure(key, address)
        if before is None:
            continue
        if reference is None:
            raise Malformed(address, f"{each.reference.path}: {key} is missing; nothing is written")
        found.append(Change(each, key, before, figure_at(knob, reference, percent, coarse), reference))
    paths = " and ".join(each.now.path for each in kept)
    if not found:
        raise Unsupported(address, f"{paths}: {key} is missing; nothing is written")
    if not any(_has_pools(each.now) for each in kept):
        raise Malformed(address, f"{paths}: pools are missing or empty; nothing is written")
    return tuple(found)


def shown(kept: Sequence[Kept], knob: Knob, coarse: bool, address: str) -> float | None:
    """The percentage that the files say; None where they do not agree or do not say."""
    said = set()
    for each in kept:
        try:
            now, reference = (part.figure(KEYS[knob], address) for part in (each.now, each.reference))
        except DeviceError:
            return None
        if now is not None and reference is not None:
            said.add(percent_of(knob, reference, now, coarse))
    return said.pop() if len(said) == 1 else None


def _has_pools(file: ConfFile) -> bool:
    pools = file.values.get("pools")
    return isinstance(pools, list) and any(isinstance(pool, dict) and pool.get("url") for pool in pools)


def _refuse_own_figures(file: ConfFile, key: str, address: str) -> None:
    """Some firmware gives each board its own figure, and then the common one says nothing."""
    for slot in range(1, 17):
        if file.values.get(f"{key}{slot}") not in (None, "", "0", 0):
            raise Unsupported(address, f"{file.path}: {key}{slot} sets a board by itself; nothing is written")

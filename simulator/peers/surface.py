"""What the servers of one simulated miner share: machine, options, faults and delayed effects."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

from agent.errors import InputError
from simulator.machine import Machine, MachineState
from simulator.peers.faults import NO_FAULTS, SHARED_MAC, Faults

log = logging.getLogger(__name__)

MAX_PENDING_EFFECTS = 64


@dataclass(frozen=True, slots=True)
class PeerPorts:
    """TCP ports of one peer; the defaults are the real ones, 0 takes any free port."""

    api: int = 4028
    web: int = 80
    status: int = 6060
    api_v3: int = 4433
    ssh: int = 22
    grpc: int = 50051


@dataclass(frozen=True, slots=True)
class PeerOptions:
    """How one peer behaves, where that is not the machine's doing.

    Args:
        firmware: what runs on the control board; `old` is the stock firmware of the S9 and S17 generations.
        layout: Antminer: `legacy` (S19 era and before) or `new` (S19 XP, S21: a sleeping unit answers
            with empty lists). Both answer `new_api` on modern firmware.
        username: account of the web page or of API v3; None is the factory default.
        password: its password; on Whatsminer the admin password too. None is the factory default.
        ssh_username, ssh_password: old Antminer: the login over SSH, which is not that of the web page. None
            is the factory default.
        write_enabled: Whatsminer: the owner has opened the write API.
        api_v3: Whatsminer: new firmware with API v3 on 4433 and a reduced v2 on 4028.
        offers_hashrate_percent: Antminer: the web page offers a hashrate percent.
        conf_reply_s: Antminer: seconds on the machine's clock that `set_miner_conf.cgi` takes to answer.
        faults: switches to start with.
    """

    firmware: Literal["stock", "old", "luxos", "braiins", "vnish"] = "stock"
    layout: Literal["legacy", "new"] = "legacy"
    username: str | None = None
    password: str | None = None
    ssh_username: str | None = None
    ssh_password: str | None = None
    write_enabled: bool = True
    api_v3: bool = False
    offers_hashrate_percent: bool = False
    conf_reply_s: float = 0.0
    faults: Faults = NO_FAULTS


class Surface:
    """One miner as its servers see it.

    Args:
        machine: the miner behind the sockets.
        options: how it behaves on the wire.
    """

    def __init__(self, machine: Machine, options: PeerOptions) -> None:
        self.machine = machine
        self.options = options
        self.faults = options.faults
        self._pending: set[asyncio.Task[None]] = set()
        self._frozen: MachineState | None = None
        self._gone: tuple[int, ...] | None = None

    def state(self) -> MachineState:
        """The machine now, with the time its own clock shows. Compute once per request."""
        state = self.machine.state()
        if self.faults.frozen:
            # Clocks go on, figures do not.
            self._frozen = self._frozen or state
            state = replace(self._frozen, now=state.now)
        else:
            self._frozen = None
        if self.faults.restarting:
            state = replace(state, phase="idle", process_up=False)
        if self.faults.shared_mac:
            state = replace(state, mac=SHARED_MAC)
        skew_s = self.faults.clock_skew_s
        return replace(state, now=state.now + timedelta(seconds=skew_s)) if skew_s else state

    def set_faults(self, faults: Faults) -> None:
        """Replace the switches, and do to the machine what two of them stand for."""
        before, self.faults = self.faults, faults
        if before.restarting and not faults.restarting:
            self.machine.restart_mining()
        if faults.missing_board and self._gone is None:
            boards = self.machine.state().boards
            self._gone = tuple(board.index for board in boards if not board.present)
            left = [board.index for board in boards if board.present]
            # One must stay.
            self.machine.set_missing_boards([*self._gone, *left[:1]] if len(left) > 1 else self._gone)
        elif not faults.missing_board and self._gone is not None:
            self.machine.set_missing_boards(self._gone)
            self._gone = None

    @property
    def write_open(self) -> bool:
        """True while the owner's API switch is on."""
        return self.options.write_enabled and not self.faults.closed_write_api

    def perform(self, action: Callable[[], object]) -> None:
        """Do what a write asked for: now, late, or not at all, as the faults say."""
        if self.faults.ack_without_effect:
            return
        if not self.faults.effect_delay_s:
            _run(action)
        elif len(self._pending) < MAX_PENDING_EFFECTS:
            task = asyncio.get_running_loop().create_task(self._later(action, self.faults.effect_delay_s))
            self._pending.add(task)
            task.add_done_callback(self._pending.discard)

    async def close(self) -> None:
        """Forget effects that have not happened yet."""
        pending = tuple(self._pending)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    async def _later(self, action: Callable[[], object], delay_s: float) -> None:
        await self.machine.clock.sleep(delay_s)
        _run(action)


def _run(action: Callable[[], object]) -> None:
    try:
        action()
    except InputError as error:
        # Firmware acknowledges what its hardware then refuses.
        log.debug("the machine refused a command: %s", error)

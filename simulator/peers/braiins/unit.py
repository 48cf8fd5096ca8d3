"""What Braiins OS keeps about its miner beside tuner and pools: who stopped it, its light, its name."""

from __future__ import annotations

from collections.abc import Callable

from simulator.machine import MachineState
from simulator.peers.braiins.accounts import Accounts
from simulator.peers.braiins.pools import PoolGroups
from simulator.peers.braiins.refusals import Refusal
from simulator.peers.braiins.tuner import Tuner
from simulator.peers.surface import Surface

MAJOR = "26.04"
VERSION = f"2026-04-20-0-5b1f7c02-{MAJOR}-plus"
API_VERSION = (1, 10, 0)

Action = Callable[[], object]

NOT_STARTED, NORMAL, PAUSED, SUSPENDED = 1, 2, 3, 4


class BraiinsUnit:
    """One miner as Braiins OS knows it.

    Args:
        surface: the miner; its machine gets the tuner that the firmware brings.
        address: its IP address.
    """

    def __init__(self, surface: Surface, address: str) -> None:
        self.surface = surface
        self.address = address
        self.accounts = Accounts(surface)
        self.tuner = Tuner(surface)
        self.pools = PoolGroups(surface)
        self.stopped = False
        self.locating = False
        self.hostname = "Antminer"

    def running(self, state: MachineState) -> bool:
        """True while the mining process answers."""
        return state.process_up and not self.stopped and not self.surface.faults.process_down

    def status(self, state: MachineState) -> int:
        """The number of the miner's status."""
        if not self.running(state):
            return NOT_STARTED
        if not state.mining_enabled:
            return PAUSED
        if state.phase == "protect":
            return SUSPENDED
        return NOT_STARTED if state.phase == "idle" else NORMAL

    def pause(self) -> bool:
        """Stop hashing at once. Returns whether it was paused already.

        Raises:
            Refusal: the mining process is not running.
        """
        state = self._needed("pause")
        if state.mining_enabled:
            self.surface.perform(self.surface.machine.power_off)
        return not state.mining_enabled

    def resume(self) -> bool:
        """Hash again after a pause. Returns whether it was hashing already.

        Raises:
            Refusal: the mining process is not running.
        """
        state = self._needed("resume")
        if not state.mining_enabled:
            self.surface.perform(self.surface.machine.power_on)
        return state.mining_enabled

    def start(self) -> bool:
        """Start the mining process; a pause is over then. Returns whether it was running already."""
        was = not self.stopped

        def act() -> None:
            self.stopped = False
            if not self.surface.machine.state().mining_enabled:
                self.surface.machine.power_on()

        if not was:
            self.surface.perform(act)
        return was

    def stop(self) -> bool:
        """Stop the mining process. Returns whether it was stopped already."""
        was = self.stopped

        def act() -> None:
            self.stopped = True
            self.surface.machine.power_off()

        if not was:
            self.surface.perform(act)
        return was

    def restart(self) -> bool:
        """Restart the mining process. Returns whether it was running already."""
        was = not self.stopped
        self.surface.perform(lambda: self._run_again(self.surface.machine.restart_mining))
        return was

    def reboot(self) -> None:
        """Restart the control board; it mines after that whatever was before."""
        self.surface.perform(lambda: self._run_again(self.surface.machine.reboot))

    def locate(self, on: bool) -> None:
        """Blink, or stop blinking."""

        def act() -> None:
            self.locating = on

        self.surface.perform(act)

    def _run_again(self, begin: Action) -> None:
        self.stopped = False
        if not self.surface.machine.state().mining_enabled:
            self.surface.machine.power_on()
        begin()

    def _needed(self, action: str) -> MachineState:
        state = self.surface.machine.state()
        if not self.running(state):
            raise Refusal("failed_precondition", f"cannot {action}: BOSminer is not running")
        return state

"""The chosen preset and the one that runs, throttle, and who stopped the unit."""

from __future__ import annotations

from collections.abc import Callable

from simulator.machine import MachineState, PoolEntry
from simulator.peers.surface import Surface
from simulator.peers.vnish.presets import DISABLED, Preset, presets_of

FIRMWARE = "1.3.3"
POOL_SLOTS = 3
SCHEME = "stratum+tcp://"
THROTTLE_RANGE = (20, 100)


class VnishUnit:
    """One miner as VNish knows it.

    Args:
        surface: the miner; its machine gets the tuner that VNish brings.
        address: its IP address.
    """

    def __init__(self, surface: Surface, address: str) -> None:
        surface.machine.install_tuner()
        state = surface.machine.state()
        self.surface = surface
        self.address = address
        self.presets: dict[str, Preset] = {preset.name: preset for preset in presets_of(surface.machine.spec)}
        limit_w = state.power_limit_w
        wanted_w = surface.machine.spec.rated_power_w if limit_w is None else limit_w
        self.running = min(self.presets.values(), key=lambda one: abs(one.watts - wanted_w)).name
        self.chosen = self.running
        self.throttled = 100
        self.modded_psu = False
        self.paused = False
        self.finding = False
        # Owners of tuned units choose a preset; the nearest to rated is where this one begins.
        self._hold(surface.machine.set_power_target)

    @property
    def restart_required(self) -> bool:
        """True while a chosen preset waits for mining to restart."""
        return self.chosen != self.running

    def word(self, state: MachineState) -> str:
        """The `miner_state` of the firmware."""
        if not state.process_up:
            return "restarting"
        if not state.mining_enabled:
            return "paused" if self.paused else "stopped"
        if state.phase == "protect":
            return "failure"
        if state.phase == "idle":
            return "initializing"
        preset = self.presets.get(self.running)
        untuned = preset is not None and not preset.tuned
        return "auto-tuning" if untuned and state.phase == "ramping" else "mining"

    def choose(self, name: str) -> None:
        """Choose a preset. One that is tuned runs at once; any other, and none, wait for a restart.

        A preset that the unit has not, or cannot supply, changes nothing.
        """
        preset = self.presets.get(name)
        if name != DISABLED and preset is None:
            return

        def act() -> None:
            if preset is not None and preset.modded_psu and not self.modded_psu:
                return
            self.chosen = name
            if preset is not None and preset.tuned and self.running != DISABLED:
                self.running = name
                self._hold(self.surface.machine.set_power_target)

        self.surface.perform(act)

    def fit_supply(self, *, modded: bool) -> None:
        """Say whether the supply is one for the highest presets."""

        def act() -> None:
            self.modded_psu = modded

        self.surface.perform(act)

    def find(self, *, on: bool) -> None:
        """Let the lamps blink, or not."""

        def act() -> None:
            self.finding = on

        self.surface.perform(act)

    def throttle(self, percent: int) -> None:
        """Run at a percent of the preset's watts, or of the frequency where none is chosen; no restart."""

        def act() -> None:
            self.throttled = percent
            self._hold(self.surface.machine.set_power_target)

        self.surface.perform(act)

    def start(self, *, restart: bool) -> None:
        """Hash again with what is chosen; `restart` also when it hashes already."""
        machine = self.surface.machine

        def act() -> None:
            waiting = self.restart_required
            self.paused = False
            self.running = self.chosen
            if waiting:
                self._hold(machine.set_power_target)
            if not machine.state().mining_enabled:
                machine.power_on()
            elif restart or waiting:
                machine.restart_mining()

        self.surface.perform(act)

    def stop(self, *, pause: bool) -> None:
        """Stop hashing."""

        def act() -> None:
            self.paused = pause
            self.surface.machine.power_off()

        self.surface.perform(act)

    def reboot(self) -> None:
        """Restart the control board; a chosen preset runs after it, a throttle is gone."""

        def act() -> None:
            self.running = self.chosen
            self.throttled = 100
            self._hold(self.surface.machine.set_power_target)
            self.surface.machine.reboot()

        self.surface.perform(act)

    def pools(self) -> list[PoolEntry]:
        """The configured pools, padded to the slots there are."""
        entries = list(self.surface.machine.pools[:POOL_SLOTS])
        return entries + [PoolEntry("", "", "")] * (POOL_SLOTS - len(entries))

    def set_pools(self, entries: list[PoolEntry]) -> None:
        """Replace the pools; nothing restarts."""
        self.surface.perform(lambda: self.surface.machine.set_pools(entries))

    def _hold(self, set_watts: Callable[[float], None]) -> None:
        machine = self.surface.machine
        preset = self.presets.get(self.running)
        if preset is None:
            machine.set_frequency(self.throttled - 100.0)
        else:
            set_watts(max(preset.watts * self.throttled / 100.0, 0.2 * machine.spec.rated_power_w))

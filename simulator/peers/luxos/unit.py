"""What LuxOS keeps about its own unit: the active profile, power target, thermal management and lamps."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.machine import MachineState
from simulator.peers.luxos.pools import PoolBook
from simulator.peers.luxos.profiles import DEFAULT, Profile, nearest, profiles_of
from simulator.peers.luxos.session import Session
from simulator.peers.surface import Surface

BUILD = "2025.4.8.220305"
DESCRIPTION = f"LUXminer {BUILD}-bd8a5d1b"
# LuxOS holds a watt target on these; on the others a profile is a frequency.
_TARGETING = ("S19K", "XP", "S21", "S21+", "T21")


@dataclass(slots=True)
class Atm:
    """Advanced Thermal Management: moves profiles by temperature on its own."""

    enabled: bool = True
    startup_minutes: int = 5
    post_ramp_minutes: int = 15
    temp_window: int = 5
    min_profile: str = ""
    max_profile: str = ""


@dataclass(slots=True)
class TempControl:
    """Board temperatures in C at which fans go full, profiles fall and boards are cut."""

    target: float = 55.0
    hot: float = 65.0
    dangerous: float = 75.0


class LuxosUnit:
    """One miner as LuxOS knows it.

    Args:
        surface: the miner; its machine gets the tuner that LuxOS brings.
        address: its IP address, for `config`.
    """

    def __init__(self, surface: Surface, address: str) -> None:
        surface.machine.install_tuner()
        state = surface.machine.state()
        words = state.type_text.upper().split()
        self.surface = surface
        self.address = address
        self.profiles = profiles_of(surface.machine.spec)
        self.targeting = any(word in _TARGETING for word in words)
        self.pools = PoolBook(surface.machine)
        self.session = Session(state.mac, lambda: surface.machine.clock.now().timestamp())
        self.atm = Atm()
        self.temp_control = TempControl()
        self.min_fans = 1
        self.red_led = "auto"
        self.green_led = "auto"
        self.resetting = False
        self._profile = next(profile for profile in self.profiles if profile.name == DEFAULT)

    @property
    def watt_range(self) -> tuple[int, int]:
        """Lowest and highest watt target."""
        return self.profiles[0].watts, self.profiles[-1].watts

    def profile(self, state: MachineState) -> Profile:
        """The active profile; under a watt target the nearest one."""
        if state.power_limit_w is not None:
            if self._profile.watts != round(state.power_limit_w):
                return nearest(self.profiles, state.power_limit_w)
            return self._profile
        level = 1.0 + state.target_freq_percent / 100.0
        return min(self.profiles, key=lambda profile: abs(profile.level - level))

    def answers(self, state: MachineState) -> bool:
        """True while the API is up: the program that mines is also the one that answers."""
        # Waking up starts the boards, not the program, though both count as a restart of the machine.
        return state.process_up or (state.ports_open and not self.resetting)

    def target_watts(self, state: MachineState) -> int:
        """The watt target in force, of the active profile where none was asked for."""
        if state.power_limit_w is not None:
            return round(state.power_limit_w)
        return self.profile(state).watts

    def set_profile(self, profile: Profile) -> None:
        """Move to a profile: to its watts where the model can hold them, else to its frequency."""
        machine = self.surface.machine

        def act() -> None:
            self._profile = profile
            if self.targeting:
                machine.set_power_target(profile.watts)
            else:
                machine.set_frequency(100.0 * (profile.level - 1.0))

        self.surface.perform(act)

    def reset(self) -> None:
        """Restart the program that mines; it answers again when it is up."""
        self.resetting = True
        self.surface.machine.restart_mining()

    def set_target(self, watts: int) -> None:
        """Hold a watt target."""
        machine = self.surface.machine
        self.surface.perform(lambda: machine.set_power_target(watts))

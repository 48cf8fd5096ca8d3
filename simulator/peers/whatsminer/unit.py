"""What a Whatsminer's control board keeps besides the machine: shared by API v2 and v3."""

from __future__ import annotations

from simulator.machine import MachineState
from simulator.peers.surface import Surface

_LIQUID_PERCENT = 200.0
_AIR_PERCENT = 100.0


class WhatsminerUnit:
    """Small settings of one control board. They change replies, and nothing physical."""

    def __init__(self, surface: Surface) -> None:
        self._surface = surface
        self.led = "auto"
        self.fast_boot = "disable"
        self.fast_hash = "disable"
        self.heat_mode = "normal"
        self.upfreq_speed = 0
        self.poweroff_cool = "0"
        self.zero_speed = "0"
        self.temp_offset = "0"
        self.hostname = "WhatsMiner"
        self.timezone = "UTC"
        self.web_pools = "enable"
        # Units without fans are cooled by liquid, and may be driven harder.
        self.is_liquid = not surface.machine.state().fan_rpm

    @property
    def highest_percent(self) -> float:
        """Largest power percent the firmware takes."""
        return _LIQUID_PERCENT if self.is_liquid else _AIR_PERCENT

    def limit_set_text(self, state: MachineState) -> str:
        """The power limit that an owner has set, empty for the default one."""
        limit = state.power_limit_w
        if limit is None or limit == self._surface.machine.default_power_limit_w:
            return ""
        return str(round(limit))

    def set_power(self, watts: float) -> None:
        """Absolute watts without a restart: the firmware turns it into a percent of the present limit."""
        limit = self._surface.machine.default_power_limit_w
        if limit:
            self._surface.machine.set_power_percent(min(100.0, 100.0 * watts / limit), fast=False)

"""What a machine's phase means for its ports and replies."""

from __future__ import annotations

from simulator.machine import MachineState


def is_mining_process_up(state: MachineState) -> bool:
    """True while the mining process serves its API; false while the board boots or the process restarts."""
    return state.ports_open and state.phase not in ("off", "booting")


def is_silent(state: MachineState) -> bool:
    """True while there is nothing to show: asleep, or up and not hashing yet."""
    return state.phase in ("sleep", "idle")

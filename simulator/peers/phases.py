"""What a machine's phase means for its replies."""

from __future__ import annotations

from simulator.machine import MachineState


def is_silent(state: MachineState) -> bool:
    """True while there is nothing to show: asleep, or up and not hashing yet."""
    return state.phase in ("sleep", "idle")

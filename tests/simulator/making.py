"""Machines for tests, on a clock that stands still until it is moved."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from agent.clock import ManualClock
from simulator.machine import Machine
from simulator.physics_file import ModelPhysics, default_physics

START = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)


def model(key: str) -> ModelPhysics:
    return default_physics().model(key)


def machine(key: str = "antminer-s19-pro", *, seed: int = 5, **more: Any) -> tuple[Machine, ManualClock]:
    clock = ManualClock(START)
    more.setdefault("mac", "02:00:00:00:00:01")
    more.setdefault("serial", "SN1")
    return Machine(model(key), seed=seed, clock=clock, **more), clock


def pass_time(machine: Machine, clock: ManualClock, seconds: float, step: float = 60.0) -> None:
    """Let time pass, looking at the machine all the while."""
    left = seconds
    while left > 0:
        clock.advance(min(step, left))
        left -= step
        machine.state()

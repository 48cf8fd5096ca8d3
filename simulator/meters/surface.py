"""What a simulated meter measures and how well: circuits of simulated machines, gain, noise and faults.

How the figures are worded on the wire is left to `snmp`, `modbus` and `http`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from agent.clock import Clock
from simulator.machine import Machine
from simulator.noise import hashed_normal

Watts = Callable[[], float]
_NOISE_EVERY_S = 1.0
_GARBAGE_BYTES = 200


@dataclass(frozen=True, slots=True)
class MeterFaults:
    """Fault switches of one meter; all off by default.

    Args:
        silent: requests are taken and never answered.
        lossy: every other request over UDP is lost, the first one too.
        garbage: seeded random bytes instead of any answer.
        cut: the answer ends in the middle.
        stale: the figures stay what they were when this was switched on.
        wrong_type: text or another type stands where the number should.
        negative: every figure has the wrong sign, as with a clamp the wrong way round.
        swapped_words: the halves of a number in two registers change places.
        missing: the last figure is not there.
        at_most: most objects or registers handed out at once, 0 for no limit.
        gain: the meter shows this many times the truth.
        noise: standard deviation of each figure as a share of it.
        seed: seeds the garbage.
    """

    silent: bool = False
    lossy: bool = False
    garbage: bool = False
    cut: bool = False
    stale: bool = False
    wrong_type: bool = False
    negative: bool = False
    swapped_words: bool = False
    missing: bool = False
    at_most: int = 0
    gain: float = 1.0
    noise: float = 0.0
    seed: int = 0

    def garbage_bytes(self) -> bytes:
        """Random bytes, the same for the same seed."""
        return np.random.default_rng(self.seed).bytes(_GARBAGE_BYTES)


@dataclass(frozen=True, slots=True)
class Circuit:
    """What one figure measures: whatever draws power on it, and a constant load beside."""

    loads: tuple[Watts, ...]
    overhead_w: float = 0.0


def wall_power(machine: Machine) -> Watts:
    """The true wall power of a machine, for a `Circuit`."""
    return lambda: machine.state().power_w


class MeterSurface:
    """A meter's figures. `faults` may be replaced at any time; `requests` counts what was asked.

    Args:
        circuits: what it measures, in the order it shows them.
        clock: gives the time, on which the noise depends.
        seed: decides the noise.
    """

    def __init__(
        self, circuits: Sequence[Circuit], clock: Clock, seed: int = 0, faults: MeterFaults | None = None
    ) -> None:
        self.circuits = tuple(circuits)
        self.requests = 0
        self._clock = clock
        self._seed = seed
        self._frozen: list[float] | None = None
        self._faults = MeterFaults()
        self.faults = faults or self._faults

    @property
    def faults(self) -> MeterFaults:
        """The switches now on."""
        return self._faults

    @faults.setter
    def faults(self, faults: MeterFaults) -> None:
        if not faults.stale:
            self._frozen = None
        elif self._frozen is None:
            self._frozen = self._measured()
        self._faults = faults

    def watts(self) -> list[float]:
        """What the meter shows now, one figure for each circuit."""
        shown = self._frozen if self._frozen is not None else self._measured()
        sign = -1.0 if self._faults.negative else 1.0
        return [sign * watts for watts in shown]

    def _measured(self) -> list[float]:
        true = np.array([c.overhead_w + sum(load() for load in c.loads) for c in self.circuits])
        moment = int(self._clock.now().timestamp() / _NOISE_EVERY_S)
        noise = hashed_normal(self._seed, np.arange(len(true)), moment)
        shown: list[float] = (true * self._faults.gain * (1.0 + self._faults.noise * noise)).tolist()
        return shown

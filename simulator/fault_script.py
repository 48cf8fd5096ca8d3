"""Faults by script and by chance: which switches of which miner are on at a moment, the same for a seed.

The closed schema of a faults file, and the player that keeps a running farm in step with it.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, field_validator

from agent.clock import Clock
from agent.errors import InputError
from agent.yamlfile import StrictModel, load_yaml
from simulator.peers import Faults, Peer

Switches = dict[str, bool | int | float]
_HOUR_S = 3600.0
_MOST_AN_HOUR = 60.0


def _checked(value: Switches) -> Switches:
    try:
        Faults.from_mapping(value)
    except InputError as error:
        raise ValueError(str(error)) from error
    return value


class Scripted(StrictModel):
    """Faults at a set time after the start, in seconds of the farm's clock.

    `miners` is a pattern over addresses, such as `127.1.0.*`; `every_s` repeats it.
    """

    at_s: Annotated[float, Field(ge=0.0)]
    for_s: Annotated[float, Field(gt=0.0)]
    every_s: Annotated[float, Field(gt=0.0)] | None = None
    miners: str = "*"
    faults: Annotated[Switches, Field(min_length=1)]

    @field_validator("faults")
    @classmethod
    def _known(cls, value: Switches) -> Switches:
        return _checked(value)

    def is_on(self, elapsed_s: float) -> bool:
        """True while it holds, `elapsed_s` after the start."""
        since_s = elapsed_s - self.at_s
        if since_s < 0.0:
            return False
        return (since_s if self.every_s is None else since_s % self.every_s) < self.for_s


class Chance(StrictModel):
    """Faults that come by chance, `per_hour` times a miner and hour on average, for `for_s` each time."""

    per_hour: Annotated[float, Field(gt=0.0, le=_MOST_AN_HOUR)]
    for_s: Annotated[float, Field(gt=0.0, le=86_400.0)]
    miners: str = "*"
    faults: Annotated[Switches, Field(min_length=1)]

    @field_validator("faults")
    @classmethod
    def _known(cls, value: Switches) -> Switches:
        return _checked(value)

    def is_on(self, elapsed_s: float, seed: int) -> bool:
        """True while one holds; a function of its arguments alone, however often and in what order asked."""
        first = int(max(0.0, elapsed_s - self.for_s) // _HOUR_S)
        for hour in range(first, int(max(0.0, elapsed_s) // _HOUR_S) + 1):
            rng = np.random.default_rng([seed, hour])
            starts = _HOUR_S * (hour + rng.random(rng.poisson(self.per_hour)))
            if np.any((starts <= elapsed_s) & (elapsed_s < starts + self.for_s)):
                return True
        return False


class FaultsFile(StrictModel):
    """The whole of a faults file: `script`, `chance`, or both."""

    seed: Annotated[int, Field(ge=0, le=2**31)] = 1
    script: Annotated[list[Scripted], Field(max_length=1000)] = []
    chance: Annotated[list[Chance], Field(max_length=100)] = []

    def at(self, address: str, elapsed_s: float) -> Switches:
        """Switches of one miner that are on; a later entry goes before an earlier one."""
        found: Switches = {}
        for number, chance in enumerate(self.chance):
            seed = zlib.crc32(f"{self.seed} {number} {address}".encode())
            if fnmatchcase(address, chance.miners) and chance.is_on(elapsed_s, seed):
                found |= chance.faults
        for entry in self.script:
            if fnmatchcase(address, entry.miners) and entry.is_on(elapsed_s):
                found |= entry.faults
        return found


def load_faults(path: Path) -> FaultsFile:
    """Read a faults file.

    Raises:
        ConfigError: it cannot be read or used; the message names line and key.
    """
    return load_yaml(path, FaultsFile)


class FaultPlayer:
    """Keeps the peers of a running farm at: own faults, then the file's, then what a person switched on.

    Args:
        peers: by address.
        own: each miner's faults of the farm file.
        file: None: only what a person switches on.
    """

    def __init__(
        self,
        peers: Mapping[str, Peer],
        own: Mapping[str, Faults],
        file: FaultsFile | None,
        clock: Clock,
    ) -> None:
        self._peers = peers
        self._own = own
        self._file = file
        self._clock = clock
        self._start = clock.now()
        self._by_hand: dict[str, Switches] = {}

    async def switch(self, address: str, switches: Switches) -> None:
        """Switch on what a person asks for; an empty mapping gives the miner back to the file.

        Raises:
            InputError: no such miner or switch. OSError: a closed port cannot be bound again.
        """
        if address not in self._peers:
            raise InputError(f"no miner at {address}")
        Faults.from_mapping(switches)
        self._by_hand[address] = dict(switches)
        await self._set([address])

    async def step(self) -> None:
        """Bring every peer to what holds now.

        Raises:
            OSError: a closed port cannot be bound again.
        """
        await self._set(list(self._peers))

    async def run(self, every_s: float = 1.0) -> None:
        """Step for ever, each second of the farm's clock."""
        while True:
            await self.step()
            await self._clock.sleep(every_s)

    async def _set(self, addresses: Sequence[str]) -> None:
        elapsed_s = (self._clock.now() - self._start).total_seconds()
        for address in addresses:
            asked = self._file.at(address, elapsed_s) if self._file is not None else {}
            asked = asked | self._by_hand.get(address, {})
            wanted = Faults.from_mapping(asdict(self._own[address]) | asked)
            if wanted != self._peers[address].faults:
                await self._peers[address].set_faults(wanted)

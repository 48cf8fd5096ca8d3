"""Reads every meter of a site at once, each under its own deadline, and says how old each figure is.

A failure is a result like any other. What a figure means for a miner is left to `agent.meters.fusion`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.clock import Clock
from agent.config import read_secret
from agent.errors import ConfigError, DeviceError, Malformed, Timeout
from agent.meters.config import HttpMeter, MeterConfig, ModbusMeter, SnmpMeter
from agent.meters.json_http import JsonHttp
from agent.meters.modbus import Modbus
from agent.meters.snmp import Snmp
from agent.meters.watts import Meter

log = logging.getLogger(__name__)
Floats = NDArray[np.float64]
_CONCURRENCY = 256
# A meter that does not answer is asked in one of so many rounds.
_LONGEST_REST = 4


@dataclass(frozen=True, slots=True)
class Point:
    """One figure of a meter.

    Args:
        key: `meter/label`, the same for as long as the site file says so.
        miners: what it feeds: one miner (an outlet) or several (a circuit).
        resolution_w: the smallest step it can show, 0 where it shows fractions.
    """

    key: str
    meter: str
    miners: tuple[str, ...]
    overhead_w: float
    limit_w: float
    resolution_w: float

    @property
    def alone(self) -> bool:
        """True for an outlet."""
        return len(self.miners) == 1


@dataclass(frozen=True, slots=True)
class MeterReadings:
    """What P points showed.

    Args:
        at: UTC time at which the last meter was done.
        points: the points, in the order of every array.
        power_w: [P] newest known watts, overhead included; NaN where none was ever read.
        age_s: [P] seconds of the clock since then; inf where none was ever read.
        errors: [P] why there is nothing newer, None where this round brought the figure.
    """

    at: datetime
    points: tuple[Point, ...]
    power_w: Floats
    age_s: Floats
    errors: tuple[DeviceError | None, ...]

    @property
    def answered(self) -> NDArray[np.bool_]:
        """[P] True where this round brought the figure."""
        return np.array([error is None for error in self.errors], dtype=np.bool_)


class _Line:
    """One meter, and what its last rounds were like. `places` are those of its points among all."""

    def __init__(self, config: MeterConfig, first: int) -> None:
        self.config = config
        self.meter = _open(config)
        self.places = range(first, first + len(config.figures))
        self.silent = 0
        self.rests = 0


class MeterReader:
    """Reads a fixed list of meters. Keeps no connection between rounds.

    Args:
        meters: the `meters` block of the site file.
        clock: tells how old figures are. Deadlines are of the wall.

    Raises:
        ConfigError: a community or token cannot be read safely.
        InputError: the library for a kind of meter is not installed.
    """

    def __init__(self, meters: Sequence[MeterConfig], clock: Clock) -> None:
        self._clock = clock
        self._lines: list[_Line] = []
        points: list[Point] = []
        for config in meters:
            self._lines.append(_Line(config, len(points)))
            points += [
                Point(
                    key=f"{config.name}/{figure.label}",
                    meter=config.name,
                    miners=tuple(figure.miners),
                    overhead_w=figure.overhead_w,
                    limit_w=figure.limit_w,
                    resolution_w=figure.resolution_w,
                )
                for figure in config.figures
            ]
        self.points = tuple(points)
        self._power_w = np.full(len(points), np.nan)
        self._seen_s = np.full(len(points), np.nan)
        self._errors: list[DeviceError | None] = [None] * len(points)
        # Gateways and PDUs take few connections: those at one address wait for each other.
        self._locks = {config.line: asyncio.Lock() for config in meters}
        self._places = asyncio.Semaphore(_CONCURRENCY)

    async def read(self) -> MeterReadings:
        """Read every meter once. Raises for none of them.

        It takes at most the largest `deadline_s`, or the sum of those that share an address, for each 256
        meters. One that has been silent several times rests for up to three rounds and keeps the error of its
        last attempt.
        """
        await asyncio.gather(*(self._round(line) for line in self._lines))
        now = self._clock.now()
        age = np.maximum(0.0, now.timestamp() - self._seen_s)
        return MeterReadings(
            at=now,
            points=self.points,
            power_w=self._power_w.copy(),
            age_s=np.where(np.isnan(age), np.inf, age),
            errors=tuple(self._errors),
        )

    async def _round(self, line: _Line) -> None:
        if line.rests > 0:
            line.rests -= 1
            return
        async with self._locks[line.config.line], self._places:
            fault, some = await self._ask(line)
        if fault is None or some:
            line.silent = 0
            return
        line.silent += 1
        # 0, 1, 3 and then always 3 rounds of rest.
        line.rests = min(2 ** (line.silent - 1), _LONGEST_REST) - 1

    async def _ask(self, line: _Line) -> tuple[DeviceError | None, bool]:
        """One attempt. Returns what ended it, and whether any figure came before."""
        config, first = line.config, line.places.start
        address = config.line[0]
        pending = set(line.places)

        def found(place: int, value: float | DeviceError) -> None:
            at = first + place
            pending.discard(at)
            if isinstance(value, DeviceError):
                self._errors[at] = value
                return
            self._power_w[at], self._seen_s[at] = value, self._clock.now().timestamp()
            self._errors[at] = None

        fault: DeviceError | None = None
        try:
            async with asyncio.timeout(config.deadline_s):
                await line.meter.read(found)
        except TimeoutError:
            fault = Timeout(address, f"meter {config.name}: no whole answer within {config.deadline_s:g} s")
        except DeviceError as error:
            fault = error
        except Exception as error:
            # A fault of ours must cost one meter, never the whole cycle.
            log.exception("meter %s: reading it failed", config.name)
            fault = Malformed(address, f"reading it failed ({type(error).__name__}); please report it")
        some = len(pending) < len(line.places)
        if pending and fault is None:
            fault = Malformed(address, "the answer leaves figures out")
        for at in pending:
            self._errors[at] = fault
        return fault, some


def _open(config: MeterConfig) -> Meter:
    match config:
        case SnmpMeter():
            return Snmp(config, _secret(config, config.community_file))
        case ModbusMeter():
            return Modbus(config)
        case HttpMeter():
            named = config.token_file is not None or config.systemd_credential is not None
            return JsonHttp(config, _secret(config, config.token_file) if named else None)


def _secret(config: SnmpMeter | HttpMeter, file: Path | None) -> str:
    try:
        return read_secret(file, config.systemd_credential)
    except ConfigError as error:
        raise ConfigError(error.path, error.line, f"meter {config.name}", error.problem) from error

"""Reads every miner of a site at once, each under its own deadline, and keeps their drivers between polls.

A failure is a result like any other; what it means for decisions is left to the caller.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agent.clock import Clock
from agent.devices.device import Device, Endpoint
from agent.devices.families import open_device
from agent.devices.identify import identify_family
from agent.errors import DeviceError, Malformed, Timeout, Unsupported
from agent.reading import Reading
from agent.telemetry import PollResult

log = logging.getLogger(__name__)
_STRANGE = 3


@dataclass(frozen=True, slots=True)
class PollTarget:
    """One miner to poll. `family` None: find out at the first contact and remember."""

    miner_id: str
    endpoint: Endpoint
    family: str | None = None


class _Line:
    """One miner's driver and the lock that keeps it to one connection at a time."""

    def __init__(self, target: PollTarget) -> None:
        self.target = target
        self.lock = asyncio.Lock()
        self.device: Device | None = None
        self.strange = 0


class Poller:
    """Polls a fixed list of miners.

    Args:
        concurrency: how many are read at the same time.
    """

    def __init__(self, targets: Sequence[PollTarget], clock: Clock, concurrency: int = 200) -> None:
        self._clock = clock
        self._lines = [_Line(target) for target in targets]
        self._by_place = {
            (line.target.endpoint.address, line.target.endpoint.ports.api): line for line in self._lines
        }
        self._places = asyncio.Semaphore(concurrency)

    async def poll_once(self, on_result: Callable[[PollResult], None] | None = None) -> list[PollResult]:
        """Read every miner once; one result per target, in their order. Raises for none of them."""

        async def one(line: _Line) -> PollResult:
            result = await self._poll(line)
            if on_result is not None:
                on_result(result)
            return result

        return list(await asyncio.gather(*(one(line) for line in self._lines)))

    @asynccontextmanager
    async def exclusive(self, endpoint: Endpoint) -> AsyncIterator[Device]:
        """The driver of the miner at `endpoint`, for the calling task alone.

        Raises:
            DeviceError: its family is not known yet and cannot be found out.
        """
        line = self._by_place[(endpoint.address, endpoint.ports.api)]
        async with line.lock:
            yield await self._device(line)

    async def _poll(self, line: _Line) -> PollResult:
        target = line.target
        async with self._places:
            started = self._clock.now()
            reading: Reading | None = None
            failure: DeviceError | None = None
            try:
                # The deadline covers all requests of one read, and waiting for a write to finish.
                async with asyncio.timeout(target.endpoint.deadline_s), line.lock:
                    device = await self._device(line)
                    reading = await device.read()
            except TimeoutError:
                waited = target.endpoint.deadline_s
                busy = " (a change is being sent)" if line.lock.locked() else ""
                failure = Timeout(target.endpoint.address, f"no whole answer within {waited:g} s{busy}")
            except DeviceError as error:
                failure = error
            except Exception as error:
                # A fault of a driver must cost one miner, never the whole cycle.
                log.exception("%s: the driver failed", target.endpoint.address)
                fault = f"the driver failed on this reply ({type(error).__name__}); please report it"
                failure = Malformed(target.endpoint.address, fault)
            family = line.device.family if line.device is not None else target.family
            self._doubt(line, failure)
            return PollResult(
                target.miner_id,
                target.endpoint.address,
                started,
                self._clock.now(),
                reading,
                failure,
                family,
            )

    def _doubt(self, line: _Line, failure: DeviceError | None) -> None:
        """Identify anew a miner whose answers stopped making sense: another may have taken its address."""
        line.strange = line.strange + 1 if isinstance(failure, Malformed | Unsupported) else 0
        if line.strange >= _STRANGE and line.target.family is None:
            line.device, line.strange = None, 0

    async def _device(self, line: _Line) -> Device:
        if line.device is None:
            target = line.target
            family = target.family or await identify_family(target.endpoint, self._clock)
            line.device = open_device(family, target.endpoint, self._clock)
        return line.device

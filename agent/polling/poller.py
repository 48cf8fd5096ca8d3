"""Reads every miner of a site at once, each under its own deadline, and keeps their drivers between polls.

A failure is a result like any other; what it means for decisions is left to the caller. Miners that do
not answer have places of their own and are asked less often, so that they never delay the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from agent.clock import Clock
from agent.devices.device import Device, Endpoint, Identity
from agent.devices.families import open_device
from agent.devices.identify import identify_family
from agent.errors import DeviceError, Malformed, Timeout, Unsupported
from agent.reading import Reading
from agent.telemetry import PollResult

log = logging.getLogger(__name__)
_STRANGE = 3
# A miner that keeps the line silent is asked in one of so many rounds.
_LONGEST_REST = 4
# After so long without an answer it gives up its place and goes on waiting on its socket alone.
_PATIENCE_S = 2.0
_SOCKETS_PER_PLACE = 5
# The golden ratio spreads neighbours, who share a switch and a circuit, evenly over the time there is.
_GOLDEN = 0.6180339887498949


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
        self.silent = 0
        self.rests = 0
        self.asked = False
        self.last: PollResult | None = None


class Poller:
    """Polls a fixed list of miners.

    Args:
        concurrency: how many are read at the same time. Those that keep silent are not counted, up to five
            times as many sockets in all.
        spread_s: wall seconds over which the first requests of a round are spread; 0 sends them at once.
    """

    def __init__(
        self,
        targets: Sequence[PollTarget],
        clock: Clock,
        concurrency: int = 200,
        spread_s: float = 0.0,
    ) -> None:
        self._clock = clock
        self._spread_s = spread_s
        self._round = 0
        self._lines = [_Line(target) for target in targets]
        self._by_place = {
            (line.target.endpoint.address, line.target.endpoint.ports.api): line for line in self._lines
        }
        self._places = asyncio.Semaphore(concurrency)
        self._sockets = asyncio.Semaphore(_SOCKETS_PER_PLACE * concurrency)

    async def poll_once(self, on_result: Callable[[PollResult], None] | None = None) -> list[PollResult]:
        """Read every miner once; one result per target, in their order. Raises for none of them.

        A miner that has been silent several times rests for up to three rounds: its result is the last one,
        with the times of that attempt.
        """
        self._round += 1

        async def one(place: int, line: _Line) -> PollResult:
            result = self._resting(line)
            if result is None:
                if self._spread_s > 0.0:
                    await asyncio.sleep(self._spread_s * ((place + self._round) * _GOLDEN % 1.0))
                result = line.last = await self._poll(line)
                self._note(line, result.error)
            if on_result is not None:
                on_result(result)
            return result

        return list(await asyncio.gather(*(one(place, line) for place, line in enumerate(self._lines))))

    @asynccontextmanager
    async def exclusive(self, endpoint: Endpoint) -> AsyncIterator[Device]:
        """The driver of the miner at `endpoint`, for the calling task alone.

        Raises:
            DeviceError: its family is not known yet and cannot be found out.
        """
        line = self._by_place[(endpoint.address, endpoint.ports.api)]
        async with line.lock:
            yield await self._device(line)

    def rebind(self, endpoints: Mapping[int, Endpoint]) -> bool:
        """Ask some targets, by their place in the list, at other endpoints from now on.

        False, and nothing changes, while one of them is being spoken to: its miner would get two connections.
        """
        if any(self._lines[i].lock.locked() for i in endpoints):
            return False
        for i, endpoint in endpoints.items():
            self._lines[i].target = replace(self._lines[i].target, endpoint=endpoint)
            self.forget(i)
        self._by_place = {
            (line.target.endpoint.address, line.target.endpoint.ports.api): line for line in self._lines
        }
        return True

    async def who(self, place: int) -> Identity:
        """Ask anew who answers at the address of the target at this place; nothing remembered is used.

        Raises:
            DeviceError: it cannot be found out.
        """
        line = self._lines[place]
        endpoint = line.target.endpoint
        try:
            async with self._sockets, asyncio.timeout(endpoint.deadline_s), line.lock:
                family = await identify_family(endpoint, self._clock)
                return await open_device(family, endpoint, self._clock).identify()
        except TimeoutError as error:
            raise Timeout(endpoint.address, f"no whole answer within {endpoint.deadline_s:g} s") from error
        except DeviceError:
            raise
        except Exception as error:
            log.exception("%s: the driver failed", endpoint.address)
            fault = f"the driver failed on this reply ({type(error).__name__}); please report it"
            raise Malformed(endpoint.address, fault) from error

    def forget(self, place: int) -> None:
        """Take nothing that is known of the target at this place for granted at its next reading."""
        line = self._lines[place]
        line.device, line.last = None, None
        line.strange = line.silent = line.rests = 0

    async def _poll(self, line: _Line) -> PollResult:
        target = line.target
        async with self._place(line), self._sockets:
            started = self._clock.now()
            reading: Reading | None = None
            failure: DeviceError | None = None
            try:
                # The deadline covers all requests of one read, and waiting for a write to finish.
                line.asked = False
                deadline_s = target.endpoint.deadline_s
                async with asyncio.timeout(deadline_s) as limit, line.lock:
                    line.asked = True
                    if line.device is None:
                        # Finding out what it is must not eat the time for its first, longest read.
                        await self._device(line)
                        limit.reschedule(asyncio.get_running_loop().time() + deadline_s)
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

    @asynccontextmanager
    async def _place(self, line: _Line) -> AsyncIterator[None]:
        """One of the places, for as long as the miner may be expected to answer; none for a silent one."""
        if line.silent > 0:
            yield
            return
        await self._places.acquire()
        held = True

        def give_up() -> None:
            nonlocal held
            if held:
                held = False
                self._places.release()

        patience = asyncio.get_running_loop().call_later(_PATIENCE_S, give_up)
        try:
            yield
        finally:
            patience.cancel()
            give_up()

    def _resting(self, line: _Line) -> PollResult | None:
        """The last result of a miner that is left alone in this round; None for one that is asked."""
        if line.rests <= 0 or line.last is None:
            return None
        line.rests -= 1
        return line.last

    def _note(self, line: _Line, failure: DeviceError | None) -> None:
        if not (line.asked and was_silent(failure)):
            line.silent = line.rests = 0
            return
        line.silent += 1
        # 0, 1, 3 and then always 3 rounds of rest.
        line.rests = min(2 ** (line.silent - 1), _LONGEST_REST) - 1

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


def was_silent(failure: DeviceError | None) -> bool:
    """True if the attempt cost its whole time: nobody took the connection, or nobody answered on it."""
    return isinstance(failure, Timeout) or isinstance(getattr(failure, "__cause__", None), TimeoutError)

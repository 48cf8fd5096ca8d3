"""Finds miners among addresses. Only a host that listens on a miner's port gets bytes, and only questions.

The order is the cheap one: who takes a connection on 4028, else on 80; which family is it; who is it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import resource
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.clock import Clock
from agent.devices.device import Credentials, Endpoint, Ports
from agent.devices.families import open_device
from agent.devices.identify import identify_family
from agent.devices.numbers import text
from agent.discovery.pace import TokenBucket
from agent.discovery.ranges import Ranges
from agent.errors import DeviceError
from agent.mac_address import normalise_mac

log = logging.getLogger(__name__)
# Long enough for a lost first packet to be sent again.
_CONNECT_S = 2.0
# Strangers are listed up to here, and counted beyond.
_STRANGERS_SHOWN = 1000
_OWN_FILES = 64


@dataclass(frozen=True, slots=True)
class Found:
    """One miner that answered. `model` is the firmware's own text.

    Args:
        mac: normalised; None where the miner did not tell it.
        identified: False where it shows the marks of the family but did not say who it is.
        problem: why MAC or model are unknown.
    """

    address: str
    family: str
    model: str | None = None
    firmware: str | None = None
    firmware_version: str | None = None
    mac: str | None = None
    serial: str | None = None
    identified: bool = True
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Stranger:
    """A host that listens on a miner's port and is no miner that is known here."""

    address: str
    said: str


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """How a search behaves.

    Args:
        concurrency: hosts under way at once.
        rate_per_s: connections begun per second to find out who listens.
        host_s: wall seconds for one host, all questions together.
        credentials: login for miners that ask for one to tell who they are; None is the factory's.
    """

    concurrency: int = 256
    rate_per_s: float = 200.0
    host_s: float = 10.0
    ports: Ports = field(default_factory=Ports)
    credentials: Credentials | None = None


class Scan:
    """One search over some ranges. What it has found stands in its fields at any time, also after a stop."""

    def __init__(self, ranges: Ranges, options: ScanOptions, clock: Clock) -> None:
        self.ranges = ranges
        self.found: list[Found] = []
        self.strangers: list[Stranger] = []
        self.stranger_count = 0
        self.asked = 0
        self.complete = False
        self._options = options
        self._clock = clock
        self._bucket = TokenBucket(options.rate_per_s, clock)

    async def run(self, on_host: Callable[[], None] | None = None) -> None:
        """Search every address once; no host's failure ends it.

        Args:
            on_host: called after each address.
        """
        addresses = iter(self.ranges)

        async def worker() -> None:
            for address in addresses:
                await self._host(address)
                self.asked += 1
                if on_host is not None:
                    on_host()

        # One connection a host, and no more than the process may open.
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _OWN_FILES
        async with asyncio.TaskGroup() as group:
            for _ in range(max(1, min(self._options.concurrency, len(self.ranges), files))):
                group.create_task(worker())
        self.found.sort(key=lambda miner: _order(miner.address))
        self.strangers.sort(key=lambda host: _order(host.address))
        self.complete = True

    async def _host(self, address: str) -> None:
        endpoint = Endpoint(
            address, self._options.ports, self._options.credentials, deadline_s=self._options.host_s
        )
        if not await self._listens(endpoint):
            return
        family: str | None = None
        try:
            async with asyncio.timeout(self._options.host_s):
                family = await identify_family(endpoint, self._clock)
                self.found.append(await self._who(endpoint, family))
        except TimeoutError:
            self._unclear(address, family, f"no whole answer within {self._options.host_s:g} s")
        except DeviceError as error:
            self._unclear(address, family, f"{error.kind}: {error.detail}")
        except Exception as error:
            # A fault in reading one host's answer must cost that host, never the whole search.
            log.exception("%s: identification failed", address)
            self._unclear(address, family, f"identification failed on its answer ({type(error).__name__})")

    async def _listens(self, endpoint: Endpoint) -> bool:
        """True if the host takes a connection on a miner's port. Nothing is sent."""
        for port in (endpoint.ports.api, endpoint.ports.web):
            await self._bucket.take()
            taken = await _connects(endpoint.address, port, min(_CONNECT_S, self._options.host_s / 2))
            if taken is not False:
                # None: there is no such host, and another port would only cost time.
                return bool(taken)
        return False

    async def _who(self, endpoint: Endpoint, family: str) -> Found:
        identity = await open_device(family, endpoint, self._clock).identify()
        mac = normalise_mac(identity.mac) if identity.mac is not None else None
        return Found(
            address=endpoint.address,
            family=identity.family,
            model=text(identity.model),
            firmware=identity.firmware,
            firmware_version=text(identity.firmware_version),
            mac=mac,
            serial=text(identity.serial),
            problem=None if mac is not None else "it did not tell its MAC; a wrong login is the usual cause",
        )

    def _unclear(self, address: str, family: str | None, words: str) -> None:
        if family is not None:
            self.found.append(Found(address, family, identified=False, problem=words))
        else:
            self._strange(address, words)

    def _strange(self, address: str, said: str) -> None:
        self.stranger_count += 1
        if len(self.strangers) < _STRANGERS_SHOWN:
            self.strangers.append(Stranger(address, said))


async def _connects(address: str, port: int, within_s: float) -> bool | None:
    """True: taken; False: refused, the host is there; None: nobody answers."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(within_s):
            transport, _ = await loop.create_connection(asyncio.Protocol, address, port)
    except ConnectionRefusedError:
        return False
    except (TimeoutError, OSError):
        return None
    transport.abort()
    return True


def _order(address: str) -> tuple[int, int]:
    place = ipaddress.ip_address(address)
    return place.version, int(place)

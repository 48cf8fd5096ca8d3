"""The `Device` protocol: what every firmware driver offers, and the small records it speaks in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from agent.hardware.bounds import PermittedSetting
from agent.pools.guard import PermittedPools
from agent.reading import Pool, Reading
from agent.setting import Knob, Setting


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports of one miner; the defaults are the real ones."""

    api: int = 4028
    web: int = 80
    status: int = 6060
    api_v3: int = 4433
    ssh: int = 22


@dataclass(frozen=True, slots=True)
class Credentials:
    """User and password for one family. The password never shows in repr, logs or errors."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r}, password=***)"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one miner is and how to log in.

    Args:
        address: IPv4/IPv6 address or host name.
        ports: TCP ports.
        credentials: None means the family's factory default.
        deadline_s: wall-clock seconds for one `identify`, `read` or `capabilities`.
        write_deadline_s: wall-clock seconds for one write; stock Antminers need 35 or more.
    """

    address: str
    ports: Ports = Ports()
    credentials: Credentials | None = None
    deadline_s: float = 10.0
    write_deadline_s: float = 40.0


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a miner says it is. `model` is the firmware's own text; profiles are found by alias."""

    family: str
    vendor: str
    firmware: str
    firmware_version: str | None = None
    model: str | None = None
    mac: str | None = None
    serial: str | None = None

    @classmethod
    def of(cls, family: str, reading: Reading, model: str | None) -> Identity:
        """What a reading says of it.

        Args:
            model: the firmware's own text, which a reading need not hold.
        """
        return cls(
            family=family,
            vendor=reading.vendor or "unknown",
            firmware=reading.firmware or "unknown",
            firmware_version=reading.firmware_version,
            model=model,
            mac=reading.mac,
            serial=reading.serial,
        )


@dataclass(frozen=True, slots=True)
class ReportedControl:
    """What the firmware itself says of one knob; None where it says nothing.

    `choices` holds work modes; `minimum` and `maximum` are in the knob's unit. `values` are the only
    numbers that the firmware takes (presets), rising; None where any number in the range will do.
    """

    knob: Knob
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] | None = None
    values: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What can be asked of this unit now.

    Args:
        controls: knobs the firmware offers, with the ranges it reports.
        writable: False where the owner has not opened the write API, None where unknown.
        remedy: what the owner must enable when `writable` is False.
    """

    controls: tuple[ReportedControl, ...]
    writable: bool | None = None
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """What one `apply` observed. None of this is proof: telemetry confirms later.

    Args:
        acknowledged: True: the miner said OK; None: no answer (unknown, never "failed").
        already_set: True: the read showed the target, so nothing was sent.
        before: the setting read before the write, None where the firmware does not say.
        readback: the setting read after the write, None where it could not be read yet.
        sent: the command with secrets removed, for the journal.
    """

    acknowledged: bool | None
    already_set: bool
    before: Setting | None
    readback: Setting | None
    sent: str | None


@dataclass(frozen=True, slots=True)
class PoolsApplied:
    """What one `set_pools` observed; the miner's own list tells the truth.

    Args:
        acknowledged: True: the miner said OK; None: no answer (unknown, never "failed").
        already_set: True: the read showed these pools, so nothing was sent.
        before: the pools read before the write.
        readback: the pools read after the write, None where they could not be read yet.
    """

    acknowledged: bool | None
    already_set: bool
    before: tuple[Pool, ...]
    readback: tuple[Pool, ...] | None


class Device(Protocol):
    """One miner behind one firmware API.

    Every method opens and closes what it needs within the endpoint's deadlines and raises only
    `DeviceError`. At most one connection per miner is open at a time; the caller does not call two
    methods of one device at once.
    """

    family: str
    endpoint: Endpoint

    async def identify(self) -> Identity:
        """Ask who it is. Slow facts; call rarely."""
        ...

    async def read(self) -> Reading:
        """Read once; two requests or fewer after the first call."""
        ...

    async def capabilities(self) -> Capabilities:
        """Ask what can be set and in which range. Slow facts; call rarely."""
        ...

    async def apply(self, setting: PermittedSetting) -> Applied:
        """Read, write if needed, read back. Raises before writing when the first read fails."""
        ...

    async def set_pools(self, pools: PermittedPools) -> PoolsApplied:
        """Read, replace the pools if they differ, read back. Everything else on the miner stays as it is.

        Raises:
            Unsupported: this driver does not write pools. DeviceError: before writing, when a read fails.
        """
        ...

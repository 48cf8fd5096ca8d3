"""Every error hashmargin raises on purpose, under one root with two branches.

`InputError`: something a person wrote or stored is wrong, and a person must mend it.
`DeviceError`: a miner did not do what it was asked; the caller decides what that means.
"""

from __future__ import annotations

from pathlib import Path


class HashmarginError(Exception):
    """Root of every error that hashmargin raises on purpose."""


class InputError(HashmarginError):
    """A file, an option or stored data is wrong and needs a person."""


class ConfigError(InputError):
    """A YAML file has a value that cannot be used.

    Args:
        path: the file, or None for text that has no file.
        line: 1-based line of the offending key, or None where it is missing altogether.
        key: dotted path of the key, for example `miners.3.address`.
        problem: what is wrong and what was expected.
    """

    def __init__(self, path: Path | None, line: int | None, key: str, problem: str) -> None:
        self.path = path
        self.line = line
        self.key = key
        self.problem = problem
        place = str(path) if path is not None else "<text>"
        if line is not None:
            place = f"{place}:{line}"
        super().__init__(f"{place}: {key}: {problem}" if key else f"{place}: {problem}")


class DataError(InputError):
    """Telemetry, market or price data fails validation; the message names row and column."""


class BundleError(InputError):
    """A model bundle is missing, damaged, or was made for another feature table."""


class StoreError(InputError):
    """The agent's local database cannot be used (full disk, no permission, wrong owner)."""


class UplinkError(HashmarginError):
    """The dashboard could not be reached or refused a batch; what was to be sent stays queued."""


class SourceError(HashmarginError):
    """Prices or market data could not be fetched or cannot be true; those fetched before stay in use."""


class OutOfBounds(HashmarginError):
    """A setting lies outside profile, firmware range and site override; it was not sent."""


class DeviceError(HashmarginError):
    """A miner could not be read or changed.

    Args:
        address: host the request went to.
        detail: what happened and, where there is one, the remedy.
    """

    kind = "error"

    def __init__(self, address: str, detail: str) -> None:
        self.address = address
        self.detail = detail
        super().__init__(f"{address}: {detail}")


class Unreachable(DeviceError):
    """No connection: refused, no route, or closed before a byte came back."""

    kind = "unreachable"


class Timeout(DeviceError):
    """The deadline passed. After a write this means "unknown", never "failed"."""

    kind = "timeout"


class Unauthorised(DeviceError):
    """The miner rejected the user name, password or token."""

    kind = "unauthorised"


class WriteDisabled(DeviceError):
    """The owner has not opened the write API; the message says what to enable, we never do it."""

    kind = "write_disabled"


class Unsupported(DeviceError):
    """This firmware does not offer the command or setting."""

    kind = "unsupported"


class Refused(DeviceError):
    """The miner understood the request and said no."""

    kind = "refused"


class WrongMiner(DeviceError):
    """Another machine than the configured one answers at this address; nothing was written to it."""

    kind = "wrong_miner"


class Malformed(DeviceError):
    """The reply cannot be read as what the protocol promises."""

    kind = "malformed"

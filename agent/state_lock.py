"""The lock of a site's state folder: whoever holds it is the only one that changes the site's miners."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.errors import StoreError

_FILE = "agent.lock"


@contextmanager
def sole_holder(folder: Path, remedy: str, name: str | None = None) -> Iterator[None]:
    """Hold the state folder for this process alone; it is made where it is missing.

    Args:
        remedy: what to do if an agent holds it, for the error.
        name: what holds it, for the error of the next one; None for an agent.

    Raises:
        StoreError: another process holds it, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        # Unbuffered: what a full disk did not take would be tried again when the file is closed.
        handle = (folder / _FILE).open("ab+", buffering=0)
    except OSError as error:
        raise _unusable(folder, error) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            handle.seek(0)
            held = handle.read(200).decode(errors="replace")
            raise StoreError(f"{folder}: {_held(held, remedy)}") from error
        try:
            handle.truncate(0)
            handle.write((str(os.getpid()) if name is None else f"{os.getpid()} {name}").encode())
        except OSError as error:
            raise _unusable(folder, error) from error
        yield


def _unusable(folder: Path, error: OSError) -> StoreError:
    return StoreError(f"{folder}: cannot be used: {error.strerror}; check its owner and free space")


def _held(text: str, remedy: str) -> str:
    process, _, name = text.strip().partition(" ")
    if name:
        return f"`{name}` (process {process}) is changing miners of this site; wait until it has ended"
    return f"another agent (process {process or 'unknown'}) runs this site; {remedy}"

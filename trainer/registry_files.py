"""Files of a registry: folders that appear whole, links that change in one step, one writer."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from agent.errors import StoreError

_PARTIAL = ".partial-"
_WAIT_S = 30.0
_CHUNK = 1 << 20


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """Hold the registry's writer lock, which a killed process gives back by dying.

    Raises:
        StoreError: another process has held it for half a minute, or the folder cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        handle = os.open(root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreError(f"{root}: the registry cannot be written: {error.strerror}") from error
    try:
        give_up = time.monotonic() + _WAIT_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > give_up:
                    raise StoreError(f"{root}: another process is writing to this registry") from error
                time.sleep(0.05)
        yield
    finally:
        os.close(handle)


def store_folder(files: Mapping[str, Path], target: Path) -> None:
    """Copy `files` by name into the new folder `target`, which appears only when all of it is on disk.

    Call it under `writing`.

    Raises:
        StoreError: a file cannot be read or written, or `target` exists.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f"{_PARTIAL}{target.name}-", dir=target.parent))
        try:
            for name, source in files.items():
                with source.open("rb") as reader, (partial / name).open("xb") as writer:
                    shutil.copyfileobj(reader, writer, _CHUNK)
                    writer.flush()
                    os.fsync(writer.fileno())
            partial.chmod(0o755)
            sync_folder(partial)
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        sync_folder(target.parent)
    except OSError as error:
        raise StoreError(f"{target}: cannot be stored: {error.strerror}: {error.filename}") from error


def clear_partial(folder: Path) -> None:
    """Remove what a writer that died left half done. Call it under `writing`."""
    for partial in folder.glob(f"{_PARTIAL}*"):
        shutil.rmtree(partial, ignore_errors=True)


def point(link: Path, target: Path | None) -> None:
    """Make `link` lead to `target` (relative to it) in one step; None removes it. Call it under `writing`.

    Raises:
        StoreError: it cannot be changed, or something else than a link is there.
    """
    try:
        if link.exists() and not link.is_symlink():
            raise StoreError(f"{link}: is no link of the registry; move it away")
        if target is None:
            link.unlink(missing_ok=True)
        elif not link.is_symlink() or link.readlink() != target:
            link.parent.mkdir(parents=True, exist_ok=True)
            fresh = link.parent / f"{_PARTIAL}{link.name}"
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(target)
            fresh.replace(link)
        if link.parent.is_dir():
            sync_folder(link.parent)
    except OSError as error:
        raise StoreError(f"{link}: cannot be changed: {error.strerror}") from error


def sha256(file: Path) -> str:
    """Hex SHA-256 of a file. Raises StoreError where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise StoreError(f"{file}: cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def sync_folder(folder: Path) -> None:
    """Put the names in `folder` on disk. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

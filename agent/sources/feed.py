"""A file on disk that is read anew when it changes: one a person keeps, or the cache of a source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from agent.errors import DataError

T = TypeVar("T")
D = TypeVar("D")


class Feed(Generic[T]):
    """What a file holds; the last that could be read stays in use.

    Args:
        path: the file.
        read: makes a value of it; raises DataError.
        nothing: the value while there is no file; None: it must be there from the start.
        source: name of the source whose cache the file is; None for a file that a person keeps.

    Raises:
        DataError: the file is needed and cannot be used.
    """

    def __init__(
        self, path: Path, read: Callable[[Path], T], nothing: T | None = None, source: str | None = None
    ) -> None:
        self._path = path
        self._read = read
        self._source = source
        self._seen: tuple[int, int] | None = None
        if nothing is None:
            self._seen = self._stamp()
            self.value = read(path)
        else:
            self.value = nothing
            self.refresh()

    @property
    def name(self) -> str:
        """For words to people."""
        return f"source {self._source}" if self._source is not None else str(self._path)

    def refresh(self) -> str | None:
        """Read the file if it changed. Returns what is wrong with it, if something is."""
        stamp = self._stamp()
        if stamp is None or stamp == self._seen:
            return None
        self._seen = stamp
        try:
            self.value = self._read(self._path)
        except DataError as error:
            return f"{error}; the data read before stays in use"
        return None

    def _stamp(self) -> tuple[int, int] | None:
        try:
            info = self._path.stat()
        except OSError:
            return None
        return info.st_mtime_ns, info.st_size


class Derived(Generic[T, D]):
    """A feed with what is computed from its value, which is computed anew when that changes.

    Args:
        compute: makes `value` of the feed's.
        what: what the feed holds; begins the words on what is wrong with it.
    """

    def __init__(self, feed: Feed[T], compute: Callable[[T], D], what: str) -> None:
        self.feed = feed
        self._compute = compute
        self._what = what
        self.value = compute(feed.value)

    def refresh(self) -> str | None:
        """Read what changed. Returns what is wrong, if something is; the last good value stays in use."""
        before = self.feed.value
        problem = self.feed.refresh()
        if self.feed.value is not before:
            self.value = self._compute(self.feed.value)
        return None if problem is None else f"{self._what}: {problem}"

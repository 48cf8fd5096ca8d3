"""The file system of a simulated control board: a few small files in memory, bounded like the real flash.

What the files mean is left to others. Paths are absolute and normalised.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping

MAX_FILES = 64
MAX_FILE_BYTES = 64 * 1024
PERSISTENT = "/config"
DIRECTORIES = (
    "/",
    "/bin",
    "/config",
    "/dev",
    "/etc",
    "/etc/init.d",
    "/home",
    "/home/root",
    "/tmp",  # noqa: S108 - a simulated path
    "/usr",
    "/usr/bin",
    "/var",
    "/var/log",
)


class FileError(Exception):
    """An operation on files failed; the message is what BusyBox prints after the path."""


class Files:
    """Files and directories of one control board.

    Args:
        image: what the firmware image brings; outside /config it is all that is left after a reboot.
    """

    def __init__(self, image: Mapping[str, bytes]) -> None:
        self._image = dict(image)
        self._files = dict(image)
        self._directories = set(DIRECTORIES)
        self._executable = {path for path in image if path.startswith("/etc/init.d/")}

    def copy(self) -> Files:
        """Another set of files with the same content; neither sees what is done to the other."""
        twin = Files(self._image)
        twin._files = dict(self._files)
        twin._directories = set(self._directories)
        twin._executable = set(self._executable)
        return twin

    def boot(self) -> None:
        """What is not in the flash partition is gone: it was a RAM disk made from the image."""
        kept = {path: data for path, data in self._files.items() if _persistent(path)}
        fresh = {path: data for path, data in self._image.items() if not _persistent(path)}
        self._files = fresh | kept
        self._directories = set(DIRECTORIES) | {path for path in self._directories if _persistent(path)}
        self._executable = {path for path in self._image if path.startswith("/etc/init.d/")}

    def is_file(self, path: str) -> bool:
        """True for a regular file."""
        return path in self._files

    def is_directory(self, path: str) -> bool:
        """True for a directory."""
        return path in self._directories

    def is_executable(self, path: str) -> bool:
        """True for a file that may be run."""
        return path in self._executable

    def read(self, path: str) -> bytes:
        """The content of a file.

        Raises:
            FileError: there is none.
        """
        if path in self._directories:
            raise FileError("Is a directory")
        if path not in self._files:
            raise FileError("No such file or directory")
        return self._files[path]

    def write(self, path: str, data: bytes) -> None:
        """Make or replace a file. What does not fit is cut off, as on a full flash.

        Raises:
            FileError: it cannot be made, or not all of it fitted.
        """
        if path in self._directories:
            raise FileError("Is a directory")
        if posixpath.dirname(path) not in self._directories:
            raise FileError("No such file or directory")
        if path not in self._files and self._full:
            raise FileError("No space left on device")
        self._files[path] = data[:MAX_FILE_BYTES]
        if len(data) > MAX_FILE_BYTES:
            raise FileError("No space left on device")

    def move(self, source: str, target: str) -> None:
        """Rename a file over another; it is one step, as within one real file system.

        Raises:
            FileError: there is no such file, or it cannot be put there.
        """
        data = self.read(source)
        if source == target:
            return
        if target in self._directories:
            raise FileError("Is a directory")
        if posixpath.dirname(target) not in self._directories:
            raise FileError("No such file or directory")
        del self._files[source]
        self._files[target] = data
        self._executable.discard(target)
        if source in self._executable:
            self._executable.discard(source)
            self._executable.add(target)

    def remove(self, path: str) -> None:
        """Delete a file.

        Raises:
            FileError: there is no such file.
        """
        if path in self._directories:
            raise FileError("Is a directory")
        if path not in self._files:
            raise FileError("No such file or directory")
        del self._files[path]
        self._executable.discard(path)

    def make_directory(self, path: str, *, parents: bool = False) -> None:
        """Make a directory.

        Raises:
            FileError: it is there already, or its parent is not.
        """
        if path in self._directories and parents:
            return
        if path in self._directories or path in self._files:
            raise FileError("File exists")
        parent = posixpath.dirname(path)
        if parent not in self._directories:
            if not parents:
                raise FileError("No such file or directory")
            self.make_directory(parent, parents=True)
        if self._full:
            raise FileError("No space left on device")
        self._directories.add(path)

    def remove_directory(self, path: str) -> None:
        """Delete an empty directory.

        Raises:
            FileError: it is not empty, not there, or not a directory.
        """
        if path not in self._directories:
            raise FileError("Not a directory" if path in self._files else "No such file or directory")
        if path in DIRECTORIES:
            raise FileError("Device or resource busy")
        if self.names(path):
            raise FileError("Directory not empty")
        self._directories.discard(path)

    def set_executable(self, path: str, executable: bool) -> None:
        """Change whether a file may be run.

        Raises:
            FileError: there is no such file.
        """
        if path in self._directories:
            return
        self.read(path)
        (self._executable.add if executable else self._executable.discard)(path)

    def names(self, directory: str) -> list[str]:
        """What is directly in a directory, sorted."""
        return sorted(_children(directory, (*self._files, *self._directories)))

    @property
    def _full(self) -> bool:
        return len(self._files) + len(self._directories) >= MAX_FILES + len(DIRECTORIES)


def _children(directory: str, paths: Iterable[str]) -> set[str]:
    return {
        posixpath.basename(path) for path in paths if path != "/" and posixpath.dirname(path) == directory
    }


def _persistent(path: str) -> bool:
    return path == PERSISTENT or path.startswith(PERSISTENT + "/")

"""The shell of a control board: as much of BusyBox ash as a client needs that reads, writes and swaps files.

Lists with `;`, `&&`, `||` and `!`, pipes, redirections and quotes. What it does not know it refuses aloud, as
ash does: a syntax error with status 2, a missing command with 127. The commands are in `commands`.
"""

from __future__ import annotations

import posixpath
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from simulator.peers.antminer_old.files import MAX_FILE_BYTES, FileError, Files
from simulator.peers.antminer_old.grammar import Pipeline, ShellSyntaxError, Simple, parse

MAX_STEPS = 256
MAX_DEPTH = 4
MAX_OUTPUT_BYTES = 256 * 1024
_NOWHERE = "/dev/null"


class Input:
    """What a command can read: the session's input, or the output of the command before it.

    Args:
        chunks: pieces as they arrive.
    """

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks

    async def read_all(self) -> bytes:
        """Everything to the end, or somewhat more than a file can hold."""
        received = bytearray()
        async for chunk in self._chunks:
            received += chunk
            if len(received) > MAX_FILE_BYTES:
                break
        return bytes(received)


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    if data:
        yield data


def text_input(data: bytes) -> Input:
    """Input that is all there already."""
    return Input(_pieces(data))


@dataclass(slots=True)
class Call:
    """One command as it is run: its words, its input, and what it prints."""

    words: list[str]
    stdin: Input
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)

    def print(self, text: str) -> None:
        """One line to standard output."""
        self.stdout += text.encode(errors="replace") + b"\n"

    def complain(self, text: str) -> int:
        """One line to standard error; the status of failure."""
        self.stderr += text.encode(errors="replace") + b"\n"
        return 1


Command = Callable[["Shell", Call], Awaitable[int]]


class Shell:
    """One session's shell.

    Args:
        files: the file system it sees.
        commands: what it can run, by name.
        programs: what it can run by path, such as init scripts.
    """

    def __init__(self, files: Files, commands: dict[str, Command], programs: dict[str, Command]) -> None:
        self.files = files
        self._commands = commands
        self._programs = programs
        self.directory = "/home/root"
        self.status = 0
        self.exits = False
        self._stops_at_failure = False
        self._steps = 0
        self._depth = 0

    def path(self, word: str) -> str:
        """An absolute, normal path of what somebody wrote."""
        joined = posixpath.normpath(posixpath.join(self.directory, word))
        return "/" + joined.lstrip("/")

    def child(self) -> Shell:
        """A shell started by this one, which counts for what it does."""
        shell = Shell(self.files, self._commands, self._programs)
        shell.directory, shell._steps, shell._depth = self.directory, self._steps, self._depth + 1
        if shell._depth > MAX_DEPTH:
            shell._steps = MAX_STEPS
        return shell

    def has(self, name: str) -> bool:
        """True for a command of this shell."""
        return name in self._commands

    def stop_at_failure(self, stops: bool) -> None:
        """What `set -e` asks for."""
        self._stops_at_failure = stops

    async def run(self, line: str, stdin: Input) -> tuple[bytes, bytes, int]:
        """Run one line, or several; standard output, standard error and status."""
        out, errors = bytearray(), bytearray()
        try:
            pipelines = parse(line)
        except ShellSyntaxError as error:
            self.status = 2
            return b"", f"sh: {error}\n".encode(errors="replace"), 2
        joint = ";"
        for pipeline in pipelines:
            # A part that is passed over leaves the status as it is, and the next joint decides on it again.
            if not (joint == "&&" and self.status != 0) and not (joint == "||" and self.status == 0):
                await self._pipeline(pipeline, stdin, out, errors)
                tested = pipeline.after != ";" or pipeline.negated
                self.exits |= self._stops_at_failure and self.status != 0 and not tested
            if self.exits:
                break
            joint = pipeline.after
        return bytes(out[:MAX_OUTPUT_BYTES]), bytes(errors[:MAX_OUTPUT_BYTES]), self.status

    async def _pipeline(self, pipeline: Pipeline, stdin: Input, out: bytearray, errors: bytearray) -> None:
        source = stdin
        for number, simple in enumerate(pipeline.parts):
            self._steps += 1
            if self._steps > MAX_STEPS:
                errors += b"sh: out of memory\n"
                self.status, self.exits = 2, True
                return
            printed = await self._simple(simple, source, errors)
            if number == len(pipeline.parts) - 1:
                out += printed
            else:
                source = text_input(printed)
        if pipeline.negated:
            self.status = int(self.status == 0)

    async def _simple(self, simple: Simple, stdin: Input, errors: bytearray) -> bytes:
        """Run one command with its redirections; returns what is left for the standard output."""
        source = stdin
        targets = {1: "&1", 2: "&2"}
        for kind, name in simple.redirections:
            if kind == "<":
                try:
                    source = text_input(self.files.read(self.path(name)))
                except FileError:
                    return self._refuse(errors, f"can't open {name}: no such file")
            elif kind == "2>&1":
                targets[2] = targets[1]
            elif kind == "1>&2":
                targets[1] = targets[2]
            else:
                reason = self._opened(self.path(name), appends=kind.endswith(">>"))
                if reason:
                    return self._refuse(errors, f"can't create {name}: {reason}")
                targets[2 if kind.startswith("2") else 1] = self.path(name)
        call = Call([word.replace("$?", str(self.status)) for word in simple.words], source)
        self.status = await self._call(call)
        left = bytearray()
        for printed, target in ((call.stderr, targets[2]), (call.stdout, targets[1])):
            if target == "&1":
                left += printed
            elif target == "&2":
                errors += printed
            elif not self._appended(target, bytes(printed)):
                errors += f"{call.words[0]}: write error: No space left on device\n".encode()
                self.status = 1
        return bytes(left)

    def _refuse(self, errors: bytearray, message: str) -> bytes:
        errors += f"sh: {message}\n".encode(errors="replace")
        self.status = 1
        return b""

    def _opened(self, path: str, *, appends: bool) -> str:
        """Make or empty the target of a redirection; why not, where that fails."""
        if path == _NOWHERE:
            return ""
        try:
            self.files.write(path, self.files.read(path) if appends and self.files.is_file(path) else b"")
        except FileError as error:
            return "nonexistent directory" if str(error).startswith("No such") else str(error)
        return ""

    def _appended(self, path: str, data: bytes) -> bool:
        if path == _NOWHERE or not data:
            return True
        try:
            self.files.write(path, (self.files.read(path) if self.files.is_file(path) else b"") + data)
        except FileError:
            return False
        return True

    async def _call(self, call: Call) -> int:
        if not call.words:
            return 0
        name = call.words[0]
        if "/" not in name:
            command = self._commands.get(name)
            if command is not None:
                return await command(self, call)
            if "=" in name and name.partition("=")[0].isidentifier():
                call.complain(f"sh: {name.partition('=')[0]}: variables are not supported")
                return 2
            call.complain(f"sh: {name}: not found")
            return 127
        path = self.path(name)
        base = posixpath.basename(path)
        if path in self._programs and self.files.is_executable(path):
            return await self._programs[path](self, call)
        if posixpath.dirname(path) in ("/bin", "/usr/bin") and base in self._commands:
            return await self._commands[base](self, call)
        if self.files.is_file(path) or self.files.is_directory(path):
            call.complain(f"sh: {name}: Permission denied")
            return 126
        call.complain(f"sh: {name}: not found")
        return 127

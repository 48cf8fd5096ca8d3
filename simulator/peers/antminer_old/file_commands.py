"""The commands of a control board's shell that make, change, list and remove files."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Sequence

from simulator.peers.antminer_old.files import FileError
from simulator.peers.antminer_old.operands import content_of, options_of
from simulator.peers.antminer_old.shell import Call, Command, Shell


async def _tee(shell: Shell, call: Call) -> int:
    parsed = options_of(call, "a")
    if parsed is None:
        return 1
    data = await call.stdin.read_all()
    call.stdout += data
    status = 0
    for operand in parsed[1]:
        path = shell.path(operand)
        try:
            kept = shell.files.read(path) if "a" in parsed[0] and shell.files.is_file(path) else b""
            shell.files.write(path, kept + data)
        except FileError as error:
            status = call.complain(f"tee: {operand}: {error}")
    return status


async def _dd(shell: Shell, call: Call) -> int:
    values = dict(word.split("=", 1) for word in call.words[1:] if "=" in word)
    if len(values) != len(call.words) - 1 or not values.keys() <= {"if", "of", "bs"}:
        return call.complain("Usage: dd [if=FILE] [of=FILE] [bs=N]")
    source, target = values.get("if", "-"), values.get("of")
    try:
        data = await content_of(shell, call, source)
    except FileError as error:
        return call.complain(f"dd: can't open '{source}': {error}")
    if target is None:
        call.stdout += data
    else:
        try:
            shell.files.write(shell.path(target), data)
        except FileError as error:
            return call.complain(f"dd: can't open '{target}': {error}")
    call.complain(f"0+1 records in\n0+1 records out\n{len(data)} bytes copied")
    return 0


def _transfer(name: str, options: str) -> Command:
    async def run(shell: Shell, call: Call) -> int:
        parsed = options_of(call, options)
        if parsed is None:
            return 1
        operands = parsed[1]
        if len(operands) < 2:
            return call.complain(f"Usage: {name} [-{options}] SOURCE... DEST")
        *sources, last = operands
        into = shell.files.is_directory(shell.path(last))
        if len(sources) > 1 and not into:
            return call.complain(f"{name}: {last}: Not a directory")
        status = 0
        for operand in sources:
            source = shell.path(operand)
            target = (
                posixpath.join(shell.path(last), posixpath.basename(source)) if into else shell.path(last)
            )
            if not shell.files.is_file(source):
                kind = (
                    "omitting directory" if shell.files.is_directory(source) else "No such file or directory"
                )
                status = call.complain(
                    f"{name}: can't {'stat' if name == 'cp' else 'rename'} '{operand}': {kind}"
                )
                continue
            if "n" in parsed[0] and shell.files.is_file(target):
                continue
            try:
                if name == "mv":
                    shell.files.move(source, target)
                else:
                    shell.files.write(target, shell.files.read(source))
                    if "p" in parsed[0] or "a" in parsed[0]:
                        shell.files.set_executable(target, shell.files.is_executable(source))
            except FileError as error:
                status = call.complain(f"{name}: can't create '{last}': {error}")
        return status

    return run


async def _rm(shell: Shell, call: Call) -> int:
    parsed = options_of(call, "f")
    if parsed is None:
        return 1
    status = 0
    for operand in parsed[1]:
        try:
            shell.files.remove(shell.path(operand))
        except FileError as error:
            if "f" not in parsed[0] or not str(error).startswith("No such"):
                status = call.complain(f"rm: can't remove '{operand}': {error}")
    return status


async def _mkdir(shell: Shell, call: Call) -> int:
    parsed = options_of(call, "p")
    if parsed is None:
        return 1

    def make(path: str) -> None:
        shell.files.make_directory(path, parents="p" in parsed[0])

    return _each(shell, call, parsed[1], make, "mkdir: can't create directory '{}'")


async def _rmdir(shell: Shell, call: Call) -> int:
    return _each(shell, call, call.words[1:], shell.files.remove_directory, "rmdir: '{}'")


async def _touch(shell: Shell, call: Call) -> int:
    def touch(path: str) -> None:
        if not shell.files.is_file(path) and not shell.files.is_directory(path):
            shell.files.write(path, b"")

    return _each(shell, call, call.words[1:], touch, "touch: {}")


async def _chmod(shell: Shell, call: Call) -> int:
    if len(call.words) < 3:
        return call.complain("Usage: chmod MODE FILE...")
    mode, *operands = call.words[1:]
    executable: bool | None
    if re.fullmatch(r"[0-7]{3,4}", mode):
        executable = any(int(digit) & 1 for digit in mode[-3:])
    elif (found := re.fullmatch(r"[ugoa]*([+-])([rwxX]+)", mode)) is not None:
        executable = found[1] == "+" if "x" in found[2] else None
    else:
        return call.complain(f"chmod: invalid mode '{mode}'")

    def change(path: str) -> None:
        if executable is not None:
            shell.files.set_executable(path, executable)
        elif not shell.files.is_directory(path):
            shell.files.read(path)

    return _each(shell, call, operands, change, "chmod: {}")


def _each(shell: Shell, call: Call, operands: Sequence[str], act: Callable[[str], None], problem: str) -> int:
    """Do something with the path of every operand; `problem` says of which one it failed."""
    status = 0
    for operand in operands:
        try:
            act(shell.path(operand))
        except FileError as error:
            status = call.complain(f"{problem.format(operand)}: {error}")
    return status


async def _ls(shell: Shell, call: Call) -> int:
    parsed = options_of(call, "1lah")
    if parsed is None:
        return 1
    letters, operands = parsed
    status = 0
    for operand in operands or ["."]:
        path = shell.path(operand)
        if shell.files.is_file(path):
            _list(shell, call, path, operand, letters)
        elif shell.files.is_directory(path):
            if len(operands) > 1:
                call.print(f"{operand}:")
            for name in shell.files.names(path):
                _list(shell, call, posixpath.join(path, name), name, letters)
        else:
            status = call.complain(f"ls: {operand}: No such file or directory")
    return status


def _list(shell: Shell, call: Call, path: str, name: str, letters: set[str]) -> None:
    if "l" not in letters:
        call.print(name)
        return
    folder = shell.files.is_directory(path)
    size = 0 if folder else len(shell.files.read(path))
    mode = "drwxr-xr-x" if folder else "-rwxr-xr-x" if shell.files.is_executable(path) else "-rw-r--r--"
    call.print(f"{mode}    1 root     root     {size:>9} Jan  1 00:00 {name}")


FILE_COMMANDS: dict[str, Command] = {
    "chmod": _chmod,
    "cp": _transfer("cp", "fpan"),
    "dd": _dd,
    "ls": _ls,
    "mkdir": _mkdir,
    "mv": _transfer("mv", "fn"),
    "rm": _rm,
    "rmdir": _rmdir,
    "tee": _tee,
    "touch": _touch,
}

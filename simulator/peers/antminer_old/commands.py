"""The commands of a control board's shell that work on files and text, with the options that clients use.

An option that is not known is refused, as BusyBox does, with its usage on standard error.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Callable

from simulator.peers.antminer_old.files import FileError
from simulator.peers.antminer_old.shell import Call, Command, Shell

_DIGESTS: dict[str, Callable[[bytes], str]] = {
    "md5sum": lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest(),
    "sha1sum": lambda data: hashlib.sha1(data, usedforsecurity=False).hexdigest(),
    "sha256sum": lambda data: hashlib.sha256(data).hexdigest(),
}


def _options(call: Call, known: str) -> tuple[set[str], list[str]] | None:
    """Single-letter options and operands; None after complaining about an option that is not known."""
    letters: set[str] = set()
    rest = call.words[1:]
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        unknown = next((letter for letter in word[1:] if letter not in known), None)
        if unknown is not None:
            call.complain(f"{call.words[0]}: invalid option -- '{unknown}'")
            call.complain(f"Usage: {call.words[0]} [-{known}] FILE..." if known else call.words[0])
            return None
        letters |= set(word[1:])
    return letters, rest


async def _content(shell: Shell, call: Call, operand: str) -> bytes:
    if operand == "-":
        return await call.stdin.read_all()
    path = shell.path(operand)
    return b"" if path == "/dev/null" else shell.files.read(path)


async def _cat(shell: Shell, call: Call) -> int:
    parsed = _options(call, "u")
    if parsed is None:
        return 1
    status = 0
    for operand in parsed[1] or ["-"]:
        try:
            call.stdout += await _content(shell, call, operand)
        except FileError as error:
            status = call.complain(f"cat: can't open '{operand}': {error}")
    return status


async def _tee(shell: Shell, call: Call) -> int:
    parsed = _options(call, "a")
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
        data = await _content(shell, call, source)
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
        parsed = _options(call, options)
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
    parsed = _options(call, "f")
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
    parsed = _options(call, "p")
    if parsed is None:
        return 1
    status = 0
    for operand in parsed[1]:
        try:
            shell.files.make_directory(shell.path(operand), parents="p" in parsed[0])
        except FileError as error:
            status = call.complain(f"mkdir: can't create directory '{operand}': {error}")
    return status


async def _rmdir(shell: Shell, call: Call) -> int:
    status = 0
    for operand in call.words[1:]:
        try:
            shell.files.remove_directory(shell.path(operand))
        except FileError as error:
            status = call.complain(f"rmdir: '{operand}': {error}")
    return status


async def _touch(shell: Shell, call: Call) -> int:
    status = 0
    for operand in call.words[1:]:
        path = shell.path(operand)
        try:
            if not shell.files.is_file(path) and not shell.files.is_directory(path):
                shell.files.write(path, b"")
        except FileError as error:
            status = call.complain(f"touch: {operand}: {error}")
    return status


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
    status = 0
    for operand in operands:
        path = shell.path(operand)
        try:
            if executable is not None:
                shell.files.set_executable(path, executable)
            elif not shell.files.is_directory(path):
                shell.files.read(path)
        except FileError as error:
            status = call.complain(f"chmod: {operand}: {error}")
    return status


async def _ls(shell: Shell, call: Call) -> int:
    parsed = _options(call, "1lah")
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


def _digest(name: str) -> Command:
    async def run(shell: Shell, call: Call) -> int:
        parsed = _options(call, "")
        if parsed is None:
            return 1
        status = 0
        for operand in parsed[1] or ["-"]:
            try:
                call.print(f"{_DIGESTS[name](await _content(shell, call, operand))}  {operand}")
            except FileError as error:
                status = call.complain(f"{name}: can't open '{operand}': {error}")
        return status

    return run


async def _wc(shell: Shell, call: Call) -> int:
    parsed = _options(call, "clw")
    if parsed is None:
        return 1
    letters, operands = parsed
    status = 0
    for operand in operands or ["-"]:
        try:
            data = await _content(shell, call, operand)
        except FileError as error:
            status = call.complain(f"wc: {operand}: {error}")
            continue
        counts = {"l": data.count(b"\n"), "w": len(data.split()), "c": len(data)}
        shown = " ".join(str(counts[letter]) for letter in "lwc" if not letters or letter in letters)
        call.print(f"{shown} {operand}" if operands else shown)
    return status


async def _head(shell: Shell, call: Call) -> int:
    words = call.words[1:]
    by, count = "n", 10
    if words and (found := re.fullmatch(r"-([nc]?)(\d*)", words[0])) is not None:
        words = words[1:]
        number = found[2] or (words.pop(0) if words else "")
        if not number.isdigit() or len(number) > 9:
            return call.complain(f"head: invalid number '{number}'")
        by, count = found[1] or "n", int(number)
    try:
        data = await _content(shell, call, words[0] if words else "-")
    except FileError as error:
        return call.complain(f"head: {words[0]}: {error}")
    call.stdout += data[:count] if by == "c" else b"".join(data.splitlines(keepends=True)[:count])
    return 0


async def _grep(shell: Shell, call: Call) -> int:
    parsed = _options(call, "qcivFEo")
    if parsed is None or not parsed[1]:
        call.complain("Usage: grep [-qcivFEo] PATTERN [FILE]...")
        return 2
    letters, (pattern, *operands) = parsed
    try:
        text = re.escape(pattern) if "F" in letters else pattern
        wanted = re.compile(text.encode(), re.IGNORECASE if "i" in letters else 0)
    except re.error:
        call.complain(f"grep: bad regex '{pattern}'")
        return 2
    found = 0
    for operand in operands or ["-"]:
        try:
            data = await _content(shell, call, operand)
        except FileError as error:
            call.complain(f"grep: {operand}: {error}")
            return 2
        for line in data.splitlines():
            match = wanted.search(line)
            if (match is None) == ("v" not in letters):
                continue
            found += 1
            if not letters & {"q", "c"}:
                call.stdout += (match[0] if match and "o" in letters else line) + b"\n"
    if "c" in letters:
        call.print(str(found))
    return int(found == 0)


async def _cut(shell: Shell, call: Call) -> int:
    options = re.fullmatch(
        r"(?: -d ?(.))? -f ?(\d{1,3})(-?)((?: [^-].*)?)", "".join(f" {w}" for w in call.words[1:])
    )
    if options is None:
        return call.complain("Usage: cut [-d C] -f N[-] [FILE]")
    separator, first, open_ended = (options[1] or "\t").encode(), int(options[2]), bool(options[3])
    try:
        data = await _content(shell, call, options[4].strip() or "-")
    except FileError as error:
        return call.complain(f"cut: {options[4].strip()}: {error}")
    for line in data.splitlines():
        fields = line.split(separator)
        chosen = fields[first - 1 :] if open_ended else fields[first - 1 : first]
        call.stdout += (line if len(fields) == 1 else separator.join(chosen)) + b"\n"
    return 0


async def _sh(shell: Shell, call: Call) -> int:
    if len(call.words) != 3 or call.words[1] != "-c":
        call.complain("sh: only -c LINE is supported")
        return 2
    inner = shell.child()
    out, errors, status = await inner.run(call.words[2], call.stdin)
    call.stdout += out
    call.stderr += errors
    return status


async def _cmp(shell: Shell, call: Call) -> int:
    parsed = _options(call, "s")
    if parsed is None or len(parsed[1]) != 2:
        call.complain("Usage: cmp [-s] FILE1 FILE2")
        return 2
    try:
        first, second = [await _content(shell, call, operand) for operand in parsed[1]]
    except FileError as error:
        call.complain(f"cmp: {error}")
        return 2
    if first != second and "s" not in parsed[0]:
        call.print(f"{parsed[1][0]} {parsed[1][1]} differ")
    return int(first != second)


async def _echo(shell: Shell, call: Call) -> int:
    words = call.words[1:]
    ends = "\n"
    if words and words[0] == "-n":
        words, ends = words[1:], ""
    call.stdout += (" ".join(words) + ends).encode(errors="replace")
    return 0


async def _printf(shell: Shell, call: Call) -> int:
    if len(call.words) < 2:
        return call.complain("Usage: printf FORMAT [ARG]...")
    form, *words = call.words[1:]
    remaining = iter(words)
    text = re.sub(r"%(.)", lambda m: "%" if m[1] == "%" else next(remaining, ""), form)
    if re.search(r"%[^s%d]", form) is not None:
        return call.complain(f"printf: {form}: invalid format")
    call.stdout += text.replace("\\n", "\n").replace("\\t", "\t").encode(errors="replace")
    return 0


async def _test(shell: Shell, call: Call) -> int:
    words = call.words[1:]
    if call.words[0] == "[":
        if not words or words[-1] != "]":
            call.complain("sh: missing ]")
            return 2
        words = words[:-1]
    negated = False
    while len(words) > 1 and words[0] == "!":
        negated, words = not negated, words[1:]
    outcome = _holds(shell, words)
    if outcome is None:
        call.complain(f"sh: {' '.join(words)}: unknown operand")
        return 2
    return int(outcome == negated)


def _holds(shell: Shell, words: list[str]) -> bool | None:
    if len(words) <= 1:
        return bool(words and words[0])
    if len(words) == 2:
        flag, operand = words
        path = shell.path(operand)
        is_file, is_folder = shell.files.is_file(path), shell.files.is_directory(path)
        answers = {
            "-f": is_file,
            "-d": is_folder,
            "-e": is_file or is_folder,
            "-r": is_file or is_folder,
            "-w": is_file or is_folder,
            "-s": is_file and bool(shell.files.read(path)),
            "-x": is_folder or shell.files.is_executable(path),
            "-L": False,
            "-h": False,
            "-n": operand != "",
            "-z": operand == "",
        }
        return answers.get(flag)
    if len(words) == 3:
        left, operator, right = words
        if operator in ("=", "==", "!="):
            return (left == right) == (operator != "!=")
        if re.fullmatch(r"-?\d{1,18}", left) and re.fullmatch(r"-?\d{1,18}", right):
            first, second = int(left), int(right)
            return {
                "-eq": first == second,
                "-ne": first != second,
                "-lt": first < second,
                "-le": first <= second,
                "-gt": first > second,
                "-ge": first >= second,
            }.get(operator)
    return None


async def _cd(shell: Shell, call: Call) -> int:
    target = shell.path(call.words[1] if len(call.words) > 1 else "/home/root")
    if not shell.files.is_directory(target):
        return call.complain(f"sh: cd: can't cd to {call.words[1]}")
    shell.directory = target
    return 0


async def _pwd(shell: Shell, call: Call) -> int:
    call.print(shell.directory)
    return 0


async def _set(shell: Shell, call: Call) -> int:
    for word in call.words[1:]:
        if word not in ("-e", "+e", "-u", "+u"):
            call.complain(f"sh: set: {word} is not supported")
            return 2
        if word.endswith("e"):
            shell.stop_at_failure(word == "-e")
    return 0


async def _exit(shell: Shell, call: Call) -> int:
    text = call.words[1] if len(call.words) > 1 else str(shell.status)
    shell.exits = True
    return int(text) & 0xFF if text.isdigit() and len(text) < 10 else 2


async def _which(shell: Shell, call: Call) -> int:
    status = 0
    for word in call.words[1:]:
        if shell.has(word):
            call.print(f"/bin/{word}")
        else:
            status = 1
    return status


async def _type(shell: Shell, call: Call) -> int:
    """`command -v`."""
    if call.words[1:2] != ["-v"]:
        call.complain("sh: command: only -v is supported")
        return 2
    status = 127
    for word in call.words[2:]:
        path = shell.path(word)
        if shell.has(word) or ("/" in word and shell.files.is_executable(path)):
            call.print(word)
            status = 0
    return status


def _always(status: int) -> Command:
    async def run(shell: Shell, call: Call) -> int:
        return status

    return run


COMMANDS: dict[str, Command] = {
    "[": _test,
    ":": _always(0),
    "cat": _cat,
    "cd": _cd,
    "chmod": _chmod,
    "cmp": _cmp,
    "command": _type,
    "cp": _transfer("cp", "fpan"),
    "cut": _cut,
    "dd": _dd,
    "echo": _echo,
    "exit": _exit,
    "false": _always(1),
    "grep": _grep,
    "head": _head,
    "ls": _ls,
    "md5sum": _digest("md5sum"),
    "mkdir": _mkdir,
    "mv": _transfer("mv", "fn"),
    "printf": _printf,
    "pwd": _pwd,
    "rm": _rm,
    "rmdir": _rmdir,
    "set": _set,
    "sh": _sh,
    "sha1sum": _digest("sha1sum"),
    "sha256sum": _digest("sha256sum"),
    "sync": _always(0),
    "tee": _tee,
    "test": _test,
    "touch": _touch,
    "true": _always(0),
    "umask": _always(0),
    "wc": _wc,
    "which": _which,
}

"""The commands of a control board's shell that read files or standard input and print what they find."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

from simulator.peers.antminer_old.files import FileError
from simulator.peers.antminer_old.operands import content_of, options_of
from simulator.peers.antminer_old.shell import Call, Command, Shell

_DIGESTS: dict[str, Callable[[bytes], str]] = {
    "md5sum": lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest(),
    "sha1sum": lambda data: hashlib.sha1(data, usedforsecurity=False).hexdigest(),
    "sha256sum": lambda data: hashlib.sha256(data).hexdigest(),
}


async def _cat(shell: Shell, call: Call) -> int:
    parsed = options_of(call, "u")
    if parsed is None:
        return 1
    status = 0
    for operand in parsed[1] or ["-"]:
        try:
            call.stdout += await content_of(shell, call, operand)
        except FileError as error:
            status = call.complain(f"cat: can't open '{operand}': {error}")
    return status


def _digest(name: str) -> Command:
    async def run(shell: Shell, call: Call) -> int:
        parsed = options_of(call, "")
        if parsed is None:
            return 1
        status = 0
        for operand in parsed[1] or ["-"]:
            try:
                call.print(f"{_DIGESTS[name](await content_of(shell, call, operand))}  {operand}")
            except FileError as error:
                status = call.complain(f"{name}: can't open '{operand}': {error}")
        return status

    return run


async def _wc(shell: Shell, call: Call) -> int:
    parsed = options_of(call, "clw")
    if parsed is None:
        return 1
    letters, operands = parsed
    status = 0
    for operand in operands or ["-"]:
        try:
            data = await content_of(shell, call, operand)
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
        data = await content_of(shell, call, words[0] if words else "-")
    except FileError as error:
        return call.complain(f"head: {words[0]}: {error}")
    call.stdout += data[:count] if by == "c" else b"".join(data.splitlines(keepends=True)[:count])
    return 0


async def _grep(shell: Shell, call: Call) -> int:
    parsed = options_of(call, "qcivFEo")
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
            data = await content_of(shell, call, operand)
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
        data = await content_of(shell, call, options[4].strip() or "-")
    except FileError as error:
        return call.complain(f"cut: {options[4].strip()}: {error}")
    for line in data.splitlines():
        fields = line.split(separator)
        chosen = fields[first - 1 :] if open_ended else fields[first - 1 : first]
        call.stdout += (line if len(fields) == 1 else separator.join(chosen)) + b"\n"
    return 0


async def _cmp(shell: Shell, call: Call) -> int:
    parsed = options_of(call, "s")
    if parsed is None or len(parsed[1]) != 2:
        call.complain("Usage: cmp [-s] FILE1 FILE2")
        return 2
    try:
        first, second = [await content_of(shell, call, operand) for operand in parsed[1]]
    except FileError as error:
        call.complain(f"cmp: {error}")
        return 2
    if first != second and "s" not in parsed[0]:
        call.print(f"{parsed[1][0]} {parsed[1][1]} differ")
    return int(first != second)


TEXT_COMMANDS: dict[str, Command] = {
    "cat": _cat,
    "cmp": _cmp,
    "cut": _cut,
    "grep": _grep,
    "head": _head,
    "md5sum": _digest("md5sum"),
    "sha1sum": _digest("sha1sum"),
    "sha256sum": _digest("sha256sum"),
    "wc": _wc,
}

"""The commands of a control board's shell that need no file: words, tests, where it is and when it ends."""

from __future__ import annotations

import re

from simulator.peers.antminer_old.shell import Call, Command, Shell


async def _sh(shell: Shell, call: Call) -> int:
    if len(call.words) != 3 or call.words[1] != "-c":
        call.complain("sh: only -c LINE is supported")
        return 2
    inner = shell.child()
    out, errors, status = await inner.run(call.words[2], call.stdin)
    call.stdout += out
    call.stderr += errors
    return status


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


SHELL_COMMANDS: dict[str, Command] = {
    ":": _always(0),
    "[": _test,
    "cd": _cd,
    "command": _type,
    "echo": _echo,
    "exit": _exit,
    "false": _always(1),
    "printf": _printf,
    "pwd": _pwd,
    "set": _set,
    "sh": _sh,
    "sync": _always(0),
    "test": _test,
    "true": _always(0),
    "umask": _always(0),
    "which": _which,
}

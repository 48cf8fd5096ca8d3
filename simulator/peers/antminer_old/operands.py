"""Options and operands of a command line, and what an operand holds.

An option that is not known is refused, as BusyBox does, with its usage on standard error.
"""

from __future__ import annotations

from simulator.peers.antminer_old.shell import Call, Shell


def options_of(call: Call, known: str) -> tuple[set[str], list[str]] | None:
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


async def content_of(shell: Shell, call: Call, operand: str) -> bytes:
    """The bytes of a file, or of standard input for `-`.

    Raises:
        FileError: it cannot be read.
    """
    if operand == "-":
        return await call.stdin.read_all()
    path = shell.path(operand)
    return b"" if path == "/dev/null" else shell.files.read(path)

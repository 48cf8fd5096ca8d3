"""What the fuzzer changes: the replies of one miner in one piece of bytes, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from agent.cli.decode import replies_in
from agent.devices.families import FAMILIES

CASES = Path(__file__).parents[1] / "cases"
# No reply holds these two bytes, which are not UTF-8, unless the fuzzer puts them there.
_MARK = b"\xff\xfe"


def families() -> tuple[str, ...]:
    """Drivers in a fixed order; the first byte of an input chooses one."""
    return tuple(sorted(FAMILIES))


def file_names(family: str) -> tuple[str, ...]:
    """Names of replies that the cases of a family have, in a fixed order."""
    folders = [folder for folder in sorted((CASES / family).iterdir()) if folder.is_dir()]
    return tuple(sorted({name for folder in folders for name in replies_in(folder)}))


def packed(family: str, replies: Mapping[str, bytes]) -> bytes:
    """One input: the family, then each reply behind a mark and the number of its name."""
    names = file_names(family)
    parts = [_MARK + bytes([names.index(name)]) + raw for name, raw in sorted(replies.items())]
    return bytes([families().index(family)]) + b"".join(parts)


def unpacked(data: bytes) -> tuple[str, dict[str, bytes]]:
    """Inverse of `packed`; any bytes give something."""
    known = families()
    family = known[data[0] % len(known)] if data else known[0]
    names = file_names(family)
    pieces = [piece for piece in data[1:].split(_MARK)[1:] if piece]
    return family, {names[piece[0] % len(names)]: piece[1:] for piece in pieces}


def seeds() -> dict[str, bytes]:
    """Every case folder as one input, by name."""
    found = {}
    for family in families():
        for folder in sorted((CASES / family).iterdir()):
            if folder.is_dir():
                found[f"{family}-{folder.name}"] = packed(family, replies_in(folder))
    return found

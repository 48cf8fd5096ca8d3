"""One configuration file of an old Antminer: read to the letter, and one value in it replaced by another.

What stands around that value stays byte for byte as the owner or the firmware wrote it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.errors import Malformed

LIMIT_BYTES = 64 * 1024
_SPACE = " \t\r\n"
_FIGURE = re.compile(r"[0-9]{1,5}(?:\.[0-9]{1,4})?")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class ConfFile:
    """A file that is one plain JSON object with each key once.

    Args:
        path: on the miner.
        text: all of it.
        values: the object.
        spans: where the value of each key begins and ends in `text`.
    """

    path: str
    text: str
    values: Mapping[str, Any]
    spans: Mapping[str, tuple[int, int]]

    def figure(self, key: str, address: str) -> str | None:
        """The digits of a value such as `"650"`, `"0706"` or `650`; None where the key is not there.

        Raises:
            Malformed: the key is there and holds no such number.
        """
        if key not in self.values:
            return None
        start, end = self.spans[key]
        raw = self.text[start:end]
        bare = raw[1:-1] if raw.startswith('"') else raw
        if not is_figure(bare):
            raise Malformed(address, f"{self.path}: {key} is {raw[:20]}, not a number above 0")
        return bare

    def with_figure(self, key: str, figure: str) -> str:
        """The text with the digits of one value replaced, in quotes if they stood in quotes."""
        start, end = self.spans[key]
        quote = '"' if self.text[start] == '"' else ""
        return f"{self.text[:start]}{quote}{figure}{quote}{self.text[end:]}"


def is_figure(text: str) -> bool:
    """True for the digits of a number above 0 with at most five places and four decimals."""
    return _FIGURE.fullmatch(text) is not None and float(text) > 0.0


def parse(raw: bytes, path: str, address: str) -> ConfFile:
    """A file as it stands, without the repairs that are fit for figures.

    Raises:
        Malformed: it is not one plain JSON object in UTF-8 with each key once, or longer than 64 KiB. What
            cannot be read to the letter cannot be written back to the letter.
    """
    if len(raw) > LIMIT_BYTES:
        raise Malformed(address, f"{path}: longer than {LIMIT_BYTES} bytes; nothing is written")
    try:
        text = raw.decode("utf-8")
        found = json.loads(text, parse_constant=_refuse, object_pairs_hook=_once)
        if not isinstance(found, dict):
            raise ValueError("not an object")
        spans = _spans(text)
    except (ValueError, RecursionError) as error:
        raise Malformed(
            address, f"{path}: cannot be read to the letter ({error}); nothing is written"
        ) from error
    return ConfFile(path, text, found, spans)


def _spans(text: str) -> dict[str, tuple[int, int]]:
    """Where the values of the outermost object stand, in text that is known to be one."""
    found: dict[str, tuple[int, int]] = {}
    at = _past(text, _past(text, 0, "") + 1, "")
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, at)
        start = _past(text, at, ":")
        _, end = _DECODER.raw_decode(text, start)
        found[key] = (start, end)
        at = _past(text, end, ",")
    return found


def _past(text: str, at: int, mark: str) -> int:
    """The place of the next sign that is neither space nor, once, `mark`."""
    while text[at] in _SPACE:
        at += 1
    return _past(text, at + 1, "") if mark and text[at] == mark else at


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found

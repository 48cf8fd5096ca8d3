"""How tables of firmware error codes are written, and what the grades of an error ask of a person."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Severity = Literal["info", "warning", "critical"]


@dataclass(frozen=True)
class Grade:
    """What one severity means, and what is to be done about it."""

    means: str
    do: str


# Worst first.
GRADES: dict[Severity, Grade] = {
    "critical": Grade(
        "the miner protects itself, has lost a part, or cannot hash",
        "today: read what it says, look at the miner; stop it if heat, water or the supply is named",
    ),
    "warning": Grade(
        "it hashes on, but worse than it could, or a part is failing",
        "this week: watch rate and temperature of the named part; clean, reseat or replace it when it stays",
    ),
    "info": Grade(
        "known to come and go in a healthy miner",
        "nothing, unless it is still there after a day or comes with another error",
    ),
}


_PLACES: dict[str, int] = {name: place for place, name in enumerate(GRADES)}


@dataclass(frozen=True)
class ErrorCode:
    """One row of a table.

    Args:
        codes: codes with one meaning, separated by spaces; `n` and then `m` are digits that the text names,
            `?` is any digit.
        text: the words; `{n}` and `{m}` are those digits.
        severity: how bad it is.
    """

    codes: str
    text: str
    severity: Severity

    def words(self, code: str) -> str | None:
        """The text for a code; None if it is not one of these."""
        found = self._pattern.fullmatch(code)
        if found is None:
            return None
        n, m, *_ = [*(digit for digit in found.groups() if digit is not None), "", ""]
        return self.text.format(n=n, m=m)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        parts = (re.sub("[nm]", "([0-9])", re.escape(code)) for code in self.codes.split())
        return re.compile("|".join(parts).replace(r"\?", "[0-9]"))


def lookup(table: Sequence[ErrorCode], code: str) -> tuple[str, Severity] | None:
    """Words and severity of the first row that has the code; None where no row has it."""
    for row in table:
        words = row.words(code)
        if words is not None:
            return words, row.severity
    return None


def worst_first(severity: str | None) -> int:
    """Key that sorts the worst to the front; a severity that is not known counts as a warning."""
    return _PLACES.get(severity or "warning", _PLACES["warning"])

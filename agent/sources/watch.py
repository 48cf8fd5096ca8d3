"""Tells people once when prices cannot be had or used, and once when they are back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# A start without a first answer and one failed fetch are nothing to call a person for.
_LOOKS = 4
PREFIX = "prices-"


@dataclass(frozen=True, slots=True)
class PriceFinding:
    """What began or is over; `key` names the source or the price."""

    key: str
    words: str
    cleared: bool


class PriceWatch:
    """Troubles of one site's prices.

    Args:
        told: alerts that stand open, key to words; those of others are left alone.
    """

    def __init__(self, told: Mapping[str, str]) -> None:
        self._told = {key: words for key, words in told.items() if key.startswith(PREFIX)}
        self._looks: dict[str, int] = {}

    def look(self, troubles: Mapping[str, str]) -> list[PriceFinding]:
        """Take in what is wrong now, by source or price. Returns what a person should be told."""
        now = {f"{PREFIX}{name}": words for name, words in troubles.items()}
        self._looks = {key: self._looks.get(key, 0) + 1 for key in now}
        found = [
            PriceFinding(key, words, cleared=False)
            for key, words in now.items()
            if key not in self._told and self._looks[key] >= _LOOKS
        ]
        found += [
            PriceFinding(key, f"over: {words}", cleared=True)
            for key, words in self._told.items()
            if key not in now
        ]
        for one in found:
            if one.cleared:
                del self._told[one.key]
            else:
                self._told[one.key] = one.words
        return found

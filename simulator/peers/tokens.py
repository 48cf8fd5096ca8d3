"""Tokens that firmware gives for a password: several at once, each gone after it falls silent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable


class Tokens:
    """Unlocked clients.

    Args:
        salt: makes the tokens of this unit differ from those of others.
        now_s: the unit's clock in seconds.
        idle_s: how long a token lives without being used.
        most: how many live at once.
        digits: length of a token.
    """

    def __init__(
        self, salt: str, now_s: Callable[[], float], *, idle_s: float, most: int, digits: int
    ) -> None:
        self._salt = salt
        self._idle_s = idle_s
        self._most = most
        self._digits = digits
        self._now_s = now_s
        self._count = 0
        self._used_s: dict[str, float] = {}

    def issue(self) -> str:
        """A new token; the one that was used longest ago goes where there are too many."""
        self._count += 1
        token = hashlib.sha256(f"{self._salt} {self._count} {self._now_s()}".encode()).hexdigest()[
            : self._digits
        ]
        if len(self._used_s) >= self._most:
            del self._used_s[min(self._used_s, key=lambda old: self._used_s[old])]
        self._used_s[token] = self._now_s()
        return token

    def use(self, token: str) -> bool:
        """True, and its whole time again, for a token that lives."""
        used_s = self._used_s.get(token)
        if used_s is None:
            return False
        if not 0.0 <= self._now_s() - used_s < self._idle_s:
            del self._used_s[token]
            return False
        self._used_s[token] = self._now_s()
        return True

    def drop(self, token: str) -> None:
        """Lock one client out."""
        self._used_s.pop(token, None)

    def drop_others(self, token: str) -> None:
        """Lock every other client out."""
        self._used_s = {kept: used_s for kept, used_s in self._used_s.items() if kept == token}

    def clear(self) -> None:
        """Lock everybody out."""
        self._used_s.clear()

"""The one session that may change a miner with LuxOS: held until a minute passes without its use."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

IDLE_S = 60.0
OTHERS = "k7Qm2xPa"


class Session:
    """At most one session at a time. It keeps actors apart; it is no protection.

    Args:
        salt: makes the ids of this unit differ from those of others.
        now_s: the unit's clock in seconds.
    """

    def __init__(self, salt: str, now_s: Callable[[], float]) -> None:
        self._salt = salt
        self._now_s = now_s
        self._count = 0
        self._id = ""
        self._used_s = 0.0

    @property
    def current(self) -> str:
        """Id of the live session, empty without one."""
        if self._id and not 0.0 <= self._now_s() - self._used_s < IDLE_S:
            self._id = ""
        return self._id

    def open(self) -> str | None:
        """Id of a new session, None while another one lives."""
        if self.current:
            return None
        self._count += 1
        text = f"{self._salt} {self._count} {self._now_s()}"
        self._id = hashlib.sha256(text.encode()).hexdigest()[:8]
        self._used_s = self._now_s()
        return self._id

    def use(self, session_id: str) -> bool:
        """True, and a minute more, where this is the live session's id."""
        if not session_id or session_id != self.current:
            return False
        self._used_s = self._now_s()
        return True

    def close(self) -> None:
        """Forget the session."""
        self._id = ""

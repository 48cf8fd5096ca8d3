"""Who may use the APIs of Braiins OS: one account, and tokens that die after an hour of silence."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from simulator.peers.braiins.refusals import Refusal
from simulator.peers.surface import Surface

FACTORY_USERNAME = "root"
FACTORY_PASSWORD = "root"  # noqa: S105 - the published factory default that the simulated miner has
TIMEOUT_S = 3600
MAX_TOKENS = 32


class Tokens:
    """Clients that are logged in.

    Args:
        salt: makes the tokens of this unit differ from those of others.
        now_s: the unit's clock in seconds.
    """

    def __init__(self, salt: str, now_s: Callable[[], float]) -> None:
        self._salt = salt
        self._now_s = now_s
        self._count = 0
        self._used_s: dict[str, float] = {}

    def issue(self) -> str:
        """A new token; the one that was used longest ago goes where there are too many."""
        self._count += 1
        token = hashlib.sha256(f"{self._salt} {self._count} {self._now_s()}".encode()).hexdigest()[:16]
        if len(self._used_s) >= MAX_TOKENS:
            del self._used_s[min(self._used_s, key=lambda old: self._used_s[old])]
        self._used_s[token] = self._now_s()
        return token

    def use(self, token: str) -> bool:
        """True, and its whole hour again, for a token that lives."""
        used_s = self._used_s.get(token)
        if used_s is None:
            return False
        if not 0.0 <= self._now_s() - used_s < TIMEOUT_S:
            del self._used_s[token]
            return False
        self._used_s[token] = self._now_s()
        return True

    def clear(self) -> None:
        """Log everybody out."""
        self._used_s.clear()


class Accounts:
    """The account of one miner and who is logged in; REST and gRPC share it.

    Args:
        surface: the miner.
    """

    def __init__(self, surface: Surface) -> None:
        self._surface = surface
        machine, options = surface.machine, surface.options
        self._tokens = Tokens(machine.mac, lambda: machine.clock.now().timestamp())
        self._username = FACTORY_USERNAME if options.username is None else options.username
        self._password: str | None = FACTORY_PASSWORD if options.password is None else options.password

    def login(self, username: str, password: str) -> str:
        """A token for the right words; any password is right where none is set.

        Raises:
            Refusal: they are wrong.
        """
        good = username == self._username and (self._password is None or password == self._password)
        if not good or self._surface.faults.login_loop:
            raise Refusal("unauthenticated", "invalid username or password")
        return self._tokens.issue()

    def knows(self, token: str) -> bool:
        """True for a token that lives; it has its whole hour again."""
        faults = self._surface.faults
        return not faults.token_expired and not faults.login_loop and self._tokens.use(token)

    def set_password(self, password: str | None) -> None:
        """Another password, or none; everybody is logged out."""

        def act() -> None:
            self._password = password
            self._tokens.clear()

        self._surface.perform(act)

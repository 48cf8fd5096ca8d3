"""Who may use the APIs of Braiins OS: one account, and tokens that die after an hour of silence."""

from __future__ import annotations

from simulator.peers.braiins.refusals import Refusal
from simulator.peers.surface import Surface
from simulator.peers.tokens import Tokens

FACTORY_USERNAME = "root"
FACTORY_PASSWORD = "root"  # noqa: S105 - the published factory default that the simulated miner has
TIMEOUT_S = 3600
MAX_TOKENS = 32


class Accounts:
    """The account of one miner and who is logged in; REST and gRPC share it.

    Args:
        surface: the miner.
    """

    def __init__(self, surface: Surface) -> None:
        self._surface = surface
        machine, options = surface.machine, surface.options
        self._tokens = Tokens(
            machine.mac,
            lambda: machine.clock.now().timestamp(),
            idle_s=TIMEOUT_S,
            most=MAX_TOKENS,
            digits=16,
        )
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

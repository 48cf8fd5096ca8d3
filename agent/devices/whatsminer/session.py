"""Talking API v2 to one Whatsminer: plain reads, and encrypted writes with a cached token.

It knows envelopes, tokens and what a missing answer means; what to ask and to set is the driver's choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from agent.clock import Clock
from agent.devices.device import Endpoint
from agent.devices.numbers import number, text
from agent.devices.whatsminer.crypto import V2Keys, seal, unseal, v2_keys
from agent.devices.whatsminer.envelope import (
    CODE_TOKEN_MAXIMUM,
    Document,
    check,
    error_code,
    message,
    parse_document,
)
from agent.devices.whatsminer.wire import Budget, connect, encode
from agent.errors import DeviceError, Malformed, Refused, Timeout, Unauthorised, Unreachable, WriteDisabled

# The factory's; the owner must change it before the write API opens.
DEFAULT_PASSWORD = "admin"  # noqa: S105
_LIFETIME_S = 30 * 60.0
_MARGIN_S = 60.0
_BACKOFF_S = 60.0
_LONGEST_BACKOFF_S = 1800.0
# How long a Code 45 is believed without asking again.
_SWITCH_S = 3600.0


class NoFreeToken(Refused):
    """The miner's table of tokens is full: nothing was sent, and API v3 may still take the command."""


@dataclass(slots=True)
class _Token:
    keys: V2Keys
    used_at: datetime
    lifetime_s: float | None


class V2Session:
    """One miner's port 4028. One connection at a time, one command for each.

    Args:
        password: the admin password; it is never logged.
    """

    def __init__(self, endpoint: Endpoint, clock: Clock, password: str) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._password = password
        self._token: _Token | None = None
        self._backoff_s = _BACKOFF_S
        self._no_token_before: datetime | None = None
        self._switched_off_at: datetime | None = None

    async def ask(self, command: str, budget: Budget, at_most_s: float | None = None) -> bytes:
        """The raw reply to one read command.

        Raises:
            DeviceError: unreachable, timeout or a reply without end.
        """
        address, port = self._endpoint.address, self._endpoint.ports.api
        async with connect(address, port, budget.left(at_most_s)) as wire:
            return await wire.ask(encode({"cmd": command}), budget.left(at_most_s))

    async def read(self, command: str, budget: Budget, at_most_s: float | None = None) -> Document:
        """The checked reply to one read command.

        Raises:
            DeviceError: it failed, or the miner answered with an error.
        """
        raw = await self.ask(command, budget, at_most_s)
        address = self._endpoint.address
        return check(command, parse_document(command, raw, address), address)

    async def write(
        self, command: str, parameters: dict[str, str], budget: Budget, ack_s: float
    ) -> bool | None:
        """Send one write command, once. A token that the miner rejects is fetched anew, one time.

        Returns:
            True: the miner said OK. None: no answer that can be read, so unknown.

        Raises:
            WriteDisabled: the API switch is off. Unauthorised: wrong password.
            DeviceError: nothing was sent, or the miner refused.
        """
        for last in (False, True):
            keys = await self._keys(budget)
            raw = await self._send(seal(keys, {"cmd": command, **parameters}), budget, ack_s)
            if raw is None:
                return None
            try:
                document = self._opened(command, raw, keys)
                check(command, document, self._endpoint.address)
            except (Malformed, Unreachable):
                return None
            except Unauthorised:
                # The command was not executed: sending it again is no guess.
                self._token = None
                if last:
                    raise
                continue
            except WriteDisabled:
                self._switched_off_at = self._clock.now()
                raise
            except Refused as error:
                if error_code(document) == CODE_TOKEN_MAXIMUM:
                    self._hold_off()
                    raise NoFreeToken(self._endpoint.address, error.detail) from error
                raise
            if self._token is not None:
                self._token.used_at = self._clock.now()
            self._switched_off_at = None
            return True
        raise AssertionError

    async def may_write(self, budget: Budget) -> bool | None:
        """False if the miner says that the write API is off; None otherwise: a token alone proves nothing."""
        off = self._switched_off_at
        if off is not None and 0.0 <= (self._clock.now() - off).total_seconds() < _SWITCH_S:
            return False
        try:
            await self._keys(budget)
        except WriteDisabled:
            return False
        except DeviceError:
            return None
        return None

    async def _send(self, payload: bytes, budget: Budget, ack_s: float) -> bytes | None:
        """The raw reply; None if the request went out and nothing came back."""
        address, port = self._endpoint.address, self._endpoint.ports.api
        async with connect(address, port, budget.left()) as wire:
            try:
                return await wire.ask(payload, budget.left(ack_s))
            except (Timeout, Unreachable, Malformed):
                return None

    def _opened(self, command: str, raw: bytes, keys: V2Keys) -> Document:
        """The reply's plain document. Errors come unencrypted.

        Raises:
            Malformed: it cannot be read with these keys.
        """
        address = self._endpoint.address
        document = parse_document(command, raw, address)
        sealed = document.get("enc")
        if not isinstance(sealed, str):
            return document
        plain = unseal(keys, sealed)
        if plain is None:
            raise Malformed(address, f"{command}: the encrypted reply is no AES block")
        return parse_document(command, plain, address)

    async def _keys(self, budget: Budget) -> V2Keys:
        now = self._clock.now()
        token = self._token
        if token is not None:
            age_s = (now - token.used_at).total_seconds()
            if age_s >= 0.0 and (token.lifetime_s is None or age_s < token.lifetime_s - _MARGIN_S):
                return token.keys
        address = self._endpoint.address
        if self._no_token_before is not None and now < self._no_token_before:
            wait = (self._no_token_before - now).total_seconds()
            raise NoFreeToken(address, f"the miner has no free token; not asked again for {wait:.0f} s")
        self._token = None
        document = parse_document(
            "get_token", await self.ask("get_token", budget, self._endpoint.deadline_s), address
        )
        try:
            said = message(check("get_token", document, address))
        except WriteDisabled:
            self._switched_off_at = now
            raise
        except Refused as error:
            if error_code(document) == CODE_TOKEN_MAXIMUM:
                self._hold_off()
                raise NoFreeToken(address, error.detail) from error
            raise
        parts = [text(said.get(key)) for key in ("salt", "newsalt", "time")]
        salt, newsalt, time = parts
        if not salt or not newsalt or not time:
            raise Malformed(address, "get_token: salt, newsalt or time is missing")
        keys = v2_keys(self._password, salt, newsalt, time)
        self._token = _Token(keys, now, _lifetime(said.get("timeout")))
        self._no_token_before, self._backoff_s = None, _BACKOFF_S
        return keys

    def _hold_off(self) -> None:
        self._no_token_before = self._clock.now() + timedelta(seconds=self._backoff_s)
        self._backoff_s = min(2.0 * self._backoff_s, _LONGEST_BACKOFF_S)


def _lifetime(timeout: Any) -> float | None:
    """Seconds a token lasts: never ends for "0", never longer than the manual's 30 min otherwise."""
    seconds = number(timeout)
    if seconds is None or seconds < 0.0:
        return _LIFETIME_S
    return None if seconds == 0.0 else min(_LIFETIME_S, max(seconds, 2.0 * _MARGIN_S))

"""Whatsminer API v2 access: the token table and the AES envelope, on the miner's side."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from simulator.peers.md5crypt import md5crypt

MAX_TOKENS = 100
TOKEN_LIFE = timedelta(minutes=30)
_SALT_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_BLOCK = 16


class BadEnvelope(Exception):
    """An encrypted request cannot be opened; carries the code and message to answer."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(f"{code} {message}")


def salt_of(seed: str) -> str:
    """Eight characters drawn from `seed`, always the same."""
    digest = hashlib.sha256(seed.encode()).digest()
    return "".join(_SALT_ALPHABET[byte % len(_SALT_ALPHABET)] for byte in digest[:8])


@dataclass(frozen=True, slots=True)
class Grant:
    """What `get_token` hands out. `time` has four digits, as in the manual's sample."""

    time: str
    salt: str
    newsalt: str


class TokenTable:
    """Tokens that a miner has given out: at most 100, each alive for 30 minutes since its last use.

    Args:
        password: admin password.
        identity: makes the salts this miner's own; the same identity repeats the same series.
    """

    def __init__(self, password: str, identity: str) -> None:
        self._identity = identity
        self._salt = salt_of(f"salt:{identity}")
        self._key = md5crypt(password, self._salt)
        self._aes_key = hashlib.sha256(self._key.encode()).digest()
        self._last_used: dict[str, datetime] = {}
        self._granted = 0

    def grant(self, now: datetime) -> Grant | None:
        """A new token, or None when 100 are alive."""
        self._expire(now)
        if len(self._last_used) >= MAX_TOKENS:
            return None
        self._granted += 1
        grant = Grant(
            time=f"{int(now.timestamp()) % 10_000:04d}",
            salt=self._salt,
            newsalt=salt_of(f"newsalt:{self._identity}:{self._granted}"),
        )
        self._last_used[md5crypt(self._key + grant.time[-4:], grant.newsalt)] = now
        return grant

    def accepts(self, token: object, now: datetime) -> bool:
        """Whether the token is alive; using it extends its life."""
        self._expire(now)
        if not isinstance(token, str) or token not in self._last_used:
            return False
        self._last_used[token] = now
        return True

    def open(self, data: object) -> dict[str, Any]:
        """The request inside an encrypted envelope.

        Raises:
            BadEnvelope: not base64, not whole blocks, or not the JSON of an object under this password.
        """
        if not isinstance(data, str):
            raise BadEnvelope(14, "invalid data")
        try:
            sealed = base64.b64decode("".join(data.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadEnvelope(137, "base64 decode error") from error
        if not sealed or len(sealed) % _BLOCK:
            raise BadEnvelope(23, "enc json load err")
        document = _parsed(decrypt(self._aes_key, sealed))
        if not isinstance(document, dict):
            raise BadEnvelope(23, "enc json load err")
        return document

    def seal(self, reply: bytes) -> dict[str, str]:
        """The envelope of an encrypted reply, padded with NUL."""
        return {"enc": base64.b64encode(encrypt(self._aes_key, reply)).decode()}

    def _expire(self, now: datetime) -> None:
        dead = [token for token, used in self._last_used.items() if abs(now - used) > TOKEN_LIFE]
        for token in dead:
            del self._last_used[token]


def encrypt(key: bytes, text: bytes) -> bytes:
    """AES-256-ECB with NUL padding."""
    padded = text + b"\x00" * (-len(text) % _BLOCK)
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - the protocol's own cipher
    return encryptor.update(padded) + encryptor.finalize()


def decrypt(key: bytes, sealed: bytes) -> bytes:
    """AES-256-ECB without its padding, be it NUL or PKCS#7. `sealed` is whole blocks."""
    decryptor = Cipher(algorithms.AES(key), modes.ECB()).decryptor()  # noqa: S305 - the protocol's own cipher
    text = decryptor.update(sealed) + decryptor.finalize()
    last = text[-1] if text else 0
    if 1 <= last <= _BLOCK and text.endswith(bytes([last]) * last):
        return text[:-last]
    return text.rstrip(b"\x00")


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None

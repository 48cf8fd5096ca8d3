"""The login arithmetic of Whatsminer API v2 and v3: md5crypt, tokens and AES-256-ECB envelopes.

Bytes and text only; sockets, caches and replies are the sessions' work.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.modes import ECB

_ITOA64 = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_MAGIC = b"$1$"
_ROUNDS = 1000
_PERIOD = 42
_MAX_SALT = 8
_BLOCK = 16
# The order in which md5crypt prints the digest's bytes, three at a time and one left over.
_ORDER = ((0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5))


def md5crypt(password: str, salt: str) -> str:
    """The hash field of `$1$salt$hash` (Poul-Henning Kamp's md5crypt), 22 characters.

    Args:
        salt: up to eight characters are used, and none after a `$`, as in libc.
    """
    secret = _bytes(password)
    grain = _bytes(salt.split("$", 1)[0])[:_MAX_SALT]
    alternate = _md5(secret + grain + secret)
    initial = secret + _MAGIC + grain
    initial += (alternate * (len(secret) // _BLOCK + 1))[: len(secret)]
    length = len(secret)
    while length:
        initial += b"\0" if length & 1 else secret[:1]
        length >>= 1
    digest = _md5(initial)
    # Only the digest changes from round to round; the rest repeats every 42 rounds.
    fixed = [(grain if i % 3 else b"") + (secret if i % 7 else b"") for i in range(_PERIOD)]
    fixed = [secret + part if i & 1 else part + secret for i, part in enumerate(fixed)]
    md5 = hashlib.md5
    for i in range(_ROUNDS):
        part = fixed[i % _PERIOD]
        digest = md5(part + digest if i & 1 else digest + part, usedforsecurity=False).digest()
    printed = [_to64(digest[a] << 16 | digest[b] << 8 | digest[c], 4) for a, b, c in _ORDER]
    return "".join(printed) + _to64(digest[11], 2)


@dataclass(frozen=True, slots=True)
class V2Keys:
    """What one `get_token` reply and the admin password come to. Secrets never show in repr.

    Args:
        sign: the token that goes into every write.
        aes_key: 32 bytes.
    """

    sign: str = field(repr=False)
    aes_key: bytes = field(repr=False)


def v2_keys(password: str, salt: str, newsalt: str, time: str) -> V2Keys:
    """Derive token and key. Only the last four characters of `time` count, whatever its length."""
    key = md5crypt(password, salt)
    return V2Keys(md5crypt(key + time[-4:], newsalt), hashlib.sha256(key.encode()).digest())


def seal(keys: V2Keys, command: Mapping[str, Any]) -> bytes:
    """A write command as it goes on the wire: `{"enc":1,"data":"<base64>"}`."""
    plain = json.dumps({**command, "token": keys.sign}, separators=(",", ":")).encode()
    # NUL padding; the firmware also takes PKCS7.
    plain += b"\0" * (-len(plain) % _BLOCK)
    cipher = Cipher(algorithms.AES(keys.aes_key), ECB()).encryptor()  # noqa: S305 - the firmware's choice
    sealed = cipher.update(plain) + cipher.finalize()
    return json.dumps({"enc": 1, "data": base64.b64encode(sealed).decode()}, separators=(",", ":")).encode()


def unseal(keys: V2Keys, sealed: str) -> bytes | None:
    """Plain bytes of an encrypted reply, padding (NUL or PKCS7) removed; None if it cannot be one."""
    try:
        raw = base64.b64decode(sealed, validate=False)
    except (binascii.Error, ValueError):
        return None
    if not raw or len(raw) % _BLOCK:
        return None
    cipher = Cipher(algorithms.AES(keys.aes_key), ECB()).decryptor()  # noqa: S305 - the firmware's choice
    plain = cipher.update(raw) + cipher.finalize()
    pad = plain[-1]
    if 1 <= pad <= _BLOCK and plain.endswith(bytes([pad]) * pad):
        plain = plain[:-pad]
    return plain.rstrip(b"\0")


def v3_token(command: str, password: str, salt: str, ts: int) -> str:
    """The eight characters that authorise one v3 write at device time `ts` (Unix seconds)."""
    return base64.b64encode(_v3_digest(command, password, salt, ts)).decode()[:8]


def v3_seal(command: str, password: str, salt: str, ts: int, param: Any) -> str:
    """The param of a v3 write that holds secrets: AES-256-ECB under the login's whole digest, base64."""
    plain = json.dumps(param, separators=(",", ":")).encode()
    plain += b"\0" * (-len(plain) % _BLOCK)
    key = _v3_digest(command, password, salt, ts)
    cipher = Cipher(algorithms.AES(key), ECB()).encryptor()  # noqa: S305 - the firmware's choice
    return base64.b64encode(cipher.update(plain) + cipher.finalize()).decode()


def _v3_digest(command: str, password: str, salt: str, ts: int) -> bytes:
    return hashlib.sha256(_bytes(f"{command}{password}{salt}{ts}")).digest()


def _bytes(text: str) -> bytes:
    # A salt is the miner's word: a lone surrogate in it must not raise.
    return text.encode("utf-8", "replace")


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _to64(value: int, count: int) -> str:
    return "".join(_ITOA64[(value >> (6 * i)) & 0x3F] for i in range(count))

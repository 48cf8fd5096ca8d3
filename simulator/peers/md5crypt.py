"""The `$1$` password hash of old Unix systems, which Whatsminer tokens are made of."""

from __future__ import annotations

import hashlib

_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ORDER = ((0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5))
_ROUNDS = 1000


def md5crypt(password: str, salt: str) -> str:
    """The 22 characters after the last `$` of `$1$salt$...`.

    Args:
        password: any text, taken as UTF-8.
        salt: up to eight characters count.
    """
    secret = password.encode()
    seasoning = salt.encode()[:8]
    inner = _md5(secret + seasoning + secret)
    start = secret + b"$1$" + seasoning
    start += (inner * (len(secret) // 16 + 1))[: len(secret)]
    length = len(secret)
    while length:
        start += b"\x00" if length & 1 else secret[:1]
        length >>= 1
    digest = _md5(start)
    for number in range(_ROUNDS):
        odd = number & 1
        mixed = secret if odd else digest
        if number % 3:
            mixed += seasoning
        if number % 7:
            mixed += secret
        digest = _md5(mixed + (digest if odd else secret))
    text = "".join(_base64(digest[a] << 16 | digest[b] << 8 | digest[c], 4) for a, b, c in _ORDER)
    return text + _base64(digest[11], 2)


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _base64(value: int, characters: int) -> str:
    return "".join(_ALPHABET[value >> 6 * position & 63] for position in range(characters))

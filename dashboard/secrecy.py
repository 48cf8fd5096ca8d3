"""Tokens and passwords: made, hashed and compared here. Only hashes ever reach the database."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import threading
from pathlib import Path

from agent.errors import InputError

MIN_PASSWORD_LENGTH = 10
MAX_PASSWORD_BYTES = 1024
_LOG2_N, _R, _P = 15, 8, 1
_MAX_MEMORY = 128 * 1024 * 1024
# One scrypt takes 32 MiB and a core for some 0.1 s: sign-ins queue rather than starve ingest.
_ONE_AT_A_TIME = threading.BoundedSemaphore(2)


def new_token() -> str:
    """A random bearer token of 256 bits, in characters that are safe in headers, cookies and files."""
    return secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """SHA-256 in hex. A token is random, so it needs no salt and no stretching."""
    return hashlib.sha256(token.encode()).hexdigest()


def same(left: str, right: str) -> bool:
    """Compare two secrets in time that does not depend on where they differ."""
    return hmac.compare_digest(left.encode(), right.encode())


def csrf_of(session_token: str) -> str:
    """The form token that belongs to a session: only a page of that session can know it."""
    return hmac.new(session_token.encode(), b"hashmargin form", hashlib.sha256).hexdigest()


def hash_password(password: str) -> str:
    """Salted scrypt as `scrypt$LOG2N$R$P$SALT$HASH`.

    Raises:
        InputError: the password is too short or too long.
    """
    raw = password.encode()
    if len(password) < MIN_PASSWORD_LENGTH:
        raise InputError(f"a password needs at least {MIN_PASSWORD_LENGTH} characters")
    if len(raw) > MAX_PASSWORD_BYTES:
        raise InputError(f"a password has at most {MAX_PASSWORD_BYTES} bytes")
    salt = os.urandom(16)
    digest = _scrypt(raw, salt, _LOG2_N, _R, _P)
    return f"scrypt${_LOG2_N}${_R}${_P}${_b64(salt)}${_b64(digest)}"


def verify_password(password: str, stored: str | None) -> bool:
    """Whether the password belongs to the stored hash. With None it takes as long and is false."""
    raw = password.encode()[:MAX_PASSWORD_BYTES]
    if stored is None:
        _scrypt(raw, b"nobody has this", _LOG2_N, _R, _P)
        return False
    _, log2_n, r, p, salt, digest = stored.split("$")
    found = _scrypt(raw, base64.b64decode(salt), int(log2_n), int(r), int(p))
    return hmac.compare_digest(found, base64.b64decode(digest))


def write_secret(path: Path, secret: str) -> None:
    """Write a secret to a new file that only its owner may read.

    Raises:
        InputError: the file exists already or cannot be written.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise InputError(f"{path} exists already; a secret is never written over another") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(secret + "\n")
        file.flush()
        os.fsync(file.fileno())


def _scrypt(raw: bytes, salt: bytes, log2_n: int, r: int, p: int) -> bytes:
    with _ONE_AT_A_TIME:
        return hashlib.scrypt(raw, salt=salt, n=1 << log2_n, r=r, p=p, maxmem=_MAX_MEMORY, dklen=32)


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()

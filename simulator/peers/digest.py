"""HTTP digest authentication (RFC 7616, MD5, qop=auth) as the server's side checks it."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from simulator.peers.http import Request, Response, html_page

MAX_NONCES = 64
NONCE_LIFE = timedelta(seconds=600)
_FIELD = re.compile(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s,"]*))')


def md5_hex(text: str) -> str:
    """Hex MD5 of the text, which is what digest authentication is made of."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def digest_response(ha1: str, method: str, fields: Mapping[str, str]) -> str:
    """The `response` a client must send for these header fields with qop=auth."""
    ha2 = md5_hex(f"{method}:{fields['uri']}")
    return md5_hex(f"{ha1}:{fields['nonce']}:{fields['nc']}:{fields['cnonce']}:{fields['qop']}:{ha2}")


@dataclass(slots=True)
class _Nonce:
    issued_at: datetime
    last_count: int = 0


class DigestGate:
    """Decides whether a request may pass, and writes the challenge when not.

    Args:
        realm: shown in the challenge and part of the hash.
        username: the one account.
        password: its password.
        secret: makes this device's nonces its own; the same secret repeats the same series.
    """

    def __init__(self, realm: str, username: str, password: str, secret: str) -> None:
        self._realm = realm
        self._username = username
        self._ha1 = md5_hex(f"{username}:{realm}:{password}")
        self._secret = secret
        self._issued = 0
        self._nonces: OrderedDict[str, _Nonce] = OrderedDict()

    def check(self, request: Request, now: datetime, *, single_use: bool = False) -> Response | None:
        """None when the request may pass, else the 401 to send.

        Args:
            request: with or without an `Authorization` header.
            now: the device's time; nonces live for ten minutes of it.
            single_use: True makes a nonce stale after one use.
        """
        header = request.headers.get("authorization", "")
        scheme, _, rest = header.partition(" ")
        if scheme.lower() != "digest":
            return self.challenge(now)
        fields = {name.lower(): quoted or bare for name, quoted, bare in _FIELD.findall(rest)}
        if not self._proves_password(request, fields):
            return self.challenge(now)
        nonce = self._nonces.get(fields["nonce"])
        count = int(fields["nc"], 16)
        fresh = (
            nonce is not None
            and abs(now - nonce.issued_at) <= NONCE_LIFE
            and count > nonce.last_count
            and not (single_use and nonce.last_count)
        )
        if nonce is None or not fresh:
            return self.challenge(now, stale=True)
        nonce.last_count = count
        self._nonces.move_to_end(fields["nonce"])
        return None

    def challenge(self, now: datetime, *, stale: bool = False) -> Response:
        """A 401 with a new nonce."""
        self._issued += 1
        stamp = int(now.timestamp())
        nonce = f"{stamp:08x}:{md5_hex(f'{stamp}:{self._issued}:{self._secret}')}"
        self._nonces[nonce] = _Nonce(now)
        while len(self._nonces) > MAX_NONCES:
            self._nonces.popitem(last=False)
        value = f'Digest realm="{self._realm}", nonce="{nonce}", qop="auth"'
        if stale:
            value += ", stale=true"
        return html_page(401, (("WWW-Authenticate", value),))

    def _proves_password(self, request: Request, fields: Mapping[str, str]) -> bool:
        if not {"username", "realm", "nonce", "uri", "response", "qop", "nc", "cnonce"} <= fields.keys():
            return False
        if fields["username"] != self._username or fields["realm"] != self._realm:
            return False
        if fields["qop"] != "auth" or fields["uri"] != request.target:
            return False
        if re.fullmatch(r"[0-9a-fA-F]{8}", fields["nc"]) is None:
            return False
        expected = digest_response(self._ha1, request.method, fields)
        return hmac.compare_digest(expected.encode(), fields["response"].encode())

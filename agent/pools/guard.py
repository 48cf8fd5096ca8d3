"""Which pools a miner may be pointed at: the trusted patterns of a site, and the gate in front of a write.

A driver's `set_pools` takes `PermittedPools`, and only a `PoolGuard` makes one, so that no path to a
miner can redirect its hashing to a pool that nobody trusts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from agent.errors import InputError, OutOfBounds
from agent.reading import Pool

MAX_POOLS = 3
_SEAL = object()
_URL = re.compile(
    r"(?P<scheme>[a-z0-9+.-]+)://(?:[^/@\s#?]*@)?(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?P<port>:\d{1,5})?"
)
_SCHEMES = ("stratum+tcp", "stratum+ssl", "stratum+tls", "stratum2+tcp", "stratum")
_PRINTABLE = re.compile(r"[\x21-\x7e]*")


@dataclass(frozen=True, slots=True)
class PoolLogin:
    """One pool as it is written to a miner. The password never shows in repr, logs or errors."""

    url: str
    user: str
    password: str = "x"  # noqa: S105 - pools take any; it is the field's convention

    def __post_init__(self) -> None:
        for name, value, longest in (("url", self.url, 256), ("user", self.user, 256)):
            if not value or len(value) > longest or not _PRINTABLE.fullmatch(value):
                raise InputError(f"pool {name}: expected 1 to {longest} printable characters without spaces")
        if len(self.password) > 128 or not _PRINTABLE.fullmatch(self.password):
            raise InputError("pool password: expected at most 128 printable characters without spaces")

    def __repr__(self) -> str:
        return f"PoolLogin(url={self.url!r}, user={self.user!r}, password=***)"


@dataclass(frozen=True, slots=True)
class PermittedPools:
    """Pools that the guard let through, in order of priority. Made by `PoolGuard.permit` alone."""

    pools: tuple[PoolLogin, ...]
    seal: object

    def __post_init__(self) -> None:
        if self.seal is not _SEAL:
            raise OutOfBounds("only the pool guard may permit pools")


class PoolGuard:
    """The trusted pool patterns of a site, such as `*.braiins.com` or `stratum+tcp://btc.f2pool.com:3333`.

    A pattern is compared without regard to case. One without `://` stands for any stratum scheme; one
    without a port stands for any port. `*` stands for any text within the host name.

    Raises:
        InputError: a pattern trusts every host there is, or cannot be read.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns = tuple(patterns)
        self._rules = tuple(_rule(pattern) for pattern in self.patterns)

    def trusts(self, url: str) -> bool:
        """True if a pool's URL matches a pattern; False too for what is no URL."""
        found = _parse(url)
        return found is not None and any(_matches(rule, found) for rule in self._rules)

    def strangers(self, pools: Iterable[Pool]) -> tuple[str, ...]:
        """URLs among a miner's pools that no pattern trusts, without logins; blank entries are not pools."""
        urls = (pool.url.strip() for pool in pools)
        return tuple(dict.fromkeys(shown(url) for url in urls if url and not self.trusts(url)))

    def permit(self, pools: Sequence[PoolLogin]) -> PermittedPools:
        """Let pools through if each is trusted.

        Raises:
            OutOfBounds: one is not; nothing may be written.
            InputError: there are none, or more than a miner can hold.
        """
        if not 1 <= len(pools) <= MAX_POOLS:
            raise InputError(f"a miner takes 1 to {MAX_POOLS} pools, got {len(pools)}")
        for pool in pools:
            if not self.trusts(pool.url):
                listed = ", ".join(self.patterns) or "none: the site file has no trusted_pools"
                raise OutOfBounds(f"{shown(pool.url)} is not a trusted pool (trusted: {listed})")
        return PermittedPools(tuple(pools), _SEAL)


def shown(url: str) -> str:
    """A pool URL fit for logs: what stands before `@` is gone, and it is short."""
    return re.sub(r"(?<=://)[^/@\s]*@", "", url)[:120]


def _parse(url: str) -> tuple[str, str, str] | None:
    found = _URL.match(url.strip().lower() if "://" in url else f"stratum+tcp://{url.strip().lower()}")
    if found is None or found["scheme"] not in _SCHEMES:
        return None
    rest = url.strip()[found.end() :] if "://" in url else ""
    if rest and not rest.startswith(("/", "?", "#")):
        return None
    return found["scheme"], found["host"], (found["port"] or "").lstrip(":")


def _rule(pattern: str) -> tuple[str | None, str, str | None]:
    text = pattern.strip().lower()
    scheme, mark, rest = text.rpartition("://")
    host, _, port = rest.partition(":") if not rest.startswith("[") else (rest, "", "")
    if (mark and scheme not in _SCHEMES) or not host or not re.fullmatch(r"[a-z0-9*.\-\[\]:]+", host):
        raise InputError(f"trusted pool {pattern!r}: expected a host such as *.example.com, or a pool's URL")
    if port and not port.isdigit():
        raise InputError(f"trusted pool {pattern!r}: the port is not a number")
    labels = host.rsplit(".", 2)
    if "*" in host and (len(labels) < 2 or any("*" in label for label in labels[-2:])):
        raise InputError(
            f"trusted pool {pattern!r} trusts too much; name at least the domain, as *.example.com"
        )
    return (scheme if mark else None), host, (port or None)


def _matches(rule: tuple[str | None, str, str | None], found: tuple[str, str, str]) -> bool:
    scheme, host, port = rule
    return (
        (scheme is None or scheme == found[0])
        and fnmatchcase(found[1], host)
        and (port is None or port == found[2])
    )

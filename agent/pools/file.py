"""`pools.yaml`: the pools that miners are to have, checked whole before a miner hears of it.

Errors name file, line and key. Neither a password nor a text that may hold one is ever repeated in them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from agent.config import read_secret
from agent.errors import ConfigError, InputError
from agent.miner_config import MinerConfig
from agent.pools.guard import MAX_POOLS, PermittedPools, PoolGuard, PoolLogin, shown
from agent.yamlfile import Location, StrictModel, load_yaml, parse_tree

PLACEHOLDER = "{miner}"
_PASSWORD_KEYS = ("password", "pass", "passwd", "pwd")
_URL = re.compile(r"(?P<scheme>[A-Za-z0-9+]+)://[A-Za-z0-9._\-\[\]:]*?(?::(?P<port>\d+))?(?:[/?#].*)?")
_FORM = "expected scheme://host:port, as stratum+tcp://eu.pool.example:3333"


class PoolEntry(StrictModel):
    """One pool. Without a password file the password is `x`, which nearly every pool takes."""

    url: str
    user: str
    password_file: Path | None = None


class PoolsFile(StrictModel):
    """The whole of `pools.yaml`: one to three pools in order of priority."""

    pools: Annotated[list[PoolEntry], Field(min_length=1, max_length=MAX_POOLS)]


@dataclass(frozen=True, slots=True)
class WantedPools:
    """Pools for any miner of a site; a user may hold the placeholder `{miner}`."""

    logins: tuple[PoolLogin, ...]

    def for_miner(self, name: str) -> tuple[PoolLogin, ...]:
        """The pools with `name` in the place of `{miner}`."""
        return tuple(
            PoolLogin(pool.url, pool.user.replace(PLACEHOLDER, name), pool.password) for pool in self.logins
        )

    def permitted(self, name: str, guard: PoolGuard) -> PermittedPools:
        """The same, past the guard.

        Raises:
            OutOfBounds: a pool is not trusted.
        """
        return guard.permit(self.for_miner(name))


def load_pools(path: Path, guard: PoolGuard, site_file: Path) -> WantedPools:
    """Read `pools.yaml`; password files are taken from its folder.

    Args:
        site_file: named in the remedy where a pool is not trusted.

    Raises:
        ConfigError: it cannot be used, a pool is not trusted, or others may read a password.
    """
    try:
        data, lines = parse_tree(path.read_bytes(), path)
    except OSError as error:
        raise ConfigError(path, None, "", f"cannot be read: {error.strerror}") from error
    _refuse_open_passwords(data, lines, path)
    entries = load_yaml(path, PoolsFile).pools
    logins: list[PoolLogin] = []
    for i, entry in enumerate(entries):
        place = _Place(path, lines, i)
        if not guard.trusts(_checked_url(entry.url, place)):
            raise place.error("url", _not_trusted(entry.url, guard, site_file))
        login = _login(entry, place)
        for earlier, other in enumerate(logins):
            if (other.url, other.user) == (login.url, login.user):
                raise place.error("url", f"this pool with this user already stands at pools.{earlier}")
        logins.append(login)
    return WantedPools(tuple(logins))


def worker_names(miners: Sequence[MinerConfig], wanted: WantedPools) -> dict[str, str]:
    """What stands for `{miner}`, by the miner's name in the site (id, else MAC, else address).

    Raises:
        InputError: two miners would work under one name.
    """
    found: dict[str, str] = {}
    owners: dict[str, str] = {}
    filled_in = any(PLACEHOLDER in pool.user for pool in wanted.logins)
    for miner in miners:
        name = miner.id or miner.mac or miner.address
        worker = worker_name(miner)
        other = owners.setdefault(worker, name)
        if filled_in and other != name:
            raise InputError(
                f"{PLACEHOLDER} is {worker!r} for both {other} and {name}; give one of them another id"
            )
        found[name] = worker
    return found


def worker_name(miner: MinerConfig) -> str:
    """A miner's id, else its MAC without colons, else its address; `-` for what a pool may not take."""
    text = miner.id or (miner.mac.replace(":", "") if miner.mac is not None else miner.address)
    return re.sub(r"[^A-Za-z0-9_-]", "-", text)


@dataclass(frozen=True, slots=True)
class _Place:
    """One entry of the file, for errors."""

    path: Path
    lines: Mapping[Location, int]
    number: int

    def error(self, key: str, problem: str) -> ConfigError:
        where = ("pools", self.number, key)
        line = self.lines.get(where, self.lines.get(where[:2]))
        return ConfigError(self.path, line, f"pools.{self.number}.{key}".rstrip("."), problem)


def _refuse_open_passwords(data: Any, lines: Mapping[Location, int], path: Path) -> None:
    """Before anything else looks at the values, because its errors would repeat them."""
    if isinstance(data, list):
        raise ConfigError(path, 1, "", "put the list under the key `pools:`")
    entries = data.get("pools") if isinstance(data, dict) else None
    for i, entry in enumerate(entries if isinstance(entries, list) else []):
        if not isinstance(entry, dict):
            raise _Place(path, lines, i).error("", "expected url:, user: and, if wanted, password_file:")
        for key in _PASSWORD_KEYS:
            if key in entry:
                remedy = "write it into a file of mode 0600 and name that file as password_file"
                raise _Place(path, lines, i).error(key, f"a password does not stand in this file; {remedy}")
        if not isinstance(entry.get("password_file"), str | None):
            raise _Place(path, lines, i).error("password_file", "expected the path of a file")


def _checked_url(url: str, place: _Place) -> str:
    if "@" in url:
        raise place.error("url", "holds a login; the user goes to user:, the password to password_file:")
    found = _URL.fullmatch(url)
    if found is None:
        raise place.error("url", _FORM)
    if found["port"] is None and found["scheme"].lower() != "stratum2+tcp":
        raise place.error("url", f"has no port; {_FORM}")
    if found["port"] is not None and not 1 <= int(found["port"][:6]) <= 65535:
        raise place.error("url", f"port {found['port'][:6]} is not between 1 and 65535")
    return url


def _not_trusted(url: str, guard: PoolGuard, site_file: Path) -> str:
    if not guard.patterns:
        host = re.split(r"[/?#]", url.split("://", 1)[1])[0]
        return (
            f"{shown(url)} is not trusted: {site_file} lists no trusted pools. If it is yours, add there:\n"
            f'  trusted_pools:\n    - "{host}"'
        )
    return (
        f"{shown(url)} is not a trusted pool (trusted: {', '.join(guard.patterns)}); "
        f"if it is yours, add it to trusted_pools in {site_file}"
    )


def _login(entry: PoolEntry, place: _Place) -> PoolLogin:
    if re.search(r"[{}]", entry.user.replace(PLACEHOLDER, "")):
        raise place.error("user", f"the only placeholder is {PLACEHOLDER}")
    try:
        # With the longest name that a miner may have, so that no miner fails on its own.
        PoolLogin(entry.url, entry.user.replace(PLACEHOLDER, "m" * 64))
    except InputError as error:
        key, _, problem = str(error).removeprefix("pool ").partition(": ")
        raise place.error(key, problem) from error
    if entry.password_file is None:
        return PoolLogin(entry.url, entry.user)
    password = _password(place.path.resolve().parent / entry.password_file, place)
    try:
        return PoolLogin(entry.url, entry.user, password)
    except InputError as error:
        raise place.error("password_file", f"the password in it: {str(error).partition(': ')[2]}") from error


def _password(file: Path, place: _Place) -> str:
    try:
        there = file.is_file()
    except OSError:
        there = False
    if not there:
        # A password written here by mistake would be taken for a path: it is not repeated.
        problem = f"there is no such file; paths are taken from {place.path.resolve().parent}"
        raise place.error("password_file", problem)
    try:
        return read_secret(file, None)
    except ConfigError as error:
        raise place.error("password_file", f"{file}: {error.problem}") from error

"""Pool groups: what a client may write, and which pools of the machine belong to which group."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from simulator.machine import PoolEntry
from simulator.peers.braiins.refusals import BadBody, Refusal
from simulator.peers.surface import Surface

MAX_GROUPS = 16
MAX_POOLS = 16
MAX_TEXT = 512
_SCHEMES = ("stratum+tcp://", "stratum2+tcp://", "stratum+ssl://")
Strategy = tuple[str, float]
_EVEN: Strategy = ("quota", 1)


@dataclass(frozen=True, slots=True)
class Pool:
    """One pool of a group."""

    uid: str
    entry: PoolEntry
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Group:
    """Pools that share a part of the work: a `quota` against other groups, or a `fixedshareratio`."""

    uid: str
    name: str
    pools: tuple[Pool, ...]
    strategy: Strategy = _EVEN


class PoolGroups:
    """The configured groups of one miner; their pools in order are the machine's pools.

    Args:
        surface: the miner.
    """

    def __init__(self, surface: Surface) -> None:
        self._surface = surface
        self._count = 0
        self._groups: tuple[Group, ...] = ()

    def groups(self) -> tuple[Group, ...]:
        """The groups as configured; one default group where somebody else gave the machine its pools."""
        entries = [entry for entry in self._surface.machine.pools if entry.url]
        if [pool.entry for group in self._groups for pool in group.pools] != entries:
            pools = tuple(Pool(self._new_uid("pool"), entry) for entry in entries)
            self._groups = (Group(self._new_uid("group"), "Default", pools),)
        return self._groups

    def replace_all(self, bodies: Any) -> tuple[Group, ...]:
        """Put these groups in place of all there are. Returns them.

        Raises:
            BadBody: not a list of groups.
            Refusal: a group that the firmware does not take.
        """
        if not isinstance(bodies, list):
            raise BadBody(422, "invalid type: expected a sequence")
        known = {group.uid: group for group in self.groups()}
        return self._set([self._read(body, known.get(_uid(body))) for body in bodies])

    def create(self, body: Any) -> Group:
        """Add a group. Returns it.

        Raises:
            BadBody: not a group.
            Refusal: a group that the firmware does not take.
        """
        group = self._read(body, None)
        self._set([*self.groups(), group])
        return group

    def update(self, uid: str, body: Any) -> Group:
        """Change one group; the others stay as they are. Returns it.

        Raises:
            BadBody: not a group.
            Refusal: no such group, or one that the firmware does not take.
        """
        old = self._found(uid)
        group = self._read(body, old)
        self._set([group if one.uid == uid else one for one in self.groups()])
        return group

    def delete(self, uid: str) -> None:
        """Remove one group.

        Raises:
            Refusal: no such group.
        """
        self._found(uid)
        self._set([group for group in self.groups() if group.uid != uid])

    def _found(self, uid: str) -> Group:
        for group in self.groups():
            if group.uid == uid:
                return group
        raise Refusal("not_found", f"pool group '{uid}' does not exist")

    def _set(self, groups: Sequence[Group]) -> tuple[Group, ...]:
        wanted = tuple(groups)
        if len(wanted) > MAX_GROUPS:
            raise Refusal("invalid_argument", f"at most {MAX_GROUPS} pool groups are supported")
        names = [group.name for group in wanted]
        if len(set(names)) != len(names):
            raise Refusal("invalid_argument", "pool group names must be unique")

        def act() -> None:
            self._groups = wanted
            self._surface.machine.set_pools([pool.entry for group in wanted for pool in group.pools])

        self._surface.perform(act)
        return wanted

    def _read(self, body: Any, old: Group | None) -> Group:
        if not isinstance(body, dict):
            raise BadBody(422, "invalid type: expected struct PoolGroupConfiguration")
        rows = body.get("pools")
        if not isinstance(rows, list):
            raise BadBody(422, "missing field `pools`")
        if len(rows) > MAX_POOLS:
            raise Refusal("invalid_argument", f"at most {MAX_POOLS} pools per group are supported")
        known = {pool.uid: pool for pool in old.pools} if old is not None else {}
        strategy = _strategy(body.get("load_balance_strategy"))
        group = Group(
            old.uid if old is not None else self._new_uid("group"),
            _text(body, "name"),
            tuple(self._read_pool(row, known.get(_uid(row))) for row in rows),
        )
        return replace(group, strategy=_EVEN if strategy is None else strategy)

    def _read_pool(self, row: Any, old: Pool | None) -> Pool:
        if not isinstance(row, dict):
            raise BadBody(422, "invalid type: expected struct PoolConfiguration")
        url = _text(row, "url")
        if not url.startswith(_SCHEMES) or url in _SCHEMES:
            raise Refusal("invalid_argument", f"invalid pool URL '{url}'")
        password = row.get("password")
        if password is not None:
            password = _text(row, "password")
        enabled = row.get("enabled")
        if enabled is not None and not isinstance(enabled, bool):
            raise BadBody(422, "enabled: invalid type: expected a boolean")
        entry = PoolEntry(url, _text(row, "user"), password or "")
        uid = old.uid if old is not None else self._new_uid("pool")
        return Pool(uid, entry, enabled is None or enabled)

    def _new_uid(self, kind: str) -> str:
        self._count += 1
        text = f"{self._surface.machine.mac} {kind} {self._count}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _uid(body: Any) -> str:
    uid = body.get("uid") if isinstance(body, dict) else None
    return uid if isinstance(uid, str) else ""


def _text(body: dict[str, Any], key: str) -> str:
    if key not in body:
        raise BadBody(422, f"missing field `{key}`")
    value = body[key]
    if not isinstance(value, str):
        raise BadBody(422, f"{key}: invalid type: expected a string")
    if len(value) > MAX_TEXT:
        raise Refusal("invalid_argument", f"{key} is too long")
    return value


def _strategy(body: Any) -> Strategy | None:
    """The strategy that a group asks for, None where it names none."""
    if body is None:
        return None
    for kind in ("quota", "fixedshareratio"):
        part = body.get(kind) if isinstance(body, dict) else None
        if not isinstance(part, dict):
            continue
        value = part.get("value")
        if isinstance(value, bool) or not isinstance(value, int if kind == "quota" else int | float):
            raise BadBody(422, f"load_balance_strategy.{kind}.value: invalid type")
        if not math.isfinite(value) or value < 0 or (kind == "fixedshareratio" and value > 1.0):
            raise Refusal("invalid_argument", f"load balance strategy {kind} '{value}' is out of range")
        return kind, value
    raise BadBody(422, "load_balance_strategy: data did not match any variant of untagged enum")

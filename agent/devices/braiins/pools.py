"""The pools in a BraiinsOS configuration: one group's list is replaced, its name, share and switches stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.devices.braiins.fields import at
from agent.devices.braiins.parse import pools_of
from agent.errors import Malformed, Refused
from agent.pools.guard import PoolLogin
from agent.reading import Pool

_STRATEGY = "load_balance_strategy"
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """One group to write.

    Args:
        uid: the group to update, None where the firmware names none.
        body: the group, without `uid`.
    """

    uid: str | None
    body: dict[str, Any]

    def __repr__(self) -> str:
        return f"PoolPlan(uid={self.uid!r}, {len(self.body['pools'])} pools)"


def group_of(configuration: Json, address: str) -> dict[str, Any]:
    """The one group of pools in `configuration/miner`.

    Raises:
        Malformed: there is no whole list of groups.
        Refused: there are none or several groups, or its share is of an unknown kind.
    """
    groups = at(configuration, "pool_groups")
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        raise Malformed(address, "configuration/miner: no whole list of pool groups; nothing is written")
    if len(groups) != 1:
        raise Refused(
            address,
            f"{len(groups)} pool groups: which of them is meant is for the owner to say; nothing is written",
        )
    group: dict[str, Any] = groups[0]
    if not isinstance(group.get("name"), str) or not isinstance(group.get("pools"), list):
        raise Malformed(address, "configuration/miner: the pool group is incomplete; nothing is written")
    for pool in group["pools"]:
        if not isinstance(pool, dict) or not all(isinstance(pool.get(key), str) for key in ("url", "user")):
            raise Malformed(address, "configuration/miner: a pool is incomplete; nothing is written")
    if not isinstance(group.get(_STRATEGY), dict | None):
        raise Refused(address, f"the pool group's {_STRATEGY} is not known here; nothing is written")
    return group


def plan_pools(group: Json, pools: Sequence[PoolLogin]) -> PoolPlan | None:
    """The group with `pools` instead of its own; None where they stand there already.

    A password that the firmware does not tell is taken to be the right one.
    """
    present = group["pools"]
    if len(present) == len(pools) and all(map(_same, present, pools)):
        return None
    # What else an entry holds belongs to its old pool, and goes with it; the rest of the group stays.
    body = {key: value for key, value in group.items() if key != "uid" and value is not None}
    body["pools"] = [{"url": p.url, "user": p.user, "password": p.password, "enabled": True} for p in pools]
    return PoolPlan(_safe(group.get("uid")), body)


def shown_pools(group: Json) -> tuple[Pool, ...]:
    """The group's pools without passwords."""
    return pools_of([group]) or ()


def unchanged_but_for_pools(before: Json, after: Json) -> bool:
    """True if all else in the group reads as before; its id may be a new one."""
    free = ("uid", "pools")
    return all(after.get(key) == value for key, value in before.items() if key not in free)


def _same(present: Json, wanted: PoolLogin) -> bool:
    password = present.get("password")
    told = isinstance(password, str) and bool(password.strip("*"))
    return (
        present["url"] == wanted.url
        and present["user"] == wanted.user
        and present.get("enabled") is not False
        and (not told or password == wanted.password)
    )


def _safe(uid: object) -> str | None:
    """A group's id that can stand in a path, else None."""
    if not isinstance(uid, str) or not 0 < len(uid) <= 128:
        return None
    return uid if all(c.isascii() and (c.isalnum() or c in "-_.~") for c in uid) and uid.strip(".") else None

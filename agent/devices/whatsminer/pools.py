"""A Whatsminer's pools as both APIs take them. The firmware replaces its whole list and keeps on hashing."""

from __future__ import annotations

from collections.abc import Sequence

from agent.devices.whatsminer import fields as field
from agent.pools.guard import PoolLogin
from agent.reading import Pool

_ENTRIES = 3


def numbered(pools: Sequence[PoolLogin]) -> dict[str, str]:
    """Parameters of v2 `update_pools`: three of each, empty where there is no pool."""
    found = {}
    for place in range(_ENTRIES):
        pool = pools[place] if place < len(pools) else None
        found[f"pool{place + 1}"] = pool.url if pool is not None else ""
        found[f"worker{place + 1}"] = pool.user if pool is not None else ""
        found[f"passwd{place + 1}"] = pool.password if pool is not None else ""
    return found


def listed(pools: Sequence[PoolLogin]) -> list[dict[str, str]]:
    """Param of v3 `set.miner.pools`."""
    return [{"pool": p.url, "worker": p.user, "passwd": p.password} for p in pools]


def same_pools(present: Sequence[Pool], wanted: Sequence[PoolLogin]) -> bool:
    """True if URLs and users stand in this order. Passwords are not told, so they cannot be compared."""
    shown = [(pool.url, pool.user or "") for pool in present]
    return shown == [(field.pool_url(pool.url), pool.user) for pool in wanted]

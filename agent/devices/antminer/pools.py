"""The pools in a stock Antminer's configuration: compared, put in place, and shown without passwords.

Always three entries: the firmware keeps the old value of one that is left out, and takes an empty one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agent.devices.antminer.config import Plan, unchanged_mode
from agent.pools.guard import PoolLogin, shown
from agent.reading import Pool

_ENTRIES = 3
Entry = dict[str, Any]


def plan_pools(conf: Mapping[str, Any], pools: Sequence[PoolLogin]) -> Plan | None:
    """The whole configuration with `pools` instead of its own; None where they stand there already.

    Args:
        conf: as read, and found usable.
    """
    wanted = replacement(conf, pools)
    if wanted is None:
        return None
    plan = unchanged_mode(conf)
    # What else an entry holds belongs to its old pool, and goes with it.
    plan.body["pools"] = wanted
    return Plan(plan.body, {**plan.changes, "pools": "replaced"})


def replacement(conf: Mapping[str, Any], pools: Sequence[PoolLogin]) -> list[Entry] | None:
    """All entries that `pools` make, blank ones included; None where they stand in `conf` already."""
    wanted: list[Entry] = [{"url": p.url, "user": p.user, "pass": p.password} for p in pools]
    wanted += [{"url": "", "user": "", "pass": ""} for _ in range(_ENTRIES - len(wanted))]
    present = [{key: pool[key] for key in ("url", "user", "pass")} for pool in conf["pools"]]
    present += [{"url": "", "user": "", "pass": ""} for _ in range(_ENTRIES - len(present))]
    return None if present == wanted else wanted


def pools_of(conf: Mapping[str, Any]) -> tuple[Pool, ...]:
    """The pools of a usable configuration, blank entries and passwords left out."""
    listed = [pool for pool in conf["pools"] if pool["url"]]
    return tuple(
        Pool(url=shown(pool["url"]), user=pool["user"] or None, priority=i) for i, pool in enumerate(listed)
    )

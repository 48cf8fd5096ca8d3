"""What pools the miners of a site have now: read once, judged by the guard, compared with what is wanted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from agent.config import MinerConfig, SiteConfig
from agent.errors import DeviceError, WrongMiner
from agent.mac_address import normalise_mac
from agent.polling.poller import Poller, PollTarget
from agent.pools.guard import PoolGuard, PoolLogin
from agent.reading import Pool
from agent.telemetry import PollResult

Trust = Literal["trusted", "not_trusted", "unknown"]
_HEAD = re.compile(r"(?P<scheme>[a-z0-9+]+)://(?P<host>[^/?#]*)(?P<rest>.*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class MinerPools:
    """One miner's pools in order of priority, or why they are not known.

    Args:
        miner: its id, else its MAC, else its address in the site file.
        pools: None where they could not be read; empty slots are left out.
        problem, detail: kind of failure and what happened; None where the pools were read.
        doubled: another of the miners that were read has the same MAC.
    """

    miner: str
    address: str
    family: str | None
    pools: tuple[Pool, ...] | None
    problem: str | None = None
    detail: str | None = None
    doubled: bool = False


def name_of(miner: MinerConfig) -> str:
    """The miner's name in the site: id, else MAC, else address."""
    return miner.id or miner.mac or miner.address


def targets(config: SiteConfig) -> list[PollTarget]:
    """Every miner of `config`, to be polled.

    Raises:
        ConfigError: a login's secret cannot be read.
    """
    return [PollTarget(name_of(m), config.endpoint(m), m.family) for m in config.miners]


async def survey(
    miners: Sequence[MinerConfig], poller: Poller, on_result: Callable[[PollResult], None] | None = None
) -> list[MinerPools]:
    """Read every miner once, each within its deadline. Raises for none of them.

    Args:
        miners: those of the poller, in its order.
    """
    results = await poller.poll_once(on_result)
    macs = [_mac(result) for result in results]
    shared = {mac for mac, count in Counter(macs).items() if mac is not None and count > 1}
    return [
        _judged(miner, result, mac, doubled=mac in shared)
        for miner, result, mac in zip(miners, results, macs, strict=True)
    ]


def trust_of(pool: Pool, guard: PoolGuard) -> Trust:
    """Whether the site trusts a pool; unknown where it lists none."""
    if not guard.patterns:
        return "unknown"
    return "trusted" if guard.trusts(pool.url) else "not_trusted"


def in_order(pools: Sequence[Pool]) -> tuple[Pool, ...]:
    """The pools as the miner tries them, without empty slots."""
    filled = [pool for pool in pools if pool.url.strip()]
    if all(pool.priority is not None for pool in filled):
        filled.sort(key=lambda pool: pool.priority or 0)
    return tuple(filled)


def same_pools(present: Sequence[Pool], wanted: Sequence[PoolLogin]) -> bool:
    """True if URLs and users stand in this order. Few miners tell passwords, so none is compared."""
    now = [(_canonical(pool.url), pool.user or "") for pool in in_order(present)]
    return now == [(_canonical(pool.url), pool.user) for pool in wanted]


def _judged(miner: MinerConfig, result: PollResult, mac: str | None, *, doubled: bool) -> MinerPools:
    name, address, family = name_of(miner), result.address, result.family or miner.family

    def unread(problem: str, detail: str) -> MinerPools:
        return MinerPools(name, address, family, None, problem, detail)

    error: DeviceError | None = result.error
    if error is not None:
        return unread(error.kind, error.detail)
    if miner.mac is not None and mac is not None and mac != miner.mac:
        return unread(WrongMiner.kind, f"MAC {mac} answers here instead of MAC {miner.mac}")
    pools = result.reading.pools if result.reading is not None else None
    if pools is None:
        return unread("not_told", "it answered and did not tell its pools; check its login")
    return MinerPools(name, address, family, in_order(pools), doubled=doubled)


def _mac(result: PollResult) -> str | None:
    told = result.reading.mac if result.reading is not None else None
    return normalise_mac(told) if told is not None else None


def _canonical(url: str) -> str:
    """One form of a URL: the scheme that is taken for granted, host in lower case, no empty path."""
    text = url.strip()
    found = _HEAD.fullmatch(text if "://" in text else f"stratum+tcp://{text}")
    if found is None:
        return text
    rest = "" if found["rest"] == "/" else found["rest"]
    return f"{found['scheme'].lower()}://{found['host'].lower()}{rest}"

"""One run of `hashmargin pools set`: which miners, what they have, what they are to have, and doing it."""

from __future__ import annotations

import asyncio
import getpass
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import Progress

from agent.cli.miner_names import near_words
from agent.clock import Clock
from agent.config import MinerConfig, SiteConfig
from agent.devices.abilities import ABILITIES
from agent.errors import InputError
from agent.hardware.catalogue import Catalogue
from agent.polling.poller import Poller
from agent.pools.file import WantedPools
from agent.pools.guard import PoolGuard, PoolLogin
from agent.pools.journal import PoolJournal
from agent.pools.rollout import Change, Outcome, Rollout
from agent.pools.survey import MinerPools, same_pools, survey, targets
from agent.signals import stop_on_signal
from agent.site import Site


@dataclass(frozen=True, slots=True)
class PoolsResult:
    """What a run found and did; no `outcomes` in a dry run. `left_out`: miner -> why it gets nothing."""

    found: Sequence[MinerPools]
    left_out: dict[str, str]
    same: frozenset[str]
    outcomes: Sequence[Outcome] = ()
    halted: str | None = None
    journal: Path | None = None

    @property
    def changing(self) -> list[MinerPools]:
        """Those that have other pools than they should, and can be told so."""
        return [m for m in self.found if m.miner not in self.left_out and m.miner not in self.same]


class PoolsRun:
    """One call of `set`."""

    def __init__(
        self,
        site: SiteConfig,
        guard: PoolGuard,
        wanted: WantedPools,
        workers: dict[str, str],
        clock: Clock,
        *,
        quiet: bool,
    ) -> None:
        self.site = site
        self.guard = guard
        self.wanted = wanted
        self.workers = workers
        self._clock = clock
        self._quiet = quiet

    def logins(self, miner: str) -> tuple[PoolLogin, ...]:
        """What a miner is to have."""
        return self.wanted.for_miner(self.workers[miner])

    async def look(self, poller: Poller | None = None) -> PoolsResult:
        """Read every miner and compare; nothing is sent."""
        if poller is None:
            poller = Poller(targets(self.site), self._clock, self.site.poll.concurrency)
        with progress("reading", len(self.site.miners), quiet=self._quiet) as advance:
            found = await survey(self.site.miners, poller, lambda _: advance())
        left_out = {one.miner: why for one in found if (why := why_not(one)) is not None}
        same = frozenset(
            one.miner
            for one in found
            if one.miner not in left_out and same_pools(one.pools or (), self.logins(one.miner))
        )
        return PoolsResult(found, left_out, same)

    async def carry_out(self) -> PoolsResult:
        """The same, and then change those that differ. The caller holds the site's state folder."""
        still = self.site.poll.model_copy(update={"spread_s": 0.0})
        config = self.site.model_copy(update={"poll": still})
        site = Site(config, Catalogue.load(config.hardware_dir), self._clock)
        stop = asyncio.Event()
        with stop_on_signal(stop, _say_stopping):
            result = await self.look(site.poller)
            run = f"{self._clock.now():%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
            journal = PoolJournal(config.state_dir, self._clock, config.site.id, run, _who())
            changes = [
                Change(
                    one.miner,
                    one.address,
                    one.pools or (),
                    self.wanted.permitted(self.workers[one.miner], self.guard),
                )
                for one in result.changing
            ]
            with progress("changing", len(changes), quiet=self._quiet) as advance:
                rollout = Rollout(site, journal, self._clock, stop, lambda _: advance())
                outcomes = await rollout.run(changes)
        return replace(result, outcomes=outcomes, halted=rollout.halted, journal=journal.path)


def why_not(miner: MinerPools) -> str | None:
    """Why a miner gets no pools, None if it may."""
    if miner.pools is None:
        return f"{miner.problem}: {miner.detail}"
    ability = ABILITIES.get(miner.family or "")
    if ability is None or ability.pools is None:
        return f"cannot be set: hashmargin only reads the family {miner.family}"
    if miner.doubled:
        return "another miner reports the same MAC; nothing is written until that is resolved"
    return None


def chosen(site: SiteConfig, patterns: Sequence[str] | None) -> SiteConfig:
    """The site with only the miners that a pattern names.

    Raises:
        InputError: a pattern names none.
    """
    if not patterns:
        return site
    wanted = [pattern.lower() for pattern in patterns]
    for pattern in wanted:
        if not any(_is_named(miner, pattern) for miner in site.miners):
            known = (name for miner in site.miners for name in _names(miner))
            hint = near_words(pattern, known, "ids, MACs, addresses and tags")
            raise InputError(f"--miner {pattern}: no miner of the site goes by this; {hint}")
    kept = [miner for miner in site.miners if any(_is_named(miner, pattern) for pattern in wanted)]
    return site.model_copy(update={"miners": kept})


def _is_named(miner: MinerConfig, pattern: str) -> bool:
    return any(fnmatchcase(name.lower(), pattern) for name in _names(miner))


def _names(miner: MinerConfig) -> list[str]:
    return [name for name in (miner.id, miner.mac, miner.address, *miner.tags) if name is not None]


@contextmanager
def progress(words: str, total: int, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """A bar on stderr where that is a terminal; what is yielded moves it by one miner."""
    hidden = quiet or not sys.stderr.isatty() or total == 0
    with Progress(console=Console(stderr=True), transient=True, disable=hidden) as bar:
        task = bar.add_task(f"{words} {total:,} miner{'s' if total != 1 else ''}", total=total)
        yield lambda: bar.advance(task)


def _say_stopping() -> None:
    typer.echo("stopping after the miners under way; a second signal forces", err=True)


def _who() -> str:
    """Who asked: the person behind sudo where there is one."""
    if os.environ.get("SUDO_USER"):
        return os.environ["SUDO_USER"][:64]
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"

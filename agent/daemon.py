"""The life of the agent: startup, cycles on a schedule, shutdown. What a cycle does is `agent.cycle`'s."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from urllib.parse import quote

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from agent.clock import Clock
from agent.config import SiteConfig, read_secret
from agent.cycle import Cycle
from agent.errors import HashmarginError, StoreError, UplinkError
from agent.hardware.catalogue import Catalogue
from agent.hardware.effective import check_overrides
from agent.money.economics import Economics
from agent.notify import Notifier
from agent.records import Summary
from agent.signals import stop_on_signal
from agent.site import Site
from agent.sources.fetching import Fetching, Relay
from agent.state_lock import sole_holder
from agent.store import DATABASE, Store, open_store
from agent.uplink import Uplink

log = logging.getLogger(__name__)
# A full disk or a broken cycle is met by going on; this many broken ones in a row end the process, so
# that the service manager starts a fresh one.
_BROKEN_CYCLES = 10
_HELD = "stop it, or give this one its own state_dir"


class Agent:
    """One site's agent.

    Args:
        cycles: stop after this many, None to run until asked to stop.
        on_summary: called after each whole cycle.

    Raises:
        ConfigError, DataError, StoreError: from `run`, when the site cannot be run as configured.
    """

    def __init__(
        self,
        config: SiteConfig,
        clock: Clock,
        notifier: Notifier,
        *,
        cycles: int | None = None,
        on_summary: Callable[[Summary], None] | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._notifier = notifier
        self._cycles = cycles
        self._on_summary = on_summary
        self._stop = asyncio.Event()
        self._working = asyncio.Lock()
        self._exchanging = asyncio.Lock()
        self._broken = 0
        self._ready = False

    async def run(self) -> int:
        """Run until stopped. Returns the process's exit code."""
        with sole_holder(self._config.state_dir, _HELD), stop_on_signal(self._stop, _say_stopping):
            store, damaged = open_store(
                self._config.state_dir / DATABASE, self._config.site.id, self._clock.now()
            )
            try:
                if damaged is not None:
                    log.error("%s", damaged)
                await self._live(store)
            finally:
                store.close()
        return 1 if self._broken >= _BROKEN_CYCLES else 0

    async def _live(self, store: Store) -> None:
        catalogue = Catalogue.load(self._config.hardware_dir)
        check_overrides(self._config, catalogue)
        site = Site(self._config, catalogue, self._clock)
        fetching = self._fetching()
        troubles = fetching.troubles if fetching is not None else dict
        cycle = Cycle(self._config, site, store, Economics(self._config), self._clock, troubles)
        left = cycle.actuator.recover()
        if left:
            log.warning("%d acts were left open by the last run and are being resolved by reading", len(left))
        uplink = self._uplink(store)
        fetch = asyncio.create_task(fetching.run()) if fetching is not None else None
        scheduler = AsyncIOScheduler(timezone=UTC)
        now = datetime.now(UTC)
        every = self._config.poll.interval_s / self._clock.factor
        self._add(scheduler, partial(self._tick, cycle), every, now)
        if uplink is not None and self._config.dashboard is not None:
            pause = max(0.5, self._config.dashboard.interval_s / self._clock.factor)
            self._add(scheduler, partial(self._exchange, uplink), pause, now)
        scheduler.start()
        try:
            await self._stop.wait()
        finally:
            self._notifier.stopping()
            if fetch is not None and fetching is not None:
                fetch.cancel()
                await asyncio.gather(fetch, return_exceptions=True)
                await fetching.close()
            # No new work; what is under way comes to its end, because it may be half way to a miner.
            scheduler.pause()
            async with self._working, self._exchanging:
                scheduler.shutdown(wait=False)
                await self._shut_down(cycle, uplink)

    def _add(
        self, scheduler: AsyncIOScheduler, job: Callable[[], Awaitable[None]], every_s: float, now: datetime
    ) -> None:
        scheduler.add_job(
            job,
            "interval",
            seconds=every_s,
            next_run_time=now,
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
        )

    async def _tick(self, cycle: Cycle) -> None:
        async with self._working:
            if not self._stop.is_set():
                await self._one_cycle(cycle)

    async def _one_cycle(self, cycle: Cycle) -> None:
        try:
            summary = await cycle.run()
        except StoreError as error:
            # A restart would not make room on the disk: stay alive, poll, say so, apply nothing.
            log.error("cycle %d could not be stored: %s", cycle.number, error)
            self._notifier.cycle_done(f"degraded: {error}")
        except Exception:
            self._broken += 1
            log.exception("cycle %d broke (%d in a row)", cycle.number, self._broken)
            if self._broken >= _BROKEN_CYCLES:
                self._stop.set()
            return
        else:
            self._report(summary)
        self._broken = 0
        if self._cycles is not None and cycle.number >= self._cycles:
            self._stop.set()

    def _report(self, summary: Summary) -> None:
        profit = summary.profit_usd_per_day
        money = f", {profit:.2f} USD/day" if profit is not None else ""
        status = f"{summary.miners_reachable}/{summary.miners_total} miners{money}, cycle {summary.cycle}"
        if not self._ready:
            self._notifier.ready(status)
            self._ready = True
        self._notifier.cycle_done(status)
        if self._on_summary is not None:
            self._on_summary(summary)

    async def _exchange(self, uplink: Uplink) -> None:
        try:
            async with self._exchanging:
                await uplink.push_once()
                await uplink.pull_once()
        except UplinkError as error:
            log.info("dashboard: %s; records stay queued", error)
        except StoreError as error:
            log.error("dashboard: %s", error)

    def _fetching(self) -> Fetching | None:
        if not self._config.sources:
            return None
        relay, dashboard = None, self._config.dashboard
        if dashboard is not None:
            token = read_secret(dashboard.token_file, dashboard.systemd_credential)
            url = f"{dashboard.url.rstrip('/')}/api/v1/sites/{quote(self._config.site.id, safe='')}"
            relay = Relay(url, token)
        folder = self._config.state_dir
        return Fetching(self._config.sources, folder, self._clock, random.Random(), relay)

    def _uplink(self, store: Store) -> Uplink | None:
        dashboard = self._config.dashboard
        if dashboard is None:
            return None
        token = read_secret(dashboard.token_file, dashboard.systemd_credential)
        return Uplink(dashboard, self._config.site.id, token, self._clock, store, random.Random())

    async def _shut_down(self, cycle: Cycle, uplink: Uplink | None) -> None:
        try:
            await cycle.finish()
            if uplink is not None:
                with contextlib.suppress(UplinkError):
                    await uplink.push_once()
                await uplink.close()
        except HashmarginError as error:
            log.error("shutdown: %s", error)


def _say_stopping() -> None:
    log.info("stopping after the work at hand; a second signal forces")

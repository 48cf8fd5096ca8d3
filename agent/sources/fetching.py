"""Fetches every source at its own pace, off the decision path, and keeps the last good on disk.

Deciding reads what is kept and never waits for the network.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from agent.clock import Clock
from agent.config import read_secret
from agent.errors import ConfigError, DataError, SourceError
from agent.sources import entsoe, mempool
from agent.sources.config import EntsoeSource, HttpJsonSource, MempoolSource, SourceConfig
from agent.sources.mapping import rows_of
from agent.sources.plausible import check
from agent.sources.table import (
    NOTHING,
    Table,
    cache_path,
    joined,
    parse_table,
    read_table,
    table_of,
    write_table,
)
from agent.sources.web import Web, as_json

log = logging.getLogger(__name__)
_KEEP_S = 70 * 86400.0
_FAILURES_TO_TELL = 3
_BACKOFF_FIRST_S, _BACKOFF_MOST_S = 30.0, 3600.0


class Jitter(Protocol):
    """Source of chance: `random.Random` or a numpy generator."""

    def random(self) -> float:
        """A number from 0 up to 1."""
        ...


@dataclass(frozen=True, slots=True)
class Relay:
    """Where a dashboard relays sources: the URL of the site there, and its token."""

    url: str
    token: str


@dataclass(slots=True)
class _Pace:
    due: datetime
    failures: int = 0


class Fetching:
    """All sources of one site, or of a dashboard that relays them.

    Args:
        sources: what to fetch.
        folder: `state_dir` of the site; tables are kept in `sources` below it.
        clock, rng: for the pace and its jitter.
        relay: needed where a source is relayed.

    Raises:
        ConfigError: a secret cannot be read safely.
    """

    def __init__(
        self,
        sources: Sequence[SourceConfig],
        folder: Path,
        clock: Clock,
        rng: Jitter,
        relay: Relay | None = None,
    ) -> None:
        self._sources = {source.name: source for source in sources}
        self._folder = folder
        self._clock = clock
        self._rng = rng
        self._relay = relay
        self._web = Web()
        self._secrets = {source.name: _secret(source) for source in sources}
        self._pace = {source.name: _Pace(clock.now()) for source in sources}
        self._problems: dict[str, str] = {}

    def troubles(self) -> dict[str, str]:
        """Words for people, by source that has failed several times in a row."""
        return {
            f"source-{name}": f"source {name}: {problem}; tried {self._pace[name].failures} times"
            for name, problem in self._problems.items()
            if self._pace[name].failures >= _FAILURES_TO_TELL
        }

    @property
    def problems(self) -> Mapping[str, str]:
        """What is wrong with which source, at its last fetch."""
        return dict(self._problems)

    async def close(self) -> None:
        """Close the connections."""
        await self._web.close()

    async def fetch_due(self) -> float:
        """Fetch what is due. Returns seconds of the clock until something is due again."""
        now = self._clock.now()
        due = [name for name, pace in self._pace.items() if pace.due <= now]
        await asyncio.gather(*(self._fetch(name) for name in due))
        now = self._clock.now()
        return max(1.0, min(((p.due - now).total_seconds() for p in self._pace.values()), default=3600.0))

    async def run(self) -> None:
        """Fetch for ever; cancel to stop."""
        while True:
            await self._clock.sleep(await self.fetch_due())

    async def _fetch(self, name: str) -> None:
        source, pace = self._sources[name], self._pace[name]
        try:
            before = self._kept(name)
            table = await self._ask(source)
            check(table, before, self._clock.now().timestamp(), source.plausible)
            await asyncio.to_thread(
                write_table, cache_path(self._folder, name), before.merged(table, _KEEP_S)
            )
        except (SourceError, DataError, OSError) as error:
            wait_s = self._failed(name, str(error))
        except Exception as error:
            # An answer that nobody thought of must not end the fetching of all other sources.
            log.exception("source %s: its answer could not be worked with", name)
            wait_s = self._failed(name, f"its answer could not be worked with: {type(error).__name__}")
        else:
            if self._problems.pop(name, None) is not None:
                log.info("source %s: back", name)
            pace.failures = 0
            wait_s = source.interval_s * (0.95 + 0.1 * self._rng.random())
        pace.due = self._clock.now() + timedelta(seconds=wait_s)

    def _failed(self, name: str, problem: str) -> float:
        """Say what is wrong, once. Returns the seconds until the next try."""
        pace = self._pace[name]
        if name not in self._problems:
            log.warning("source %s: %s; what was fetched before stays in use", name, problem)
        self._problems[name] = problem
        longest = min(_BACKOFF_MOST_S, _BACKOFF_FIRST_S * 2.0 ** min(pace.failures, 16))
        pace.failures += 1
        return longest * (0.5 + 0.5 * self._rng.random())

    def _kept(self, name: str) -> Table:
        path = cache_path(self._folder, name)
        if not path.exists():
            return NOTHING
        try:
            return read_table(path)
        except DataError as error:
            log.warning("%s", error)
            return NOTHING

    async def _ask(self, source: SourceConfig) -> Table:
        now = self._clock.now()
        if isinstance(source, HttpJsonSource):
            return await self._json(source, now)
        if isinstance(source, MempoolSource):
            base = source.url.rstrip("/")
            answers = {
                k: as_json(await self._get(source, base + path), path) for k, path in mempool.PATHS.items()
            }
            return mempool.network(answers, now.timestamp())
        if isinstance(source, EntsoeSource):
            query = {**entsoe.parameters(source, now), "securityToken": self._secrets[source.name] or ""}
            body = await self._get(source, source.url, parameters=query)
            return await asyncio.to_thread(entsoe.prices, body, source.usd_per_eur)
        if self._relay is None:
            raise SourceError("there is no dashboard to relay it")
        headers = {"Authorization": f"Bearer {self._relay.token}"}
        body = await self._get(source, f"{self._relay.url}/sources/{source.remote}", headers=headers)
        return parse_table(body, f"the dashboard's source {source.remote}")

    async def _json(self, source: HttpJsonSource, now: datetime) -> Table:
        secret, headers, query = self._secrets[source.name], {}, {}
        if secret is not None and source.token_parameter is not None:
            query[source.token_parameter] = secret
        elif secret is not None and source.token_header is not None:
            headers[source.token_header] = secret
        elif secret is not None:
            headers["Authorization"] = f"Bearer {secret}"
        pages: dict[str, object] = {}
        tables = []
        for column, mapping in source.columns.items():
            url = mapping.url or source.url
            if url not in pages:
                # A token is for the source's own address and for no other.
                own = url == source.url
                body = await self._get(source, url, headers if own else {}, query if own else {})
                pages[url] = as_json(body, url.partition("?")[0])
            rows = rows_of(pages[url], mapping, now.timestamp(), column)
            tables.append(table_of(rows, column, source.name))
        return joined(tables)

    async def _get(
        self,
        source: SourceConfig,
        url: str,
        headers: Mapping[str, str] | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> bytes:
        return await self._web.get(
            url,
            deadline_s=source.deadline_s,
            max_bytes=1024 * source.max_kib,
            headers=headers,
            parameters=parameters,
        )


def _secret(source: SourceConfig) -> str | None:
    if not isinstance(source, HttpJsonSource | EntsoeSource) or not source.has_token:
        return None
    token = read_secret(source.token_file, source.systemd_credential)
    if not (token.isascii() and token.isprintable()):
        raise ConfigError(
            source.token_file, None, "", f"source {source.name}: a token is one line of plain signs"
        )
    return token

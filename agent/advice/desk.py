"""The slow round of advice on a live site: what is found, what of it is told, and what is said only once."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from agent.advice.coin_switch import coin_book, coin_switch
from agent.advice.coins import CoinsFile, load_coins
from agent.advice.config import AdviceConfig
from agent.advice.maintenance import repairs
from agent.advice.pool_switch import pool_switch
from agent.advice.pool_work import PoolLedger, active_url
from agent.advice.record import Finding, Round, Standing, recommendation
from agent.config import SiteConfig
from agent.errors import ConfigError, DataError
from agent.learning.decline import Decline
from agent.money.prices import MarketSeries, read_market
from agent.pools.guard import PoolGuard
from agent.reading import Reading
from agent.records import Recommendation
from agent.sources.feed import Feed
from agent.sources.table import NOTHING, cache_path, market_of, read_table
from agent.store import Store

log = logging.getLogger(__name__)
Floats = NDArray[np.float64]
STATE_NAME = "pool-work"


def open_desk(config: SiteConfig, saved: bytes | None) -> Desk:
    """The desk of a site; `saved` is the state of an earlier run.

    Raises:
        ConfigError, DataError: the coins file or a market file of it cannot be used.
    """
    guard = PoolGuard(config.trusted_pools)
    if config.advice.coins is None:
        return Desk(config.advice, guard, None, {}, saved)
    coins = load_coins(config.advice.coins)
    return Desk(config.advice, guard, coins, market_feeds(coins, config), saved)


def market_feeds(coins: CoinsFile, config: SiteConfig) -> dict[str, Feed[MarketSeries]]:
    """By coin code, the file or the cache of the source that tells its market.

    Raises:
        ConfigError: a source is not in the site file.
        DataError: a market file cannot be used.
    """
    names = [source.name for source in config.sources]
    feeds: dict[str, Feed[MarketSeries]] = {}
    for i, coin in enumerate(coins.coins):
        if coin.market is not None:
            feeds[coin.code] = Feed(coin.market, read_market)
            continue
        assert coin.source is not None, "configuration has one of the two"
        if coin.source not in names:
            listed = ", ".join(names) or "none"
            problem = f"there is no source {coin.source!r}; the site file has {listed}"
            raise ConfigError(config.advice.coins, None, f"coins.{i}.source", problem)
        path = cache_path(config.state_dir, coin.source)
        feeds[coin.code] = Feed(
            path, lambda file: market_of(read_table(file)), market_of(NOTHING), coin.source
        )
    return feeds


class Desk:
    """Advice of one site. Approving it is recorded; nothing here reaches a miner.

    Args:
        coins: None where the site names no coins file.
        markets: by coin code.
    """

    def __init__(
        self,
        config: AdviceConfig,
        guard: PoolGuard,
        coins: CoinsFile | None,
        markets: Mapping[str, Feed[MarketSeries]],
        saved: bytes | None,
    ) -> None:
        self._config = config
        self._guard = guard
        self._coins = coins
        self._markets = markets
        self._last: datetime | None = None
        try:
            self._ledger = PoolLedger(saved)
        except DataError as error:
            log.warning("%s; pools are judged anew", error)
            self._ledger = PoolLedger()

    def observe(self, readings: Iterable[tuple[str, Reading | None]], at: datetime) -> None:
        """Take in one cycle: miner id and its new reading, None where this poll failed."""
        if self._coins is not None:
            self._ledger.observe(readings, at.timestamp())

    def due(self, now: datetime) -> bool:
        """True once an interval; a clock that went back does not stop it."""
        if self._last is None or now < self._last:
            return True
        return (now - self._last).total_seconds() >= self._config.interval_s

    def look(
        self,
        context: Round,
        standings: Sequence[Standing | None],
        readings: Sequence[Reading | None],
        declines: Sequence[Decline],
        store: Store,
    ) -> None:
        """One round: find, and store what is new or no longer true.

        Args:
            standings: per unit, None where it is not read, not hashing or its draw is unknown.

        Raises:
            StoreError: it cannot be stored.
        """
        self._last = context.now
        store.put_state(STATE_NAME, self._ledger.to_bytes())
        if not context.has_prices:
            # What stands, stands until it expires: unknown prices are no reason to take it back.
            return
        earlier = [r for r in store.recommendations(limit=5000) if r.advice is not None]
        found = repairs(context, standings, readings, declines, self._config.minimum_repair_usd_per_day)
        found = [*self._switches(context, standings, readings, earlier), *found]
        self._tell(found, context, earlier, store)

    def _switches(
        self,
        context: Round,
        standings: Sequence[Standing | None],
        readings: Sequence[Reading | None],
        earlier: Sequence[Recommendation],
    ) -> list[Finding]:
        coins = self._coins
        if coins is None:
            return []
        for feed in self._markets.values():
            problem = feed.refresh()
            if problem is not None:
                log.warning("coins: %s", problem)
        urls = [active_url(reading) for reading in readings]
        rates: Counter[str] = Counter()
        for url, standing in zip(urls, standings, strict=True):
            if url is not None and standing is not None:
                rates[url] += round(1000.0 * standing.hashrate_ths)
        coin_of = {pool.url.strip().lower(): coin for coin in coins.coins for pool in coin.pools}
        known = [url for url, _ in rates.most_common() if url in coin_of]
        if not known:
            return []
        # A site hashes for one pool, or nearly; the one with most hashrate is what is judged.
        here, coin = known[0], coin_of[known[0]]
        there = [s for s, url in zip(standings, urls, strict=True) if s is not None and url == here]
        markets = {code: feed.value for code, feed in self._markets.items()}
        book = coin_book(coins, markets, self._guard, context.now)
        gross = float(book.gross[-1, book.codes.index(coin.code)])
        coin_at, pool_at = _approved("coin_switch", earlier), _approved("pool_switch", earlier)
        last = max((at for at in (coin_at, pool_at) if at is not None), default=None)
        found = (
            coin_switch(book, coins, coin.code, there, last, context.now),
            pool_switch(
                coin.pools,
                self._ledger.work,
                here,
                there,
                gross,
                self._guard,
                coins.switch,
                last,
                context.now,
            ),
        )
        # Both change the same line of a miner; the one that brings more is told.
        told = [one for one in found if one is not None]
        return [max(told, key=lambda one: one.gain_usd_per_day[1])] if told else []

    def _tell(
        self, found: Sequence[Finding], context: Round, earlier: Sequence[Recommendation], store: Store
    ) -> None:
        quiet = timedelta(hours=self._config.quiet_h)
        open_: dict[str, Recommendation] = {}
        answered: set[str] = set()
        for old in earlier:
            assert old.advice is not None
            if old.status == "proposed" and old.expires_at > context.now:
                open_.setdefault(old.advice.subject, old)
            elif (
                old.status in ("approved", "rejected")
                and context.now - (old.decided_at or old.timestamp) < quiet
            ):
                answered.add(old.advice.subject)
        new = {r.advice.subject: r for f in found if (r := recommendation(f, context)).advice is not None}
        for subject, old in open_.items():
            if subject not in new:
                store.put_recommendation(old.model_copy(update={"status": "superseded"}))
        room = self._config.most_open - sum(subject in new for subject in open_)
        for subject, record in new.items():
            standing = open_.get(subject)
            if standing is not None:
                if says_more(standing, record):
                    store.put_recommendation(record.model_copy(update={"id": standing.id}))
            elif subject not in answered and room > 0:
                store.put_recommendation(record)
                room -= 1


def says_more(old: Recommendation, new: Recommendation) -> bool:
    """True if standing advice is worth another record: half its life is over, or its gain moved."""
    half = (old.expires_at - old.timestamp) / 2
    gain = old.gain_usd_per_day
    return new.timestamp - old.timestamp >= half or not gain.q10 <= new.gain_usd_per_day.q50 <= gain.q90


def _approved(kind: str, earlier: Sequence[Recommendation]) -> datetime | None:
    at = [r.decided_at or r.timestamp for r in earlier if r.type == kind and r.status == "approved"]
    return max(at, default=None)

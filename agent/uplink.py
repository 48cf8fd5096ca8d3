"""Delivers the outbox to the dashboard and fetches what people decided there.

At least once: a record leaves the outbox only when the dashboard says that it is stored. When to call
is the daemon's business; while the dashboard is away, calls made too soon are held back here.
"""

from __future__ import annotations

import asyncio
import gzip
import ipaddress
import json
import logging
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Protocol
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from agent import __version__
from agent.clock import Clock
from agent.config import DashboardConfig
from agent.errors import UplinkError
from agent.records import MAX_RECORDS_PER_BATCH, Batch, BatchReply, Decision, Decisions, Envelope

MAX_REPLY_BYTES = 4 * 1024 * 1024
MAX_DECISIONS = 200
MAX_REFUSED_PER_PUSH = 20
# Batches start small and grow while they stay small: an outbox of large summaries must not fill memory.
_FIRST_BATCH = 32
_MOST_BYTES = 8 * 1024 * 1024
_BACKOFF_FIRST_S, _BACKOFF_MOST_S = 2.0, 300.0
_log = logging.getLogger(__name__)


class Outbox(Protocol):
    """The part of the agent's store that the uplink needs."""

    def pending(self, limit: int) -> list[Envelope]:
        """The oldest records that are not acknowledged, by rising `seq`."""
        ...

    def acknowledge(self, seq: int) -> None:
        """Everything up to `seq` is stored at the centre or in quarantine; the former may be forgotten."""
        ...

    def quarantine(self, seq: int, reason: str) -> None:
        """Keep a record that the centre refuses for good, out of `pending` from now on."""
        ...

    def decisions_after(self) -> int:
        """The `seq` of the last decision that is stored here; 0 before the first."""
        ...

    def store_decisions(self, decisions: list[Decision]) -> None:
        """Keep decisions durably."""
        ...


class Jitter(Protocol):
    """Source of chance: `random.Random` or a numpy generator."""

    def random(self) -> float:
        """A number from 0 up to 1."""
        ...


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A record that the dashboard refuses for good, and the reason it gave."""

    envelope: Envelope
    reason: str


@dataclass(frozen=True, slots=True)
class PushResult:
    """What one push did.

    `more` tells that time ran out before the outbox was empty. `postponed_s` is above 0 when nothing was
    tried because an earlier failure asks to wait, in seconds of the clock.
    """

    stored: int = 0
    duplicates: int = 0
    acknowledged_seq: int | None = None
    quarantined: tuple[Quarantined, ...] = ()
    more: bool = False
    postponed_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PullResult:
    """What one pull brought. `more` tells that a full page came and more may wait."""

    received: int = 0
    more: bool = False
    postponed_s: float = 0.0


@dataclass(slots=True)
class _Progress:
    stored: int = 0
    duplicates: int = 0
    acknowledged_seq: int | None = None
    quarantined: list[Quarantined] = field(default_factory=list)


class _Refused(Exception):
    """The dashboard cannot take this batch as it is: too large, or a record breaks the contract."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        self.reason = reason
        super().__init__(reason)


class Uplink:
    """One site's connection to the dashboard.

    Args:
        config: `dashboard` of site.yaml.
        site_id: the site's id; part of every request's path.
        token: the site's bearer token.
        clock: for back-off.
        outbox: what is to be sent, and where decisions go.
        rng: for the jitter of the back-off.

    Raises:
        UplinkError: address or token cannot be put into a request.
    """

    def __init__(
        self,
        config: DashboardConfig,
        site_id: str,
        token: str,
        clock: Clock,
        outbox: Outbox,
        rng: Jitter,
    ) -> None:
        self._deadline_s = config.deadline_s
        self._clock = clock
        self._outbox = outbox
        self._rng = rng
        self._batch = _FIRST_BATCH
        self._failures = 0
        self._not_before: datetime | None = None
        self._decisions_tag: tuple[int, str] | None = None
        self._url = f"{config.url.rstrip('/')}/api/v1/sites/{quote(site_id, safe='')}"
        if not _is_private_enough(config.url):
            _log.warning("%s is plain HTTP: the site's token can be read on the way; use https", config.url)
        try:
            self._client = httpx.AsyncClient(
                headers={
                    "Authorization": f"Bearer {token}",
                    "User-Agent": f"hashmargin-agent/{__version__}",
                    "Accept": "application/json",
                    "Accept-Encoding": "identity",
                },
                timeout=httpx.Timeout(self._deadline_s),
                limits=httpx.Limits(max_connections=2),
                follow_redirects=False,
                # The machine's own certificates, so that a private authority can be trusted by installing it.
                verify=ssl.create_default_context(),
                trust_env=False,
            )
        except (ValueError, httpx.InvalidURL) as error:
            raise UplinkError(
                "the dashboard's token or address holds characters that cannot be sent"
            ) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def push_once(self) -> PushResult:
        """Deliver what is pending, oldest first, in batches, for at most about one deadline.

        Raises:
            UplinkError: not everything could be delivered; what was not stays in the outbox.
        """
        if (wait := self._wait_s()) > 0.0:
            return PushResult(postponed_s=wait)
        progress = _Progress()
        until = asyncio.get_running_loop().time() + self._deadline_s
        more = True
        try:
            while more and asyncio.get_running_loop().time() < until:
                envelopes = self._outbox.pending(self._batch)
                more = len(envelopes) == self._batch
                if envelopes:
                    await self._deliver(envelopes, progress)
        except UplinkError:
            self._back_off()
            raise
        self._failures = 0
        return PushResult(
            stored=progress.stored,
            duplicates=progress.duplicates,
            acknowledged_seq=progress.acknowledged_seq,
            quarantined=tuple(progress.quarantined),
            more=more,
        )

    async def pull_once(self) -> PullResult:
        """Fetch decisions that are newer than those stored, and store them.

        Raises:
            UplinkError: they could not be fetched or make no sense; none was stored.
        """
        if (wait := self._wait_s()) > 0.0:
            return PullResult(postponed_s=wait)
        try:
            decisions = await self._fetch(self._outbox.decisions_after())
        except UplinkError:
            self._back_off()
            raise
        self._failures = 0
        if decisions:
            self._outbox.store_decisions(decisions)
        return PullResult(received=len(decisions), more=len(decisions) == MAX_DECISIONS)

    async def _deliver(self, envelopes: Sequence[Envelope], progress: _Progress) -> None:
        # Halving finds the one record that is refused in some twenty requests, and keeps the order.
        try:
            reply = await self._send(envelopes)
        except _Refused as refused:
            if len(envelopes) > 1:
                middle = len(envelopes) // 2
                await self._deliver(envelopes[:middle], progress)
                await self._deliver(envelopes[middle:], progress)
            else:
                self._set_aside(envelopes[0], refused, progress)
            return
        self._outbox.acknowledge(reply.acknowledged_seq)
        progress.stored += reply.stored
        progress.duplicates += reply.duplicates
        progress.acknowledged_seq = reply.acknowledged_seq

    async def _send(self, envelopes: Sequence[Envelope]) -> BatchReply:
        raw = await asyncio.to_thread(_serialised, envelopes)
        if len(raw) > _MOST_BYTES and len(envelopes) > 1:
            self._batch = max(1, len(envelopes) // 2)
            raise _Refused(413, "larger than is sent at a time")
        if len(raw) < _MOST_BYTES // 4 and len(envelopes) == self._batch:
            self._batch = min(MAX_RECORDS_PER_BATCH, 2 * self._batch)
        packed = await asyncio.to_thread(gzip.compress, raw, 6)
        status, body, _ = await self._request(
            "POST",
            "/records",
            content=packed,
            headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
        )
        if status in (413, 422) and (reason := _reason(body)) is not None:
            raise _Refused(status, reason)
        if status == 413 and len(envelopes) > 1:
            raise _Refused(status, "too large for something on the way")
        if status != 200:
            raise UplinkError(_words(status, body))
        try:
            reply = BatchReply.model_validate_json(body)
        except ValidationError as error:
            raise UplinkError("the dashboard's answer to a batch is not one") from error
        if reply.acknowledged_seq != max(envelope.seq for envelope in envelopes):
            raise UplinkError(
                f"the dashboard acknowledged {reply.acknowledged_seq}, which was not the last one"
            )
        return reply

    async def _fetch(self, after: int) -> list[Decision]:
        headers = {}
        if self._decisions_tag is not None and self._decisions_tag[0] == after:
            headers["If-None-Match"] = self._decisions_tag[1]
        status, body, answered = await self._request("GET", f"/decisions?after={after}", headers=headers)
        if status == 304:
            return []
        if status != 200:
            raise UplinkError(_words(status, body))
        try:
            decisions = Decisions.model_validate_json(body).decisions
        except ValidationError as error:
            raise UplinkError("the dashboard's decisions cannot be read") from error
        seqs = [after, *(decision.seq for decision in decisions)]
        if len(decisions) > MAX_DECISIONS or any(b <= a for a, b in pairwise(seqs)):
            raise UplinkError("the dashboard's decisions are not in order")
        tag = answered.get("etag", "")
        self._decisions_tag = (after, tag) if tag and len(tag) <= 200 else None
        return decisions

    async def _request(
        self, method: str, path: str, *, headers: dict[str, str], content: bytes | None = None
    ) -> tuple[int, bytes, httpx.Headers]:
        """One exchange under one deadline for all of it, however slowly the bytes drip."""
        try:
            async with (
                asyncio.timeout(self._deadline_s),
                self._client.stream(method, self._url + path, headers=headers, content=content) as response,
            ):
                if response.headers.get("content-encoding", "identity").lower() != "identity":
                    raise UplinkError("the dashboard's answer is packed, which was not asked for")
                body = bytearray()
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > MAX_REPLY_BYTES:
                        raise UplinkError(f"the dashboard's answer is over {MAX_REPLY_BYTES} bytes")
                return response.status_code, bytes(body), response.headers
        except TimeoutError as error:
            raise UplinkError(f"the dashboard did not answer within {self._deadline_s:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise UplinkError(f"the dashboard cannot be reached: {error or type(error).__name__}") from error

    def _set_aside(self, envelope: Envelope, refused: _Refused, progress: _Progress) -> None:
        if len(progress.quarantined) >= MAX_REFUSED_PER_PUSH:
            raise UplinkError(
                f"the dashboard refused {MAX_REFUSED_PER_PUSH} records in one push, last for: "
                f"{refused.reason}; is it of an older version? The rest stays queued"
            )
        reason = f"{refused.status}: {refused.reason}"
        self._outbox.quarantine(envelope.seq, reason)
        _log.error(
            "%s record %d (%s) is refused by the dashboard and set aside: %s",
            envelope.kind,
            envelope.seq,
            envelope.key,
            reason,
        )
        progress.acknowledged_seq = envelope.seq
        progress.quarantined.append(Quarantined(envelope, reason))

    def _wait_s(self) -> float:
        if self._not_before is None or self._failures == 0:
            return 0.0
        left = (self._not_before - self._clock.now()).total_seconds()
        # A clock that was put back must not silence the site for as long as it was wrong.
        return left if 0.0 < left <= _BACKOFF_MOST_S else 0.0

    def _back_off(self) -> None:
        longest = min(_BACKOFF_MOST_S, _BACKOFF_FIRST_S * 2.0 ** min(self._failures, 16))
        self._failures += 1
        wait_s = longest * (0.5 + 0.5 * float(self._rng.random()))
        self._not_before = self._clock.now() + timedelta(seconds=wait_s)


def _serialised(envelopes: Sequence[Envelope]) -> bytes:
    return Batch(records=list(envelopes)).model_dump_json().encode()


def _reason(body: bytes) -> str | None:
    """The message of an error in the dashboard's own form; None if somebody else wrote the answer."""
    try:
        error = json.loads(body)["error"]
        return f"{error['code']!s:.64}: {error['message']!s:.500}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _words(status: int, body: bytes) -> str:
    reason = _reason(body)
    if 300 <= status < 400:
        return f"the dashboard answered {status}, a redirect; put its real address in dashboard.url"
    return f"the dashboard answered {status}" + (f" ({reason})" if reason is not None else "")


def _is_private_enough(url: str) -> bool:
    parsed = httpx.URL(url)
    if parsed.scheme == "https" or parsed.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(parsed.host).is_loopback
    except ValueError:
        return False

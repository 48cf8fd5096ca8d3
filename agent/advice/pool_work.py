"""What each pool took of the work done for it: accepted difficulty against hashes, with forgetting.

Counters of miners restart and pools change under them; only growth between two readings that agree on the
active pool counts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from agent.errors import DataError
from agent.reading import Pool, Reading

Floats = NDArray[np.float64]
_FORGET_DAYS = 14.0
_LONGEST_GAP_S = 900.0
_THS_PER_DIFFICULTY_S = 2.0**32 / 1e12


@dataclass(slots=True)
class PoolWork:
    """Of one pool, over all miners: hashed TH, accepted work in TH, and shares."""

    hashed_th: float = 0.0
    accepted_th: float = 0.0
    accepted: float = 0.0
    rejected: float = 0.0
    stale: float = 0.0


@dataclass(frozen=True, slots=True)
class _Mark:
    at_s: float
    url: str
    accepted: int
    rejected: int
    stale: int


class PoolLedger:
    """Work by pool URL. Use `to_bytes` to keep it between runs.

    Raises:
        DataError: `saved` cannot be used.
    """

    def __init__(self, saved: bytes | None = None) -> None:
        self.work: dict[str, PoolWork] = {}
        self._marks: dict[str, _Mark] = {}
        self._at_s: float | None = None
        if saved is not None:
            try:
                document = json.loads(saved)
                self.work = {
                    str(url): PoolWork(**{k: float(v) for k, v in one.items()})
                    for url, one in document["work"].items()
                }
                self._at_s = float(document["at_s"]) if document["at_s"] is not None else None
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise DataError(f"saved pool work cannot be used: {error}") from error

    def observe(self, readings: Iterable[tuple[str, Reading | None]], at_s: float) -> None:
        """Take in one cycle: miner id and its new reading, None where this poll failed."""
        if self._at_s is not None and at_s > self._at_s:
            keep = math.exp(-(at_s - self._at_s) / (86400.0 * _FORGET_DAYS))
            for one in self.work.values():
                for name in PoolWork.__slots__:
                    setattr(one, name, getattr(one, name) * keep)
        self._at_s = at_s
        for miner_id, reading in readings:
            pool = _active(reading)
            if reading is None or pool is None or pool.accepted is None:
                self._marks.pop(miner_id, None)
                continue
            new = _Mark(at_s, pool.url.strip().lower(), pool.accepted, pool.rejected or 0, pool.stale or 0)
            old = self._marks.get(miner_id)
            self._marks[miner_id] = new
            if old is not None:
                self._count(old, new, pool, reading)

    def to_bytes(self) -> bytes:
        """For the store."""
        return json.dumps({"work": {u: asdict(w) for u, w in self.work.items()}, "at_s": self._at_s}).encode()

    def _count(self, old: _Mark, new: _Mark, pool: Pool, reading: Reading) -> None:
        gap, accepted = new.at_s - old.at_s, new.accepted - old.accepted
        rejected, stale = new.rejected - old.rejected, new.stale - old.stale
        if old.url != new.url or not 0.0 < gap <= _LONGEST_GAP_S or min(accepted, rejected, stale) < 0:
            return
        if not pool.difficulty or reading.hashrate_ths is None or reading.hashrate_ths <= 0.0:
            return
        one = self.work.setdefault(new.url, PoolWork())
        one.hashed_th += reading.hashrate_ths * gap
        one.accepted_th += accepted * pool.difficulty * _THS_PER_DIFFICULTY_S
        one.accepted += accepted
        one.rejected += rejected
        one.stale += stale


@dataclass(frozen=True, slots=True)
class Effectiveness:
    """[P] pools: share of hashes that were accepted as work, its relative deviation, and shares lost."""

    ratio: Floats
    relative_sigma: Floats
    rejected_share: Floats
    stale_share: Floats


def effectiveness(work: Mapping[str, PoolWork], urls: Iterable[str], least_shares: float) -> Effectiveness:
    """By URL; NaN where fewer shares were accepted than `least_shares`.

    Shares found are a Poisson count, so n of them are known to 1 / sqrt(n). A ratio outside 0.5 to 1.5 means
    that the firmware's difficulty is not that of its shares, and counts as unknown.
    """
    rows = [work.get(url.strip().lower(), PoolWork()) for url in urls]
    table = np.array([[getattr(row, name) for name in PoolWork.__slots__] for row in rows]).reshape(-1, 5)
    hashed, accepted_th, accepted, rejected, stale = table.T
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = accepted_th / hashed
        told = (accepted >= least_shares) & (ratio > 0.5) & (ratio < 1.5)
        total = accepted + rejected + stale
        values = (ratio, 1.0 / np.sqrt(accepted), rejected / total, stale / total)
    return Effectiveness(*(np.where(told, value, np.nan) for value in values))


def active_url(reading: Reading | None) -> str | None:
    """The pool that a miner says it hashes for, None where it does not say which."""
    pool = _active(reading)
    return pool.url.strip().lower() if pool is not None else None


def _active(reading: Reading | None) -> Pool | None:
    pools = reading.pools if reading is not None and reading.pools is not None else ()
    if any(pool.active is not None for pool in pools):
        active = [pool for pool in pools if pool.active]
        return active[0] if len(active) == 1 else None
    # Stock Antminers do not say which: they hash for the first of their pools that lives.
    living = [pool for pool in pools if pool.state == "alive" and pool.priority is not None]
    living.sort(key=lambda pool: pool.priority or 0)
    clear = len(living) == 1 or (len(living) > 1 and living[0].priority != living[1].priority)
    return living[0] if clear else None

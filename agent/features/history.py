"""What the agent remembers of each miner between polls: windows, the times already seen, the last change.

Rows outlive a change of the fleet for a while, so that a miner that is known by its address until it tells
its MAC again gets its history back. `agent.features.streaming` says what the series are.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.errors import DataError
from agent.features.window_choice import LEVELS
from agent.features.windows import Counters, Floats, Ints, Lows, Means, Moments, Rings

# Readings are told apart by time; this many of the newest are remembered per miner. A reading older than
# all of them is refused, since nobody can say whether it was counted.
REMEMBERED = 320
# Shares of rated are compared in steps of 0.001.
_SHARE_STEPS = 1000.0
_KEEP_UNSEEN_S = 7 * 86400.0
_MAGIC = b"HMFS"
_VERSION = 2
_HEAD = struct.Struct("<4sH32sI")
_MAX_MINERS = 100_000


class Kinds(NamedTuple):
    """Numbers of series: with moments, with means, with means of the longest window only, lows, counters."""

    series: int
    means: int
    slow: int
    lows: int
    counters: int


class History:
    """Window state of a fleet. A miner's row is a place along the last axis of every array.

    Args:
        miner_ids: the miners to begin with.
        kinds: numbers of series of each kind.
    """

    def __init__(self, miner_ids: Sequence[str], kinds: Kinds) -> None:
        count = len(miner_ids)
        self._kinds = kinds
        self.rings = Rings()
        self.moments = Moments(count, kinds.series)
        self.means = Means(count, kinds.means)
        self.slow = Means(count, kinds.slow, len(LEVELS) - 1)
        self.lows = Lows(count, kinds.lows)
        self.counters = Counters(count, kinds.counters)
        self.seen_s = np.full((REMEMBERED, count), -np.inf)
        self.seen_share = np.full((REMEMBERED, count), -1, dtype=np.int16)
        self.latest_s = np.full(count, -np.inf)
        # The present setting has held since `since_s`; `before_s` is the last time another one was seen.
        self.share = np.full(count, -1, dtype=np.int16)
        self.share_s = np.full(count, -np.inf)
        self.since_s = np.full(count, np.nan)
        self.before_s = np.full(count, -np.inf)
        self._name(tuple(miner_ids))

    def _name(self, miner_ids: tuple[str, ...]) -> None:
        if len(set(miner_ids)) != len(miner_ids):
            raise DataError("two miners of one fleet share an id; give each its own in the site file")
        self.miner_ids = miner_ids
        self._row = {miner_id: row for row, miner_id in enumerate(miner_ids)}

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self._arrays().values())

    # -- the fleet -------------------------------------------------------------------------------

    def rows(self, miner_ids: tuple[str, ...]) -> Ints | slice:
        """Rows of `miner_ids`, which must be known; a slice where they stand first and in order."""
        if miner_ids == self.miner_ids[: len(miner_ids)]:
            return slice(0, len(miner_ids))
        return np.array([self._row[miner_id] for miner_id in miner_ids], dtype=np.int64)

    def knows(self, miner_ids: tuple[str, ...]) -> bool:
        """True if every one of them has a row."""
        return miner_ids == self.miner_ids or all(miner_id in self._row for miner_id in miner_ids)

    def align(self, miner_ids: Sequence[str]) -> None:
        """Make `miner_ids` the fleet: newcomers get empty rows, the others keep theirs.

        A miner that left keeps its row for 7 days after it was last seen, as long as those that left are
        no more than those that are there (16 at least).

        Raises:
            DataError: an id stands twice.
        """
        wanted = tuple(miner_ids)
        if wanted == self.miner_ids:
            return
        present = set(wanted)
        if len(present) != len(wanted):
            raise DataError("two miners of one fleet share an id; give each its own in the site file")
        gone = [i for i in self.miner_ids if i not in present and self._worth_keeping(self._row[i])]
        gone.sort(key=lambda i: -self.latest_s[self._row[i]])
        target = wanted + tuple(gone[: max(16, len(wanted))])
        if target == self.miner_ids:
            return
        fresh = History(target, self._kinds)
        fresh.rings.end_s = self.rings.end_s
        kept = [(new, self._row[i]) for new, i in enumerate(target) if i in self._row]
        new_rows, old_rows = [new for new, _ in kept], [old for _, old in kept]
        mine = self._arrays()
        for name, array in fresh._arrays().items():
            array[..., new_rows] = mine[name][..., old_rows]
        self.__dict__.update(fresh.__dict__)

    def _worth_keeping(self, row: int) -> bool:
        latest = float(self.latest_s[row])
        return math.isfinite(latest) and self.rings.end_s - latest <= _KEEP_UNSEEN_S

    # -- readings --------------------------------------------------------------------------------

    def move(self, at_s: float) -> None:
        """Go to the moment `at_s`; what lies after it, if a clock was set back, is forgotten."""
        before = self.rings.end_s
        stale = self.rings.move(at_s)
        if stale.any():
            self.moments.clear(stale)
            self.means.clear(stale)
            self.slow.clear(stale)
            self.lows.clear(stale)
            self.counters.clear(stale)
        if at_s < before:
            future = self.seen_s > at_s
            self.seen_s[future] = -np.inf
            self.seen_share[future] = -1
            for row in np.flatnonzero(self.share_s > at_s):
                self._recall_share(int(row))
            np.minimum(self.latest_s, at_s, out=self.latest_s)
            np.minimum(self.counters.last[:, 0], at_s, out=self.counters.last[:, 0])

    def add(
        self,
        rows: Ints,
        times_s: Floats,
        *,
        series: Floats,
        means: Floats,
        slow: Floats,
        lows: Floats,
        uptime_s: Floats,
        counters: Floats,
        share: Floats,
    ) -> None:
        """Take in one reading of each of `rows`; one whose time was seen before is ignored.

        Args:
            rows: [R] without repetition.
            times_s: [R] finite Unix seconds; later than the present moment counts as the present moment.
            series, means, slow, lows, counters: [S,R], [M,R], [L,R], [E,R], [C,R].
            uptime_s, share: [R].
        """
        times = np.minimum(times_s, self.rings.end_s)
        steps = share_steps(share)
        new = self._admit(rows, times, steps)
        if not new.all():
            rows, times, steps, uptime_s = rows[new], times[new], steps[new], uptime_s[new]
            series, means, slow = series[:, new], means[:, new], slow[:, new]
            lows, counters = lows[:, new], counters[:, new]
        if not len(rows):
            return
        places, held = self.rings.places(times)
        self.moments.add(rows, times, series, places, held)
        self.means.add(rows, means, places, held)
        self.slow.add(rows, slow, places, held)
        self.lows.add(rows, lows, places, held)
        self.counters.add(rows, times, uptime_s, counters, places, held)
        self._note_share(rows, times, steps)
        self.latest_s[rows] = np.maximum(self.latest_s[rows], times)

    def _admit(self, rows: Ints, times: Floats, steps: NDArray[np.int16]) -> NDArray[np.bool_]:
        """Remember the times that are new and say which they are."""
        seen = self.seen_s if len(rows) == len(self.miner_ids) and _is_range(rows) else self.seen_s[:, rows]
        oldest = seen.argmin(axis=0)
        new = times > seen[oldest, np.arange(len(rows))]
        late = np.flatnonzero(times <= self.latest_s[rows])
        if len(late):
            new[late] &= ~(seen[:, late] == times[late]).any(axis=0)
        self.seen_s[oldest[new], rows[new]] = times[new]
        self.seen_share[oldest[new], rows[new]] = steps[new]
        return np.asarray(new, dtype=np.bool_)

    def _note_share(self, rows: Ints, times: Floats, steps: NDArray[np.int16]) -> None:
        known = steps >= 0
        rows, times, steps = rows[known], times[known], steps[known]
        last, same = self.share_s[rows], self.share[rows] == steps
        begun = np.isfinite(last)
        ahead = times > last

        changed = ahead & ~same
        self.before_s[rows[changed & begun]] = last[changed & begun]
        self.since_s[rows[changed]] = times[changed]
        self.share[rows[changed]] = steps[changed]
        self.share_s[rows[ahead]] = times[ahead]

        # A late reading can move the moment of the last change, never the present setting.
        late = ~ahead & (times > self.before_s[rows])
        earlier = late & same & (times < self.since_s[rows])
        self.since_s[rows[earlier]] = times[earlier]
        for i in np.flatnonzero(late & ~same):
            row, time = rows[i], times[i]
            self.before_s[row] = time
            if time > self.since_s[row]:
                after = (self.seen_s[:, row] > time) & (self.seen_share[:, row] >= 0)
                self.since_s[row] = self.seen_s[after, row].min(initial=self.share_s[row])

    def _recall_share(self, row: int) -> None:
        """The setting of a miner as the readings that are still remembered tell it."""
        known = (self.seen_share[:, row] >= 0) & np.isfinite(self.seen_s[:, row])
        if not known.any():
            self.share[row], self.share_s[row] = -1, -np.inf
            self.since_s[row], self.before_s[row] = np.nan, -np.inf
            return
        times, steps = self.seen_s[known, row], self.seen_share[known, row]
        last = int(times.argmax())
        other = times[steps != steps[last]]
        before = float(other.max()) if len(other) else -np.inf
        since = float(times[times > before].min())
        if not len(other) and self.share[row] == steps[last] and self.since_s[row] < since:
            # It has held for longer than readings are remembered.
            since, before = float(self.since_s[row]), float(self.before_s[row])
        self.share[row], self.share_s[row] = steps[last], times[last]
        self.since_s[row], self.before_s[row] = since, before

    # -- bytes -----------------------------------------------------------------------------------

    def _arrays(self) -> dict[str, NDArray[np.generic]]:
        arrays: dict[str, NDArray[np.generic]] = {}
        for prefix in ("moments", "means", "slow", "lows", "counters"):
            kind = getattr(self, prefix)
            arrays |= {f"{prefix}.{name}": getattr(kind, name) for name in kind.names}
        own = ("seen_s", "seen_share", "latest_s", "share", "share_s", "since_s", "before_s")
        return arrays | {name: getattr(self, name) for name in own}

    def to_bytes(self, table_hash: bytes) -> bytes:
        """The whole state; `table_hash` (32 bytes) names the feature table it was made for."""
        arrays = self._arrays()
        end_s = self.rings.end_s
        header = json.dumps(
            {
                "miner_ids": self.miner_ids,
                "end_s": end_s if math.isfinite(end_s) else None,
                "arrays": {name: [_code(a), a.shape] for name, a in arrays.items()},
            }
        ).encode()
        parts = [_HEAD.pack(_MAGIC, _VERSION, table_hash, len(header)), header]
        parts += [a.astype(_code(a), copy=False).tobytes() for a in arrays.values()]
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part)
        return b"".join([*parts, digest.digest()])

    @staticmethod
    def from_bytes(data: bytes, table_hash: bytes, kinds: Kinds) -> History:
        """Inverse of `to_bytes`.

        Raises:
            DataError: damaged, of another version, or made for another feature table.
        """
        if len(data) < _HEAD.size + 32:
            raise DataError(f"window state: {len(data)} bytes are too few; it is cut off")
        magic, version, made_for, length = _HEAD.unpack_from(data)
        if magic != _MAGIC or version != _VERSION:
            raise DataError(f"window state: not of version {_VERSION}; it cannot be carried over")
        body = memoryview(data)[:-32]
        if hashlib.sha256(body).digest() != bytes(data[-32:]):
            raise DataError("window state: its checksum does not fit; it is damaged")
        if made_for != table_hash:
            raise DataError("window state: made for another feature table; it cannot be carried over")
        try:
            header = json.loads(bytes(body[_HEAD.size : _HEAD.size + length]))
            ids, end_s, layout = header["miner_ids"], header["end_s"], header["arrays"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"window state: its header cannot be read: {error}") from error
        if not isinstance(ids, list) or len(ids) > _MAX_MINERS or not all(isinstance(i, str) for i in ids):
            raise DataError("window state: its list of miners cannot be read")
        if end_s is not None and not (isinstance(end_s, int | float) and math.isfinite(end_s)):
            raise DataError("window state: its time cannot be read")
        history = History(ids, kinds)
        arrays = history._arrays()
        if layout != {name: [_code(a), list(a.shape)] for name, a in arrays.items()}:
            raise DataError("window state: its arrays have other shapes than this version's")
        offset = _HEAD.size + length
        if len(body) - offset != sum(a.nbytes for a in arrays.values()):
            raise DataError("window state: its length does not fit its header")
        for array in arrays.values():
            flat = np.frombuffer(body, dtype=_code(array), count=array.size, offset=offset)
            array[...] = flat.reshape(array.shape)
            offset += array.nbytes
        history.rings.end_s = float("nan") if end_s is None else float(end_s)
        return history


def share_steps(share: Floats) -> NDArray[np.int16]:
    """Shares of rated in the steps by which a change is told; -1 where unknown."""
    step = np.where(np.isfinite(share), np.rint(np.clip(share, 0.0, 30.0) * _SHARE_STEPS), -1.0)
    return step.astype(np.int16)


def _code(array: NDArray[np.generic]) -> str:
    """The little-endian type of an array, the same on every machine."""
    return array.dtype.newbyteorder("<").str


def _is_range(rows: Ints) -> bool:
    return bool(len(rows)) and rows[0] == 0 and bool((np.diff(rows) == 1).all())

"""What happens to miners without the agent's doing: settings changed by another hand, and restarts.

Both count for a plan as the agent's own acts do. What a person meant by a change is left to that person.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import DataError, InputError
from agent.fleet import FleetFrame
from agent.reading import Reading
from agent.records import Act
from agent.setting import Setting

log = logging.getLogger(__name__)
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Of the store's states.
UNASKED_STATE = "unasked"
_DAY_S = 86400.0
# A miner that is gone for longer is forgotten.
_AWAY_S = 2.0 * _DAY_S
# More restarts of a day than any wear budget has.
_MOST_RESTARTS = 100
# Columns of a frame that move when a setting does.
_TELLING = ("setting_share", "work_mode_code", "power_limit_w", "power_percent", "hashrate_percent")
# Firmware rounds what it was told.
_SAME_SHARE = 0.003
# Some firmware shows a miner that restarts as stopped, for as long as that takes.
_STOPPED_FOR_SURE_S = 600.0
# What an act does may show this much after it was judged.
_LATE_S = 300.0
# How far clocks and polls may be off each other.
_SLACK_S = 60.0
# An uptime also falls by rounding, and when its counter is full: 16 bits of seconds, 31 or 32 of ms or 10 ms.
_ROUNDING_S = 5.0
_FULL_S = (2.0**16, 2.0**31 / 1000.0, 2.0**32 / 1000.0, 2.0**31 / 100.0, 2.0**32 / 100.0)


@dataclass(slots=True)
class _Row:
    """One miner. Times are Unix seconds, `setting_s` and `uptime_at_s` those of the last reading that told.

    `of_process`: the uptime is that of the mining process, not of the machine. `doubtful`: another setting
    that one reading showed, and since when. `changed_s`: when another hand made the last change, None where
    it was the agent.
    """

    setting: Setting | None = None
    setting_s: float = -np.inf
    uptime_s: float = np.nan
    uptime_at_s: float = np.nan
    of_process: bool = False
    doubtful: tuple[Setting, float] | None = None
    changed_s: float | None = None
    restarts_s: list[float] = field(default_factory=list)

    @property
    def last_s(self) -> float:
        """When it last told anything."""
        return max(self.setting_s, self.uptime_at_s) if np.isfinite(self.uptime_at_s) else self.setting_s


class Unasked:
    """Compares each miner with what it showed before, and knows the agent's own acts by the journal.

    Args:
        interval_s: of polling. A round takes no less, whatever the clock says.
        saved: what `to_bytes` gave, None at first. If it cannot be used, nothing is known of before.
    """

    def __init__(self, interval_s: float, saved: bytes | None = None) -> None:
        self._interval_s = interval_s
        self._ids: tuple[str, ...] = ()
        self._rows: dict[str, _Row] = {}
        if saved is not None:
            try:
                self._rows = _loaded(saved)
            except DataError as error:
                log.warning("%s; changes made while the agent was away are not seen", error)
        self._uptime = self._uptime_at = self._unread = self._setting_s = np.empty(0)
        self._of_process = self._doubtful = np.empty(0, dtype=np.bool_)
        self._telling = np.empty((0, len(_TELLING)))

    def changed_at(self, miner_id: str) -> datetime | None:
        """When another hand made the last change of a setting, as it was first seen; None: the agent did."""
        row = self._rows.get(miner_id)
        if row is None:
            return None
        at_s = row.doubtful[1] if row.doubtful is not None else row.changed_s
        return datetime.fromtimestamp(at_s, UTC) if at_s is not None else None

    def restarts(self, miner_id: str, now: datetime) -> int:
        """Restarts of the last day that were seen and that the agent did not ask for."""
        row = self._rows.get(miner_id)
        return sum(at_s > now.timestamp() - _DAY_S for at_s in row.restarts_s) if row is not None else 0

    def observe(
        self,
        frame: FleetFrame,
        readings: Sequence[Reading | None],
        setting_of: Callable[[int], Setting | None],
        acts: Callable[[], Sequence[Act]],
    ) -> bool:
        """Take in one round. True where something was seen that must survive a crash.

        Args:
            readings: of this round, in the order of the frame.
            setting_of: what the reading of a miner, by its place, says is set.
            acts: the agent's own of the last days; asked only if something happened.
        """
        ids = tuple(unit.miner_id for unit in frame.units)
        if ids != self._ids:
            self._align(ids, frame.at.timestamp())
        own = _Own(acts, frame.at.timestamp())
        restarted = self._restarted(frame, readings, own)
        changed = self._changed(frame, setting_of, own)
        return restarted or changed

    def to_bytes(self) -> bytes:
        """For the store, under `UNASKED_STATE`."""
        for i, name in enumerate(self._ids):
            self._keep(i, self._rows[name])
        return json.dumps({name: _plain(row) for name, row in self._rows.items()}).encode()

    # -- restarts --------------------------------------------------------------------------------

    def _restarted(self, frame: FleetFrame, readings: Sequence[Reading | None], own: _Own) -> bool:
        process = np.where(frame.fresh, frame.columns["uptime_s"], np.nan)
        machine = np.array([_machine_s(reading) for reading in readings], dtype=np.float64)
        of_process = self._of_process | np.isfinite(process)
        uptime = np.where(of_process, process, np.where(frame.fresh, machine, np.nan))
        at, known = frame.observed_s, np.isfinite(uptime)
        same = known & np.isfinite(self._uptime) & (of_process == self._of_process)
        begun = same & began_anew(
            self._uptime, uptime, at - self._uptime_at, (self._unread + 1.0) * self._interval_s
        )
        seen = False
        for i in np.flatnonzero(begun).tolist():
            name = self._ids[i]
            at_s = float(np.clip(at[i] - uptime[i], self._uptime_at[i], at[i]))
            if own.during(name, at_s - _SLACK_S, at_s + _SLACK_S):
                continue
            seen = True
            row = self._rows[name]
            day = [one for one in row.restarts_s if one > at_s - _DAY_S]
            row.restarts_s = [*day, at_s][-_MOST_RESTARTS:]
            log.info("%s restarted without being asked; %d times in a day", name, len(row.restarts_s))
        self._uptime = np.where(known, uptime, self._uptime)
        self._uptime_at = np.where(known, at, self._uptime_at)
        self._of_process = np.where(known, of_process, self._of_process)
        self._unread = np.where(known, 0.0, self._unread + 1.0)
        return seen

    # -- settings --------------------------------------------------------------------------------

    def _changed(self, frame: FleetFrame, setting_of: Callable[[int], Setting | None], own: _Own) -> bool:
        telling = np.stack([frame.columns[name] for name in _TELLING], axis=1)
        moved = (telling != self._telling) & ~(np.isnan(telling) & np.isnan(self._telling))
        look = frame.fresh & (moved.any(axis=1) | self._doubtful)
        self._telling = telling
        seen = False
        for i in np.flatnonzero(look).tolist():
            setting, row, at_s = setting_of(i), self._rows[self._ids[i]], float(frame.observed_s[i])
            if setting is None:
                # Its rest is looked at again when it is told.
                self._telling[i] = np.nan
                continue
            seen |= self._compare(self._ids[i], row, setting, float(self._setting_s[i]), at_s, own)
            self._doubtful[i] = row.doubtful is not None
        told = frame.fresh & ~self._doubtful & np.isfinite(self._telling).any(axis=1)
        self._setting_s = np.where(told, frame.observed_s, self._setting_s)
        return seen

    def _compare(
        self, name: str, row: _Row, setting: Setting, before_s: float, at_s: float, own: _Own
    ) -> bool:
        """Take in a setting; True where another hand changed it for sure."""
        if row.setting is None or _same(setting, row.setting):
            row.setting, row.doubtful = row.setting or setting, None
        elif own.during(name, before_s, at_s):
            row.setting, row.doubtful, row.changed_s = setting, None, None
        elif row.doubtful is None or not _same(setting, row.doubtful[0]):
            # A miner that starts says many things once; what it goes on saying is so.
            row.doubtful = (setting, at_s)
        elif not setting.stops_hashing or at_s >= row.doubtful[1] + _STOPPED_FOR_SURE_S:
            log.info("%s: another hand changed it from %s to %s", name, row.setting, setting)
            row.setting, row.changed_s, row.doubtful = setting, row.doubtful[1], None
            return True
        return False

    # -- rows ------------------------------------------------------------------------------------

    def _align(self, ids: tuple[str, ...], now_s: float) -> None:
        """Follow the fleet; those gone stay for a while."""
        for i, name in enumerate(self._ids):
            self._keep(i, self._rows[name])
        unread = dict(zip(self._ids, self._unread.tolist(), strict=True))
        present = set(ids)
        gone = {name: row for name, row in self._rows.items() if name not in present}
        rows = [self._rows.get(name) or _Row() for name in ids]
        self._rows = dict(zip(ids, rows, strict=True))
        self._rows |= {name: row for name, row in gone.items() if row.last_s > now_s - _AWAY_S}
        self._ids = ids
        self._uptime = np.array([row.uptime_s for row in rows], dtype=np.float64)
        self._uptime_at = np.array([row.uptime_at_s for row in rows], dtype=np.float64)
        self._of_process = np.array([row.of_process for row in rows], dtype=np.bool_)
        # How long the agent itself was away nobody counted: the clock says it.
        self._unread = np.array([unread.get(name, np.inf) for name in ids], dtype=np.float64)
        self._setting_s = np.array([row.setting_s for row in rows], dtype=np.float64)
        self._doubtful = np.array([row.doubtful is not None for row in rows], dtype=np.bool_)
        self._telling = np.full((len(ids), len(_TELLING)), np.nan)

    def _keep(self, i: int, row: _Row) -> None:
        row.setting_s, row.uptime_s = float(self._setting_s[i]), float(self._uptime[i])
        row.uptime_at_s, row.of_process = float(self._uptime_at[i]), bool(self._of_process[i])


def began_anew(before_s: Floats, uptime_s: Floats, apart_s: Floats, at_least_s: Floats) -> Bools:
    """[N] True where what counts `uptime_s` began between two readings; never where one is unknown.

    It must have begun after the earlier reading: one that began before it is the same, with a clock that was
    set or a counter that was full. After missed polls it counts too if it has passed the old count again.

    Args:
        before_s: [N] of the earlier reading.
        apart_s: [N] seconds from one reading to the other by our clock, which somebody may have set.
        at_least_s: [N] the same by the polls in between; infinite where they were not counted.
    """
    longest = np.where(np.isfinite(at_least_s), np.maximum(apart_s, at_least_s), apart_s)
    fell = (uptime_s < before_s - _ROUNDING_S) & (uptime_s < longest + _SLACK_S)
    shortest = np.minimum(apart_s, at_least_s)
    missed = (before_s >= _SLACK_S) & (uptime_s > before_s) & (uptime_s < shortest - _SLACK_S)
    shift = before_s + apart_s - uptime_s
    full = np.zeros(np.shape(fell), dtype=np.bool_)
    for period_s in _FULL_S:
        full |= (np.abs(shift - period_s) < 2.0 * _ROUNDING_S) & (before_s + apart_s >= period_s)
    return np.asarray((fell | missed) & ~full)


class _Own:
    """The agent's acts, looked up once and only when there is need. One that failed did nothing."""

    def __init__(self, acts: Callable[[], Sequence[Act]], now_s: float) -> None:
        self._ask, self._now_s = acts, now_s
        self._spans: dict[str, list[tuple[float, float]]] | None = None

    def during(self, miner_id: str, from_s: float, to_s: float) -> bool:
        """True if an act of the miner was under way at some moment from `from_s` to `to_s`."""
        if self._spans is None:
            self._spans = {}
            for act in self._ask():
                if act.status != "failed":
                    ends_s = act.settled_at.timestamp() if act.settled_at is not None else self._now_s
                    span = (act.intended_at.timestamp(), ends_s + _LATE_S)
                    self._spans.setdefault(act.miner_id, []).append(span)
        return any(begins <= to_s and ends >= from_s for begins, ends in self._spans.get(miner_id, ()))


def _machine_s(reading: Reading | None) -> float:
    known = reading.system_uptime_s if reading is not None else None
    return known if known is not None else np.nan


def _same(one: Setting, other: Setting) -> bool:
    if one.knob is not other.knob:
        return False
    if isinstance(one.value, int | float) and isinstance(other.value, int | float):
        return abs(one.value - other.value) <= _SAME_SHARE * max(abs(one.value), abs(other.value))
    return one.value == other.value


def _plain(row: _Row) -> list[Any]:
    return [
        row.setting.to_dict() if row.setting is not None else None,
        *(float(v) if np.isfinite(v) else None for v in (row.setting_s, row.uptime_s, row.uptime_at_s)),
        row.of_process,
        row.changed_s,
        row.restarts_s,
    ]


def _loaded(saved: bytes) -> dict[str, _Row]:
    try:
        return {str(name): _row(values) for name, values in json.loads(saved).items()}
    except (ValueError, TypeError, AttributeError, InputError) as error:
        raise DataError(f"saved settings and uptimes cannot be read: {error}") from error


def _row(values: Iterable[Any]) -> _Row:
    setting, setting_s, uptime_s, uptime_at_s, of_process, changed_s, restarts_s = values
    row = _Row(
        setting=Setting.from_dict(setting) if setting is not None else None,
        of_process=bool(of_process),
        changed_s=float(changed_s) if changed_s is not None else None,
        restarts_s=[float(one) for one in restarts_s][-_MOST_RESTARTS:],
    )
    if setting_s is not None:
        row = replace(row, setting_s=float(setting_s))
    if uptime_s is not None and uptime_at_s is not None:
        row = replace(row, uptime_s=float(uptime_s), uptime_at_s=float(uptime_at_s))
    return row

"""Learning for a live site: which readings teach, who is who, and what is kept between runs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from agent.errors import DataError
from agent.features.inputs import HASHING_SHARE, STEADY_UPTIME_S
from agent.fleet import FleetFrame, Unit
from agent.learning.chips import ChipHeat, hotter
from agent.learning.chips import follow as follow_heat
from agent.learning.correct import correct
from agent.learning.decline import BaselineState, Decline, declines, follow, fresh_baselines, take_rows
from agent.learning.explain import Explanation, explain
from agent.learning.saved import Learned, Mark, from_bytes, group_numbers, to_bytes
from agent.learning.state import UnitLearning, believe, fresh, head, take, widen
from agent.learning.tuning import Tuning
from agent.learning.update import update
from agent.models.inference import STOP_SHARE, Curves, Economics
from agent.reading import Reading

log = logging.getLogger(__name__)
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Of the store's states.
STATE_NAME = "learning"
DAMAGED_NAME = "learning-damaged"
AWAY_DAYS = 90.0
_DAY_S = 86400.0
# What is left of evidence that was gathered against another bundle.
_OTHER_BUNDLE = 0.2
# How far each source of watts may be off for good, as a share; others teach nothing about power.
_POWER_DOUBT = {"metered": 0.0, "metered-circuit": 0.01, "reported-corrected": 0.03, "measured": 0.08}
# This close to its limit a unit may be holding itself back, and from this intake on most do.
_THROTTLE_MARGIN_C = 2.0
_HOT_INTAKE_C = 39.5
_SAME_SHARE = 0.003


class Learner:
    """What one site has learned of its units, in the order of every frame.

    Args:
        saved: what `to_bytes` gave in an earlier run, None at first. Where it cannot be used, `problem` says
            why, nothing is known, and the caller keeps the bytes under `DAMAGED_NAME` and raises an alert.
    """

    def __init__(self, saved: bytes | None = None, tuning: Tuning | None = None) -> None:
        self._tuning = tuning or Tuning()
        self.problem: str | None = None
        self._learned = Learned(
            (), (), None, fresh(0, None, self._tuning), fresh_baselines(0), ChipHeat.unknown(0)
        )
        if saved is not None:
            try:
                self._learned = from_bytes(saved, self._tuning)
            except DataError as error:
                self.problem = f"{error}; every unit starts at its model's curve again"
                log.warning("%s", self.problem)
        self._count = 0
        self._share = np.empty(0)
        self._since_s = np.empty(0)

    @property
    def state(self) -> UnitLearning:
        """Of the units present."""
        return head(self._learned.units, self._count)

    @property
    def baselines(self) -> BaselineState:
        """Of the units present."""
        return take_rows(self._learned.baselines, list(range(self._count)))

    def observe(
        self,
        frame: FleetFrame,
        readings: Sequence[Reading | None],
        present: Curves,
        bundle_id: str | None,
        since_s: Floats | None = None,
    ) -> None:
        """Take in one cycle.

        Args:
            readings: per unit its newest reading, for what columns do not tell (faults, board serials).
            present: [N,1,3] by the predictor at the setting in force.
            bundle_id: of the bundle in use, None without one.
            since_s: [N] Unix seconds from which the setting has been in force; None: as frames showed it.
        """
        at_s = frame.at.timestamp()
        self._align(frame.units, readings, bundle_id, at_s)
        columns = frame.columns
        share = columns["setting_share"]
        moved = ~(np.abs(share - self._share) <= _SAME_SHARE)
        self._since_s = np.where(moved, at_s, self._since_s) if since_s is None else since_s
        self._share = share.copy()
        hashing = settled(frame, self._since_s, at_s)
        sound = hashing & ~_unsound(frame, readings)
        doubt = np.array([_POWER_DOUBT.get(source or "", np.nan) for source in frame.power_source])
        power = np.where(np.isfinite(doubt), columns["power_w"], np.nan)
        temp = intake(frame)
        rest = len(self._learned.ids) - self._count

        def whole(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.concatenate([values, np.full((rest, *values.shape[1:]), np.nan)])

        settled_rows = np.concatenate([hashing, np.zeros(rest, dtype=np.bool_)])
        heat = follow_heat(
            self._learned.heat,
            whole(present.chip_temp_c[:, 0, 1]),
            whole(present.power_w[:, 0, 1]),
            whole(columns["chip_temp_c"]),
            whole(temp),
            settled_rows,
            at_s,
        )
        units = update(
            self._learned.units,
            whole(share),
            whole(present.hashrate_ths[:, 0]),
            whole(present.power_w[:, 0]),
            whole(columns["hashrate_ths"]),
            whole(power),
            whole(temp),
            at_s,
            np.concatenate([sound, np.zeros(rest, dtype=np.bool_)]),
            whole(doubt),
        )
        baselines = follow(
            self._learned.baselines,
            whole(share),
            whole(columns["hashrate_ths"]),
            whole(columns["power_w"]),
            whole(columns["rated_hashrate_ths"]),
            whole(columns["rated_power_w"]),
            whole(temp),
            at_s,
            settled_rows,
        )
        units = regroup(units, self._learned.marks)
        self._learned = replace(self._learned, units=units, baselines=baselines, heat=heat)

    def correct(
        self,
        frame: FleetFrame,
        shares: Floats,
        curves: Curves,
        economics: Economics,
        lost_hashing_h: Floats,
        temp_c: Floats | None = None,
    ) -> Curves:
        """The predictor's curves [N,K,3] corrected for each unit; see `agent.learning.correct`.

        Args:
            temp_c: [N] intake temperature that they are for; None is that of the frame.
        """
        if self._count != len(frame.units):
            return curves
        at_c = intake(frame) if temp_c is None else temp_c
        moved = correct(self.state, shares, curves, at_c, economics, lost_hashing_h)
        power_w, hashing = moved.power_w[:, :, 1], shares >= STOP_SHARE
        standing = self._share < STOP_SHARE
        heat = self._learned.heat.take(range(self._count))
        chip_c = hotter(heat, moved.chip_temp_c, power_w, at_c, hashing, standing)
        return replace(moved, chip_temp_c=chip_c)

    def explain(self, share: Floats) -> list[Explanation]:
        """What is known of each unit at settings [N]; see `agent.learning.explain`."""
        return explain(self.state, share)

    def words(self, frame: FleetFrame) -> list[str | None]:
        """For the page of each miner, what is known of it at its setting; None of one that is stopped."""
        share = frame.columns["setting_share"]
        if self._count != len(frame.units):
            return [None] * len(share)
        hashing = share >= STOP_SHARE
        found = self.explain(np.where(hashing, share, 1.0))
        return [one.words if known else None for one, known in zip(found, hashing, strict=True)]

    def declines(
        self,
        frame: FleetFrame,
        hashprice_usd_per_ths_day: tuple[float, float, float],
        price_usd_per_kwh: tuple[float, float, float],
    ) -> Sequence[Decline]:
        """Units whose curve fell; see `agent.learning.decline.declines`."""
        if self._count != len(frame.units):
            return ()
        columns = frame.columns
        return declines(
            self.baselines,
            columns["hashrate_ths"],
            columns["power_w"],
            hashprice_usd_per_ths_day,
            price_usd_per_kwh,
            frame.at.timestamp(),
        )

    def to_bytes(self) -> bytes:
        """For the store, under `STATE_NAME`."""
        return to_bytes(self._learned)

    def _align(
        self, units: Sequence[Unit], readings: Sequence[Reading | None], bundle_id: str | None, at_s: float
    ) -> None:
        """Follow the fleet: those gone stay at the end for a while, another machine starts anew."""
        old = self._learned
        marks = [mark_of(unit, reading) for unit, reading in zip(units, readings, strict=True)]
        ids = tuple(unit.miner_id for unit in units)
        if old.bundle != bundle_id and old.ids:
            log.info("models changed from %s to %s: what was learned counts less", old.bundle, bundle_id)
            old = replace(old, units=widen(old.units, _OTHER_BUNDLE), heat=old.heat.against_others())
        old = replace(old, bundle=bundle_id)
        places = {name: row for row, name in enumerate(old.ids)}
        rows: list[int | None] = []
        kept_marks: list[Mark] = []
        for name, mark in zip(ids, marks, strict=True):
            row = places.pop(name, None)
            if row is not None and is_other(old.marks[row], mark):
                log.info("%s is another machine than before (%s): learned anew", name, mark.group)
                row = None
            rows.append(row)
            kept_marks.append(mark if row is None else _joined(old.marks[row], mark))
        last_s = np.fmax.reduce(old.units.last_s, axis=1, initial=-np.inf)
        for name, row in places.items():
            if at_s - last_s[row] <= AWAY_DAYS * _DAY_S:
                ids += (name,)
                rows.append(row)
                kept_marks.append(old.marks[row])
        same = rows == list(range(len(old.ids))) and tuple(kept_marks) == old.marks
        if not same:
            new_units = take(old.units, rows, None)
            new_units = regroup(new_units, kept_marks)
            old = Learned(
                ids,
                tuple(kept_marks),
                bundle_id,
                new_units,
                take_rows(old.baselines, rows),
                old.heat.take(rows),
            )
        self._learned = old
        if len(units) != self._count or not same:
            self._count = len(units)
            self._share = np.full(len(units), np.nan)
            self._since_s = np.full(len(units), at_s)


def regroup(units: UnitLearning, marks: Sequence[Mark]) -> UnitLearning:
    """The same units, grouped by what they are and how their watts are known."""
    group = group_numbers(marks, units.doubt_var)
    return units if np.array_equal(group, units.group) else believe(replace(units, group=group))


def settled(frame: FleetFrame, since_s: Floats, at_s: float) -> Bools:
    """[N] True where a unit hashes at a setting for long enough that readings tell what it does there.

    Args:
        since_s: [N] Unix seconds at which its setting was first seen.
    """
    columns = frame.columns
    rated = np.nan_to_num(columns["rated_hashrate_ths"])
    hashing = (columns["hashrate_ths"] > HASHING_SHARE * rated) & (columns["is_hashing"] != 0.0)
    settled = frame.fresh & hashing & (columns["setting_share"] >= STOP_SHARE)
    settled &= (at_s - since_s >= STEADY_UPTIME_S) & ~(columns["uptime_s"] < STEADY_UPTIME_S)
    return np.asarray(settled)


def intake(frame: FleetFrame) -> Floats:
    """[N] intake temperature, else ambient, else the middle of those that the site's other units tell.

    That a unit stands cooler or warmer than the middle becomes part of its level. NaN where nobody tells.
    """
    inlet = frame.columns["inlet_temp_c"]
    told = np.where(np.isfinite(inlet), inlet, frame.columns["ambient_temp_c"])
    known = np.isfinite(told)
    return np.where(known, told, np.median(told[known])) if known.any() else told


def mark_of(unit: Unit, reading: Reading | None) -> Mark:
    """What `unit` is, as far as its reading tells."""
    profile = unit.profile.key if unit.profile is not None else "unknown"
    boards = reading.boards if reading is not None and reading.boards is not None else ()
    serials = sorted({board.serial for board in boards if board.serial})
    return Mark(f"{profile}|{unit.firmware or 'unknown'}", tuple(serials))


def is_other(old: Mark, new: Mark) -> bool:
    """True if these are not one unit: another profile or firmware, or a hash board that it never had."""
    if old.group != new.group:
        return "unknown" not in new.group.split("|")
    return bool(old.boards) and bool(set(new.boards) - set(old.boards))


def _joined(old: Mark, new: Mark) -> Mark:
    """The old mark with what the new one adds; a board that is missing now still belongs to it."""
    if not old.boards and new.boards:
        return replace(old, boards=new.boards)
    return old


def _unsound(frame: FleetFrame, readings: Sequence[Reading | None]) -> Bools:
    columns = frame.columns
    faulty = np.array(
        [
            reading is not None and any(error.severity == "critical" for error in reading.errors or ())
            for reading in readings
        ],
        dtype=np.bool_,
    )
    limits = (
        unit.profile.temperatures.chip_max_c if unit.profile is not None else None for unit in frame.units
    )
    hottest = np.array([limit.value if limit is not None else np.nan for limit in limits])
    return np.asarray(
        faulty
        | (columns["boards_hashing"] < columns["boards_expected"])
        | (columns["chip_temp_c"] >= hottest - _THROTTLE_MARGIN_C)
        | (intake(frame) >= _HOT_INTAKE_C)
    )

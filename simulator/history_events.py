"""What happened to each unit over a stretch of history: settings, restarts, lost boards, heat, silences.

The result is a list of segments per unit, in each of which nothing is changed from outside. How a segment
looks in telemetry is `simulator.history`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from agent.hardware.profile import HardwareProfile
from agent.hardware.shares import power_share_at
from agent.setting import Knob
from agent.telemetry import WORK_MODE_CODES
from simulator.history_faults import SiteFaults, UnitFaults, moments
from simulator.physics_file import ModelPhysics

Floats = NDArray[np.float64]
Aim = Literal["level", "limit", "percent"]
_HOUR_S = 3600.0
_DAY_S = 86400.0
_PROTECT_HOLD_S = 600.0
# Means and spans of what real farms see; no source gives them, so they are ours.
_CHANGE_MEDIAN_H = 12.0
_CHANGE_LEAST_H = 2.5
_STOP_CHANCE = 0.08
_RESTART_EVERY_DAYS = 9.0
_BOARD_EVERY_DAYS = 150.0
_SILENCE_EVERY_DAYS = 8.0
# Some firmware says yes to a change, shows it, and goes on as before until the next one.
_LIE_CHANCE = 0.01
_NAN = math.nan
_LEVELS = (0.5, 1.04)
_LIMITS = (0.60, 1.04)


@dataclass(frozen=True, slots=True)
class Choice:
    """One setting: what the agent calls its share, what the machine makes of it, and what it says is set.

    Args:
        share: nominal share of rated power, 0 for a stop.
        aim: what `value` is: a frequency level, a power limit in W, or a share of the power at no limit.
        power_factor: of the work mode.
        restarts: whether going there restarts the mining process.
        says_mode, says_limit_w, says_percent, says_hashrate_percent: what the firmware reports, NaN nothing.
    """

    share: float
    aim: Aim
    value: float
    power_factor: float = 1.0
    restarts: bool = True
    says_mode: float = WORK_MODE_CODES["normal"]
    says_limit_w: float = _NAN
    says_percent: float = _NAN
    says_hashrate_percent: float = _NAN


STOP = Choice(0.0, "level", 0.0)


@dataclass(frozen=True, slots=True)
class Segments:
    """K stretches of one unit's life; every array is [K]. Times are Unix seconds.

    Args:
        start_s: beginning, rising; the first is before the history begins.
        share: nominal share of rated power of what is set.
        aim: 0 level, 1 limit, 2 percent.
        value: as in `Choice`.
        power_factor: of the work mode.
        hashing: 0 where stopped or protecting itself.
        missing: share of the boards that is not there.
        process_s: when the mining process in force started.
        ramp_s: when its frequency began to climb, or the soft change began.
        ramp_span_s, ramp_first: how long the way to the target takes and from which share of it.
        says_mode, says_limit_w, says_percent, says_hashrate_percent: what the firmware says is set.
        silences: stretches without readings.
    """

    start_s: Floats
    share: Floats
    aim: NDArray[np.int64]
    value: Floats
    power_factor: Floats
    hashing: Floats
    missing: Floats
    process_s: Floats
    ramp_s: Floats
    ramp_span_s: Floats
    ramp_first: Floats
    says_mode: Floats
    says_limit_w: Floats
    says_percent: Floats
    says_hashrate_percent: Floats
    silences: tuple[tuple[float, float], ...]


_AIMS: dict[Aim, int] = {"level": 0, "limit": 1, "percent": 2}


class Menu:
    """The settings a unit is run at.

    Args:
        model: its physics.
        profile: what the agent knows of the model, None for one it has never seen.
        bench: run through frequency levels, as on a bench, where the firmware has no such knob.
    """

    def __init__(self, model: ModelPhysics, profile: HardwareProfile | None, bench: bool) -> None:
        self._model = model
        self._rated_w = model.rated_power_w if profile is None else profile.rated_power_w.value
        self._choices: list[Choice] = []
        self._sweeps = bench or (model.power_control is None and model.offers_hashrate_percent)
        if model.vendor == "bitmain":
            self._choices = [self._level(1.0, 1.0, restarts=True), *self._modes(profile)]

    @property
    def usual(self) -> Choice:
        """Factory setting."""
        if self._model.power_control is not None:
            watts = self._model.power_control.default_limit * self._model.rated_power_w
            return self._limit(watts / self._rated_w)
        return self._level(1.0, 1.0, restarts=not self._sweeps)

    @property
    def stop(self) -> Choice:
        """Not hashing."""
        asleep = "sleep" if self._model.vendor == "bitmain" else "stopped"
        return replace(STOP, says_mode=self._mode(asleep), says_limit_w=self.usual.says_limit_w)

    def _mode(self, name: str) -> float:
        # Models before the S19 have no modes to report.
        return _NAN if self._model.firmware == "antminer-old" else WORK_MODE_CODES[name]

    def _level(self, share: float, level: float, restarts: bool) -> Choice:
        says = 100.0 * level if self._model.offers_hashrate_percent else _NAN
        mode = self._mode("normal")
        return Choice(share, "level", level, restarts=restarts, says_mode=mode, says_hashrate_percent=says)

    def draw(self, rng: np.random.Generator) -> Choice:
        """A setting other than a stop."""
        if self._model.power_control is not None:
            share = float(rng.uniform(*_LIMITS))
            if rng.random() < 0.25:
                percent = min(1.0, round(share * 20.0) / 20.0)
                usual = self.usual.says_limit_w
                says = 100.0 * percent
                return Choice(
                    percent, "percent", percent, restarts=False, says_limit_w=usual, says_percent=says
                )
            return self._limit(share)
        if self._sweeps:
            level = float(rng.uniform(*_LEVELS))
            level = round(level * 20.0) / 20.0 if self._model.offers_hashrate_percent else level
            return self._level(power_share_at(level), level, restarts=False)
        return self._choices[int(rng.integers(len(self._choices)))]

    def _limit(self, share: float) -> Choice:
        watts = round(share * self._rated_w / 10.0) * 10.0
        return Choice(watts / self._rated_w, "limit", watts, says_limit_w=watts)

    def _modes(self, profile: HardwareProfile | None) -> list[Choice]:
        control = None if profile is None else profile.control("stock", Knob.WORK_MODE)
        known = {} if control is None or control.choices is None else control.choices
        return [
            Choice(
                known[name].power_share if name in known else power_share_at(mode.hashrate_share),
                "level",
                mode.hashrate_share,
                mode.power_factor,
                says_mode=self._mode(name),
                says_hashrate_percent=100.0 if self._model.offers_hashrate_percent else _NAN,
            )
            for name, mode in self._model.modes.items()
        ]


def live(
    model: ModelPhysics,
    menu: Menu,
    rng: np.random.Generator,
    start_s: float,
    end_s: float,
    hot: tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]],
    board_weights: Floats,
    site: SiteFaults,
    faults: UnitFaults,
) -> Segments:
    """Draw one unit's life from `start_s` to `end_s`.

    Args:
        hot: times, where the inlet is above the limit, and where it is cool enough to go on.
        board_weights: share of the hashrate of each board.
        site, faults: what befalls all units, and this one.
    """
    settings = _settings(menu, rng, start_s, end_s)
    restarts = moments(rng, start_s, end_s, _RESTART_EVERY_DAYS)
    losses = [
        (at, at + float(rng.uniform(0.5, 8.0)) * _DAY_S, int(rng.integers(model.boards)))
        for at in moments(rng, start_s, end_s, _BOARD_EVERY_DAYS)
    ]
    silences = tuple(
        (at, at + float(np.exp(rng.uniform(np.log(300.0), np.log(6 * _HOUR_S)))))
        for at in moments(rng, start_s, end_s, _SILENCE_EVERY_DAYS)
    )
    marks: list[tuple[float, int, object]] = [(at, 0, choice) for at, choice in settings]
    # Whoever mends a board or a fan starts the unit anew.
    mended = [end for *_, end in faults.fans] + [fade[1] for fade in faults.fades]
    marks += [(at, 1, None) for at in (*restarts, *faults.loops, *mended) if at < end_s]
    for lost, found, board in losses if model.boards > 1 else ():
        marks += [(lost, 2, board), (found, 2, None)]
    for begin, stop in _hot_spells(*hot):
        marks += [(begin, 3, True), (stop, 3, False)]
    for begin, stop in site.outages:
        marks += [(begin, 4, True), (stop, 4, False)]
    silences += tuple((begin, stop + model.timing.boot_s) for begin, stop in site.outages)
    return _walk(
        model, rng, start_s - 6 * _HOUR_S, sorted(marks, key=lambda mark: mark[:2]), board_weights, silences
    )


def _settings(
    menu: Menu, rng: np.random.Generator, start_s: float, end_s: float
) -> list[tuple[float, Choice]]:
    out: list[tuple[float, Choice]] = []
    # Some units are changed often, others left alone for days.
    pace = _CHANGE_MEDIAN_H * float(np.exp(rng.normal(0.0, 0.5)))
    at = start_s - 4 * _HOUR_S
    current = menu.usual
    while at < end_s:
        stop = rng.random() < _STOP_CHANCE
        chosen = menu.stop if stop else menu.usual if rng.random() < 0.25 else menu.draw(rng)
        out.append((at, chosen))
        wait = float(rng.uniform(1.0, 8.0)) if stop else pace * float(np.exp(rng.normal(0.0, 0.7)))
        at += max(1.0 if stop else _CHANGE_LEAST_H, wait) * _HOUR_S
        if stop:
            out.append((at, current))
            at += _CHANGE_LEAST_H * _HOUR_S
        else:
            current = chosen
    return out


def _walk(
    model: ModelPhysics,
    rng: np.random.Generator,
    first_s: float,
    marks: list[tuple[float, int, object]],
    board_weights: Floats,
    silences: tuple[tuple[float, float], ...],
) -> Segments:
    """Turn marks in time into segments, keeping track of process starts and ramps."""
    timing = model.timing
    choice, missing, protecting, dark = STOP, 0.0, False, False
    process = ramp = first_s
    span, start_share = timing.ramp_s, timing.ramp_from
    rows: list[tuple[float, ...]] = []
    for at, kind, what in marks:
        before, was_hashing = choice, choice.share > 0.0 and not protecting and not dark
        restarts = True
        if kind == 0 and isinstance(what, Choice):
            if what == choice:
                continue
            choice = what
            if what.share > 0.0 and before.share > 0.0 and rng.random() < _LIE_CHANCE:
                choice = replace(what, aim=before.aim, value=before.value, power_factor=before.power_factor)
            # Sleep restarts a stock Antminer's process; a Whatsminer's goes on without hashing.
            asleep = what.share == 0.0
            restarts = model.vendor == "bitmain" if asleep else what.restarts or not was_hashing
        elif kind == 2:
            missing = float(board_weights[what]) if isinstance(what, int) else 0.0
        elif kind == 3:
            protecting = bool(what)
            restarts = not protecting
        elif kind == 4:
            dark = bool(what)
        if choice.aim == "percent" and restarts and was_hashing and kind == 1:
            # A restart takes the percent with it; what remains is the factory limit.
            choice = replace(choice, share=1.0, value=1.0, says_percent=_NAN)
        hashing = choice.share > 0.0 and not protecting and not dark
        if restarts:
            process = at + (timing.boot_s if kind == 4 else timing.restart_gap_s)
            ramp, span, start_share = process + timing.init_s, timing.ramp_s, timing.ramp_from
        elif hashing and kind == 0:
            ramp, span = at, timing.adjust_normal_s
            start_share = _roughly(before, model) / max(_roughly(choice, model), 0.1)
        rows.append(
            (
                at,
                choice.share,
                float(_AIMS[choice.aim]),
                choice.value,
                choice.power_factor,
                float(hashing),
                missing,
                process,
                ramp,
                span,
                start_share,
                choice.says_mode,
                choice.says_limit_w,
                choice.says_percent,
                choice.says_hashrate_percent,
            )
        )
    table = np.array(rows).T
    return Segments(
        start_s=table[0],
        share=table[1],
        aim=table[2].astype(np.int64),
        value=table[3],
        power_factor=table[4],
        hashing=table[5],
        missing=table[6],
        process_s=table[7],
        ramp_s=table[8],
        ramp_span_s=table[9],
        ramp_first=table[10],
        says_mode=table[11],
        says_limit_w=table[12],
        says_percent=table[13],
        says_hashrate_percent=table[14],
        silences=silences,
    )


def _roughly(choice: Choice, model: ModelPhysics) -> float:
    """About the frequency level that a setting leads to, for the way from one to the next."""
    if choice.aim == "level":
        return choice.value
    share = choice.value / model.rated_power_w if choice.aim == "limit" else choice.value
    return min(1.0, math.pow(max(0.05, share), 0.8))


def _hot_spells(
    times: Floats, above: NDArray[np.bool_], below: NDArray[np.bool_]
) -> list[tuple[float, float]]:
    """Stretches from a time above the limit to the next that is cool enough, after the least hold."""
    spells: list[tuple[float, float]] = []
    place = 0
    hots = np.flatnonzero(above)
    while True:
        left = hots[np.searchsorted(hots, place) :]
        if not len(left):
            return spells
        begin = int(left[0])
        cool = np.flatnonzero(below[begin:] & (times[begin:] >= times[begin] + _PROTECT_HOLD_S))
        if not len(cool):
            spells.append((float(times[begin]), float(times[-1]) + _DAY_S))
            return spells
        place = begin + int(cool[0])
        spells.append((float(times[begin]), float(times[place])))

"""Geometry of the drawings on the pages: profit over time, sparklines and interval bars, as SVG numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from agent.records import Interval

_POINTS = 240
WIDTH, HEIGHT = 1000.0, 300.0


class ProfitPoint(NamedTuple):
    """Profit at one moment as a site reported it, USD per day; None where unknown."""

    at: datetime
    profit_usd_per_day: float | None
    profit_nominal_usd_per_day: float | None


@dataclass(frozen=True, slots=True)
class Sample:
    """Mean of one bucket of time: profit now and always-nominal, USD per day."""

    at: datetime
    profit: float
    nominal: float


@dataclass(frozen=True, slots=True)
class ProfitChart:
    """A chart in a box of WIDTH by HEIGHT. Labels are evenly spaced: y from the top down, x from the left."""

    profit_path: str
    nominal_path: str
    better_path: str
    zero_y: float | None
    grid_y: tuple[float, ...]
    y_labels: tuple[str, ...]
    x_labels: tuple[str, ...]
    samples: tuple[tuple[float, str, float, float], ...]
    earned_usd: float
    earned_nominal_usd: float
    covered_h: float


def profit_chart(rows: Sequence[ProfitPoint], start: datetime, end: datetime) -> ProfitChart | None:
    """Draw profit against always-nominal; None with fewer than two known points.

    Lines break where the site was silent, and money is only summed where it was not.
    """
    samples = _samples(rows, start, end)
    if len(samples) < 2:
        return None
    low, high, step = nice_range([v for s in samples for v in (s.profit, s.nominal)])
    span = (end - start).total_seconds()

    def x(at: datetime) -> float:
        return WIDTH * (at - start).total_seconds() / span

    def y(value: float) -> float:
        return HEIGHT * (high - value) / (high - low)

    runs = _runs(samples)
    profit = [[(x(s.at), y(s.profit)) for s in run] for run in runs]
    nominal = [[(x(s.at), y(s.nominal)) for s in run] for run in runs]
    ticks = [high - i * step for i in range(round((high - low) / step) + 1)]
    earned, earned_nominal, covered = _earned(runs)
    return ProfitChart(
        profit_path=" ".join(map(_line, profit)),
        nominal_path=" ".join(map(_line, nominal)),
        better_path=" ".join(
            _line([*up, *reversed(down)]) + "Z" for up, down in zip(profit, nominal, strict=True)
        ),
        zero_y=y(0.0) if low < 0.0 < high else None,
        grid_y=tuple(y(tick) for tick in ticks),
        y_labels=tuple(_tick(tick, step) for tick in ticks),
        x_labels=tuple(_time_label(start + (end - start) * i / 4, span) for i in range(5)),
        samples=tuple(
            (round(x(s.at), 1), s.at.isoformat(), round(s.profit, 2), round(s.nominal, 2)) for s in samples
        ),
        earned_usd=earned,
        earned_nominal_usd=earned_nominal,
        covered_h=covered,
    )


def sparkline(rows: Sequence[ProfitPoint], start: datetime, end: datetime) -> tuple[str, str] | None:
    """Paths of profit and always-nominal in a box of 100 by 28; None with fewer than two points."""
    samples = _samples(rows, start, end, points=60)
    if len(samples) < 2:
        return None
    values = [v for s in samples for v in (s.profit, s.nominal)]
    low, high = min(values), max(values)
    span, height = (end - start).total_seconds(), (high - low) or 1.0

    def path(of: Iterable[tuple[datetime, float]]) -> str:
        return _line(
            [(100 * (t - start).total_seconds() / span, 26 - 24 * (v - low) / height) for t, v in of]
        )

    return path((s.at, s.profit) for s in samples), path((s.at, s.nominal) for s in samples)


@dataclass(frozen=True, slots=True)
class Bar:
    """An interval in a box of 100 by 12. `tone`: sure, unsure or loss, by where it lies against 0."""

    left: float
    width: float
    middle: float
    zero: float | None
    mark: float | None
    tone: str


@dataclass(frozen=True, slots=True)
class Scale:
    """The span that several bars share, so that they can be compared by eye."""

    low: float
    high: float

    @staticmethod
    def of(intervals: Iterable[Interval], marks: Iterable[float | None] = (), *, zero: bool = True) -> Scale:
        """The span of all of them, with 0 if asked for and a little room."""
        values = [v for i in intervals for v in (i.q10, i.q90)] + [m for m in marks if m is not None]
        if zero or not values:
            values.append(0.0)
        low, high = min(values), max(values)
        room = 0.04 * (high - low) or 1.0
        return Scale(low - room, high + room)

    def bar(self, interval: Interval, mark: float | None = None) -> Bar:
        """Draw one interval, with a mark for what was seen."""

        def x(value: float) -> float:
            return round(100.0 * (value - self.low) / (self.high - self.low), 2)

        tone = "loss" if interval.q90 < 0 else "unsure" if interval.q10 < 0 else "sure"
        return Bar(
            left=x(interval.q10),
            width=max(1.0, x(interval.q90) - x(interval.q10)),
            middle=x(interval.q50),
            zero=x(0.0) if self.low <= 0.0 <= self.high else None,
            mark=None if mark is None else x(mark),
            tone=tone,
        )


def nice_range(values: Sequence[float]) -> tuple[float, float, float]:
    """Low, high and step of an axis with 3 to 6 round steps that holds all values."""
    low, high = min(values), max(values)
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 1.0, high + 1.0
    raw = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1.0, 2.0, 2.5, 5.0, 10.0) if power * m >= raw * 0.999)
    return math.floor(low / step) * step, math.ceil(high / step) * step, step


def _samples(
    rows: Sequence[ProfitPoint], start: datetime, end: datetime, points: int = _POINTS
) -> list[Sample]:
    width = (end - start).total_seconds() / points
    buckets: dict[int, list[ProfitPoint]] = {}
    for row in rows:
        if row.profit_usd_per_day is not None and row.profit_nominal_usd_per_day is not None:
            buckets.setdefault(int((row.at - start).total_seconds() / width), []).append(row)
    return [
        Sample(
            start + timedelta(seconds=sum((r.at - start).total_seconds() for r in group) / len(group)),
            sum(r.profit_usd_per_day or 0.0 for r in group) / len(group),
            sum(r.profit_nominal_usd_per_day or 0.0 for r in group) / len(group),
        )
        for _, group in sorted(buckets.items())
    ]


def _runs(samples: Sequence[Sample]) -> list[list[Sample]]:
    gaps = sorted((b.at - a.at).total_seconds() for a, b in pairwise(samples))
    limit = max(600.0, 4.0 * gaps[len(gaps) // 2])
    runs = [[samples[0]]]
    for before, after in pairwise(samples):
        if (after.at - before.at).total_seconds() > limit:
            runs.append([])
        runs[-1].append(after)
    return runs


def _earned(runs: Sequence[Sequence[Sample]]) -> tuple[float, float, float]:
    profit = nominal = hours = 0.0
    for run in runs:
        for a, b in pairwise(run):
            h = (b.at - a.at).total_seconds() / 3600.0
            profit += (a.profit + b.profit) / 2 * h / 24
            nominal += (a.nominal + b.nominal) / 2 * h / 24
            hours += h
    return profit, nominal, hours


def _line(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _tick(value: float, step: float) -> str:
    digits = max(0, -math.floor(math.log10(step))) if step < 1 else 0
    if step >= 1 and step != round(step):
        digits = 1
    sign = "\N{MINUS SIGN}" if value < -step / 2 else ""
    return f"{sign}${abs(value):,.{digits}f}"


def _time_label(at: datetime, span_s: float) -> str:
    at = at.astimezone(UTC)
    return f"{at:%d %b}" if span_s > 3 * 86400 else f"{at:%H:%M}"

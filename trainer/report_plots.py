"""The drawings of the evaluation report, as SVG text that needs nothing from outside the page.

Colours come from classes that the page's style sheet fills, so that they follow a light or dark screen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

_WIDTH, _HEIGHT = 460.0, 250.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 12.0, 10.0, 40.0
_ROW = 22.0
_LABEL = 178.0
_KEY = 26.0


class Series(NamedTuple):
    """A line or a row of marks: its name for the key and one (value, error) per place, None where unknown."""

    name: str
    values: Sequence[float | None]
    errors: Sequence[float | None] = ()


class _Axis:
    """A linear scale with round ticks from `low` to `high` over the pixels `start` to `end`."""

    def __init__(self, low: float, high: float, start: float, end: float, count: int = 5) -> None:
        if not high > low:
            low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
        rough = (high - low) / count
        power = 10.0 ** math.floor(math.log10(rough))
        self.step = next(f * power for f in (1.0, 2.0, 2.5, 5.0, 10.0) if f * power >= rough * 0.999)
        self.low, self.high = math.floor(low / self.step) * self.step, math.ceil(high / self.step) * self.step
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        """The pixel of `value`; what lies outside is drawn on the edge."""
        share = min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)
        return self._start + share * (self._end - self._start)

    def ticks(self) -> list[float]:
        """Round values from end to end."""
        return [self.low + i * self.step for i in range(round((self.high - self.low) / self.step) + 1)]


def lines(title: str, places: Sequence[str], series: Sequence[Series], unit: str = "%") -> str:
    """Lines over time from zero up, one tick label for each place."""
    known = [v for s in series for v in s.values if v is not None]
    y = _Axis(0.0, max([*known, 1e-9]), _HEIGHT - _BOTTOM, _TOP + _KEY)
    span = _WIDTH - _LEFT - _RIGHT

    def x(place: int) -> float:
        return _LEFT + span * (place + 0.5) / len(places)

    parts = [_rows(y, unit), _key(series)]
    every = max(math.ceil(len(places) / 6), 1)
    parts += [_text(x(i), _HEIGHT - 20, place, "middle") for i, place in enumerate(places) if i % every == 0]
    for number, one in enumerate(series):
        points = [(x(i), y(v)) for i, v in enumerate(one.values) if v is not None]
        parts.append(_polyline(points, f"line s{number + 1}"))
        parts += [_mark(number, *point) for point in points]
    return _svg(title, _WIDTH, _HEIGHT, parts)


def histogram(title: str, shape: Mapping[str, Any]) -> str:
    """A histogram of relative residuals, with zero marked."""
    edges, shares = shape["edges"], shape["shares"]
    x = _Axis(100 * edges[0], 100 * edges[-1], _LEFT, _WIDTH - _RIGHT, 6)
    y = _Axis(0.0, 100 * max(shares), _HEIGHT - _BOTTOM, _TOP)
    parts = [_rows(y, "%"), _columns(x, "predicted above observed, %")]
    for low, high, share in zip(edges[:-1], edges[1:], shares, strict=True):
        top = y(100 * share)
        left, width = x(100 * low) + 0.5, max(x(100 * high) - x(100 * low) - 1, 0.5)
        parts.append(_rect(left, top, width, _HEIGHT - _BOTTOM - top, "bar s1"))
    parts.append(_line(x(0.0), _TOP, x(0.0), _HEIGHT - _BOTTOM, "zero"))
    return _svg(title, _WIDTH, _HEIGHT, parts)


def quantiles(title: str, shapes: Mapping[str, Mapping[str, Any]]) -> str:
    """Quantiles of residuals against those of a normal distribution; on the diagonal they are the same."""
    values = [100 * v for s in shapes.values() for name in ("quantiles", "normal") for v in s[name]]
    x = _Axis(min(values), max(values), _LEFT, _WIDTH - _RIGHT, 6)
    y = _Axis(min(values), max(values), _HEIGHT - _BOTTOM, _TOP + _KEY)
    parts = [_rows(y, "%"), _columns(x, "of a normal distribution, %"), _key([Series(n, ()) for n in shapes])]
    parts.append(_line(x(x.low), y(x.low), x(x.high), y(x.high), "zero"))
    for number, shape in enumerate(shapes.values()):
        points = [(x(100 * a), y(100 * b)) for a, b in zip(shape["normal"], shape["quantiles"], strict=True)]
        parts.append(_polyline(points, f"line s{number + 1}"))
        parts += [_mark(number, *point) for point in points]
    return _svg(title, _WIDTH, _HEIGHT, parts)


def dots(
    title: str,
    places: Sequence[str],
    series: Sequence[Series],
    band: tuple[float, float],
    target: float,
    axis: str,
) -> str:
    """One row for each place: a mark of each series, whiskers of two standard errors, a band to hit."""
    bottom = _TOP + _KEY + _ROW * len(places)
    known = [v for s in series for v in s.values if v is not None]
    x = _Axis(min([*known, band[0] - 5.0]), 100.0, _LABEL, _WIDTH - _RIGHT - 4, 4)
    parts = [
        _rect(x(band[0]), _TOP + _KEY, x(band[1]) - x(band[0]), bottom - _TOP - _KEY, "band"),
        _line(x(target), _TOP + _KEY, x(target), bottom, "target"),
        *(_text(x(t), bottom + 16, _short(t, x.step), "middle") for t in x.ticks()),
        _text(0.5 * (_LABEL + _WIDTH), bottom + 32, axis, "middle", "soft"),
        _key(series),
    ]
    for place, name in enumerate(places):
        middle = _TOP + _KEY + _ROW * (place + 0.5)
        parts.append(_text(_LABEL - 8, middle + 4, _clipped(name, 27), "end"))
        parts.append(_line(_LABEL, middle, _WIDTH - _RIGHT, middle, "grid"))
        for number, one in enumerate(series):
            value = one.values[place]
            if value is None:
                continue
            at = middle + (number - 0.5 * (len(series) - 1)) * 5.0
            error = one.errors[place] if one.errors else None
            if error is not None:
                parts.append(
                    _line(x(value - 2 * error), at, x(value + 2 * error), at, f"whisker s{number + 1}")
                )
            parts.append(_mark(number, x(value), at))
    return _svg(title, _WIDTH, bottom + 40, parts)


def bars(title: str, values: Mapping[str, float], errors: Mapping[str, float | None], axis: str) -> str:
    """Horizontal bars from zero in the order given, with whiskers of one standard error."""
    bottom = _TOP + _ROW * len(values)
    reach = max([*(v + (errors.get(n) or 0.0) for n, v in values.items()), 1e-9])
    x = _Axis(0.0, reach, _LABEL, _WIDTH - _RIGHT - 10, 4)
    parts = [*(_line(x(t), _TOP, x(t), bottom, "grid") for t in x.ticks())]
    parts += [_text(x(t), bottom + 16, _short(t, x.step), "middle") for t in x.ticks()]
    parts.append(_text(0.5 * (_LABEL + _WIDTH), bottom + 32, axis, "middle", "soft"))
    for place, (name, value) in enumerate(values.items()):
        top = _TOP + _ROW * place
        parts.append(_text(_LABEL - 8, top + 15, _clipped(name, 27), "end"))
        parts.append(_rect(_LABEL, top + 4, x(value) - _LABEL, 14.0, "bar s1"))
        error = errors.get(name)
        if error:
            parts.append(_line(x(value - error), top + 11, x(value + error), top + 11, "whisker ink"))
    return _svg(title, _WIDTH, bottom + 40, parts)


def curve(title: str, sampled: Mapping[str, Any]) -> str:
    """Watts over TH/s of one unit: observed levels as filled marks, predicted as a dashed line."""
    width, height = 300.0, 200.0
    rates = [*sampled["rate"], *sampled["predicted_rate"]]
    powers = [*sampled["power"], *sampled["predicted_power"]]
    x = _Axis(min(rates), max(rates), _LEFT, width - _RIGHT, 4)
    y = _Axis(min(powers), max(powers), height - _BOTTOM, _TOP, 4)
    parts = [
        _rows(y, "", width),
        _columns(x, "W over TH/s", width, height),
    ]
    observed = [(x(a), y(b)) for a, b in zip(sampled["rate"], sampled["power"], strict=True)]
    told = [(x(a), y(b)) for a, b in zip(sampled["predicted_rate"], sampled["predicted_power"], strict=True)]
    parts += [_polyline(observed, "line s1"), *(_mark(0, *point) for point in observed)]
    parts += [_polyline(told, "line s2 dashed"), *(_mark(1, *point) for point in told)]
    return _svg(title, width, height, parts)


def _svg(title: str, width: float, height: float, parts: Iterable[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_n(width)} {_n(height)}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def _rows(y: _Axis, unit: str, width: float = _WIDTH) -> str:
    """Grid lines of a vertical axis with their labels."""
    return "".join(
        _line(_LEFT, y(t), width - _RIGHT, y(t), "grid")
        + _text(_LEFT - 6, y(t) + 4, _short(t, y.step) + (f" {unit}" if unit else ""), "end")
        for t in y.ticks()
    )


def _columns(x: _Axis, name: str, width: float = _WIDTH, height: float = _HEIGHT) -> str:
    """Labels of a horizontal axis and its name."""
    labels = "".join(_text(x(t), height - 22, _short(t, x.step), "middle") for t in x.ticks())
    return labels + _text(0.5 * (_LEFT + width - _RIGHT), height - 6, name, "middle", "soft")


def _key(series: Sequence[Series]) -> str:
    """Names of the series beside their marks, along the top."""
    parts, at = [], _LEFT
    for number, one in enumerate(series):
        parts.append(_mark(number, at, 12.0) + _text(at + 9, 16, one.name, "start"))
        at += 30.0 + 6.6 * len(one.name)
    return "".join(parts)


def _mark(number: int, x: float, y: float) -> str:
    """A dot, a square or a triangle: series differ by more than colour."""
    style = f'class="mark s{number + 1}"'
    if number == 0:
        return f'<circle {style} cx="{_n(x)}" cy="{_n(y)}" r="3.5"/>'
    if number == 1:
        return f'<rect {style} x="{_n(x - 3)}" y="{_n(y - 3)}" width="6" height="6"/>'
    return f'<path {style} d="M{_n(x)} {_n(y - 4)}l4 7h-8z"/>'


def _polyline(points: Iterable[tuple[float, float]], style: str) -> str:
    path = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
    return f'<polyline class="{style}" points="{path}"/>'


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line class="{style}" x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"/>'


def _rect(x: float, y: float, width: float, height: float, style: str) -> str:
    return f'<rect class="{style}" x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}"/>'


def _text(x: float, y: float, text: str, anchor: str, style: str = "") -> str:
    kind = f' class="{style}"' if style else ""
    return f'<text{kind} x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}">{escape(text)}</text>'


def _short(value: float, step: float) -> str:
    digits = max(-math.floor(math.log10(step) + 1e-9), 0)
    if step / 10.0**-digits % 1.0 > 1e-6:
        digits += 1
    return (
        f"{value + 0.0:,.{digits}f}".replace("-0", "0")
        if abs(value) < step * 1e-6
        else f"{value:,.{digits}f}"
    )


def _clipped(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")

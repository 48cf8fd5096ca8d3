"""The drawings of the evaluation report, as SVG text that needs nothing from outside the page.

Colours come from classes that the page's style sheet fills, so that they follow a light or dark screen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from agent import svg_parts as svg
from agent.svg_parts import Axis, px

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


def lines(title: str, places: Sequence[str], series: Sequence[Series], unit: str = "%") -> str:
    """Lines over time from zero up, one tick label for each place."""
    known = [v for s in series for v in s.values if v is not None]
    y = Axis(0.0, max([*known, 1e-9]), _HEIGHT - _BOTTOM, _TOP + _KEY)
    span = _WIDTH - _LEFT - _RIGHT

    def x(place: int) -> float:
        return _LEFT + span * (place + 0.5) / len(places)

    parts = [svg.rows(y, _LEFT, _WIDTH - _RIGHT, unit), _key(series)]
    every = max(math.ceil(len(places) / 6), 1)
    parts += [
        svg.text(x(i), _HEIGHT - 20, place, "middle") for i, place in enumerate(places) if i % every == 0
    ]
    for number, one in enumerate(series):
        points = [(x(i), y(v)) for i, v in enumerate(one.values) if v is not None]
        parts.append(svg.polyline(points, f"line s{number + 1}"))
        parts += [_mark(number, *point) for point in points]
    return svg.drawing(title, _WIDTH, _HEIGHT, parts)


def histogram(title: str, shape: Mapping[str, Any]) -> str:
    """A histogram of relative residuals, with zero marked."""
    edges, shares = shape["edges"], shape["shares"]
    x = Axis(100 * edges[0], 100 * edges[-1], _LEFT, _WIDTH - _RIGHT, 6)
    y = Axis(0.0, 100 * max(shares), _HEIGHT - _BOTTOM, _TOP)
    parts = [
        svg.rows(y, _LEFT, _WIDTH - _RIGHT, "%"),
        svg.columns(x, "predicted above observed, %", _LEFT, _WIDTH - _RIGHT, _HEIGHT),
    ]
    for low, high, share in zip(edges[:-1], edges[1:], shares, strict=True):
        top = y(100 * share)
        left, width = x(100 * low) + 0.5, max(x(100 * high) - x(100 * low) - 1, 0.5)
        parts.append(svg.rect(left, top, width, _HEIGHT - _BOTTOM - top, "bar s1"))
    parts.append(svg.line(x(0.0), _TOP, x(0.0), _HEIGHT - _BOTTOM, "zero"))
    return svg.drawing(title, _WIDTH, _HEIGHT, parts)


def quantiles(title: str, shapes: Mapping[str, Mapping[str, Any]]) -> str:
    """Quantiles of residuals against those of a normal distribution; on the diagonal they are the same."""
    values = [100 * v for s in shapes.values() for name in ("quantiles", "normal") for v in s[name]]
    x = Axis(min(values), max(values), _LEFT, _WIDTH - _RIGHT, 6)
    y = Axis(min(values), max(values), _HEIGHT - _BOTTOM, _TOP + _KEY)
    parts = [
        svg.rows(y, _LEFT, _WIDTH - _RIGHT, "%"),
        svg.columns(x, "of a normal distribution, %", _LEFT, _WIDTH - _RIGHT, _HEIGHT),
        _key([Series(n, ()) for n in shapes]),
    ]
    parts.append(svg.line(x(x.low), y(x.low), x(x.high), y(x.high), "zero"))
    for number, shape in enumerate(shapes.values()):
        points = [(x(100 * a), y(100 * b)) for a, b in zip(shape["normal"], shape["quantiles"], strict=True)]
        parts.append(svg.polyline(points, f"line s{number + 1}"))
        parts += [_mark(number, *point) for point in points]
    return svg.drawing(title, _WIDTH, _HEIGHT, parts)


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
    x = Axis(min([*known, band[0] - 5.0]), 100.0, _LABEL, _WIDTH - _RIGHT - 4, 4)
    parts = [
        svg.rect(x(band[0]), _TOP + _KEY, x(band[1]) - x(band[0]), bottom - _TOP - _KEY, "band"),
        svg.line(x(target), _TOP + _KEY, x(target), bottom, "target"),
        svg.tick_labels(x, bottom + 16),
        svg.text(0.5 * (_LABEL + _WIDTH), bottom + 32, axis, "middle", "soft"),
        _key(series),
    ]
    for place, name in enumerate(places):
        middle = _TOP + _KEY + _ROW * (place + 0.5)
        parts.append(svg.text(_LABEL - 8, middle + 4, _clipped(name, 27), "end"))
        parts.append(svg.line(_LABEL, middle, _WIDTH - _RIGHT, middle, "grid"))
        for number, one in enumerate(series):
            value = one.values[place]
            if value is None:
                continue
            at = middle + (number - 0.5 * (len(series) - 1)) * 5.0
            error = one.errors[place] if one.errors else None
            if error is not None:
                parts.append(
                    svg.line(x(value - 2 * error), at, x(value + 2 * error), at, f"whisker s{number + 1}")
                )
            parts.append(_mark(number, x(value), at))
    return svg.drawing(title, _WIDTH, bottom + 40, parts)


def bars(title: str, values: Mapping[str, float], errors: Mapping[str, float | None], axis: str) -> str:
    """Horizontal bars from zero in the order given, with whiskers of one standard error."""
    bottom = _TOP + _ROW * len(values)
    reach = max([*(v + (errors.get(n) or 0.0) for n, v in values.items()), 1e-9])
    x = Axis(0.0, reach, _LABEL, _WIDTH - _RIGHT - 10, 4)
    parts = [*(svg.line(x(t), _TOP, x(t), bottom, "grid") for t in x.ticks())]
    parts.append(svg.tick_labels(x, bottom + 16))
    parts.append(svg.text(0.5 * (_LABEL + _WIDTH), bottom + 32, axis, "middle", "soft"))
    for place, (name, value) in enumerate(values.items()):
        top = _TOP + _ROW * place
        parts.append(svg.text(_LABEL - 8, top + 15, _clipped(name, 27), "end"))
        parts.append(svg.rect(_LABEL, top + 4, x(value) - _LABEL, 14.0, "bar s1"))
        error = errors.get(name)
        if error:
            parts.append(svg.line(x(value - error), top + 11, x(value + error), top + 11, "whisker ink"))
    return svg.drawing(title, _WIDTH, bottom + 40, parts)


def curve(title: str, sampled: Mapping[str, Any]) -> str:
    """Watts over TH/s of one unit: observed levels as filled marks, predicted as a dashed line."""
    width, height = 300.0, 200.0
    rates = [*sampled["rate"], *sampled["predicted_rate"]]
    powers = [*sampled["power"], *sampled["predicted_power"]]
    x = Axis(min(rates), max(rates), _LEFT, width - _RIGHT, 4)
    y = Axis(min(powers), max(powers), height - _BOTTOM, _TOP, 4)
    parts = [
        svg.rows(y, _LEFT, width - _RIGHT),
        svg.columns(x, "W over TH/s", _LEFT, width - _RIGHT, height),
    ]
    observed = [(x(a), y(b)) for a, b in zip(sampled["rate"], sampled["power"], strict=True)]
    told = [(x(a), y(b)) for a, b in zip(sampled["predicted_rate"], sampled["predicted_power"], strict=True)]
    parts += [svg.polyline(observed, "line s1"), *(_mark(0, *point) for point in observed)]
    parts += [svg.polyline(told, "line s2 dashed"), *(_mark(1, *point) for point in told)]
    return svg.drawing(title, width, height, parts)


def _key(series: Sequence[Series]) -> str:
    """Names of the series beside their marks, along the top."""
    parts, at = [], _LEFT
    for number, one in enumerate(series):
        parts.append(_mark(number, at, 12.0) + svg.text(at + 9, 16, one.name, "start"))
        at += 30.0 + 6.6 * len(one.name)
    return "".join(parts)


def _mark(number: int, x: float, y: float) -> str:
    """A dot, a square or a triangle: series differ by more than colour."""
    style = f"mark s{number + 1}"
    if number == 0:
        return svg.circle(x, y, 3.5, style)
    if number == 1:
        return svg.rect(x - 3, y - 3, 6.0, 6.0, style)
    return f'<path class="{style}" d="M{px(x)} {px(y - 4)}l4 7h-8z"/>'


def _clipped(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"

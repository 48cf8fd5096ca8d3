"""Drawings of the backtest report as SVG text; colours come from classes of the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 560.0, 280.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 64.0, 14.0, 12.0, 40.0
Points = Sequence[tuple[float, float]]


class Axis:
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


def over_time(
    title: str,
    days: Sequence[str],
    series: Mapping[str, Sequence[float]],
    colours: Sequence[int] | None = None,
) -> str:
    """One line a name over days; the first is drawn on top and strongest.

    Args:
        colours: numbers of their colours; None is in order.
    """
    colour = list(range(len(series))) if colours is None else colours
    values = [v for line in series.values() for v in line]
    y = Axis(min([0.0, *values]), max([0.0, *values]), HEIGHT - _BOTTOM, _TOP)
    last = max(len(days) - 1, 1)
    span = WIDTH - _LEFT - _RIGHT

    def x(place: float) -> float:
        return _LEFT + span * place / last

    parts = [_rows(y), _line(_LEFT, y(0.0), WIDTH - _RIGHT, y(0.0), "zero")]
    for i in range(5):
        place = round(last * i / 4)
        anchor = "end" if i == 4 else "middle"
        parts.append(_text(x(place), HEIGHT - 20, days[min(place, len(days) - 1)], anchor))
    every = max(1, len(days) // 240)
    for number, (_, line) in reversed(list(enumerate(series.items()))):
        points = [(x(i), y(line[i])) for i in sorted({*range(0, len(line), every), len(line) - 1})]
        parts.append(
            _polyline(points, f"line s{colour[number] % 8 + 1}" + (" strong" if number == 0 else ""))
        )
    return _svg(title, WIDTH, HEIGHT, parts)


def scatter(title: str, xs: Sequence[float], ys: Sequence[float], x_name: str, y_name: str) -> str:
    """Dots; the dearest hundredth of places is drawn on the edge, so that spikes do not hide the rest."""
    order = sorted(xs)
    high = order[min(len(order) - 1, int(0.99 * len(order)))]
    x = Axis(min(order), high, _LEFT, WIDTH - _RIGHT)
    y = Axis(0.0, max(ys), HEIGHT - _BOTTOM, _TOP)
    parts = [_rows(y), _columns(x, x_name), _text(_LEFT, 10, y_name, "start", "soft")]
    parts += [
        f'<circle class="mark s1 faint" cx="{_n(x(a))}" cy="{_n(y(b))}" r="2.5"/>'
        for a, b in zip(xs, ys, strict=True)
    ]
    return _svg(title, WIDTH, HEIGHT, parts)


def heat_map(title: str, rows: Sequence[str], values: Sequence[Sequence[float | None]]) -> str:
    """One row a name, 24 columns; the darker the higher, from 0 to 1."""
    cell_h, cell_w = 18.0, (WIDTH - _LEFT - _RIGHT) / 24.0
    height = _TOP + cell_h * len(rows) + 34.0
    parts = []
    for i, name in enumerate(rows):
        top = _TOP + cell_h * i
        parts.append(_text(_LEFT - 6, top + 13, name, "end"))
        for hour, value in enumerate(values[i]):
            if value is None:
                continue
            shade = f'style="opacity:{0.04 + 0.96 * min(max(value, 0.0), 1.0):.3f}"'
            left = _LEFT + cell_w * hour
            parts.append(
                f'<rect class="bar s1" {shade} x="{_n(left)}" y="{_n(top)}" width="{_n(cell_w - 1)}" '
                f'height="{_n(cell_h - 1)}">'
                f"<title>{escape(name)} {hour:02d} h: {100 * value:.0f} %</title></rect>"
            )
    bottom = _TOP + cell_h * len(rows)
    hours = [_text(_LEFT + cell_w * (h + 0.5), bottom + 14, str(h), "middle") for h in range(0, 24, 3)]
    parts += [*hours, _text(0.5 * (_LEFT + WIDTH), bottom + 30, "hour of day, UTC", "middle", "soft")]
    return _svg(title, WIDTH, height, parts)


def two_curves(title: str, true: Points, believed: Points) -> str:
    """Watts over TH/s of one unit: true with dots, believed dashed."""
    width, height = 300.0, 200.0
    x = Axis(
        min(p[0] for p in (*true, *believed)), max(p[0] for p in (*true, *believed)), 50.0, width - 10, 4
    )
    y = Axis(min(p[1] for p in (*true, *believed)), max(p[1] for p in (*true, *believed)), height - 38, 10, 4)
    parts = [_rows(y, width, 50.0), _columns(x, "W over TH/s", width, height, 50.0)]
    parts.append(_polyline([(x(a), y(b)) for a, b in true], "line s1"))
    parts += [f'<circle class="mark s1" cx="{_n(x(a))}" cy="{_n(y(b))}" r="3"/>' for a, b in true]
    parts.append(_polyline([(x(a), y(b)) for a, b in believed], "line s2 dashed"))
    return _svg(title, width, height, parts)


def bars(title: str, shares: Mapping[str, float], unit: str) -> str:
    """One bar a name, to the right of zero and to the left."""
    label, row = 170.0, 26.0
    x = Axis(min([0.0, *shares.values()]), max([0.0, *shares.values()]), label, WIDTH - 20, 4)
    bottom = _TOP + row * len(shares)
    parts = []
    for place, (name, value) in enumerate(shares.items()):
        top = _TOP + row * place
        left, right = sorted((x(0.0), x(value)))
        parts.append(_text(label - 8, top + 16, name, "end"))
        parts.append(
            f'<rect class="bar s{1 if value >= 0 else 2}" x="{_n(left)}" y="{_n(top + 4)}" '
            f'width="{_n(max(right - left, 1.0))}" height="15"><title>{value:.3f} {unit}</title></rect>'
        )
    parts.append(_line(x(0.0), _TOP, x(0.0), bottom, "zero"))
    parts += [_text(x(t), bottom + 16, _short(t, x.step), "middle") for t in x.ticks()]
    parts.append(_text(0.5 * (label + WIDTH), bottom + 32, unit, "middle", "soft"))
    return _svg(title, WIDTH, bottom + 40, parts)


def line(title: str, points: Points, x_name: str, y_name: str) -> str:
    """One line with dots, from zero up."""
    x = Axis(0.0, max(p[0] for p in points), _LEFT, WIDTH - _RIGHT)
    y = Axis(min(0.0, *(p[1] for p in points)), max(p[1] for p in points), HEIGHT - _BOTTOM, _TOP + 10)
    parts = [_rows(y), _columns(x, x_name), _text(_LEFT, 12, y_name, "start", "soft")]
    parts.append(_polyline([(x(a), y(b)) for a, b in points], "line s1 strong"))
    parts += [f'<circle class="mark s1" cx="{_n(x(a))}" cy="{_n(y(b))}" r="3.5"/>' for a, b in points]
    return _svg(title, WIDTH, HEIGHT, parts)


def _svg(title: str, width: float, height: float, parts: Iterable[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_n(width)} {_n(height)}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def _rows(y: Axis, width: float = WIDTH, left: float = _LEFT) -> str:
    return "".join(
        _line(left, y(t), width - _RIGHT, y(t), "grid") + _text(left - 6, y(t) + 4, _short(t, y.step), "end")
        for t in y.ticks()
    )


def _columns(x: Axis, name: str, width: float = WIDTH, height: float = HEIGHT, left: float = _LEFT) -> str:
    labels = "".join(_text(x(t), height - 22, _short(t, x.step), "middle") for t in x.ticks())
    return labels + _text(0.5 * (left + width - _RIGHT), height - 6, name, "middle", "soft")


def _polyline(points: Iterable[tuple[float, float]], style: str) -> str:
    path = " ".join(f"{_n(a)},{_n(b)}" for a, b in points)
    return f'<polyline class="{style}" points="{path}"/>'


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line class="{style}" x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"/>'


def _text(x: float, y: float, text: str, anchor: str, style: str = "") -> str:
    kind = f' class="{style}"' if style else ""
    return f'<text{kind} x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}">{escape(text)}</text>'


def _short(value: float, step: float) -> str:
    digits = max(-math.floor(math.log10(step) + 1e-9), 0)
    if step / 10.0**-digits % 1.0 > 1e-6:
        digits += 1
    return f"{0.0 if abs(value) < step * 1e-6 else value:,.{digits}f}"


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")

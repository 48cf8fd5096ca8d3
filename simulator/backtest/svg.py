"""Drawings of the backtest report as SVG text; colours come from classes of the page's style sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from agent import svg_parts as svg
from agent.svg_parts import Axis, px

WIDTH, HEIGHT = 560.0, 280.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 64.0, 14.0, 12.0, 40.0
Points = Sequence[tuple[float, float]]


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

    parts = [svg.rows(y, _LEFT, WIDTH - _RIGHT), svg.line(_LEFT, y(0.0), WIDTH - _RIGHT, y(0.0), "zero")]
    for i in range(5):
        place = round(last * i / 4)
        anchor = "end" if i == 4 else "middle"
        parts.append(svg.text(x(place), HEIGHT - 20, days[min(place, len(days) - 1)], anchor))
    every = max(1, len(days) // 240)
    for number, (_, line) in reversed(list(enumerate(series.items()))):
        points = [(x(i), y(line[i])) for i in sorted({*range(0, len(line), every), len(line) - 1})]
        parts.append(
            svg.polyline(points, f"line s{colour[number] % 8 + 1}" + (" strong" if number == 0 else ""))
        )
    return svg.drawing(title, WIDTH, HEIGHT, parts)


def scatter(title: str, xs: Sequence[float], ys: Sequence[float], x_name: str, y_name: str) -> str:
    """Dots; the dearest hundredth of places is drawn on the edge, so that spikes do not hide the rest."""
    order = sorted(xs)
    high = order[min(len(order) - 1, int(0.99 * len(order)))]
    x = Axis(min(order), high, _LEFT, WIDTH - _RIGHT)
    y = Axis(0.0, max(ys), HEIGHT - _BOTTOM, _TOP)
    parts = [
        svg.rows(y, _LEFT, WIDTH - _RIGHT),
        svg.columns(x, x_name, _LEFT, WIDTH - _RIGHT, HEIGHT),
        svg.text(_LEFT, 10, y_name, "start", "soft"),
    ]
    parts += [svg.circle(x(a), y(b), 2.5, "mark s1 faint") for a, b in zip(xs, ys, strict=True)]
    return svg.drawing(title, WIDTH, HEIGHT, parts)


def heat_map(title: str, rows: Sequence[str], values: Sequence[Sequence[float | None]]) -> str:
    """One row a name, 24 columns; the darker the higher, from 0 to 1."""
    cell_h, cell_w = 18.0, (WIDTH - _LEFT - _RIGHT) / 24.0
    height = _TOP + cell_h * len(rows) + 34.0
    parts = []
    for i, name in enumerate(rows):
        top = _TOP + cell_h * i
        parts.append(svg.text(_LEFT - 6, top + 13, name, "end"))
        for hour, value in enumerate(values[i]):
            if value is None:
                continue
            shade = f'style="opacity:{0.04 + 0.96 * min(max(value, 0.0), 1.0):.3f}"'
            left = _LEFT + cell_w * hour
            parts.append(
                f'<rect class="bar s1" {shade} x="{px(left)}" y="{px(top)}" width="{px(cell_w - 1)}" '
                f'height="{px(cell_h - 1)}">'
                f"<title>{escape(name)} {hour:02d} h: {100 * value:.0f} %</title></rect>"
            )
    bottom = _TOP + cell_h * len(rows)
    hours = [svg.text(_LEFT + cell_w * (h + 0.5), bottom + 14, str(h), "middle") for h in range(0, 24, 3)]
    parts += [*hours, svg.text(0.5 * (_LEFT + WIDTH), bottom + 30, "hour of day, UTC", "middle", "soft")]
    return svg.drawing(title, WIDTH, height, parts)


def two_curves(title: str, true: Points, believed: Points) -> str:
    """Watts over TH/s of one unit: true with dots, believed dashed."""
    width, height = 300.0, 200.0
    x = Axis(
        min(p[0] for p in (*true, *believed)), max(p[0] for p in (*true, *believed)), 50.0, width - 10, 4
    )
    y = Axis(min(p[1] for p in (*true, *believed)), max(p[1] for p in (*true, *believed)), height - 38, 10, 4)
    parts = [svg.rows(y, 50.0, width - _RIGHT), svg.columns(x, "W over TH/s", 50.0, width - _RIGHT, height)]
    parts.append(svg.polyline([(x(a), y(b)) for a, b in true], "line s1"))
    parts += [svg.circle(x(a), y(b), 3, "mark s1") for a, b in true]
    parts.append(svg.polyline([(x(a), y(b)) for a, b in believed], "line s2 dashed"))
    return svg.drawing(title, width, height, parts)


def bars(title: str, shares: Mapping[str, float], unit: str) -> str:
    """One bar a name, to the right of zero and to the left."""
    label, row = 170.0, 26.0
    x = Axis(min([0.0, *shares.values()]), max([0.0, *shares.values()]), label, WIDTH - 20, 4)
    bottom = _TOP + row * len(shares)
    parts = []
    for place, (name, value) in enumerate(shares.items()):
        top = _TOP + row * place
        left, right = sorted((x(0.0), x(value)))
        parts.append(svg.text(label - 8, top + 16, name, "end"))
        parts.append(
            f'<rect class="bar s{1 if value >= 0 else 2}" x="{px(left)}" y="{px(top + 4)}" '
            f'width="{px(max(right - left, 1.0))}" height="15"><title>{value:.3f} {unit}</title></rect>'
        )
    parts.append(svg.line(x(0.0), _TOP, x(0.0), bottom, "zero"))
    parts.append(svg.tick_labels(x, bottom + 16))
    parts.append(svg.text(0.5 * (label + WIDTH), bottom + 32, unit, "middle", "soft"))
    return svg.drawing(title, WIDTH, bottom + 40, parts)


def line(title: str, points: Points, x_name: str, y_name: str) -> str:
    """One line with dots, from zero up."""
    x = Axis(0.0, max(p[0] for p in points), _LEFT, WIDTH - _RIGHT)
    y = Axis(min(0.0, *(p[1] for p in points)), max(p[1] for p in points), HEIGHT - _BOTTOM, _TOP + 10)
    parts = [
        svg.rows(y, _LEFT, WIDTH - _RIGHT),
        svg.columns(x, x_name, _LEFT, WIDTH - _RIGHT, HEIGHT),
        svg.text(_LEFT, 12, y_name, "start", "soft"),
    ]
    parts.append(svg.polyline([(x(a), y(b)) for a, b in points], "line s1 strong"))
    parts += [svg.circle(x(a), y(b), 3.5, "mark s1") for a, b in points]
    return svg.drawing(title, WIDTH, HEIGHT, parts)

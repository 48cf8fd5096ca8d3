"""What drawings of the reports are made of, as SVG text: scales with round ticks, lines, bars and words.

A drawing needs nothing from outside its page. Colours come from classes that the page's style sheet fills.
Positions are in pixels, from the left and from the top. Trainer and simulator each draw their own with these.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape


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

    def label(self, tick: float) -> str:
        """A tick in as many digits as its step needs."""
        digits = max(-math.floor(math.log10(self.step) + 1e-9), 0)
        if self.step / 10.0**-digits % 1.0 > 1e-6:
            digits += 1
        return f"{0.0 if abs(tick) < self.step * 1e-6 else tick:,.{digits}f}"


def drawing(title: str, width: float, height: float, parts: Iterable[str]) -> str:
    """The whole of it, with a title for those who cannot see it."""
    return (
        f'<svg viewBox="0 0 {px(width)} {px(height)}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def rows(y: Axis, left: float, right: float, unit: str = "") -> str:
    """Grid lines of a vertical axis, with their labels before them."""
    return "".join(
        line(left, y(t), right, y(t), "grid")
        + text(left - 6, y(t) + 4, y.label(t) + (f" {unit}" if unit else ""), "end")
        for t in y.ticks()
    )


def columns(x: Axis, name: str, left: float, right: float, bottom: float) -> str:
    """Labels of a horizontal axis and its name, above the pixel `bottom`."""
    return tick_labels(x, bottom - 22) + text(0.5 * (left + right), bottom - 6, name, "middle", "soft")


def tick_labels(x: Axis, y: float) -> str:
    """Labels of a horizontal axis at the height `y`."""
    return "".join(text(x(t), y, x.label(t), "middle") for t in x.ticks())


def polyline(points: Iterable[tuple[float, float]], style: str) -> str:
    """A line through points."""
    path = " ".join(f"{px(x)},{px(y)}" for x, y in points)
    return f'<polyline class="{style}" points="{path}"/>'


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    """A straight line."""
    return f'<line class="{style}" x1="{px(x1)}" y1="{px(y1)}" x2="{px(x2)}" y2="{px(y2)}"/>'


def circle(x: float, y: float, radius: float, style: str) -> str:
    """A dot."""
    return f'<circle class="{style}" cx="{px(x)}" cy="{px(y)}" r="{px(radius)}"/>'


def rect(x: float, y: float, width: float, height: float, style: str) -> str:
    """A bar or a band."""
    return f'<rect class="{style}" x="{px(x)}" y="{px(y)}" width="{px(width)}" height="{px(height)}"/>'


def text(x: float, y: float, words: str, anchor: str, style: str = "") -> str:
    """Words; `anchor` says what of them is at `x`: start, middle or end."""
    kind = f' class="{style}"' if style else ""
    return f'<text{kind} x="{px(x)}" y="{px(y)}" text-anchor="{anchor}">{escape(words)}</text>'


def px(value: float) -> str:
    """A position or length, to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")

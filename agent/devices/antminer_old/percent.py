"""Percent of a reference frequency or voltage as the text that stands in the file, and back. Pure."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import lru_cache

from agent.setting import Knob

KEYS = {Knob.FREQUENCY_PERCENT: "bitmain-freq", Knob.VOLTAGE_PERCENT: "bitmain-voltage"}
# The search range of a profile is narrower; this is what the driver would send at all.
LOWEST, HIGHEST = 50.0, 100.0
# The firmware looks a frequency up in a table of whole numbers, 6.25 MHz apart and cut (418 for 418.75);
# below 400 MHz it holds only every 25 MHz. What is not in it is not clocked as asked.
_FINE, _COARSE, _COARSE_BELOW = Decimal("6.25"), Decimal(25), Decimal(400)


@lru_cache(maxsize=4096)
def figure_at(knob: Knob, reference: str, percent: float, coarse: bool) -> str:
    """The digits for `percent` of `reference`, in its format: as many decimals, as many leading zeros.

    A frequency is rounded down to the clock's step, a voltage up to its last digit: less of it than was
    asked for could stop the chips.

    Args:
        coarse: the clock has steps of 6.25 MHz.
    """
    if percent == HIGHEST:
        return reference
    exact = Decimal(reference) * Decimal(str(percent)) / 100
    digit = Decimal(1).scaleb(-len(reference.partition(".")[2]))
    if knob is Knob.VOLTAGE_PERCENT:
        return _padded(exact.quantize(digit, ROUND_CEILING), reference)
    if coarse:
        step = _FINE if exact >= _COARSE_BELOW else _COARSE
        exact = (exact // step) * step
    return _padded(exact.quantize(digit, ROUND_FLOOR), reference)


@lru_cache(maxsize=4096)
def percent_of(knob: Knob, reference: str, figure: str, coarse: bool) -> float:
    """Which percent of `reference` `figure` is, in percent as people ask for it.

    Rounding makes several percentages the same figure: of those the multiple of 5 is told, else the whole
    number that is nearest; a figure that none of them gives is told as it is, to two decimals.
    """
    ratio = float(Decimal(figure) / Decimal(reference) * 100)
    asked = [p for p in range(1, 101) if figure_at(knob, reference, float(p), coarse) == figure]
    if not asked:
        return round(ratio, 2)
    return float(min(asked, key=lambda p: (p != HIGHEST, p % 5 != 0, abs(p - ratio))))


def _padded(value: Decimal, like: str) -> str:
    """Decimal digits, with leading zeros up to the width of a figure that has some."""
    text = f"{value:f}"
    return text.zfill(len(like)) if like.startswith("0") and not like.startswith("0.") else text

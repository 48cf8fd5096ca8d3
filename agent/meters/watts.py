"""From what a meter counts to watts, with everything refused that no meter can mean."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Protocol

from agent.errors import DeviceError, Malformed
from agent.meters.config import PointConfig

# A current clamp shows a little less than nothing when nothing flows.
_ZERO_BAND_W = 5.0
_TEXT = re.compile(r"^\s*([+-]?\d{1,12}(?:[.,]\d{1,9})?)\s*([a-zA-Z]{0,2})\s*$")
_UNITS = {"": 1.0, "w": 1.0, "kw": 1000.0}

Found = Callable[[int, float | DeviceError], None]


class Meter(Protocol):
    """One meter. Reads only; at most one connection, open only during `read`."""

    async def read(self, found: Found) -> None:
        """Ask for every figure and hand each over as it comes: `found(place, watts or error)`.

        Raises:
            DeviceError: for all figures that were not handed over.
        """
        ...


def to_watts(raw: object, point: PointConfig, address: str) -> float | Malformed:
    """What the meter shows at one point, in watts, or what is wrong with it.

    Args:
        raw: a number, or text that holds one and perhaps W or kW.
        point: where it comes from; its scale and range.
        address: of the meter, for the error.
    """

    def wrong(words: str) -> Malformed:
        return Malformed(address, f"{point.label}: {words}")

    counted = _number(raw)
    if counted is None:
        return wrong(f"{_shown(raw)} is not a number")
    watts = counted * point.scale
    if not math.isfinite(watts):
        return wrong("no number: the meter says that it has none")
    if watts < -_ZERO_BAND_W:
        return wrong(f"{watts:.0f} W is negative; a clamp the wrong way round, or the wrong type")
    if watts > point.limit_w:
        return wrong(f"{watts:.0f} W is more than max_power_w {point.limit_w:.0f}; check scale and type")
    return max(0.0, watts)


def split(places: Sequence[int], size: int) -> list[list[int]]:
    """`places` in pieces of at most `size`."""
    return [list(places[i : i + size]) for i in range(0, len(places), size)]


def _number(raw: object) -> float | None:
    if isinstance(raw, bool):
        return None
    if isinstance(raw, int | float):
        try:
            return float(raw)
        except OverflowError:
            return math.inf
    if not isinstance(raw, str) or len(raw) > 64:
        return None
    match = _TEXT.match(raw)
    if match is None:
        return None
    unit = _UNITS.get(match.group(2).lower())
    return None if unit is None else float(match.group(1).replace(",", ".")) * unit


def _shown(raw: object) -> str:
    text = raw if isinstance(raw, str) else type(raw).__name__
    return repr(text[:40])

"""Single values of Antminer replies: rates in their units, sensors within reason, identity, times.

Nothing here raises; what cannot be read is None, never 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from agent.devices.numbers import number, text

Json = Mapping[str, Any]

GH = 1e-3
_TO_THS = {"H": 1e-12, "KH": 1e-9, "MH": 1e-6, "GH": GH, "TH": 1.0, "PH": 1e3}
_EARLIEST_S, _LATEST_S = 1.2e9, 4.1e9
_COLDEST_C, _HOTTEST_C = -60.0, 200.0
_LONGEST_S = 1e9


def to_ths(unit: object) -> float:
    """TH/s in one of a `rate_unit` such as `GH/s`; GH/s where none is named, NaN for one not known."""
    word = (text(unit) or "GH").upper().removesuffix("/S")
    return _TO_THS.get(word, math.nan)


def scaled(value: object, scale: float) -> float | None:
    """A rate times `scale`, in TH/s; None where it is negative or beyond any machine."""
    found = number(value)
    # 1 EH/s is above any machine: a firmware's way of saying unknown.
    return round(found * scale, 9) if found is not None and 0.0 <= found * scale < 1e6 else None


def fan_speed(value: object) -> float | None:
    """A fan's speed."""
    found = number(value)
    return found if found is not None and 0.0 <= found <= 60_000.0 else None


def celsius(value: object) -> float | None:
    """A temperature; 0 is an absent sensor, and what no sensor can mean is none."""
    found = number(value)
    return found if found and _COLDEST_C <= found <= _HOTTEST_C else None


def seconds(value: object) -> float | None:
    """A duration."""
    found = number(value)
    return found if found is not None and 0.0 <= found <= _LONGEST_S else None


def positive(value: float | None) -> float | None:
    """`value` if above 0, where 0 means unknown."""
    return value if value is not None and value > 0.0 else None


def first(*values: Any) -> Any:
    """The first that is not None."""
    return next((value for value in values if value is not None), None)


def highest(values: Iterable[float | None]) -> float | None:
    """The largest that is known."""
    return max((value for value in values if value is not None), default=None)


def total(values: Iterable[int | None]) -> int | None:
    """The sum of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def items(value: object) -> list[Any]:
    """`value` if it is a list, else none."""
    return value if isinstance(value, list) else []


def mac(value: object) -> str | None:
    """A hardware address in lower case with colons; None for placeholders."""
    digits = re.sub(r"[:\-. ]", "", (text(value) or "").lower())
    if not re.fullmatch(r"[0-9a-f]{12}", digits) or digits in ("0" * 12, "f" * 12):
        return None
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


def moment(document: Json) -> datetime | None:
    """The device's own time of the reply."""
    status = document.get("STATUS")
    row = status[0] if isinstance(status, list) and status else status
    if not isinstance(row, dict):
        return None
    seconds = number(first(row.get("When"), row.get("when")))
    if seconds is None or not _EARLIEST_S < seconds < _LATEST_S:
        return None
    return datetime.fromtimestamp(seconds, UTC)

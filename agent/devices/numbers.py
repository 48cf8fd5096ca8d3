"""Numbers and text as miners write them: ints, floats, numeric strings, "NaN", "123 W", "524K", "".

Nothing here raises; what cannot be read is None, never 0.
"""

from __future__ import annotations

import math
import re

_NUMBER = re.compile(r"^\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-z%/]{0,8})\s*$")
_SCALES = {"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_LONGEST = 64
# Above any counter, rate or identifier a miner reports; a value beyond it is garbage.
_LARGEST = 1e30
# Counts beyond it lose their last digit in a float, and overflow a database not far above.
_LARGEST_COUNT = 2**53


def number(value: object) -> float | None:
    """A finite float, or None. A suffix K, M, G, T, P or E scales; another unit is dropped."""
    kind = type(value)
    if kind is float or kind is int:
        # False for NaN too, and no int is too large to be compared. A poll asks this some hundred times.
        return float(value) if -_LARGEST <= value <= _LARGEST else None  # type: ignore[operator,arg-type]
    if not isinstance(value, str) or len(value) > _LONGEST:
        return None
    match = _NUMBER.match(value)
    if match is None:
        return None
    found = float(match.group(1)) * _SCALES.get(match.group(2), 1.0)
    return found if math.isfinite(found) and abs(found) <= _LARGEST else None


def count(value: object) -> int | None:
    """A whole number of 0 or more, or None."""
    found = number(value)
    return int(found) if found is not None and 0.0 <= found <= _LARGEST_COUNT else None


def text(value: object) -> str | None:
    """Printable text without surrounding space or quotes, at most 256 characters, or None where empty."""
    if isinstance(value, str):
        shown = value[:1024]
        if not shown.isprintable():
            shown = "".join(filter(str.isprintable, shown))
        return shown.strip().strip("'").strip()[:256] or None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return str(value)

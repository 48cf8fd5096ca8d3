"""Single values of BraiinsOS replies: numbers wrapped in an object of their unit, status words.

Nothing here raises; what cannot be read is None, never 0.
"""

from __future__ import annotations

from typing import Any

from agent.devices.antminer.fields import celsius, positive, scaled
from agent.devices.numbers import number

FIRMWARE = "braiins"
VENDOR = "bitmain"
_GH, _TH = 1e-3, 1.0
_MOST_W = 100_000.0
_STATUSES = {1: "stopped", 2: "normal", 3: "sleep", 4: "suspended", 5: "restricted"}


def at(value: object, *path: str) -> Any:
    """What stands at `path` in nested objects, or None."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def gigahash(value: object) -> float | None:
    """`{"gigahash_per_second": n}` in TH/s."""
    return scaled(at(value, "gigahash_per_second"), _GH)


def terahash(value: object) -> float | None:
    """`{"terahash_per_second": n}` in TH/s."""
    return scaled(at(value, "terahash_per_second"), _TH)


def watt(value: object) -> float | None:
    """`{"watt": n}`; 0 and what no miner draws is unknown."""
    found = positive(number(at(value, "watt")))
    return found if found is not None and found <= _MOST_W else None


def degrees(value: object) -> float | None:
    """`{"degree_c": n}`."""
    return celsius(at(value, "degree_c"))


def status(details: object) -> str | None:
    """`status` of `miner/details` as a word: stopped, normal, sleep (paused), suspended, restricted."""
    found = at(details, "status")
    if isinstance(found, bool) or not isinstance(found, int):
        return None
    return _STATUSES.get(found)

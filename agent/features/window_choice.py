"""Which windows there are: four that features are named after, and more where the environment asks for them.

Buckets and how to merge them are `agent.features.windows`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from agent.errors import InputError

# Further windows, such as `3h,12h,3d`; whoever trains and whoever runs must have the same.
WINDOWS_VARIABLE = "HASHMARGIN_WINDOWS"
_MOST = 8
_NAME = re.compile(r"^([1-9][0-9]{0,3})(min|h|d)$")
_UNIT_S = {"min": 60, "h": 3600, "d": 86400}
# Over longer ones a slope says what a drift says.
_SLOPES_UP_TO_S = 6 * 3600


class Level(NamedTuple):
    """One ring: `slots` buckets of `seconds`, aligned to Unix time."""

    seconds: int
    slots: int


class Window(NamedTuple):
    """The newest `buckets` buckets of one level, the running one included; `slopes` if these are wanted."""

    name: str
    level: int
    buckets: int
    slopes: bool = False


# Each level's bucket divides the next one's, so that one moment is in one bucket of every level.
LEVELS: tuple[Level, ...] = (Level(300, 12), Level(1800, 48), Level(21600, 28))
NAMED: tuple[Window, ...] = (
    Window("1h", 0, 12, slopes=True),
    Window("6h", 1, 12, slopes=True),
    Window("24h", 1, 48),
    Window("7d", 2, 28),
)


def chosen_windows(more: str) -> tuple[Window, ...]:
    """The named windows and those of `more`, shortest first.

    Args:
        more: names apart by commas, such as `3h,12h,3d`; empty for none.

    Raises:
        InputError: one cannot be made of buckets, is there already, or they are too many.
    """
    spans = {window: LEVELS[window.level].seconds * window.buckets for window in NAMED}
    for name in filter(None, (part.strip() for part in more.split(","))):
        window = _window(name)
        seconds = LEVELS[window.level].seconds * window.buckets
        if seconds in spans.values():
            raise InputError(f"{WINDOWS_VARIABLE}: the window {name} is there already; leave it out")
        spans[window] = seconds
    if len(spans) - len(NAMED) > _MOST:
        raise InputError(f"{WINDOWS_VARIABLE}: more than {_MOST} windows; each adds eight features or more")
    return tuple(sorted(spans, key=lambda window: spans[window]))


def _window(name: str) -> Window:
    parts = _NAME.match(name)
    if parts is None:
        raise InputError(f"{WINDOWS_VARIABLE}: {name!r} is no window; write 30min, 12h or 3d")
    seconds = int(parts[1]) * _UNIT_S[parts[2]]
    for number, level in enumerate(LEVELS):
        buckets, rest = divmod(seconds, level.seconds)
        if seconds <= level.seconds * level.slots:
            if rest or buckets < 2:
                raise InputError(
                    f"{WINDOWS_VARIABLE}: the window {name} is not made of two or more buckets of "
                    f"{level.seconds // 60} min; choose a multiple"
                )
            return Window(name, number, buckets, slopes=seconds <= _SLOPES_UP_TO_S)
    raise InputError(f"{WINDOWS_VARIABLE}: the window {name} is longer than the 7 days that are remembered")

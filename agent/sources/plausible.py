"""Whether what a source brought can be true: inside a range, and not far from the days before."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from agent.errors import SourceError
from agent.sources.config import JUMPS, RANGES
from agent.sources.table import Table

# As many rows of the past as a jump is judged by, and the fewest that can judge.
_ROWS, _FEWEST = 200, 3
_AHEAD_S = 10 * 86400.0


def check(table: Table, before: Table, now_s: float, narrowed: list[float] | None) -> None:
    """Refuse what cannot be true.

    Args:
        before: what is held from earlier; too few rows of it judge nothing.
        narrowed: lowest and highest value of the first column, where the owner knows better.

    Raises:
        SourceError: names column, time and value.
    """
    if not len(table):
        raise SourceError("the answer holds no rows")
    if table.times_s[-1] > now_s + _AHEAD_S:
        raise SourceError(f"a row of {_day(table.times_s[-1])} is more than 10 days ahead; check time_format")
    for i, (name, values) in enumerate(table.columns.items()):
        low, high = RANGES[name]
        if narrowed is not None and i == 0:
            low, high = max(low, narrowed[0]), min(high, narrowed[1])
        wrong = np.isfinite(values) & ~((values >= low) & (values <= high))
        if wrong.any():
            row = int(wrong.argmax())
            raise SourceError(
                f"{name} of {_day(table.times_s[row])} is {values[row]:g}, outside {low:g} to {high:g}; "
                "check scale"
            )
        factor, past = JUMPS.get(name), before.columns.get(name, np.empty(0))[-_ROWS:]
        past = past[np.isfinite(past)]
        if factor is None or len(past) < _FEWEST:
            continue
        usual = float(np.median(past))
        known = values[np.isfinite(values)]
        if len(known) and not usual / factor <= known[-1] <= usual * factor:
            raise SourceError(
                f"{name} jumps to {known[-1]:g}, more than {factor:g} times off its median of {usual:g}"
            )


def _day(at_s: float) -> str:
    return datetime.fromtimestamp(float(at_s), UTC).strftime("%Y-%m-%d %H:%M") if at_s < 1e11 else f"{at_s:g}"

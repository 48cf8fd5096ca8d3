"""Times and values out of any JSON document, by dotted paths."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from agent.errors import SourceError
from agent.localtime import LocalTime
from agent.sources.config import Mapping
from agent.sources.table import MAX_ROWS


def rows_of(document: Any, mapping: Mapping, now_s: float, where: str) -> list[tuple[float, float]]:
    """(Unix seconds, value) as the document has them; rows whose value is null are left out.

    Args:
        now_s: the time of a figure that has none of its own.

    Raises:
        SourceError: names the path that leads nowhere, or the row that is wrong.
    """
    if mapping.rows is not None and mapping.time is not None and mapping.value is not None:
        rows = document if mapping.rows == "." else pick(document, mapping.rows, where)
        found = _list(rows, mapping.rows, where)
        pairs = [
            (pick(row, mapping.time, f"{where} row {i}"), pick(row, mapping.value, f"{where} row {i}"))
            for i, row in enumerate(found)
        ]
    elif mapping.times is not None and mapping.values is not None:
        times = _list(pick(document, mapping.times, where), mapping.times, where)
        values = _list(pick(document, mapping.values, where), mapping.values, where)
        if len(times) != len(values):
            raise SourceError(
                f"{where}: {mapping.times} has {len(times)} entries, {mapping.values} has {len(values)}"
            )
        pairs = list(zip(times, values, strict=True))
    else:
        assert mapping.value is not None, "configuration has one of the three forms"
        return [(now_s, _number(pick(document, mapping.value, where), where) * mapping.scale)]
    local = LocalTime(mapping.timezone)
    return [
        (_moment(at, mapping, local, f"{where} row {i}"), _number(value, f"{where} row {i}") * mapping.scale)
        for i, (at, value) in enumerate(pairs)
        if value is not None
    ]


def pick(document: Any, path: str, where: str) -> Any:
    """What stands at a dotted path; numbers are places in lists, from the end if negative.

    Raises:
        SourceError: says how far the path goes.
    """
    here, walked = document, "the answer"
    for step in path.split("."):
        if isinstance(here, dict) and step in here:
            here = here[step]
        elif isinstance(here, list) and step.removeprefix("-").isdecimal() and len(step) < 8:
            place = int(step)
            if not -len(here) <= place < len(here):
                raise SourceError(f"{where}: {path}: {walked} has {len(here)} entries, not {step}")
            here = here[place]
        else:
            raise SourceError(f"{where}: {path}: {walked} has no {step}")
        walked = step
    return here


def _list(value: Any, path: str, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise SourceError(f"{where}: {path} is not a list")
    if len(value) > MAX_ROWS:
        raise SourceError(f"{where}: {path} has {len(value)} entries, over {MAX_ROWS}; ask for fewer days")
    return value


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise SourceError(f"{where}: expected a number, got {str(value)[:40]!r}")
    try:
        number = float(value)
    except (ValueError, OverflowError) as error:
        raise SourceError(f"{where}: expected a number, got {str(value)[:40]!r}") from error
    if not math.isfinite(number):
        raise SourceError(f"{where}: expected a number, got {str(value)[:40]!r}")
    return number


def _moment(value: Any, mapping: Mapping, local: LocalTime, where: str) -> float:
    if mapping.time_format != "iso":
        at_s = _number(value, where) / (1000.0 if mapping.time_format == "unix_ms" else 1.0)
        # Beyond these a date cannot be worked with: milliseconds taken for seconds, most often.
        if not 0.0 <= at_s < 1e10:
            raise SourceError(f"{where}: time {value!s:.40} is not {mapping.time_format}; see time_format")
        return at_s
    try:
        moment = datetime.fromisoformat(str(value))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=local.zone)
        return moment.astimezone(UTC).timestamp()
    except (ValueError, OverflowError) as error:
        raise SourceError(f"{where}: {str(value)[:40]!r} is not an ISO 8601 time; see time_format") from error

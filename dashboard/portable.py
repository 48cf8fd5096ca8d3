"""Turns validated records into plain JSON that every database stores and every page can show.

Pydantic lets through a few things that break later: whole numbers over 64 bits, moments that no clock
can convert, and the character NUL, which PostgreSQL refuses.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

_MAX_INT = 2**63 - 1
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def plain(model: BaseModel) -> dict[str, Any]:
    """The record as JSON values, times as ISO 8601 in UTC.

    Raises:
        ValueError: a value cannot be kept; the message names its place.
    """
    return {name: _plain(value, name) for name, value in model.model_dump(mode="python").items()}


def _plain(value: Any, where: str) -> Any:
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        if abs(value) > _MAX_INT:
            raise ValueError(f"{where}: is beyond 64 bits")
        return value
    if isinstance(value, str):
        if "\x00" in value:
            raise ValueError(f"{where}: holds the character NUL")
        return value
    if isinstance(value, datetime):
        return moment(value, where).isoformat().replace("+00:00", "Z")
    if isinstance(value, dict):
        return {_plain(name, where): _plain(item, f"{where}.{name}") for name, item in value.items()}
    return [_plain(item, f"{where}.{i}") for i, item in enumerate(value)]


def moment(value: datetime, where: str) -> datetime:
    """The time in UTC.

    Raises:
        ValueError: it lies outside 1970 to 2200.
    """
    if not _FIRST.year < value.year < _LAST.year:
        raise ValueError(f"{where}: {value.isoformat()} is not between 1971 and 2199")
    return value.astimezone(UTC)

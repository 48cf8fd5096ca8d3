"""Network card addresses in the one form that is compared: lower case, colons between the bytes."""

from __future__ import annotations

import re

_FORMS = re.compile(
    r"^(?:[0-9a-f]{12}|(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}|[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2})$"
)


def normalise_mac(text: str) -> str | None:
    """`AA-BB-CC-00-11-22`, `aabb.cc00.1122` or `AABBCC001122` as `aa:bb:cc:00:11:22`.

    None for anything else, for all zeros, and for a group address: no network card has one of these.
    """
    lower = text.strip().lower()
    if not _FORMS.match(lower):
        return None
    digits = re.sub(r"[:.-]", "", lower)
    if digits == "0" * 12 or int(digits[:2], 16) & 1:
        return None
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))

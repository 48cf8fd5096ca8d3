"""Which Antminers have the old stock firmware, whose configuration is a form and files instead of JSON."""

from __future__ import annotations

import re

# As the firmware writes it: "Antminer S9j", "Antminer T17+", "Antminer S17 Pro".
_OLD = re.compile(r"antminer[ _-]?(?:[st](?:7|9|11|15|17)|r4)(?!\d)", re.IGNORECASE)
_LATER = re.compile(r"antminer[ _-]?[st](?:19|2\d)(?!\d)", re.IGNORECASE)
# Chips whose clock has steps of 6.25 MHz.
_COARSE = re.compile(r"antminer[ _-]?(?:[st](?:7|9)|r4)(?!\d)", re.IGNORECASE)


def is_old(text: str) -> bool:
    """True if a model of the generation before the S19 is named in `text`."""
    return _OLD.search(text) is not None


def is_later(text: str) -> bool:
    """True if an S19 or a later model is named in `text`."""
    return _LATER.search(text) is not None


def has_coarse_clock(text: str | None) -> bool:
    """True if the model's frequency moves in steps of 6.25 MHz, or no model is known."""
    return text is None or _COARSE.search(text) is not None or not is_old(text)

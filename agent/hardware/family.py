"""Which hardware models behave alike enough to stand in for each other."""

from __future__ import annotations

import re

from agent.hardware.profile import HardwareProfile

_SERIES = re.compile(r"^(antminer-[a-z]\d{1,2}|whatsminer-m\d)")


def hardware_family(profile: HardwareProfile) -> str:
    """One chip generation, one cooling.

    `antminer-s19/air` holds S19, S19 Pro, S19j Pro ...; `whatsminer-m3/air` holds the M30 line.
    """
    found = _SERIES.match(profile.key)
    return f"{found.group(1) if found else profile.key}/{profile.cooling}"

"""Single values as Whatsminer firmware writes them, v2 and v3 alike, turned into ours. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from agent.devices.numbers import number, text
from agent.hardware.catalogue import find
from agent.reading import Board

VENDOR = "microbt"
FIRMWARE = "stock"

_NOT_HEX = re.compile(r"[^0-9a-f]")
_SEPARATORS = re.compile(r"[:\-. ]")
_RELEASE = re.compile(r"\d{8}\.[\w.]+")
_USERINFO = re.compile(r"(?<=//)[^/@\s]*@")
_MODES = {"low": "low", "normal": "normal", "high": "high"}
_YES = frozenset(("true", "1", "yes", "on", "y"))
_NO = frozenset(("false", "0", "no", "off", "n"))
# Far above any miner, far below the 2^31-1 and 2^32-1 that firmware writes for "unknown".
_MOST_POWER_W = 100_000.0
_MOST_RATE_THS = 10_000.0
_DEFAULT_LIMIT_W = 99_999.0
_EPOCHS = (1_230_768_000.0, 4_102_444_800.0)  # 2009 to 2100; anything else is a clock that was never set


def rows(value: object) -> list[dict[str, Any]]:
    """The objects in a list, or the one object by itself; at most 64, so that a reply cannot flood us."""
    if isinstance(value, dict):
        return [value]
    return [item for item in value[:64] if isinstance(item, dict)] if isinstance(value, list) else []


def truth(value: object) -> bool | None:
    """`"true"`, `1`, `"on"` and the like; None for anything else."""
    if isinstance(value, bool):
        return value
    word = (text(value) or "").lower()
    return True if word in _YES else False if word in _NO else None


def moment(epoch: object) -> datetime | None:
    """Unix seconds as UTC; None for a clock that was never set."""
    seconds = number(epoch)
    if seconds is None or not _EPOCHS[0] <= seconds <= _EPOCHS[1]:
        return None
    return datetime.fromtimestamp(seconds, UTC)


def mac(value: object) -> str | None:
    """Lower case with colons; None for what is no MAC (captures are anonymised with other letters)."""
    word = _SEPARATORS.sub("", (text(value) or "").lower())
    if len(word) != 12 or _NOT_HEX.search(word) or word in ("0" * 12, "f" * 12):
        return None
    return ":".join(word[i : i + 2] for i in range(0, 12, 2))


def firmware_version(*values: object) -> str | None:
    """The first release text such as `20210322.22.REL`, quotes inside the string removed."""
    words = [word for word in (_unquoted(value) for value in values) if word]
    for word in words:
        if release := _RELEASE.search(word):
            return release.group(0)
    return words[0] if words else None


def model(*values: object) -> str | None:
    """The profile's key for the first text a profile knows, else the first text there is."""
    words = [word for word in (_unquoted(value) for value in values) if word]
    for word in words:
        if (profile := find(word)) is not None:
            return profile.key
    return words[0] if words else None


def model_text(*values: object) -> str | None:
    """The firmware's own text: the first that a profile knows, else the first there is."""
    words = [word for word in (_unquoted(value) for value in values) if word]
    return next((word for word in words if find(word) is not None), words[0] if words else None)


def word(value: object) -> str | None:
    """Text without surrounding blanks and quotes; None where nothing is left."""
    return _unquoted(value)


def mode(value: object) -> str | None:
    """low, normal or high; None for anything else."""
    return _MODES.get((text(value) or "").lower())


def power_w(value: object, hashing: bool | None) -> float | None:
    """Watts; None for -1, for 2^31-1 and its like, and for 0 from a miner that hashes."""
    watts = number(value)
    if watts is None or not 0.0 <= watts < _MOST_POWER_W or (watts == 0.0 and hashing is not False):
        return None
    return watts


def power_limit_w(*values: object) -> float | None:
    """The first limit that is one; 0, "", -1 and 99999 (the reset value) all mean that none is set."""
    for value in values:
        watts = number(value)
        if watts is not None and 0.0 < watts < _DEFAULT_LIMIT_W:
            return watts
    return None


def percent(value: object) -> float | None:
    """A percentage in force; 0 means that none is."""
    share = number(value)
    return share if share is not None and 0.0 < share <= 300.0 else None


def rate_ths(value: object, per_ths: float) -> float | None:
    """A rate over `per_ths`; None for negatives (firmware writes -0.001 for unknown) and nonsense."""
    rate = number(value)
    if rate is None or rate < 0.0 or rate / per_ths > _MOST_RATE_THS:
        return None
    return rate / per_ths


def expected_ths(value: object, per_ths: float) -> float | None:
    """A factory rate over `per_ths`; 0 and negatives mean unknown."""
    return rate_ths(value, per_ths) or None


def temperature_c(value: object) -> float | None:
    """A temperature; exactly 0 and everything outside -30 to 180 mean that no sensor answered."""
    degrees = number(value)
    return degrees if degrees is not None and degrees != 0.0 and -30.0 < degrees < 180.0 else None


def frequency_mhz(value: object) -> float | None:
    """A frequency; 0 means unknown."""
    frequency = number(value)
    return frequency if frequency is not None and 0.0 < frequency < 10_000.0 else None


def seconds(value: object) -> float | None:
    """A duration; None for negatives."""
    duration = number(value)
    return duration if duration is not None and 0.0 <= duration < 1e9 else None


def fans(*values: object) -> tuple[float, ...] | None:
    """Revolutions a minute of the fans that are reported; 0 is a report (immersion), negatives are not."""
    speeds = [speed for speed in map(number, values) if speed is not None and 0.0 <= speed < 100_000.0]
    return tuple(speeds) if speeds else None


def voltage_v(hundredths: object) -> float | None:
    """Volts at the boards from hundredths. The supply's input (`vin`) is the mains and never goes here."""
    volts = number(hundredths)
    return volts / 100.0 if volts is not None and 0.0 < volts < 100_000.0 else None


def highest(values: Iterable[float | None]) -> float | None:
    """The greatest known value."""
    return max((value for value in values if value is not None), default=None)


def board_state(chips: int | None, rate: float | None, status: object = None) -> str | None:
    """missing, sick, idle or hashing; None where neither chips nor rate are known."""
    if chips == 0:
        return "missing"
    if (text(status) or "").lower() in ("sick", "dead", "error", "fail", "failed"):
        return "sick"
    if rate is None:
        return None
    return "hashing" if rate > 0.0 else "idle"


def in_order(boards: Sequence[Board]) -> tuple[Board, ...] | None:
    """Boards by index, one for each; None where there are none."""
    first: dict[int, Board] = {}
    for board in boards:
        first.setdefault(board.index, board)
    return tuple(first[index] for index in sorted(first)) or None


def pool_url(value: object) -> str | None:
    """The URL without user and password."""
    url = text(value)
    return _USERINFO.sub("", url) if url else None


def is_hashing(stopped: bool | None, fast_ths: float | None, steady_ths: float | None) -> bool | None:
    """From mode and rate, never from chips or fans: those count on while the boards are off."""
    if stopped:
        return False
    rate = fast_ths if fast_ths is not None else steady_ths
    return None if rate is None else rate > 0.0


def _unquoted(value: object) -> str | None:
    return (text(value) or "").strip(" \t\r\n'\"") or None

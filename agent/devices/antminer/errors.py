"""Antminer stock error codes, from port 6060 `/warning` and the web `summary.cgi`, in words.

Codes are those of the firmware's own table (version 3.0.4). A digit after the letter is a bit mask of
chains or fans.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from agent.devices.error_codes import ErrorCode
from agent.devices.numbers import count, text
from agent.reading import MinerError

# `n` is the bit mask of chains or fans: 1, 2, 4 and 8 for the first to the fourth.
TABLE: tuple[ErrorCode, ...] = (
    ErrorCode("R:1", "hashrate is low", "warning"),
    ErrorCode("Rn:1", "chain {n}: low rate or broken", "critical"),
    ErrorCode("N:1", "hashrate is too high", "warning"),
    ErrorCode("N:2", "frequency was reduced too far", "warning"),
    ErrorCode("N:4", "network lost", "warning"),
    ErrorCode("V:1", "power supply: start-up or output failed", "critical"),
    ErrorCode("V:2", "power supply is not calibrated", "warning"),
    ErrorCode("F:1", "fan fault", "critical"),
    ErrorCode("Fn:1", "fan {n}: fault", "critical"),
    ErrorCode("J:6", "temperature sensor fault", "critical"),
    ErrorCode("J:8", "too few boards", "critical"),
    ErrorCode("Jn:1", "chain {n}: bad chip", "critical"),
    ErrorCode("Jn:2", "chain {n}: too few chips", "critical"),
    ErrorCode("Jn:4", "chain {n}: EEPROM fault", "critical"),
    ErrorCode("Jn:5", "chain {n}: PIC fault", "critical"),
    ErrorCode("P:1", "too hot: stopped to protect itself", "critical"),
    ErrorCode("P:2", "too cold to run", "warning"),
    ErrorCode("M:1", "memory fault", "critical"),
    ErrorCode("Ln:1", "chain {n}: voltage or frequency over its limit", "warning"),
    ErrorCode("Ln:2", "chain {n}: voltage and frequency do not match", "warning"),
    ErrorCode("L:2", "boards of different level are mixed", "warning"),
)
_ROWS = {row.codes: row for row in TABLE}
_CODE = re.compile(r"([A-Z])([0-9]{0,2}):([0-9]{1,2})")
_MOST = 64


def errors_of_warning(document: Mapping[str, Any] | None) -> tuple[MinerError, ...] | None:
    """Errors of 6060 `/warning`; None if it was not asked or says nothing readable."""
    message = text((document or {}).get("error_message"))
    if message is None:
        return None
    if message.lower() == "none":
        return ()
    words = re.split(r"[,; ]+", message)[:_MOST]
    return tuple(decode_code(word) for word in words if word)


def errors_of_summary(document: Mapping[str, Any] | None) -> tuple[MinerError, ...] | None:
    """Errors of `summary.cgi`: every part whose status is not "s"; None if it was not asked."""
    rows = (document or {}).get("SUMMARY")
    if not isinstance(rows, list):
        return None
    parts = [p for row in rows[:4] if isinstance(row, dict) for p in _list(row.get("status"))[:_MOST]]
    found = []
    for part in parts:
        if not isinstance(part, dict) or part.get("status") in ("s", None):
            continue
        name, code = text(part.get("type")) or "part", count(part.get("code"))
        said = text(part.get("msg"))
        severity = "critical" if part.get("status") == "e" else "warning"
        found.append(
            MinerError(f"{name}:{code if code is not None else '?'}", said or f"{name} fault", severity)
        )
    return tuple(found)


def decode_code(code: str) -> MinerError:
    """One code in words; one that the table does not have keeps its own text."""
    match = _CODE.fullmatch(code)
    mask = match.group(2) if match is not None else ""
    row = _ROWS.get(f"{match.group(1)}{'n' if mask else ''}:{match.group(3)}") if match is not None else None
    if row is None:
        return MinerError(code[:32], f"unknown code {code[:32]}", "warning")
    places = [str(bit + 1) for bit in range(4) if mask and int(mask) & 1 << bit]
    return MinerError(code, row.text.format(n=" and ".join(places) or mask), row.severity)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []

"""The envelope of Whatsminer API v2 replies: repairing, status and codes, joined replies.

What the rows inside mean is `parse_v2`'s work.
"""

from __future__ import annotations

import re
from typing import Any

from agent.devices.numbers import count, text
from agent.devices.transport import tolerant_json
from agent.devices.whatsminer import fields as field
from agent.errors import DeviceError, Malformed, Refused, Unauthorised, Unsupported, WriteDisabled

Document = dict[str, Any]

UNKNOWN_ADDRESS = "captured reply"
REMEDY = (
    "the write API is off: in WhatsMinerTool change the default admin password, then enable "
    "Remote Ctrl -> Miner API Switch (hashmargin never does this itself)"
)
CODE_TOKEN_MAXIMUM = 136
# The token or the key it is made with no longer fits: 23 is what an undecipherable write gets.
_TOKEN_CODES = (23, 135, 137)
_WRITE_DISABLED = 45
_INVALID_COMMAND = 14
_PAIR = re.compile(rb'"(\d{1,7})"\s*:\s*"([^"]{0,40})')


def parse_document(command: str, raw: bytes, address: str | None) -> Document:
    """One reply as an object.

    Raises:
        Malformed: not an object, even after repair. An error list that was cut is kept as far as it goes.
    """
    where = address or UNKNOWN_ADDRESS
    try:
        document = tolerant_json(raw, where)
    except Malformed:
        if command == "get_error_code" and b"error_code" in raw:
            listed = _PAIR.findall(raw.split(b"error_code", 1)[1])
            pairs = [{code.decode(): since.decode("ascii", "replace")} for code, since in listed[:64]]
            return {"STATUS": "S", "Msg": {"error_code": pairs}}
        raise
    if not isinstance(document, dict):
        raise Malformed(where, f"{command}: expected an object, got {type(document).__name__}")
    return document


def check(command: str, document: Document, address: str | None) -> Document:
    """`document` if it reports success. Success is STATUS "S" (or "I", "W"); the code alone proves nothing.

    Raises:
        Unsupported: code 14. WriteDisabled: 45. Unauthorised: 23, 135, 137 (token). Refused: the rest.
        Malformed: no status at all.
    """
    where = address or UNKNOWN_ADDRESS
    envelope = document.get("STATUS")
    head = document
    if isinstance(envelope, list):
        head = envelope[0] if envelope and isinstance(envelope[0], dict) else {}
    elif isinstance(envelope, dict):
        head = envelope
    status = text(head.get("STATUS"))
    code = count(head.get("Code"))
    if status in ("S", "I", "W"):
        return document
    if status is None and code is None:
        if any(
            isinstance(document.get(key), list | dict) for key in ("SUMMARY", "DEVS", "POOLS", "DEVDETAILS")
        ):
            return document
        raise Malformed(where, f"{command}: the reply has no status")
    raise refusal(command, code, _said(head.get("Msg")), where)


def refusal(command: str, code: int | None, said: str, address: str) -> DeviceError:
    """The typed error for one error code."""
    words = f"{command}: code {code}: {said}" if code is not None else f"{command}: {said}"
    if code == _WRITE_DISABLED:
        return WriteDisabled(address, f"{words}; {REMEDY}")
    if code == _INVALID_COMMAND:
        return Unsupported(address, words)
    if code in _TOKEN_CODES:
        return Unauthorised(address, f"{words}; the admin password may be wrong")
    if code == CODE_TOKEN_MAXIMUM:
        return Refused(address, f"{words}; the miner has no free token (they last 30 min)")
    return Refused(address, words)


def process_is_down(error: DeviceError) -> bool:
    """True for "btminer process is down": the rest of the machine still answers."""
    return isinstance(error, Refused) and "process is down" in error.detail


def error_code(document: Document) -> int | None:
    """The code of a reply, wherever its envelope has it."""
    envelope = document.get("STATUS")
    if isinstance(envelope, list) and envelope and isinstance(envelope[0], dict):
        return count(envelope[0].get("Code"))
    return count(document.get("Code"))


def split_join(document: Document, commands: tuple[str, ...]) -> dict[str, Document]:
    """The parts of a joined reply: nested under the commands' names, or all in one envelope."""
    parts: dict[str, Document] = {}
    keys = {"summary": "SUMMARY", "edevs": "DEVS", "pools": "POOLS"}
    for command in commands:
        nested = field.rows(document.get(command))
        if nested:
            parts[command] = nested[0]
        elif keys.get(command) in document:
            parts[command] = document
    return parts


def message(document: Document | None) -> Document:
    """The object under `Msg`; empty where there is none."""
    said = document.get("Msg") if document is not None else None
    return said if isinstance(said, dict) else {}


def _said(value: object) -> str:
    said = value if isinstance(value, str) else repr(value) if value is not None else "no reason given"
    return said[:200]

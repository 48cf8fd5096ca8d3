"""What must hold for any bytes: a result or the typed error, numbers that are numbers, no other exception."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from agent.devices.families import FAMILIES
from agent.devices.transport import tolerant_json
from agent.devices.whatsminer.crypto import unseal, v2_keys
from agent.devices.whatsminer.envelope import check, parse_document
from agent.errors import DeviceError, InputError, Malformed
from agent.meters.config import HttpPoint
from agent.meters.json_http import pick
from agent.meters.watts import to_watts
from agent.reading import Reading
from tests.fuzz.replies import unpacked

KEYS = v2_keys("admin", "BQ5hoXV9", "jbzkfQls", "1661")
POINT = HttpPoint(path="a.0.b", miners=["m1"])
_COMMANDS = ("summary", "edevs", "get_error_code", "get_token", "pools", "status")


def replies_give_a_reading_or_a_device_error(data: bytes) -> None:
    """The decoder of every family."""
    family, replies = unpacked(data)
    try:
        reading = FAMILIES[family].decode(replies, None)
    except DeviceError:
        return
    except InputError:
        # Said of a folder that lacks files, which no bytes of a miner can bring about.
        with pytest.raises(InputError):
            FAMILIES[family].decode(dict.fromkeys(replies, b"{}"), None)
        return
    told = reading.to_dict()
    # `allow_nan=False` raises for a number that is none.
    assert Reading.from_dict(json.loads(json.dumps(told, allow_nan=False))) == reading
    for name in ("hashrate_ths", "power_w", "uptime_s"):
        value = told[name]
        assert value is None or (math.isfinite(value) and value >= 0.0), (name, value)


def text_gives_a_document_or_malformed(data: bytes) -> None:
    """The JSON of 4028, of the Whatsminer's envelope and of HTTP meters."""
    try:
        document = tolerant_json(data, "192.0.2.1")
    except Malformed:
        return
    json.dumps(document)
    found: Any = pick(document, POINT.path, "192.0.2.1")
    watts = found if isinstance(found, DeviceError) else to_watts(found, POINT, "192.0.2.1")
    assert isinstance(watts, DeviceError) or 0.0 <= watts < math.inf


def envelopes_give_a_document_or_a_device_error(data: bytes) -> None:
    """Replies of a Whatsminer, plain and encrypted."""
    command = _COMMANDS[data[0] % len(_COMMANDS)] if data else _COMMANDS[0]
    plain = unseal(KEYS, data[1:].decode("latin-1"))
    for raw in (data[1:], *((plain,) if plain is not None else ())):
        try:
            check(command, parse_document(command, raw, None), None)
        except DeviceError:
            continue


PROPERTIES = (
    replies_give_a_reading_or_a_device_error,
    replies_give_a_reading_or_a_device_error,
    text_gives_a_document_or_malformed,
    envelopes_give_a_document_or_a_device_error,
)


def hold(data: bytes) -> None:
    """All of them; the first byte says which, and half of all inputs are replies of a whole miner."""
    if data:
        PROPERTIES[data[0] % len(PROPERTIES)](data[1:])

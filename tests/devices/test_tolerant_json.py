"""JSON as miners write it: the known faults are repaired, nothing else is, and no input costs much."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.devices.transport import LIMIT_BYTES, tolerant_json
from agent.errors import DeviceError, Malformed, Unreachable

HOST = "10.0.0.1"
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("raw", "document"),
    [
        (b'{"STATS":[{"a":1}{"b":2}]}', {"STATS": [{"a": 1}, {"b": 2}]}),
        (b'{"STATS":[{"a":1}\n {"b":2}]}', {"STATS": [{"a": 1}, {"b": 2}]}),
        (b'{"a":1}\0', {"a": 1}),
        (b'{"a":1}\0\n', {"a": 1}),
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}),
        (b'{"a":1,}', {"a": 1}),
        (b'{"a":[,{"b":1}]}', {"a": [{"b": 1}]}),
        (b'{"vin":"22400""temp0":"33.5"}', {"vin": "22400", "temp0": "33.5"}),
        (
            b'{"error_code":["329":"2022-01-17 11:28:11"]}',
            {"error_code": [{"329": "2022-01-17 11:28:11"}]},
        ),
        (b',"id":1}', {"id": 1}),
        (b'{"a":nan,"b":-inf,"c":NaN}', {"a": None, "b": None, "c": None}),
        (b'{"a":"line\nbreak"}', {"a": "line\nbreak"}),
        (b'{"user":"caf\xe9"}', {"user": "caf\ufffd"}),
        (b"[]", []),
    ],
)
def test_faults_of_real_firmware_are_repaired(raw: bytes, document: Any) -> None:
    assert tolerant_json(raw, HOST) == document


@pytest.mark.parametrize(
    "text",
    ["a}{b", '"" x', "nan", "[,", ",}", '{"a":1}{"b":2}', 'a\\"}{', "x, }", ": inf"],
)
def test_text_that_looks_like_a_fault_is_left_alone(text: str) -> None:
    assert tolerant_json(json.dumps({"user": text}).encode(), HOST) == {"user": text}


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "empty"),
        (b"\0\0\r\n", "empty"),
        (b'{"STATS":[{"Elapsed":12', "not JSON"),
        (b"<?xml version='1.0'?><html/>", "web page"),
        (b"HTTP/1.1 401 Unauthorized\r\n\r\n", "web page"),
        (b"\xff\xfe\x00\x01garbage", "not JSON"),
        (b"error 6060 cmd", "not JSON"),
    ],
)
def test_what_cannot_be_read_is_malformed_and_says_why(raw: bytes, says: str) -> None:
    with pytest.raises(Malformed, match=says):
        tolerant_json(raw, HOST)


def test_a_proxy_that_answers_for_a_dead_process_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="mining process is down"):
        tolerant_json(b"Socket connect failed: Connection refused\n", HOST)


def test_what_a_miner_says_cannot_steer_the_terminal() -> None:
    with pytest.raises(Malformed) as raised:
        tolerant_json(b"\x1b[2Jgarbage\r\n", HOST)
    assert "\x1b" not in raised.value.detail


def costly() -> Iterator[tuple[str, bytes]]:
    yield "a megabyte of open brackets", b"[" * 2**20
    yield "a megabyte of open braces", b'{"a":' * (2**20 // 5)
    yield "deep but closed", b"[" * 2**19 + b"]" * 2**19
    yield "brackets inside a text", b'["' + b"[" * 2**20 + b'"]'
    yield "a long number", b'{"a":' + b"9" * 2**20 + b"}"
    yield "a long exponent", b'{"a":1e' + b"9" * 2**20 + b"}"
    yield "a megabyte of quotes", b'"' * 2**20
    yield "a megabyte of pairs of quotes", b'["' + b'" "' * (2**20 // 3)
    yield "a megabyte of backslashes", b'["' + b"\\" * 2**20
    yield "a megabyte of commas", b"[" + b"," * 2**20 + b"]"
    yield "a megabyte of spaces after a comma", b"[1," + b" " * 2**20 + b"x]"
    yield "commas and spaces in turn", b"[1" + b", " * 2**19 + b"]"
    yield "braces back to back", b"[" + b"{}" * 2**19 + b"]"
    yield "pairs in a list", b"[" + b'"1":"2",' * 2**17 + b"]"
    yield "pairs in a list that never ends", b"[" + b'"1":"2",' * 2**17
    yield "nan after nan", b"[" + b"nan," * 2**18 + b"]"


@pytest.mark.parametrize(("name", "raw"), costly(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_megabyte_of_nonsense_costs_little(name: str, raw: bytes) -> None:
    started = time.process_time()
    try:
        tolerant_json(raw, HOST)
    except DeviceError:
        pass
    # Linear work takes a tenth of it on a slow machine; quadratic work on a megabyte takes hours.
    assert time.process_time() - started < 5.0, name


def test_more_than_the_limit_is_not_even_looked_at() -> None:
    with pytest.raises(Malformed, match="longer than"):
        tolerant_json(b" " * (LIMIT_BYTES + 1), HOST)


@given(JSON.filter(lambda document: isinstance(document, dict | list)))
def test_valid_json_comes_back_as_it_is(document: Any) -> None:
    assert tolerant_json(json.dumps(document).encode(), HOST) == document


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.binary(max_size=400)
    | st.text(alphabet='{}[]",:\\ \0\n0123456789-+.eEnaiftrul', max_size=200).map(str.encode)
)
def test_any_bytes_give_a_document_or_a_device_error(raw: bytes) -> None:
    try:
        document = tolerant_json(raw, HOST)
    except DeviceError:
        return
    assert not any(isinstance(value, float) and math.isnan(value) for value in _leaves(document))


def _leaves(document: Any) -> Iterator[Any]:
    if isinstance(document, dict):
        for value in document.values():
            yield from _leaves(value)
    elif isinstance(document, list):
        for value in document:
            yield from _leaves(value)
    else:
        yield document

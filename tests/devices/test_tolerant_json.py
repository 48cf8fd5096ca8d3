"""The repairs of `tolerant_json` touch only what is broken, and no input costs much."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.devices.transport import LIMIT_BYTES, tolerant_json
from agent.errors import DeviceError, Malformed

HOST = "10.0.0.1"
LEAF = (
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
)
JSON = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    "text",
    ["a}{b", '"" x', "nan", "[,", ",}", '{"a":1}{"b":2}', 'a\\"}{', "x, }", ": inf"],
)
def test_text_that_looks_like_a_fault_is_left_alone(text: str) -> None:
    assert tolerant_json(json.dumps({"user": text}).encode(), HOST) == {"user": text}


def test_what_a_miner_says_cannot_steer_the_terminal() -> None:
    with pytest.raises(Malformed) as raised:
        tolerant_json(b"\x1b[2Jgarbage\r\n", HOST)
    assert "\x1b" not in raised.value.detail


def costly() -> Iterator[tuple[str, bytes]]:
    yield "open brackets", b"[" * 2**20
    yield "open braces", b'{"a":' * (2**20 // 5)
    yield "deep but closed", b"[" * 2**19 + b"]" * 2**19
    yield "brackets inside a text", b'["' + b"[" * 2**20 + b'"]'
    yield "a long number", b'{"a":' + b"9" * 2**20 + b"}"
    yield "a long exponent", b'{"a":1e' + b"9" * 2**20 + b"}"
    yield "pairs of quotes", b'["' + b'" "' * (2**20 // 3)
    yield "backslashes", b'["' + b"\\" * 2**20
    yield "commas in brackets", b"[" + b"," * 2**20 + b"]"
    yield "spaces after a comma", b"[1," + b" " * 2**20 + b"x]"
    yield "commas and spaces in turn", b"[1" + b", " * 2**19 + b"]"
    yield "braces back to back", b"[" + b"{}" * 2**19 + b"]"
    yield "pairs in a list", b"[" + b'"1":"2",' * 2**17 + b"]"
    yield "nan after nan", b"[" + b"nan," * 2**18 + b"]"


COSTLY = dict(costly())


@pytest.mark.parametrize("name", COSTLY)
def test_a_megabyte_of_nonsense_costs_little(name: str) -> None:
    started = time.process_time()
    with contextlib.suppress(DeviceError):
        tolerant_json(COSTLY[name], HOST)
    # Linear work takes a tenth of it on a slow machine; quadratic work on a megabyte takes hours.
    assert time.process_time() - started < 5.0


def test_more_than_the_limit_is_not_even_looked_at() -> None:
    with pytest.raises(Malformed, match="longer than"):
        tolerant_json(b" " * (LIMIT_BYTES + 1), HOST)


@given(JSON.filter(lambda document: isinstance(document, dict | list)))
def test_valid_json_comes_back_as_it_is(document: Any) -> None:
    assert tolerant_json(json.dumps(document).encode(), HOST) == document

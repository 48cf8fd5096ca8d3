"""Numbers and text as miners write them, and the secrets that must not be saved with them."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.devices.numbers import count, number, text
from agent.devices.redact import redact

ANYTHING = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=80)
    | st.binary(max_size=8)
    | st.lists(st.integers(), max_size=2)
    | st.dictionaries(st.text(max_size=2), st.integers(), max_size=2)
)


@pytest.mark.parametrize(
    ("written", "means"),
    [
        (7, 7.0),
        (7.5, 7.5),
        (0, 0.0),
        (-3, -3.0),
        ("7903.729", 7903.729),
        (" 12 ", 12.0),
        ("+5", 5.0),
        ("-5.5", -5.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("3250 W", 3250.0),
        ("3250W", 3250.0),
        ("110 GH/s", 110.0),
        ("98.5%", 98.5),
        ("524K", 524_000.0),
        ("1.5M", 1_500_000.0),
        ("12k", 12_000.0),
    ],
)
def test_a_number_is_read_however_it_is_written(written: object, means: float) -> None:
    assert number(written) == pytest.approx(means)


@pytest.mark.parametrize(
    "written",
    [
        "", " ", "NaN", "nan", "inf", "-Infinity", None, True, False, "abc", "1.2.3", "0x10", "1,000",
        "12 W 3", math.nan, math.inf, -math.inf, 10**400, "1e400", "9" * 100, 1e31, [1], {"a": 1}, b"1",
    ],
)  # fmt: skip
def test_what_is_no_number_is_none_never_0(written: object) -> None:
    assert number(written) is None


@pytest.mark.parametrize(("written", "means"), [("12", 12), (12.9, 12), (0, 0), (-1, None), (2.0**60, None)])
def test_a_count_is_whole_and_not_negative(written: object, means: int | None) -> None:
    assert count(written) == means


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("'20210322.22.REL'", "20210322.22.REL"),
        (" a\0b\n", "ab"),
        ("", None),
        ("''", None),
        (True, None),
        (5, "5"),
    ],
)
def test_text_loses_quotes_space_and_what_cannot_be_shown(written: object, means: str | None) -> None:
    assert text(written) == means


def test_text_is_bounded() -> None:
    assert len(text("x" * 1_000_000) or "") == 256


@given(ANYTHING)
def test_nothing_ever_raises(value: Any) -> None:
    found = number(value)
    assert found is None or math.isfinite(found)
    whole = count(value)
    assert whole is None or 0 <= whole <= 2**53
    said = text(value)
    assert said is None or said.isprintable()


@pytest.mark.parametrize(
    "raw",
    [
        b'{"pools":[{"url":"x","user":"acct.w1","pass":"SECRET"}]}',
        b'{"Password" : "SECRET"}',
        b'{"passwd1":"SECRET","pool1pw":"SECRET","_ant_pool1pw":"SECRET"}',
        b'{"curPwd":"SECRET","newPwd":"SECRET"}',
        b'{"salt":"SECRET","newsalt":"SECRET","token":"SECRET","sign":"SECRET"}',
        b'{"pass":"a\\"SECRET"}',
        b'{"pass":SECRET}',
        b'{"pass":"SECRET',
        b'{"url":"stratum+tcp://acct:SECRET@pool.example:3333"}',
        b'{"url":"stratum+tcp:\\/\\/acct:SECRET@pool.example:3333"}',
        b"_ant_pool1url=x&_ant_pool1pw=SECRET&freq=1",
        b'{"pass":"SECRET"}{"pass":"SECRET"',
        b'\xff\x00{"pass":\n "SECRET"}',
    ],
)
def test_secrets_are_taken_out_even_of_what_is_not_json(raw: bytes) -> None:
    found = redact(raw)
    assert b"SECRET" not in found
    assert b"***" in found


def test_everything_else_stays_as_it_was() -> None:
    raw = b'{"url":"stratum+tcp://p.example:1","user":"acct.w1","Pass Count":5,"pass":null,"bypass":[1]}'
    assert redact(raw) == raw


def test_redacted_json_is_still_json_with_the_same_shape() -> None:
    conf = {"pools": [{"url": "a", "user": "b", "pass": "c"}], "token": 5, "bitmain-work-mode": "0"}
    found = json.loads(redact(json.dumps(conf).encode()))
    assert found == {
        "pools": [{"url": "a", "user": "b", "pass": "***"}],
        "token": "***",
        "bitmain-work-mode": "0",
    }


@given(st.binary(max_size=200))
def test_redacting_twice_changes_nothing_more(raw: bytes) -> None:
    assert redact(redact(raw)) == redact(raw)

"""Whatsminer replies as pure data: the saved cases, error codes, and any bytes at all."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agent.devices.whatsminer import parse_v2, parse_v3
from agent.devices.whatsminer.errors import describe, error_of, severity
from agent.devices.whatsminer.fields import mac, power_w
from agent.errors import DeviceError
from agent.reading import Reading

CASES = Path(__file__).parents[1] / "cases"
V2_NAMES = [f"{c}.json" for c in (*parse_v2.COMMANDS, "devs", "summary+edevs")]
V3_NAMES = [
    f"{c}.json"
    for c in (
        "get.miner.status.summary",
        "get.miner.status.edevs",
        "get.miner.status.pools",
        "get.miner.status.edevs+summary",
        "get.device.info",
        "get.device.info.miner",
        "get.device.info.network",
        "get.device.info.error-code",
        "get.miner.setting",
        "pools",
    )
]
KEYS = [
    "STATUS", "Msg", "Code", "When", "SUMMARY", "DEVS", "POOLS", "DEVDETAILS", "summary", "edevs", "pools",
    "code", "when", "msg", "desc", "miner", "network", "system", "setting", "error-code", "error_code",
    "MHS 1m", "MHS av", "Power", "Power Limit", "Elapsed", "Slot", "Effective Chips", "Error Code Count",
    "Error Code 0", "URL", "Accepted", "mac", "MAC", "Model", "hash-1min", "factory-hash", "slot", "type",
    "board-temperature", "detect-hash-rate", "working", "url", "power-percent", "power_pct", "mineroff",
    "329",
]  # fmt: skip
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["S", "E", "true", "nan", "-1", "M30S+_VE40", "2022-01-17 11:28:11", "1e400", "\ud800"])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=6)
    ),
    max_leaves=25,
)
SUCCESS = [
    {"STATUS": "S", "Code": 131, "When": 1761061371},
    {"STATUS": [{"STATUS": "S", "When": 1761061371}]},
    {"code": 0, "when": 1773869570},
]
DOCUMENT = st.builds(
    lambda head, body: {**body, **head},
    st.sampled_from([*SUCCESS, {}]),
    st.dictionaries(st.sampled_from(KEYS), JSON, max_size=6),
)
RAW = st.binary(max_size=200) | (DOCUMENT | JSON).map(lambda d: json.dumps(d).encode("utf-8", "replace"))
QUIET = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def check_total(decode: Any, replies: dict[str, bytes]) -> None:
    try:
        reading = decode(replies, "10.0.0.1")
    except DeviceError:
        return
    assert isinstance(reading, Reading)
    # Strict JSON without NaN, and loadable again: every consumer may rely on that.
    assert Reading.from_dict(json.loads(json.dumps(reading.to_dict(), allow_nan=False))) == reading


@QUIET
@given(st.dictionaries(st.sampled_from(V2_NAMES), RAW, max_size=4))
@example({"summary.json": b'{"STATUS":"S","Msg":{"Power":1e999,"Elapsed":' + b"9" * 5000 + b"}}"})
@example({"summary.json": b"[" * 100_000})
def test_any_bytes_under_v2_names_give_a_reading_or_a_device_error(replies: dict[str, bytes]) -> None:
    check_total(parse_v2.decode, replies)


@QUIET
@given(st.dictionaries(st.sampled_from(V3_NAMES), RAW, max_size=4))
@example({"get.device.info.json": b'{"code":0,"msg":' + b'{"miner":' * 500 + b"}"})
def test_any_bytes_under_v3_names_give_a_reading_or_a_device_error(replies: dict[str, bytes]) -> None:
    check_total(parse_v3.decode, replies)


def saved(family: str) -> list[Any]:
    return [pytest.param(p, id=p.name) for p in sorted((CASES / family).iterdir())]


def inputs(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name not in ("reading.json", "error.json")}


@pytest.mark.parametrize("folder", saved("whatsminer-v2"))
def test_a_saved_v2_case_cut_anywhere_never_escapes_the_error_tree(folder: Path) -> None:
    for name, raw in inputs(folder).items():
        for end in range(0, len(raw), max(1, len(raw) // 40)):
            check_total(parse_v2.decode, {**inputs(folder), name: raw[:end]})


@pytest.mark.parametrize("folder", saved("whatsminer-v3"))
def test_a_saved_v3_case_cut_anywhere_never_escapes_the_error_tree(folder: Path) -> None:
    for name, raw in inputs(folder).items():
        for end in range(0, len(raw), max(1, len(raw) // 40)):
            check_total(parse_v3.decode, {**inputs(folder), name: raw[:end]})


def test_no_password_in_a_pool_url_reaches_the_reading() -> None:
    reading = parse_v2.decode(inputs(CASES / "whatsminer-v2" / "m20s-2021"))
    assert "secret" not in json.dumps(reading.to_dict())


@pytest.mark.parametrize(
    ("code", "words", "grade"),
    [
        ("110", "intake fan speed error", "critical"),
        ("206", "power supply input voltage low", "info"),
        ("329", "control board temperature sensor error", "warning"),
        ("351", "protecting: temperature of board 1 too high", "critical"),
        ("532", "board 2 not found", "critical"),
        ("2021", "pool 1 connection failed", "warning"),
        ("2320", "hashrate too low", "info"),
        ("5071", "water velocity or temperature abnormal", "critical"),
        ("520014", "slot 0 chip 14: error nonces", "warning"),
        ("541007", "slot 1 chip 7: temperature protected", "warning"),
        ("100012", "security library or signature error", "critical"),
        ("77", "unknown error", "warning"),
    ],
)
def test_error_codes_are_put_in_words_with_a_severity(code: str, words: str, grade: str) -> None:
    assert (describe(code), severity(code)) == (words, grade)


@pytest.mark.parametrize(
    "code", [0, "0", "", None, True, "reason", "12345678", -3, 1.5, "\u0663\u0662\u0669"]
)
def test_what_is_no_code_is_no_error(code: object) -> None:
    assert error_of(code) is None


@pytest.mark.parametrize("value", [-1, "-1", 2**31 - 1, 2**32 - 1, None, "", "nan", True])
def test_unknown_power_is_none(value: object) -> None:
    assert power_w(value, True) is None


def test_zero_watts_is_believed_only_of_a_miner_that_does_not_hash() -> None:
    assert power_w(0, True) is None
    assert power_w(0, None) is None
    assert power_w(0, False) == 0.0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("C4:08:28:00:A4:19", "c4:08:28:00:a4:19"),
        ("C4-08-28-00-A4-19", "c4:08:28:00:a4:19"),
        ("c4082800a419", "c4:08:28:00:a4:19"),
        ("3M:08:28:00:A4:19", None),
        ("00:00:00:00:00:00", None),
        ("C4:08:28", None),
        (None, None),
    ],
)
def test_mac_addresses_of_every_form_become_one(value: object, expected: str | None) -> None:
    assert mac(value) == expected

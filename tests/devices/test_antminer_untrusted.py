"""Whatever bytes a miner sends, decoding gives a Reading that can be stored, or a DeviceError."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.devices.antminer.stock import decode
from agent.errors import DeviceError
from agent.reading import Reading
from agent.telemetry import TELEMETRY_COLUMNS

CASES = Path(__file__).parents[1] / "cases" / "antminer-stock"
FILES = (
    "stats.json",
    "stats.new_api.json",
    "summary.json",
    "pools.json",
    "version.json",
    "devs.json",
    "get_system_info.json",
    "get_miner_conf.json",
    "miner_type.json",
    "web_summary.json",
    "warning.json",
    "miner_power.txt",
)
# Replies that are whole, whose values are then replaced one by one.
GENUINE = {
    name: json.loads((CASES / folder / name).read_bytes())
    for folder, name in (
        ("s19-pro-legacy", "stats.json"),
        ("pools-legacy", "pools.json"),
        ("identity", "get_system_info.json"),
    )
} | {"stats.new_api.json": json.loads((CASES / "s19-xp-new-layout" / "stats.json").read_bytes())}

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**40), 10**40),
    st.floats(),
    st.sampled_from(
        ["", "nan", "inf", "-1", "1e400", "0", "9" * 70, "a-b-c-d", "--", "3250 W", "524K", "\0"]
    ),
    st.text(max_size=12),
    st.lists(st.integers(-(10**6), 10**6) | st.none() | st.text(max_size=3), max_size=6),
    st.dictionaries(st.text(max_size=4), st.integers() | st.none(), max_size=3),
)


def sound(reading: Reading) -> None:
    """What later parts rely on: it survives JSON, and every number is finite and never absurd."""
    text = json.dumps(reading.to_dict(), allow_nan=False)
    assert Reading.from_dict(json.loads(text)) == reading
    for column in TELEMETRY_COLUMNS:
        value = getattr(reading, column.name, None)
        if isinstance(value, int | float):
            assert math.isfinite(value), column.name


def decoded(replies: dict[str, bytes]) -> None:
    try:
        reading = decode(replies)
    except DeviceError:
        return
    sound(reading)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(FILES), st.binary(max_size=200), min_size=1, max_size=3))
def test_any_bytes_give_a_reading_or_a_device_error(replies: dict[str, bytes]) -> None:
    decoded(replies)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_genuine_reply_with_odd_values_in_it_gives_a_reading_or_a_device_error(data: Any) -> None:
    name = data.draw(st.sampled_from(sorted(GENUINE)))
    document = json.loads(json.dumps(GENUINE[name]))
    for _ in range(data.draw(st.integers(1, 4))):
        places = list(_places(document))
        if not places:
            break
        holder, key = data.draw(st.sampled_from(places))
        holder[key] = data.draw(ODD)
    decoded({name: json.dumps(document).encode()})


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(GENUINE)), st.integers(0, 4000), st.binary(max_size=4))
def test_a_genuine_reply_cut_or_scratched_gives_a_reading_or_a_device_error(
    name: str, at: int, scratch: bytes
) -> None:
    raw = json.dumps(GENUINE[name]).encode()
    at = min(at, len(raw))
    decoded({name: raw[:at]} if not scratch else {name: raw[:at] + scratch + raw[at + len(scratch) :]})


def _places(document: Any) -> Any:
    if isinstance(document, dict):
        for key in document:
            yield document, key
            yield from _places(document[key])
    elif isinstance(document, list):
        for index in range(len(document)):
            yield document, index
            yield from _places(document[index])

"""Rows travel packed: without loss, whatever the columns, and refused where they are not rows."""

from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import DataError
from agent.lake.rows import MAX_UNPACKED_BYTES, Rows, pack, rows_of, unpack
from agent.telemetry import TELEMETRY_COLUMNS, TELEMETRY_KEYS
from tests.lake.making import SITE, frame, later, rows


def same(one: Rows, two: Rows) -> None:
    np.testing.assert_array_equal(one.at_us, two.at_us)
    assert one.texts == two.texts
    for column in TELEMETRY_COLUMNS:
        np.testing.assert_array_equal(one.columns[column.name], two.columns[column.name])


def document(given: Rows) -> dict[str, Any]:
    got: dict[str, Any] = json.loads(zlib.decompress(pack(given)))
    return got


def packed(content: Any) -> bytes:
    return zlib.compress(json.dumps(content).encode())


def test_packing_loses_nothing() -> None:
    given = rows(power_w=3251.37, shares_accepted=987_654_321_012.0, chip_temp_c=-3.0625)
    same(unpack(pack(given)), given)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.one_of(st.just(float("nan")), st.floats(0.0, 5000.0, allow_nan=False)), min_size=1, max_size=20
    )
)
def test_any_numbers_come_back_to_the_last_bit(values: list[float]) -> None:
    given = rows(miners=len(values))
    given.columns["hashrate_ths"][:] = values
    same(unpack(pack(given)), given)


def test_every_column_of_telemetry_travels() -> None:
    given = rows(**{c.name: (c.minimum + c.maximum) / 2.0 for c in TELEMETRY_COLUMNS})
    same(unpack(pack(given)), given)


def test_a_column_that_nobody_measured_takes_no_room() -> None:
    assert set(document(rows())["columns"]) == {"hashrate_ths"}


def test_a_column_of_a_newer_agent_is_passed_over() -> None:
    content = document(rows())
    content["columns"]["colour_nm"] = [1, 2, 3]
    same(unpack(packed(content)), rows())


def test_a_thousand_miners_take_less_than_ninety_kilobytes() -> None:
    rng = np.random.default_rng(1)
    given = rows(miners=1000, power_w=1.0)
    for column in TELEMETRY_COLUMNS[:24]:
        given.columns[column.name][:] = np.round(np.minimum(rng.normal(60.0, 5.0, 1000), column.maximum), 2)
    assert len(pack(given)) < 90_000


def test_miners_that_did_not_answer_leave_no_row() -> None:
    moment = frame()
    moment.fresh[1] = False
    assert rows_of(SITE, moment, ["X"] * 3).texts["miner_id"] == ["m0", "m2"]


def test_a_miner_that_does_not_say_what_it_is_leaves_no_row() -> None:
    assert rows_of(SITE, frame(), ["X", None, "X"]).texts["miner_id"] == ["m0", "m2"]


def test_watts_without_a_source_are_not_kept() -> None:
    moment = frame(power_w=3000.0)
    object.__setattr__(moment, "power_source", ("measured", "model", None))
    got = rows_of(SITE, moment, ["X"] * 3)
    assert got.texts["power_source"] == ["measured", None, None]
    assert np.isfinite(got.columns["power_w"]).tolist() == [True, False, False]


def test_a_poll_over_midnight_belongs_to_two_days() -> None:
    given = rows(later(720.0), late_s=0.5)
    given.at_us[2] += 1_000_000
    days = given.by_day()
    assert [(day.isoformat(), len(part)) for day, part in days.items()] == [
        ("2026-03-01", 2),
        ("2026-03-02", 1),
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.pop("schema"), "schema"),
        (lambda d: d.update(at_us=[]), "at_us"),
        (lambda d: d["at_us"].__setitem__(1, 1.5), "row 1, column at_us"),
        (lambda d: d["at_us"].__setitem__(1, 10**30), "row 1, column at_us"),
        (lambda d: d["columns"].update(power_w=[1, 2]), "power_w: expected 3"),
        (lambda d: d["columns"].update(power_w=[1, "2", 3]), "row 1, column power_w: is not a number"),
        (lambda d: d["columns"].update(power_w=[1, True, 3]), "row 1, column power_w: is not a number"),
        (lambda d: d["columns"].update(power_w=[1, -2, 3]), "row 1, column power_w: -2 W is outside"),
        (lambda d: d["columns"].update(power_w=[1, 10**400, 3]), "too large"),
        (lambda d: d["columns"].update(power_w=[3000, None, None]), "power_w without a source"),
        (lambda d: d["texts"].pop("model"), "column model is missing"),
        (lambda d: d["texts"]["model"].update(at=[0, 0, 9]), "row 2, column model"),
        (lambda d: d["texts"]["model"].update(at=[0, -1, 0]), "row 1, column model: is empty"),
        (lambda d: d["texts"]["site_id"].update(words=["../../etc"]), "column site_id"),
        (lambda d: d["texts"]["firmware"].update(words=["x" * 500]), "column firmware"),
        (lambda d: d["texts"].update(firmware=7), "column firmware is missing"),
        (lambda d: d.update(columns=[]), "texts and columns"),
    ],
)
def test_what_is_not_telemetry_is_refused_by_name(change: Any, words: str) -> None:
    content = document(rows())
    change(content)
    with pytest.raises(DataError, match=words):
        unpack(packed(content))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00\x01",
        zlib.compress(b"[1]"),
        zlib.compress(b"{"),
        zlib.compress(b"[" * 100_000),
        pack(rows())[:-8],
    ],
    ids=["empty", "noise", "list", "cut json", "deep", "cut"],
)
def test_bytes_that_are_no_pack_are_refused(raw: bytes) -> None:
    with pytest.raises(DataError):
        unpack(raw)


def test_a_pack_that_swells_is_refused_before_it_fills_memory() -> None:
    with pytest.raises(DataError, match="larger than"):
        unpack(zlib.compress(b" " * (MAX_UNPACKED_BYTES + 10)))


def test_keys_and_columns_are_those_of_telemetry() -> None:
    assert tuple(rows().texts) == TELEMETRY_KEYS
    assert tuple(rows().columns) == tuple(c.name for c in TELEMETRY_COLUMNS)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_PLACES: list[tuple[str | int, ...]] = [
    ("schema",), ("at_us",), ("at_us", 1), ("texts",), ("texts", "model"), ("texts", "model", "words"),
    ("texts", "model", "words", 0), ("texts", "model", "at"), ("texts", "power_source", "at", 0),
    ("columns",), ("columns", "hashrate_ths"), ("columns", "hashrate_ths", 2),
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(_PLACES), _JSON)
def test_whatever_stands_anywhere_in_a_pack_it_is_rows_or_refused(
    place: tuple[str | int, ...], value: object
) -> None:
    content = document(rows(power_w=3000.0))
    inner: Any = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    try:
        got = unpack(packed(content))
    except DataError:
        return
    same(unpack(pack(got)), got)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_rows_or_refused(raw: bytes) -> None:
    for given_bytes in (raw, zlib.compress(raw)):
        with pytest.raises(DataError):
            unpack(given_bytes)

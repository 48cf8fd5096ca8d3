"""Telemetry is refused at the door with a message that names row, column and remedy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from agent.errors import DataError
from agent.features.streaming import batch_features
from agent.features.validation import unix_seconds, validate_telemetry
from agent.telemetry import TELEMETRY_COLUMNS

AT = np.array(["2026-01-05T00:00", "2026-01-05T00:05", "2026-01-05T00:00"], dtype="datetime64[ns]")


def good() -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {c.name: np.full(3, np.nan) for c in TELEMETRY_COLUMNS}
    return found | {
        "site_id": np.array(["farm"] * 3),
        "miner_id": np.array(["a", "a", "b"]),
        "model": np.array(["antminer-s19-pro", "antminer-s19-pro", "whatsminer-m30s"], dtype=object),
        "firmware": np.array(["stock", None, "stock"], dtype=object),
        "power_source": np.array(["measured", None, None], dtype=object),
        "at": AT,
        "power_w": np.array([3000.0, np.nan, np.nan]),
        "hashrate_ths": np.array([100.0, 101.0, 0.0]),
    }


def test_a_good_table_passes() -> None:
    validate_telemetry(good())


@pytest.mark.parametrize("name", ["at", "miner_id", "site_id", "model", "fan_rpm"])
def test_a_missing_column_is_named(name: str) -> None:
    table = good()
    del table[name]
    with pytest.raises(DataError, match=name):
        validate_telemetry(table)


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("hashrate_ths", [1.0, -3.0, 2.0], "row 1, column hashrate_ths: -3 TH/s is outside 0 to 5000"),
        ("chip_temp_c", [1.0, 2.0, np.inf], "row 2, column chip_temp_c"),
        ("power_w", ["3000", "3010", "x"], "row 0, column power_w: expected a number, got .*'3000'"),
        ("fan_rpm", [1.0, 2.0], "column fan_rpm: has shape"),
        ("miner_id", ["a", "a"], "column miner_id: has shape"),
        ("miner_id", ["a", "", "b"], "row 1, column miner_id: expected text"),
        ("site_id", np.array(["farm", None, "farm"], dtype=object), "row 1, column site_id"),
        (
            "power_source",
            np.array(["guess", None, None], dtype=object),
            "row 0, column power_source: 'guess'",
        ),
        (
            "power_source",
            np.array([None, None, None], dtype=object),
            "row 0, column power_source: power_w is",
        ),
    ],
)
def test_a_wrong_value_is_named_with_row_and_column(name: str, values: object, words: str) -> None:
    with pytest.raises(DataError, match=words):
        validate_telemetry(good() | {name: np.asarray(values)})


def test_two_rows_of_one_miner_and_time_are_refused() -> None:
    table = good() | {"miner_id": np.array(["a", "b", "a"])}
    with pytest.raises(
        DataError, match=r"row 2, column at: miner a has 2026-01-05T00:00:00.* in row 0 already"
    ):
        validate_telemetry(table)


def test_one_miner_id_at_two_sites_is_no_duplicate() -> None:
    validate_telemetry(good() | {"miner_id": np.array(["a", "a", "a"]), "site_id": np.array(["x", "x", "y"])})


def test_rows_that_go_back_in_time_are_refused_unless_order_is_of_no_matter() -> None:
    table = good() | {"at": AT[[1, 0, 2]]}
    with pytest.raises(DataError, match=r"row 1, column at: miner a goes back .* sort by miner_id and at"):
        validate_telemetry(table)
    validate_telemetry(table, require_order=False)


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        (datetime(2026, 1, 5), "has no time zone"),  # noqa: DTZ001
        (datetime(2026, 1, 5, tzinfo=timezone(timedelta(hours=2))), "is not in UTC"),
        ("2026-01-05", "expected a time"),
        (datetime(1970, 1, 1, tzinfo=UTC), "not between 2009 and 2100"),
    ],
)
def test_a_time_that_is_not_utc_is_refused(moment: object, words: str) -> None:
    fine = datetime(2026, 1, 5, tzinfo=UTC)
    with pytest.raises(DataError, match=f"row 1, column at: .*{words}"):
        unix_seconds({"at": np.array([fine, moment], dtype=object)})


@pytest.mark.parametrize("at", [[np.nan], [-1.0], [1.7e12], np.array(["NaT"], dtype="datetime64[ns]")])
def test_an_absurd_time_is_refused(at: object) -> None:
    with pytest.raises(DataError, match="row 0, column at"):
        unix_seconds({"at": np.asarray(at)})


def test_every_form_of_utc_time_means_the_same() -> None:
    expected = datetime(2026, 1, 5, 0, 5, tzinfo=UTC).timestamp()
    for at in (
        AT[1:2],
        np.array([expected]),
        np.array([datetime(2026, 1, 5, 0, 5, tzinfo=UTC)], dtype=object),
    ):
        assert unix_seconds({"at": at})[0] == expected


def test_an_empty_table_passes_and_has_no_features() -> None:
    empty = {name: values[:0] for name, values in good().items()}
    validate_telemetry(empty)
    assert batch_features(empty).shape[0] == 0


def test_features_of_a_table_with_text_for_a_number_name_the_column() -> None:
    with pytest.raises(DataError, match="column fan_rpm"):
        batch_features(good() | {"fan_rpm": np.array(["fast", "x", "y"])})


def test_a_column_that_a_later_schema_brought_may_be_absent_but_not_wrong() -> None:
    table = good()
    del table["share_difficulty"]
    validate_telemetry(table)
    with pytest.raises(DataError, match="row 0, column work_mode_code: 9 code is outside 0 to 5"):
        validate_telemetry(good() | {"work_mode_code": np.array([9.0, 1.0, 1.0])})


@pytest.mark.parametrize("value", [None, "100", b"100", [1.0], 1 + 2j])
def test_a_number_of_the_wrong_type_is_named(value: object) -> None:
    values = np.array([1.0, value, 2.0], dtype=object)
    with pytest.raises(DataError, match="row 1, column fan_rpm: expected a number"):
        validate_telemetry(good() | {"fan_rpm": values})

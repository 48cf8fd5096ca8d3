"""`lake check` finds every kind of fault and names file, row, column and remedy."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from agent.cli import build
from agent.errors import DataError
from agent.lake.check import Problem, check_lake
from agent.lake.journal import Journal
from agent.lake.parquet import SCHEMA_KEY, write_part
from agent.lake.rows import join
from agent.telemetry import LAKE_SCHEMA_VERSION
from tests.lake.making import SITE, START, later, rows

FILE = f"date=2026-03-01/site={SITE}/part-0.parquet"


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    day = join([rows(later(5.0 * i), power_w=3000.0) for i in range(12)])
    write_part(tmp_path / FILE, day)
    return tmp_path


def rewrite(lake: Path, change: Any, file: str = FILE) -> None:
    table = pq.ParquetFile(lake / file).read()
    pq.write_table(change(table), lake / file)


def with_column(name: str, values: pa.Array) -> Any:
    def change(table: pa.Table) -> pa.Table:
        return table.set_column(table.column_names.index(name), name, values)

    return change


def edited(name: str, row: int, value: Any) -> Any:
    def change(table: pa.Table) -> pa.Table:
        column = table.column(name)
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        values = column.to_pylist()
        values[row] = value
        return table.set_column(table.column_names.index(name), name, pa.array(values, kind))

    return change


def only(lake: Path) -> Problem:
    problems = check_lake(lake).problems
    assert len(problems) == 1, problems
    return problems[0]


def run(*words: str) -> Any:
    return CliRunner().invoke(build(list(words)), list(words))


def test_a_whole_lake_has_no_problems(lake: Path) -> None:
    verdict = check_lake(lake)
    assert verdict.problems == []
    assert (verdict.files, verdict.rows, verdict.miners, verdict.sites) == (1, 36, 3, {SITE: 36})
    assert (verdict.first, verdict.last) == (START, later(55.0))


@pytest.mark.parametrize(
    ("change", "row", "column", "words"),
    [
        (edited("power_w", 7, -5.0), 7, "power_w", "-5 W is outside 0 to 50000"),
        (edited("uptime_s", 3, float("inf")), 3, "uptime_s", "inf s is outside"),
        (edited("power_source", 2, None), 2, "power_source", "power_w is 3000 W"),
        (edited("power_source", 2, "guess"), 2, "power_source", "'guess' is not one of"),
        (edited("site_id", 4, "hill"), 4, "site_id", "'hill' in the folder of site quarry"),
        (edited("model", 5, None), 5, "model", "is empty"),
        (edited("at", 35, START + timedelta(days=1)), 35, "at", "2026-03-02T12:00:00Z in the folder of"),
        (edited("at", 0, later(2.0)), None, None, ""),
        (lambda t: t.take(pa.array([1, 0, *range(2, 36)])), 1, "at", "after a later reading of miner m0"),
        (lambda t: t.drop_columns(["uptime_s"]), None, "uptime_s", "schema version"),
        (lambda t: t.drop_columns(["model"]), None, "model", "is missing"),
        (lambda t: t.drop_columns(["at"]), None, "at", "is missing"),
        (with_column("chip_temp_c", pa.array(["hot"] * 36)), None, "chip_temp_c", "holds string"),
        (with_column("model", pa.array([7] * 36)), None, "model", "expected text"),
        (with_column("at", pa.array([0] * 36, pa.timestamp("us"))), None, "at", "time zone is missing"),
        (with_column("at", pa.array([0.0] * 36)), None, "at", "expected a timestamp"),
        (lambda t: t.replace_schema_metadata(None), None, None, "says no schema version"),
        (lambda t: t.replace_schema_metadata({SCHEMA_KEY: "99"}), None, None, "99 is newer than"),
        (lambda t: t.slice(0, 0), None, None, "holds no rows"),
    ],
)
def test_each_fault_is_named_by_file_row_and_column(
    lake: Path, change: Any, row: int | None, column: str | None, words: str
) -> None:
    rewrite(lake, change)
    if not words:
        assert check_lake(lake).problems == []
        return
    problem = only(lake)
    assert (problem.file, problem.row, problem.column) == (FILE, row, column)
    assert words in problem.what
    assert problem.remedy


def test_an_old_schema_may_be_without_what_came_later(lake: Path) -> None:
    def change(table: pa.Table) -> pa.Table:
        return table.drop_columns(["power_limit_w"]).replace_schema_metadata({SCHEMA_KEY: "1"})

    rewrite(lake, change)
    assert check_lake(lake).problems == []


def test_the_same_reading_in_two_files_names_both(lake: Path) -> None:
    write_part((lake / FILE).with_name("part-1.parquet"), rows(later(10.0), power_w=3000.0))
    problem = only(lake)
    assert problem.file.endswith("part-1.parquet")
    assert problem.row == 0
    assert f"in row 2 of {FILE} too (and 2 more rows)" in problem.what


def test_a_file_that_is_no_parquet_does_not_hide_the_others(lake: Path) -> None:
    (lake / FILE).with_name("part-1.parquet").write_bytes(b"PAR1 nothing")
    rewrite(lake, edited("power_w", 7, -5.0))
    assert [p.column for p in check_lake(lake).problems] == ["power_w", None]


def test_a_bit_that_turned_over_on_the_disk_is_found(lake: Path) -> None:
    raw = bytearray((lake / FILE).read_bytes())
    raw[len(raw) // 4] ^= 0x10
    (lake / FILE).write_bytes(raw)
    problem = only(lake)
    assert (problem.row, problem.column) == (None, None)
    assert "not readable as Parquet" in problem.what and "restore it" in problem.remedy


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_what_is_no_file_is_named_and_never_waited_for(lake: Path, kind: str) -> None:
    odd = lake / Path(FILE).with_name("part-9.parquet")
    if kind == "folder":
        odd.mkdir()
    elif kind == "link":
        odd.symlink_to("nowhere")
    else:
        os.mkfifo(odd)
    problem = only(lake)
    assert problem.file == str(odd.relative_to(lake)) and problem.what == "is not a file"


def test_a_column_that_stands_twice_is_named(lake: Path) -> None:
    rewrite(lake, lambda table: table.append_column("power_w", table.column("power_w")))
    assert "column power_w stands twice" in only(lake).what


@pytest.mark.parametrize("version", [b"9" * 5000, b"abc", b"-1", b"\xd9\xa3", b""])
def test_a_schema_version_that_is_no_number_is_named(lake: Path, version: bytes) -> None:
    rewrite(lake, lambda table: table.replace_schema_metadata({SCHEMA_KEY: version}))
    assert "is not a number" in only(lake).what


def test_a_time_beyond_all_calendars_is_named(lake: Path) -> None:
    kind = pa.timestamp("us", tz="UTC")

    def change(table: pa.Table) -> pa.Table:
        at = table.column("at").cast(pa.int64()).to_pylist()
        at[-1] = 2**62
        return table.set_column(0, "at", pa.array(at, pa.int64()).cast(kind))

    rewrite(lake, change)
    problem = only(lake)
    assert (problem.row, problem.column) == (35, "at") and "not between 2009 and 2100" in problem.what


def test_a_file_beside_the_folders_is_named(lake: Path) -> None:
    (lake / "old.parquet").write_bytes((lake / FILE).read_bytes())
    assert "is not in a folder date=YYYY-MM-DD/site=ID" in check_lake(lake).problems[0].what


def test_a_folder_that_is_no_date_is_named(lake: Path) -> None:
    (lake / "date=2026-03-01").rename(lake / "date=yesterday")
    assert "'yesterday' is not a date" in only(lake).what


def test_a_gap_is_told_per_miner_and_is_a_problem_only_where_asked(lake: Path) -> None:
    write_part((lake / FILE).with_name("part-1.parquet"), rows(later(300.0), power_w=3000.0))
    verdict = check_lake(lake)
    assert verdict.problems == []
    assert [(g.miner, g.count, round(g.longest_h, 3)) for g in verdict.gaps] == [
        (name, 1, 4.083) for name in ("m0", "m1", "m2")
    ]
    assert verdict.gaps[0].longest_from == later(55.0)
    assert [p.column for p in check_lake(lake, max_gap_h=4.0).problems] == ["at"] * 3
    assert check_lake(lake, max_gap_h=5.0).problems == []


def test_a_single_lost_reading_is_no_gap(tmp_path: Path) -> None:
    moments = [rows(later(5.0 * i)) for i in range(12) if i != 5]
    write_part(tmp_path / FILE, join(moments))
    assert check_lake(tmp_path).gaps == []


def test_a_gap_over_midnight_is_seen_from_file_to_file(tmp_path: Path) -> None:
    write_part(tmp_path / FILE, join([rows(later(5.0 * i)) for i in range(3)]))
    second = tmp_path / f"date=2026-03-02/site={SITE}/part-0.parquet"
    write_part(second, join([rows(later(1440.0 + 5.0 * i)) for i in range(3)]))
    assert round(check_lake(tmp_path).gaps[0].longest_h, 2) == 23.83


def test_columns_tell_how_often_they_are_unknown(lake: Path) -> None:
    unknown = check_lake(lake).unknown
    assert unknown["power_w"] == 0.0
    assert unknown["inlet_temp_c"] == 1.0


def test_nothing_to_check_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        check_lake(tmp_path / "none")
    with pytest.raises(DataError, match="no telemetry"):
        check_lake(tmp_path)


def test_the_command_ends_with_3_on_problems_and_prints_them(lake: Path) -> None:
    assert run("lake", "check", str(lake)).exit_code == 0
    rewrite(lake, edited("power_w", 7, -5.0))
    done = run("lake", "check", str(lake))
    assert done.exit_code == 3
    assert "power_w" in done.output
    assert "write NaN" in done.output


def test_the_command_prints_one_json_document(lake: Path) -> None:
    rewrite(lake, edited("power_w", 7, -5.0))
    done = run("lake", "check", str(lake), "--json")
    document = json.loads(done.stdout)
    assert done.exit_code == 3
    assert document["problems_total"] == 1
    assert document["problems"][0] == {
        "file": FILE,
        "row": 7,
        "column": "power_w",
        "what": "-5 W is outside 0 to 50000",
        "remedy": "write NaN where a value is not known",
    }


def test_show_tells_span_sites_models_and_what_is_known(lake: Path) -> None:
    done = run("lake", "show", str(lake))
    assert done.exit_code == 0
    for words in (
        "36 rows of 3 miners at 1 sites",
        "2026-03-01 12:00",
        "Antminer X",
        f"schema {LAKE_SCHEMA_VERSION}",
    ):
        assert words in " ".join(done.output.split()), words
    assert json.loads(run("lake", "show", str(lake), "--json").stdout)["models"] == {"Antminer X": 36}


def test_pack_takes_a_journal_along(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "telemetry.sqlite3", SITE, START)
    journal.record(rows(), START)
    done = run("lake", "pack", str(journal.path), str(tmp_path / "lake"), "--json")
    assert json.loads(done.stdout)["rows"] == 3
    assert check_lake(tmp_path / "lake").problems == []


def test_many_faulty_rows_are_one_problem_with_a_count(lake: Path) -> None:
    rewrite(lake, with_column("power_w", pa.array(np.full(36, -1.0))))
    assert "(and 35 more rows)" in only(lake).what

"""What is recorded is kept, and reaches the lake once, whatever moment the process is killed at."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from agent.errors import StoreError
from agent.lake import keeper
from agent.lake.check import check_lake
from agent.lake.journal import Journal
from agent.lake.keeper import lake_bytes, pack_finished, trim
from agent.lake.rows import unpack
from agent.telemetry import LAKE_SCHEMA_VERSION
from tests.lake.making import SITE, START, later, rows

TOMORROW = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "telemetry.sqlite3", SITE, START)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


def fill(journal: Journal, moments: int = 4, every_min: float = 5.0, **columns: float) -> None:
    for i in range(moments):
        journal.record(rows(later(i * every_min), **columns), later(i * every_min))


def readings(lake: Path) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for file in sorted(lake.rglob("*.parquet")):
        with pq.ParquetFile(file) as source:
            table = source.read(columns=["miner_id", "at"])
        found += [
            (m, int(a.timestamp())) for m, a in zip(*(c.to_pylist() for c in table.columns), strict=True)
        ]
    return found


def test_what_was_recorded_is_there_for_the_next_process(journal: Journal) -> None:
    fill(journal, 2)
    again = Journal(journal.path, SITE, START)
    assert again.days() == [(SITE, date(2026, 3, 1))]
    assert len(again.packs(SITE, date(2026, 3, 1))) == 2
    assert again.recorded_at() == later(5.0)
    assert again.epoch == journal.epoch


def test_a_finished_day_becomes_one_file_and_leaves_the_journal(journal: Journal, lake: Path) -> None:
    fill(journal)
    done = pack_finished(journal, lake, TOMORROW)
    assert done.rows == 12
    assert [file.parent for file in done.files] == [lake / "date=2026-03-01" / f"site={SITE}"]
    assert journal.days() == []
    assert check_lake(lake).problems == []


def test_the_file_says_its_schema_version(journal: Journal, lake: Path) -> None:
    fill(journal)
    (file,) = pack_finished(journal, lake, TOMORROW).files
    metadata = pq.ParquetFile(file).schema_arrow.metadata
    assert metadata[b"hashmargin_lake_schema"] == str(LAKE_SCHEMA_VERSION).encode()


def test_the_day_under_way_and_its_grace_stay_in_the_journal(journal: Journal, lake: Path) -> None:
    fill(journal)
    assert pack_finished(journal, lake, datetime(2026, 3, 2, 0, 29, tzinfo=UTC)).files == ()
    assert pack_finished(journal, lake, datetime(2026, 3, 2, 0, 31, tzinfo=UTC)).rows == 12


def test_everything_takes_the_day_under_way_and_the_rest_of_it_follows(journal: Journal, lake: Path) -> None:
    fill(journal, 2)
    assert pack_finished(journal, lake, later(10.0), everything=True).rows == 6
    journal.record(rows(later(15.0)), later(15.0))
    assert pack_finished(journal, lake, TOMORROW).rows == 3
    assert len(readings(lake)) == len(set(readings(lake))) == 9


def test_one_reading_in_two_packs_stands_once_in_the_lake(journal: Journal, lake: Path) -> None:
    fill(journal, 2, every_min=0.0)
    assert pack_finished(journal, lake, TOMORROW).rows == 3


def test_a_reading_that_an_earlier_file_holds_is_not_written_again(journal: Journal, lake: Path) -> None:
    fill(journal, 2)
    pack_finished(journal, lake, TOMORROW)
    fill(journal, 3)
    assert pack_finished(journal, lake, TOMORROW).rows == 3
    assert len(readings(lake)) == len(set(readings(lake))) == 9


def test_a_crash_before_the_packs_are_dropped_doubles_nothing(
    journal: Journal, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(journal)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "forget", crash)
    with pytest.raises(KeyboardInterrupt):
        pack_finished(journal, lake, TOMORROW)
    monkeypatch.undo()
    # A poll of the same day that was delivered late, after the crash.
    journal.record(rows(later(30.0)), later(30.0))
    pack_finished(journal, lake, TOMORROW)
    assert len(readings(lake)) == len(set(readings(lake))) == 15


def test_a_file_that_was_torn_is_cleared_away_and_written_whole(journal: Journal, lake: Path) -> None:
    fill(journal)
    folder = lake / "date=2026-03-01" / f"site={SITE}"
    folder.mkdir(parents=True)
    (folder / ".part-x.parquet.tmp").write_bytes(b"PAR1 half")
    pack_finished(journal, lake, TOMORROW)
    assert [file.suffix for file in folder.iterdir()] == [".parquet"]


def test_a_full_disk_keeps_the_packs(journal: Journal, lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(journal)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    (problem,) = pack_finished(journal, lake, TOMORROW).problems
    assert "2026-03-01" in problem and "No space left" in problem
    monkeypatch.undo()
    assert list(lake.rglob("*.parquet")) == []
    assert list(lake.rglob("*.tmp")) == []
    assert pack_finished(journal, lake, TOMORROW).rows == 12


def test_a_day_with_a_damaged_file_waits_and_holds_no_other_up(journal: Journal, lake: Path) -> None:
    fill(journal)
    pack_finished(journal, lake, TOMORROW)
    (broken,) = lake.rglob("*.parquet")
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-100])
    late = rows(later(2.0))
    journal.record(late, TOMORROW)
    journal.record(rows(later(24 * 60.0)), later(24 * 60.0))

    done = pack_finished(journal, lake, TOMORROW + timedelta(days=1))
    assert done.rows == 3 and "date=2026-03-02" in str(done.files[0])
    (problem,) = done.problems
    assert broken.name in problem and "restore it, or move it out of the lake" in problem

    broken.write_bytes(whole)
    assert pack_finished(journal, lake, TOMORROW + timedelta(days=1)).rows == len(late)
    assert check_lake(lake).problems == [] and len(readings(lake)) == 18


def test_a_damaged_moment_is_set_aside_and_the_rest_of_the_day_is_packed(
    journal: Journal, lake: Path
) -> None:
    fill(journal)
    with sqlite3.connect(journal.path) as db:
        db.execute("UPDATE packs SET body = ? WHERE id = 2", (b"spoilt",))
    done = pack_finished(journal, lake, TOMORROW)
    assert done.rows == 9
    (problem,) = done.problems
    (aside,) = (lake / ".damaged").iterdir()
    assert aside.read_bytes() == b"spoilt" and str(aside) in problem
    assert pack_finished(journal, lake, TOMORROW).problems == ()
    assert check_lake(lake).problems == []


def test_two_packers_do_not_write_one_lake(journal: Journal, lake: Path) -> None:
    fill(journal)
    with keeper._alone(lake), pytest.raises(StoreError, match="another process"):
        pack_finished(journal, lake, TOMORROW)


def test_a_journal_of_another_site_is_refused(journal: Journal) -> None:
    with pytest.raises(StoreError, match="belongs to site 'quarry'"):
        Journal(journal.path, "hill", START)


def test_a_damaged_journal_is_set_aside_and_said(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.sqlite3"
    path.write_bytes(b"not a database at all" * 400)
    journal = Journal(path, SITE, START)
    assert journal.damage is not None
    assert "set aside" in journal.damage
    fill(journal, 1)
    assert len(list(tmp_path.glob("*.corrupt-*"))) == 1


def test_above_its_size_the_oldest_moments_are_thinned_first(journal: Journal) -> None:
    fill(journal, 40)
    size = journal.size()
    dropped = journal.thin(size * 8 // 10)
    assert dropped > 0
    assert journal.size() <= size * 8 // 10
    kept = [int(unpack(body).at_us[0]) for _, body in journal.packs(SITE, date(2026, 3, 1))]
    newest = [int(later(i * 5.0).timestamp() * 1e6) for i in range(20, 40)]
    assert kept[-20:] == newest


def test_above_its_size_the_lake_loses_its_oldest_days(journal: Journal, lake: Path) -> None:
    for day in range(4):
        journal.record(rows(START + timedelta(days=day)), START)
    pack_finished(journal, lake, START + timedelta(days=9))
    gone = trim(lake, SITE, lake_bytes(lake, SITE) // 2)
    assert gone == [date(2026, 3, 1), date(2026, 3, 2)]
    assert sorted(p.name for p in lake.glob("date=*")) == ["date=2026-03-03", "date=2026-03-04"]


def test_the_newest_day_stays_however_small_the_room(journal: Journal, lake: Path) -> None:
    fill(journal)
    pack_finished(journal, lake, TOMORROW)
    assert trim(lake, SITE, 0) == []


_WRITER = """
import sys, itertools
from datetime import timedelta
from pathlib import Path
from agent.lake.journal import Journal
from agent.lake.keeper import pack_finished
from tests.lake.making import SITE, START, rows
folder = Path(sys.argv[1])
journal = Journal(folder / "telemetry.sqlite3", SITE, START)
first = int(sys.argv[2])
for i in itertools.count(first):
    at = START + timedelta(minutes=90 * i)
    journal.record(rows(at, miners=20), at)
    print(i, flush=True)
    pack_finished(journal, folder / "lake", at)
"""


def test_killed_at_any_moment_no_acknowledged_row_is_lost_and_none_doubled(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    first, acknowledged = 0, -1
    for _ in range(6):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path), str(first)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert writer.stdout is not None
        # At least one moment, then the axe anywhere in the next ones.
        acknowledged = int(writer.stdout.readline())
        time.sleep(float(rng.uniform(0.0, 0.3)))
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split()
        writer.wait()
        writer.stdout.close()
        acknowledged = int(rest[-1]) if rest else acknowledged
        first = acknowledged + 1
    journal = Journal(tmp_path / "telemetry.sqlite3", SITE, START)
    pack_finished(journal, tmp_path / "lake", START, everything=True)
    found = readings(tmp_path / "lake")
    assert len(found) == len(set(found))
    # The moment under way when it was killed may be in as well; the next process records it again.
    wanted = {
        (f"m{m}", int((START + timedelta(minutes=90 * i)).timestamp()))
        for m in range(20)
        for i in range(acknowledged + 1)
    }
    assert wanted <= set(found)
    assert check_lake(tmp_path / "lake").problems == []

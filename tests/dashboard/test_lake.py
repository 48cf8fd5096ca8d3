"""Telemetry that sites deliver becomes a lake: each reading once, refused where it is not what it says."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sqlalchemy import func, select

from agent.clock import ManualClock
from agent.lake.check import check_lake
from agent.lake.recorder import records_of
from agent.lake.rows import Rows, pack
from agent.records import Envelope, TelemetryRecord
from dashboard.database import Database, open_database
from dashboard.ingest import check_batch, store_batch
from dashboard.lake import LakeKeeper, PackTable
from dashboard.people import add_site
from dashboard.schema import StoredRecord, TelemetryPack
from tests.dashboard.serving import Running
from tests.lake.making import SITE, START, later, rows

NEXT_DAY = START + timedelta(days=1)


def envelope(given: Rows, seq: int = 1, at: datetime = START, **changes: object) -> Envelope:
    (record,) = records_of(SITE, given, at)
    body = record.model_dump(mode="json") | changes
    return Envelope(seq=seq, kind="telemetry", key=f"telemetry-{seq}", at=at, body=body)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(tmp_path / "fleet.sqlite3")
    add_site(opened, ManualClock(START), SITE, lambda token: None)
    yield opened
    opened.close()


def deliver(database: Database, *envelopes: Envelope) -> None:
    raw = b'{"records": [' + b",".join(e.model_dump_json().encode() for e in envelopes) + b"]}"
    store_batch(database, ManualClock(START), SITE, check_batch(SITE, raw))


def keeper(database: Database, tmp_path: Path, at: datetime = NEXT_DAY, max_mib: int = 64) -> LakeKeeper:
    return LakeKeeper(database, ManualClock(at), tmp_path / "lake", max_mib)


def waiting(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(TelemetryPack)) or 0


async def test_delivered_readings_wait_and_their_record_stays_small(running: Running) -> None:
    answer = await running.deliver([envelope(rows(power_w=3000.0))])
    assert answer.status_code == 200, answer.text
    assert waiting(running.database) == 1
    with running.database.read() as session:
        body = session.scalars(select(StoredRecord.body)).one()
    assert (body["rows"], body["packed"]) == (3, "")


async def test_a_record_sent_again_is_kept_once(running: Running) -> None:
    for _ in range(2):
        answer = await running.deliver([envelope(rows())])
        assert answer.status_code == 200
    assert answer.json()["duplicates"] == 1
    assert waiting(running.database) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"packed": base64.b64encode(b"nothing").decode()}, "telemetry pack: cannot be read"),
        ({"packed": "AAA"}, "packed"),
        ({"packed": "not base64!"}, "packed"),
        ({"rows": 4}, "holds 3 rows, not 4"),
    ],
)
async def test_readings_that_are_not_what_they_say_are_refused(
    running: Running, changes: dict[str, object], words: str
) -> None:
    answer = await running.deliver([envelope(rows(), **changes)])
    assert answer.status_code == 422
    assert words in answer.json()["error"]["message"]
    assert waiting(running.database) == 0


async def test_readings_of_another_site_are_refused(running: Running) -> None:
    strange = rows()
    strange.texts["site_id"] = ["hill"] * 3
    packed = base64.b64encode(pack(strange)).decode()
    answer = await running.deliver([envelope(rows(), packed=packed)])
    assert answer.status_code == 422
    assert "another site" in answer.json()["error"]["message"]


def test_a_finished_day_becomes_one_file_and_leaves_the_database(database: Database, tmp_path: Path) -> None:
    deliver(database, *(envelope(rows(later(5.0 * i)), i + 1) for i in range(4)))
    keeper(database, tmp_path).tidy()
    verdict = check_lake(tmp_path / "lake")
    assert (verdict.rows, verdict.files, verdict.problems) == (12, 1, [])
    assert waiting(database) == 0


def test_what_comes_late_becomes_a_file_of_its_own_without_doubles(
    database: Database, tmp_path: Path
) -> None:
    deliver(database, envelope(rows(), 1))
    keeper(database, tmp_path).tidy()
    deliver(database, envelope(rows(), 2), envelope(rows(later(5.0)), 3))
    keeper(database, tmp_path).tidy()
    verdict = check_lake(tmp_path / "lake")
    assert (verdict.rows, verdict.files, verdict.problems) == (6, 2, [])


def test_numbers_of_packs_are_never_used_again(database: Database, tmp_path: Path) -> None:
    deliver(database, envelope(rows(), 1))
    keeper(database, tmp_path).tidy()
    deliver(database, envelope(rows(later(5.0)), 2))
    (held,) = PackTable(database).packs(SITE, date(2026, 3, 1))
    assert held[0] == 2


def test_a_crash_between_file_and_database_doubles_nothing(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(database, envelope(rows(), 1))

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PackTable, "forget", crash)
    with pytest.raises(KeyboardInterrupt):
        keeper(database, tmp_path).tidy()
    monkeypatch.undo()
    keeper(database, tmp_path).tidy()
    assert check_lake(tmp_path / "lake").rows == 3
    assert waiting(database) == 0


def test_the_day_under_way_waits(database: Database, tmp_path: Path) -> None:
    deliver(database, envelope(rows(), 1))
    keeper(database, tmp_path, at=later(600.0)).tidy()
    assert waiting(database) == 1


def test_a_lake_that_cannot_be_written_is_said_once_and_nothing_is_lost(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    deliver(database, envelope(rows(), 1))
    (tmp_path / "lake").write_text("a file in its place")
    one = keeper(database, tmp_path)
    with caplog.at_level(logging.ERROR):
        one.tidy()
        one.tidy()
    assert (
        len([record for record in caplog.records if "not all telemetry becomes Parquet" in record.message])
        == 1
    )
    (tmp_path / "lake").unlink()
    one.tidy()
    assert check_lake(tmp_path / "lake").rows == 3


def test_above_its_room_a_site_loses_its_oldest_days_and_it_is_said(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for day in ("2026-02-01", "2026-02-02"):
        folder = tmp_path / "lake" / f"date={day}" / f"site={SITE}"
        folder.mkdir(parents=True)
        (folder / "part-0.parquet").write_bytes(b"x" * 12 * 1024 * 1024)
    with caplog.at_level(logging.WARNING):
        keeper(database, tmp_path, max_mib=16).tidy()
    assert [folder.name for folder in (tmp_path / "lake").glob("date=*")] == ["date=2026-02-02"]
    assert "1 days removed" in caplog.text


def test_a_database_from_before_the_lake_gets_its_table(tmp_path: Path) -> None:
    path = tmp_path / "fleet.sqlite3"
    old = open_database(path)
    with old.write() as session:
        TelemetryPack.__table__.drop(session.connection())  # type: ignore[attr-defined]
    old.close()
    again = open_database(path)
    assert waiting(again) == 0
    again.close()


def test_the_thread_packs_at_once_and_ends_with_the_service(database: Database, tmp_path: Path) -> None:
    deliver(database, envelope(rows(power_w=3000.0), 1))
    with keeper(database, tmp_path).running():
        pass
    (file,) = (tmp_path / "lake").rglob("*.parquet")
    assert pq.ParquetFile(file).metadata.num_rows == 3


def test_a_record_of_telemetry_says_when_and_how_many() -> None:
    record = TelemetryRecord.model_validate(envelope(rows()).body)
    assert (record.rows, record.part, record.at) == (3, 0, datetime(2026, 3, 1, 12, tzinfo=UTC))

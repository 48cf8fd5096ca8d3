"""The agent keeps telemetry at its rhythm, says what goes wrong, and never lets it cost a cycle."""

from __future__ import annotations

import base64
import builtins
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.clock import SystemClock
from agent.config import SiteConfig
from agent.lake.check import check_lake
from agent.lake.journal import JOURNAL, Journal
from agent.lake.recorder import LakeRecorder, records_of
from agent.lake.rows import unpack
from agent.records import MAX_TELEMETRY_ROWS, TelemetryRecord
from agent.store import Store
from tests.lake.making import SITE, START, frame, later, rows


class Still(SystemClock):
    """A clock that says what it is told."""

    def __init__(self) -> None:
        self.at = START

    def now(self) -> datetime:
        return self.at


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "agent.sqlite3", SITE)
    yield opened
    opened.close()


def config(tmp_path: Path, **lake: Any) -> SiteConfig:
    content = {
        "site": {"id": SITE},
        "state_dir": str(tmp_path),
        "market": {"hashprice_usd_per_ths_day": 0.05},
        "tariff": {"kind": "fixed", "price_usd_per_kwh": 0.05},
        "dashboard": {"url": "http://127.38.0.1:1", "token_file": "none"},
        "lake": lake,
        "miners": [{"address": "127.38.0.9"}],
    }
    return SiteConfig.model_validate_json(json.dumps(content))


def recorder(
    tmp_path: Path, store: Store, raised: list[str] | None = None, **lake: Any
) -> tuple[LakeRecorder, Still]:
    clock = Still()
    lake = lake or {"path": str(tmp_path / "lake")}
    return LakeRecorder(config(tmp_path, **lake), store, clock, raised or []), clock


async def see(keeper: LakeRecorder, clock: Still, minutes: float, **columns: float) -> list[Any]:
    clock.at = later(minutes)
    return await keeper.observe(frame(clock.at, **columns), ["X"] * 3)


def moments(tmp_path: Path) -> int:
    journal = Journal(tmp_path / JOURNAL, SITE, START)
    return sum(len(journal.packs(SITE, day)) for _, day in journal.days())


async def test_a_moment_is_kept_every_five_minutes_however_often_is_polled(
    tmp_path: Path, store: Store
) -> None:
    keeper, clock = recorder(tmp_path, store)
    for half in range(41):
        await see(keeper, clock, half / 2.0)
    assert moments(tmp_path) == 5


async def test_the_rhythm_goes_on_over_a_restart(tmp_path: Path, store: Store) -> None:
    keeper, clock = recorder(tmp_path, store)
    await see(keeper, clock, 0.0)
    keeper, clock = recorder(tmp_path, store)
    await see(keeper, clock, 2.0)
    assert moments(tmp_path) == 1


async def test_a_clock_put_back_does_not_stop_the_record(tmp_path: Path, store: Store) -> None:
    keeper, clock = recorder(tmp_path, store)
    await see(keeper, clock, 600.0)
    await see(keeper, clock, 1.0)
    assert moments(tmp_path) == 2


async def test_yesterday_becomes_parquet(tmp_path: Path, store: Store) -> None:
    keeper, clock = recorder(tmp_path, store)
    await see(keeper, clock, 0.0)
    assert await see(keeper, clock, 24 * 60.0) == []
    verdict = check_lake(tmp_path / "lake")
    assert (verdict.rows, verdict.problems) == (3, [])
    assert moments(tmp_path) == 1


async def test_without_a_lake_in_the_site_file_nothing_is_kept(tmp_path: Path, store: Store) -> None:
    site = config(tmp_path, deliver=True).model_copy(update={"lake": None})
    clock = Still()
    assert await LakeRecorder(site, store, clock).observe(frame(), ["X"] * 3) == []
    assert not (tmp_path / JOURNAL).exists()
    assert store.pending(10) == []


async def test_what_is_delivered_holds_the_same_rows(tmp_path: Path, store: Store) -> None:
    keeper, clock = recorder(tmp_path, store, deliver=True)
    await see(keeper, clock, 0.0, power_w=3000.0)
    (envelope,) = store.pending(10)
    record = TelemetryRecord.model_validate(envelope.body)
    got = unpack(base64.b64decode(record.packed))
    assert got.texts["miner_id"] == ["m0", "m1", "m2"]
    assert got.columns["power_w"].tolist() == [3000.0] * 3
    assert not (tmp_path / JOURNAL).exists()


def test_a_large_site_goes_in_several_records() -> None:
    records = records_of(SITE, rows(miners=MAX_TELEMETRY_ROWS + 1), START)
    assert [(record.part, record.rows) for record in records] == [(0, MAX_TELEMETRY_ROWS), (1, 1)]


async def test_a_journal_that_cannot_be_written_is_said_once_and_again_when_it_can(
    tmp_path: Path, store: Store
) -> None:
    (tmp_path / JOURNAL).mkdir()
    keeper, clock = recorder(tmp_path, store)
    found = {finding.key: finding for finding in await see(keeper, clock, 0.0)}
    assert "telemetry is not being kept" in found["lake-record"].words
    (tmp_path / JOURNAL).rmdir()
    found = {finding.key: finding for finding in await see(keeper, clock, 0.5)}
    assert found["lake-record"].cleared
    assert moments(tmp_path) == 1


async def test_without_pyarrow_it_waits_in_the_journal_and_says_how_to_get_it(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def no_pyarrow(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ModuleNotFoundError("No module named 'pyarrow'", name="pyarrow")
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", no_pyarrow)
    keeper, clock = recorder(tmp_path, store)
    await see(keeper, clock, 0.0)
    findings = await see(keeper, clock, 48 * 60.0)
    assert moments(tmp_path) == 2
    assert [finding.key for finding in findings] == ["lake-pyarrow"]
    assert "pip install 'hashmargin[lake]'" in findings[0].words


async def test_above_the_room_old_days_go_and_it_is_said(tmp_path: Path, store: Store) -> None:
    keeper, clock = recorder(tmp_path, store, path=str(tmp_path / "lake"), max_mib=16)
    folder = tmp_path / "lake" / "date=2026-02-01" / f"site={SITE}"
    folder.mkdir(parents=True)
    (folder / "part-0.parquet").write_bytes(b"x" * 17 * 1024 * 1024)
    newer = tmp_path / "lake" / "date=2026-02-02" / f"site={SITE}"
    newer.mkdir(parents=True)
    (newer / "part-0.parquet").write_bytes(b"x" * 1024)
    (finding,) = await see(keeper, clock, 0.0)
    assert finding.key == "lake-room"
    assert "the days 2026-02-01 to 2026-02-01 were removed" in finding.words
    assert not folder.exists()


async def test_a_finding_of_an_earlier_run_is_cleared(tmp_path: Path, store: Store) -> None:
    keeper, clock = recorder(tmp_path, store, ["lake-pack", "model-bundle"])
    assert [(f.key, f.cleared) for f in await see(keeper, clock, 0.0)] == [("lake-pack", True)]


def test_the_outbox_thins_readings_before_summaries_and_keeps_the_rest(tmp_path: Path, store: Store) -> None:
    for i in range(40):
        for record in records_of(SITE, rows(later(i), miners=50), later(i)):
            store.put_telemetry(record)
    size = store.outbox_bytes()
    assert store.thin_outbox(size // 2) > 0
    assert store.outbox_bytes() <= size // 2
    kept = [envelope.at for envelope in store.pending(500)]
    assert kept[-1] == later(39)


@pytest.mark.parametrize("lake", [{}, {"path": "x", "max_mib": 1}, {"path": "x", "interval_s": 5}])
def test_a_lake_that_makes_no_sense_is_refused(tmp_path: Path, lake: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="lake"):
        config(tmp_path, **lake)


def test_days_are_utc() -> None:
    east = datetime(2026, 3, 2, 1, 0, tzinfo=UTC) + timedelta(0)
    assert list(rows(east).by_day()) == [date(2026, 3, 2)]

"""The agent's database: durable, exactly-once towards the dashboard, and never silently lost."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.errors import StoreError
from agent.records import Act, Alert, Decision, Expectation, Interval, SettingRecord, Summary
from agent.setting import Setting
from agent.store import Store, open_store

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def an_act(number: int = 1, status: str = "intended") -> Act:
    return Act.model_validate(
        {
            "id": f"a{number}",
            "recommendation_id": None,
            "site_id": "s",
            "miner_id": f"m{number}",
            "status": status,
            "reason": "test",
            "approved_by": "test",
            "before": None,
            "target": SettingRecord.of(Setting.parse("stop")),
            "expected": Expectation(
                hashrate_ths=Interval(q10=0, q50=0, q90=0),
                power_w=Interval(q10=0, q50=10, q90=20),
                profit_usd_per_day=Interval(q10=0, q50=0, q90=0),
            ),
            "intended_at": NOW + timedelta(seconds=number),
            "confirm_by": NOW + timedelta(minutes=10),
        }
    )


def a_summary(number: int) -> Summary:
    return Summary.model_validate(
        {
            "site_id": "s",
            "site_name": None,
            "at": NOW + timedelta(seconds=number),
            "cycle": number,
            "agent_version": "0",
            "mode": "propose",
            "model": "none",
            "model_is_fallback": True,
            "hashprice_usd_per_ths_day": None,
            "price_usd_per_kwh": None,
            "miners_total": 0,
            "miners_reachable": 0,
            "hashrate_ths": 0.0,
            "power_w": 0.0,
            "power_estimated_share": 0.0,
            "profit_usd_per_day": None,
            "profit_nominal_usd_per_day": None,
            "profit_recommended_usd_per_day": None,
            "miners": [],
        }
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "agent.sqlite3"


def test_an_act_is_open_until_it_is_settled(path: Path) -> None:
    store, _ = open_store(path, "s", NOW)
    store.put_act(an_act())
    assert [act.id for act in store.open_acts()] == ["a1"]
    store.put_act(an_act(status="confirmed"))
    assert store.open_acts() == []
    assert [act.status for act in store.acts()] == ["confirmed"]
    store.close()


def test_every_version_of_a_record_is_queued_once_with_its_own_key(path: Path) -> None:
    store, _ = open_store(path, "s", NOW)
    store.put_act(an_act())
    store.put_act(an_act(status="sent"))
    assert [(e.seq, e.key.partition(".")[2]) for e in store.pending(10)] == [(1, "a1.v1"), (2, "a1.v2")]
    store.acknowledge(1)
    assert [e.seq for e in store.pending(10)] == [2]
    store.close()


def test_what_the_centre_refuses_is_kept_out_of_the_way(path: Path) -> None:
    store, _ = open_store(path, "s", NOW)
    for number in (1, 2, 3):
        store.put_act(an_act(number))
    store.quarantine(2, "422: bad")
    assert [e.seq for e in store.pending(10)] == [1, 3]
    store.acknowledge(3)
    store.close()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT seq, refused FROM outbox").fetchall() == [(2, "422: bad")]
    db.close()


def test_an_alert_is_said_once_and_cleared_once(path: Path) -> None:
    store, _ = open_store(path, "s", NOW)
    alert = Alert(key="k", site_id="s", at=NOW, severity="warning", text="t")
    cleared = alert.model_copy(update={"cleared": True})
    said = [store.put_alert(a) for a in (cleared, alert, alert, cleared, cleared)]
    assert said == [False, True, False, True, False]
    assert store.alerts() == []
    store.close()


def test_the_first_decision_stands(path: Path) -> None:
    store, _ = open_store(path, "s", NOW)
    first = Decision(seq=1, recommendation_id="r", verdict="approved", by="a", at=NOW)
    assert store.put_decision(first, "site")
    store.store_decisions([first.model_copy(update={"verdict": "rejected", "seq": 9})])
    assert [d.verdict for d in store.new_decisions()] == ["approved"]
    assert store.decisions_after() == 9
    store.decision_taken("r")
    assert store.new_decisions() == []
    store.close()


def test_under_a_byte_cap_summaries_are_thinned_and_acts_never(path: Path) -> None:
    store, _ = open_store(path, "s", NOW)
    for number in range(40):
        store.put_summary(a_summary(number))
    store.put_act(an_act())
    cap = store.outbox_bytes() // 3
    assert store.thin_outbox(cap) > 0
    left = store.pending(100)
    assert store.outbox_bytes() <= cap
    assert [e.kind for e in left].count("act") == 1
    store.close()


def test_a_damaged_file_is_set_aside_and_the_agent_starts(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database at all" * 500)
    store, words = open_store(path, "s", NOW)
    assert words is not None
    assert "set aside" in words
    assert store.acts() == []
    store.close()
    assert len(list(path.parent.glob("agent.sqlite3.corrupt-*"))) == 1


def test_a_file_of_another_site_is_refused(path: Path) -> None:
    open_store(path, "s", NOW)[0].close()
    with pytest.raises(StoreError, match="belongs to site 's', not 'other'"):
        Store(path, "other")


def test_a_full_disk_is_a_typed_error_and_keeps_what_was_there(path: Path) -> None:
    store, _ = open_store(path, "s", NOW)
    store.put_act(an_act())
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages}")

    def fill() -> None:
        for number in range(2, 2000):
            store.put_act(an_act(number))

    with pytest.raises(StoreError, match="full"):
        fill()
    assert store.act("a1") is not None
    store.close()


def test_what_was_written_survives_kill_9(path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from tests.agent.test_store import an_act, NOW\n"
        "from agent.store import open_store\n"
        f"store, _ = open_store(Path({str(path)!r}), 's', NOW)\n"
        "for n in range(1, 10_000):\n"
        "    store.put_act(an_act(n)); print(n, flush=True)\n"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=root
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == 20:
                os.kill(process.pid, signal.SIGKILL)
                break
    store, words = open_store(path, "s", NOW)
    assert words is None
    assert len(store.acts()) >= 20
    store.close()

"""The plan as totals, stored and read back, and what it would be if something were otherwise."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from typer.testing import CliRunner

from agent.cli import build
from agent.errors import DataError, InputError
from agent.planner.decide import decide
from agent.planner.power.limits import Limits
from agent.planner.power.peak import PeakCharge
from agent.planner.preview import course, what_if
from agent.planner.snapshot import ROUND_STATE, Snapshot, pack, unpack
from agent.store import DATABASE, Store
from tests.planner.test_plan_money import FULL, LIMITS, LOW, STOP, fleet, horizon

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def snapshot(*price: float, current: int = FULL) -> Snapshot:
    prices = horizon(*price)
    return Snapshot(AT, ("m-1",), fleet(prices, current), prices, LIMITS, ("a table", "a file"), "bundle b1")


def test_totals_are_those_of_the_hours_along_the_path() -> None:
    it = snapshot(0.02, 0.05, 0.30, 0.02)
    plan = decide(it.fleet, it.horizon, it.limits)
    assert plan.path.tolist() == [[FULL, LOW, STOP, FULL]]
    found = course(it.fleet, it.horizon, plan)
    assert found.power_w.tolist() == [3000.0, 2000.0, 30.0, 3000.0]
    # The last hour loses a quarter of 0.2 to waking.
    assert found.revenue_usd == pytest.approx([0.2, 0.16, 0.0, 0.15])
    assert found.energy_usd == pytest.approx([0.06, 0.10, 0.009, 0.06])
    assert (found.full.tolist(), found.reduced.tolist(), found.stopped.tolist()) == (
        [1, 0, 0, 1],
        [0, 1, 0, 0],
        [0, 0, 1, 0],
    )
    assert found.changes.tolist() == [0, 1, 1, 1]


def test_a_stored_round_gives_the_same_plan() -> None:
    it = snapshot(*np.random.default_rng(1).uniform(-0.05, 0.2, 30).tolist())
    back = unpack(pack(it))
    assert back.at == it.at and back.miner_ids == it.miner_ids and back.limits == it.limits
    assert back.fleet.candidates.settings == it.fleet.candidates.settings
    first = decide(it.fleet, it.horizon, it.limits)
    second = decide(back.fleet, back.horizon, back.limits)
    assert np.array_equal(first.path, second.path)
    assert second.gain == pytest.approx(first.gain, abs=1e-5)
    capped = replace(it, limits=Limits(cap_w=2500.0, cap_z=1.0, minimum_gain_usd_per_day=0.1))
    assert unpack(pack(capped)).limits == capped.limits


def _changed(data: bytes, **arrays: np.ndarray) -> bytes:
    with np.load(io.BytesIO(data)) as archive:
        kept = {name: archive[name] for name in archive.files}
    out = io.BytesIO()
    np.savez_compressed(out, **(kept | arrays))
    return out.getvalue()


@pytest.mark.parametrize("cut", [0, 10, 500, 2000])
def test_a_damaged_round_is_refused(cut: int) -> None:
    with pytest.raises(DataError, match="stored round"):
        unpack(pack(snapshot(0.05))[:cut])


def test_a_round_that_does_not_fit_together_is_refused() -> None:
    data = pack(snapshot(0.05))
    with pytest.raises(DataError, match="stops has shape"):
        unpack(_changed(data, stops=np.zeros((2, 3), dtype=np.bool_)))
    pickled = io.BytesIO()
    np.savez_compressed(pickled, facts=np.array([{"version": 1}], dtype=object))
    with pytest.raises(DataError, match="stored round"):
        unpack(pickled.getvalue())
    with np.load(io.BytesIO(data)) as archive:
        facts = json.loads(archive["facts"].tobytes()) | {"version": 99}
    newer = _changed(data, facts=np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8))
    with pytest.raises(DataError, match="version 99"):
        unpack(newer)


def test_another_price_is_planned_for() -> None:
    it = snapshot(0.02, 0.02)

    def path(*changes: str) -> list[int]:
        then = what_if(it, changes)
        return [int(k) for k in decide(then.fleet, then.horizon, then.limits).path[0]]

    assert path() == [FULL, FULL]
    assert path("price=0.05") == [LOW, LOW]
    assert path("price*2.5") == [LOW, LOW]
    assert path("price + 0.03") == [LOW, LOW]
    assert path("hashprice=10") == [STOP, STOP]
    assert path("price=.05") == [LOW, LOW]
    assert path("price=0.05", "hashprice*2") == [FULL, FULL]
    assert path("cap=2.1") == [LOW, LOW]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("price", "for example price=0.09"),
        ("price=", "for example price=0.09"),
        ("prize=1", "price .USD/kWh, with PUE.; hashprice"),
        ("price=a", "write NAME=NUMBER"),
        ("price==1", "write NAME=NUMBER"),
        ("price=90", "between -5 and 25 USD/kWh"),
        ("hashprice=0", "stay above 0"),
        ("cap=0", "comes to 0 kW"),
        ("cap=-4", "comes to -4 kW"),
        ("cap*0.9", "no cap yet; write cap=NUMBER, in kW"),
        ("hold-1", "not fall below 0"),
        ("restarts=-1", "not fall below 0"),
    ],
)
def test_what_cannot_be_asked_is_said(text: str, words: str) -> None:
    with pytest.raises(InputError, match=f"--what-if.*{words}"):
        what_if(snapshot(0.05), [text])


@pytest.fixture
def site(tmp_path: Path) -> Path:
    file = tmp_path / "site.yaml"
    file.write_text(
        "site: {id: quarry}\nstate_dir: state\nmarket: {hashprice_usd_per_ths_day: 0.05}\n"
        "tariff: {kind: fixed, price_usd_per_kwh: 0.05}\nminers: [{id: m-1, address: 127.0.0.9}]\n"
    )
    (tmp_path / "state").mkdir()
    store = Store(tmp_path / "state" / DATABASE, "quarry")
    store.put_state(ROUND_STATE, pack(snapshot(0.02, 0.05, 0.30, 0.02)))
    store.close()
    return file


def run(*arguments: str) -> tuple[int, str]:
    found = CliRunner().invoke(build(list(arguments)), list(arguments))
    return found.exit_code, found.output + (str(found.exception) if found.exception is not None else "")


def test_the_command_shows_every_step_and_the_money(site: Path) -> None:
    code, text = run("plan", "--config", str(site))
    assert code == 0
    assert "Sun 12:00" in text and "Sun 15:00" in text
    # 0.2 - 0.06, 0.16 - 0.1, -0.009, 0.15 - 0.06
    assert "0.28 USD" in text
    code, text = run("plan", "--config", str(site), "--what-if", "price=0.09", "--json")
    document = json.loads(text)
    assert [step["stopped"] for step in document["steps"]] == [1, 1, 1, 1]
    code, text = run("plan", "--config", str(site), "--miner", "M-1")
    assert "67" in text and "stop" not in text.split("m-1")[0]


@pytest.mark.parametrize("name", ["m-1", "M-1", " 127.0.0.9 "])
def test_one_miner_is_shown_by_id_or_address(site: Path, name: str) -> None:
    code, text = run("plan", "--config", str(site), "--miner", name, "--json")
    assert code == 0
    assert json.loads(text)["miner"]["miner_id"] == "m-1"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("m-2", "did you mean m-1?"),
        ("127.0.0.8", "did you mean 127.0.0.9?"),
        ("127", "did you mean 127.0.0.9?"),
        ("container", "ids, MACs and addresses are searched"),
    ],
)
def test_a_name_that_no_miner_goes_by_is_answered_with_those_near_it(
    site: Path, name: str, hint: str
) -> None:
    code, text = run("plan", "--config", str(site), "--miner", name)
    assert code != 0
    assert f"--miner {name}: no miner of the site goes by this; {hint}" in text


CET = ZoneInfo("Europe/Berlin")
PEAK = PeakCharge(412_000.0, 0.015, 300.0, datetime(2026, 11, 3, 18, 15, tzinfo=CET))


def keep(site: Path, stored: Snapshot) -> None:
    """Make it the last round of the site."""
    store = Store(site.parent / "state" / DATABASE, "quarry")
    store.put_state(ROUND_STATE, pack(stored))
    store.close()


def test_the_peak_of_the_month_is_shown_though_it_holds_nothing_back(site: Path) -> None:
    keep(site, replace(snapshot(0.02, 0.05), charge=PEAK))
    _, text = run("plan", "--config", str(site))
    assert "peak of this month so far 412.0 kW (set on 3 Nov 18:15), costs 15 USD/kW" in text
    assert "kept below" not in text
    _, text = run("plan", "--config", str(site), "--json")
    assert json.loads(text)["demand_charge"] == {
        "peak_w": 412_000.0,
        "reached_at": "2026-11-03T18:15:00+01:00",
        "usd_per_kw_month": 15.0,
        "usd_so_far": 6180.0,
    }
    keep(site, replace(snapshot(0.02, 0.05), charge=PeakCharge(0.0, 0.015, 300.0)))
    _, text = run("plan", "--config", str(site))
    assert "no peak of this month yet; each kW costs 15 USD" in text


def test_without_a_demand_charge_no_peak_is_shown(site: Path) -> None:
    _, text = run("plan", "--config", str(site))
    assert "peak" not in text
    _, text = run("plan", "--config", str(site), "--json")
    assert json.loads(text)["demand_charge"] is None


def test_before_the_first_decision_the_command_says_so(site: Path) -> None:
    (site.parent / "state" / DATABASE).unlink()
    store = Store(site.parent / "state" / DATABASE, "quarry")
    store.close()
    code, text = run("plan", "--config", str(site))
    assert code != 0 and "no decision has been made yet" in text

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from agent.advice.maintenance import repair
from agent.advice.record import Round, recommendation
from agent.cli import main
from agent.reading import Board, Reading
from agent.records import Recommendation
from agent.store import DATABASE, Store
from tests.advice.conftest import NOW, standing
from tests.dashboard.sample import SampleSite

SITE = """
site: {id: quarry}
state_dir: state
market: {hashprice_usd_per_ths_day: 0.05}
tariff: {kind: fixed, price_usd_per_kwh: 0.05}
miners: [{id: a01, address: 10.0.0.1}]
"""
Explain = Callable[..., str]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "site.yaml").write_text(SITE)
    (tmp_path / "state").mkdir()
    return Store(tmp_path / "state" / DATABASE, "quarry")


@pytest.fixture
def explain(tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> Explain:
    def run(*words: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["explain", *words, "--config", str(tmp_path / "site.yaml")])
        assert ended.value.code == code
        told = capsys.readouterr()
        return told.err if code else told.out

    return run


@pytest.fixture
def advice(store: Store, context: Round) -> Recommendation:
    seen = Reading(is_hashing=True, boards=(Board(0, state="hashing"), Board(1, state="missing")))
    finding = repair(context, standing(), seen, None, 0.1)
    assert finding is not None
    record = recommendation(finding, context)
    store.put_recommendation(record)
    return record


def test_a_setting_is_told_with_its_reasons_and_what_became_of_it(store: Store, explain: Explain) -> None:
    site = SampleSite()
    store.put_recommendation(
        site.recommendation(0, NOW, status="confirmed", decided_by="maria", decided_at=NOW)
    )
    store.put_act(site.act(0, NOW))
    told = explain("rec-0")
    for words in (
        "power setting, confirmed",
        "Power costs more than the last 15 %",
        "Considered instead:",
        "earns less in the evening peak",
        "site override: at least 2,600 W",
        "bundle 2026-07-04",
        "2026-03-01 12:00 to 2026-03-02 12:00 UTC",
        "approved by maria",
        "telemetry shows the new setting",
        "profit: expected 2.05, seen 2.13 USD/day, inside its interval",
    ):
        assert words in told


def test_advice_is_told_as_something_for_a_person(explain: Explain, advice: Recommendation) -> None:
    told = explain(advice.id)
    assert "maintenance, proposed" in told
    assert "leave it as it is" in told
    assert "reseat the cables of board 1" in told
    assert "nothing is ever sent to a miner for this" in told


def test_the_price_at_which_it_turns_by_hand(explain: Explain, advice: Recommendation) -> None:
    # The board brings 90 TH/s at 3000 W: it pays up to 4.5 / 72 USD/kWh, and from 3.6 / 90 USD/TH.
    told = explain(advice.id)
    assert "electricity above 0.0625 USD/kWh (was 0.05)" in told
    assert "hashprice below 40 USD/PH/day (was 50)" in told


def test_json_holds_record_acts_and_words(explain: Explain, advice: Recommendation) -> None:
    document = json.loads(explain(advice.id, "--json"))
    assert Recommendation.model_validate(document["recommendation"]) == advice
    assert document["acts"] == []
    assert document["words"][0].startswith(advice.id)


def test_an_unknown_id_names_those_near_it(explain: Explain, advice: Recommendation) -> None:
    told = explain(advice.id[:-1] + "9", code=2)
    assert "no such recommendation" in told
    assert f"near it: {advice.id}" in told


def test_a_miner_stands_for_its_newest_recommendation(explain: Explain, advice: Recommendation) -> None:
    assert explain(advice.miner_id.upper()) == explain(advice.id)


def test_a_record_of_the_earlier_schema_is_read(advice: Recommendation) -> None:
    old = SampleSite().recommendation(0, NOW + timedelta(hours=1)).model_dump(mode="json")
    del old["advice"], old["schema_version"]
    read = Recommendation.model_validate(old)
    assert read.advice is None
    assert read.changes_setting

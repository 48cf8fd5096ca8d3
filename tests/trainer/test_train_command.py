"""`hashmargin train` from a lake on disk to a bundle that the agent loads."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.cli import main
from agent.models.bundle import load_bundle
from tests.trainer.synthetic import MODELS, fleet, write_lake
from trainer.registry import Registry

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lake")
    write_lake(folder, fleet(days=6, units_per_model=4, models=MODELS[:2], step_s=900.0)[0])
    return folder


def train(lake: Path, out: Path, *more: str) -> int:
    words = ["train", "--lake", str(lake), "--market", str(lake / "market.csv")]
    words += ["--prices", str(lake / "prices.csv"), "--out", str(out), *more]
    try:
        main(words)
    except SystemExit as leave:
        return int(leave.code or 0)
    return 0


def test_a_bundle_is_trained_described_and_verified(
    lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bundle"
    assert train(lake, out, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["bundle_id"] == load_bundle(out).manifest.bundle_id
    assert {entry["key"] for entry in document["hardware"]} == set(MODELS[:2])
    assert 0.0 <= document["metrics"]["regret"] < 0.1
    assert document["verdict"]["outcome"] in ("promote", "look closer", "do not promote")
    assert sorted(p.name for p in out.iterdir()) == [
        "bundle.json",
        "metrics.json",
        "power.onnx",
        "profit.onnx",
        "report.html",
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]

    with pytest.raises(SystemExit) as leave:
        main(["models", "verify", str(out), "--json"])
    assert leave.value.code == 0
    assert json.loads(capsys.readouterr().out)["usable"] is True
    with pytest.raises(SystemExit):
        main(["models", "show", str(out)])
    assert MODELS[0] in capsys.readouterr().out


def test_the_same_seed_gives_the_same_bundle_and_replaces_the_old_one(
    lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bundle"
    ids = []
    for _ in range(2):
        assert train(lake, out, "--seed", "3", "--json") == 0
        ids.append(json.loads(capsys.readouterr().out)["bundle_id"])
    assert ids[0] == ids[1]


def test_an_experiment_goes_to_the_registry_and_its_report_compares_with_what_is_stable(
    lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "registry"
    assert train(lake, tmp_path / "a", "--to", "2026-01-04", "--registry", str(root)) == 0
    first = load_bundle(tmp_path / "a").manifest.bundle_id
    store = Registry(root)
    for stage, sites in (("shadow", ()), ("canary", ("farm",)), ("stable", ())):
        store.promote(first, stage, NOW, sites)
    assert train(lake, tmp_path / "b", "--registry", str(root)) == 0
    second = load_bundle(tmp_path / "b").manifest.bundle_id
    (experiment,) = store.experiments(second)
    store.close()
    assert experiment.parameters["lake"] == str(lake)
    home = root / "experiments" / experiment.id
    assert (home / "report.html").read_bytes() == (tmp_path / "b" / "report.html").read_bytes()
    report = json.loads((home / "metrics.json").read_text())
    assert report["comparison"]["bundle_id"] == first
    assert report["comparison"]["basis"] == "same rows"
    assert [g["name"] for g in report["evaluation"]["by_firmware"]] == ["stock"]


def test_a_bundle_to_compare_with_that_is_not_there_is_found_out_before_training(
    lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(lake, tmp_path / "b", "--compare-with", str(tmp_path / "gone")) == 2
    assert "no such file" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_a_folder_that_holds_something_else_is_left_alone(
    lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert train(lake, tmp_path) == 2
    assert "thesis.txt, which is no part of a bundle" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_too_little_history_is_refused_with_the_remedy(
    lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(lake, tmp_path / "b", "--from", "2026-01-02", "--to", "2026-01-02") == 2
    assert "rows are too few to learn from" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_days_in_the_wrong_order_are_refused(
    lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(lake, tmp_path / "b", "--from", "2026-01-03", "--to", "2026-01-02") == 2
    assert "lies after" in capsys.readouterr().err

"""The registry: what it keeps, which steps it allows, and what it survives."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.cli import main
from agent.errors import BundleError, InputError, StoreError
from agent.models.bundle import MANIFEST, POWER, PROFIT, load_bundle
from tests.trainer.conftest import Make
from trainer.registry import Registry
from trainer.registry_database import DATABASE
from trainer.registry_files import writing
from trainer.registry_promotion import objections, promote
from trainer.registry_records import Stage

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    store = Registry(tmp_path / "registry", create=True)
    yield store
    store.close()


def stable(registry: Registry, folder: Path, *sites: str) -> str:
    """Take a bundle all the way."""
    key = registry.add(folder, NOW).bundle_id
    steps: tuple[tuple[Stage, tuple[str, ...]], ...] = (
        ("shadow", ()),
        ("canary", sites or ("quarry",)),
        ("stable", sites),
    )
    for stage, where in steps:
        registry.promote(key, stage, NOW, where)
    return key


def run(*words: str) -> int:
    try:
        main(["models", *words])
    except SystemExit as leave:
        return int(leave.code or 0)
    return 0


def test_an_experiment_keeps_what_went_in_and_every_file_that_came_out(
    registry: Registry, make: Make, tmp_path: Path
) -> None:
    report = tmp_path / "report.html"
    report.write_text("<p>fine</p>")
    done = registry.add(make(7), NOW, {"lake": "lake"}, {"report.html": report})
    (found,) = registry.experiments()
    assert found == done
    assert found.parameters["lake"] == "lake" and found.parameters["seed"] == 7
    assert found.data_span["units"] == 15 and found.data_span["start"] < found.data_span["end"]
    assert "onnxruntime" in found.library_versions and found.code_version
    assert found.metrics["regret"] is not None
    assert set(found.artefacts) == {MANIFEST, POWER, PROFIT, "report.html"}
    home = registry.root / "experiments" / found.id
    assert (home / "report.html").read_text() == "<p>fine</p>"
    assert [b.stage for b in registry.bundles()] == ["candidate"]


def test_a_bundle_keeps_its_bytes_whatever_is_done_with_it(registry: Registry, make: Make) -> None:
    folder = make(1)
    before = {name: (folder / name).read_bytes() for name in (MANIFEST, POWER, PROFIT)}
    key = stable(registry, folder)
    registry.promote(key, "retired", NOW)
    place = registry.bundle_path(key)
    assert {file.name: file.read_bytes() for file in place.iterdir()} == before
    assert load_bundle(place).manifest.bundle_id == key


def test_the_same_bundle_twice_is_two_experiments_and_one_bundle(registry: Registry, make: Make) -> None:
    folder = make(1)
    first, second = registry.add(folder, NOW), registry.add(folder, NOW)
    assert first.id != second.id and len(registry.bundles()) == 1


def test_a_bundle_the_agent_would_refuse_is_not_added(registry: Registry, make: Make) -> None:
    folder = make(1)
    (folder / POWER).write_bytes(b"not a graph")
    with pytest.raises(BundleError):
        registry.add(folder, NOW)
    assert registry.bundles() == [] and list((registry.root / "bundles").iterdir()) == []


@pytest.mark.parametrize(
    ("steps", "refused"),
    [
        ((), "canary"),
        ((), "stable"),
        (("shadow",), "stable"),
        (("shadow", "canary"), "shadow"),
        (("shadow", "canary", "stable"), "canary"),
        (("retired",), "shadow"),
        (("retired",), "stable"),
    ],
)
def test_steps_out_of_order_are_refused(
    registry: Registry, make: Make, steps: tuple[Stage, ...], refused: Stage
) -> None:
    key = registry.add(make(1), NOW).bundle_id
    for stage in steps:
        registry.promote(key, stage, NOW, ["quarry"] if stage == "canary" else [])
    with pytest.raises(InputError, match="from there it can become"):
        registry.promote(key, refused, NOW, ["quarry"])


def test_what_was_never_stable_cannot_be_forced_to_be(registry: Registry, make: Make) -> None:
    key = registry.add(make(1), NOW).bundle_id
    registry.promote(key, "retired", NOW)
    with pytest.raises(InputError, match="from there it can become nothing"):
        registry.promote(key, "stable", NOW, reason="please", force=True)


def test_a_new_stable_bundle_retires_the_old_one(registry: Registry, make: Make) -> None:
    old, new = stable(registry, make(1)), stable(registry, make(2))
    assert {b.bundle_id: b.stage for b in registry.bundles()} == {old: "retired", new: "stable"}
    assert [(d.site, d.stage, d.bundle_id) for d in registry.deployments()] == [("*", "stable", new)]
    assert registry.journal(old)[-1].reason == f"replaced by {new}"


def test_going_back_needs_force_and_a_reason(registry: Registry, make: Make) -> None:
    old, new = stable(registry, make(1)), stable(registry, make(2))
    with pytest.raises(InputError, match="needs --force"):
        registry.promote(old, "stable", NOW)
    with pytest.raises(InputError, match="needs --reason"):
        registry.promote(old, "stable", NOW, force=True)
    registry.promote(old, "stable", NOW, reason="the new one overheats", force=True)
    assert {b.bundle_id: b.stage for b in registry.bundles()} == {old: "stable", new: "retired"}
    assert registry.journal(old)[-1].forced


def test_a_site_may_keep_a_stable_bundle_of_its_own(registry: Registry, make: Make) -> None:
    everywhere, own = stable(registry, make(1)), stable(registry, make(2), "quarry")
    assert [registry.stable(site) and registry.stable(site).bundle_id for site in ("quarry", "mill")] == [
        own,
        everywhere,
    ]
    registry.promote(own, "retired", NOW, ["quarry"])
    kept = registry.stable("quarry")
    assert kept is not None and kept.bundle_id == everywhere


def test_links_lead_to_what_each_site_should_run(registry: Registry, make: Make) -> None:
    first = stable(registry, make(1))
    second = registry.add(make(2), NOW).bundle_id
    registry.promote(second, "shadow", NOW, ["quarry"])
    links = registry.root / "in-use"
    assert [link.name for link in links.iterdir()] == ["all"]
    registry.promote(second, "canary", NOW, ["quarry"])
    assert load_bundle(links / "site-quarry").manifest.bundle_id == second
    assert load_bundle(links / "all").manifest.bundle_id == first
    registry.promote(second, "stable", NOW)
    assert [link.name for link in links.iterdir()] == ["all"]
    assert load_bundle(links / "all").manifest.bundle_id == second


def test_every_transition_is_in_the_journal(registry: Registry, make: Make) -> None:
    key = stable(registry, make(1))
    assert [(t.from_stage, t.to_stage, t.sites) for t in registry.journal()] == [
        (None, "candidate", []),
        ("candidate", "shadow", []),
        ("shadow", "canary", ["quarry"]),
        ("canary", "stable", []),
    ]
    assert all(t.who and t.at == NOW.isoformat() and t.bundle_id == key for t in registry.journal())


def test_a_bundle_gone_bad_in_the_registry_is_not_promoted_even_by_force(
    registry: Registry, make: Make
) -> None:
    key = registry.add(make(1), NOW).bundle_id
    (registry.bundle_path(key) / POWER).write_bytes(b"rotten")
    with pytest.raises(BundleError):
        promote(registry, key, "shadow", NOW, reason="hurry", force=True)
    assert registry.bundles()[0].stage == "candidate"


def test_worse_regret_than_the_stable_bundle_is_refused_unless_forced(registry: Registry, make: Make) -> None:
    stable(registry, make(1, regret=0.01, families=[]))
    worse = registry.add(make(2, regret=0.05, families=[]), NOW).bundle_id
    promote(registry, worse, "shadow", NOW)
    with pytest.raises(InputError, match=r"regret in cross-validation 5\.00 % against 1\.00 %"):
        promote(registry, worse, "canary", NOW, ["quarry"])
    promote(registry, worse, "canary", NOW, ["quarry"], "known and wanted", force=True)
    assert registry.journal(worse)[-1].forced


def test_a_difference_within_noise_is_no_objection(registry: Registry, make: Make) -> None:
    families = [{"family": "x", "regret_standard_error": 0.02}]
    stable(registry, make(1, regret=0.01, chosen="x", families=families))
    equal = registry.add(make(2, regret=0.05, chosen="x", families=families), NOW).bundle_id
    assert objections(registry, registry.find(equal)) == []


def test_a_report_that_says_no_is_an_objection(registry: Registry, make: Make, tmp_path: Path) -> None:
    folder = make(1)
    key = load_bundle(folder).manifest.bundle_id
    said = {"outcome": "do not promote", "sentence": "Power error speaks against it."}
    report = {"format_version": 1, "bundle_id": key, "verdict": said, "evaluation": {}}
    (tmp_path / "metrics.json").write_text(json.dumps(report))
    registry.add(folder, NOW, artefacts={"metrics.json": tmp_path / "metrics.json"})
    assert objections(registry, registry.find(key)) == [
        "its report says do not promote (Power error speaks against it.)"
    ]


_KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
import trainer.registry as module
from trainer.registry import Registry

store = Registry(Path(sys.argv[1]), create=True)
die = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[3] == "before the rename":
    os.fsync = die
elif sys.argv[3] == "before the row":
    module.describe = die
else:
    Registry._note = die
store.add(Path(sys.argv[2]), datetime(2026, 3, 1, tzinfo=UTC))
"""


@pytest.mark.parametrize("moment", ["before the rename", "before the row", "before the commit"])
def test_a_writer_killed_at_any_moment_leaves_a_registry_that_goes_on(
    make: Make, tmp_path: Path, moment: str
) -> None:
    root, folder = tmp_path / "registry", make(1)
    Registry(root, create=True).close()
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(root), str(folder), moment],
        cwd=Path(__file__).parents[2],
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    store = Registry(root, create=True)
    try:
        assert store.bundles() == [] and store.experiments() == []
        assert not list(root.glob("*/.partial-*"))
        key = store.add(folder, NOW).bundle_id
        assert load_bundle(store.bundle_path(key)).manifest.bundle_id == key
        assert [b.bundle_id for b in store.bundles()] == [key]
    finally:
        store.close()


def test_a_second_writer_waits_for_the_first(tmp_path: Path, make: Make) -> None:
    root = tmp_path / "registry"
    Registry(root, create=True).close()
    store = Registry(root)
    words = [sys.executable, "-m", "agent", "models", "add", str(make(1)), "--registry", str(root)]
    with writing(root):
        other = subprocess.Popen(words, cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(2.0)
        assert store.bundles() == []
    assert other.wait(30.0) == 0
    assert len(store.bundles()) == 1
    store.close()


def test_a_damaged_database_is_named_with_the_way_out(registry: Registry, make: Make) -> None:
    registry.add(make(1), NOW)
    registry.close()
    file = registry.root / DATABASE
    file.write_bytes(b"x" * 8192)
    with pytest.raises(StoreError, match=r"registry\.sqlite3: cannot be used: .*hashmargin models add"):
        Registry(registry.root)


def test_a_registry_of_a_later_schema_is_refused(registry: Registry) -> None:
    registry.close()
    with sqlite3.connect(registry.root / DATABASE) as db:
        db.execute("UPDATE meta SET value = '9'")
    db.close()
    with pytest.raises(StoreError, match="has schema 9, this version reads 1"):
        Registry(registry.root)


def test_a_folder_without_a_registry_is_said_to_hold_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("list", "--registry", str(tmp_path)) == 2
    assert "holds no registry" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../etc", "", "A", "a/b", ".hidden"])
def test_a_site_name_that_would_leave_the_folder_is_refused(
    registry: Registry, make: Make, name: str
) -> None:
    key = registry.add(make(1), NOW).bundle_id
    with pytest.raises(InputError, match="small letters"):
        registry.promote(key, "shadow", NOW, [name])


def test_the_commands_add_promote_compare_and_show(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HASHMARGIN_REGISTRY", str(tmp_path / "registry"))
    first, second = make(1, regret=0.01, families=[]), make(2, regret=0.02, families=[])
    assert run("add", str(first)) == 0 and run("add", str(second)) == 0
    capsys.readouterr()
    assert run("list", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert {entry["stage"] for entry in listed} == {"candidate"}
    a, b = (load_bundle(folder).manifest.bundle_id for folder in (first, second))

    assert run("promote", a[:10], "shadow", "--site", "quarry", "--json") == 0
    moved = json.loads(capsys.readouterr().out)
    assert moved["stage"] == "shadow" and moved["deployments"][0]["site"] == "quarry"
    assert run("promote", a, "stable") == 2
    assert "it can become shadow or canary or retired, not stable" in capsys.readouterr().err
    assert run("promote", a, "perfect") == 2
    assert "expected one of shadow, canary" in capsys.readouterr().err

    assert run("compare", a, str(second), "--json") == 0
    compared = json.loads(capsys.readouterr().out)
    assert compared["parameters"]["seed"] == [1, 2]
    assert next(d for d in compared["differences"] if d["metric"] == "regret")["verdict"] == "better"
    assert run("compare", a, b) == 0
    assert "better" in capsys.readouterr().out

    assert run("show", a) == 0
    assert "quarry" in capsys.readouterr().out
    assert run("show", a, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert [t["to_stage"] for t in shown["journal"]] == ["candidate", "shadow"]
    assert run("show", "ffff") == 2
    assert "no bundle has this id" in capsys.readouterr().err


def test_the_registry_needs_nothing_but_the_agent(tmp_path: Path) -> None:
    heavy = ("lightgbm", "onnx", "pandas", "pyarrow", "sklearn", "jinja2", "optuna")
    code = f"import sys, trainer.registry_cli; print([n for n in {heavy} if n in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"

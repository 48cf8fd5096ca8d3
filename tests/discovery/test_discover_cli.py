"""`hashmargin discover` as a person runs it."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.cli import main
from tests.discovery.hosts import Network, network
from tests.patience import PATIENCE_S

A, B = "02:63:00:00:00:0a", "02:63:00:00:00:0b"


async def discover(*words: str) -> int:
    """The exit code. The search has a loop of its own, so it runs in a thread of its own."""

    def run() -> int:
        try:
            main(["discover", "--rate", "10000/s", "--timeout", "2", *words])
        except SystemExit as left:
            return int(left.code or 0)
        return 0

    return await asyncio.to_thread(run)


def put(path: Path, text: str) -> None:
    path.write_text(text)


def text_of(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def stamp(path: Path) -> tuple[int, int, bytes]:
    return path.stat().st_mtime_ns, path.stat().st_ino, path.read_bytes()


def inventory_of(path: Path) -> list[dict[str, Any]]:
    miners: list[dict[str, Any]] = yaml.safe_load(path.read_text())["miners"]
    return miners


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "inventory.yaml"


def span(here: Network) -> str:
    return f"{here.prefix}.0/29"


async def test_what_is_found_is_written_and_the_second_search_changes_nothing(path: Path) -> None:
    async with network() as here:
        await here.miner(2, A)
        await here.miner(3, B, "whatsminer-m30s-plus-plus")
        assert await discover(span(here), "--inventory", str(path)) == 0
        assert [(m["id"], m["mac"], m["family"]) for m in inventory_of(path)] == [
            ("s19-pro-00000a", A, "antminer-stock"),
            ("m30s-plus-plus-00000b", B, "whatsminer-v2"),
        ]
        before = stamp(path)
        assert await discover(span(here), "--inventory", str(path)) == 0
        assert stamp(path) == before


async def test_hand_edits_survive_a_move(path: Path) -> None:
    async with network() as here:
        first = await here.miner(2, A)
        put(path, f"miners:\n- id: ana   # hers\n  address: {first}\n  tags: [row-a]\n")
        assert await discover(span(here), "--inventory", str(path)) == 0
        await here.unplug(first)
        second = await here.miner(5, A)
        assert await discover(span(here), "--inventory", str(path)) == 0
    assert "- id: ana   # hers\n" in (text_of(path) or "")
    assert inventory_of(path) == [{"id": "ana", "address": second, "mac": A, "tags": ["row-a"]}]


async def test_json_is_one_document_and_names_every_change(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with network() as here:
        await here.miner(2, A)
        gone = f"{here.prefix}.4"
        put(path, f'miners:\n- id: gone\n  address: {gone}\n  mac: "{B}"\n')
        assert await discover(span(here), "--inventory", str(path), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [(c["kind"], c["miner"], c["written"]) for c in told["changes"]] == [
        ("added", "s19-pro-00000a", True),
        ("not_seen", "gone", False),
    ]
    assert (told["complete"], told["written"], told["asked"]) == (True, True, 6)
    assert told["found"][0]["mac"] == A
    assert len(inventory_of(path)) == 2


async def test_a_dry_run_shows_and_writes_nothing(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with network() as here:
        await here.miner(2, A)
        assert await discover(span(here), "--inventory", str(path), "--dry-run") == 0
    assert text_of(path) is None
    out = capsys.readouterr().out
    assert "s19-pro-00000a" in out
    assert "not written" in out


async def test_nothing_found_is_exit_code_1_and_writes_nothing(path: Path) -> None:
    async with network() as here:
        assert await discover(span(here), "--inventory", str(path)) == 1
    assert text_of(path) is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["8.8.8.0/24"], "--allow-public"),
        (["10.0.0.0/8"], "--force-large"),
        (["ten"], "is no address"),
        (["127.63.0.0/30", "--rate", "much"], "is no rate"),
        (["127.63.0.0/30", "--user", "root"], "belong together"),
        (["127.63.0.0/30", "--inventory", "/nowhere/inventory.yaml"], "no such folder"),
    ],
)
async def test_bad_input_is_exit_code_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await discover(*words) == 2
    assert said in capsys.readouterr().err


async def test_a_broken_inventory_is_said_before_the_search(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(path, "miners:\n- adress: 10.0.0.1\n")
    async with network() as here:
        address = await here.stranger(2, 4028, b"{}")
        assert await discover(span(here), "--inventory", str(path)) == 2
        assert here.taken[address, 4028] == 0
    assert "inventory.yaml:2: miners.0" in capsys.readouterr().err


async def test_an_edit_made_during_the_search_is_kept(path: Path) -> None:
    put(path, "miners: []\n")

    async def edit() -> None:
        put(path, "# seen by Ana\nminers:\n- {id: other, address: 10.0.0.1}\n")

    async with network() as here:
        await here.miner(2, A)
        await here.stranger(3, 4028, b"{}", on_words=edit)
        assert await discover(span(here), "--inventory", str(path)) == 0
    assert (text_of(path) or "").startswith("# seen by Ana\n")
    assert [miner["id"] for miner in inventory_of(path)] == ["other", "s19-pro-00000a"]


async def test_ctrl_c_tells_what_was_found_and_leaves_the_inventory_alone(path: Path) -> None:
    before = "miners:\n- {id: mine, address: 10.0.0.1}\n"
    put(path, before)
    heard = asyncio.Event()

    async def note() -> None:
        heard.set()

    async with network() as here:
        await here.miner(1, A)
        await here.stranger(6, 4028, None, on_words=note)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "agent", "discover", span(here), "--inventory", str(path)),
            *("--timeout", "60", "--concurrency", "1"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(PATIENCE_S):
            await heard.wait()
            process.send_signal(signal.SIGINT)
            out, err = await process.communicate()
    assert process.returncode == 130, err.decode()
    assert A in out.decode()
    assert "stopped" in err.decode()
    assert "Traceback" not in err.decode()
    assert text_of(path) == before


async def test_a_login_is_used_and_never_shown(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = path.parent / "password"
    secret.write_text("changed\n")
    secret.chmod(0o600)
    async with network() as here:
        await here.miner(2, A, username="root", password="changed")
        words = ["--user", "root", "--password-file", str(secret), "--inventory", str(path)]
        assert await discover(span(here), *words) == 0
    shown = capsys.readouterr()
    assert "changed" not in shown.out + shown.err + (text_of(path) or "")
    assert inventory_of(path)[0]["mac"] == A

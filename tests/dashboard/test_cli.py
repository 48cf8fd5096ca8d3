from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from agent.cli import main
from agent.clock import ManualClock
from dashboard.database import open_database
from dashboard.people import add_operator
from dashboard.server import Listen, Service, Tls
from tests.dashboard.serving import NOW, PASSWORD, self_signed
from tests.patience import PATIENCE_S

COMMAND = [sys.executable, "-m", "agent", "dashboard"]


def run(*words: str | Path) -> int:
    """The exit code of `hashmargin dashboard WORDS`."""
    with pytest.raises(SystemExit) as caught:
        main(["dashboard", *map(str, words)])
    return int(caught.value.code or 0)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_site_gets_a_token_that_only_its_owner_may_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db, token = tmp_path / "fleet.sqlite3", tmp_path / "quarry.token"
    assert run("add-site", "quarry", "--db", db, "--token-file", token) == 0
    secret = token.read_text().strip()
    said = capsys.readouterr()
    assert (mode(token), mode(db)) == (0o600, 0o600)
    assert len(secret) >= 43
    assert secret not in said.out + said.err
    assert secret.encode() not in db.read_bytes()


def test_a_site_is_not_added_twice_but_its_token_can_be_replaced(tmp_path: Path) -> None:
    db = tmp_path / "fleet.sqlite3"
    assert run("add-site", "quarry", "--db", db, "--token-file", tmp_path / "a") == 0
    assert run("add-site", "quarry", "--db", db, "--token-file", tmp_path / "b") == 2
    assert not (tmp_path / "b").exists()
    assert run("add-site", "quarry", "--db", db, "--token-file", tmp_path / "b", "--replace-token") == 0
    assert (tmp_path / "a").read_text() != (tmp_path / "b").read_text()


def test_a_token_is_never_written_over_another_file(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("precious")
    assert run("add-site", "quarry", "--db", tmp_path / "db", "--token-file", tmp_path / "taken") == 2
    assert (tmp_path / "taken").read_text() == "precious"
    assert run("add-site", "quarry", "--db", tmp_path / "db", "--token-file", tmp_path / "free") == 0


@pytest.mark.parametrize("site", ["", "../etc", "a b", "-x" * 40])
def test_a_site_id_that_no_path_could_hold_is_refused(tmp_path: Path, site: str) -> None:
    assert run("add-site", "--db", tmp_path / "db", "--token-file", tmp_path / "t", "--", site) == 2


def test_a_password_comes_from_a_file_that_others_cannot_read(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    file.chmod(0o644)
    assert run("add-operator", "maria", "--db", tmp_path / "db", "--password-file", file) == 2
    file.chmod(0o600)
    assert run("add-operator", "maria", "--db", tmp_path / "db", "--password-file", file) == 0


def test_a_short_password_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("short")
    file.chmod(0o600)
    assert run("add-operator", "maria", "--db", tmp_path / "db", "--password-file", file) == 2


def test_a_file_that_is_no_fleet_database_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = tmp_path / "notes.txt"
    db.write_text("these are my notes, they are longer than a header of a database file " * 20)
    before = db.read_bytes()
    assert run("add-site", "quarry", "--db", db, "--token-file", tmp_path / "t") == 2
    assert "not a database" in capsys.readouterr().err
    assert db.read_bytes() == before


@pytest.mark.parametrize("text", ["8420", "127.0.0.1", "127.0.0.1:99999", ":1", "host:port"])
def test_a_listen_address_must_be_host_and_port(tmp_path: Path, text: str) -> None:
    assert run("serve", "--db", tmp_path / "db", "--listen", text) == 2


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("127.0.0.1:0", True),
        ("localhost:1", True),
        ("[::1]:1", True),
        ("0.0.0.0:1", False),
        ("10.0.0.2:1", False),
    ],
)
def test_loopback_is_told_from_the_rest(text: str, loopback: bool) -> None:
    assert Listen.parse(text).is_loopback is loopback


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal_and_leaves_quietly(tmp_path: Path, number: signal.Signals) -> None:
    ready, db = tmp_path / "ready", tmp_path / "fleet.sqlite3"
    clock = f"2026-01-01T00:00:00+00:00@{time.time()!r}x60.0"
    words = [
        "serve",
        "--db",
        str(db),
        "--listen",
        "127.0.0.1:0",
        "--ready-file",
        str(ready),
        "--clock",
        clock,
    ]
    process = subprocess.Popen(
        [*COMMAND, *words, "--clock", clock], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        give_up = time.monotonic() + PATIENCE_S
        while not ready.exists():
            assert time.monotonic() < give_up
            assert process.poll() is None
            time.sleep(0.02)
        url = ready.read_text().strip()
        assert httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == 0
    assert out == ""
    assert "Traceback" not in err
    assert err.strip().splitlines() == [
        f"nobody can sign in yet: hashmargin dashboard add-operator NAME --db {db}",
        f"dashboard: {url}  (Ctrl-C stops it)",
    ]
    assert not ready.exists()


def test_listening_beyond_this_machine_without_tls_is_warned_about(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    words = ["serve", "--db", str(tmp_path / "db"), "--listen", "0.0.0.0:0", "--ready-file", str(ready)]
    process = subprocess.Popen([*COMMAND, *words], stderr=subprocess.PIPE, text=True)
    try:
        give_up = time.monotonic() + PATIENCE_S
        while not ready.exists():
            assert time.monotonic() < give_up
            time.sleep(0.02)
        process.terminate()
        _, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert err.startswith("warning: 0.0.0.0:0 is reachable from other machines without TLS")


def test_a_taken_port_is_said_plainly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run("serve", "--db", tmp_path / "db", "--listen", f"127.0.0.1:{port}") == 2
    assert "Address already in use" in capsys.readouterr().err


async def test_with_a_certificate_it_serves_tls_and_cookies_never_leave_it(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    database = open_database(tmp_path / "fleet.sqlite3")
    add_operator(database, ManualClock(NOW), "maria", PASSWORD)
    service = Service(database, ManualClock(NOW), Listen("127.0.0.1", 0), Tls(certificate, key))
    task = asyncio.create_task(service.serve_until_stopped())
    try:
        trusting = ssl.create_default_context(cafile=str(certificate))
        async with httpx.AsyncClient(verify=trusting, trust_env=False, timeout=10.0) as client:
            form = {"name": "maria", "password": PASSWORD}
            answer = await client.post(f"{service.url}/login", data=form)
    finally:
        service.should_exit = True
        await task
        database.close()
    assert service.url.startswith("https://")
    assert "; secure" in answer.headers["set-cookie"].lower()
    assert "strict-transport-security" in answer.headers

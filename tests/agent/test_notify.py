"""systemd's notify protocol against a real datagram socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.errors import ConfigError
from agent.notify import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        server.settimeout(5.0)
        yield server, path


def test_ready_watchdog_and_stopping_arrive_in_order(manager: tuple[socket.socket, str]) -> None:
    server, path = manager
    notifier = Notifier({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "300000000"})
    notifier.ready("3/3 miners")
    notifier.cycle_done("cycle 1")
    notifier.stopping()
    assert server.recv(200) == b"READY=1\nSTATUS=3/3 miners"
    assert server.recv(200) == b"WATCHDOG=1\nSTATUS=cycle 1"
    assert server.recv(200) == b"STOPPING=1\nSTATUS=shutting down"
    assert notifier.watchdog_s == 300.0


def test_a_status_of_several_lines_cannot_forge_a_message(manager: tuple[socket.socket, str]) -> None:
    server, path = manager
    Notifier({"NOTIFY_SOCKET": path}).cycle_done("degraded\nMAINPID=1")
    assert server.recv(200) == b"WATCHDOG=1\nSTATUS=degraded MAINPID=1"


def test_an_abstract_socket_is_reached() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind("\0hashmargin-notify-test")
        server.settimeout(5.0)
        Notifier({"NOTIFY_SOCKET": "@hashmargin-notify-test"}).stopping()
        assert server.recv(200).startswith(b"STOPPING=1")


def test_without_a_manager_nothing_happens(tmp_path: Path) -> None:
    Notifier({}).ready("x")
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("x")


def test_an_impossible_socket_is_refused() -> None:
    with pytest.raises(ConfigError, match="NOTIFY_SOCKET"):
        Notifier({"NOTIFY_SOCKET": "relative/path"})

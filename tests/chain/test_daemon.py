"""The agent as a process: readiness, watchdog, memory, signals, one agent per site, a full disk."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from agent.clock import ScaledClock
from simulator.farm import run_farm
from tests.chain.farms import NOON, farm_spec, site_file
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]
PATIENT_POLL = {"interval_s": 30.0, "deadline_s": 20.0, "spread_s": 0.0}
FARM = [
    {"model": "antminer-s19-pro", "host": 10, "firmware": "antminer-legacy", "count": 8},
    {"model": "antminer-s21", "host": 20, "firmware": "antminer-new", "count": 8},
    {"model": "whatsminer-m30s-plus-plus", "host": 30, "firmware": "whatsminer-v2", "count": 4},
    {"model": "whatsminer-m60s", "host": 40, "firmware": "whatsminer-v3", "count": 4},
]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "notify"))
        server.setblocking(False)
        yield server


async def message(server: socket.socket) -> str:
    async with asyncio.timeout(PATIENCE_S):
        return (await asyncio.get_running_loop().sock_recv(server, 4096)).decode()


async def start(
    site: Path, clock: ScaledClock, *more: str, notify: Path | None = None
) -> asyncio.subprocess.Process:
    env = dict(os.environ) | {"NOTIFY_SOCKET": str(notify) if notify is not None else ""}
    words = ["run", "--config", str(site), "--clock", clock.spec(), *more]
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agent", *words, env=env, cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str]:
    try:
        async with asyncio.timeout(PATIENCE_S):
            _, said = await process.communicate()
    finally:
        kill(process)
    assert process.returncode is not None
    return process.returncode, said.decode()


def fast_clock() -> ScaledClock:
    return ScaledClock(NOON, time.time(), 60.0)


async def test_ready_then_watchdog_after_each_whole_cycle_then_a_clean_stop(
    tmp_path: Path, manager: socket.socket
) -> None:
    spec, clock = farm_spec(FARM, tmp_path), fast_clock()
    site = site_file(spec, tmp_path, poll=PATIENT_POLL)
    async with run_farm(spec, clock):
        process = await start(site, clock, notify=tmp_path / "notify")
        try:
            assert (await message(manager)).startswith("READY=1\nSTATUS=24/24 miners")
            for cycle in (1, 2, 3):
                said = await message(manager)
                assert said.startswith("WATCHDOG=1\n")
                assert said.endswith(f"cycle {cycle}")
            assert memory_mib(process.pid) < 150.0
            process.send_signal(signal.SIGTERM)
            said = await message(manager)
            while said.startswith("WATCHDOG=1"):
                said = await message(manager)
            assert said.startswith("STOPPING=1")
            code, log = await ended(process)
            assert code == 0, log
            assert "Traceback" not in log
        finally:
            kill(process)


async def test_a_second_agent_of_the_same_site_is_refused(tmp_path: Path, manager: socket.socket) -> None:
    spec, clock = farm_spec(FARM[:1], tmp_path), fast_clock()
    site = site_file(spec, tmp_path, poll=PATIENT_POLL)
    async with run_farm(spec, clock):
        first = await start(site, clock, notify=tmp_path / "notify")
        try:
            await message(manager)
            code, log = await ended(await start(site, clock))
            assert code == 2
            assert f"another agent (process {first.pid}) runs this site" in log
        finally:
            kill(first)
            await first.communicate()


async def test_after_kill_9_the_next_agent_goes_on(tmp_path: Path, manager: socket.socket) -> None:
    spec, clock = farm_spec(FARM[:1], tmp_path), fast_clock()
    site = site_file(spec, tmp_path, poll=PATIENT_POLL)
    async with run_farm(spec, clock):
        first = await start(site, clock, notify=tmp_path / "notify")
        await message(manager)
        first.kill()
        await first.communicate()
        code, log = await ended(await start(site, clock, "--cycles", "2"))
        assert code == 0, log


async def test_status_shows_the_last_cycle(tmp_path: Path) -> None:
    spec, clock = farm_spec(FARM[:1], tmp_path), fast_clock()
    site = site_file(spec, tmp_path, poll=PATIENT_POLL)
    async with run_farm(spec, clock):
        code, log = await ended(await start(site, clock, "--cycles", "2"))
        assert code == 0, log
    shown = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent", "status", "--config", str(site), "--json"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE_S):
        document, _ = await shown.communicate()
    assert json.loads(document)["miners_reachable"] == 8


async def test_a_wrong_site_file_is_named_to_the_line(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(
        "site: {id: s}\nmarket: {hashprice_usd_per_ths_day: 0.05}\ntariff:\n  kind: fixed\nminers: []\n"
    )
    code, log = await ended(await start(path, fast_clock()))
    assert code == 2
    assert f"{path}:" in log
    assert "Traceback" not in log


def memory_mib(pid: int) -> float:
    return psutil.Process(pid).memory_info().rss / 2**20


def kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()

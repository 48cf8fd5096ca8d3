"""Faults by script, by chance and by hand on a running farm."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from agent.clock import ManualClock
from agent.errors import ConfigError, InputError
from simulator.control import Control
from simulator.farm import run_farm
from simulator.fault_script import FaultPlayer, FaultsFile, load_faults
from simulator.peers import Faults
from tests.chain.farms import NOON, farm_spec

GROUP = {"model": "whatsminer-m30s-plus-plus", "count": 3, "host": 10}


def file(**content: Any) -> FaultsFile:
    return FaultsFile.model_validate(content)


def test_a_scripted_fault_holds_from_its_time_for_its_length() -> None:
    script = file(script=[{"at_s": 60.0, "for_s": 30.0, "faults": {"hang": True}}])
    seen = [bool(script.at("127.0.0.1", t)) for t in (0.0, 59.9, 60.0, 89.9, 90.0, 500.0)]
    assert seen == [False, False, True, True, False, False]


def test_a_scripted_fault_comes_again_where_it_says_so() -> None:
    script = file(script=[{"at_s": 10.0, "for_s": 5.0, "every_s": 60.0, "faults": {"hang": True}}])
    assert [bool(script.at("127.0.0.1", t)) for t in (12.0, 20.0, 72.0, 80.0)] == [True, False, True, False]


def test_a_pattern_chooses_the_miners() -> None:
    script = file(script=[{"at_s": 0.0, "for_s": 9.0, "miners": "127.1.0.*", "faults": {"hang": True}}])
    assert script.at("127.1.0.7", 1.0) == {"hang": True}
    assert script.at("127.2.0.7", 1.0) == {}


def test_chance_keeps_its_rate_and_is_the_same_however_it_is_asked() -> None:
    chance = file(seed=4, chance=[{"per_hour": 2.0, "for_s": 60.0, "faults": {"slow_drip": True}}])
    times = [30.0 * i for i in range(24_000)]
    forward = [bool(chance.at("127.0.0.1", t)) for t in times]
    backward = [bool(chance.at("127.0.0.1", t)) for t in reversed(times)][::-1]
    assert forward == backward
    # Two minutes an hour, less where two overlap: 1 - exp(-2/60).
    assert sum(forward) / len(forward) == pytest.approx(0.0328, rel=0.15)


def test_another_seed_or_miner_has_its_own_luck() -> None:
    times = [60.0 * i for i in range(600)]

    def luck(seed: int, address: str) -> list[bool]:
        found = file(seed=seed, chance=[{"per_hour": 1.0, "for_s": 300.0, "faults": {"hang": True}}])
        return [bool(found.at(address, t)) for t in times]

    assert luck(1, "127.0.0.1") == luck(1, "127.0.0.1")
    assert luck(1, "127.0.0.1") != luck(2, "127.0.0.1")
    assert luck(1, "127.0.0.1") != luck(1, "127.0.0.2")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("script:\n  - {at_s: 1, for_s: 2, faults: {explode: true}}\n", 2, "unknown fault 'explode'"),
        ("chance:\n  - {per_hour: 2, for_s: 0, faults: {hang: true}}\n", 2, "greater than 0"),
        ("chance:\n  - {per_hour: 2, for_s: 9, faults: {refuse_code: 7}}\n", 2, "refuse_code must be one of"),
        ("surprise: 1\n", 1, "not a known key"),
    ],
)
def test_a_bad_faults_file_is_named_with_line_and_key(
    tmp_path: Path, text: str, line: int, words: str
) -> None:
    path = tmp_path / "faults.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        load_faults(path)
    assert caught.value.line == line


async def test_the_player_sets_and_lifts_faults_as_time_goes_on(tmp_path: Path) -> None:
    clock = ManualClock(NOON)
    async with run_farm(farm_spec([GROUP], tmp_path), clock) as farm:
        first = next(iter(farm.peers))
        script = file(script=[{"at_s": 60.0, "for_s": 30.0, "miners": first, "faults": {"unplugged": True}}])
        player = FaultPlayer(farm.peers, dict.fromkeys(farm.peers, Faults(extra_nul=True)), script, clock)
        seen = []
        for _ in range(4):
            await player.step()
            seen.append([peer.faults.unplugged for peer in farm.peers.values()])
            clock.advance(30.0)
        assert seen == [[False] * 3, [False] * 3, [True, False, False], [False] * 3]
        assert all(peer.faults.extra_nul for peer in farm.peers.values())


async def ask(port: int, method: str, path: str, body: object = None) -> tuple[int, Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    content = b"" if body is None else json.dumps(body).encode()
    writer.write(
        f"{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        + content
    )
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, rest = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(rest)


async def test_the_control_api_breaks_and_mends_a_miner(tmp_path: Path) -> None:
    clock = ManualClock(NOON)
    async with run_farm(farm_spec([GROUP], tmp_path), clock) as farm:
        player = FaultPlayer(farm.peers, dict.fromkeys(farm.peers, Faults()), None, clock)
        server = await Control(farm, player).serve(0)
        port = server.sockets[0].getsockname()[1]
        first = next(iter(farm.peers))
        try:
            status, listed = await ask(port, "GET", "/miners")
            assert (status, len(listed["miners"])) == (200, 3)
            assert (await ask(port, "PUT", f"/miners/{first}/faults", {"hang": True}))[1]["faults"] == {
                "hang": True
            }
            assert farm.peers[first].faults.hang
            await player.step()
            assert farm.peers[first].faults.hang
            assert (await ask(port, "PUT", f"/miners/{first}/faults", {}))[1]["faults"] == {}
            await ask(port, "POST", f"/miners/{first}/missing_boards", {"boards": [1]})
            assert not farm.machines[first].state().boards[1].present
            assert (await ask(port, "POST", f"/miners/{first}/power", {"on": False}))[1]["phase"] == "off"
            assert (await ask(port, "PUT", f"/miners/{first}/faults", {"explode": True}))[0] == 400
            assert (await ask(port, "PUT", "/miners/127.9.9.9/faults", {}))[0] == 400
            assert (await ask(port, "DELETE", "/miners"))[0] == 404
        finally:
            server.close()
            await server.wait_closed()


async def test_a_person_cannot_switch_a_miner_that_is_not_there(tmp_path: Path) -> None:
    clock = ManualClock(NOON)
    async with run_farm(farm_spec([GROUP], tmp_path), clock) as farm:
        player = FaultPlayer(farm.peers, dict.fromkeys(farm.peers, Faults()), None, clock)
        with pytest.raises(InputError, match="no miner"):
            await player.switch("127.9.9.9", {"hang": True})

from __future__ import annotations

import asyncio
import json
import time

import pytest

from agent.clock import ManualClock
from agent.errors import InputError
from simulator.peers import Faults
from tests.simulator.peers.conftest import MakeMachine, StartPeer
from tests.simulator.peers.test_antminer_web import authorization, fresh_nonce, get, post
from tests.simulator.peers.wire import ask, ask_frame, ask_json, http

STATS = b'{"command":"stats"}'


async def test_an_unplugged_miner_refuses_connections(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s19-pro"))
    port = peer.ports.api
    await peer.set_faults(Faults(unplugged=True))
    with pytest.raises(ConnectionRefusedError):
        await ask(peer, STATS, port)


async def test_plugging_it_back_in_takes_the_same_ports(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s19-pro"))
    ports = peer.ports
    await peer.set_faults(Faults(unplugged=True))
    await peer.set_faults(Faults())
    assert peer.ports == ports
    assert json.loads(await ask(peer, STATS))["STATS"]


async def test_a_hanging_miner_accepts_and_says_nothing(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s19-pro"), faults=Faults(hang=True))
    for port in (peer.ports.api, peer.ports.web, peer.ports.status):
        reader, writer = await asyncio.open_connection(peer.address, port)
        writer.write(STATS)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await reader.read(1)
        writer.close()


async def test_a_zombie_hangs_on_4028_and_its_web_lives(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s19-pro"), faults=Faults(zombie=True))
    reader, writer = await asyncio.open_connection(peer.address, peer.ports.api)
    writer.write(STATS)
    assert (await get(peer, "stats.cgi")).json["STATS"]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await reader.read(1)
    writer.close()


async def test_a_dead_web_leaves_4028_alive(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s19-pro"))
    web = peer.ports.web
    await peer.set_faults(Faults(web_dead=True))
    with pytest.raises(ConnectionRefusedError):
        await http(peer, web, "/")
    assert (await ask_json(peer, command="stats"))["STATS"]


async def test_garbage_is_the_same_for_the_same_seed(make_machine: MakeMachine, start: StartPeer) -> None:
    one = await start(make_machine("antminer-s19-pro"), faults=Faults(garbage=True, seed=1))
    two = await start(make_machine("whatsminer-m30s-plus"), faults=Faults(garbage=True, seed=1))
    other = await start(make_machine("antminer-s19-pro"), faults=Faults(garbage=True, seed=2))
    replies = [await ask(peer, STATS) for peer in (one, two, other)]
    assert replies[0] == replies[1] != replies[2]
    assert len(replies[0]) == 600
    with pytest.raises(ValueError, match=r"decode|JSON|Expecting"):
        json.loads(replies[0])


async def test_a_slow_reply_drips(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s19-pro"), faults=Faults(slow_drip=True))
    reader, writer = await asyncio.open_connection(peer.address, peer.ports.api)
    begun = time.monotonic()
    writer.write(STATS)
    await reader.readexactly(64)
    assert time.monotonic() - begun > 0.1
    writer.close()


async def test_a_cut_reply_is_half_a_json(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s19-pro"))
    whole = await ask(peer, STATS)
    await peer.set_faults(Faults(cut_mid_json=True))
    assert await ask(peer, STATS) == whole[: len(whole) // 2]


async def test_a_cut_frame_promises_more_than_it_holds(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("whatsminer-m60s"), api_v3=True, faults=Faults(cut_mid_json=True))
    with pytest.raises(asyncio.IncompleteReadError):
        await ask_frame(peer, cmd="get.device.info")


async def test_an_extra_nul_follows_the_json(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s19-pro"), faults=Faults(extra_nul=True))
    raw = await ask(peer, STATS)
    assert raw.endswith(b"}\x00\n")


async def test_only_the_configuration_page_fails_with_500(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    peer = await start(make_machine("antminer-s19-pro"), faults=Faults(http_500_on_conf=True))
    assert (await get(peer, "get_miner_conf.cgi")).status == 500
    assert (await get(peer, "stats.cgi")).status == 200


async def test_a_login_loop_never_lets_in(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s19-pro"), faults=Faults(login_loop=True))
    for _ in range(3):
        assert (await get(peer, "stats.cgi")).status == 401


async def test_a_nonce_can_be_made_stale_at_its_second_use(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    peer = await start(make_machine("antminer-s19-pro"), faults=Faults(stale_nonce=True))
    path = "/cgi-bin/stats.cgi"
    nonce = await fresh_nonce(peer)
    first = await http(peer, peer.ports.web, path, headers=authorization(nonce, path, nc=1))
    second = await http(peer, peer.ports.web, path, headers=authorization(nonce, path, nc=2))
    assert (first.status, second.status) == (200, 401)
    assert "stale=true" in second.headers["www-authenticate"]


async def test_an_acknowledgement_without_effect(make_machine: MakeMachine, start: StartPeer) -> None:
    machine = make_machine("antminer-s21")
    peer = await start(machine, offers_hashrate_percent=True, faults=Faults(ack_without_effect=True))
    page = await post(peer, "set_miner_conf.cgi", {"miner-mode": 1, "bitmain-hashrate-percent": "70"})
    assert page.json["code"] == "M000"
    assert (machine.state().work_mode, machine.state().hashrate_percent) == ("normal", 100)


async def test_an_effect_can_come_late(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    machine = make_machine("antminer-s19-pro")
    slept: list[float] = []
    due = asyncio.Event()

    async def held(seconds: float) -> None:
        slept.append(seconds)
        await due.wait()

    clock.sleep = held  # type: ignore[method-assign]
    peer = await start(machine, faults=Faults(effect_delay_s=1200.0))
    await post(peer, "set_miner_conf.cgi", {"miner-mode": 1})
    assert machine.state().work_mode == "normal"
    due.set()
    await get(peer, "get_miner_conf.cgi")
    assert machine.state().work_mode == "sleep"
    assert set(slept) == {1200.0}


async def test_closing_forgets_an_effect_that_is_still_to_come(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    machine = make_machine("antminer-s19-pro")

    async def forever(seconds: float) -> None:
        await asyncio.Event().wait()

    clock.sleep = forever  # type: ignore[method-assign]
    peer = await start(machine, faults=Faults(effect_delay_s=60.0))
    await post(peer, "set_miner_conf.cgi", {"miner-mode": 1})
    await peer.close()
    assert machine.state().work_mode == "normal"
    assert {task.get_name() for task in asyncio.all_tasks()} == {asyncio.current_task().get_name()}  # type: ignore[union-attr]


async def test_unknown_power_is_minus_one_on_v2_and_2_31_minus_1_on_v3(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    peer = await start(make_machine("whatsminer-m60s"), api_v3=True, faults=Faults(unknown_power=True))
    assert (await ask_json(peer, cmd="summary"))["SUMMARY"][0]["Power"] == -1
    reply = await ask_frame(peer, cmd="get.miner.status", param="summary")
    assert reply["msg"]["summary"]["power-realtime"] == 2**31 - 1


async def test_a_wrong_clock_shows_in_the_replies(make_machine: MakeMachine, start: StartPeer) -> None:
    machine = make_machine("whatsminer-m60s")
    peer = await start(machine, api_v3=True, faults=Faults(clock_skew_s=5000.0))
    reply = await ask_frame(peer, cmd="get.device.info", param="salt")
    assert reply["when"] == int(machine.clock.now().timestamp()) + 5000


async def test_a_process_that_is_down_says_so(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("whatsminer-m30s-plus"), faults=Faults(process_down=True))
    reply = await ask_json(peer, cmd="summary")
    assert (reply["STATUS"], reply["Msg"]) == ("E", "btminer process is down")


async def test_the_psu_reply_can_lack_a_comma(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("whatsminer-m30s-plus"), faults=Faults(broken_psu=True))
    assert b'""temp0"' in await ask(peer, b'{"cmd":"get_psu"}')


async def test_the_error_list_can_be_the_invalid_json_of_the_manual(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    machine = make_machine("whatsminer-m30s-plus", missing_boards=[1])
    peer = await start(machine, faults=Faults(broken_error_list=True))
    raw = await ask(peer, b'{"cmd":"get_error_code"}')
    assert b'"error_code":["531":"2026-11-20 ' in raw


def test_faults_come_from_a_mapping() -> None:
    faults = Faults.from_mapping({"hang": True, "effect_delay_s": 60, "seed": 4})
    assert faults == Faults(hang=True, effect_delay_s=60.0, seed=4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hangs": True}, "unknown fault 'hangs'"),
        ({"hang": "yes"}, "fault hang must be true or false"),
        ({"effect_delay_s": True}, "must be a number"),
        ({"effect_delay_s": -1}, "must be 0 to 86400"),
    ],
)
def test_a_wrong_fault_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Faults.from_mapping(values)


async def test_a_restart_window_closes_4028_and_ends_in_a_ramp(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    machine = make_machine("antminer-s19-pro")
    peer = await start(machine)
    port = peer.ports.api
    await peer.set_faults(Faults(restarting=True))
    with pytest.raises(ConnectionRefusedError):
        await ask(peer, STATS, port)
    assert (await get(peer, "stats.cgi")).json["STATS"] == []
    await peer.set_faults(Faults())
    clock = machine.clock
    assert isinstance(clock, ManualClock)
    clock.advance(90.0)
    assert machine.state().elapsed_s < 90.0
    assert machine.state().phase in ("idle", "ramping")


async def test_a_whatsminer_in_its_restart_window_says_that_the_process_is_down(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    peer = await start(make_machine("whatsminer-m30s-plus"), faults=Faults(restarting=True))
    assert "process is down" in (await ask(peer, b'{"cmd":"summary"}')).decode()


async def test_a_missing_board_is_gone_while_the_switch_is_on(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    machine = make_machine("antminer-s19-pro")
    peer = await start(machine, faults=Faults(missing_board=True))
    shown = (await ask_json(peer, command="stats"))["STATS"][1]
    assert [shown[f"chain_acn{n}"] for n in (1, 2, 3)] == [0, 114, 114]
    await peer.set_faults(Faults())
    assert all(board.present for board in machine.state().boards)

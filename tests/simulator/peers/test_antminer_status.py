from __future__ import annotations

import pytest

from agent.clock import ManualClock
from simulator.peers import Faults
from tests.simulator.peers.conftest import MakeMachine, StartPeer
from tests.simulator.peers.wire import http


async def test_power_of_an_s21_is_plain_text(make_machine: MakeMachine, start: StartPeer) -> None:
    machine = make_machine("antminer-s21")
    peer = await start(machine, layout="new")
    page = await http(peer, peer.ports.status, "/miner_power")
    assert page.body == f"miner power:{round(machine.state().reported_power_w or 0)}".encode()


async def test_an_s19_pro_has_no_power_command(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s19-pro"))
    assert (await http(peer, peer.ports.status, "/miner_power")).body == b"error 6060 cmd"


async def test_power_can_be_made_unknown(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s21"), faults=Faults(unknown_power=True))
    assert (await http(peer, peer.ports.status, "/miner_power")).body == b"error 6060 cmd"


async def test_a_healthy_unit_warns_of_none(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s19-pro"))
    assert (await http(peer, peer.ports.status, "/warning")).json == {"error_message": "None"}


async def test_a_missing_board_is_a_warning(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s19-pro", missing_boards=[0]))
    assert (await http(peer, peer.ports.status, "/warning")).json == {"error_message": "J:8"}


async def test_another_page_is_an_unsupported_command(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s21"))
    assert (await http(peer, peer.ports.status, "/")).body == b"error 6060 cmd"


async def test_6060_is_reset_while_the_mining_process_restarts(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    machine = make_machine("antminer-s21")
    peer = await start(machine)
    machine.restart_mining()
    clock.advance(1)
    with pytest.raises(ConnectionError):
        await http(peer, peer.ports.status, "/miner_power")

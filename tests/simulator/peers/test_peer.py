from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time

import pytest

from agent.clock import SystemClock
from simulator.machine import Machine
from simulator.peers import PeerOptions, PeerPorts, serve
from simulator.physics_file import default_physics
from tests.simulator.peers.conftest import MakeMachine, StartPeer
from tests.simulator.peers.wire import ask, ask_json


async def test_each_miner_has_its_own_loopback_address(make_machine: MakeMachine) -> None:
    one = await serve(
        make_machine("antminer-s19-pro"), "127.61.7.1", PeerPorts(0, 0, 0, 0, 0, 0), PeerOptions()
    )
    ports = PeerPorts(one.ports.api, one.ports.web, one.ports.status)
    two = await serve(make_machine("antminer-s21"), "127.61.7.2", ports, PeerOptions())
    try:
        assert two.ports == ports
        kinds = [(await ask_json(peer, command="version"))["VERSION"][0]["Type"] for peer in (one, two)]
    finally:
        await one.close()
        await two.close()
    assert kinds == ["Antminer S19 Pro", "Antminer S21"]


async def test_closing_ends_open_connections_and_frees_the_ports(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    peer = await start(make_machine("antminer-s19-pro"))
    reader, writer = await asyncio.open_connection(peer.address, peer.ports.web)
    writer.write(b"GET / HTTP/1.1\r\n")
    await writer.drain()
    await peer.close()
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(peer.address, peer.ports.web)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_port_in_use_leaves_nothing_listening(make_machine: MakeMachine) -> None:
    with socket.create_server(("127.61.7.3", 0)) as taken:
        status = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            await serve(
                make_machine("antminer-s21"),
                "127.61.7.3",
                PeerPorts(40281, 40080, status, 0, 0, 0),
                PeerOptions(),
            )
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.61.7.3", 40281)


async def test_many_clients_are_served_at_once(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s19-pro"))
    replies = await asyncio.gather(*(ask_json(peer, command="version") for _ in range(20)))
    assert all(reply["VERSION"] for reply in replies)


async def test_connections_beyond_the_bound_are_reset(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s19-pro"))
    idle = [await asyncio.open_connection(peer.address, peer.ports.api) for _ in range(32)]
    with pytest.raises(ConnectionError):
        await ask(peer, b'{"command":"version"}')
    for _, writer in idle:
        writer.close()


async def test_an_endless_request_is_reset(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s19-pro"))
    with pytest.raises(ConnectionError):
        await ask(peer, b"{" * 200_000)


async def test_deeply_nested_json_is_only_invalid(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s19-pro"))
    raw = await ask(peer, b'{"command":' + b"[" * 4000 + b"]" * 4000 + b"}\n")
    assert json.loads(raw)["STATUS"][0]["STATUS"] == "E"


async def test_a_request_in_two_pieces_is_put_together(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s19-pro"))
    reader, writer = await asyncio.open_connection(peer.address, peer.ports.api)
    writer.write(b'{"command":')
    await writer.drain()
    await asyncio.sleep(0)
    writer.write(b'"version"}')
    assert json.loads(await reader.read())["VERSION"]
    writer.close()


async def test_idle_peers_use_no_processor_time() -> None:
    spec = default_physics().model("antminer-s19-pro")
    peers = [
        await serve(
            Machine(spec, seed=index, clock=SystemClock(), mac=f"00:00:00:00:00:{index:02x}", serial="S"),
            f"127.61.8.{index + 1}",
            PeerPorts(0, 0, 0, 0, 0, 0),
            PeerOptions(),
        )
        for index in range(24)
    ]
    begun = time.process_time()
    await asyncio.sleep(0.5)
    used = time.process_time() - begun
    for peer in peers:
        await peer.close()
    assert used < 0.2

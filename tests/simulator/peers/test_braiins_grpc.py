"""The gRPC port of the simulated Braiins OS miner, and two other clients that need it."""

from __future__ import annotations

import pytest

from agent.clock import ManualClock
from simulator.peers import PeerOptions, PeerPorts, serve
from simulator.peers.braiins.hpack import Decoder
from simulator.peers.braiins.http2 import PREFACE
from tests.simulator.peers.braiins_client import NORMAL, Client, Connect, connector
from tests.simulator.peers.conftest import POOLS, MakeMachine, StartPeer
from tests.simulator.peers.wire import ask


@pytest.fixture
def connect(start: StartPeer, make_machine: MakeMachine) -> Connect:
    return connector(start, make_machine)


def _frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + number.to_bytes(4, "big") + payload


def _call(path: str, message: bytes, token: str = "") -> bytes:
    headers = ((":method", "POST"), (":path", f"/braiins.bos.v1.{path}"), ("authorization", token))
    block = b"".join(
        b"\0" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()
        for name, value in headers
    )
    body = b"\0" + len(message).to_bytes(4, "big") + message
    frames = ((4, 0, 0, b""), (1, 4, 1, block), (0, 1, 1, body), (7, 0, 0, b""))
    return PREFACE + b"".join(_frame(*frame) for frame in frames)


async def _grpc(client: Client, request: bytes) -> bytes:
    return await ask(client.peer, request, client.peer.ports.grpc)


async def test_grpc_gives_a_token_for_the_password(connect: Connect) -> None:
    client = await connect(logged_in=False)
    reply = await _grpc(client, _call("AuthenticationService/Login", b"\x0a\x04root\x12\x04root"))
    assert b"grpc-status\x010" in reply
    token = reply.split(b"authorization\x10")[1][:16].decode()
    client.token = token
    assert await client.status() == NORMAL


async def test_grpc_needs_a_token(connect: Connect) -> None:
    client = await connect()
    assert b"grpc-status\x0216" in await _grpc(client, _call("MinerService/GetMinerDetails", b""))
    reply = await _grpc(client, _call("MinerService/GetMinerDetails", b"", client.token))
    assert b"Antminer S19 Pro" in reply


async def test_grpc_sets_the_same_target_within_the_same_bounds(connect: Connect) -> None:
    client = await connect()
    # {power_target: {watt: 2400}}, then 1 W
    reply = await _grpc(
        client, _call("PerformanceService/SetPowerTarget", b"\x12\x03\x08\xe0\x12", client.token)
    )
    assert b"grpc-status\x010" in reply
    assert client.machine.state().power_limit_w == 2400
    reply = await _grpc(client, _call("PerformanceService/SetPowerTarget", b"\x12\x02\x08\x01", client.token))
    assert b"grpc-status\x0211" in reply


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: miner\r\n\r\n",
        PREFACE + _frame(0, 1, 5, b"data without headers"),
        PREFACE + _frame(1, 5, 1, b"\xff\xff\xff\xff\xff\xff\xff"),
        PREFACE + _frame(1, 5, 1, b"\x00\x7f"),
        PREFACE + _frame(1, 0xD, 1, b"\x09ab"),
        PREFACE + (1 << 23).to_bytes(3, "big") + b"\0" * 6,
        PREFACE + _frame(1, 4, 1, b"\x82") + _frame(0, 0, 1, b"x" * 16384) * 3,
    ],
)
async def test_what_is_no_grpc_ends_the_connection(connect: Connect, garbage: bytes) -> None:
    client = await connect()
    reply = await _grpc(client, garbage)
    assert b"grpc-status" not in reply
    assert await client.status() == NORMAL


def test_header_blocks_of_the_specification_are_read_in_order() -> None:
    # RFC 7541, C.4.1 and C.4.2: Huffman codes, and a header that the first block left in the table
    decoder = Decoder()
    first = decoder.decode(bytes.fromhex("828684418cf1e3c2e5f23a6ba0ab90f4ff"))
    assert first[-1] == (":authority", "www.example.com")
    second = decoder.decode(bytes.fromhex("828684be5886a8eb10649cbf"))
    assert second[3:] == [(":authority", "www.example.com"), ("cache-control", "no-cache")]


def test_too_much_padding_is_no_header() -> None:
    with pytest.raises(ValueError, match="padding"):
        Decoder().decode(bytes.fromhex("00016181ff"))
    with pytest.raises(ValueError, match="padding"):
        Decoder().decode(bytes.fromhex("0001618100"))


async def test_two_other_clients_read_the_miner(make_machine: MakeMachine, clock: ManualClock) -> None:
    pyasic = pytest.importorskip("pyasic")
    pyasic_rs = pytest.importorskip("pyasic_rs")
    machine = make_machine("antminer-s21")
    address = "127.61.2.1"
    try:
        peer = await serve(machine, address, PeerPorts(), PeerOptions(firmware="braiins"))
    except PermissionError:
        pytest.skip("the other clients use ports below 1024, which this user may not open")
    clock.advance(1200)
    state = machine.state()
    try:
        python = await (await pyasic.get_miner(address)).get_data()
        rust = await (await pyasic_rs.MinerFactory().get_miner(address)).get_data()
    finally:
        await peer.close()
    assert state.reported_power_w is not None
    assert python.wattage == rust.wattage == round(state.reported_power_w)
    assert python.wattage_limit == rust.tuning_target.watts == state.power_limit_w
    assert float(python.hashrate) == pytest.approx(state.hashrate_5s_ths, abs=0.01)
    assert float(rust.hashrate.value) == pytest.approx(state.hashrate_5s_ths, abs=0.01)
    hottest = [max(board.chip_temps_c) for board in state.boards]
    assert [board.chip_temp for board in python.hashboards] == [int(value) for value in hottest]
    assert [board.outlet_chip_temperature for board in rust.hashboards] == pytest.approx(hottest, abs=0.01)
    assert [fan.speed for fan in python.fans] == [round(rpm) for rpm in state.fan_rpm]
    assert [str(pool.url) for pool in python.pools] == [entry.url for entry in POOLS if entry.url]
    assert [str(pool.url) for pool in rust.pools[0].pools] == [entry.url for entry in POOLS if entry.url]
    assert python.is_mining
    assert rust.is_mining

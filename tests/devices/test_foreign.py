"""Other makes through pyasic_rs: read like every miner, never written to, and never a miner of our own."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import ManualClock
from agent.devices.device import Endpoint
from agent.devices.foreign import Foreign, capture, decode
from agent.errors import DeviceError, Malformed, Timeout, Unreachable, Unsupported
from agent.hardware.bounds import Bounds, permit
from agent.pools.guard import PoolGuard, PoolLogin
from agent.reading import Reading
from agent.setting import Knob, Setting
from simulator.machine import Machine
from simulator.peers import PeerOptions, PeerPorts, serve
from simulator.physics_file import default_physics
from tests.chain.farms import NOON

pytest.importorskip("pyasic_rs")
# What AxeOS 2.6 answers on a Bitaxe Gamma.
INFO = {
    "power": 15.2, "voltage": 5100, "current": 3000, "temp": 58.5, "vrTemp": 60, "hashRate": 1180.5,
    "bestDiff": "1G", "bestSessionDiff": "10M", "isUsingFallbackStratum": 0, "coreVoltage": 1150,
    "coreVoltageActual": 1148, "frequency": 525, "macAddr": "AA:BB:CC:DD:EE:01", "hostname": "bitaxe",
    "sharesAccepted": 1200, "sharesRejected": 3, "uptimeSeconds": 86400, "asicCount": 1,
    "smallCoreCount": 2040, "ASICModel": "BM1370", "stratumURL": "public-pool.io",
    "fallbackStratumURL": "solo.ckpool.org", "stratumPort": 21496, "fallbackStratumPort": 3333,
    "stratumUser": "bc1q.rig", "fallbackStratumUser": "bc1q.rig", "version": "v2.6.0",
    "boardVersion": "601", "overheat_mode": 0, "autofanspeed": 1, "fanspeed": 60, "fanrpm": 4500,
}  # fmt: skip


@asynccontextmanager
async def bitaxe(address: str, seen: list[bytes] | None = None) -> AsyncIterator[None]:
    """A web server that answers as AxeOS does."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if seen is not None:
            seen.append(head.split(b"\r\n", 1)[0])
        is_info = head.split()[1] == b"/api/system/info"
        body = json.dumps(INFO).encode() if is_info else b"<html><title>AxeOS</title></html>"
        kind = "application/json" if is_info else "text/html"
        lines = (
            "HTTP/1.1 200 OK",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
            "Connection: close",
        )
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await writer.drain()
        writer.close()

    try:
        server = await asyncio.start_server(handle, address, 80)
    except PermissionError:
        pytest.skip("the library asks port 80, which this user may not open")
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()


def device(address: str, deadline_s: float = 5.0) -> Foreign:
    return Foreign(Endpoint(address, deadline_s=deadline_s), ManualClock(NOON))


async def test_a_bitaxe_is_read_into_the_names_every_part_uses() -> None:
    async with bitaxe("127.87.1.1"):
        reading = await device("127.87.1.1").read()
    assert (reading.vendor, reading.mac, reading.firmware_version) == (
        "bitaxe",
        "aa:bb:cc:dd:ee:01",
        "v2.6.0",
    )
    assert reading.hashrate_ths == pytest.approx(1.1805)
    assert (reading.power_w, reading.power_source) == (15.2, "firmware_estimate")
    assert (reading.chip_temp_c, reading.fan_rpm, reading.uptime_s) == (58.5, (4500.0,), 86400.0)
    assert reading.is_hashing is True
    assert reading.pools is not None
    assert reading.pools[0].url == "stratum+tcp://public-pool.io:21496"
    assert reading.observed_at == NOON


async def test_what_was_captured_decodes_to_the_same_reading() -> None:
    async with bitaxe("127.87.1.2"):
        one = device("127.87.1.2")
        reading = await one.read()
        replies = await capture(one.endpoint, ManualClock(NOON))
    again = decode(replies, "127.87.1.2")
    assert (again.hashrate_ths, again.mac, again.uptime_s) == (reading.hashrate_ths, reading.mac, 86400.0)


async def test_nothing_is_ever_set_and_nothing_sent() -> None:
    seen: list[bytes] = []
    async with bitaxe("127.87.1.3", seen):
        one = device("127.87.1.3")
        with pytest.raises(Unsupported, match="only read"):
            await one.apply(permit(Setting(Knob.STOP), [Bounds(Knob.STOP)]))
        pools = PoolGuard(["*.pool.example"]).permit([PoolLogin("stratum+tcp://a.pool.example:1", "u")])
        with pytest.raises(Unsupported, match="only read"):
            await one.set_pools(pools)
    assert seen == []
    assert (await one.capabilities()).controls == ()


async def test_the_library_is_never_let_near_a_miner_that_has_a_driver() -> None:
    physics = default_physics().model("whatsminer-m30s-plus-plus")
    clock = ManualClock(NOON)
    machine = Machine(physics, seed=3, clock=clock, mac="02:11:04:00:00:07", serial="SN7", ambient=21.5)
    peer = await serve(machine, "127.87.1.4", PeerPorts(), PeerOptions(write_enabled=False))
    try:
        with pytest.raises(Unsupported, match="set its family to whatsminer-v2"):
            await device("127.87.1.4").read()
    finally:
        await peer.close()


async def test_a_host_that_is_no_miner_is_unreachable_not_a_fault_of_ours() -> None:
    with pytest.raises(Unreachable):
        await device("127.87.1.5").read()


async def test_a_host_that_says_nothing_ends_at_the_deadline() -> None:
    release = asyncio.Event()

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.close()

    server = await asyncio.start_server(silent, "127.87.1.6", 4028)
    try:
        with pytest.raises(Timeout):
            await device("127.87.1.6", 0.3).read()
    finally:
        release.set()
        server.close()
        await server.wait_closed()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from([*["pools", "hashboards", "hashrate", "value", "unit", "fans", "mac"],
                                       "wattage", "messages", "device_info", "uptime", "url"]), inner),
    max_leaves=30,
)  # fmt: skip


@given(VALUES)
def test_any_document_gives_a_reading_or_a_device_error(document: object) -> None:
    try:
        found = decode({"pyasic_rs.json": json.dumps(document).encode()})
    except DeviceError:
        return
    assert isinstance(found, Reading)


def test_a_damaged_capture_is_malformed() -> None:
    with pytest.raises(Malformed):
        decode({"pyasic_rs.json": b"{"})

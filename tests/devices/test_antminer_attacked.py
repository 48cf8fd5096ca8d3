"""Writing to a stock Antminer while its web server, its network or somebody else does the worst."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from agent.clock import ManualClock
from agent.devices.antminer.config import strict_json
from agent.devices.antminer.stock import AntminerStock
from agent.devices.device import Endpoint, Ports
from agent.errors import DeviceError, Malformed, Refused, Unauthorised
from agent.hardware.bounds import permit
from agent.setting import Setting
from simulator.machine import Machine, PoolEntry
from simulator.peers import Faults, Peer, PeerOptions, PeerPorts, serve
from simulator.physics_file import default_physics
from tests.devices.proxied import BOUNDS, LOW
from tests.devices.request_cutter import ByteCut, RequestCutter

CUTS = (
    ByteCut("nothing of the request", lambda head, body: 0),
    ByteCut("within the request line", lambda head, body: 9),
    ByteCut("within the headers", lambda head, body: head // 2),
    ByteCut("one byte before the body", lambda head, body: head - 1),
    ByteCut("headers and no body", lambda head, body: head),
    ByteCut("one byte of the body", lambda head, body: head + 1),
    ByteCut("half the body", lambda head, body: head + body // 2),
    ByteCut("all but the last byte", lambda head, body: head + body - 1),
    ByteCut("all of the request", lambda head, body: head + body),
    ByteCut("nothing of the answer", lambda head, body: 0, of_answer=True),
    ByteCut("within the status line", lambda head, body: 9, of_answer=True),
    ByteCut("headers of the answer", lambda head, body: head, of_answer=True),
    ByteCut("half the answer", lambda head, body: head + body // 2, of_answer=True),
    ByteCut("all but the answer's last byte", lambda head, body: head + body - 1, of_answer=True),
)
# Names that real owners and worse have given: every sign must come back as it was.
STRANGE = [
    PoolEntry("stratum+tcp://pööl.example.com:3333", 'naïve "worker"\\', "p@ss\u2028word"),
    PoolEntry("stratum+tcp://a.example.com:3333/\U0001f600", "x\x00y\x1b[31m", "\x7f\t"),
    PoolEntry("", "", ""),
]


@dataclass
class Rig:
    machine: Machine
    peer: Peer
    device: AntminerStock
    clock: ManualClock


@asynccontextmanager
async def rig(cut: ByteCut | None = None, faults: Faults | None = None) -> AsyncIterator[Rig]:
    clock = ManualClock(datetime(2026, 5, 1, tzinfo=UTC))
    physics = default_physics().model("antminer-s19-pro")
    machine = Machine(physics, seed=3, clock=clock, mac="02:11:04:00:00:07", serial="SN7", ambient=21.5)
    machine.set_fan(True, 70)
    machine.set_pools(STRANGE)
    options = PeerOptions(faults=faults) if faults is not None else PeerOptions()
    peer = await serve(machine, "127.0.0.1", PeerPorts(0, 0, 0, 0, 0, 0), options)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(peer.close)
        web = peer.ports.web
        if cut is not None:
            web = (await stack.enter_async_context(RequestCutter("127.0.0.1", web, cut))).port
        ports = Ports(peer.ports.api, web, 1, 1)
        endpoint = Endpoint("127.0.0.1", ports, deadline_s=2.0, write_deadline_s=1.0)
        clock.advance(3600.0)
        yield Rig(machine, peer, AntminerStock(endpoint, clock), clock)


def kept(machine: Machine) -> tuple[object, ...]:
    state = machine.state()
    return (list(machine.pools), state.fan_manual, state.fan_pwm)


@pytest.mark.parametrize("cut", CUTS, ids=str)
async def test_a_write_cut_at_any_byte_wipes_nothing_and_is_told_by_reading(cut: ByteCut) -> None:
    async with rig(cut) as r:
        before = kept(r.machine)
        applied = await r.device.apply(permit(LOW, BOUNDS))
        assert kept(r.machine) == before
        # No answer is neither success nor failure; what was read back is the truth.
        assert applied.acknowledged is None
        assert applied.readback == Setting.parse(f"work_mode={r.machine.state().work_mode}")
        assert (applied.readback == LOW) is (cut.of_answer or cut.name == "all of the request")


async def test_strange_pool_names_come_back_to_the_letter() -> None:
    async with rig() as r:
        applied = await r.device.apply(permit(LOW, BOUNDS))
        assert (applied.acknowledged, applied.readback) == (True, LOW)
        assert list(r.machine.pools) == STRANGE
        r.clock.advance(1200.0)
        reading = await r.device.read()
        assert all(word.isprintable() for pool in reading.pools or () for word in (pool.url, pool.user or ""))


async def test_a_login_that_is_refused_for_ever_once_the_write_begins_is_unauthorised() -> None:
    async with rig() as r:
        before = kept(r.machine)
        send, posts = r.device._web.send, []

        async def watched(name: str, body: Any, deadline_s: float) -> dict[str, Any]:
            posts.append(name)
            await r.peer.set_faults(Faults(login_loop=True))
            return await send(name, body, deadline_s)

        r.device._web.send = watched  # type: ignore[method-assign]
        with pytest.raises(Unauthorised):
            await r.device.apply(permit(LOW, BOUNDS))
        assert posts == ["set_miner_conf.cgi"]
        assert kept(r.machine) == before
        assert r.machine.state().work_mode == "normal"


async def test_of_two_writers_at_once_neither_wipes_the_pools() -> None:
    async with rig() as r:
        other = AntminerStock(r.device.endpoint, r.clock)
        before = kept(r.machine)
        results = await asyncio.gather(
            r.device.apply(permit(LOW, BOUNDS)),
            other.apply(permit(Setting.parse("work_mode=sleep"), BOUNDS)),
            return_exceptions=True,
        )
        # The firmware may answer one of them "request busy"; both read what came of it.
        assert all(not isinstance(one, BaseException) or isinstance(one, Refused) for one in results)
        assert any(not isinstance(one, BaseException) for one in results)
        assert kept(r.machine) == before
        assert r.machine.state().work_mode in ("low", "sleep")


async def test_pools_that_change_before_the_write_are_the_ones_kept() -> None:
    async with rig() as r:
        changed = [PoolEntry("stratum+tcp://new.example.com:3333", "new", "x"), *STRANGE[1:]]
        pages: list[str] = []
        page = r.device._web.page

        async def watched(name: str, deadline_s: float) -> bytes:
            # Somebody saves other pools while the driver still asks who this is.
            pages.append(name)
            if name == "get_system_info.cgi":
                r.machine.set_pools(changed)
            return await page(name, deadline_s)

        r.device._web.page = watched  # type: ignore[method-assign]
        await r.device.apply(permit(LOW, BOUNDS))
        assert pages[:2] == ["get_system_info.cgi", "get_miner_conf.cgi"]
        assert list(r.machine.pools) == changed


@pytest.mark.parametrize("number", ["1e400", "-1e999", "NaN", "Infinity", "9" * 5000])
def test_a_number_that_json_cannot_carry_forbids_the_write(number: str) -> None:
    raw = f'{{"pools":[],"bitmain-freq":{number}}}'
    with pytest.raises(Malformed, match="nothing is written"):
        strict_json(raw.encode(), "192.0.2.1")


@pytest.mark.parametrize("number", ["1e30", "123456789012345678901234567890", "0.1", "-0"])
def test_any_other_number_is_kept(number: str) -> None:
    found: dict[str, Any] = strict_json(f'{{"a":{number}}}'.encode(), "192.0.2.1")
    assert found["a"] == pytest.approx(float(number))


async def test_a_packed_page_is_not_unpacked() -> None:
    import gzip

    bomb = gzip.compress(b'{"pools":"' + b"A" * (8 << 20) + b'"}')

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
        writer.write(head.encode() + bomb)
        await writer.drain()
        writer.transport.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        clock = ManualClock(datetime(2026, 5, 1, tzinfo=UTC))
        device = AntminerStock(Endpoint("127.0.0.1", Ports(1, port, 1, 1), deadline_s=2.0), clock)
        with pytest.raises(DeviceError):
            await device.apply(permit(LOW, BOUNDS))
        async with device._web as web:
            assert len(await web.page("get_miner_conf.cgi", 2.0)) == len(bomb)

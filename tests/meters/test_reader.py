"""All meters of a site at once: none delays or breaks another, and figures grow old honestly."""

import asyncio
import subprocess
import sys
import time

import numpy as np
import pytest

from agent.clock import ManualClock
from agent.errors import InputError, Malformed, Timeout
from agent.meters.config import MeterConfig
from agent.meters.reader import MeterReader
from simulator.meters.http import HttpPeer
from simulator.meters.modbus import EASTRON_SDM630, ModbusPeer
from simulator.meters.surface import MeterFaults, MeterSurface
from tests.chain.farms import NOON
from tests.meters.site import config, running, surface

HOST = "127.62.5.1"


def peer(source: MeterSurface, unit: int = 1) -> ModbusPeer:
    return ModbusPeer(source, HOST, layout=EASTRON_SDM630, unit=unit)


def meter(port: int, name: str = "x", unit: int = 1, deadline_s: float = 0.15) -> MeterConfig:
    point = {"register": 52, "miners": [f"m-{name}"]}
    return config(
        name=name, kind="modbus", host=HOST, port=port, unit=unit, deadline_s=deadline_s, points=[point]
    )


async def test_a_dead_meter_costs_the_others_nothing() -> None:
    dead, live = peer(surface(1.0, faults=MeterFaults(silent=True))), peer(surface(3245.0))
    async with running(dead, live):
        reader = MeterReader([meter(dead.port, "dead"), meter(live.port, "live")], ManualClock(NOON))
        found = await reader.read()
    assert [p.key for p in found.points] == ["dead/input:52", "live/input:52"]
    assert isinstance(found.errors[0], Timeout) and found.errors[1] is None
    assert found.answered.tolist() == [False, True]
    assert np.isnan(found.power_w[0]) and found.power_w[1] == 3245.0


async def test_twenty_dead_meters_take_one_deadline_not_twenty() -> None:
    peers = [peer(surface(1.0, faults=MeterFaults(silent=True))) for _ in range(20)]
    async with running(*peers):
        reader = MeterReader([meter(p.port, f"x{i}") for i, p in enumerate(peers)], ManualClock(NOON))
        started = time.monotonic()
        await reader.read()
        took = time.monotonic() - started
    assert took < 1.5


async def test_a_silent_meter_is_asked_in_rounds_1_2_4_8_and_12() -> None:
    source = surface(1.0, faults=MeterFaults(silent=True))
    server = HttpPeer(source, HOST)
    accepted: list[int] = []
    async with running(server):
        points = [{"path": "outlets.0.power_w", "miners": ["m"]}]
        only = config(name="x", kind="http", url=server.url, deadline_s=0.02, points=points)
        reader = MeterReader([only], ManualClock(NOON))
        errors = []
        for _ in range(12):
            errors.append((await reader.read()).errors[0])
        # A round that rests repeats the error of the last attempt, the very same object.
        accepted = [i + 1 for i, e in enumerate(errors) if i == 0 or e is not errors[i - 1]]
    assert accepted == [1, 2, 4, 8, 12]


async def test_a_meter_that_answers_again_rests_no_more() -> None:
    source = surface(3245.0, faults=MeterFaults(silent=True))
    server = peer(source)
    async with running(server):
        reader = MeterReader([meter(server.port)], ManualClock(NOON))
        for _ in range(2):
            await reader.read()
        source.faults = MeterFaults()
        rested, asked = await reader.read(), await reader.read()
        again = await reader.read()
    assert isinstance(rested.errors[0], Timeout) and asked.errors[0] is None and again.errors[0] is None
    assert source.requests == 2


async def test_the_last_figure_stays_and_grows_old() -> None:
    source, clock = surface(3245.0), ManualClock(NOON)
    server = peer(source)
    async with running(server):
        reader = MeterReader([meter(server.port)], clock)
        await reader.read()
        clock.advance(30.0)
        source.faults = MeterFaults(negative=True)
        found = await reader.read()
    assert (found.power_w[0], found.age_s[0]) == (3245.0, 30.0)
    assert isinstance(found.errors[0], Malformed)


async def test_a_figure_that_was_never_read_is_infinitely_old() -> None:
    reader = MeterReader([meter(1)], ManualClock(NOON))
    assert (await reader.read()).age_s.tolist() == [np.inf]


async def test_units_behind_one_gateway_are_asked_one_after_the_other() -> None:
    open_now, most = 0, 0

    async def gateway(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        try:
            request = await reader.readexactly(12)
            for _ in range(5):
                await asyncio.sleep(0)
            # 3245.0 as a float32 in two registers.
            writer.write(request[:4] + b"\x00\x07" + request[6:8] + b"\x04\x45\x4a\xd0\x00")
            await reader.read(1)
        finally:
            open_now -= 1
            writer.close()

    server = await asyncio.start_server(gateway, HOST, 0)
    try:
        port = server.sockets[0].getsockname()[1]
        units = [meter(port, f"u{i}", unit=i, deadline_s=2.0) for i in (1, 2, 3)]
        found = await MeterReader(units, ManualClock(NOON)).read()
    finally:
        server.close()
        await server.wait_closed()
    assert found.power_w.tolist() == [3245.0] * 3
    assert most == 1


async def test_a_site_without_meters_reads_nothing() -> None:
    found = await MeterReader([], ManualClock(NOON)).read()
    assert found.points == () and found.power_w.shape == (0,)


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymodbus.pdu.register_message", None)
    with pytest.raises(InputError, match=r"meter x needs pymodbus.*pip install 'hashmargin\[meters\]'"):
        MeterReader([meter(1)], ManualClock(NOON))


def test_neither_library_is_loaded_before_a_meter_needs_it() -> None:
    code = "import sys, agent.meters.reader; print({'pysnmp', 'pyasn1', 'pymodbus'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"

"""Polling a site: every miner under its own deadline, one connection at a time, drivers kept."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from agent.clock import Clock, ManualClock
from agent.devices.antminer.stock import AntminerStock
from agent.devices.device import Device, Endpoint, Ports
from agent.devices.families import FAMILIES
from agent.polling.poller import Poller, PollTarget
from agent.reading import Reading
from agent.telemetry import PollResult
from simulator.farm import run_farm
from simulator.peers import Faults
from tests.chain.farms import NOON, PORT_OFFSET, farm_spec
from tests.devices.antminer_scripted import antminer, legacy_stats
from tests.devices.tcp_miner import answering, tcp_miner

PORTS = Ports(4028 + PORT_OFFSET, 80 + PORT_OFFSET, 6060 + PORT_OFFSET, 4433 + PORT_OFFSET)
HEALTHY = {"model": "whatsminer-m30s-plus-plus", "firmware": "whatsminer-v2", "host": 10, "count": 6}


def targets(addresses: list[str], deadline_s: float, family: str | None = None) -> list[PollTarget]:
    return [PollTarget(a, Endpoint(a, PORTS, deadline_s=deadline_s), family) for a in addresses]


async def test_miners_in_trouble_delay_nobody_and_results_keep_their_order(tmp_path: Path) -> None:
    sick = [
        {**HEALTHY, "host": 50 + i, "count": 1, "faults": {fault: True}}
        for i, fault in enumerate(("hang", "garbage", "unplugged", "slow_drip"))
    ]
    clock = ManualClock(NOON)
    spec = farm_spec([*sick, HEALTHY], tmp_path)
    async with run_farm(spec, clock) as farm:
        addresses = list(farm.machines)
        poller = Poller(targets(addresses, 4.0), clock)
        finished: list[PollResult] = []
        results = await poller.poll_once(finished.append)
    assert [result.address for result in results] == addresses
    good = [result for result in finished if result.reading is not None]
    assert len(good) == 6
    # Those that answer are all done before the first deadline strikes.
    waiting = [i for i, result in enumerate(finished) if result.error and result.error.kind == "timeout"]
    assert len(waiting) == 2
    assert min(waiting) >= len(finished) - 2


async def test_an_unknown_family_is_asked_for_once_and_remembered(tmp_path: Path) -> None:
    clock = ManualClock(NOON)
    spec = farm_spec([{**HEALTHY, "count": 1}], tmp_path)
    async with run_farm(spec, clock) as farm:
        (address,) = farm.machines
        poller = Poller(targets([address], 5.0), clock)
        (first,) = await poller.poll_once()
        async with poller.exclusive(Endpoint(address, PORTS)) as device:
            pass
        (second,) = await poller.poll_once()
        async with poller.exclusive(Endpoint(address, PORTS)) as again:
            assert again is device
    assert (first.family, second.family) == ("whatsminer-v2", "whatsminer-v2")


async def test_a_miner_in_use_is_not_polled_at_the_same_time(tmp_path: Path) -> None:
    clock = ManualClock(NOON)
    spec = farm_spec([{**HEALTHY, "count": 1}], tmp_path)
    async with run_farm(spec, clock) as farm:
        (address,) = farm.machines
        poller = Poller(targets([address], 0.5, "whatsminer-v2"), clock)
        async with poller.exclusive(Endpoint(address, PORTS)):
            (busy,) = await poller.poll_once()
        (free,) = await poller.poll_once()
    assert busy.reading is None
    assert busy.error is not None
    assert "a change is being sent" in busy.error.detail
    assert free.reading is not None


async def test_a_miner_that_comes_back_is_read_again(tmp_path: Path) -> None:
    clock = ManualClock(NOON)
    spec = farm_spec([{**HEALTHY, "count": 1}], tmp_path)
    async with run_farm(spec, clock) as farm:
        (address,) = farm.machines
        peer = farm.peers[address]
        poller = Poller(targets([address], 2.0, "whatsminer-v2"), clock)
        await peer.set_faults(type(peer.faults)(unplugged=True))
        (gone,) = await poller.poll_once()
        await peer.set_faults(type(peer.faults)())
        (back,) = await poller.poll_once()
    assert gone.error is not None
    assert gone.error.kind == "unreachable"
    assert back.reading is not None


async def test_cancelling_a_poll_leaves_no_task_behind(tmp_path: Path) -> None:
    clock = ManualClock(NOON)
    spec = farm_spec([{**HEALTHY, "faults": {"hang": True}}], tmp_path)
    async with run_farm(spec, clock) as farm:
        poller = Poller(targets(list(farm.machines), 30.0, "whatsminer-v2"), clock)
        poll = asyncio.create_task(poller.poll_once())
        await asyncio.sleep(0)
        poll.cancel()
        await asyncio.gather(poll, return_exceptions=True)
        assert poll.cancelled()


async def test_a_host_whose_answers_stop_making_sense_is_identified_anew() -> None:
    version = {"VERSION": [{"Type": "Antminer S19 Pro"}]}
    async with antminer(api={"version": version, "stats": legacy_stats()}) as it:
        poller = Poller([PollTarget("m", it.endpoint(deadline_s=2.0))], ManualClock(NOON))
        (known,) = await poller.poll_once()
        # Somebody flashes other firmware, or another machine gets the address.
        it.api = {"version": {"VERSION": [{"Toaster": "4"}]}}
        kinds = [(await poller.poll_once())[0] for _ in range(4)]
    assert known.family == "antminer-stock"
    assert all(result.reading is None for result in kinds)
    last = kinds[-1].error
    assert last is not None
    assert "no family that is known here" in last.detail


async def test_finding_out_what_a_slow_miner_is_leaves_the_whole_deadline_for_its_first_reading() -> None:
    version = {"VERSION": [{"Type": "Antminer S19 Pro"}]}
    answers = {"version": json.dumps(version).encode(), "stats": json.dumps(legacy_stats()).encode()}

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = json.loads(await reader.readuntil(b"}"))
        await asyncio.sleep(0.8)
        writer.write(answers.get(request["command"], b"{}"))
        await writer.drain()

    async with tcp_miner(slow) as it:
        endpoint = Endpoint("127.0.0.1", Ports(it.port, 1, 1, 1), deadline_s=1.5)
        (result,) = await Poller([PollTarget("m", endpoint)], ManualClock(NOON)).poll_once()
    assert result.error is None
    assert result.reading is not None


async def test_a_family_that_the_site_names_is_never_doubted() -> None:
    async with antminer(api={"stats": [1]}) as it:
        poller = Poller([PollTarget("m", it.endpoint(deadline_s=2.0), "antminer-stock")], ManualClock(NOON))
        results = [(await poller.poll_once())[0] for _ in range(5)]
        assert set(it.asked) == {"stats"}
    assert {result.error.kind for result in results if result.error} == {"malformed"}


async def test_a_hanging_miner_holds_back_no_other_result() -> None:
    stop = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stop.wait()

    async with tcp_miner(hang) as hung, tcp_miner(answering(json.dumps(legacy_stats()).encode())) as good:
        sick, well = (only_api(miner.port, deadline_s=60.0) for miner in (hung, good))
        poller = Poller([sick, well], ManualClock(NOON))
        done: asyncio.Queue[PollResult] = asyncio.Queue()
        poll = asyncio.create_task(poller.poll_once(done.put_nowait))
        async with asyncio.timeout(20.0):
            first = await done.get()
        assert first.miner_id == well.miner_id
        assert first.reading is not None
        assert not poll.done()
        # Only now does the other one go away.
        stop.set()
        results = await poll
    assert [result.error.kind if result.error else None for result in results] == ["unreachable", None]


async def test_one_miner_has_one_connection_at_a_time_whoever_asks() -> None:
    async with tcp_miner(answering(json.dumps(legacy_stats()).encode())) as miner:
        target = only_api(miner.port)
        poller = Poller([target], ManualClock(NOON))

        async def change() -> Reading:
            async with poller.exclusive(target.endpoint) as device:
                return await device.read()

        await asyncio.gather(poller.poll_once(), change(), poller.poll_once(), change())
    assert miner.connections >= 4
    assert miner.most_at_once == 1


async def test_a_driver_that_met_garbage_reads_the_next_answer() -> None:
    async with antminer(api={"stats": b"\x93\x17 garbage"}) as it:
        poller = Poller([PollTarget("m", it.endpoint(deadline_s=2.0), "antminer-stock")], ManualClock(NOON))
        (garbage,) = await poller.poll_once()
        it.api["stats"] = legacy_stats()
        (sense,) = await poller.poll_once()
    assert garbage.error is not None
    assert garbage.error.kind == "malformed"
    assert sense.reading is not None
    assert sense.reading.model == "antminer-s19-pro"


async def test_a_fault_of_a_driver_costs_its_miner_and_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Faulty(AntminerStock):
        async def read(self) -> Reading:
            raise ZeroDivisionError

    def open_faulty(endpoint: Endpoint, clock: Clock) -> Device:
        return Faulty(endpoint, clock)

    monkeypatch.setitem(FAMILIES, "faulty", replace(FAMILIES["antminer-stock"], open=open_faulty))
    async with antminer(api={"stats": legacy_stats()}) as it:
        faulty, good = (PollTarget(f, it.endpoint(), f) for f in ("faulty", "antminer-stock"))
        broken, whole = await Poller([faulty, good], ManualClock(NOON)).poll_once()
    assert broken.error is not None
    assert "please report it" in broken.error.detail
    assert "ZeroDivisionError" in caplog.text
    assert whole.reading is not None


def only_api(port: int, deadline_s: float = 20.0) -> PollTarget:
    """A target whose other ports are closed, as port 1 is anywhere tests run."""
    endpoint = Endpoint("127.0.0.1", Ports(port, 1, 1, 1), deadline_s=deadline_s)
    return PollTarget(f"m{port}", endpoint, "antminer-stock")


async def test_a_silent_miner_is_asked_less_often_and_at_once_again_when_it_is_back(tmp_path: Path) -> None:
    clock = ManualClock(NOON)
    spec = farm_spec([{**HEALTHY, "count": 1, "faults": {"hang": True}}], tmp_path)
    async with run_farm(spec, clock) as farm:
        (address,) = farm.machines
        poller = Poller(targets([address], 0.2, "whatsminer-v2"), clock)
        asked = []
        for _ in range(12):
            clock.advance(30.0)
            (result,) = await poller.poll_once()
            asked.append(result.finished_at == clock.now())
        assert asked == [bool(int(c)) for c in "110100010001"]
        assert result.error is not None
        assert result.error.kind == "timeout"
        await farm.peers[address].set_faults(Faults())
        readings = []
        for _ in range(6):
            clock.advance(30.0)
            (result,) = await poller.poll_once()
            readings.append(result.reading is not None)
        assert readings == [False, False, False, True, True, True]


async def test_a_refusing_miner_costs_nothing_and_is_asked_every_time(tmp_path: Path) -> None:
    clock = ManualClock(NOON)
    poller = Poller(targets(["127.0.0.1"], 2.0, "whatsminer-v2"), clock)
    for _ in range(5):
        clock.advance(30.0)
        (result,) = await poller.poll_once()
        assert result.finished_at == clock.now()
        assert result.error is not None


async def test_many_silent_miners_leave_the_places_to_the_healthy_ones(tmp_path: Path) -> None:
    silent = {**HEALTHY, "host": 100, "count": 12, "faults": {"hang": True}}
    clock = ManualClock(NOON)
    spec = farm_spec([silent, HEALTHY], tmp_path)
    async with run_farm(spec, clock) as farm:
        poller = Poller(targets(list(farm.machines), 1.0, "whatsminer-v2"), clock, concurrency=4)
        await poller.poll_once()
        finished: list[PollResult] = []
        await poller.poll_once(finished.append)
    order = [result.reading is not None for result in finished]
    assert order[:6] == [True] * 6

"""What a search finds, and what hosts that are no miners hear of it."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from agent.clock import SystemClock
from agent.devices.device import Credentials
from agent.discovery.ranges import parse_ranges
from agent.discovery.scan import Scan, ScanOptions
from simulator.peers import Faults
from tests.discovery.hosts import network, search

PAGE = b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<html>Office printer</html>"


async def test_miners_of_every_family_are_found_with_mac_and_model() -> None:
    async with network() as here:
        await here.miner(2, "02:63:00:00:00:02", "antminer-s19-pro")
        await here.miner(3, "02:63:00:00:00:03", "whatsminer-m30s-plus-plus")
        await here.miner(4, "02:63:00:00:00:04", "whatsminer-m60s", api_v3=True)
        await here.miner(5, "02:63:00:00:00:05", "antminer-s19-pro", firmware="luxos")
        scan = await search(f"{here.prefix}.0/29")
    assert [(m.address[-1], m.family, m.mac) for m in scan.found] == [
        ("2", "antminer-stock", "02:63:00:00:00:02"),
        ("3", "whatsminer-v2", "02:63:00:00:00:03"),
        ("4", "whatsminer-v3", "02:63:00:00:00:04"),
        ("5", "luxos", "02:63:00:00:00:05"),
    ]
    assert all(m.model for m in scan.found)
    assert (scan.asked, scan.complete, scan.strangers) == (6, True, [])


async def test_a_host_that_listens_on_no_port_of_a_miner_is_not_even_connected_to_elsewhere() -> None:
    async with network() as here:
        address = await here.stranger(2, 8080, PAGE)
        await here.stranger(2, 22, PAGE)
        scan = await search(address)
    assert here.taken == {(address, 8080): 0, (address, 22): 0}
    assert (scan.found, scan.stranger_count) == ([], 0)


async def test_a_web_server_hears_one_request_for_its_front_page_and_nothing_else() -> None:
    async with network() as here:
        address = await here.stranger(2, 80, PAGE)
        scan = await search(address, credentials=Credentials("root", "hunter2"))
    asked = f"GET / HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    assert here.heard[address, 80] == asked.encode()
    assert [(s.address, "no family" in s.said) for s in scan.strangers] == [(address, True)]


async def test_a_stranger_on_4028_hears_only_the_questions_who_it_is() -> None:
    async with network() as here:
        address = await here.stranger(2, 4028, b'{"hello": "I am a database"}')
        scan = await search(address)
    heard = here.heard[address, 4028].replace(b"}{", b"}\n{").splitlines()
    assert [json.loads(line)["command"] for line in heard] == ["version", "devdetails"]
    assert (scan.found, len(scan.strangers)) == ([], 1)


async def test_a_page_that_speaks_of_miners_is_no_miner() -> None:
    page = b"HTTP/1.0 200 OK\r\n\r\n<html>Our Antminer dashboard</html>"
    async with network() as here:
        address = await here.stranger(2, 80, page)
        scan = await search(address, credentials=Credentials("root", "hunter2"))
    assert [(m.address, m.identified, m.mac) for m in scan.found] == [(address, False, None)]
    assert b"hunter2" not in here.heard[address, 80]


async def test_a_host_that_takes_connections_and_says_nothing_costs_its_deadline_and_no_more() -> None:
    async with network() as here:
        silent = await here.stranger(2, 4028, None)
        await here.miner(3, "02:63:00:00:00:03")
        async with asyncio.timeout(5.0):
            scan = await search(f"{here.prefix}.0/29", host_s=0.5)
    assert [m.address[-1] for m in scan.found] == ["3"]
    assert [s.address for s in scan.strangers] == [silent]


async def test_an_address_that_nobody_answers_for_is_left_after_the_first_port() -> None:
    async with network() as here:
        address = await here.stranger(2, 80, PAGE)
        with socket.socket() as full, socket.socket() as first, socket.socket() as second:
            full.bind((address, 4028))
            full.listen(0)
            for filler in (first, second):
                filler.setblocking(False)
                filler.connect_ex((address, 4028))
            scan = await search(address, host_s=0.4)
    assert here.taken[address, 80] == 0
    assert (scan.found, scan.strangers) == ([], [])


async def test_a_miner_that_refuses_the_login_is_found_without_mac() -> None:
    async with network() as here:
        await here.miner(2, "02:63:00:00:00:02", password="changed")
        scan = await search(f"{here.prefix}.2")
    (miner,) = scan.found
    assert (miner.family, miner.identified, miner.mac) == ("antminer-stock", True, None)
    assert miner.problem is not None
    assert "login" in miner.problem


async def test_with_its_login_the_mac_is_told() -> None:
    async with network() as here:
        await here.miner(2, "02:63:00:00:00:02", username="root", password="changed")
        scan = await search(f"{here.prefix}.2", credentials=Credentials("root", "changed"))
    assert scan.found[0].mac == "02:63:00:00:00:02"


@pytest.mark.parametrize("fault", ["garbage", "cut_mid_json", "zombie", "hang"])
async def test_a_broken_miner_does_not_disturb_the_search(fault: str) -> None:
    async with network() as here:
        await here.miner(2, "02:63:00:00:00:02", faults=Faults(**{fault: True}))  # type: ignore[arg-type]
        await here.miner(3, "02:63:00:00:00:03")
        scan = await search(f"{here.prefix}.0/29", host_s=0.8)
    assert scan.complete
    assert [m.mac for m in scan.found if m.mac] == ["02:63:00:00:00:03"]


async def test_a_stopped_search_keeps_what_it_found_and_knows_that_it_is_not_complete() -> None:
    async with network() as here:
        await here.stranger(3, 4028, None)
        await here.miner(2, "02:63:00:00:00:02")
        scan = Scan(parse_ranges([f"{here.prefix}.0/29"]), ScanOptions(host_s=30.0), SystemClock())
        others_done = asyncio.Event()
        task = asyncio.create_task(scan.run(lambda: others_done.set() if scan.asked == 5 else None))
        async with asyncio.timeout(5.0):
            await others_done.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (len(scan.found), scan.complete) == (1, False)


async def test_no_more_hosts_are_under_way_than_was_asked_for() -> None:
    async with network() as here:
        both = asyncio.Barrier(3)
        for host in range(1, 7):
            await here.stranger(host, 4028, None, on_words=both.wait)
        scan = Scan(
            parse_ranges([f"{here.prefix}.0/29"]), ScanOptions(concurrency=2, host_s=30.0), SystemClock()
        )
        task = asyncio.create_task(scan.run())
        async with asyncio.timeout(5.0):
            await both.wait()
        assert sum(count > 0 for count in here.taken.values()) == 2
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

"""Which family a host is, by cheap reads, and what is never sent to a host that has not shown what it is."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

import pytest

from agent.clock import SystemClock
from agent.devices.device import Endpoint, Ports
from agent.devices.identify import identify_family
from agent.errors import DeviceError, Timeout, Unreachable, Unsupported
from tests.devices.antminer_scripted import serving

ANTMINER = {"VERSION": [{"Type": "Antminer S19 Pro"}]}
WHATSMINER = {"Msg": {"api_ver": "2.0.5"}, "Description": "btminer"}
DENIED = {"STATUS": [{"STATUS": "E", "Code": 14, "Msg": "Invalid command"}], "id": 1}
LOGIN = b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest realm="antMiner Configuration"\r\n\r\n'
MOVED = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: https://10.0.0.1/\r\n\r\n"


class Host:
    """Answers of 4028 by command, of the front page, and whether it speaks frames on 4433."""

    def __init__(self, replies: Any = None, page: bytes | None = None, frames: Any = None) -> None:
        self.replies, self.page, self.frames = replies, page, frames
        self.asked: list[str] = []

    async def on_api(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        command = json.loads(await reader.readuntil(b"}"))["command"]
        self.asked.append(command)
        reply = self.replies.get(command, DENIED)
        if reply is None:
            await reader.read()
        writer.write(reply if isinstance(reply, bytes) else json.dumps(reply).encode())

    async def on_page(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked.append("page")
        writer.write(self.page or b"")

    async def on_frame(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = struct.unpack("<I", await reader.readexactly(4))[0]
        await reader.readexactly(size)
        self.asked.append("frame")
        if self.frames is None:
            await reader.read()
        body = json.dumps(self.frames).encode()
        writer.write(struct.pack("<I", len(body)) + body)

    async def identify(self, deadline_s: float = 3.0) -> str:
        async with serving(self.on_api, self.on_page, self.on_frame) as (api, web, v3):
            ports = Ports(
                api=api if self.replies is not None else 1, web=web if self.page is not None else 1, api_v3=v3
            )
            return await identify_family(Endpoint("127.0.0.1", ports, deadline_s=deadline_s), SystemClock())


DEVICE_INFO = {
    "code": 0,
    "when": 1773869570,
    "desc": "get.device.info",
    "msg": {
        "miner": {"type": "M60S_VK40"},
        "network": {"mac": "C4:08:28:00:00:01"},
        "system": {"fwversion": "x"},
    },
}


async def test_an_antminer_is_known_by_its_version_and_asked_nothing_more() -> None:
    host = Host({"version": ANTMINER}, LOGIN, DEVICE_INFO)
    assert await host.identify() == "antminer-stock"
    assert host.asked == ["version"]


@pytest.mark.parametrize("version", [DENIED, b"", b"garbage"])
async def test_devdetails_is_asked_where_version_says_nothing(version: Any) -> None:
    details = {"DEVDETAILS": [{"Driver": "bitmicro", "Model": "M30S"}]}
    host = Host({"version": version, "devdetails": details}, frames={"code": -2, "msg": "invalid command"})
    assert await host.identify() == "whatsminer-v2"
    assert host.asked[:2] == ["version", "devdetails"]


async def test_a_whatsminer_with_frames_is_v3() -> None:
    assert await Host({"version": WHATSMINER}, frames=DEVICE_INFO).identify() == "whatsminer-v3"


async def test_a_swallowed_4433_leaves_time_to_be_v2() -> None:
    async with asyncio.timeout(2.9):
        assert await Host({"version": WHATSMINER}).identify(deadline_s=3.0) == "whatsminer-v2"


@pytest.mark.parametrize(
    ("page", "family"),
    [(LOGIN, "antminer-stock"), (MOVED, "whatsminer-v2"), (b"<a href=/cgi-bin/luci>", "whatsminer-v2")],
)
async def test_with_4028_closed_the_front_page_tells(page: bytes, family: str) -> None:
    assert await Host(None, page, {"code": -1, "msg": ""}).identify() == family


@pytest.mark.parametrize(
    ("version", "page", "family"),
    [
        ({"VERSION": [{"BOSer": "boser-buildroot 1", "Type": "Antminer S19"}]}, None, "braiins"),
        ({"VERSION": [{"Type": "Antminer S19 (vnish 1.2.6)"}]}, None, "vnish"),
        (DENIED, b"<title>AnthillOS</title>", "vnish"),
        ({"VERSION": [{"LUXminer": "2025.4.8", "Type": "Antminer S19k Pro"}]}, None, "luxos"),
    ],
)
async def test_custom_firmware_is_never_taken_for_stock(
    version: Any, page: bytes | None, family: str
) -> None:
    assert await Host({"version": version}, page).identify() == family


@pytest.mark.parametrize(
    "replies", [{"version": {"VERSION": [{"Type": "Avalon"}]}}, {"version": b"\xff\x00"}, None]
)
async def test_an_unknown_host_is_sent_no_frame(replies: Any) -> None:
    host = Host(replies, b"HTTP/1.1 200 OK\r\n\r\nhello", DEVICE_INFO)
    with pytest.raises(Unsupported, match="no family that is known"):
        await host.identify()
    assert "frame" not in host.asked


async def test_silence_on_4028_is_a_timeout_and_asked_once() -> None:
    host = Host({"version": None}, LOGIN)
    with pytest.raises(Timeout):
        await host.identify(deadline_s=0.3)
    assert host.asked == ["version"]


async def test_a_host_that_refuses_everything_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="connection refused"):
        await Host(None, None).identify()


async def test_a_page_that_never_comes_is_not_waited_for_long() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(silent) as (web,):
        endpoint = Endpoint("127.0.0.1", Ports(api=1, web=web), deadline_s=1.5)
        async with asyncio.timeout(1.4):
            with pytest.raises(DeviceError):
                await identify_family(endpoint, SystemClock())

"""Stock Antminers whose every answer a test decides: 4028, the web pages behind digest login, 6060."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from agent.devices.device import Endpoint, Ports

HANG = object()
CLOSE = object()
REALM = "antMiner Configuration"
WHEN = 1_763_640_000
INFO = {"miner_version": "49.0.1.3", "CompileTime": "Tue Dec  6 16:12:30 CST 2022"}
SYSTEM = {
    "minertype": "Antminer S19 Pro",
    "macaddr": "02:A0:B1:00:00:17",
    "serinum": "SN17",
    "system_filesystem_version": "Tue Dec  6 16:12:30 CST 2022",
}
POOLS = [
    {"url": "stratum+tcp://one.example:3333", "user": "acct.w1", "pass": "geheim"},
    {"url": "stratum+tcp://two.example:3333", "user": "acct.w1", "pass": ""},
    {"url": "", "user": "", "pass": ""},
]


def legacy_stats(elapsed: int = 5000, kind: str = "Antminer S19 Pro", **more: Any) -> dict[str, Any]:
    row = {
        "STATS": 0,
        "Elapsed": elapsed,
        "GHS 5s": 110566.89,
        "GHS av": 111834.63,
        "rate_30m": 111878.26,
        "miner_count": 3,
        "fan_num": 4,
        "total_rateideal": 110000.0,
        "rate_unit": "GH",
        **{f"fan{n}": 6000 for n in range(1, 5)},
        **{f"chain_acn{n}": 114 for n in range(1, 4)},
        **{f"chain_rate{n}": "37278.21" for n in range(1, 4)},
        **{f"temp_chip{n}": "78-50-69-70" for n in range(1, 4)},
    }
    return listed("STATS", [{**INFO, "Type": kind}, row | more])


def new_stats(elapsed: int = 5000, kind: str = "Antminer S21", **more: Any) -> dict[str, Any]:
    chain = {"freq_avg": 500, "rate_real": 66000.0, "asic_num": 108, "temp_chip": [60, 61, 62, 63], "hw": 0}
    row = {
        "elapsed": elapsed,
        "rate_5s": 199000.0,
        "rate_30m": 198500.0,
        "rate_avg": 198000.0,
        "rate_ideal": 200000.0,
        "rate_unit": "GH/s",
        "fan": [4000, 4000, 3900, 3900],
        "miner-mode": 0,
        "chain": [chain | {"index": n} for n in range(3)],
    }
    return new("STATS", [row | more], kind)


def listed(key: str, rows: list[Any], code: int = 70, letter: str = "S") -> dict[str, Any]:
    head = {"STATUS": letter, "When": WHEN, "Code": code, "Msg": key, "Description": "cgminer 1.0.0"}
    return {"STATUS": [head], key: rows, "id": 1}


def new(key: str, rows: list[Any], kind: str = "Antminer S21") -> dict[str, Any]:
    status = {"STATUS": "S", "when": WHEN, "Msg": key.lower(), "api_version": "1.0.0"}
    return {"STATUS": status, "INFO": {**INFO, "type": kind}, key: rows}


def said_no(code: int, words: str) -> dict[str, Any]:
    head = {"STATUS": "E", "When": WHEN, "Code": code, "Msg": words, "Description": "cgminer 1.0.0"}
    return {"STATUS": [head], "id": 1}


NOT_OFFERED = said_no(14, "Invalid command")


@dataclass
class Antminer:
    """What it answers and what it was asked.

    Args:
        api: replies of 4028 by command; `stats.new_api` is for requests that say `new_api`, if it is there.
        pages: replies of the web by page: an object, bytes, a status number, HANG or CLOSE.
        status: replies of 6060 by path.
        conf: the configuration, which a write replaces by way of `takes`.
        answers: what a write is answered.
        takes: whether a write takes effect.
    """

    api: dict[str, Any] = field(default_factory=dict)
    pages: dict[str, Any] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    conf: dict[str, Any] = field(default_factory=dict)
    answers: Any = field(default_factory=lambda: {"stats": "success", "code": "M000", "msg": "OK!"})
    takes: bool = True
    password: str = "root"
    asked: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    written: list[dict[str, Any]] = field(default_factory=list)
    ports: Ports = field(default_factory=Ports)

    def endpoint(self, **more: Any) -> Endpoint:
        return Endpoint("127.0.0.1", self.ports, **({"deadline_s": 4.0, "write_deadline_s": 1.0} | more))

    def fresh(self) -> list[str]:
        """What was asked since the last call."""
        found, self.asked = self.asked, []
        return found

    async def on_api(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = json.loads(await reader.readuntil(b"}"))
        command = request["command"]
        name = (
            f"{command}.new_api" if request.get("new_api") and f"{command}.new_api" in self.api else command
        )
        self.asked.append(command)
        await self._reply(reader, writer, self.api.get(name, NOT_OFFERED))

    async def on_status(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        self.asked.append(path)
        await self._reply(reader, writer, self.status.get(path, b"error 6060 cmd"))

    async def on_web(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
            except asyncio.IncompleteReadError:
                return
            method, path, _ = head.split("\r\n", 1)[0].split()
            length = re.search(r"content-length: (\d+)", head.lower())
            body = await reader.readexactly(int(length.group(1))) if length else b""
            page = path.rpartition("/")[2]
            if not self._logged_in(head, method, path):
                challenge = (
                    f'WWW-Authenticate: Digest realm="{REALM}", nonce="n{len(self.logins)}", qop="auth"'
                )
                writer.write(
                    f"HTTP/1.1 401 Unauthorized\r\n{challenge}\r\nContent-Length: 0\r\n\r\n".encode()
                )
                await writer.drain()
                if "connection: close" in head.lower():
                    return
                continue
            self.asked.append(page)
            reply = self._write(body) if method == "POST" else self._page(page)
            if reply is HANG:
                await reader.read()
                return
            if reply is CLOSE:
                return
            code, payload = (reply, b"") if isinstance(reply, int) else (200, encoded(reply))
            writer.write(f"HTTP/1.1 {code} X\r\nContent-Length: {len(payload)}\r\n\r\n".encode() + payload)
            await writer.drain()

    def _page(self, page: str) -> Any:
        if page in self.pages:
            return self.pages[page]
        return self.conf if page == "get_miner_conf.cgi" and self.conf else 404

    def _write(self, body: bytes) -> Any:
        wanted = json.loads(body)
        self.written.append(wanted)
        if self.takes:
            self.conf = {key: wanted[key] for key in self.conf if key in wanted}
            self.conf["bitmain-work-mode"] = str(wanted["miner-mode"])
        return self.answers

    def _logged_in(self, head: str, method: str, path: str) -> bool:
        sent = re.search(r"^authorization: digest (.*)$", head, re.I | re.M)
        if sent is None:
            self.logins.append("none")
            return False
        said = {k: a or b for k, a, b in re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]+))', sent.group(1))}
        self.logins.append(said["nc"])

        def md5(text: str) -> str:
            return hashlib.md5(text.encode()).hexdigest()

        key, what = md5(f"{said['username']}:{REALM}:{self.password}"), md5(f"{method}:{path}")
        return said["response"] == md5(f"{key}:{said['nonce']}:{said['nc']}:{said['cnonce']}:auth:{what}")

    async def _reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reply: Any) -> None:
        if reply is HANG:
            await reader.read()
        elif reply is not CLOSE:
            writer.write(encoded(reply))
            await writer.drain()


def encoded(reply: Any) -> bytes:
    return reply if isinstance(reply, bytes) else json.dumps(reply).encode()


@asynccontextmanager
async def serving(*handlers: Any) -> AsyncIterator[list[int]]:
    """Listen with one handler a port, each on a free port of 127.0.0.1."""
    servers = []
    for handle in handlers:

        async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, h: Any = handle) -> None:
            try:
                await h(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        servers.append(await asyncio.start_server(one, "127.0.0.1", 0))
    try:
        yield [server.sockets[0].getsockname()[1] for server in servers]
    finally:
        for server in servers:
            server.close()
        tasks = [t for t in asyncio.all_tasks() if getattr(t.get_coro(), "__name__", "") == "one"]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def antminer(**options: Any) -> AsyncIterator[Antminer]:
    """A machine that answers as `options` of `Antminer` say; a port without replies is closed."""
    it = Antminer(**options)
    handlers = {"api": it.on_api, "web": it.on_web, "status": it.on_status}
    wanted = {"api": it.api, "web": it.pages or it.conf, "status": it.status}
    names = [name for name in handlers if wanted[name]]
    async with serving(*(handlers[name] for name in names)) as ports:
        # Port 1 is closed on any machine that runs tests.
        it.ports = Ports(
            **({"api": 1, "web": 1, "status": 1, "api_v3": 1} | dict(zip(names, ports, strict=True)))
        )
        yield it

"""Whatsminers whose every answer a test decides: v2 on one socket, v3 frames on another."""

import asyncio
import base64
import hashlib
import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.modes import ECB

from agent.devices.whatsminer.crypto import md5crypt

HANG = object()
CLOSE = object()
WHEN = 1_773_869_570

SUMMARY_ROW: dict[str, Any] = {
    "Elapsed": 5000,
    "MHS av": 111e6,
    "MHS 5s": 113e6,
    "MHS 1m": 112e6,
    "HS RT": 112.5e6,
    "Accepted": 10,
    "Rejected": 1,
    "Temperature": 70.0,
    "freq_avg": 700,
    "Fan Speed In": 5000,
    "Fan Speed Out": 5100,
    "Power": 3400,
    "Power Limit": 3472,
    "Power Mode": "Normal",
    "Factory GHS": 112000,
    "Env Temp": 25.0,
    "Chip Temp Max": 90.0,
    "Uptime": 6000,
}
BOARDS = [
    {"ASC": i, "Slot": i, "MHS 1m": 37e6, "Effective Chips": 111, "Chip Temp Max": 88.0 + i} for i in range(3)
]


def said(message: object, code: int = 131, status: str = "S") -> dict[str, Any]:
    return {"STATUS": status, "When": WHEN, "Code": code, "Msg": message, "Description": ""}


def refused(code: int, words: str) -> dict[str, Any]:
    return said(words, code, "E")


def listed(key: str, rows: list[Any]) -> dict[str, Any]:
    head = {"STATUS": "S", "When": WHEN, "Code": 11, "Msg": key, "Description": ""}
    return {"STATUS": [head], key: rows, "id": 1}


@dataclass
class ScriptedV2:
    """Answers on one port; `replies` maps a read command to a document, bytes, HANG or CLOSE."""

    password: str = "admin"
    joins: bool = True
    keeps_open: bool = False
    port: int = 0
    replies: dict[str, Any] = field(default_factory=dict)
    write_replies: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    written: list[dict[str, Any]] = field(default_factory=list)
    time: str = "5626"
    timeout: str | None = None
    tokens: int = 0
    rejects: int = 0
    pkcs7: bool = False
    state: dict[str, Any] = field(default_factory=lambda: dict(SUMMARY_ROW))
    status: dict[str, Any] = field(
        default_factory=lambda: {
            "mineroff": "false",
            "power_mode": "normal",
            "power_limit_set": "",
            "hash_percent": "0",
            "FirmwareVersion": "20230803.11.REL",
        }
    )
    mac: str = "C4:11:04:01:02:03"

    def answer(self, command: str) -> Any:
        if command in self.replies:
            return self.replies[command]
        if command == "summary":
            return listed("SUMMARY", [self.state])
        if command == "edevs":
            return listed("DEVS", BOARDS)
        if command == "summary+edevs":
            if not self.joins:
                return refused(14, "invalid cmd")
            return {"summary": [self.answer("summary")], "edevs": [self.answer("edevs")], "id": 1}
        if command == "status":
            return said(self.status)
        if command == "get_version":
            return said({"api_ver": "2.0.5", "fw_ver": "20230803.11.REL", "miner_type": "M30S++_VH50"})
        if command == "get_miner_info":
            return said({"mac": self.mac, "minersn": "SN1"})
        if command == "get_error_code":
            return said({"error_code": []})
        if command == "pools":
            return listed("POOLS", [{"URL": "stratum+tcp://p:1", "Accepted": 20, "Rejected": 2, "Stale": 1}])
        return refused(14, "invalid cmd")

    def keys(self) -> tuple[str, bytes]:
        key = md5crypt(self.password, "BQ5hoXV9")
        return md5crypt(key + self.time[-4:], "jbzkfQls"), hashlib.sha256(key.encode()).digest()

    def write(self, request: dict[str, Any]) -> Any:
        sign, key = self.keys()
        cipher = Cipher(algorithms.AES(key), ECB())
        decryptor = cipher.decryptor()
        plain = decryptor.update(base64.b64decode(request["data"])) + decryptor.finalize()
        try:
            command = json.loads(plain.rstrip(b"\0"))
        except ValueError:
            return {"STATUS": "E", "Code": 23, "Msg": "enc json load err"}
        if self.rejects > 0 or command.pop("token") != sign:
            self.rejects -= 1
            return refused(135, "check token error")
        self.written.append(command)
        reply = self.write_replies.get(command["cmd"], said("API command OK"))
        if not isinstance(reply, dict) or reply["STATUS"] != "S":
            return reply
        self.obey(command)
        raw = json.dumps(reply).encode()
        pad = -len(raw) % 16
        raw += bytes([pad or 16]) * (pad or 16) if self.pkcs7 else b"\0" * pad
        encryptor = cipher.encryptor()
        return {"enc": base64.b64encode(encryptor.update(raw) + encryptor.finalize()).decode()}

    def obey(self, command: dict[str, Any]) -> None:
        match command["cmd"]:
            case "adjust_power_limit":
                self.state["Power Limit"] = int(command["power_limit"])
            case "power_off":
                self.status["mineroff"] = "true"
            case "power_on":
                self.status["mineroff"] = "false"
            case "set_low_power" | "set_normal_power" | "set_high_power":
                self.state["Power Mode"] = command["cmd"].split("_")[1].capitalize()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = json.loads(await reader.read(65536))
            if request.get("enc") == 1:
                reply = self.write(request)
            elif request["cmd"] == "get_token":
                self.asked.append("get_token")
                self.tokens += 1
                message = {"time": self.time, "salt": "BQ5hoXV9", "newsalt": "jbzkfQls"}
                message |= {"timeout": self.timeout} if self.timeout is not None else {}
                reply = self.replies.get("get_token", said(message, 134))
            else:
                self.asked.append(request["cmd"])
                reply = self.answer(request["cmd"])
            if reply is HANG or self.keeps_open:
                if reply is not HANG:
                    writer.write(reply if isinstance(reply, bytes) else json.dumps(reply).encode())
                    await writer.drain()
                await reader.read()
            elif reply is not CLOSE:
                writer.write(reply if isinstance(reply, bytes) else json.dumps(reply).encode())
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


@dataclass
class ScriptedV3:
    """Frames on one port; `replies` maps command or command.param to a document, bytes, HANG or CLOSE."""

    password: str = "super"
    port: int = 0
    one_frame: bool = False
    whole_info: bool = True
    ahead_s: int = 0
    replies: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    connections: int = 0
    written: list[dict[str, Any]] = field(default_factory=list)
    write_replies: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(
        default_factory=lambda: {
            "elapsed": 5000,
            "bootup-time": 6000,
            "hash-1min": 178.9,
            "hash-realtime": 171.2,
            "hash-average": 177.0,
            "factory-hash": 181.0,
            "power-realtime": 3156,
            "power-limit": 3600,
            "chip-temp-max": 84.0,
            "board-temperature": [60.0, 61.0, 62.0],
        }
    )
    setting: dict[str, Any] = field(
        default_factory=lambda: {"power-limit": 3600, "power-mode": "normal", "power-percent": 0}
    )
    info: dict[str, Any] = field(
        default_factory=lambda: {
            "network": {"mac": "CE:02:01:00:8C:36"},
            "system": {"api": "3.0.2", "apiswitch": "1", "fwversion": "20251209.16.Rel2"},
            "miner": {"working": "true", "type": "M60S_VK40", "miner-sn": "SN3", "hash-percent": "0"},
            "power": {"vin": 226.5, "pin": 3170},
            "error-code": [],
        }
    )

    def reply(self, message: object, command: str, code: int = 0) -> dict[str, Any]:
        return {"code": code, "when": WHEN + self.ahead_s, "msg": message, "desc": command}

    def answer(self, command: str, param: Any) -> Any:
        name = command if param is None else f"{command}.{param}"
        if name in self.replies:
            return self.replies[name]
        if command == "get.device.info":
            if param is None and not self.whole_info:
                return self.reply("param item is null", command, -3)
            sections = self.info | {"salt": "uhCiDyVj"}
            return self.reply(sections if param is None else {param: sections[param]}, command)
        if command == "get.miner.setting":
            return self.reply(self.setting, command)
        if command == "get.miner.status":
            boards = [{"slot": i, "hash-average": 59.6, "effective-chips": 245} for i in range(3)]
            known = {"summary": self.summary, "edevs": boards, "pools": []}
            return self.reply({part: known[part] for part in param.split("+")}, command)
        return self.reply("invalid command", command, -2)

    def write(self, request: dict[str, Any]) -> Any:
        command, ts = request["cmd"], request["ts"]
        digest = hashlib.sha256(f"{command}{self.password}uhCiDyVj{ts}".encode()).digest()
        token = base64.b64encode(digest).decode()[:8]
        if abs(ts - WHEN - self.ahead_s) > 30 or request["token"] != token or request["account"] != "super":
            return self.reply("token error", command, -1)
        if self.info["system"]["apiswitch"] != "1":
            return self.reply("no permission", command, -4)
        self.written.append({"cmd": command, "param": request["param"]})
        reply = self.write_replies.get(command, self.reply("ok", command))
        if isinstance(reply, dict) and reply["code"] == 0:
            match command:
                case "set.miner.power_limit":
                    self.summary["power-limit"] = request["param"]
                case "set.miner.power_mode":
                    self.setting["power-mode"] = request["param"]
                case "set.miner.power_percent":
                    self.setting["power-percent"] = int(request["param"]["percent"])
                case "set.miner.target_freq":
                    self.setting["target-freq"] = request["param"]
                case "set.miner.service":
                    self.info["miner"]["working"] = "true" if request["param"] == "start" else "false"
        return reply

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                (length,) = struct.unpack("<I", await reader.readexactly(4))
                request = json.loads(await reader.readexactly(length))
                param = request.get("param")
                if request["cmd"].startswith("set."):
                    reply = self.write(request)
                else:
                    self.asked.append(request["cmd"] if param is None else f"{request['cmd']}.{param}")
                    reply = self.answer(request["cmd"], param)
                if reply is HANG:
                    await reader.read()
                    return
                if reply is CLOSE:
                    return
                if not isinstance(reply, bytes):
                    body = json.dumps(reply).encode()
                    reply = struct.pack("<I", len(body)) + body
                writer.write(reply)
                await writer.drain()
                if self.one_frame:
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def listening(peer: Any) -> AsyncIterator[Any]:
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
        await asyncio.sleep(0)

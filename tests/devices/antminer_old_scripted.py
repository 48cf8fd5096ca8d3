"""An old Antminer whose files and answers a test decides: ssh, 4028, and the web form that goes by places."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import asyncssh

from tests.devices.antminer_scripted import INFO, Antminer, listed, serving

BMMINER, CGMINER = "/config/bmminer.conf", "/config/cgminer.conf"
POOL_ROWS = [{"POOL": 0, "URL": "stratum+tcp://one.example:3333", "Accepted": 5, "Rejected": 0, "Stale": 0}]
SYSTEM = {
    "minertype": "Antminer S9",
    "macaddr": "02:A0:B1:00:00:31",
    "system_filesystem_version": "Fri Nov 17",
}
_PLACES = (
    *(f"_ant_pool{n}{part}" for n in (1, 2, 3) for part in ("url", "user", "pw")),
    *("_ant_nobeeper", "_ant_notempoverctrl", "_ant_fan_customize_switch", "_ant_fan_customize_value"),
    *("_ant_freq", "_ant_voltage", "_ant_work_mode"),
)
# The only codes that the script undoes, in its order.
_CODES = [
    "%23",
    "%24",
    "%25",
    "%26",
    "%2C",
    "%2B",
    "%3A",
    "%3B",
    "%3C",
    "%3D",
    "%3E",
    "%3F",
    "%40",
    "%5B",
    "%5D",
    "%5E",
    "%7C",
    "%2F",
]


def conf_text(
    freq: str = '"650"',
    voltage: str = '"0706"',
    user: str = "acct.w1",
    urls: tuple[str, ...] = ("stratum+tcp://one.example:3333", "stratum+tcp://two.example:3333", ""),
    more: str = "",
) -> str:
    """A file as the S9's own script writes it, with its odd line breaks."""
    pools = ",\n".join(
        f'{{\n"url" : "{url}",\n"user" : "{user if url else ""}",\n"pass" : "{"geheim" if url else ""}"\n}}'
        for url in urls
    )
    return (
        f'{{\n"pools" : [\n{pools}\n]\n,\n"api-listen" : true,\n"api-network" : true,\n'
        '"api-groups" : "A:stats:pools:devs:summary:version",\n"api-allow" : "A:0/0,W:*",\n'
        f'"bitmain-fan-ctrl" : true,\n"bitmain-fan-pwm" : "60",\n{more}"bitmain-use-vil" : true,\n'
        f'"bitmain-freq" : {freq},\n"bitmain-voltage" : {voltage},\n"multi-version" : "1"\n}}\n'
    )


def s9_stats(elapsed: int = 7812, kind: str = "Antminer S9", **more: Any) -> bytes:
    """`stats` without the comma between its two objects, boards in slots 6 to 8."""
    row: dict[str, Any] = {
        "STATS": 0,
        "ID": "BC50",
        "Elapsed": elapsed,
        "GHS 5s": "13503.72",
        "GHS av": 13411.02,
    }
    row |= {"miner_count": 3, "frequency": "650", "fan_num": 2, "fan3": 4560, "fan6": 5880}
    for slot in range(1, 9):
        fitted = slot >= 6
        row |= {f"temp{slot}": 62 if fitted else 0, f"temp2_{slot}": 78 if fitted else 0}
        row |= {f"chain_acn{slot}": 63 if fitted else 0, f"chain_rate{slot}": "4500.10" if fitted else ""}
    text = json.dumps(listed("STATS", [{**INFO, "Type": kind}, row | more]))
    return text.replace("}, {", "}{", 1).encode()


@cache
def host_key(number: int = 0) -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-rsa", f"board {number}", key_size=2048)


@dataclass
class OldAntminer(Antminer):
    """What it holds and what it was told.

    Args:
        files: what is on its flash, by path.
        scripts: names in /etc/init.d.
        web_file: which file the web page shows and the form writes.
        cut: the connection is aborted at this command (from 0), before or after it is run.
        spoil: may give the status and output of a command instead of running it; None runs it.
        hangs: a command that never ends.
        shell: a folder: commands are run in it by the real shell.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    scripts: tuple[str, ...] = ("bmminer",)
    web_file: str = BMMINER
    cut: tuple[int, str] | None = None
    spoil: Callable[[str], tuple[int, bytes] | None] = lambda command: None
    hangs: str | None = None
    shell: Path | None = None
    ssh_password: str = "admin"
    commands: list[str] = field(default_factory=list)
    # Its key exchange takes a tenth of a second.
    dropbear: bool = False
    restarts: int = 0
    logins_by_ssh: int = 0

    def _page(self, page: str) -> Any:
        if page == "get_miner_conf.cgi" and self.web_file in self.files:
            return b"\n\n" + self.files[self.web_file]
        return super()._page(page)

    def _write(self, body: bytes) -> Any:
        """The script: by place, not by name; a few codes undone; the file written anew."""
        self.written.append({"body": body.decode()})
        values = dict.fromkeys(_PLACES, "")
        for name, part in zip(_PLACES, body.decode().split("&"), strict=False):
            part = part.replace("+", " ")
            for code in _CODES:
                part = part.replace(code, chr(int(code[1:], 16)))
            values[name] = part.replace(f"{name}=", "", 1)
        if self.takes:
            self.files[self.web_file] = _file_of(values)
        return self.answers

    async def on_command(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        command = process.command or ""
        number = len(self.commands)
        self.commands.append(command)
        connection = process.channel.get_connection()
        sent = await process.stdin.read() if command.startswith("cat > ") else b""
        if self.cut == (number, "before"):
            connection.abort()
            return
        if command == self.hangs:
            await asyncio.Event().wait()
        answer = self.spoil(command) or await self._run(command, sent)
        if self.cut == (number, "after"):
            connection.abort()
            return
        process.stdout.write(answer[1])
        process.exit(answer[0])

    async def _run(self, command: str, sent: bytes) -> tuple[int, bytes]:
        if self.shell is not None:
            return await self._by_shell(command, sent)
        output = b""
        for part in command.split(" && "):
            status, printed = self._one(part, sent)
            output += printed
            if status:
                return status, output
        return 0, output

    def _one(self, command: str, sent: bytes) -> tuple[int, bytes]:
        words = command.split()
        if words == ["sync"]:
            return 0, b""
        if words[:2] == ["cat", ">"]:
            self.files[words[2]] = sent
            return 0, b""
        if words[0] == "cat" and len(words) == 2:
            return (0, self.files[words[1]]) if words[1] in self.files else (1, b"")
        if words[:2] == ["cp", "-p"] and words[2] in self.files:
            self.files[words[3]] = self.files[words[2]]
            return 0, b""
        if words[0] == "mv" and words[1] in self.files:
            self.files[words[2]] = self.files.pop(words[1])
            return 0, b""
        if words[:2] == ["test", "-e"]:
            return int(words[2] not in self.files), b""
        found = re.fullmatch(r"(?:test -x )?/etc/init\.d/(\w+)\.sh( restart >/dev/null 2>&1)?", command)
        if found is None:
            return 127, b""
        if found.group(1) not in self.scripts:
            return 1, b""
        self.restarts += found.group(2) is not None
        return 0, b""

    async def _by_shell(self, command: str, sent: bytes) -> tuple[int, bytes]:
        for name in ("/config/", "/etc/init.d/"):
            command = command.replace(name, f"{self.shell}{name}")
        shell = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await shell.communicate(sent)
        return shell.returncode or 0, output


def _file_of(values: dict[str, str]) -> bytes:
    pools = [
        {
            "url": values[f"_ant_pool{n}url"],
            "user": values[f"_ant_pool{n}user"],
            "pass": values[f"_ant_pool{n}pw"],
        }
        for n in (1, 2, 3)
    ]
    conf: dict[str, Any] = {
        "pools": pools,
        "api-listen": True,
        "api-network": True,
        "api-groups": "A:stats:pools:devs:summary:version",
        "api-allow": "A:0/0,W:*",
    }
    for name in ("nobeeper", "notempoverctrl"):
        if values[f"_ant_{name}"] == "true":
            conf[f"bitmain-{name}"] = True
    if values["_ant_fan_customize_switch"] == "true":
        conf |= {"bitmain-fan-ctrl": True, "bitmain-fan-pwm": values["_ant_fan_customize_value"]}
    conf |= {
        "bitmain-use-vil": True,
        "bitmain-freq": values["_ant_freq"],
        "bitmain-voltage": values["_ant_voltage"],
    }
    if values["_ant_work_mode"]:
        conf["bitmain-work-mode"] = values["_ant_work_mode"]
    return json.dumps(conf | {"multi-version": "1"}, indent=0).encode()


class _Server(asyncssh.SSHServer):
    def __init__(self, it: OldAntminer) -> None:
        self._it = it

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        self._it.logins_by_ssh += 1
        return (username, password) == ("root", self._it.ssh_password)


@asynccontextmanager
async def old_antminer(key: int = 0, **options: Any) -> AsyncIterator[OldAntminer]:
    """A machine that answers as `options` of `OldAntminer` say, on ports of its own."""
    options.setdefault("api", {"stats": s9_stats(), "pools": listed("POOLS", POOL_ROWS, 7)})
    options.setdefault("pages", {"get_system_info.cgi": SYSTEM})
    options.setdefault("files", {BMMINER: conf_text().encode()})
    options.setdefault("answers", b"ok\n")
    it = OldAntminer(**options)
    async with serving(it.on_api, it.on_web, it.on_status) as (api, web, status), ssh_server(it, key) as ssh:
        it.ports = replace(it.ports, api=api, web=web, status=status, api_v3=1, ssh=ssh)
        yield it


@asynccontextmanager
async def ssh_server(it: OldAntminer, key: int = 0, port: int = 0) -> AsyncIterator[int]:
    """The ssh side alone, as after another board was put in."""
    server = await asyncssh.listen(
        "127.0.0.1",
        port,
        server_factory=lambda: _Server(it),
        process_factory=it.on_command,
        server_host_keys=[host_key(key)],
        encoding=None,
        kex_algs=["diffie-hellman-group1-sha1" if it.dropbear else "curve25519-sha256"],
        encryption_algs=["aes128-cbc"],
        mac_algs=["hmac-sha1"],
        compression_algs=["none"],
    )
    try:
        yield server.get_port()
    finally:
        server.close()
        await server.wait_closed()

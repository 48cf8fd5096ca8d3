"""SSH of old Antminers: a dropbear of its time with password login, in front of the control board's shell.

asyncssh speaks on one end of a socket pair, and what passes between that and the client passes through here,
so that the faults of the wire act on SSH as on every other port.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import socket
from collections.abc import AsyncIterator

import asyncssh

from simulator.peers.antminer_old.commands import COMMANDS
from simulator.peers.antminer_old.files import Files
from simulator.peers.antminer_old.host_key import host_key
from simulator.peers.antminer_old.shell import Call, Command, Input, Shell, text_input
from simulator.peers.antminer_old.unit import OldUnit
from simulator.peers.faults import send
from simulator.peers.listener import Hangup

log = logging.getLogger(__name__)

FACTORY_USER = "root"
FACTORY_PASSWORD = "admin"  # noqa: S105 - the published factory default that the simulated miner has
MAX_SESSIONS = 4
MAX_PROCESSES = 4
LOGIN_S = 60.0
MAX_SLEEP_S = 60.0
VERSION = "dropbear_2014.63"
# The first two came late in this generation. The others are what its early images have and nothing more, but
# the cryptography library is giving them up.
KEX = (
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "diffie-hellman-group14-sha1",
    "diffie-hellman-group1-sha1",
)
CIPHERS = ("aes128-ctr", "aes256-ctr", "aes128-cbc", "3des-cbc", "aes256-cbc")
MACS = ("hmac-sha1-96", "hmac-sha1", "hmac-md5")
SIGNATURES = ("ssh-rsa",)
_PROMPT = b"# "


class OldSsh:
    """Answers connections to port 22."""

    def __init__(self, unit: OldUnit) -> None:
        self._unit = unit
        self._surface = unit.surface
        options = unit.surface.options
        self._username = FACTORY_USER if options.ssh_username is None else options.ssh_username
        self._password = FACTORY_PASSWORD if options.ssh_password is None else options.ssh_password
        self._sessions = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side ends it.

        Raises:
            Hangup: the control board is down, or has too many sessions.
        """
        if not self._surface.state().ports_open or self._sessions >= MAX_SESSIONS:
            raise Hangup
        self._sessions += 1
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        tasks: list[asyncio.Task[None]] = []
        try:
            inner_reader, inner_writer = await asyncio.open_connection(sock=ours)
            tasks = [
                asyncio.create_task(self._serve(theirs)),
                asyncio.create_task(_pump(reader, inner_writer)),
            ]
            # However the server ends, this end is told.
            tasks[0].add_done_callback(lambda _: theirs.close())
            while chunk := await inner_reader.read(16_384):
                await send(writer, chunk, self._surface.faults)
        finally:
            self._sessions -= 1
            for task in tasks:
                task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(outcome, Exception):
                    log.error("%s: the SSH server failed", self._unit.address, exc_info=outcome)
            ours.close()
            theirs.close()

    def lets_in(self, username: str, password: str) -> bool:
        """True for the right words."""
        if self._surface.faults.login_loop:
            return False
        right = hmac.compare_digest(password.encode(), self._password.encode())
        return right and username == self._username

    async def _serve(self, sock: socket.socket) -> None:
        faults = self._surface.faults
        # Where writes have no effect, a session sees its own and nothing of them is left after it.
        files = self._unit.files.copy() if faults.ack_without_effect else self._unit.files
        board = _Board(self._unit, files)
        key = await asyncio.to_thread(host_key)
        try:
            connection = await asyncssh.run_server(
                sock,
                server_factory=lambda: _Login(self),
                server_host_keys=[key],
                server_version=VERSION,
                kex_algs=KEX,
                encryption_algs=CIPHERS,
                mac_algs=MACS,
                signature_algs=SIGNATURES,
                compression_algs=("none",),
                process_factory=board.process,
                encoding=None,
                line_editor=False,
                allow_scp=False,
                agent_forwarding=False,
                login_timeout=LOGIN_S,
            )
        except (OSError, asyncssh.Error) as error:
            log.debug("%s: no SSH session: %r", self._unit.address, error)
            return
        try:
            await connection.wait_closed()
        finally:
            connection.abort()
            await connection.wait_closed()


class _Login(asyncssh.SSHServer):
    """Password login, and nothing else to be had."""

    def __init__(self, ssh: OldSsh) -> None:
        self._ssh = ssh

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return self._ssh.lets_in(username, password)


class _Board:
    """What one session's commands run on."""

    def __init__(self, unit: OldUnit, files: Files) -> None:
        self._unit = unit
        self._files = files
        self._processes = 0
        own: dict[str, Command] = {
            "date": self._date,
            "hostname": self._hostname,
            "ifconfig": self._ifconfig,
            "reboot": self._reboot,
            "sleep": self._sleep,
            "uname": self._uname,
            "uptime": self._uptime,
        }
        self._commands = COMMANDS | own
        self._programs: dict[str, Command] = {
            unit.layout.script: self._init_script,
            "/sbin/reboot": self._reboot,
        }

    async def process(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """Run what one channel asks for: one command line, or lines as they come."""
        self._processes += 1
        try:
            if self._processes > MAX_PROCESSES or process.subsystem is not None:
                process.stderr.write(b"sh: can't fork: Resource temporarily unavailable\n")
                process.exit(2)
                return
            status = await self._run(process)
            process.exit(status)
            if not self._unit.surface.state().ports_open:
                process.channel.get_connection().close()
        except (OSError, asyncssh.Error) as error:
            log.debug("%s: SSH channel ended: %r", self._unit.address, error)
        finally:
            self._processes -= 1

    async def _run(self, process: asyncssh.SSHServerProcess[bytes]) -> int:
        shell = Shell(self._files, self._commands, self._programs)
        raw = process.command
        if raw is not None:
            return await self._line(shell, process, raw, Input(_chunks(process.stdin)))
        interactive = process.term_type is not None
        while not shell.exits:
            if interactive:
                process.stdout.write(_PROMPT)
            line = await _next_line(process.stdin)
            if line is None:
                break
            await self._line(shell, process, line, text_input(b""))
        return shell.status

    async def _line(
        self, shell: Shell, process: asyncssh.SSHServerProcess[bytes], line: str, stdin: Input
    ) -> int:
        out, errors, status = await shell.run(line, stdin)
        if self._unit.surface.faults.cut_mid_json and out:
            process.stdout.write(out[: max(1, len(out) // 2)])
            await process.stdout.drain()
            process.channel.get_connection().abort()
            return status
        process.stdout.write(out)
        process.stderr.write(errors)
        await process.stdout.drain()
        return status

    async def _init_script(self, shell: Shell, call: Call) -> int:
        name = self._unit.layout.daemon
        action = call.words[1] if len(call.words) > 1 else ""
        if action in ("restart", "force-reload", "start"):
            self._unit.restart()
        elif action == "stop":
            self._unit.stop()
        else:
            return call.complain(f"Usage: /etc/init.d/{name} {{start|stop|restart|force-reload}}")
        verb = {"start": "Starting", "stop": "Stopping"}.get(action, "Restarting")
        call.print(f"{verb} {name.capitalize()} daemon: {name}.")
        return 0

    async def _reboot(self, shell: Shell, call: Call) -> int:
        self._unit.reboot()
        return 0

    async def _sleep(self, shell: Shell, call: Call) -> int:
        text = (call.words[1] if len(call.words) > 1 else "").removesuffix("s")
        if not text.isdigit() or len(text) > 6:
            return call.complain(f"sleep: invalid number '{text}'")
        await self._unit.surface.machine.clock.sleep(min(MAX_SLEEP_S, float(text)))
        return 0

    async def _uname(self, shell: Shell, call: Call) -> int:
        release, _, version = self._unit.kernel.partition(" ")
        parts = {
            "s": "Linux",
            "n": "antMiner",
            "r": release,
            "v": version,
            "m": "armv7l",
            "o": "GNU/Linux",
        }
        letters = "".join(word.removeprefix("-") for word in call.words[1:]) or "s"
        if not set(letters) <= {*parts, "a"}:
            return call.complain(f"uname: invalid option -- '{letters}'")
        wanted = parts if "a" in letters else [key for key in parts if key in letters]
        call.print(" ".join(parts[key] for key in wanted))
        return 0

    async def _hostname(self, shell: Shell, call: Call) -> int:
        call.print("antMiner")
        return 0

    async def _date(self, shell: Shell, call: Call) -> int:
        now = self._unit.surface.state().now
        if len(call.words) > 2 or (len(call.words) == 2 and not call.words[1].startswith("+")):
            return call.complain("Usage: date [+FMT]")
        call.print(now.strftime(call.words[1][1:64] if len(call.words) == 2 else "%a %b %e %H:%M:%S UTC %Y"))
        return 0

    async def _uptime(self, shell: Shell, call: Call) -> int:
        state = self._unit.surface.state()
        minutes = int(state.uptime_s // 60)
        call.print(f" {state.now:%H:%M:%S} up {minutes} min,  load average: 1.07, 1.12, 1.09")
        return 0

    async def _ifconfig(self, shell: Shell, call: Call) -> int:
        mac = self._unit.surface.state().mac.upper()
        call.print(f"eth0      Link encap:Ethernet  HWaddr {mac}  ")
        call.print(f"          inet addr:{self._unit.address}  Bcast:127.255.255.255  Mask:255.0.0.0")
        return 0


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """From the client to asyncssh, and the end of it too."""
    with contextlib.suppress(OSError):
        try:
            while chunk := await reader.read(16_384):
                writer.write(chunk)
                await writer.drain()
        finally:
            writer.close()


async def _chunks(stdin: asyncssh.SSHReader[bytes]) -> AsyncIterator[bytes]:
    while True:
        try:
            chunk = await stdin.read(4096)
        except (OSError, asyncssh.Error):
            # A broken connection ends the input like any other end, and the commands after it still run.
            return
        if not chunk:
            return
        yield chunk


async def _next_line(stdin: asyncssh.SSHReader[bytes]) -> str | None:
    try:
        line = await stdin.readline()
    except (OSError, asyncssh.Error, asyncio.IncompleteReadError):
        return None
    return line.decode("utf-8", "replace") if line else None

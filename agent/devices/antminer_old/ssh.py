"""A login by ssh on an old miner's control board, and single commands there, bounded in time and size.

Imports asyncssh, which is an extra: whoever needs this module imports it when it is needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncssh

from agent.devices.device import Credentials, Endpoint
from agent.errors import DeviceError, Malformed, Timeout, Unauthorised, Unreachable, WrongMiner

FACTORY = Credentials("root", "admin")
_LIMIT_BYTES = 64 * 1024
_CLOSE_S = 1.0
# An old dropbear looks at the first 20 names of a list alone, and speaks only the last of each.
_KEX = (
    "curve25519-sha256",
    "ecdh-sha2-nistp256",
    "diffie-hellman-group14-sha256",
    "diffie-hellman-group14-sha1",
    "diffie-hellman-group1-sha1",
)
_HOST_KEYS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-256", "ssh-rsa")
_CIPHERS = ("aes256-ctr", "aes128-ctr", "aes256-cbc", "aes128-cbc")
_MACS = ("hmac-sha2-256", "hmac-sha1")
# Whatever asyncssh makes of bytes that are no ssh.
_BROKEN = (asyncssh.Error, OSError, ValueError, KeyError, IndexError, TypeError, AssertionError)


@dataclass(frozen=True, slots=True)
class Answer:
    """How a command ended, and what it printed."""

    status: int
    output: bytes


class Session:
    """Commands on one open connection, one after the other."""

    def __init__(self, connection: asyncssh.SSHClientConnection, endpoint: Endpoint) -> None:
        self._connection = connection
        self._address = endpoint.address

    async def run(self, command: str, deadline_s: float, sent: bytes = b"") -> Answer:
        """Run one command with `sent` as its input.

        Args:
            command: a constant of ours; never text that came from a device.

        Raises:
            Timeout: it did not end in time. Unreachable: the connection was lost before it ended.
            Malformed: it printed more than 64 KiB.
        """
        where = f"ssh: {command}"
        try:
            async with asyncio.timeout(deadline_s):
                return await self._run(command, sent, where)
        except TimeoutError as error:
            self._connection.abort()
            raise Timeout(self._address, f"{where}: did not end within {deadline_s:g} s") from error
        except _BROKEN as error:
            self._connection.abort()
            raise Unreachable(self._address, f"{where}: connection lost ({_words(error)})") from error

    async def _run(self, command: str, sent: bytes, where: str) -> Answer:
        process = await self._connection.create_process(command, encoding=None, stderr=asyncssh.DEVNULL)
        with contextlib.suppress(BrokenPipeError):
            # A command that fails may be gone before it has read anything.
            process.stdin.write(sent)
            await process.stdin.drain()
            process.stdin.write_eof()
        output = bytearray()
        while chunk := await process.stdout.read(_LIMIT_BYTES + 1):
            output += chunk
            if len(output) > _LIMIT_BYTES:
                self._connection.abort()
                raise Malformed(self._address, f"{where}: printed more than {_LIMIT_BYTES} bytes")
        await process.wait_closed()
        if process.exit_status is None or process.exit_status < 0:
            raise Unreachable(self._address, f"{where}: connection lost before it ended")
        return Answer(process.exit_status, bytes(output))


class Door:
    """The way into one miner. It remembers the host key of the first login and refuses another."""

    def __init__(self) -> None:
        self._fingerprint: str | None = None

    @asynccontextmanager
    async def open(self, endpoint: Endpoint) -> AsyncIterator[Session]:
        """Log in, for as long as the block lasts.

        Raises:
            Unreachable, Timeout, Unauthorised, Malformed: as their names say.
            WrongMiner: another host key than at the first login; the password was not sent.
        """
        connection = await self._connect(endpoint)
        try:
            yield Session(connection, endpoint)
            connection.close()
            with contextlib.suppress(TimeoutError, *_BROKEN):
                async with asyncio.timeout(_CLOSE_S):
                    await connection.wait_closed()
        finally:
            connection.abort()

    async def _connect(self, endpoint: Endpoint) -> asyncssh.SSHClientConnection:
        address, port, seconds = endpoint.address, endpoint.ports.ssh, endpoint.deadline_s
        login = endpoint.credentials or FACTORY
        witness = _Witness(self._fingerprint)
        # Old boards speak no other key exchange; that it is outdated is no news to their owner.
        warnings.filterwarnings("ignore", message="Diffie-Hellman over finite fields")
        try:
            async with asyncio.timeout(seconds):
                connection = await asyncssh.connect(
                    address,
                    port,
                    username=login.username,
                    password=login.password,
                    client_factory=lambda: witness,
                    # No known key, so that the witness is asked, before the password is sent.
                    known_hosts=([], [], []),
                    kex_algs=_KEX,
                    server_host_key_algs=_HOST_KEYS,
                    encryption_algs=_CIPHERS,
                    mac_algs=_MACS,
                    compression_algs=("none",),
                    preferred_auth=("password", "keyboard-interactive"),
                    # Nothing of the person's own ssh is offered to a miner.
                    config=None,
                    client_keys=None,
                    agent_path=None,
                    x509_trusted_certs=None,
                )
        except TimeoutError as error:
            raise Timeout(address, f"port {port}: no ssh login within {seconds:g} s") from error
        except asyncssh.PermissionDenied as error:
            raise Unauthorised(
                address, f"port {port}: ssh refuses user {login.username!r} or the password"
            ) from error
        except _BROKEN as error:
            raise self._problem(error, witness, address, port) from error
        self._fingerprint = witness.seen
        return connection

    def _problem(self, error: BaseException, witness: _Witness, address: str, port: int) -> DeviceError:
        if witness.seen is not None and self._fingerprint not in (None, witness.seen):
            return WrongMiner(
                address,
                f"port {port}: another ssh host key than before; nothing was sent. If the board or its "
                "firmware was replaced, restart hashmargin",
            )
        if isinstance(error, ConnectionRefusedError):
            return Unreachable(address, f"port {port}: connection refused")
        if isinstance(error, OSError | asyncssh.ConnectionLost):
            return Unreachable(address, f"port {port}: {_words(error)}")
        return Malformed(address, f"port {port}: no usable ssh: {_words(error)}")


class _Witness(asyncssh.SSHClient):
    """Sees the host key of one connection before anything secret is sent."""

    def __init__(self, expected: str | None) -> None:
        self._expected = expected
        self.seen: str | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Take the first key there is, and from then on that one."""
        self.seen = key.get_fingerprint()
        return self._expected in (None, self.seen)


def _words(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:200]

"""Listens and serves until told to stop. The application itself is `dashboard.app`."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from agent.clock import Clock
from agent.errors import InputError
from dashboard.app import create_app
from dashboard.database import Database

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen: `HOST:PORT`, port 0 for any free one, `[::1]:8420` for IPv6."""

    host: str
    port: int

    @staticmethod
    def parse(text: str) -> Listen:
        """Read `HOST:PORT`.

        Raises:
            InputError: it is not that.
        """
        host, colon, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not colon or not host or not port.isdecimal() or int(port) > 65535:
            raise InputError(f"--listen {text!r} is not HOST:PORT, for example 127.0.0.1:8420")
        return Listen(host, int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificate chain and private key, as PEM files."""

    certificate: Path
    key: Path


class Service(uvicorn.Server):
    """One dashboard process: bound on creation, so that its URL is known before it serves.

    Args:
        database: open; stays the caller's.
        clock: time of the sites.
        listen: where.
        tls: certificate and key, or None for plain HTTP.
        relayed: folder below which `sources` holds what is relayed to sites.

    Raises:
        InputError: the address cannot be bound or the certificate not be used.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        listen: Listen,
        tls: Tls | None = None,
        relayed: Path | None = None,
    ) -> None:
        self.app = create_app(database, clock, secure=tls is not None, relayed=relayed)
        config = uvicorn.Config(
            self.app,
            access_log=False,
            log_config=None,
            lifespan="off",
            ws="none",
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=5,
            limit_concurrency=512,
            ssl_certfile=tls.certificate if tls else None,
            ssl_keyfile=tls.key if tls else None,
        )
        try:
            config.load()
        except OSError as error:
            raise InputError(f"certificate and key cannot be used: {error}") from error
        super().__init__(config)
        self._socket = _bind(listen)
        port = self._socket.getsockname()[1]
        host = f"[{listen.host}]" if ":" in listen.host else listen.host
        self.url = f"{'https' if tls else 'http'}://{host}:{port}"

    async def serve_until_stopped(self, ready_file: Path | None = None) -> None:
        """Serve until SIGINT, SIGTERM or `should_exit`; the ready file gets the URL once it listens."""
        self._ready_file = ready_file
        await self.serve(sockets=[self._socket])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, then say so."""
        await super().startup(sockets)
        if self.started and self._ready_file is not None:
            beside = self._ready_file.with_name(f".{self._ready_file.name}.{os.getpid()}")
            beside.write_text(self.url + "\n", encoding="utf-8")
            beside.replace(self._ready_file)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGINT and SIGTERM. Unlike uvicorn's own, they are not raised again afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _bind(listen: Listen) -> socket.socket:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((listen.host, listen.port))
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise InputError(
            f"cannot listen on {listen.host}:{listen.port}: {error.strerror or error}"
        ) from error
    return listener

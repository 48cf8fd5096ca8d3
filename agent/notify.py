"""systemd's notify protocol: ready, status, watchdog and stopping, over the socket it names.

Outside systemd (no NOTIFY_SOCKET) every call does nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from agent.errors import ConfigError


class Notifier:
    """Sends state to the service manager.

    Args:
        environ: where NOTIFY_SOCKET and WATCHDOG_USEC are looked up.

    Raises:
        ConfigError: NOTIFY_SOCKET is set but cannot be a socket.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        path = environ.get("NOTIFY_SOCKET") or None
        if path is not None and path[0] not in "/@":
            raise ConfigError(None, None, "NOTIFY_SOCKET", f"must start with / or @, got {path!r}")
        self._path = "\0" + path[1:] if path is not None and path[0] == "@" else path
        self.watchdog_s = _seconds(environ.get("WATCHDOG_USEC"))

    def ready(self, status: str) -> None:
        """The agent has started and its first cycle is whole."""
        self._send("READY=1", f"STATUS={status}")

    def cycle_done(self, status: str) -> None:
        """A whole cycle went through: feed the watchdog."""
        self._send("WATCHDOG=1", f"STATUS={status}")

    def stopping(self) -> None:
        """Shutdown has begun."""
        self._send("STOPPING=1", "STATUS=shutting down")

    def _send(self, *lines: str) -> None:
        if self._path is None:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.settimeout(1.0)
            message = "\n".join(line.replace("\n", " ") for line in lines)
            try:
                out.sendto(message.encode(), self._path)
            except OSError:
                # The manager is gone or busy; missing one ping is for its watchdog to judge.
                return


def _seconds(microseconds: str | None) -> float | None:
    if microseconds is None or not microseconds.isdigit():
        return None
    return int(microseconds) / 1e6

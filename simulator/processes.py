"""The processes of a demo: started with their output in a log, watched, and all gone at the end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from rich.console import Console

from agent.errors import HashmarginError

_READY_S = 60.0
_STOP_S = 15.0


class Processes:
    """A set of `hashmargin` commands that live and die together.

    Raises:
        HashmarginError: a command failed or died; the message ends with the last lines of its log.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._running: list[tuple[str, subprocess.Popen[bytes], Path]] = []
        self._folder = Path.cwd()
        self._logs: list[IO[bytes]] = []

    def __enter__(self) -> Self:
        # A polite kill of the demo ends like Ctrl-C: with everything it started.
        signal.signal(signal.SIGTERM, _interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for _, process, _ in reversed(self._running):
            _signal(process, signal.SIGTERM)
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                _signal(process, signal.SIGKILL)
                process.wait()
        for log in self._logs:
            log.close()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def keep_logs_in(self, folder: Path) -> None:
        """Where the logs go from now on."""
        self._folder = folder

    def run(self, what: str | None, words: list[str]) -> None:
        """Run one command to its end; its progress shows on this terminal."""
        if what is not None:
            self._console.print(f"[bold]{what}[/bold]", highlight=False)
        started = time.monotonic()
        process = subprocess.Popen(_command(words), stdout=subprocess.DEVNULL, start_new_session=True)  # noqa: S603
        self._running.append((words[0], process, self._folder / "none"))
        code = process.wait()
        self._running.pop()
        if code:
            raise HashmarginError(f"'hashmargin {' '.join(words[:2])}' failed with exit code {code}")
        if what is not None:
            self._console.print(f"  done in {time.monotonic() - started:.1f} s", style="dim", highlight=False)

    def start(self, name: str, words: list[str], ready: Path) -> None:
        """Start a command that stays, and wait until it has made its `ready` file."""
        self._console.print(f"[bold]starting {name}[/bold]", highlight=False)
        log_path = self._folder / f"{name.split()[-1]}.log"
        log = log_path.open("wb")
        self._logs.append(log)
        process = subprocess.Popen(  # noqa: S603
            _command(words), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        self._running.append((name, process, log_path))
        until = time.monotonic() + _READY_S
        while not (ready.exists() and ready.stat().st_size > 0):
            self.check()
            if time.monotonic() > until:
                raise HashmarginError(f"{name} was not ready within {_READY_S:g} s; see {log_path}")
            time.sleep(0.05)

    def check(self) -> None:
        """Raise if one of them has died."""
        for name, process, log_path in self._running:
            if process.poll() is not None:
                tail = log_path.read_text(errors="replace").splitlines()[-8:] if log_path.exists() else []
                raise HashmarginError(
                    f"{name} stopped with exit code {process.returncode}:\n" + "\n".join(tail)
                )

    def free_port(self, wanted: int) -> int:
        """`wanted` if nobody listens there, else any free port of loopback."""
        for port in (wanted, 0):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return int(probe.getsockname()[1])
        raise HashmarginError("no free port on 127.0.0.1")


def command(name: str, **options: object) -> list[str]:
    """The words of a `hashmargin` command: `command("run", config=path)` is `run --config path`."""
    words = name.split()
    for option, value in options.items():
        words += [f"--{option.replace('_', '-')}", str(value)]
    return words


def _command(words: list[str]) -> list[str]:
    return [sys.executable, "-m", "agent", *words]


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if process.poll() is None:
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt

"""What a program does when it is asked to stop while something may be half way to a miner."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_FORCED = 130


@contextmanager
def stop_on_signal(stop: asyncio.Event, say: Callable[[], None]) -> Iterator[None]:
    """Inside, the first SIGINT or SIGTERM sets `stop`, the second ends the process at once.

    Args:
        say: called once, at the first signal.
    """
    loop = asyncio.get_running_loop()

    def asked() -> None:
        if stop.is_set():
            os._exit(_FORCED)
        say()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

"""Fetches price sources for sites without internet. Serving them is left to `dashboard.api`."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from pydantic import model_validator

from agent.clock import Clock
from agent.sources.config import Sources, anchor_sources, check_sources
from agent.sources.fetching import Fetching
from agent.yamlfile import StrictModel, load_yaml


class RelayFile(StrictModel):
    """The file of `--sources`: the same list as in a site file."""

    sources: Sources

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_sources(self.sources, {}, dashboard=False)
        return self


class Relaying:
    """Keeps the tables of all sources in a folder, on a thread of its own.

    Args:
        file: YAML with `sources`; relative paths are taken from its folder.
        folder: where tables are kept.

    Raises:
        ConfigError: the file or a secret cannot be used.
    """

    def __init__(self, file: Path, folder: Path, clock: Clock) -> None:
        sources = anchor_sources(load_yaml(file, RelayFile).sources, file.resolve().parent)
        self.folder = folder
        self._fetching = Fetching(sources, folder, clock, random.Random())

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Fetch while the block runs."""
        loop = asyncio.new_event_loop()
        task = loop.create_task(self._fetching.run())
        thread = threading.Thread(target=self._turn, args=(loop, task), name="relay", daemon=True)
        thread.start()
        try:
            yield
        finally:
            loop.call_soon_threadsafe(task.cancel)
            thread.join(timeout=30.0)

    def _turn(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.run_until_complete(self._fetching.close())
        loop.close()

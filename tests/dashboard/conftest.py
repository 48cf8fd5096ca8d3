from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dashboard.sample import SampleSite
from tests.dashboard.serving import Host, Running


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """One dashboard process' worth of service for all tests; each test gives it a database of its own."""
    with Host(tmp_path_factory.mktemp("host")) as host:
        yield host


@pytest.fixture
def running(host: Host, tmp_path: Path) -> Iterator[Running]:
    with host.with_database(tmp_path) as running:
        yield running


@pytest.fixture
def site() -> SampleSite:
    return SampleSite(miners=12)

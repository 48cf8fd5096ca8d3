"""A dashboard on a real socket for tests: the service, its database, its clock, and clients that speak to it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx

from agent.clock import ManualClock
from agent.records import Envelope
from dashboard.database import Database, open_database
from dashboard.people import add_operator, add_site
from dashboard.server import Listen, Service

NOW = datetime(2026, 7, 10, 14, 0, tzinfo=UTC)
PASSWORD = "correct horse battery"  # noqa: S105


@dataclass
class Running:
    """A dashboard that serves."""

    url: str
    database: Database
    clock: ManualClock
    tokens: dict[str, str] = field(default_factory=dict)

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=20.0)

    def bearer(self, site_id: str = "quarry") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[site_id]}"}

    async def deliver(self, envelopes: Iterable[Envelope], site_id: str = "quarry") -> httpx.Response:
        body = {"records": [envelope.model_dump(mode="json") for envelope in envelopes]}
        async with self.client() as client:
            return await client.post(
                f"/api/v1/sites/{site_id}/records", json=body, headers=self.bearer(site_id)
            )

    @asynccontextmanager
    async def signed_in(self, name: str = "maria") -> AsyncIterator[httpx.AsyncClient]:
        async with self.client() as client:
            answer = await client.post("/login", data={"name": name, "password": PASSWORD})
            assert answer.status_code == 303, answer.text
            yield client


@asynccontextmanager
async def serving(folder: Path, sites: Iterable[str] = ("quarry", "delta")) -> AsyncIterator[Running]:
    database = open_database(folder / "fleet.sqlite3")
    clock = ManualClock(NOW)
    service = Service(database, clock, Listen("127.0.0.1", 0))
    running = Running(service.url, database, clock)
    for site in sites:
        add_site(database, clock, site, lambda token, site=site: running.tokens.update({site: token}))
    add_operator(database, clock, "maria", PASSWORD)
    ready = folder / "ready"
    task = asyncio.create_task(service.serve_until_stopped(ready))
    try:
        async with asyncio.timeout(10):
            while not ready.exists():
                await asyncio.sleep(0.01)
        yield running
    finally:
        service.should_exit = True
        await task
        database.close()


def csrf(page: str) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', page)
    assert found is not None
    return found[1]

"""A dashboard on a real socket for tests: service, database, clock, and clients that speak to it."""

from __future__ import annotations

import asyncio
import re
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agent.clock import ManualClock, SystemClock
from agent.records import Envelope
from dashboard.database import Database, open_database
from dashboard.forms import COOKIE
from dashboard.people import add_operator, add_site, sign_in
from dashboard.server import Listen, Service
from dashboard.state import State
from tests.patience import PATIENCE_S

NOW = datetime(2026, 7, 10, 14, 0, tzinfo=UTC)
# Loading certificate authorities for every client would take longer than the tests.
_PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
PASSWORD = "correct horse battery"


@dataclass
class Running:
    """A dashboard that serves."""

    url: str
    database: Database
    clock: ManualClock
    tokens: dict[str, str]
    session: str

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=20.0, verify=_PLAIN)

    def bearer(self, site_id: str = "quarry") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[site_id]}"}

    async def deliver(self, envelopes: Iterable[Envelope], site_id: str = "quarry") -> httpx.Response:
        body = {"records": [envelope.model_dump(mode="json") for envelope in envelopes]}
        async with self.client() as client:
            return await client.post(
                f"/api/v1/sites/{site_id}/records", json=body, headers=self.bearer(site_id)
            )

    @asynccontextmanager
    async def signed_in(self, *, anew: bool = False) -> AsyncIterator[httpx.AsyncClient]:
        """A client of maria's: in the session that the database came with, or in one of its own."""
        async with self.client() as client:
            if anew:
                answer = await client.post("/login", data={"name": "maria", "password": PASSWORD})
                assert answer.status_code == 303, answer.text
            else:
                client.cookies.set(COOKIE, self.session)
            yield client


@cache
def _prepared(sites: tuple[str, ...]) -> tuple[bytes, dict[str, str], str]:
    """A database with these sites and maria, signed in; made once, as hashing a password takes its time."""
    tokens: dict[str, str] = {}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "fleet.sqlite3"
        database, clock = open_database(path), ManualClock(NOW)
        for site in sites:
            add_site(database, clock, site, partial(tokens.__setitem__, site))
        add_operator(database, clock, "maria", PASSWORD)
        session = sign_in(database, SystemClock(), "maria", PASSWORD, "127.0.0.1")
        database.close()
        return path.read_bytes(), tokens, session


class Host:
    """A real service on a real socket, in a thread of its own, that can be given another database."""

    def __init__(self, folder: Path) -> None:
        self._database = _open(folder, ())
        self._service = Service(self._database, ManualClock(NOW), Listen("127.0.0.1", 0))
        self._ready = folder / "ready"
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        asyncio.run(self._service.serve_until_stopped(self._ready))

    def __enter__(self) -> Host:
        self._thread.start()
        give_up = time.monotonic() + PATIENCE_S
        while not self._ready.exists():
            assert time.monotonic() < give_up, "the dashboard did not start"
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._service.should_exit = True
        self._thread.join(10)
        self._database.close()

    @contextmanager
    def with_database(self, folder: Path, sites: tuple[str, ...] = ("quarry", "delta")) -> Iterator[Running]:
        database, clock = _open(folder, sites), ManualClock(NOW)
        self._service.app.state.shared = State(database, clock, SystemClock(), secure=False)
        try:
            _, tokens, session = _prepared(sites)
            yield Running(self._service.url, database, clock, tokens, session)
        finally:
            database.close()


def _open(folder: Path, sites: tuple[str, ...]) -> Database:
    path = folder / "fleet.sqlite3"
    path.write_bytes(_prepared(sites)[0])
    return open_database(path)


def csrf(page: str) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', page)
    assert found is not None
    return found[1]


def self_signed(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    own = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(own)
    return folder / "cert.pem", folder / "key.pem"

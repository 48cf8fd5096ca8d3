"""The dashboard fetches what a site without internet needs, and serves it to sites that show their token."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import timedelta
from pathlib import Path

import pytest

from agent.clock import ManualClock, SystemClock
from agent.config import SiteConfig
from agent.errors import ConfigError
from agent.money.economics import Economics
from agent.sources.fetching import Fetching, Relay
from agent.sources.table import cache_path
from agent.yamlfile import parse_yaml
from dashboard.relaying import Relaying
from dashboard.state import State
from tests.dashboard.serving import Host
from tests.economics.test_sources import NOW, SPOT, spot
from tests.economics.web import price_server
from tests.patience import PATIENCE_S


def relayed_site(folder: Path, url: str) -> SiteConfig:
    return parse_yaml(
        f"site: {{id: quarry}}\nstate_dir: {folder}\nmarket: {{hashprice_usd_per_ths_day: 0.05}}\n"
        "tariff: {kind: series, source: power, horizon: real_time}\nminers: [{address: 127.0.0.1}]\n"
        f"sources: [{{name: power, kind: relay, remote: spot}}]\n"
        f"dashboard: {{url: '{url}', token_file: unused}}\n",
        SiteConfig,
    )


def wait_for(path: Path) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert time.monotonic() < give_up, f"{path} did not come"
        time.sleep(0.01)


async def test_a_site_without_internet_gets_its_prices_from_the_dashboard(tmp_path: Path) -> None:
    file = tmp_path / "relay.yaml"
    async with price_server() as server:
        server.pages["/spot"] = spot([40, 41, 42, 43, 44, 45])
        file.write_text(
            f"sources:\n  - {{name: spot, kind: http_json, url: '{server.url}/spot', "
            f"columns: {{price_usd_per_kwh: {SPOT}}}}}\n"
        )
        relay = Relaying(file, tmp_path / "relayed", ManualClock(NOW))
        with relay.running():
            await asyncio.to_thread(wait_for, cache_path(relay.folder, "spot"))
    with Host(tmp_path) as host, host.with_database(tmp_path) as running:
        state = State(running.database, running.clock, SystemClock(), secure=False, relayed=relay.folder)
        host._service.app.state.shared = state
        config = relayed_site(tmp_path / "site", running.url)
        place = f"{running.url}/api/v1/sites/quarry"
        clock = ManualClock(NOW)
        fetch = Fetching(
            config.sources, config.state_dir, clock, random.Random(1), Relay(place, running.tokens["quarry"])
        )
        await fetch.fetch_due()
        assert not fetch.problems
        assert Economics(config).conditions(NOW).price_usd_per_kwh == pytest.approx(0.045)
        async with running.client() as client:
            page = "/api/v1/sites/quarry/sources/spot"
            assert (await client.get(page)).status_code == 401
            assert (await client.get(page, headers=running.bearer("delta"))).status_code == 403
            for name in ("other", "..%2Fsecret"):
                answer = await client.get(
                    f"/api/v1/sites/quarry/sources/{name}", headers=running.bearer("quarry")
                )
                assert answer.status_code in (404, 422)
        await fetch.close()
    # With the dashboard gone the last good stays until it is stale.
    again = Fetching(config.sources, config.state_dir, clock, random.Random(1), Relay(place, "x"))
    clock.advance(3000.0)
    await again.fetch_due()
    assert "cannot be reached" in again.problems["power"]
    await again.close()
    money = Economics(config)
    assert money.conditions(NOW + timedelta(minutes=50)).price_usd_per_kwh == pytest.approx(0.045)


def test_a_relay_does_not_relay_a_relay(tmp_path: Path) -> None:
    file = tmp_path / "relay.yaml"
    file.write_text("sources: [{name: a, kind: relay, remote: b}]\n")
    with pytest.raises(ConfigError, match="needs a dashboard"):
        Relaying(file, tmp_path, ManualClock(NOW))

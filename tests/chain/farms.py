"""A simulated farm and the agent's parts around it, in one process, on a clock that the test moves."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from agent.clock import ManualClock
from agent.config import SiteConfig, load_site
from agent.cycle import Cycle
from agent.hardware.catalogue import Catalogue
from agent.money.economics import Economics
from agent.records import Decision, Recommendation, Summary
from agent.site import Site
from agent.store import Store, open_store
from agent.yamlfile import parse_yaml
from simulator.farm import Farm, FarmFile, FarmSpec, resolve_farm, run_farm
from simulator.farm_site import write_site
from tests.worker import WORKER

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
PORT_OFFSET = 20_000
_BLOCKS = itertools.count(1)


def block() -> str:
    """First three bytes of addresses that no other test uses."""
    return f"127.{200 + WORKER}.{next(_BLOCKS)}"


def farm_spec(groups: list[dict[str, Any]], folder: Path, port_offset: int = PORT_OFFSET) -> FarmSpec:
    """A farm of `groups` without weather, on its own addresses; a group's `host` is the last byte."""
    prefix = block()
    placed = [{**group, "first_address": f"{prefix}.{group['host']}"} for group in groups]
    for group in placed:
        del group["host"]
    content = {
        "name": "s",
        "seed": 3,
        "port_offset": port_offset,
        "ambient": {"kind": "constant", "celsius": 18.0},
        "groups": placed,
    }
    return resolve_farm(parse_yaml(yaml.safe_dump(content), FarmFile), folder)


def site_file(spec: FarmSpec, folder: Path, **changes: Any) -> Path:
    """A site file for the farm; `changes` replace whole sections."""
    path = folder / "site.yaml"
    write_site(path, spec)
    content = yaml.safe_load(path.read_text())
    content |= {
        "poll": {"interval_s": 30.0, "deadline_s": 10.0, "spread_s": 0.0},
        "decide": {"interval_s": 60.0},
        "limits": {"minimum_hold_h": 2.0},
    }
    content |= changes
    path.write_text(yaml.safe_dump(content))
    return path


@dataclass
class Chain:
    """The running parts. `price` is the site's fixed electricity price."""

    farm: Farm
    clock: ManualClock
    config: SiteConfig
    site: Site
    store: Store
    cycle: Cycle

    async def run(self, cycles: int, seconds: float = 30.0) -> Summary:
        """Some cycles, the clock moving before each."""
        summary = None
        for _ in range(cycles):
            self.clock.advance(seconds)
            summary = await self.cycle.run()
        assert summary is not None
        return summary

    def proposed(self) -> list[Recommendation]:
        """What is recommended now."""
        return self.store.recommendations("proposed")

    def approve(self, recommendation: Recommendation) -> None:
        """Decide on the site, as `hashmargin recommendations approve` does."""
        decision = Decision(
            seq=1, recommendation_id=recommendation.id, verdict="approved", by="test", at=self.clock.now()
        )
        assert self.store.put_decision(decision, "site")


@asynccontextmanager
async def chain(spec: FarmSpec, site: Path, clock: ManualClock | None = None) -> AsyncIterator[Chain]:
    """Farm, store and agent's cycle together."""
    clock = clock or ManualClock(NOON)
    config = load_site(site)
    async with run_farm(spec, clock) as farm:
        store, _ = open_store(config.state_dir / "agent.sqlite3", config.site.id, clock.now())
        try:
            members = Site(config, Catalogue.load(config.hardware_dir), clock)
            cycle = Cycle(config, members, store, Economics(config), clock)
            yield Chain(farm, clock, config, members, store, cycle)
            await cycle.finish()
        finally:
            store.close()

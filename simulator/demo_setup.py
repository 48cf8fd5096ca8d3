"""Setting up a demo: history, models, dashboard, farm and agent, each a process of its own."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from agent.clock import ScaledClock
from agent.errors import HashmarginError, InputError, StoreError
from agent.records import Act, Alert, Summary
from agent.store import DATABASE, Store
from simulator.demo_farm import demo_farm, lowest_bindable_offset, training_farm
from simulator.market import write_market, write_prices
from simulator.processes import Processes, command

MARK = ".hashmargin-demo"
SITE_ID = "demo"
OPERATOR = "demo"
HISTORY_DAYS = 14
HISTORY_MINERS = 48
LIVE_DAYS = 30
# Near the break-even of the older machines, so that there is something to decide.
MEAN_USD_PER_MWH = 66.0


class Demo:
    """The running demo: its folder, its processes and its database.

    Raises:
        HashmarginError: a step failed; the message holds the end of its log.
    """

    def __init__(self, folder: Path, factor: float, seed: int, port: int, processes: Processes) -> None:
        self.folder = folder.resolve()
        self.url = ""
        self.password_file = self.folder / "operator.password"
        self._state = self.folder / "state" / DATABASE
        self._factor = factor
        self._seed = seed
        self._port = port
        self._processes = processes
        # The live farm starts where the history ends, a little before the dear hours of the evening.
        self._origin = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)

    def prepare(self) -> None:
        """Everything up to a running agent."""
        _fresh(self.folder)
        self._processes.keep_logs_in(self.folder)
        self._learn()
        market, prices = self.folder / "market.csv", self.folder / "prices.csv"
        first = self._origin.replace(hour=0) - timedelta(days=2)
        write_market(market, first, LIVE_DAYS, self._seed)
        write_prices(prices, first, LIVE_DAYS, self._seed, MEAN_USD_PER_MWH)
        database = self._set_up_dashboard()
        clock = ScaledClock(self._origin, time.time(), self._factor).spec()
        self._start_dashboard(database, clock)
        self._start_farm_and_agent(market, prices, clock)

    def _learn(self) -> None:
        lake, run = self.folder / "lake", self._processes.run
        farm = self.folder / "history-farm.yaml"
        farm.write_text(yaml.safe_dump(training_farm(self._seed), sort_keys=False))
        start = (self._origin - timedelta(days=HISTORY_DAYS)).date().isoformat()
        run(
            f"making {HISTORY_DAYS} days of history of {HISTORY_MINERS} simulated miners",
            command(
                "simulate history",
                days=HISTORY_DAYS,
                miners=HISTORY_MINERS,
                farm=farm,
                start=start,
                seed=self._seed,
                out=lake,
            ),
        )
        run(
            "training the power and profit models",
            command(
                "train",
                lake=lake,
                market=lake / "market.csv",
                prices=lake / "prices.csv",
                seed=self._seed,
                out=self.folder / "bundle",
            ),
        )

    def _set_up_dashboard(self) -> Path:
        database = self.folder / "dashboard.sqlite3"
        token = self.folder / "site.token"
        self._processes.run(
            "setting up the dashboard",
            command(f"dashboard add-site {SITE_ID}", db=database, token_file=token),
        )
        self.password_file.touch(mode=0o600)
        self.password_file.write_text(secrets.token_urlsafe(9) + "\n")
        words = command(f"dashboard add-operator {OPERATOR}", db=database, password_file=self.password_file)
        self._processes.run(None, words)
        return database

    def _start_dashboard(self, database: Path, clock: str) -> None:
        ready = self.folder / "dashboard.url"
        listen = f"127.0.0.1:{self._processes.free_port(self._port)}"
        words = command("dashboard serve", db=database, listen=listen, ready_file=ready, clock=clock)
        self._processes.start("dashboard", words, ready)
        self.url = ready.read_text().strip()

    def _start_farm_and_agent(self, market: Path, prices: Path, clock: str) -> None:
        farm, written = self.folder / "farm.yaml", self.folder / "farm-site.yaml"
        farm.write_text(yaml.safe_dump(demo_farm(self._seed, lowest_bindable_offset()), sort_keys=False))
        ready = self.folder / "farm.ready"
        words = command("simulate", farm=farm, clock=clock, write_site=written, ready_file=ready)
        self._processes.start("24 simulated miners", words, ready)
        site = self._write_site(written, market, prices)
        self._processes.start("agent", command("run", config=site, clock=clock), self._state)

    def _write_site(self, written: Path, market: Path, prices: Path) -> Path:
        content: dict[str, Any] = yaml.safe_load(written.read_text())
        content |= {
            "site": {"id": SITE_ID, "name": "Demo farm"},
            "mode": "propose",
            "state_dir": str(self._state.parent),
            "poll": {"interval_s": 60.0, "deadline_s": 1.0},
            "decide": {"interval_s": 300.0, "recommendation_ttl_s": 7200.0},
            "limits": {"minimum_hold_h": 4.0},
            "market": {"path": str(market)},
            "tariff": {"kind": "series", "path": str(prices)},
            "models": {"bundle": str(self.folder / "bundle")},
            "dashboard": {"url": self.url, "token_file": str(self.folder / "site.token"), "interval_s": 60.0},
        }
        site = self.folder / "site.yaml"
        site.write_text(yaml.safe_dump(content, sort_keys=False))
        return site

    def wait_for_summary(self, deadline_s: float = 90.0) -> Summary:
        """The first summary of the agent."""
        until = time.monotonic() + deadline_s
        while time.monotonic() < until:
            self._processes.check()
            summary = self.summary()
            if summary is not None:
                return summary
            time.sleep(0.2)
        raise HashmarginError(
            f"the agent finished no cycle within {deadline_s:g} s; see {self.folder / 'agent.log'}"
        )

    def summary(self) -> Summary | None:
        """The agent's latest summary, None before the first."""
        try:
            with self._opened() as store:
                return store.latest_summary()
        except StoreError:
            return None

    def acts(self) -> list[Act]:
        """Every act so far, newest first."""
        with self._opened() as store:
            return store.acts()

    def alerts(self) -> list[Alert]:
        """Alerts that are open now."""
        with self._opened() as store:
            return store.alerts()

    @contextmanager
    def _opened(self) -> Iterator[Store]:
        store = Store(self._state, SITE_ID)
        try:
            yield store
        finally:
            store.close()


def _fresh(folder: Path) -> None:
    """Empty the demo's own folder; anybody else's is left alone."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise InputError(f"{folder} is not empty and not a demo's folder; choose another with --dir")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    (folder / MARK).touch()

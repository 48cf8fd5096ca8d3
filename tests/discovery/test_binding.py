"""The running agent knows miners by MAC: on real sockets, with the whole cycle behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from agent.clock import ManualClock
from agent.config import load_site
from agent.cycle import Cycle
from agent.errors import WrongMiner
from agent.hardware.catalogue import Catalogue
from agent.money.economics import Economics
from agent.records import Alert, Decision, Recommendation, Summary
from agent.setting import Knob, Setting
from agent.site import Site
from agent.store import Store, open_store
from simulator.peers import Faults
from simulator.peers.faults import SHARED_MAC
from tests.discovery.hosts import NOON, Network, network

A, B, X = "02:63:00:00:00:0a", "02:63:00:00:00:0b", "02:63:00:00:00:0c"
STOP = Setting(Knob.STOP)


@dataclass
class Daemon:
    """The agent's parts as the daemon joins them."""

    clock: ManualClock
    site: Site
    store: Store
    cycle: Cycle

    async def run(self, cycles: int = 1, seconds: float = 30.0) -> Summary:
        for _ in range(cycles):
            self.clock.advance(seconds)
            summary = await self.cycle.run()
        return summary

    def alerts(self, prefix: str) -> list[Alert]:
        return [alert for alert in self.store.alerts() if alert.key.startswith(prefix)]

    def approve_all(self) -> Sequence[Recommendation]:
        proposed = self.store.recommendations("proposed")
        for one in proposed:
            decision = Decision(
                seq=1, recommendation_id=one.id, verdict="approved", by="test", at=self.clock.now()
            )
            assert self.store.put_decision(decision, "site")
        return proposed


@asynccontextmanager
async def daemon(folder: Path, miners: list[dict[str, object]], price: float = 0.5) -> AsyncIterator[Daemon]:
    (folder / "inventory.yaml").write_text(yaml.safe_dump({"miners": miners}))
    site = {
        "site": {"id": "s"},
        "state_dir": "state",
        "poll": {"interval_s": 30.0, "deadline_s": 2.0, "spread_s": 0.0},
        "decide": {"interval_s": 60.0},
        "market": {"hashprice_usd_per_ths_day": 0.05},
        "tariff": {"kind": "fixed", "price_usd_per_kwh": price},
        "inventory": "inventory.yaml",
    }
    (folder / "site.yaml").write_text(yaml.safe_dump(site))
    (folder / "state").mkdir()
    config = load_site(folder / "site.yaml")
    clock = ManualClock(NOON)
    store, _ = open_store(folder / "state" / "agent.sqlite3", "s", clock.now())
    try:
        members = Site(config, Catalogue.load(), clock)
        cycle = Cycle(config, members, store, Economics(config), clock)
        yield Daemon(clock, members, store, cycle)
        await cycle.finish()
    finally:
        store.close()


def entry(here: Network, host: int, **more: object) -> dict[str, object]:
    return {"id": f"m{host}", "address": f"{here.prefix}.{host}", **more}


def mode_of(here: Network, address: str) -> tuple[bool, str, str]:
    state = here.machines[address].state()
    return state.mining_enabled, state.work_mode, state.power_mode


async def test_a_stranger_is_not_recorded_under_the_miners_name(tmp_path: Path) -> None:
    async with network() as here:
        await here.miner(1, X)
        await here.miner(2, B)
        async with daemon(tmp_path, [entry(here, 1, mac=A), entry(here, 2, mac=B)]) as agent:
            summary = await agent.run()
            (alert,) = agent.alerts("miner-moved")
            bounds = agent.site.bounds("m1")
    lines = {line.miner_id: line for line in summary.miners}
    assert (lines["m1"].reachable, lines["m1"].hashrate_ths) == (False, None)
    assert "wrong_miner" in (lines["m1"].unreachable_reason or "")
    assert lines["m2"].reachable
    assert alert.key == "miner-moved-m1"
    assert A in alert.text
    assert X in alert.text
    assert bounds == ()


async def test_no_command_reaches_a_machine_that_took_the_address_over_since_the_last_reading(
    tmp_path: Path,
) -> None:
    async with network() as here:
        address = await here.miner(1, A)
        async with daemon(tmp_path, [entry(here, 1, mac=A)]) as agent:
            await agent.run(2)
            proposed = agent.approve_all()
            assert [one.proposed.setting() for one in proposed] == [STOP]
            # Between reading and writing another machine takes the address.
            await here.unplug(address)
            await here.miner(1, X)
            mode = mode_of(here, address)
            agent.cycle._proposals.take_decisions()
            agent.cycle.dispatcher.start(agent.clock.now())
            await agent.cycle.dispatcher.finish()
            (act,) = agent.store.acts()
        assert act.status == "failed"
        assert "wrong_miner" in (act.outcome or "")
        assert X in (act.outcome or "")
        assert mode_of(here, address) == mode


async def test_the_same_command_reaches_the_miner_that_is_meant(tmp_path: Path) -> None:
    async with network() as here:
        address = await here.miner(1, A)
        mode = mode_of(here, address)
        async with daemon(tmp_path, [entry(here, 1, mac=A)]) as agent:
            await agent.run(2)
            agent.approve_all()
            agent.cycle._proposals.take_decisions()
            agent.cycle.dispatcher.start(agent.clock.now())
            await agent.cycle.dispatcher.finish()
            (act,) = agent.store.acts()
        assert act.status == "sent"
        assert mode_of(here, address) != mode


async def test_two_miners_with_one_mac_are_an_alert_and_nothing_may_be_set_on_either(tmp_path: Path) -> None:
    twins = Faults(shared_mac=True)
    async with network() as here:
        first = await here.miner(1, A, faults=twins)
        second = await here.miner(2, B, faults=twins)
        async with daemon(tmp_path, [entry(here, 1), entry(here, 2)]) as agent:
            # The first readings of an Antminer carry no MAC yet.
            await agent.run(8)
            (alert,) = agent.alerts("duplicate-mac")
            assert agent.store.recommendations("proposed") == []
            assert (agent.site.bounds("m1"), agent.site.bounds("m2")) == ((), ())
            assert alert.key == f"duplicate-mac-{SHARED_MAC}"
            assert first in alert.text
            assert second in alert.text
            for address in (first, second):
                await here.peers[address].set_faults(Faults())
            await agent.run(8, seconds=1000.0)
            assert agent.alerts("duplicate-mac") == []
            assert agent.site.bounds("m1") != ()


async def test_exchanged_addresses_are_followed_and_each_keeps_its_name_and_login(tmp_path: Path) -> None:
    async with network() as here:
        first, second = await here.miner(1, A), await here.miner(2, B, "whatsminer-m30s-plus-plus")
        async with daemon(tmp_path, [entry(here, 1, mac=A), entry(here, 2, mac=B)]) as agent:
            await agent.run()
            ant, whats = await here.unplug(first), await here.unplug(second)
            await here.miner(1, B, machine=whats)
            await here.miner(2, A, machine=ant)
            # One round notices it, the next reads each where it is.
            summary = await agent.run(2)
            assert summary.miners_reachable == 2
            lines = {line.miner_id: line for line in summary.miners}
            assert (lines["m1"].address, lines["m2"].address) == (second, first)
            assert (lines["m1"].model, lines["m2"].model) == ("antminer-s19-pro", "whatsminer-m30s-plus-plus")
            alerts = agent.alerts("miner-moved")
            assert [alert.key for alert in alerts] == ["miner-moved-m1", "miner-moved-m2"]
            assert all("exchanged" in alert.text for alert in alerts)
            async with agent.site.exclusive("m1") as device:
                assert (await device.identify()).mac == A


async def test_addresses_are_not_exchanged_while_a_command_is_on_its_way(tmp_path: Path) -> None:
    async with network() as here:
        await here.miner(1, B)
        await here.miner(2, A)
        async with daemon(tmp_path, [entry(here, 1, mac=A), entry(here, 2, mac=B)]) as agent:
            place = agent.site.members[0].endpoint
            results = await agent.site.poller.poll_once()
            async with agent.site.poller.exclusive(place):
                agent.cycle._watches.macs(results, {})
                assert agent.site.members[0].endpoint == place
                assert agent.site.bounds("m1") == ()
            agent.cycle._watches.macs(results, {})
            assert agent.site.members[0].endpoint.address == f"{here.prefix}.2"


async def test_a_machine_that_tells_no_mac_is_not_written_to_under_a_name_with_one(tmp_path: Path) -> None:
    async with network() as here:
        await here.miner(1, A, password="changed")
        async with daemon(tmp_path, [entry(here, 1, mac=A)]) as agent:
            with pytest.raises(WrongMiner, match="tells no MAC"):
                async with agent.site.exclusive("m1"):
                    pytest.fail("the driver was handed out")

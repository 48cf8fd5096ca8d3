"""Meters in the agent's cycle: polls go in, polls with metered power come out, and what is learned stays."""

import logging
import re
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import yaml

from agent.clock import ManualClock
from agent.errors import InputError, Timeout
from agent.meters.config import check_meters
from agent.meters.site_meters import SiteMeters
from agent.reading import Reading
from agent.telemetry import PollResult
from agent.yamlfile import parse_yaml
from simulator.machine import Machine
from simulator.meters.farm_meters import COMMUNITY, SimulatedCircuit, SimulatedMeter, run_meters, site_block
from simulator.meters.surface import MeterFaults
from simulator.physics_file import default_physics
from tests.chain.farms import NOON
from tests.meters.site import Block, config, secret

HOST = "127.62.8.1"
PLACES = [f"127.62.9.{i}" for i in range(1, 5)]
ROWS = {place: i for i, place in enumerate(PLACES)}
METERS = [
    SimulatedMeter(
        name="pdu", kind="snmp", address=HOST, port=0, circuits=[SimulatedCircuit(miners=PLACES[:1])]
    ),
    SimulatedMeter(
        name="web", kind="http", address=HOST, port=0, circuits=[SimulatedCircuit(miners=PLACES[1:2])]
    ),
    SimulatedMeter(
        name="board",
        kind="modbus",
        address=HOST,
        port=0,
        circuits=[SimulatedCircuit(miners=PLACES[2:], overhead_w=400.0)],
    ),
]


class Farm:
    def __init__(self) -> None:
        self.clock = ManualClock(NOON)
        spec = default_physics().models["whatsminer-m50"]
        self.machines = {
            place: Machine(spec, seed=i, clock=self.clock, mac=f"02:00:00:00:08:0{i}", serial=f"S{i}")
            for i, place in enumerate(PLACES)
        }

    def poll(self, *failing: int) -> list[PollResult]:
        now = self.clock.now()
        results = []
        for i, (place, machine) in enumerate(self.machines.items()):
            said = machine.state().reported_power_w
            reading = None if i in failing else Reading(power_w=said, power_source="measured")
            error = Timeout(place, "no answer") if i in failing else None
            results.append(PollResult(place, place, now, now + timedelta(seconds=1), reading, error))
        return results

    @property
    def true_w(self) -> list[float]:
        return [machine.state().power_w for machine in self.machines.values()]


def sources(results: list[PollResult]) -> list[str | None]:
    return [r.reading.power_source if r.reading is not None else None for r in results]


async def test_three_kinds_of_meter_give_every_miner_its_wall_power(tmp_path: Path) -> None:
    farm = Farm()
    async with run_meters(METERS, farm.machines, farm.clock) as peers:
        block = {
            "meters": site_block(
                METERS, {name: peer.port for name, peer in peers.items()}, secret(tmp_path, COMMUNITY)
            )
        }
        meters = parse_yaml(yaml.safe_dump(block), Block).meters
        check_meters(meters, ROWS)
        site = SiteMeters(meters, ROWS, PLACES, farm.clock)
        await site.read()
        found = site.apply(farm.poll(), PLACES, max_age_s=45.0)
        assert sources(found.results) == ["metered", "metered", "metered-circuit", "metered-circuit"]
        np.testing.assert_allclose(found.fused.power_w[:2], farm.true_w[:2], atol=0.6)
        assert found.fused.power_w[2:].sum() == pytest.approx(sum(farm.true_w[2:]), abs=0.1)
        states = site.states()
    assert [(s.key.split("/")[0], s.believed, s.error) for s in states] == [
        ("pdu", True, None),
        ("web", True, None),
        ("board", True, None),
    ]


async def test_a_miner_that_is_not_read_stays_unread_but_its_outlet_is_known(tmp_path: Path) -> None:
    farm = Farm()
    async with run_meters(METERS, farm.machines, farm.clock) as peers:
        block = {
            "meters": site_block(
                METERS, {name: peer.port for name, peer in peers.items()}, secret(tmp_path, COMMUNITY)
            )
        }
        site = SiteMeters(parse_yaml(yaml.safe_dump(block), Block).meters, ROWS, PLACES, farm.clock)
        await site.read()
        found = site.apply(farm.poll(0, 2), PLACES, max_age_s=45.0)
    assert sources(found.results) == [None, "metered", None, "measured"]
    assert found.fused.power_w[0] == pytest.approx(farm.true_w[0], abs=0.6)


async def test_a_meter_that_is_stuck_through_a_change_is_found_out(tmp_path: Path) -> None:
    farm = Farm()
    async with run_meters(METERS, farm.machines, farm.clock) as peers:
        block = {
            "meters": site_block(
                METERS, {name: peer.port for name, peer in peers.items()}, secret(tmp_path, COMMUNITY)
            )
        }
        site = SiteMeters(parse_yaml(yaml.safe_dump(block), Block).meters, ROWS, PLACES, farm.clock)
        await site.read()
        site.apply(farm.poll(), PLACES, max_age_s=45.0)
        peers["pdu"].surface.faults = MeterFaults(stale=True)
        farm.machines[PLACES[0]].set_power_percent(80.0, fast=True)
        kinds: list[str] = []
        for _ in range(8):
            farm.clock.advance(30.0)
            await site.read()
            found = site.apply(farm.poll(), PLACES, max_age_s=45.0)
            kinds += [finding.kind for finding in found.findings]
    assert kinds == ["stuck"]
    assert sources(found.results)[:2] == ["measured", "metered"]


async def test_what_was_learned_is_there_in_the_next_run(tmp_path: Path) -> None:
    farm = Farm()
    async with run_meters(METERS, farm.machines, farm.clock) as peers:
        block = {
            "meters": site_block(
                METERS, {name: peer.port for name, peer in peers.items()}, secret(tmp_path, COMMUNITY)
            )
        }
        meters = parse_yaml(yaml.safe_dump(block), Block).meters
        site = SiteMeters(meters, ROWS, PLACES, farm.clock)
        for _ in range(17):
            farm.clock.advance(30.0)
            await site.read()
            site.apply(farm.poll(), PLACES, max_age_s=45.0)
        saved = site.to_bytes()
    # The meters are gone; a new agent begins with what the old one knew.
    later = SiteMeters(meters, ROWS, PLACES, farm.clock, saved)
    farm.clock.advance(30.0)
    await later.read()
    found = later.apply(farm.poll(), PLACES, max_age_s=45.0)
    assert sources(found.results) == ["reported-corrected"] * 4
    np.testing.assert_allclose(found.fused.power_w[:2], farm.true_w[:2], rtol=0.01)
    assert re.fullmatch(r"own reading \d\.\d % low", later.offsets.words(0) or "")


async def test_damaged_offsets_are_learned_anew(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        site = SiteMeters([], {}, ["a"], ManualClock(NOON), b"rubbish")
    assert np.isnan(site.offsets.ratio[0]) and "learned anew" in caplog.text


async def test_a_site_without_meters_changes_nothing() -> None:
    farm = Farm()
    site = SiteMeters([], ROWS, PLACES, farm.clock)
    await site.read()
    polled = farm.poll(1)
    found = site.apply(polled, PLACES, max_age_s=45.0)
    assert not site and found.results == polled and found.findings == () and site.states() == []


async def test_a_simulated_meter_on_a_machine_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match=r"meter pdu: the farm has no machine at 127\.62\.9\.1"):
        async with run_meters(METERS, {}, ManualClock(NOON)):
            pass


def test_the_examples_in_the_documentation_are_taken() -> None:
    text = (Path(__file__).parents[2] / "docs" / "meters.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    meters = parse_yaml(example, Block).meters
    check_meters(meters, {f"m{i}": i for i in range(1, 10)})
    assert [meter.kind for meter in meters] == ["snmp", "modbus", "http"]


@pytest.mark.parametrize(
    ("pattern", "outlets"),
    [
        ("1.3.6.1.4.1.318.1.1.26.9.4.3.1.7.N", 1),
        ("1.3.6.1.4.1.13742.6.5.4.3.1.4.1.N.5", 2),
        ("1.3.6.1.4.1.534.6.6.7.6.5.1.3.0.N", 3),
    ],
)
def test_the_oids_in_the_documentation_are_objects(pattern: str, outlets: int) -> None:
    assert f"`{pattern}`" in (Path(__file__).parents[2] / "docs" / "meters.md").read_text()
    point = {"oid": pattern.replace("N", str(outlets)), "miners": ["m"]}
    config(name="x", kind="snmp", host=HOST, community_file="c", outlets=[point])

"""Meters in the whole chain: what they show is what is recorded, learned and acted on."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.config import load_site
from agent.errors import ConfigError
from simulator.farm import resolve_farm
from simulator.farm_file import FarmFile
from simulator.meters.surface import MeterFaults
from tests.chain.farms import chain, farm_spec, site_file

GROUPS: list[dict[str, Any]] = [
    {"model": "antminer-s19-pro", "host": 10, "firmware": "antminer-legacy"},
    {"model": "whatsminer-m50", "host": 20, "firmware": "whatsminer-v2"},
    {"model": "whatsminer-m50", "host": 21, "firmware": "whatsminer-v2"},
]


def metered(folder: Path) -> tuple[Any, Path]:
    """A farm with an outlet for the Antminer and one circuit for the two Whatsminers."""
    plain = farm_spec(GROUPS, folder)
    first, *others = [miner.address for miner in plain.miners]
    meters = [
        {"name": "pdu", "kind": "snmp", "address": first, "circuits": [{"miners": [first]}]},
        {"name": "board", "kind": "modbus", "address": first, "circuits": [{"miners": others}]},
    ]
    whole = plain.file.model_dump(mode="json", exclude_unset=True) | {"meters": meters}
    spec = resolve_farm(FarmFile.model_validate(whole), folder)
    written = site_file(spec, folder)
    return spec, written


async def test_a_miner_that_reports_no_watts_has_those_of_its_outlet(tmp_path: Path) -> None:
    spec, site = metered(tmp_path)
    async with chain(spec, site) as parts:
        summary = await parts.run(2)
        line = next(line for line in summary.miners if line.model == "antminer-s19-pro")
        truth = parts.farm.machines[line.address].state().power_w
        assert line.power_source == "metered"
        assert not line.power_is_estimate
        assert line.power_w == pytest.approx(truth, rel=0.01)


async def test_a_circuit_is_shared_and_its_sum_is_kept(tmp_path: Path) -> None:
    spec, site = metered(tmp_path)
    async with chain(spec, site) as parts:
        summary = await parts.run(3)
        lines = [line for line in summary.miners if line.model == "whatsminer-m50"]
        truth = sum(parts.farm.machines[line.address].state().power_w for line in lines)
        assert [line.power_source for line in lines] == ["metered-circuit"] * 2
        assert sum(line.power_w or 0.0 for line in lines) == pytest.approx(truth, rel=0.01)


async def test_a_silent_meter_is_an_alert_and_nobody_is_without_power(tmp_path: Path) -> None:
    spec, site = metered(tmp_path)
    async with chain(spec, site) as parts:
        await parts.run(30)
        parts.farm.meters["board"].surface.faults = MeterFaults(silent=True)
        summary = await parts.run(6)
        lines = [line for line in summary.miners if line.model == "whatsminer-m50"]
        assert {line.power_source for line in lines} <= {"reported-corrected", "measured"}
        assert all(line.power_w is not None for line in lines)
        assert any(alert.key.startswith("meter-board") for alert in parts.store.alerts())


async def test_what_was_learned_is_shown_and_outlives_a_restart(tmp_path: Path) -> None:
    spec, site = metered(tmp_path)
    async with chain(spec, site) as parts:
        await parts.run(60)
    async with chain(spec, site, parts.clock) as again:
        summary = await again.run(1)
        offsets = {line.power_offset for line in summary.miners if line.model == "whatsminer-m50"}
        assert all(words is not None and "own reading" in words for words in offsets)


def test_a_miner_that_the_site_does_not_have_is_refused_by_name(tmp_path: Path) -> None:
    _, site = metered(tmp_path)
    content = yaml.safe_load(site.read_text())
    content["meters"][0]["outlets"][0]["miners"] = ["somebody-else"]
    site.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=r"meters\.0.*somebody-else"):
        load_site(site)

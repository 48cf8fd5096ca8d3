from __future__ import annotations

import re
from pathlib import Path

from simulator.farm import load_farm
from simulator.farm_file import FarmFile, Group, MinerOverride
from simulator.fault_script import load_faults
from simulator.meters.farm_meters import SimulatedCircuit, SimulatedMeter
from simulator.peers import Faults
from simulator.physics_file import Family, ModelEntry, load_physics

PAGE = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def block(word: str) -> str:
    """The one example of the page that holds a word."""
    (found,) = [text for text in BLOCKS if word in text]
    return str(found)


def test_the_farm_of_the_page_is_a_farm(tmp_path: Path) -> None:
    (tmp_path / "farm.yaml").write_text(block("name: north"))
    assert len(load_farm(tmp_path / "farm.yaml").miners) == 30


def test_the_farm_of_custom_firmware_and_meters_is_a_farm(tmp_path: Path) -> None:
    (tmp_path / "farm.yaml").write_text(block("name: tuned"))
    farm = load_farm(tmp_path / "farm.yaml")
    assert {miner.family for miner in farm.miners} == {"luxos", "braiins", "vnish"}
    assert [meter.kind for meter in farm.file.meters] == ["snmp", "modbus", "http"]


def test_the_faults_of_the_page_can_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "faults.yaml").write_text(block("script:"))
    assert len(load_faults(tmp_path / "faults.yaml").chance) == 2


def test_the_new_model_of_the_page_works_in_a_farm(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(block("acme-x1:"))
    assert "acme-x1" in load_physics(tmp_path / "my.yaml").models
    (tmp_path / "farm.yaml").write_text(
        "physics: my.yaml\ngroups:\n  - {model: acme-x1, first_address: 127.0.0.9}\n"
    )
    assert load_farm(tmp_path / "farm.yaml").miners[0].physics.boards == 4


def test_every_key_and_fault_is_on_the_page() -> None:
    names = {*FarmFile.model_fields, *Group.model_fields, *MinerOverride.model_fields}
    names |= {*SimulatedMeter.model_fields, *SimulatedCircuit.model_fields}
    names |= {*ModelEntry.model_fields, *Family.model_fields, *Faults.switches()} - {"seed"}
    for block in Family.model_fields.values():
        keys = getattr(block.annotation, "model_fields", {})
        names |= {key for key in keys if not key.startswith("hashrate_")}
    missing = [name for name in sorted(names) if f"`{name}`" not in PAGE]
    assert missing == []

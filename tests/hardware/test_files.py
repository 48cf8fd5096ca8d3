"""The generated schemas, the page of models and the example site are up to date with the code."""

import json
from pathlib import Path

from agent.cli.hardware_page import markdown_table
from agent.config import load_site
from agent.hardware.catalogue import Catalogue, default_folder
from agent.hardware.effective import check_overrides
from agent.hardware.jsonschema import hardware_schema, schema_text, site_schema

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"


def test_the_hardware_schema_file_is_up_to_date() -> None:
    assert (CONFIGS / "hardware.schema.json").read_text() == schema_text(hardware_schema()), (
        "run: hashmargin hardware schema > configs/hardware.schema.json"
    )


def test_the_site_schema_file_is_up_to_date() -> None:
    assert (CONFIGS / "site.schema.json").read_text() == schema_text(site_schema()), (
        "run: hashmargin config schema > configs/site.schema.json"
    )


def test_the_page_of_models_is_up_to_date() -> None:
    page = (ROOT / "docs" / "hardware.md").read_text()

    assert markdown_table(Catalogue.load().profiles.values()) in page, (
        "put the output of `hashmargin hardware list --markdown` into docs/hardware.md"
    )


def test_both_schemas_are_closed() -> None:
    for schema in (hardware_schema(), site_schema()):
        objects = [schema, *(part for part in schema["$defs"].values() if part["type"] == "object")]
        assert all(part["additionalProperties"] is False for part in objects)


def test_every_profile_points_editors_at_the_schema() -> None:
    for path in default_folder().glob("*.yaml"):
        first = path.read_text().splitlines()[0]

        assert first == "# yaml-language-server: $schema=../hardware.schema.json", path.name


def test_the_schema_offers_every_knob_for_completion() -> None:
    text = json.dumps(hardware_schema())

    for knob in ("work_mode", "power_limit_w", "power_percent", "hashrate_percent", "stop"):
        assert f'"{knob}"' in text


def test_the_example_site_loads_and_keeps_inside_the_profiles() -> None:
    path = CONFIGS / "site.example.yaml"
    config = load_site(path)

    check_overrides(config, Catalogue.load(config.hardware_dir), path)

    assert len(config.miners) == 5


def test_the_example_site_names_every_key_of_the_schema() -> None:
    text = (CONFIGS / "site.example.yaml").read_text()
    schema = site_schema()
    sections = ["SiteConfig", "PollConfig", "DecideConfig", "MarketConfig", "LimitsConfig", "MinerConfig"]
    parts = [schema, *(schema["$defs"][name] for name in sections if name in schema["$defs"])]

    missing = [key for part in parts for key in part["properties"] if f"{key}:" not in text]

    assert missing == []

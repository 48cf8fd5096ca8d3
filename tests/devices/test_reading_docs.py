"""docs/reading.md and docs/devices.md name what the code has, and nothing else."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from agent.devices.families import FAMILIES
from agent.errors import DeviceError
from agent.reading import Board, MinerError, Pool, Reading

DOCS = Path(__file__).parents[2] / "docs"


def rows(page: str) -> dict[str, str]:
    """First cell -> whole row, of every table of a page."""
    found = [line for line in (DOCS / page).read_text().splitlines() if line.startswith("| `")]
    return {line.split("|")[1].strip(): line for line in found}


def test_every_field_of_a_reading_is_explained_once() -> None:
    named = [name for cell in rows("reading.md") for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(named) == sorted(field.name for field in fields(Reading))


@pytest.mark.parametrize(("cell", "kind"), [("`boards`", Board), ("`pools`", Pool), ("`errors`", MinerError)])
def test_every_field_of_a_list_is_named(cell: str, kind: type[Board | Pool | MinerError]) -> None:
    words = set(re.findall(r"`(\w+)`", rows("reading.md")[cell]))
    assert {field.name for field in fields(kind)} <= words


def test_every_family_and_every_kind_of_error_is_on_the_device_page() -> None:
    named = set(rows("devices.md"))
    assert {f"`{family}`" for family in FAMILIES} <= named
    assert {f"`{kind.kind}`" for kind in DeviceError.__subclasses__()} <= named

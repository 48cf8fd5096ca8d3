"""Every folder of tests/cases/<family>/ is a captured reply and what it must be read as.

`reading.json` holds fields of the Reading that must be equal; `error.json` holds the kind of the error.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.cli.decode import replies_in
from agent.devices.families import FAMILIES
from agent.errors import DeviceError

CASES = Path(__file__).parents[1] / "cases"
FOLDERS = sorted(folder for family in FAMILIES for folder in (CASES / family).iterdir() if folder.is_dir())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}/{folder.name}")
def test_saved_replies_are_read_as_expected(folder: Path) -> None:
    decode = FAMILIES[folder.parent.name].decode
    replies = replies_in(folder)
    if (folder / "error.json").exists():
        expected = json.loads((folder / "error.json").read_text())
        with pytest.raises(DeviceError) as raised:
            decode(replies, None)
        assert raised.value.kind == expected["kind"]
        return
    expected = json.loads((folder / "reading.json").read_text())
    found = decode(replies, None).to_dict()
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_has_cases(family: str) -> None:
    assert any(folder.parent.name == family for folder in FOLDERS)

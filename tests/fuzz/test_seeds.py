"""The fuzzer's own footing: its seeds are the cases, and every property can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.cli.decode import replies_in
from agent.devices.families import FAMILIES
from tests.fuzz import properties
from tests.fuzz.replies import CASES, families, packed, seeds, unpacked

FINDINGS = sorted((Path(__file__).parent / "findings").glob("*"))


def test_every_case_is_a_seed_and_comes_back_as_it_was() -> None:
    for family in families():
        for folder in (CASES / family).iterdir():
            replies = replies_in(folder)
            assert unpacked(packed(family, replies)) == (family, replies)


@pytest.mark.parametrize("name", sorted(seeds()))
def test_the_properties_hold_for_every_seed(name: str) -> None:
    properties.hold(b"\0" + seeds()[name])


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda path: path.name)
def test_what_was_found_once_is_not_found_again(finding: Path) -> None:
    properties.hold(finding.read_bytes())


def test_a_decoder_that_raises_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    seed = next(iter(seeds().values()))
    broken = dict(FAMILIES)
    first = families()[0]
    broken[first] = _raising(first)
    monkeypatch.setattr(properties, "FAMILIES", broken)
    with pytest.raises(KeyError):
        properties.replies_give_a_reading_or_a_device_error(seed)


def _raising(family: str) -> object:
    from dataclasses import replace

    def decode(replies: object, address: object) -> object:
        raise KeyError(family)

    return replace(FAMILIES[family], decode=decode)  # type: ignore[arg-type]

"""A miner is found by any name that people or the agent know it by."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.cli.miner_names import find_miner, lookup
from agent.config import SiteConfig, load_site
from agent.errors import InputError
from agent.records import MinerLine, Summary

MAC = "02:aa:bb:cc:00:01"


@pytest.fixture
def site(tmp_path: Path) -> SiteConfig:
    file = tmp_path / "site.yaml"
    file.write_text(
        "site: {id: quarry}\nstate_dir: state\nmarket: {hashprice_usd_per_ths_day: 0.05}\n"
        "tariff: {kind: fixed, price_usd_per_kwh: 0.05}\n"
        'miners: [{address: 10.0.0.7}, {id: rack-1, address: 10.0.0.8, mac: "02:aa:bb:cc:00:02"}]\n'
    )
    return load_site(file)


def summary(*miners: tuple[str, str]) -> Summary:
    """Of a cycle in which miners (id, address) were found."""
    lines = [
        MinerLine.model_construct(**dict.fromkeys(MinerLine.model_fields) | {"miner_id": name, "address": at})
        for name, at in miners
    ]
    return Summary.model_construct(at=datetime(2026, 3, 1, tzinfo=UTC), miners=lines)


def test_an_address_finds_the_miner_that_was_known_by_its_mac_since(site: SiteConfig) -> None:
    found = summary((MAC, "10.0.0.7"), ("rack-1", "10.0.0.8"))
    assert lookup("10.0.0.7", site, found, (MAC, "rack-1")) == MAC
    # A round that was stored before the MAC was read has the address still.
    assert lookup(MAC, site, found, ("10.0.0.7", "rack-1")) == "10.0.0.7"


@pytest.mark.parametrize("name", ["rack-1", "RACK-1", "10.0.0.8", "02:AA:BB:CC:00:02"])
def test_before_the_first_cycle_the_names_of_the_site_file_do(site: SiteConfig, name: str) -> None:
    assert lookup(name, site, None, ("10.0.0.7", "rack-1")) == "rack-1"


def test_an_address_is_that_of_who_was_found_there_last(site: SiteConfig) -> None:
    moved = summary((MAC, "10.0.0.8"), ("rack-1", "10.0.0.9"))
    assert lookup("10.0.0.8", site, moved, (MAC, "rack-1")) == MAC
    assert lookup("10.0.0.9", site, moved, (MAC, "rack-1")) == "rack-1"


def test_several_names_near_it_are_listed(site: SiteConfig) -> None:
    with pytest.raises(InputError, match=r"did you mean 10\.0\.0\.7 or 10\.0\.0\.8\?"):
        find_miner("10.0.0.", site, None, ("10.0.0.7", "rack-1"))

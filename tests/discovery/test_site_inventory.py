"""A site file that takes its miners from an inventory."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.config import load_site
from agent.errors import ConfigError
from agent.hardware.catalogue import Catalogue
from agent.hardware.effective import check_overrides

SITE = """\
site: {id: s}
market: {hashprice_usd_per_ths_day: 0.05}
tariff: {kind: fixed, price_usd_per_kwh: 0.05}
credentials:
  ants: {username: root, password_file: secret}
inventory: lists/inventory.yaml
"""
OWN = """\
miners:
  - id: own-1
    address: 10.0.0.1
    mac: "02:63:00:00:00:01"
"""


def site(tmp_path: Path, inventory: str | None, own: str = OWN) -> Path:
    (tmp_path / "lists").mkdir()
    if inventory is not None:
        (tmp_path / "lists" / "inventory.yaml").write_text(inventory)
    path = tmp_path / "site.yaml"
    path.write_text(SITE + own)
    return path


def test_the_miners_of_both_files_are_the_sites(tmp_path: Path) -> None:
    config = load_site(site(tmp_path, "miners:\n  - {id: new-1, address: 10.0.0.2, credentials: ants}\n"))
    assert [miner.id for miner in config.miners] == ["own-1", "new-1"]


def test_a_site_may_have_all_its_miners_in_the_inventory(tmp_path: Path) -> None:
    config = load_site(site(tmp_path, "miners:\n  - {address: 10.0.0.2, mac: 02-63-00-00-00-0A}\n", own=""))
    assert [miner.mac for miner in config.miners] == ["02:63:00:00:00:0a"]


@pytest.mark.parametrize(
    ("miner", "key"),
    [
        ("{id: new, address: 10.0.0.1}", "address 10.0.0.1"),
        ("{id: OWN-1, address: 10.0.0.2}", "id OWN-1"),
        ('{id: new, address: 10.0.0.2, mac: "02:63:00:00:00:01"}', "mac 02:63:00:00:00:01"),
    ],
)
def test_a_miner_in_both_files_is_refused_naming_both_lines(tmp_path: Path, miner: str, key: str) -> None:
    path = site(tmp_path, f"# mine\nminers:\n  - {miner}\n")
    with pytest.raises(ConfigError) as caught:
        load_site(path)
    words = str(caught.value)
    assert f"inventory.yaml:3: miners.0.{key.split()[0]}: {key} already stands at" in words
    assert f"{path}:" in words
    assert "/site.yaml:" in words


def test_a_login_that_the_site_does_not_define_is_refused_by_line(tmp_path: Path) -> None:
    path = site(tmp_path, "miners:\n  - address: 10.0.0.2\n    credentials: whatever\n")
    with pytest.raises(ConfigError, match=r"inventory.yaml:3: miners.0.credentials: .*not defined"):
        load_site(path)


def test_an_inventory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"inventory.yaml: cannot be read"):
        load_site(site(tmp_path, None))


def test_two_files_without_a_miner_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="run discover first"):
        load_site(site(tmp_path, "miners: []\n", own=""))


def test_a_site_without_miners_and_inventory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(SITE.replace("inventory: lists/inventory.yaml\n", ""))
    with pytest.raises(ConfigError, match="miners: is missing or empty"):
        load_site(path)


def test_bounds_that_widen_a_profile_are_refused_by_the_line_of_the_inventory(tmp_path: Path) -> None:
    wide = "miners:\n  - address: 10.0.0.2\n    model: whatsminer-m30s-plus-plus\n    bounds:\n"
    path = site(tmp_path, wide + "      power_limit_w: {maximum: 9000}\n")
    with pytest.raises(ConfigError, match=r"inventory.yaml:5: miners.0.bounds.power_limit_w"):
        check_overrides(load_site(path), Catalogue.load(), path)

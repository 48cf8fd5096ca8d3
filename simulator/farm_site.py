"""The site.yaml that lets an agent run a simulated farm, with its password files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from agent.config import SiteConfig
from agent.errors import InputError
from agent.yamlfile import parse_yaml
from simulator.farm import FarmMiner, FarmSpec
from simulator.farm_file import Login
from simulator.meters.farm_meters import COMMUNITY, port_of, site_block

_DEFAULT_HASHPRICE_USD_PER_THS_DAY = 0.05
_DEFAULT_PRICE_USD_PER_KWH = 0.06


def write_site(path: Path, spec: FarmSpec) -> None:
    """Write a site file in propose mode for `spec`, and one password file of mode 0600 per login beside it.

    Market and tariff are fixed figures, to be replaced by real ones.

    Raises:
        InputError: a file cannot be written.
    """
    logins: dict[Login, str] = {}
    for miner in spec.miners:
        if miner.login is not None:
            logins.setdefault(miner.login, f"login-{len(logins) + 1}")
    secrets = {name: f"{path.stem}.secrets/{name}.password" for name in logins.values()}
    content: dict[str, Any] = {
        "site": {"id": spec.file.name, "name": f"Simulated farm {spec.file.name}"},
        "mode": "propose",
        "state_dir": f"{path.stem}-state",
        "market": {"hashprice_usd_per_ths_day": _DEFAULT_HASHPRICE_USD_PER_THS_DAY},
        "tariff": {"kind": "fixed", "price_usd_per_kwh": _DEFAULT_PRICE_USD_PER_KWH},
        "miners": [_miner(miner, logins) for miner in spec.miners],
    }
    if logins:
        content["credentials"] = {
            name: {"username": login.username, "password_file": secrets[name]}
            for login, name in logins.items()
        }
    community = f"{path.stem}.secrets/meters.community"
    meters = spec.file.meters
    if meters:
        ports = {meter.name: port_of(meter, spec.file.port_offset) for meter in meters}
        content["meters"] = site_block(meters, ports, Path(community))
    text = "# Written by `hashmargin simulate --write-site`.\n" + yaml.safe_dump(content, sort_keys=False)
    parse_yaml(text, SiteConfig, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for login, name in logins.items():
            _write_secret(path.parent / secrets[name], login.password)
        if meters:
            _write_secret(path.parent / community, COMMUNITY)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{error.filename or path}: cannot be written: {error.strerror}") from error


def _miner(miner: FarmMiner, logins: dict[Login, str]) -> dict[str, Any]:
    entry: dict[str, Any] = {"address": miner.address, "family": miner.family}
    ports = {
        name: value
        for name, value, usual in (
            ("api", miner.ports.api, 4028),
            ("web", miner.ports.web, 80),
            ("status", miner.ports.status, 6060),
            ("api_v3", miner.ports.api_v3, 4433),
            ("ssh", miner.ports.ssh, 22),
        )
        if value != usual
    }
    if ports:
        entry["ports"] = ports
    if miner.tags:
        entry["tags"] = list(miner.tags)
    if miner.login is not None:
        entry["credentials"] = logins[miner.login]
    return entry


def _write_secret(path: Path, secret: str) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(secret + "\n")
    path.chmod(0o600)

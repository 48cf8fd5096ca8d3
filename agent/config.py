"""`site.yaml`: what a person says about one site, checked on load.

What a miner may be set to is decided in `agent.hardware.bounds`; here a site only narrows it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from agent.advice.config import AdviceConfig
from agent.devices.device import Credentials, Endpoint, Ports
from agent.errors import ConfigError, InputError
from agent.learning.config import LearningConfig
from agent.limits_config import LimitsConfig, check_circuits
from agent.meters.config import MAX_METERS, MeterConfig, anchor_meters, check_meters
from agent.miner_config import (
    BoundsOverride,
    InventoryFile,
    MinerConfig,
    Miners,
    Mode,
    Name,
    PortsConfig,
    Range,
    names_of,
    refuse_twins,
    twins,
)
from agent.money.config import CoolingConfig, MarketConfig, SeriesTariff, TariffConfig
from agent.pools.guard import PoolGuard
from agent.sources.config import Sources, anchor_sources, check_sources
from agent.yamlfile import StrictModel, load_yaml, parse_tree

# What one miner may say is `agent.miner_config`'s; whoever reads a site file finds it here as well.
__all__ = [
    "BoundsOverride",
    "InventoryFile",
    "MinerConfig",
    "Mode",
    "PortsConfig",
    "Range",
    "SiteConfig",
    "load_site",
    "read_secret",
]


class CredentialConfig(StrictModel):
    """A login. The password is never in this file: it is in a file of mode 0600 or a systemd credential."""

    username: str
    password_file: Path | None = None
    systemd_credential: Name | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.password_file is None) == (self.systemd_credential is None):
            raise ValueError("needs exactly one of password_file and systemd_credential")
        return self


class PollConfig(StrictModel):
    """How miners are polled."""

    interval_s: Annotated[float, Field(ge=5.0, le=3600.0)] = 30.0
    deadline_s: Annotated[float, Field(gt=0.0, le=120.0)] = 10.0
    concurrency: Annotated[int, Field(ge=1, le=2000)] = 200
    spread_s: Annotated[float, Field(ge=0.0, le=60.0)] = 2.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.spread_s > self.interval_s / 2:
            raise ValueError(
                f"spread_s {self.spread_s:g} is more than half of interval_s {self.interval_s:g}"
            )
        return self


class DecideConfig(StrictModel):
    """How often decisions are made and how far they look."""

    interval_s: Annotated[float, Field(ge=30.0, le=86400.0)] = 300.0
    horizon_h: Annotated[float, Field(ge=1.0, le=168.0)] = 48.0
    recommendation_ttl_s: Annotated[float, Field(ge=60.0, le=86400.0)] = 3600.0


class ModelsConfig(StrictModel):
    """Where the model bundle is. Without one the profile's conservative curve is used, and said so."""

    bundle: Path | None = None


class DashboardConfig(StrictModel):
    """Where summaries go."""

    url: Annotated[str, Field(pattern=r"^https?://")]
    token_file: Path | None = None
    systemd_credential: Name | None = None
    interval_s: Annotated[float, Field(ge=5.0, le=3600.0)] = 60.0
    deadline_s: Annotated[float, Field(gt=0.0, le=120.0)] = 15.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.token_file is None) == (self.systemd_credential is None):
            raise ValueError("needs exactly one of token_file and systemd_credential")
        return self


class LakeConfig(StrictModel):
    """Which telemetry is kept for training: in a lake of this site's own, at the dashboard, or both."""

    path: Path | None = None
    deliver: bool = False
    interval_s: Annotated[float, Field(ge=30.0, le=3600.0)] = 300.0
    max_mib: Annotated[int, Field(ge=16, le=16_777_216)] = 4096

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.path is None and not self.deliver:
            raise ValueError("needs path, or deliver: true, or both")
        return self


class SiteIdentity(StrictModel):
    """What the site is called."""

    id: Name
    name: str | None = None


class SiteConfig(StrictModel):
    """The whole of `site.yaml`."""

    site: SiteIdentity
    mode: Mode = "propose"
    modes_by_model: dict[str, Mode] = {}
    modes_by_tag: dict[Name, Mode] = {}
    state_dir: Path = Path("/var/lib/hashmargin")
    hardware_dir: Path | None = None
    poll: PollConfig = PollConfig()
    decide: DecideConfig = DecideConfig()
    market: MarketConfig
    tariff: TariffConfig
    sources: Sources = []
    cooling: CoolingConfig | None = None
    limits: LimitsConfig = LimitsConfig()
    models: ModelsConfig = ModelsConfig()
    learning: LearningConfig = LearningConfig()
    advice: AdviceConfig = AdviceConfig()
    dashboard: DashboardConfig | None = None
    lake: LakeConfig | None = None
    credentials: dict[Name, CredentialConfig] = {}
    bounds_by_model: dict[str, BoundsOverride] = {}
    bounds_by_tag: dict[Name, BoundsOverride] = {}
    trusted_pools: Annotated[list[str], Field(max_length=200)] = []
    inventory: Path | None = None
    meters: Annotated[list[MeterConfig], Field(max_length=MAX_METERS)] = []
    miners: Miners = []

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.miners and self.inventory is None:
            raise ValueError("miners: is missing or empty, and there is no inventory: file to take them from")
        if self.lake is not None and self.lake.deliver and self.dashboard is None:
            raise ValueError("lake.deliver needs a dashboard: to deliver to")
        series = self.tariff.source if isinstance(self.tariff, SeriesTariff) else None
        cooling = self.cooling.source if self.cooling is not None else None
        used = {"market.source": self.market.source, "tariff.source": series, "cooling.source": cooling}
        check_sources(self.sources, used, dashboard=self.dashboard is not None)
        if self.cooling is not None and self.limits.pue != 1.0:
            raise ValueError("limits.pue and cooling both say what cooling takes; keep one of them")
        refuse_twins(self.miners)
        for i, miner in enumerate(self.miners):
            if miner.credentials is not None and miner.credentials not in self.credentials:
                raise ValueError(
                    f"miners.{i}: credentials {miner.credentials!r} are not defined under credentials"
                )
        if self.inventory is None:
            # Otherwise the names are known when both files are joined.
            check_meters(self.meters, names_of(self.miners))
            check_circuits(self.limits, self.miners)
        return self

    @field_validator("trusted_pools")
    @classmethod
    def _pools(cls, value: list[str]) -> list[str]:
        try:
            PoolGuard(value)
        except InputError as error:
            raise ValueError(str(error)) from error
        return value

    def mode_of(self, miner: MinerConfig, model: str | None) -> Mode:
        """The most specific mode: miner, then tag (the most careful of several), then model, then site."""
        if miner.mode is not None:
            return miner.mode
        by_tag = [self.modes_by_tag[tag] for tag in miner.tags if tag in self.modes_by_tag]
        if by_tag:
            return min(by_tag, key=("observe", "propose", "apply").index)
        if model is not None and model in self.modes_by_model:
            return self.modes_by_model[model]
        return self.mode

    def endpoint(self, miner: MinerConfig) -> Endpoint:
        """Address, ports, deadlines and login of one miner.

        Raises:
            ConfigError: its password file or systemd credential cannot be read safely.
        """
        login = None
        if miner.credentials is not None:
            entry = self.credentials[miner.credentials]
            secret = read_secret(entry.password_file, entry.systemd_credential)
            login = Credentials(entry.username, secret)
        ports = Ports(
            miner.ports.api, miner.ports.web, miner.ports.status, miner.ports.api_v3, miner.ports.ssh
        )
        return Endpoint(miner.address, ports, login, deadline_s=self.poll.deadline_s)


def load_site(path: Path) -> SiteConfig:
    """Read `site.yaml` with the inventory it names; relative paths are taken from the site file's folder.

    Raises:
        ConfigError: one of them cannot be read or used, or a miner stands in both.
    """
    config = _anchor(load_yaml(path, SiteConfig), path.resolve().parent)
    return config if config.inventory is None else _join(config, path, config.inventory)


def _join(config: SiteConfig, path: Path, inventory: Path) -> SiteConfig:
    """The site with the miners of both files.

    Raises:
        ConfigError: naming file and line of the miner that stands twice or cannot be used.
    """
    own = len(config.miners)
    miners = [*config.miners, *(load_yaml(inventory, InventoryFile).miners or [])]

    def place(i: int, key: str) -> tuple[Path, int | None, str]:
        file, at = (path, i) if i < own else (inventory, i - own)
        _, lines = parse_tree(file.read_bytes(), file)
        where = ("miners", at, key)
        return file, lines.get(where, lines.get(where[:2])), f"miners.{at}.{key}"

    for i, earlier, key, shown in twins(miners):
        other, line, _ = place(earlier, key)
        raise ConfigError(*place(i, key), f"{key} {shown} already stands at {other}:{line}")
    for i, miner in enumerate(miners[own:], own):
        if miner.credentials is not None and miner.credentials not in config.credentials:
            problem = f"credentials {miner.credentials!r} are not defined under credentials of {path}"
            raise ConfigError(*place(i, "credentials"), problem)
    if not miners:
        raise ConfigError(inventory, None, "miners", f"no miner stands here or in {path}; run discover first")
    try:
        check_meters(config.meters, names_of(miners))
    except ValueError as error:
        raise ConfigError(path, None, "meters", str(error)) from error
    try:
        check_circuits(config.limits, miners)
    except ValueError as error:
        raise ConfigError(path, None, "limits", str(error)) from error
    return config.model_copy(update={"miners": miners})


def read_secret(file: Path | None, systemd_credential: str | None) -> str:
    """Read one secret from a file of mode 0600 or from systemd's credential folder.

    Raises:
        ConfigError: it is absent, empty, or a file that others may read.
    """
    if systemd_credential is not None:
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if folder is None:
            raise ConfigError(
                None,
                None,
                f"systemd_credential {systemd_credential}",
                "CREDENTIALS_DIRECTORY is not set; add LoadCredential= to the unit or use password_file",
            )
        # The unit loads a whole folder under the prefix `secret_`; a credential of its own name works too.
        file = Path(folder) / f"secret_{systemd_credential}"
        if not file.exists():
            file = Path(folder) / systemd_credential
    assert file is not None
    try:
        info = file.stat()
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(file, None, "", f"secret cannot be read: {reason}") from error
    if systemd_credential is None and stat.S_IMODE(info.st_mode) & 0o077:
        raise ConfigError(file, None, "", f"others may read this secret; run: chmod 600 {file}")
    if not text:
        raise ConfigError(file, None, "", "the secret is empty")
    return text


def _anchor(config: SiteConfig, folder: Path) -> SiteConfig:
    def at(path: Path | None) -> Path | None:
        return None if path is None else folder / path

    tariff = config.tariff
    if isinstance(tariff, SeriesTariff):
        tariff = tariff.model_copy(update={"path": at(tariff.path)})
    cooling = config.cooling
    if cooling is not None:
        cooling = cooling.model_copy(update={"path": at(cooling.path)})
    dashboard = config.dashboard
    if dashboard is not None:
        dashboard = dashboard.model_copy(update={"token_file": at(dashboard.token_file)})
    lake = config.lake
    if lake is not None:
        lake = lake.model_copy(update={"path": at(lake.path)})
    logins = {
        name: login.model_copy(update={"password_file": at(login.password_file)})
        for name, login in config.credentials.items()
    }
    return config.model_copy(
        update={
            "state_dir": at(config.state_dir),
            "hardware_dir": at(config.hardware_dir),
            "inventory": at(config.inventory),
            "tariff": tariff,
            "cooling": cooling,
            "sources": anchor_sources(config.sources, folder),
            "dashboard": dashboard,
            "lake": lake,
            "credentials": logins,
            "meters": anchor_meters(config.meters, folder),
            "advice": config.advice.model_copy(update={"coins": at(config.advice.coins)}),
            "market": config.market.model_copy(update={"path": at(config.market.path)}),
            "models": config.models.model_copy(update={"bundle": at(config.models.bundle)}),
        }
    )

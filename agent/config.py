"""`site.yaml`: what a person says about one site, checked on load.

What a miner may be set to is decided in `agent.hardware.bounds`; here a site only narrows it.
"""

from __future__ import annotations

import ipaddress
import os
import stat
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from agent.devices.device import Credentials, Endpoint, Ports
from agent.errors import ConfigError, InputError
from agent.pool_guard import PoolGuard
from agent.yamlfile import StrictModel, load_yaml

Mode = Literal["observe", "propose", "apply"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")]
Share = Annotated[float, Field(gt=0.0, le=1.0)]
Family = Literal[
    "antminer-stock",
    "antminer-old",
    "whatsminer-v2",
    "whatsminer-v3",
    "luxos",
    "braiins",
    "vnish",
    "pyasic-rs",
]


class Range(StrictModel):
    """An inward limit on one numeric knob, in the knob's unit."""

    minimum: float | None = None
    maximum: float | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.minimum is None and self.maximum is None:
            raise ValueError("needs minimum, maximum or both")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum:g} lies above maximum {self.maximum:g}")
        return self


class BoundsOverride(StrictModel):
    """Bounds that a site sets; they only ever narrow those of the profile."""

    power_limit_w: Range | None = None
    power_limit_share: Range | None = None
    power_percent: Range | None = None
    hashrate_percent: Range | None = None
    frequency_percent: Range | None = None
    work_modes: list[str] | None = None
    may_stop: bool | None = None


class PortsConfig(StrictModel):
    """TCP ports where they differ from the real ones."""

    api: Annotated[int, Field(ge=1, le=65535)] = 4028
    web: Annotated[int, Field(ge=1, le=65535)] = 80
    status: Annotated[int, Field(ge=1, le=65535)] = 6060
    api_v3: Annotated[int, Field(ge=1, le=65535)] = 4433
    ssh: Annotated[int, Field(ge=1, le=65535)] = 22


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


class MinerConfig(StrictModel):
    """One miner of the site."""

    id: Name | None = None
    address: str
    family: Family | None = None
    model: str | None = None
    tags: list[Name] = []
    credentials: Name | None = None
    ports: PortsConfig = PortsConfig()
    mode: Mode | None = None
    bounds: BoundsOverride | None = None

    @field_validator("address")
    @classmethod
    def _address(cls, value: str) -> str:
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            label = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-."
            if value and len(value) <= 253 and all(c in label for c in value) and not value[0].isdigit():
                return value
        raise ValueError("expected an IP address or a host name")


class FixedTariff(StrictModel):
    """One price at all times."""

    kind: Literal["fixed"]
    price_usd_per_kwh: Annotated[float, Field(ge=-5.0, le=5.0)]


class TariffPeriod(StrictModel):
    """A price on given weekdays between two local times; `to` before `from` runs past midnight."""

    days: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]]
    from_time: Annotated[str, Field(alias="from", pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
    to_time: Annotated[str, Field(alias="to", pattern=r"^(([01]\d|2[0-3]):[0-5]\d|24:00)$")]
    price_usd_per_kwh: Annotated[float, Field(ge=-5.0, le=5.0)]


class TimeOfUseTariff(StrictModel):
    """A weekly table in local time; `otherwise_usd_per_kwh` applies outside every period."""

    kind: Literal["time_of_use"]
    timezone: str
    periods: Annotated[list[TariffPeriod], Field(min_length=1)]
    otherwise_usd_per_kwh: Annotated[float, Field(ge=-5.0, le=5.0)]


class SeriesTariff(StrictModel):
    """Prices by time from a CSV: `time_utc` with `price_usd_per_mwh` or `price_usd_per_kwh`."""

    kind: Literal["series"]
    path: Path
    zone: str | None = None
    max_age_h: Annotated[float, Field(gt=0.0)] = 26.0
    fallback_usd_per_kwh: Annotated[float, Field(ge=-5.0, le=5.0)] | None = None


class MarketConfig(StrictModel):
    """Hashprice, or what it is computed from: a CSV by date, or one fixed figure."""

    path: Path | None = None
    hashprice_usd_per_ths_day: Annotated[float, Field(gt=0.0, le=10.0)] | None = None
    max_age_h: Annotated[float, Field(gt=0.0)] = 50.0
    pool_fee_share: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.02

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.path is None) == (self.hashprice_usd_per_ths_day is None):
            raise ValueError("needs exactly one of path and hashprice_usd_per_ths_day")
        return self


class LimitsConfig(StrictModel):
    """What the whole site must keep to."""

    power_cap_w: Annotated[float, Field(gt=0.0)] | None = None
    cap_confidence: Annotated[float, Field(ge=0.5, lt=1.0)] = 0.9
    pue: Annotated[float, Field(ge=1.0, le=3.0)] = 1.0
    restarts_per_day: Annotated[int, Field(ge=0, le=96)] | None = None
    minimum_hold_h: Annotated[float, Field(ge=0.0, le=168.0)] = 2.0
    minimum_gain_usd_per_day: Annotated[float, Field(ge=0.0)] = 0.05


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
    horizon_h: Annotated[float, Field(ge=1.0, le=168.0)] = 24.0
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
    tariff: Annotated[FixedTariff | TimeOfUseTariff | SeriesTariff, Field(discriminator="kind")]
    limits: LimitsConfig = LimitsConfig()
    models: ModelsConfig = ModelsConfig()
    dashboard: DashboardConfig | None = None
    credentials: dict[Name, CredentialConfig] = {}
    bounds_by_model: dict[str, BoundsOverride] = {}
    bounds_by_tag: dict[Name, BoundsOverride] = {}
    trusted_pools: Annotated[list[str], Field(max_length=200)] = []
    miners: Annotated[list[MinerConfig], Field(min_length=1, max_length=20000)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        seen: dict[tuple[str, int], int] = {}
        ids: dict[str, int] = {}
        for i, miner in enumerate(self.miners):
            place = (miner.address, miner.ports.api)
            if place in seen:
                raise ValueError(
                    f"miners.{i}: address {miner.address} already stands at miners.{seen[place]}"
                )
            seen[place] = i
            if miner.id is not None and miner.id.lower() in ids:
                raise ValueError(
                    f"miners.{i}: id {miner.id} already stands at miners.{ids[miner.id.lower()]}"
                )
            if miner.id is not None:
                ids[miner.id.lower()] = i
            if miner.credentials is not None and miner.credentials not in self.credentials:
                raise ValueError(
                    f"miners.{i}: credentials {miner.credentials!r} are not defined under credentials"
                )
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
    """Read `site.yaml`; relative paths in it are taken from its own folder.

    Raises:
        ConfigError: it cannot be read or used.
    """
    config = load_yaml(path, SiteConfig)
    return _anchor(config, path.resolve().parent)


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
    dashboard = config.dashboard
    if dashboard is not None:
        dashboard = dashboard.model_copy(update={"token_file": at(dashboard.token_file)})
    logins = {
        name: login.model_copy(update={"password_file": at(login.password_file)})
        for name, login in config.credentials.items()
    }
    return config.model_copy(
        update={
            "state_dir": at(config.state_dir),
            "hardware_dir": at(config.hardware_dir),
            "tariff": tariff,
            "dashboard": dashboard,
            "credentials": logins,
            "market": config.market.model_copy(update={"path": at(config.market.path)}),
            "models": config.models.model_copy(update={"bundle": at(config.models.bundle)}),
        }
    )

"""The `sources` section of `site.yaml` and of the dashboard's relay file: where prices are fetched."""

from __future__ import annotations

from collections.abc import Mapping as Map
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from agent.yamlfile import StrictModel

SourceName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
Url = Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+([/?#]\S*)?$", max_length=1000)]
DottedPath = Annotated[str, Field(pattern=r"^[^.\s]+(\.[^.\s]+)*$", max_length=200)]
SecretName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")]
MAX_SOURCES = 20

Column = Literal[
    "price_usd_per_kwh",
    "temp_c",
    "hashprice_usd_per_ths_day",
    "price_usd_per_btc",
    "subsidy_btc_per_day",
    "fees_btc_per_day",
    "network_hashrate_ths",
    "difficulty",
    "fee_share",
]
# What may be true of each, and by how much it may differ from the median of the days before: as a factor,
# or None where jumps are usual.
RANGES: Map[str, tuple[float, float]] = {
    "price_usd_per_kwh": (-5.0, 25.0),
    "temp_c": (-60.0, 60.0),
    "hashprice_usd_per_ths_day": (1e-4, 10.0),
    "price_usd_per_btc": (10.0, 1e8),
    "subsidy_btc_per_day": (0.0, 2000.0),
    "fees_btc_per_day": (0.0, 5000.0),
    "network_hashrate_ths": (1e6, 1e13),
    "difficulty": (1e9, 1e18),
    "fee_share": (0.0, 1.0),
}
JUMPS: Map[str, float] = {
    "hashprice_usd_per_ths_day": 3.0,
    "price_usd_per_btc": 2.0,
    "network_hashrate_ths": 3.0,
    "difficulty": 3.0,
}


class _Source(StrictModel):
    """What every source has. `unit_range` narrows what is plausible; it never widens it."""

    name: SourceName
    interval_s: Annotated[float, Field(ge=30.0, le=86400.0)] = 900.0
    deadline_s: Annotated[float, Field(gt=0.0, le=120.0)] = 20.0
    max_kib: Annotated[int, Field(ge=1, le=16384)] = 2048
    plausible: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None

    @field_validator("plausible")
    @classmethod
    def _rising(cls, value: list[float] | None) -> list[float] | None:
        if value is not None and value[0] >= value[1]:
            raise ValueError(f"the lower end {value[0]:g} must be below the upper end {value[1]:g}")
        return value


class WithSecret(_Source):
    """A source that may need a token, as a header or as a query parameter."""

    token_file: Path | None = None
    systemd_credential: SecretName | None = None
    token_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")] | None = None
    token_parameter: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None

    @property
    def has_token(self) -> bool:
        """True if a secret is named."""
        return self.token_file is not None or self.systemd_credential is not None

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        if self.token_file is not None and self.systemd_credential is not None:
            raise ValueError("give one of token_file and systemd_credential, not both")
        if self.token_header is not None and self.token_parameter is not None:
            raise ValueError("give one of token_header and token_parameter, not both")
        if not self.has_token and (self.token_header is not None or self.token_parameter is not None):
            raise ValueError("names where the token goes, but no token_file or systemd_credential")
        return self


class Mapping(StrictModel):
    """Where in a JSON document one column stands.

    Either `rows` is the path of a list, with `time` and `value` inside each row (names, or numbers for rows
    that are lists), or `times` and `values` are the paths of two lists of equal length, or only `value` is
    given for a figure that holds now. Values are multiplied by `scale`.
    """

    rows: DottedPath | Literal["."] | None = None
    time: DottedPath | None = None
    value: DottedPath | None = None
    times: DottedPath | None = None
    values: DottedPath | None = None
    time_format: Literal["iso", "unix_s", "unix_ms"] = "iso"
    timezone: str = "UTC"
    scale: Annotated[float, Field(ge=-1e12, le=1e12)] = 1.0
    url: Url | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = {name for name in ("rows", "time", "value", "times", "values") if getattr(self, name)}
        if given not in ({"rows", "time", "value"}, {"times", "values"}, {"value"}):
            raise ValueError("needs rows, time and value; or times and values; or value alone")
        if self.scale == 0.0:
            raise ValueError("scale: 0 leaves nothing of a value")
        return self


class HttpJsonSource(WithSecret):
    """Any JSON over HTTP, price or market-chart APIs alike: for every column, where its values stand."""

    kind: Literal["http_json"]
    url: Url
    columns: Annotated[dict[Column, Mapping], Field(min_length=1)]


class MempoolSource(_Source):
    """The API of a mempool explorer: coin price, difficulty, its next change, and what blocks bring."""

    kind: Literal["mempool"]
    url: Url = "https://mempool.space"


class EntsoeSource(WithSecret):
    """Day-ahead prices of a bidding zone from the ENTSO-E transparency platform; `scale` makes USD of EUR."""

    kind: Literal["entsoe"]
    url: Url = "https://web-api.tp.entsoe.eu/api"
    area: Annotated[str, Field(pattern=r"^[0-9A-Z-]{16}$")]
    usd_per_eur: Annotated[float, Field(gt=0.1, le=10.0)]
    interval_s: Annotated[float, Field(ge=30.0, le=86400.0)] = 1800.0

    @model_validator(mode="after")
    def _token(self) -> Self:
        if not self.has_token:
            raise ValueError("the platform asks for a token: give token_file or systemd_credential")
        return self


class RelaySource(_Source):
    """A source that the dashboard fetches for sites without internet; `remote` is its name there."""

    kind: Literal["relay"]
    remote: SourceName


SourceConfig = Annotated[
    HttpJsonSource | MempoolSource | EntsoeSource | RelaySource, Field(discriminator="kind")
]
Sources = Annotated[list[SourceConfig], Field(max_length=MAX_SOURCES)]


def check_sources(sources: Sequence[SourceConfig], used: Map[str, str | None], *, dashboard: bool) -> None:
    """Refuse sources that clash or that nothing can serve.

    Args:
        used: which key of the file takes which source.
        dashboard: there is one to relay.

    Raises:
        ValueError: the words begin with the key.
    """
    names = [source.name for source in sources]
    for i, source in enumerate(sources):
        if source.name in names[:i]:
            earlier = names.index(source.name)
            raise ValueError(f"sources.{i}: name {source.name} already stands at sources.{earlier}")
        if isinstance(source, RelaySource) and not dashboard:
            raise ValueError(f"sources.{i}: a relay needs a dashboard: that serves it")
    for key, name in used.items():
        if name is not None and name not in names:
            raise ValueError(f"{key}: there is no source {name!r}; sources has {', '.join(names) or 'none'}")


def anchor_sources(sources: Sequence[SourceConfig], folder: Path) -> list[SourceConfig]:
    """The same sources with relative paths taken from `folder`."""
    return [
        source.model_copy(update={"token_file": folder / source.token_file})
        if isinstance(source, WithSecret) and source.token_file is not None
        else source
        for source in sources
    ]

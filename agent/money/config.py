"""The `tariff`, `market` and `cooling` sections of `site.yaml`: what power costs and what hashing pays."""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from agent.errors import InputError
from agent.localtime import LocalTime
from agent.sources.config import SourceName
from agent.yamlfile import StrictModel

Price = Annotated[float, Field(ge=-5.0, le=5.0)]
Clock = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
ClockEnd = Annotated[str, Field(pattern=r"^(([01]\d|2[0-3]):[0-5]\d|24:00)$")]
MonthDay = Annotated[str, Field(pattern=r"^(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$")]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun", "holiday"]
WEEKDAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
HOLIDAY: Day = "holiday"


class Window(StrictModel):
    """When something applies: given weekdays between two local times; `to` before `from` runs past midnight.

    A list of days that names `holiday` applies on the holidays of the tariff, one that does not never does.
    With `season`, from the first to the second month-day of every year, both included.
    """

    days: Annotated[list[Day], Field(min_length=1)] = [*WEEKDAYS, HOLIDAY]
    from_time: Annotated[Clock, Field(alias="from")] = "00:00"
    to_time: Annotated[ClockEnd, Field(alias="to")] = "24:00"
    season: Annotated[list[MonthDay], Field(min_length=2, max_length=2)] | None = None


class TariffPeriod(Window):
    """A price in a window; where several apply, the last one listed counts."""

    price_usd_per_kwh: Price


class Payment(Window):
    """What is paid in a window for every kWh that is not drawn: curtailment, or own power fed in."""

    usd_per_kwh: Annotated[float, Field(ge=0.0, le=25.0)]


class DemandCharge(StrictModel):
    """A charge on the highest mean power of a month, measured over windows of some minutes."""

    usd_per_kw_month: Annotated[float, Field(gt=0.0, le=200.0)]
    window_minutes: Literal[5, 10, 15, 30, 60] = 15


class _Tariff(StrictModel):
    """What every kind has.

    `timezone` is the one of local times, days and months. `adder_usd_per_kwh` comes on top of the price
    (grid fees, taxes, the supplier's margin).
    """

    timezone: str = "UTC"
    adder_usd_per_kwh: Price = 0.0
    holidays: Annotated[list[date], Field(max_length=2000)] = []
    payments: Annotated[list[Payment], Field(max_length=100)] = []
    demand: DemandCharge | None = None

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            LocalTime(value)
        except InputError as error:
            raise ValueError(str(error)) from error
        return value


class FixedTariff(_Tariff):
    """One price at all times."""

    kind: Literal["fixed"]
    price_usd_per_kwh: Price


class TimeOfUseTariff(_Tariff):
    """A table in local time; `otherwise_usd_per_kwh` applies outside every period."""

    kind: Literal["time_of_use"]
    timezone: str
    periods: Annotated[list[TariffPeriod], Field(min_length=1, max_length=500)]
    otherwise_usd_per_kwh: Price


class SeriesTariff(_Tariff):
    """Prices by time, from a CSV (`time_utc` with `price_usd_per_mwh` or `price_usd_per_kwh`) or a source.

    `horizon: day_ahead`: prices of the local day are known, and those of the next one from `published`
    (local time) on. `real_time`: only prices up to now are. Prices whose newest is older than `max_age_h`
    (26 for day-ahead, 2 for real-time prices), or that have not moved for longer than `frozen_after_h`, are
    not used: then `fallback_usd_per_kwh` holds, and without one no miner is moved.
    """

    kind: Literal["series"]
    path: Path | None = None
    source: SourceName | None = None
    zone: str | None = None
    horizon: Literal["day_ahead", "real_time"] = "day_ahead"
    published: Clock = "13:00"
    max_age_h: Annotated[float, Field(gt=0.0, le=240.0)] | None = None
    frozen_after_h: Annotated[float, Field(gt=0.0, le=240.0)] = 24.0
    fallback_usd_per_kwh: Price | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.path is None) == (self.source is None):
            raise ValueError("needs exactly one of path and source")
        return self

    @property
    def oldest_h(self) -> float:
        """Age in hours beyond which prices are stale."""
        if self.max_age_h is not None:
            return self.max_age_h
        return 26.0 if self.horizon == "day_ahead" else 2.0


TariffConfig = Annotated[FixedTariff | TimeOfUseTariff | SeriesTariff, Field(discriminator="kind")]


class MarketConfig(StrictModel):
    """Hashprice, or what it is computed from: a CSV by date, a source, or one fixed figure."""

    path: Path | None = None
    source: SourceName | None = None
    hashprice_usd_per_ths_day: Annotated[float, Field(gt=0.0, le=10.0)] | None = None
    max_age_h: Annotated[float, Field(gt=0.0)] = 50.0
    fallback_usd_per_ths_day: Annotated[float, Field(gt=0.0, le=10.0)] | None = None
    pool_fee_share: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.02

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = (self.path, self.source, self.hashprice_usd_per_ths_day)
        if sum(one is not None for one in given) != 1:
            raise ValueError("needs exactly one of path, source and hashprice_usd_per_ths_day")
        return self


class PuePoint(StrictModel):
    """PUE at one outside temperature."""

    outside_c: Annotated[float, Field(ge=-60.0, le=60.0)]
    pue: Annotated[float, Field(ge=1.0, le=3.0)]


class CoolingConfig(StrictModel):
    """PUE by outside temperature, straight between points and level beyond them.

    The temperature comes from a CSV (`time_utc`, `temp_c`; `zone` where it holds several) or a source, up
    to now or ahead as a forecast; where it is unknown, that of the dearest point is taken.
    """

    points: Annotated[list[PuePoint], Field(min_length=2, max_length=100)]
    path: Path | None = None
    source: SourceName | None = None
    outside_c: Annotated[float, Field(ge=-60.0, le=60.0)] | None = None
    zone: str | None = None
    max_age_h: Annotated[float, Field(gt=0.0, le=240.0)] = 26.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if sum(one is not None for one in (self.path, self.source, self.outside_c)) != 1:
            raise ValueError("needs exactly one of path, source and outside_c")
        if any(b.outside_c <= a.outside_c for a, b in pairwise(self.points)):
            raise ValueError("points: outside_c must rise from point to point")
        return self

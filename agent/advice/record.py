"""Turning a finding into a recommendation that a person carries out."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.energy import KWH_PER_W_DAY
from agent.records import (
    MAX_ADVISED_MINERS,
    Advice,
    Alternative,
    Expectation,
    Interval,
    Recommendation,
    RecommendationType,
    SettingRecord,
    Why,
)

# Stands for a miner in advice on several.
SEVERAL = "several-miners"


@dataclass(frozen=True, slots=True)
class Standing:
    """One miner as it is: what advice leaves unchanged.

    Args:
        power_w: measured, else modelled.
    """

    miner_id: str
    model: str | None
    setting: SettingRecord
    hashrate_ths: float
    power_w: float


@dataclass(frozen=True, slots=True)
class Round:
    """What all advice of one round shares.

    Args:
        hashprice_usd_per_ths_day: q10, q50, q90 after pool fee; price_usd_per_kwh: with cooling.
    """

    site_id: str
    now: datetime
    stands_h: float
    hashprice_usd_per_ths_day: tuple[float, float, float]
    price_usd_per_kwh: tuple[float, float, float]
    feature_hash: str

    @property
    def has_prices(self) -> bool:
        """False while hashprice or electricity price is unknown: then nothing is advised."""
        return all(map(math.isfinite, (*self.hashprice_usd_per_ths_day, *self.price_usd_per_kwh)))

    def profit(self, hashrate_ths: float, power_w: float) -> float:
        """USD per day at the middle of both prices."""
        return (
            hashrate_ths * self.hashprice_usd_per_ths_day[1]
            - KWH_PER_W_DAY * power_w * self.price_usd_per_kwh[1]
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """What is advised and why; `agent.advice.desk` decides whether anybody is told.

    Args:
        subject: what it is about, such as `coin:BCH`; one of a subject stands at a time.
        hashrate_ths, power_w: what the miners do once it is done.
        gain_usd_per_day: q10, q50, q90.
        others: what it beat, as words and USD per day that they would bring more than now.
        looks_ahead_h: over how long prices were taken.
    """

    kind: RecommendationType
    subject: str
    now: str
    then: str
    standings: Sequence[Standing]
    hashrate_ths: float
    power_w: float
    gain_usd_per_day: tuple[float, float, float]
    confidence: float
    summary: str
    inputs: dict[str, float | str | None]
    others: Sequence[tuple[str, float, str]]
    binds: Sequence[str]
    steps: Sequence[str]
    model: str
    looks_ahead_h: float

    @property
    def miner_id(self) -> str:
        """The miner that it is about, or the name that stands for several."""
        return self.standings[0].miner_id if len(self.standings) == 1 else SEVERAL


def recommendation(finding: Finding, context: Round) -> Recommendation:
    """The record of a finding. The setting stays as it is and nothing restarts by our doing."""
    standings = finding.standings
    setting = Counter(one.setting.model_dump_json() for one in standings).most_common(1)[0][0]
    present = SettingRecord.model_validate_json(setting)
    models = {one.model for one in standings}
    rate, power = sum(s.hashrate_ths for s in standings), sum(s.power_w for s in standings)
    profit = context.profit(rate, power)
    low, middle, high = sorted(finding.gain_usd_per_day)
    stamp = context.now.strftime("%Y%m%dT%H%M%S")
    return Recommendation(
        schema_version=2,
        id=f"{re.sub(r'[^A-Za-z0-9._-]+', '-', finding.subject)[:100]}-{stamp}",
        type=finding.kind,
        site_id=context.site_id,
        miner_id=finding.miner_id,
        model=models.pop() if len(models) == 1 else None,
        timestamp=context.now,
        expires_at=context.now + timedelta(hours=context.stands_h),
        status="proposed",
        confidence=min(1.0, max(0.0, finding.confidence)),
        gain_usd_per_day=Interval(q10=low, q50=middle, q90=high),
        current=present,
        proposed=present,
        expected=Expectation(
            hashrate_ths=_point(finding.hashrate_ths),
            power_w=_point(finding.power_w),
            profit_usd_per_day=Interval(q10=profit + low, q50=profit + middle, q90=profit + high),
        ),
        expected_current=Expectation(
            hashrate_ths=_point(rate), power_w=_point(power), profit_usd_per_day=_point(profit)
        ),
        steps=list(finding.steps),
        why=Why(
            summary=finding.summary,
            inputs=finding.inputs,
            alternatives=[
                Alternative(setting=present, label=label, profit_usd_per_day=profit + more, reason=reason)
                for label, more, reason in finding.others[:3]
            ],
            binds=list(finding.binds),
            model=finding.model,
            model_is_fallback=False,
            feature_hash=context.feature_hash,
            prices_from=context.now,
            prices_to=context.now + timedelta(hours=finding.looks_ahead_h),
        ),
        advice=Advice(
            subject=re.sub(r"[^A-Za-z0-9._:-]+", "-", finding.subject)[:128],
            now=finding.now,
            then=finding.then,
            miners=[one.miner_id for one in standings[:MAX_ADVISED_MINERS]],
        ),
    )


def _point(value: float) -> Interval:
    return Interval(q10=value, q50=value, q90=value)

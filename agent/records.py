"""The records that travel: agent to store, status page and dashboard, and decisions back.

These are the wire contract of the uplink as well as what the ledger keeps. Both sides import them, so
a name stands once. Unknown keys from a newer peer are ignored; missing ones are an error.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from agent.setting import Setting

MAX_RECORDS_PER_BATCH = 500
MAX_TELEMETRY_ROWS = 5000
MAX_ADVISED_MINERS = 5000
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
Text = Annotated[str, Field(max_length=2000)]

RecommendationType = Literal["power_setting", "curtailment", "coin_switch", "pool_switch", "maintenance"]
RecommendationStatus = Literal[
    "proposed",
    "approved",
    "rejected",
    "applying",
    "confirmed",
    "missed",
    "rolled_back",
    "failed",
    "expired",
    "superseded",
]
ActStatus = Literal["intended", "sent", "confirmed", "missed", "rolled_back", "failed"]


class Record(BaseModel):
    """Base of all travelling records: immutable, finite numbers only."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Interval(Record):
    """A quantity with its 80 % interval, in the unit of the field that holds it."""

    q10: float
    q50: float
    q90: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.q10 <= self.q50 <= self.q90:
            raise ValueError(f"quantiles out of order: {self.q10} {self.q50} {self.q90}")
        return self


class SettingRecord(Record):
    """A setting as JSON: `{"knob": "power_limit_w", "value": 3000}`."""

    knob: str
    value: float | str | None = None

    @model_validator(mode="after")
    def _known(self) -> Self:
        Setting.from_dict({"knob": self.knob, "value": self.value})
        return self

    @staticmethod
    def of(setting: Setting) -> SettingRecord:
        """The record of a setting."""
        return SettingRecord(knob=str(setting.knob), value=setting.value)

    def setting(self) -> Setting:
        """The setting of the record."""
        return Setting.from_dict({"knob": self.knob, "value": self.value})

    def __str__(self) -> str:
        return str(self.setting())


class Expectation(Record):
    """What a setting is predicted to bring while it holds."""

    hashrate_ths: Interval
    power_w: Interval
    chip_temp_c: Interval | None = None
    profit_usd_per_day: Interval


class Alternative(Record):
    """What was considered and beaten: a setting, or under the setting in force what `label` says."""

    setting: SettingRecord
    label: Text | None = None
    profit_usd_per_day: float
    reason: Text


class Why(Record):
    """The stored reasons of one recommendation."""

    summary: Text
    inputs: dict[str, float | str | None]
    alternatives: Annotated[list[Alternative], Field(max_length=3)]
    binds: list[Text]
    model: Text
    model_is_fallback: bool
    feature_hash: str
    prices_from: AwareDatetime
    prices_to: AwareDatetime


class Advice(Record):
    """What a person is asked to change that is not a setting: a coin, a pool, or a unit that needs repair.

    `subject` is what the advice is about; one piece of it stands at a time. `miners` are all it concerns.
    """

    subject: Identifier
    now: Text
    then: Text
    miners: Annotated[list[Identifier], Field(max_length=MAX_ADVISED_MINERS)]


class Recommendation(Record):
    """One proposed change. `confidence` is the probability that the gain is above 0.

    Of type coin_switch, pool_switch and maintenance it carries `advice`, and `proposed` is the setting in
    force (of several miners the commonest), because nothing is ever sent for it. `schema_version` 2 brought
    `advice`; a reader of version 1 sees such a record as one that leaves the setting as it is. `outcome` says
    why one that was approved was not sent.
    """

    schema_version: Annotated[int, Field(ge=1)] = 1
    id: Identifier
    type: RecommendationType
    site_id: Identifier
    miner_id: Identifier
    model: str | None
    timestamp: AwareDatetime
    expires_at: AwareDatetime
    status: RecommendationStatus
    confidence: Annotated[float, Field(ge=0.0, le=1.0)]
    gain_usd_per_day: Interval
    current: SettingRecord | None
    proposed: SettingRecord
    expected: Expectation
    expected_current: Expectation | None = None
    settle_s: Annotated[float, Field(ge=0.0)] = 0.0
    restarts_hashing: bool = False
    steps: list[Text]
    why: Why
    decided_by: str | None = None
    decided_at: AwareDatetime | None = None
    advice: Advice | None = None
    outcome: Text | None = None

    @property
    def changes_setting(self) -> bool:
        """True if approving it may send something to a miner; False for advice, which people carry out."""
        return self.advice is None and self.type in ("power_setting", "curtailment")


class Act(Record):
    """One change of one miner, from intent to outcome: the row of journal and ledger.

    `expected` stands before the command went out; `observed_*` is what telemetry showed when the act
    was settled. `acknowledged` is what the miner said: None is no answer.
    """

    id: Identifier
    recommendation_id: Identifier | None
    site_id: Identifier
    miner_id: Identifier
    status: ActStatus
    reason: Text
    approved_by: str | None
    before: SettingRecord | None
    target: SettingRecord
    expected: Expectation
    expected_before: Expectation | None = None
    settle_s: Annotated[float, Field(ge=0.0)] = 0.0
    restarts_hashing: bool = False
    intended_at: AwareDatetime
    confirm_by: AwareDatetime
    sent_at: AwareDatetime | None = None
    sent: Text | None = None
    acknowledged: bool | None = None
    readback: SettingRecord | None = None
    settled_at: AwareDatetime | None = None
    observed_hashrate_ths: float | None = None
    observed_power_w: float | None = None
    observed_power_is_estimate: bool = False
    observed_profit_usd_per_day: float | None = None
    outcome: Text | None = None
    rolls_back: Identifier | None = None


class Decision(Record):
    """What a person decided on one recommendation, at the dashboard or on the site."""

    seq: Annotated[int, Field(ge=1)]
    recommendation_id: Identifier
    verdict: Literal["approved", "rejected"]
    by: Annotated[str, Field(min_length=1, max_length=100)]
    at: AwareDatetime
    note: Text | None = None


class Alert(Record):
    """Something a person should know. One open alert per (site, key)."""

    key: Identifier
    site_id: Identifier
    at: AwareDatetime
    severity: Literal["info", "warning", "critical"]
    text: Text
    miner_id: Identifier | None = None
    cleared: bool = False


class MinerLine(Record):
    """One miner as the status table shows it. While `reachable` is false every live figure is None.

    `power_source` says whose watts they are, `power_offset` by how much the miner's own are off its meter.
    """

    miner_id: Identifier
    address: str
    model: str | None
    firmware: str | None
    tags: list[str]
    mode: Literal["observe", "propose", "apply"]
    reachable: bool
    unreachable_reason: Text | None
    last_seen: AwareDatetime | None
    hashrate_ths: float | None
    power_w: float | None
    power_is_estimate: bool
    power_source: Text | None = None
    power_offset: Text | None = None
    learned: Text | None = None
    efficiency_j_th: float | None
    chip_temp_c: float | None
    is_hashing: bool | None
    profit_usd_per_day: float | None
    profit_nominal_usd_per_day: float | None
    current: SettingRecord | None
    proposed: SettingRecord | None
    gain_usd_per_day: Interval | None
    recommendation_id: Identifier | None
    why: Text | None


class Summary(Record):
    """One site at one moment: totals and a line per miner."""

    site_id: Identifier
    site_name: str | None
    at: AwareDatetime
    cycle: Annotated[int, Field(ge=0)]
    agent_version: str
    mode: Literal["observe", "propose", "apply"]
    model: Text
    model_is_fallback: bool
    hashprice_usd_per_ths_day: float | None
    price_usd_per_kwh: float | None
    miners_total: int
    miners_reachable: int
    hashrate_ths: float
    power_w: float
    power_estimated_share: float
    profit_usd_per_day: float | None
    profit_nominal_usd_per_day: float | None
    profit_recommended_usd_per_day: float | None
    miners: list[MinerLine]


class TelemetryRecord(Record):
    """Readings of one moment, for the lake at the centre.

    `packed` is base64 of a pack as `agent.lake.rows` makes it; `part` counts the records of one moment
    from 0, `rows` the readings in this one.
    """

    site_id: Identifier
    at: AwareDatetime
    part: Annotated[int, Field(ge=0, le=9999)] = 0
    schema_version: Annotated[int, Field(ge=1)]
    rows: Annotated[int, Field(ge=1, le=MAX_TELEMETRY_ROWS)]
    packed: Annotated[str, Field(min_length=1, max_length=4 * 1024 * 1024, pattern=r"^[A-Za-z0-9+/]+=*$")]


RecordKind = Literal["summary", "recommendation", "act", "alert", "telemetry"]
RECORD_MODELS: dict[str, type[Record]] = {
    "summary": Summary,
    "recommendation": Recommendation,
    "act": Act,
    "alert": Alert,
    "telemetry": TelemetryRecord,
}


class Envelope(Record):
    """One outbox row on the wire. `key` is unique per site and kind, which makes delivery exactly-once.

    A later version of the same thing (a recommendation whose status changed) has a new key and the
    same `body.id`; the centre keeps the one with the highest `seq`.
    """

    seq: Annotated[int, Field(ge=1)]
    kind: RecordKind
    key: Identifier
    at: AwareDatetime
    body: dict[str, Any]


class Batch(Record):
    """`POST /api/v1/sites/{site_id}/records`."""

    records: Annotated[list[Envelope], Field(min_length=1, max_length=MAX_RECORDS_PER_BATCH)]


class BatchReply(Record):
    """Answer to a batch: everything up to `acknowledged_seq` is stored and may be forgotten by the agent."""

    acknowledged_seq: int
    stored: int
    duplicates: int


class Decisions(Record):
    """`GET /api/v1/sites/{site_id}/decisions?after=SEQ`."""

    decisions: list[Decision]


def known(value: float) -> float | None:
    """A numpy cell for a record: NaN and infinities become None."""
    return float(value) if math.isfinite(value) else None

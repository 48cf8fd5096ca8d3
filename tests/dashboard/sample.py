"""Realistic records of one site, built from a seed: what an agent with mixed miners would deliver."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from agent.records import (
    Act,
    Advice,
    Alert,
    Alternative,
    Envelope,
    Expectation,
    Interval,
    MinerLine,
    Recommendation,
    Record,
    SettingRecord,
    Summary,
    Why,
)

_MODELS = (
    ("antminer-s19-pro", 110.0, 3250.0, True),
    ("whatsminer-m30s-plus-plus", 112.0, 3472.0, False),
    ("antminer-s21", 200.0, 3500.0, True),
    ("whatsminer-m50s", 126.0, 3276.0, False),
    ("antminer-s19j-pro", 104.0, 3068.0, True),
)
HASHPRICE = 0.0512


def interval(middle: float, spread: float) -> Interval:
    return Interval(q10=middle - spread, q50=middle, q90=middle + 1.1 * spread)


def power_limit(watts: float) -> SettingRecord:
    return SettingRecord(knob="power_limit_w", value=watts)


def mac(i: int) -> str:
    return f"02:1a:4b:{i // 256:02x}:{i % 256:02x}:{(i * 37 + 11) % 256:02x}"


class SampleSite:
    """Makes records of a site and numbers them as an outbox would."""

    def __init__(
        self, site_id: str = "quarry", name: str = "Quarry North", miners: int = 24, seed: int = 7
    ) -> None:
        self.site_id, self.name, self.miners = site_id, name, miners
        self._rng = np.random.default_rng(seed)
        self._factor = self._rng.normal(1.0, 0.03, miners)
        self._seq = 0

    def envelope(self, record: Record, key: str | None = None, at: datetime | None = None) -> Envelope:
        self._seq += 1
        kind = type(record).__name__.lower()
        moment = at or getattr(record, "at", None) or getattr(record, "timestamp", None)
        moment = moment or record.intended_at  # type: ignore[attr-defined]
        return Envelope(
            seq=self._seq,
            kind=kind,
            key=key or f"{kind}-{self._seq}",
            at=moment,
            body=record.model_dump(mode="json"),
        )

    def tariff(self, at: datetime) -> float:
        return 0.055 + 0.03 * math.sin((at.hour + at.minute / 60 - 9) / 24 * 2 * math.pi) ** 3

    def line(self, i: int, at: datetime, **changes: Any) -> MinerLine:
        model, ths, watts, estimated = _MODELS[i % len(_MODELS)]
        hashrate, power = ths * self._factor[i], watts * (2 - self._factor[i])
        tariff = self.tariff(at)
        profit = hashrate * HASHPRICE - power * 0.024 * tariff
        worse = 1.05 - 0.03 * (i % 3)
        gain = interval(round(0.12 + 0.35 * ((i * 7) % 5) - 0.2 * (i % 2), 2), 0.18 + 0.05 * (i % 4))
        why = "Power costs more than the last 15 % of hashrate earn until 21:00."
        values: dict[str, Any] = {
            "miner_id": mac(i),
            "address": f"10.20.{i // 200}.{i % 200 + 10}",
            "model": model,
            "firmware": "stock",
            "tags": ["hall-a" if i % 2 else "hall-b"],
            "mode": "propose",
            "reachable": True,
            "unreachable_reason": None,
            "last_seen": at,
            "hashrate_ths": round(hashrate, 2),
            "power_w": round(power, 1),
            "power_is_estimate": estimated,
            "efficiency_j_th": round(power / hashrate, 2),
            "chip_temp_c": 62.0 + 3 * (i % 7),
            "is_hashing": True,
            "profit_usd_per_day": round(profit * worse, 3),
            "profit_nominal_usd_per_day": round(profit, 3),
            "current": power_limit(round(watts / 10) * 10),
            "proposed": power_limit(round(watts * 0.085) * 10) if i % 3 == 0 else None,
            "gain_usd_per_day": gain if i % 3 == 0 else None,
            "recommendation_id": f"rec-{i}" if i % 3 == 0 else None,
            "why": why if i % 3 == 0 else None,
            "learned": "hashes 0.4% less (known to 0.3%) and draws 3.1% more (known to 0.4%) than its model",
        }
        return MinerLine.model_validate(values | changes)

    def unreachable(self, i: int, at: datetime, reason: str) -> MinerLine:
        live = (
            "hashrate_ths",
            "power_w",
            "efficiency_j_th",
            "chip_temp_c",
            "is_hashing",
            "current",
            "proposed",
        )
        money = ("profit_usd_per_day", "gain_usd_per_day", "recommendation_id", "why")
        return self.line(
            i,
            at,
            reachable=False,
            unreachable_reason=reason,
            last_seen=at - timedelta(minutes=47),
            **dict.fromkeys((*live, *money)),
        )

    def summary(self, at: datetime, lines: list[MinerLine] | None = None, **changes: Any) -> Summary:
        if lines is None:
            lines = [self.line(i, at) for i in range(self.miners)]
        profit = sum(line.profit_usd_per_day or 0.0 for line in lines)
        nominal = sum(line.profit_nominal_usd_per_day or 0.0 for line in lines if line.reachable)
        values: dict[str, Any] = {
            "site_id": self.site_id,
            "site_name": self.name,
            "at": at,
            "cycle": self._seq + 1,
            "agent_version": "0.1.0",
            "mode": "propose",
            "model": "bundle 2026-07-04",
            "model_is_fallback": False,
            "hashprice_usd_per_ths_day": HASHPRICE,
            "price_usd_per_kwh": round(self.tariff(at), 4),
            "miners_total": len(lines),
            "miners_reachable": sum(line.reachable for line in lines),
            "hashrate_ths": sum(line.hashrate_ths or 0.0 for line in lines),
            "power_w": sum(line.power_w or 0.0 for line in lines),
            "power_estimated_share": 0.58,
            "profit_usd_per_day": profit + 4.0 * abs(math.sin(at.hour / 3)),
            "profit_nominal_usd_per_day": nominal,
            "profit_recommended_usd_per_day": profit + 9.5,
            "miners": lines,
        }
        return Summary.model_validate(values | changes)

    def recommendation(self, i: int, at: datetime, **changes: Any) -> Recommendation:
        line = self.line(i, at)
        gain = line.gain_usd_per_day or interval(0.4, 0.3)
        _, ths, watts, _ = _MODELS[i % len(_MODELS)]
        values: dict[str, Any] = {
            "id": f"rec-{i}",
            "type": "power_setting",
            "site_id": self.site_id,
            "miner_id": mac(i),
            "model": line.model,
            "timestamp": at,
            "expires_at": at + timedelta(minutes=45),
            "status": "proposed",
            "confidence": min(0.997, 0.62 + 0.09 * (i % 5)),
            "gain_usd_per_day": gain,
            "current": line.current,
            "proposed": line.proposed or power_limit(2800.0),
            "expected": Expectation(
                hashrate_ths=interval(ths * 0.88, 1.6),
                power_w=interval(watts * 0.85, 45.0),
                chip_temp_c=interval(64.0, 2.0),
                profit_usd_per_day=interval(2.05, 0.21),
            ),
            "steps": ["set the power limit", "confirm by telemetry within 15 min", "roll back if it misses"],
            "why": Why(
                summary="Power costs more than the last 15 % of hashrate earn until 21:00.",
                inputs={
                    "hashprice_usd_per_ths_day": HASHPRICE,
                    "price_usd_per_kwh": 0.0841,
                    "hashrate_ths": line.hashrate_ths,
                    "power_w": line.power_w,
                    "inlet_temp_c": 24.5,
                    "ambient_temp_c": None,
                    "tariff": "time-of-use table in Europe/Berlin",
                },
                alternatives=[
                    Alternative(
                        setting=power_limit(3000.0),
                        profit_usd_per_day=1.92,
                        reason="earns less in the evening peak",
                    ),
                    Alternative(
                        setting=SettingRecord(knob="stop"),
                        profit_usd_per_day=-0.11,
                        reason="restarts cost 9 min of hashing",
                    ),
                ],
                binds=["site override: at least 2,600 W on this model"],
                model="bundle 2026-07-04",
                model_is_fallback=False,
                feature_hash="9f2c4be1a70d5533",
                prices_from=at,
                prices_to=at + timedelta(hours=24),
            ),
        }
        return Recommendation.model_validate(values | changes)

    def advice(self, kind: str, at: datetime, **changes: Any) -> Recommendation:
        """A coin_switch, pool_switch or maintenance recommendation, id `rec-` and the kind."""
        now, then, miners = {
            "coin_switch": ("BTC", "BCH at stratum+tcp://bch.pool.example:3333", range(self.miners)),
            "pool_switch": (
                "stratum+tcp://a.pool.example:3333",
                "stratum+tcp://b.pool.example:3333",
                range(6),
            ),
            "maintenance": ("70.1 TH/s at 2200 W", "repaired: 105.2 TH/s at 3300 W", range(2, 3)),
        }[kind]
        base = self.recommendation(2, at)
        several = len(miners) > 1
        present = power_limit(3200.0)
        stay = Alternative(
            setting=present, label="leave it as it is", profit_usd_per_day=1.2, reason="costs 0.92 USD/day"
        )
        values: dict[str, Any] = {
            "schema_version": 2,
            "id": f"rec-{kind}",
            "type": kind,
            "miner_id": "several-miners" if several else mac(2),
            "model": None if several else base.model,
            "expires_at": at + timedelta(hours=48),
            "current": present,
            "proposed": present,
            "steps": ["With the power off, reseat the cables of board 2"],
            "why": base.why.model_copy(update={"alternatives": [stay], "binds": []}),
            "advice": Advice(subject=f"{kind}:x", now=now, then=then, miners=[mac(i) for i in miners]),
        }
        return base.model_copy(update=values | changes)

    def act(self, i: int, at: datetime, status: str = "confirmed", **changes: Any) -> Act:
        rec = self.recommendation(i, at)
        values: dict[str, Any] = {
            "id": f"act-{i}",
            "recommendation_id": rec.id,
            "site_id": self.site_id,
            "miner_id": rec.miner_id,
            "status": status,
            "reason": "approved recommendation",
            "approved_by": "maria",
            "before": rec.current,
            "target": rec.proposed,
            "expected": rec.expected,
            "intended_at": at,
            "confirm_by": at + timedelta(minutes=15),
            "sent_at": at + timedelta(seconds=1),
            "sent": 'adjust_power_limit {"power_limit": "2950"}',
            "acknowledged": True,
            "readback": rec.proposed,
        }
        if status in ("confirmed", "missed"):
            off = 0.0 if status == "confirmed" else 0.6
            values |= {
                "settled_at": at + timedelta(minutes=11),
                "observed_hashrate_ths": rec.expected.hashrate_ths.q50 + 0.7 - 9 * off,
                "observed_power_w": rec.expected.power_w.q50 - 12.0,
                "observed_power_is_estimate": i % 2 == 0,
                "observed_profit_usd_per_day": rec.expected.profit_usd_per_day.q50 + 0.08 - off,
                "outcome": "telemetry shows the new setting for 3 readings"
                if status == "confirmed"
                else "hashrate fell further than its interval; undone",
            }
        return Act.model_validate(values | changes)

    def alert(self, at: datetime, key: str = "miner-away", **changes: Any) -> Alert:
        values: dict[str, Any] = {
            "key": key,
            "site_id": self.site_id,
            "at": at,
            "severity": "warning",
            "text": "10.20.0.15 does not answer: connection refused on port 4028",
            "miner_id": mac(5),
        }
        return Alert.model_validate(values | changes)

    def day(self, now: datetime, hours: int = 24, step_min: int = 10) -> list[Envelope]:
        """A history of totals up to now; the last one with every kind of miner line."""
        found = []
        steps = hours * 60 // step_min
        for k in range(steps, 0, -1):
            at = now - timedelta(minutes=step_min * k)
            found.append(self.envelope(self.summary(at)))
        lines = [self.line(i, now) for i in range(self.miners)]
        if self.miners > 8:
            lines[5] = self.unreachable(5, now, "connection refused on port 4028")
            lines[8] = self.unreachable(8, now, "no answer within 4 s")
            lines[7] = self.line(
                7,
                now,
                hashrate_ths=0.0,
                power_w=96.0,
                efficiency_j_th=None,
                is_hashing=False,
                chip_temp_c=None,
                profit_usd_per_day=-0.13,
            )
            lines[4] = self.line(4, now, power_w=None, efficiency_j_th=None, profit_usd_per_day=None)
        found.append(self.envelope(self.summary(now, lines)))
        return found

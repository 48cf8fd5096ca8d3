"""One cycle of the agent: poll, learn, decide when due, act on what was approved, settle, report.

State with a life sits here; deciding is `agent.deciding`, acting `agent.acting`, sending `agent.uplink`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from agent.acting.actuation import Actuator
from agent.acting.confirm import Observation
from agent.acting.dispatch import Dispatcher
from agent.advice.desk import STATE_NAME as POOL_WORK_STATE
from agent.advice.desk import open_desk
from agent.advice.site_round import round_of, standings_of
from agent.alerts import Alerts
from agent.clock import Clock
from agent.config import SiteConfig
from agent.deciding.decision import Round, decision_round
from agent.deciding.proposals import Proposals
from agent.deciding.trials import trials_of
from agent.deciding.unasked import UNASKED_STATE, Unasked
from agent.errors import BundleError, DataError, StoreError
from agent.features.streaming import FeatureState
from agent.fleet import FleetFrame, Unit, build_frame
from agent.lake.recorder import LakeRecorder
from agent.learning.chips import without_present
from agent.learning.live import DAMAGED_NAME, Learner
from agent.learning.live import STATE_NAME as LEARNING_STATE
from agent.meters.site_meters import SiteMeters
from agent.miner_config import names_of
from agent.models.in_use import ModelInUse
from agent.models.inference import Curves, Economics, Predictor
from agent.money.conditions import Conditions
from agent.money.demand import DEMAND_STATE, DemandMeter
from agent.money.economics import Economics as Money
from agent.money.economics import profit_usd_per_day
from agent.planner.snapshot import ROUND_STATE, pack
from agent.records import Act, Recommendation, Summary
from agent.site import Site
from agent.site_limits import resting_now
from agent.store import Store
from agent.summary import summarise
from agent.telemetry import PollResult
from agent.watches import Watches

log = logging.getLogger(__name__)
_SAVE_STATE_EVERY_S = 600.0
_CAPABILITIES_PER_CYCLE = 50


class Cycle:
    """Everything one site's agent knows between cycles.

    Args:
        troubles: what is wrong with the sources of prices, by source.

    Raises:
        ConfigError, DataError, StoreError: on creation, when the site cannot be run as configured.
    """

    def __init__(
        self,
        config: SiteConfig,
        site: Site,
        store: Store,
        money: Money,
        clock: Clock,
        troubles: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._config = config
        self._site = site
        self._store = store
        self._money = money
        self._troubles = troubles
        self._clock = clock
        self._conditions = money.conditions(clock.now())
        self._features = self._restore_features()
        self._alerts = Alerts(config.site.id, store)
        self._models = ModelInUse(config.models.bundle, self._alerts)
        self._round: Round | None = None
        self._decided_at: datetime | None = None
        self._saved_at = clock.now()
        self._seen_at: list[datetime | None] = [None] * len(site.members)
        self._watches = Watches(config, site, self._alerts, clock, store.state("drift"))
        ids = [member.miner_id for member in site.members]
        self._meters = SiteMeters(config.meters, names_of(config.miners), ids, clock, store.state("meters"))
        self._lake = LakeRecorder(config, store, clock, list(self._alerts.standing()))
        self._modelled_w: NDArray[np.float64] | None = None
        self._desk = open_desk(config, store.state(POOL_WORK_STATE))
        self._learner = self._restore_learner()
        self._unasked = Unasked(config.poll.interval_s, store.state(UNASKED_STATE))
        self.number = 0
        self.actuator = Actuator(store, site, clock, config.site.id, self._profit_of)
        self.dispatcher = Dispatcher(self.actuator, store, site, self._resting)
        self._proposals = Proposals(store, site)
        self._demand = self._restore_demand()

    async def run(self) -> Summary:
        """One whole cycle.

        Raises:
            StoreError: something could not be stored; the miners were polled all the same.
        """
        self.number += 1
        results, _ = await asyncio.gather(self._site.poller.poll_once(), self._meters.read())
        results = self._watches.macs(results, await self._site.prove(results))
        self._site.learn(results)
        results = self._meter(results)
        await self._site.refresh_capabilities(_CAPABILITIES_PER_CYCLE)
        now = self._clock.now()
        units = self._site.units()
        # Deadlines are wall time; under a fast clock a poll takes longer than it does on a real site.
        oldest_s = 2.0 * self._config.poll.interval_s + self._config.poll.deadline_s * self._clock.factor
        frame = build_frame(now, units, results, max_age_s=oldest_s)
        self._note_times(results)
        self._watches.readings(results, now)
        for problem in self._money.refresh():
            log.warning("%s", problem)
        self._conditions = self._money.conditions(now)
        self._watches.prices({**self._troubles(), **self._money.troubles(now)}, now)
        self._features.align([unit.miner_id for unit in units])
        self._features.observe(frame, self._conditions)
        features = self._features.compute(frame, self._conditions)
        predictor = await self._models.choose(units, now)
        curves = self._present(predictor, features, frame)
        estimated = self._modelled_w = curves.power_w[:, 0, 1]
        self._watches.drift(predictor, frame, features, curves)
        self._learner.observe(frame, [result.reading for result in results], curves, predictor.bundle_id)
        self._watch(results)
        self.actuator.settle()
        self._watch_unasked(frame, results)
        # What people decided counts before a new round can replace what they looked at.
        self._proposals.expire(now)
        self._proposals.take_decisions()
        self._meter_demand(frame, estimated)
        if self._due(now):
            await self._decide(units, frame, features, predictor, estimated)
        self._advise(results, frame, curves)
        self._proposals.approve_by_mode(now)
        self.dispatcher.start(now)
        summary = self._summarise(frame, predictor, estimated)
        self._store.put_summary(summary)
        await self._keep_telemetry(frame)
        self._store.thin_outbox()
        self._save_features(now)
        return summary

    async def finish(self) -> None:
        """Let commands that are on the wire come to an end, and keep the window state."""
        await self.dispatcher.finish()
        self._save()

    # -- deciding --------------------------------------------------------------------------------

    def _due(self, now: datetime) -> bool:
        if self._decided_at is None or now < self._decided_at:
            return True
        return (now - self._decided_at).total_seconds() >= self._config.decide.interval_s

    async def _decide(
        self,
        units: Sequence[Unit],
        frame: FleetFrame,
        features: NDArray[np.float32],
        predictor: Predictor,
        estimated: NDArray[np.float64],
    ) -> None:
        now = frame.at
        measured = frame.columns["power_w"]
        hours = max(24.0, self._config.limits.minimum_hold_h)
        acts = self._store.acts(since=now - timedelta(hours=hours + 24.0), limit=100_000)
        exploring = self._config.learning.explore.enabled
        approved = [r for r in self._store.recommendations("approved") if r.changes_setting]
        # A change that is approved or under way is not decided on again, and what it will draw is taken.
        under_way: list[Act | Recommendation] = [
            *self._store.open_acts(),
            *approved,
        ]
        draw = np.where(np.isfinite(measured), measured, estimated)
        rows = {unit.miner_id: i for i, unit in enumerate(units)}
        for change in under_way:
            i = rows.get(change.miner_id)
            if i is not None:
                draw[i] = np.maximum(draw[i], change.expected.power_w.q90)
        self._round = await decision_round(
            self._site,
            self._config,
            units,
            frame,
            features,
            predictor,
            self._money.forecast(now, self._config.decide.horizon_h),
            acts,
            {change.miner_id for change in under_way},
            draw,
            self._learner,
            self._demand,
            trials_of(acts, approved, self._store.recommendation, now) if exploring else None,
            self._unasked,
        )
        self._decided_at = now
        self._proposals.keep(self._round.recommendations)
        self._store.put_state(ROUND_STATE, pack(self._round.snapshot))

    def _advise(self, results: Sequence[PollResult], frame: FleetFrame, curves: Curves) -> None:
        """What people could do that no setting does; seldom, and never sent to a miner."""
        readings = [result.reading for result in results]
        ids = [member.miner_id for member in self._site.members]
        self._desk.observe(zip(ids, readings, strict=True), frame.at)
        if not self._desk.due(frame.at):
            return
        forecast = self._money.forecast(frame.at, self._config.decide.horizon_h)
        context = round_of(self._config, forecast, frame.at)
        standings = standings_of(self._site, readings, frame, curves)
        declines = self._learner.declines(frame, context.hashprice_usd_per_ths_day, context.price_usd_per_kwh)
        self._desk.look(context, standings, readings, declines, self._store)

    # -- acting ----------------------------------------------------------------------------------

    def _resting(self, now: datetime) -> Sequence[str | None]:
        miners = [member.config for member in self._site.members]
        return resting_now(self._config.limits, miners, now, self._config.tariff.timezone)

    def _watch(self, results: Sequence[PollResult]) -> None:
        busy = self.actuator.busy()
        for member, result in zip(self._site.members, results, strict=True):
            reading = result.reading
            if member.miner_id in busy and reading is not None:
                seen = Observation(
                    at=result.finished_at,
                    hashrate_5s_ths=reading.hashrate_5s_ths,
                    hashrate_ths=reading.hashrate_ths,
                    power_w=reading.power_w,
                    is_hashing=reading.is_hashing,
                    setting=self._site.setting(member, reading),
                    power_source=reading.power_source,
                )
                self.actuator.observe(member.miner_id, seen)

    def _watch_unasked(self, frame: FleetFrame, results: Sequence[PollResult]) -> None:
        members, readings = self._site.members, [result.reading for result in results]
        seen = self._unasked.observe(
            frame,
            readings,
            lambda i: self._site.setting(members[i], readings[i]),
            lambda: self._store.acts(since=frame.at - timedelta(hours=48.0), limit=100_000),
        )
        if seen:
            # A crash must not make them undone.
            self._store.put_state(UNASKED_STATE, self._unasked.to_bytes())

    # -- features, and what is kept from run to run ----------------------------------------------

    def _present(self, predictor: Predictor, features: NDArray[np.float32], frame: FleetFrame) -> Curves:
        """[N,1,3] what the models expect at the present setting; NaN where that is unknown."""
        shares = frame.columns["setting_share"][:, None].astype(np.float32)
        economics = Economics(
            hashprice_usd_per_ths_day=0.0, price_usd_per_kwh=0.0, pue=1.0, pool_fee_share=0.0, hold_h=1.0
        )
        return predictor.predict(without_present(features), shares, np.zeros(shares.shape), economics)

    def _restore_features(self) -> FeatureState:
        ids = [member.miner_id for member in self._site.members]
        saved = self._store.state("features")
        if saved is None:
            return FeatureState(ids)
        try:
            state = FeatureState.from_bytes(saved)
        except (DataError, BundleError, StoreError) as error:
            log.warning("window state is not usable and starts anew: %s", error)
            return FeatureState(ids)
        state.align(ids)
        return state

    def _restore_learner(self) -> Learner:
        saved = self._store.state(LEARNING_STATE)
        learner = Learner(saved)
        if learner.problem is not None and saved is not None:
            self._store.put_state(DAMAGED_NAME, saved)
            self._alerts.tell("learning-damaged", self._clock.now(), "warning", learner.problem)
        return learner

    def _restore_demand(self) -> DemandMeter | None:
        demand, saved = self._money.demand, self._store.state(DEMAND_STATE)
        if demand is not None and saved is not None:
            try:
                demand.restore(saved)
            except DataError as error:
                self._alerts.tell(
                    "demand-peak", self._clock.now(), "warning", f"{error}; the peak is unknown"
                )
        return demand

    def _meter_demand(self, frame: FleetFrame, estimated: NDArray[np.float64]) -> None:
        if self._demand is not None:
            measured = frame.columns["power_w"]
            draw = np.where(np.isfinite(measured), measured, estimated)
            # Nothing known of any miner is not 0 kW.
            total_w = float(np.nansum(draw)) if np.isfinite(draw).any() else np.nan
            before = (self._demand.month, self._demand.peak_kw)
            self._demand.observe(frame.at, total_w * self._money.pue(frame.at))
            if before != (self._demand.month, self._demand.peak_kw):
                # A peak is paid for to the end of the month; a crash must not make it cheap again.
                self._store.put_state(DEMAND_STATE, self._demand.to_bytes())

    def _learned_words(self, frame: FleetFrame) -> Sequence[str | None]:
        on = self._config.learning.enabled
        return self._learner.words(frame) if on else [None] * len(frame.units)

    def _save_features(self, now: datetime) -> None:
        if abs((now - self._saved_at).total_seconds()) >= _SAVE_STATE_EVERY_S:
            self._save()
            self._saved_at = now

    def _save(self) -> None:
        self._store.put_state("features", self._features.to_bytes())
        self._store.put_state("drift", self._watches.drift_state())
        self._store.put_state(LEARNING_STATE, self._learner.to_bytes())
        self._store.put_state(UNASKED_STATE, self._unasked.to_bytes())
        if self._demand is not None:
            self._store.put_state(DEMAND_STATE, self._demand.to_bytes())
        if self._meters:
            self._store.put_state("meters", self._meters.to_bytes())

    # -- reporting -------------------------------------------------------------------------------

    def _summarise(self, frame: FleetFrame, predictor: Predictor, estimated: NDArray[np.float64]) -> Summary:
        open_ = self._store.recommendations("proposed", "approved", "applying")
        standing = {r.miner_id: r for r in open_ if r.changes_setting}
        return summarise(
            self._site,
            self._config,
            frame,
            self._conditions,
            estimated,
            self._round,
            standing,
            self._seen_at,
            pue=self._money.pue(frame.at),
            power_offsets=[self._meters.offsets.words(i) for i in range(len(self._site.members))],
            learned=self._learned_words(frame),
            cycle=self.number,
            model_label=predictor.label,
            model_is_fallback=predictor.is_fallback,
        )

    def _note_times(self, results: Sequence[PollResult]) -> None:
        for i, result in enumerate(results):
            if result.reading is not None:
                self._seen_at[i] = result.finished_at

    def _meter(self, results: Sequence[PollResult]) -> list[PollResult]:
        """The results with the watts of the meters where these are believed."""
        if not self._meters:
            return list(results)
        now, poll = self._clock.now(), self._config.poll
        oldest_s = 1.5 * poll.interval_s + 3.0 * self._clock.factor
        ids = [member.miner_id for member in self._site.members]
        metered = self._meters.apply(results, ids, oldest_s, self._modelled_w)
        for found in metered.findings:
            miner = found.miners[0] if len(found.miners) == 1 else None
            self._alerts.found(found, now, miner_id=miner)
        return metered.results

    async def _keep_telemetry(self, frame: FleetFrame) -> None:
        readings = [member.reading for member in self._site.members]
        models = [reading.model if reading is not None else None for reading in readings]
        for found in await self._lake.observe(frame, models):
            self._alerts.found(found, frame.at)

    def _profit_of(self, miner_id: str, hashrate_ths: float | None, power_w: float | None) -> float | None:
        conditions: Conditions = self._conditions
        if hashrate_ths is None or power_w is None:
            return None
        value = profit_usd_per_day(
            np.array([hashrate_ths]),
            np.array([power_w]),
            conditions.hashprice_usd_per_ths_day,
            conditions.price_usd_per_kwh,
            pool_fee_share=self._config.market.pool_fee_share,
            pue=self._money.pue(conditions.at),
        )[0]
        return float(value) if np.isfinite(value) else None

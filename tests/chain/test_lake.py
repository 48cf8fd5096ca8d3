"""From polls over real sockets to a lake: the same rows at the site and for the dashboard, fit to learn."""

from __future__ import annotations

import base64
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from agent.lake.check import check_lake
from agent.lake.journal import JOURNAL, Journal
from agent.lake.keeper import pack_finished
from agent.lake.rows import Rows, join, unpack
from agent.records import TelemetryRecord
from agent.telemetry import TELEMETRY_COLUMNS
from simulator.history import HistoryPlan
from simulator.history_lake import write_history
from simulator.physics_file import default_physics
from simulator.weather import constant
from tests.chain.farms import NOON, chain, farm_spec, site_file
from trainer.lake import read_lake

MODELS = ("antminer-s19-pro", "antminer-s21", "whatsminer-m30s-plus-plus", "whatsminer-m60s")


def farm() -> list[dict[str, Any]]:
    return [{"model": model, "host": 10 + i} for i, model in enumerate(MODELS)]


def delivered(envelopes: list[Any]) -> Rows:
    records = [TelemetryRecord.model_validate(e.body) for e in envelopes if e.kind == "telemetry"]
    return join([unpack(base64.b64decode(record.packed)) for record in records])


async def test_polls_become_a_lake_that_checks_and_trains(tmp_path: Path) -> None:
    spec = farm_spec(farm(), tmp_path)
    token = tmp_path / "token"
    token.write_text("t")
    token.chmod(0o600)
    site = site_file(
        spec,
        tmp_path,
        lake={"path": "lake", "deliver": True},
        dashboard={"url": "http://127.38.0.1:1", "token_file": "token"},
    )
    async with chain(spec, site) as parts:
        await parts.run(41)
        held = Journal(parts.config.state_dir / JOURNAL, parts.config.site.id, NOON)
        packs = held.packs(parts.config.site.id, date(2026, 3, 2))
        mine = join([unpack(body) for _, body in packs])
        theirs = delivered(parts.store.pending(500))
        # 20 minutes of polls every 30 s, kept every 5 minutes.
        assert len(packs) == 5
        np.testing.assert_array_equal(mine.at_us, theirs.at_us)
        np.testing.assert_array_equal(mine.columns["hashrate_ths"], theirs.columns["hashrate_ths"])
        assert parts.config.lake is not None
        assert parts.config.lake.path is not None
        pack_finished(held, parts.config.lake.path, parts.clock.now(), everything=True)
        verdict = check_lake(parts.config.lake.path)
        assert (verdict.rows, verdict.miners, verdict.problems) == (20, 4, [])
        assert set(verdict.models) == set(MODELS)
        telemetry = read_lake(parts.config.lake.path)
        assert len(telemetry.at_s) == 20
        last = parts.store.latest_summary()
        assert last is not None
        newest = {
            unit[1]: telemetry.columns["hashrate_ths"][telemetry.starts[i + 1] - 1]
            for i, unit in enumerate(telemetry.units)
        }
        for line in last.miners:
            assert line.hashrate_ths is not None
            assert abs(newest[line.miner_id] / line.hashrate_ths - 1.0) < 0.1


async def test_history_knows_of_each_model_what_polls_of_it_know(tmp_path: Path) -> None:
    spec = farm_spec(farm(), tmp_path)
    async with chain(spec, site_file(spec, tmp_path, lake={"path": "lake"})) as parts:
        await parts.run(20, seconds=60.0)
        assert parts.config.lake is not None
        assert parts.config.lake.path is not None
        held = Journal(parts.config.state_dir / JOURNAL, parts.config.site.id, NOON)
        pack_finished(held, parts.config.lake.path, parts.clock.now(), everything=True)
        live = read_lake(parts.config.lake.path)
    physics = default_physics()
    models = tuple((physics.model(model), 2) for model in MODELS)
    write_history(HistoryPlan(models, constant(18.0), date(2026, 3, 2), 2, metered=0.0), tmp_path / "made")
    made = read_lake(tmp_path / "made")
    for model in MODELS:
        known = []
        for telemetry in (live, made):
            units = [i for i, unit in enumerate(telemetry.units) if unit[2] == model]
            mine = np.isin(telemetry.unit, units)
            known.append(
                {c.name for c in TELEMETRY_COLUMNS if np.isfinite(telemetry.columns[c.name][mine]).any()}
            )
        # A percent of power stands in telemetry only once somebody has set one.
        assert known[0] - {"power_percent"} == known[1] - {"power_percent"}, model

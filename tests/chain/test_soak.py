"""Days of a farm in trouble, in apply mode: nothing breaks, nothing leaves its bounds, memory stays."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path

import numpy as np
import psutil
import pytest

from simulator.peers import Faults
from tests.chain.farms import NOON, chain, farm_spec, site_file

GROUPS = [
    {"model": "antminer-s19-pro", "host": 10, "firmware": "antminer-legacy", "count": 4},
    {"model": "antminer-s21", "host": 20, "firmware": "antminer-new", "count": 4},
    {"model": "whatsminer-m30s-plus-plus", "host": 30, "firmware": "whatsminer-v2", "count": 4},
    {"model": "whatsminer-m60s", "host": 40, "firmware": "whatsminer-v3", "count": 4},
]
SWITCHES = ("unplugged", "garbage", "cut_mid_json", "http_500_on_conf", "process_down", "ack_without_effect")
CYCLES, STEP_S = 500, 300.0


@pytest.mark.slow
async def test_two_days_of_faults_and_swinging_prices(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    hours = int(CYCLES * STEP_S / 3600) + 48
    rows = [
        f"{(NOON + timedelta(hours=h)).isoformat()},{0.07 + 0.08 * math.sin(h / 3.0):.4f}"
        for h in range(-24, hours)
    ]
    (tmp_path / "prices.csv").write_text("time_utc,price_usd_per_kwh\n" + "\n".join(rows) + "\n")
    spec = farm_spec(GROUPS, tmp_path)
    changes = {
        "mode": "apply",
        "tariff": {"kind": "series", "path": str(tmp_path / "prices.csv")},
        "poll": {"interval_s": STEP_S, "deadline_s": 1.0, "spread_s": 0.0},
        "limits": {"minimum_hold_h": 2.0, "power_cap_w": 45_000.0},
    }
    async with chain(spec, site_file(spec, tmp_path, **changes)) as parts:
        addresses = list(parts.farm.machines)
        own = psutil.Process()
        early = 0.0
        for number in range(CYCLES):
            if number % 5 == 0:
                peer = parts.farm.peers[addresses[int(rng.integers(len(addresses)))]]
                sick = rng.random() < 0.5
                await peer.set_faults(Faults(**{str(rng.choice(SWITCHES)): True}) if sick else Faults())
            await parts.run(1, STEP_S)
            await parts.cycle.dispatcher.finish()
            if number == 100:
                early = own.memory_info().rss / 2**20
        late = own.memory_info().rss / 2**20
        acts = parts.store.acts(limit=100_000)
        assert len(acts) > 20
        for act in acts:
            member = parts.site.find(act.miner_id)
            assert member is not None
            assert member.profile is not None
            assert any(bound.allows(act.target.setting()) for bound in member.profile.bounds("stock")), (
                act.target
            )
        per_day: dict[tuple[str, str], int] = {}
        for act in acts:
            if act.restarts_hashing and act.rolls_back is None and act.status != "failed":
                day = (act.miner_id, f"{act.intended_at:%Y-%m-%d}")
                per_day[day] = per_day.get(day, 0) + 1
        assert max(per_day.values()) <= 8  # a budget of 4 in any 24 h touches two calendar days
        assert late - early < 40.0, f"{early:.0f} to {late:.0f} MiB"

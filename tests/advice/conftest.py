from __future__ import annotations

from datetime import UTC, datetime

import pytest

from agent.advice.record import Round, Standing
from agent.records import SettingRecord

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def standing(miner: str = "a01", rate: float = 90.0, power: float = 3000.0) -> Standing:
    return Standing(miner, "antminer-s19", SettingRecord(knob="power_limit_w", value=3000.0), rate, power)


@pytest.fixture
def context() -> Round:
    return Round("quarry", NOW, 48.0, (0.05, 0.05, 0.05), (0.05, 0.05, 0.05), "f" * 16)

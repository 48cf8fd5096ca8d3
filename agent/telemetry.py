"""What one poll brought, and the columns that telemetry has everywhere: live, in the lake, in features."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from agent.errors import DeviceError
from agent.reading import Reading


@dataclass(frozen=True, slots=True)
class PollResult:
    """The outcome of polling one miner once: a reading or the error that stood in its place.

    Args:
        miner_id: the site's id of the miner, else its MAC, else its address until the MAC is known.
        started_at, finished_at: UTC.
        family: driver in use, None until identified.
    """

    miner_id: str
    address: str
    started_at: datetime
    finished_at: datetime
    reading: Reading | None
    error: DeviceError | None
    family: str | None = None


class Column(NamedTuple):
    """One numeric telemetry column: float64, NaN where unknown.

    `since` is the schema version of the lake that brought it; in older files it counts as unknown.
    """

    name: str
    unit: str
    minimum: float
    maximum: float
    meaning: str
    since: int = 1


# Ranges are what is physically possible, wide enough for any miner; a value outside is refused at the door.
TELEMETRY_COLUMNS: tuple[Column, ...] = (
    Column("hashrate_ths", "TH/s", 0.0, 5000.0, "steadiest recent rate"),
    Column("hashrate_avg_ths", "TH/s", 0.0, 5000.0, "average since the mining process started"),
    Column("hashrate_expected_ths", "TH/s", 0.0, 5000.0, "what the firmware says the unit should do"),
    Column("power_w", "W", 0.0, 50000.0, "wall power as metered or reported, never our estimate"),
    Column("setting_share", "1", 0.0, 3.0, "present setting as nominal share of rated power; 0 is stopped"),
    Column("is_hashing", "1", 0.0, 1.0, "1 hashing, 0 not"),
    Column("chip_temp_c", "C", -60.0, 200.0, "hottest chip"),
    Column("board_temp_c", "C", -60.0, 200.0, "hottest board"),
    Column("inlet_temp_c", "C", -60.0, 100.0, "air or water going in"),
    Column("ambient_temp_c", "C", -60.0, 100.0, "around the unit, as it reports"),
    Column("fan_rpm", "rpm", 0.0, 60000.0, "mean over the fans"),
    Column("voltage_v", "V", 0.0, 1000.0, "hash board rail"),
    Column("frequency_mhz", "MHz", 0.0, 5000.0, "mean chip frequency"),
    Column("boards_hashing", "1", 0.0, 64.0, "boards with a rate"),
    Column("boards_expected", "1", 0.0, 64.0, "boards the model has"),
    Column("hw_errors", "1", 0.0, 1e12, "hardware errors since the process started"),
    Column("uptime_s", "s", 0.0, 1e9, "of the mining process"),
    Column("shares_accepted", "1", 0.0, 1e12, "since the process started"),
    Column("shares_rejected", "1", 0.0, 1e12, "since the process started"),
    Column("shares_stale", "1", 0.0, 1e12, "since the process started"),
    Column("rated_hashrate_ths", "TH/s", 0.0, 5000.0, "of the profile or its bin"),
    Column("rated_power_w", "W", 0.0, 50000.0, "of the profile or its bin"),
    Column("power_limit_w", "W", 0.0, 50000.0, "power limit that the firmware says is set", 2),
    Column("power_percent", "%", 0.0, 300.0, "power percent that the firmware says is set", 2),
    Column("hashrate_percent", "%", 0.0, 300.0, "hashrate percent that the firmware says is set", 2),
    Column("work_mode_code", "code", 0.0, 5.0, "place of the work mode in `WORK_MODE_CODES`", 2),
    Column("chip_temp_spread_c", "C", 0.0, 260.0, "hottest chip of the hottest board less the coolest's", 2),
    Column("board_temp_spread_c", "C", 0.0, 260.0, "hottest board less the coolest", 2),
    Column("share_difficulty", "1", 0.0, 1e15, "difficulty of shares at the active pool", 2),
)
# Text columns that stand beside them in the lake, with `at` (UTC timestamp) as the time.
TELEMETRY_KEYS: tuple[str, ...] = ("site_id", "miner_id", "model", "firmware", "power_source")
LAKE_SCHEMA_VERSION = 2
# Modes by rising power.
WORK_MODE_CODES: dict[str, float] = {
    "stopped": 0.0,
    "sleep": 1.0,
    "low": 2.0,
    "efficient": 3.0,
    "normal": 4.0,
    "high": 5.0,
}

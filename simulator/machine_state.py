"""What a simulated machine is at one moment: plain records, filled by `simulator.machine`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Phase = Literal["off", "booting", "idle", "ramping", "stable", "sleep", "protect"]
WORK_MODES = ("normal", "sleep", "low", "high", "efficient")
POWER_MODES = ("low", "normal", "high")


@dataclass(frozen=True, slots=True)
class PoolEntry:
    """One configured pool; an empty `url` is an unused slot."""

    url: str
    user: str
    password: str


@dataclass(frozen=True, slots=True)
class BoardState:
    """One hash board. Temperatures are of four places; the first is the hottest (outlet side)."""

    index: int
    present: bool
    chips: int
    chips_expected: int
    hashrate_ths: float
    ideal_ths: float
    frequency_mhz: float
    chip_temps_c: tuple[float, float, float, float]
    pcb_temps_c: tuple[float, float, float, float]
    voltage_v: float
    hw_errors: int
    serial: str


@dataclass(frozen=True, slots=True)
class MachineState:
    """Everything true of a machine at `now`, before any firmware words it.

    `power_w` is the true wall power; `reported_power_w` is what the unit's own sensor says, None where the
    model has none. Rates are TH/s over the window in their name, `hashrate_ths` over one minute.
    `process_up` is False while the mining process is down, when a real unit refuses its mining API.
    """

    phase: Phase
    now: datetime
    model: str
    vendor: str
    type_text: str
    firmware_version: str
    mac: str
    serial: str
    hashrate_ths: float
    hashrate_5s_ths: float
    hashrate_5m_ths: float
    hashrate_15m_ths: float
    hashrate_30m_ths: float
    hashrate_avg_ths: float
    hashrate_ideal_ths: float
    factory_hashrate_ths: float
    power_w: float
    reported_power_w: float | None
    power_limit_w: float | None
    power_percent: float
    power_mode: str
    work_mode: str
    hashrate_percent: float
    target_freq_percent: float
    mining_enabled: bool
    ambient_c: float
    inlet_c: float
    outlet_c: float
    fan_rpm: tuple[float, ...]
    fan_manual: bool
    fan_pwm: int
    voltage_v: float
    frequency_mhz: float
    elapsed_s: float
    uptime_s: float
    accepted: int
    rejected: int
    stale: int
    best_share: int
    share_difficulty: float
    errors: tuple[str, ...]
    boards: tuple[BoardState, ...]
    upfreq_complete: bool
    ports_open: bool
    process_up: bool

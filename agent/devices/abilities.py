"""What each firmware family can be asked and told: the table behind docs/devices.md and `hashmargin devices`.

A row says how a driver reads and writes. What a change costs (restart, settling) is not repeated here: it
stands in the hardware profiles, which the planner reads, and `cost` looks it up there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agent.hardware.profile import HardwareProfile
from agent.setting import Knob

_SOFT = "no restart"
_NOBODY = "nothing"
_WHATSMINER_SWITCH = "WhatsMinerTool: change the admin password, then Remote Ctrl, Miner API Switch"


@dataclass(frozen=True, slots=True)
class Way:
    """How one knob of one family is set and told back.

    Args:
        knob: what is set.
        written: the command that is sent.
        told: the field that shows it again, for the read-back.
        offered: on which units; empty for every one that a profile allows it on.
    """

    knob: Knob
    written: str
    told: str
    offered: str = ""


@dataclass(frozen=True, slots=True)
class Ability:
    """One family.

    Args:
        ports: what it is spoken to by.
        each_cycle: what every poll asks.
        rarely: what is asked on a rhythm of its own.
        login: whose credentials it takes, and the factory's.
        switch: what the owner must enable before anything is written.
        ways: the knobs, none for a family that is only read.
        pools: the command that replaces the pools; None where they are not written.
        pools_cost: what replacing the pools costs.
    """

    ports: str
    each_cycle: str
    rarely: str
    login: str
    switch: str
    ways: tuple[Way, ...]
    pools: str | None = None
    pools_cost: str = _SOFT

    def way(self, knob: Knob) -> Way | None:
        """How a knob is set; None where this family has it not."""
        return next((way for way in self.ways if way.knob is knob), None)


@dataclass(frozen=True, slots=True)
class Cost:
    """What setting one knob of one firmware costs, over all profiles that have it.

    Args:
        restarts: True where hashing restarts.
        settles_s: shortest and longest seconds until telemetry can judge it.
        lost_s: shortest and longest seconds of full hashing that the planner counts as lost.
        models: how many profiles have the knob.
    """

    restarts: bool
    settles_s: tuple[float, float]
    lost_s: tuple[float, float]
    models: int


_STOCK_MODE_TOLD = "`bitmain-work-mode` of `get_miner_conf.cgi`, `miner-mode` of `stats`"

ABILITIES: dict[str, Ability] = {
    "antminer-stock": Ability(
        ports="4028, web 80, status 6060",
        each_cycle="`stats`; watts from 6060 where the model has them",
        rarely="pools, configuration, errors, identity",
        login="web user and password (root/root)",
        switch=_NOBODY,
        ways=(
            Way(Knob.WORK_MODE, "`set_miner_conf.cgi` with `miner-mode`", _STOCK_MODE_TOLD),
            Way(Knob.STOP, "`set_miner_conf.cgi` with `miner-mode` 1 (sleep)", _STOCK_MODE_TOLD),
            Way(
                Knob.HASHRATE_PERCENT,
                "`set_miner_conf.cgi` with `bitmain-hashrate-percent`",
                "`bitmain-hashrate-percent` of `get_miner_conf.cgi`",
                "where `get_adjustment_params.cgi` gives a range",
            ),
        ),
        pools="`set_miner_conf.cgi`",
        pools_cost="no restart (a reload)",
    ),
    "antminer-old": Ability(
        ports="4028, web 80, ssh 22",
        each_cycle="`stats`",
        rarely="pools, configuration, identity",
        login="one login for web and ssh; left out, each one's own (root/root, root/admin)",
        switch=_NOBODY,
        ways=(
            Way(
                Knob.FREQUENCY_PERCENT,
                "`bitmain-freq` in the configuration files, by ssh, then a restart of the process",
                "the files, `bitmain-freq` of `get_miner_conf.cgi`",
                "where ssh is open",
            ),
            Way(
                Knob.VOLTAGE_PERCENT,
                "`bitmain-voltage` in the configuration files, by ssh, then a restart of the process",
                "the files",
                "where ssh is open",
            ),
        ),
        pools="`set_miner_conf.cgi` as a form",
        pools_cost="hashing restarts",
    ),
    "whatsminer-v2": Ability(
        ports="4028",
        each_cycle="`summary` with `edevs`",
        rarely="status, errors, pools, identity",
        login="admin password (admin)",
        switch=_WHATSMINER_SWITCH,
        ways=(
            Way(
                Knob.POWER_LIMIT_W,
                "`adjust_power_limit`",
                "`Power Limit` of `summary`, `power_limit_set` of `status`",
            ),
            Way(
                Knob.POWER_PERCENT,
                "`set_power_pct_v2`, within a curtailment `set_power_pct`; `restore_power_pct` for 100",
                "`power_pct` of `status`",
                "where `status` shows it again",
            ),
            Way(
                Knob.WORK_MODE,
                "`set_low_power`, `set_normal_power`, `set_high_power`; often no answer",
                "`Power Mode` of `summary`",
            ),
            Way(Knob.STOP, "`power_off` (`power_on` to wake); often no answer", "`mineroff` of `status`"),
        ),
        pools="`update_pools`",
    ),
    "whatsminer-v3": Ability(
        ports="4433; 4028 for writes where it still answers",
        each_cycle="`get.miner.status` for summary and boards",
        rarely="setting, device info, errors, pools, share counts",
        login="API account and password (super/super)",
        switch=_WHATSMINER_SWITCH,
        ways=(
            Way(
                Knob.POWER_LIMIT_W,
                "as v2, else `set.miner.power_limit`",
                "`power-limit` of `get.miner.setting`",
            ),
            Way(
                Knob.POWER_PERCENT,
                "as v2, else `set.miner.power_percent`, mode normal or, within a curtailment, fast",
                "`power-percent` of `get.miner.setting`",
            ),
            Way(
                Knob.FREQUENCY_PERCENT,
                "`set_target_freq`, else `set.miner.target_freq`",
                "`target-freq` of `get.miner.setting`",
                "where the owner adds it to the profile: no profile has it",
            ),
            Way(
                Knob.WORK_MODE,
                "as v2, else `set.miner.power_mode`",
                "`power-mode` of `get.miner.setting`",
            ),
            Way(Knob.STOP, "as v2, else `set.miner.service`", "`working` of `get.device.info`"),
        ),
        pools="`update_pools`, else `set.miner.pools`",
    ),
    "luxos": Ability(
        ports="4028",
        each_cycle="`stats`, `power` and `config`, joined",
        rarely="version, profiles, pools",
        login="none; one session at a time",
        switch=_NOBODY,
        ways=(
            Way(
                Knob.POWER_LIMIT_W,
                "`powertargetset`; on models without one `profileset`, with `atmset` off before and on after",
                "`IdealPowerTarget`, else `Profile`, of `config`",
                "inside `limits`; without a power target, the watts of the unit's own `profiles`",
            ),
            Way(Knob.STOP, "`curtail sleep` (`curtail wakeup` to wake)", "`CurtailMode` of `config`"),
            Way(Knob.WORK_MODE, "`curtail`: normal and sleep", "`CurtailMode` of `config`"),
        ),
        pools="`addpool`, `switchpool`, `removepool`",
    ),
    "braiins": Ability(
        ports="web 80 (REST)",
        each_cycle="`miner/stats` and the most overdue slow fact",
        rarely="boards, cooling, tuner, details, pools, errors",
        login="user and password (root/root)",
        switch=_NOBODY,
        ways=(
            Way(
                Knob.POWER_LIMIT_W,
                "`performance/power-target`",
                "`performance/tuner-state`, `configuration/miner`",
                "inside `configuration/constraints`, while the tuner follows power",
            ),
            Way(Knob.STOP, "`actions/pause` (`actions/resume` to wake)", "`status` of `miner/details`"),
            Way(
                Knob.WORK_MODE,
                "`actions/pause`, `actions/resume`: normal and sleep",
                "`status` of `miner/details`",
            ),
        ),
        pools="`pools/GROUP`, else `pools/batch`",
    ),
    "vnish": Ability(
        ports="web 80 (REST)",
        each_cycle="`summary`",
        rarely="info, preset",
        login="password (admin), for settings only",
        switch=_NOBODY,
        ways=(
            Way(
                Knob.POWER_LIMIT_W,
                "`settings` with `overclock.preset`, then `mining/restart` if asked for",
                "`overclock.preset` of `settings`",
                "the watts of the unit's own tuned `autotune/presets`, once a preset is chosen",
            ),
            Way(
                Knob.POWER_PERCENT,
                "`mining/throttle`",
                "`throttled` of `status` and `summary`",
                "from VNish 1.3.3",
            ),
            Way(Knob.STOP, "`mining/stop` (`mining/start` to wake)", "`miner_state` of `status`"),
            Way(
                Knob.WORK_MODE,
                "`mining/pause`, `mining/resume`: normal and sleep",
                "`miner_state` of `status`",
            ),
        ),
        pools="`settings` with `pools`",
    ),
    "pyasic-rs": Ability(
        ports="as the library does",
        each_cycle="everything the library reads",
        rarely=_NOBODY,
        login="the library's own",
        switch="not written: no journal, read-back or bounds of ours",
        ways=(),
    ),
}


def cost(vendor: str, firmware: str, knob: Knob, profiles: Iterable[HardwareProfile]) -> Cost | None:
    """What the profiles of a vendor say that setting `knob` on `firmware` costs; None if none has it.

    A firmware that restarts on one model is taken to restart on all.
    """
    controls = [
        control
        for profile in profiles
        if profile.vendor == vendor and (control := profile.control(firmware, knob)) is not None
    ]
    if not controls:
        return None
    settles = [control.settle_s for control in controls]
    lost = [control.lost_hashing_s(stops=knob is Knob.STOP) for control in controls]
    return Cost(
        restarts=any(control.restarts_hashing for control in controls),
        settles_s=(min(settles), max(settles)),
        lost_s=(min(lost), max(lost)),
        models=len(controls),
    )

"""What is configured on a miner, and within which bounds, as the REST API words it."""

from __future__ import annotations

from typing import Any

from simulator.machine import MachineState
from simulator.peers.antminer.layouts import Json
from simulator.peers.braiins.layouts import board_id, pool_stats
from simulator.peers.braiins.pools import Group
from simulator.peers.braiins.refusals import BadBody, Refusal
from simulator.peers.braiins.tuner import Bounds, Mode, Profile, Target
from simulator.peers.braiins.unit import BraiinsUnit

_MODE_NUMBERS: dict[Mode, int] = {"power": 1, "hashrate": 2}
_UNITS: dict[Mode, str] = {"power": "watt", "hashrate": "terahash_per_second"}
_COOLING = ("target", "hot", "dangerous")
_COOLING_C = {"target": 60.0, "hot": 80.0, "dangerous": 90.0}


def shown(mode: Mode, value: float) -> Json:
    """A target's figure in the object of its unit."""
    return {_UNITS[mode]: int(value) if mode == "power" else value}


def read_figure(mode: Mode, body: Any) -> float:
    """The figure of a target in the object of its unit.

    Raises:
        BadBody: it is something else.
    """
    unit = _UNITS[mode]
    value = body.get(unit) if isinstance(body, dict) else None
    if value is None:
        raise BadBody(422, f"missing field `{unit}`")
    whole = mode == "power"
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise BadBody(422, f"{unit}: invalid type: expected {'u64' if whole else 'f64'}")
    if not 0 <= value < 2**63:
        raise BadBody(422, f"{unit}: invalid value: expected {'u64' if whole else 'f64'}")
    return value


def performance_mode(target: Target) -> Json:
    """`/performance/mode`."""
    held = {f"{target.mode}_target": shown(target.mode, target.value)}
    return {"tunermode": {"target": {f"{target.mode}target": held}}}


def read_performance_mode(body: Any) -> Target:
    """What a client wants the mode to be.

    Raises:
        BadBody: not a mode.
        Refusal: fixed frequencies, which this unit does not offer.
    """
    if not isinstance(body, dict):
        raise BadBody(422, "data did not match any variant of untagged enum PerformanceModeMode")
    if isinstance(body.get("manualmode"), dict):
        raise Refusal("unimplemented", "manual mode is not supported")
    tuner = body.get("tunermode")
    target = tuner.get("target") if isinstance(tuner, dict) else None
    modes: tuple[Mode, ...] = ("power", "hashrate")
    for mode in modes:
        held = target.get(f"{mode}target") if isinstance(target, dict) else None
        if isinstance(held, dict):
            return Target(mode, read_figure(mode, held.get(f"{mode}_target")))
    raise BadBody(422, "data did not match any variant of untagged enum PerformanceModeMode")


def tuner_state(state: MachineState, unit: BraiinsUnit) -> Json:
    """`/performance/tuner-state`."""
    progress = unit.tuner.progress(state)
    if not unit.running(state):
        return {"overall_tuner_state": 0, "mode_state": None}
    target, profile = unit.tuner.current(state), unit.tuner.profile(state)
    held = {
        "current_target": shown(target.mode, target.value),
        "profile": None if profile is None else _profile(profile),
    }
    return {"overall_tuner_state": progress, "mode_state": {f"{target.mode}targetmodestate": held}}


def target_profiles(unit: BraiinsUnit) -> Json:
    """`/performance/target-profiles`."""
    known = sorted(unit.tuner.profiles.values(), key=lambda profile: profile.target.value)
    return {
        f"{mode}_target_profiles": [_profile(profile) for profile in known if profile.target.mode == mode]
        for mode in _UNITS
    }


def _profile(profile: Profile) -> Json:
    watts = profile.estimated_w
    return {
        "created": {"seconds": int(profile.created_s), "nanos": 0},
        "target": shown(profile.target.mode, profile.target.value),
        "measured_hashrate": {"gigahash_per_second": profile.measured_ghs},
        "estimated_power_consumption": None if watts is None else {"watt": watts},
    }


def constraints(state: MachineState, unit: BraiinsUnit) -> Json:
    """`/configuration/constraints`."""
    bounds = unit.tuner.bounds
    mhz = unit.surface.machine.spec.rated_frequency_mhz
    return {
        "tuner_constraints": {
            "power_target": _bounds("power", bounds["power"]),
            "hashrate_target": _bounds("hashrate", bounds["hashrate"]),
            "enabled": {"default": True},
            "default_mode": _MODE_NUMBERS["power"],
        },
        "cooling_constraints": {
            "default_cooling_mode": 1,
            "target_temperature": _temperature("target"),
            "hot_temperature": _temperature("hot"),
            "dangerous_temperature": _temperature("dangerous"),
            "fan_speed_ratio": {"default": 1.0, "min": 0.0, "max": 1.0},
            "minimum_required_fans": {"default": 1, "min": 0, "max": len(state.fan_rpm)},
            "min_fan_speed": {"default": 10, "min": 0, "max": 100},
            "max_fan_speed": {"default": 100, "min": 0, "max": 100},
        },
        "dps_constraints": {
            "mode": 1,
            "enabled": {"default": False},
            "power_step": None,
            "hashrate_step": None,
            "min_power_target": _bounds("power", bounds["power"]),
            "min_hashrate_target": _bounds("hashrate", bounds["hashrate"]),
            "shutdown_enabled": {"default": False},
            "shutdown_duration": None,
            "on_start_target_percent": {"default": 100, "min": 50, "max": 100},
        },
        "hashboards_constraints": {
            "hashboard_ids": [board_id(board) for board in state.boards],
            "enabled": {"default": True},
            "frequency": {
                "default": {"hertz": mhz * 1e6},
                "min": {"hertz": 50e6},
                "max": {"hertz": 1.5 * mhz * 1e6},
            },
            "voltage": None,
            "quick_ramping_time_s": None,
        },
    }


def configuration(state: MachineState, unit: BraiinsUnit) -> Json:
    """`/configuration/miner`: what is saved, passwords of pools and all."""
    configured = unit.tuner.configured
    held = {mode: shown(mode, configured.value) if mode == configured.mode else None for mode in _UNITS}
    return {
        "pool_groups": [group_configuration(group) for group in unit.pools.groups()],
        "temperature": {"mode": cooling_mode(state), "minimum_required_fans": 1},
        "tuner": {
            "enabled": True,
            "tuner_mode": _MODE_NUMBERS[configured.mode],
            "power_target": held["power"],
            "hashrate_target": held["hashrate"],
        },
        "dps": {"enabled": False, "mode": None, "shutdown_enabled": None},
        "hashboard_config": {"global_frequency": None, "global_voltage": None, "hashboards": []},
    }


def cooling_mode(state: MachineState) -> Json:
    """The mode of the fans."""
    temperatures = {f"{name}_temperature": {"degree_c": _COOLING_C[name]} for name in _COOLING}
    if state.fan_manual:
        return {"manual": temperatures | {"fan_speed_ratio": state.fan_pwm / 100.0}}
    return {"auto": temperatures | {"min_fan_speed": 10, "max_fan_speed": 100}}


def read_cooling_mode(body: Any) -> tuple[bool, int]:
    """Whether a client wants fixed fans, and at what percent.

    Raises:
        BadBody: not a mode.
        Refusal: a speed out of range, or a mode that air-cooled units have not.
    """
    if not isinstance(body, dict):
        raise BadBody(422, "data did not match any variant of untagged enum SetCoolingModeRequestMode")
    if "immersion" in body or "hydro" in body:
        raise Refusal("failed_precondition", "cooling mode is not supported by this miner")
    if isinstance(body.get("auto"), dict):
        return False, 100
    manual = body.get("manual")
    if not isinstance(manual, dict):
        raise BadBody(422, "data did not match any variant of untagged enum SetCoolingModeRequestMode")
    ratio = manual.get("fan_speed_ratio", 1.0)
    if isinstance(ratio, bool) or not isinstance(ratio, int | float):
        raise BadBody(422, "manual.fan_speed_ratio: invalid type: expected f64")
    if not 0.0 <= ratio <= 1.0:
        raise Refusal("out_of_range", f"fan speed ratio '{ratio}' is out-of-range (min: 0, max: 1)")
    return True, round(100.0 * ratio)


def pool_groups(state: MachineState, unit: BraiinsUnit) -> list[Json]:
    """`/pools`: groups with their state, without passwords."""
    rows: list[Json] = []
    mining = unit.running(state) and state.mining_enabled
    free = True
    for group in unit.pools.groups():
        pools: list[Json] = []
        for pool in group.pools:
            active = free and pool.enabled
            free = free and not active
            pools.append(
                {
                    "uid": pool.uid,
                    "url": pool.entry.url,
                    "user": pool.entry.user,
                    "enabled": pool.enabled,
                    "alive": pool.enabled and mining,
                    "active": active and mining,
                    "stats": pool_stats(state, active=active) if unit.running(state) else None,
                }
            )
        kind, value = group.strategy
        rows.append(
            {"uid": group.uid, "name": group.name, "pools": pools, "strategy": {kind: {"value": value}}}
        )
    return rows


def group_configuration(group: Group) -> Json:
    """A group as it is written, passwords and all."""
    kind, value = group.strategy
    return {
        "uid": group.uid,
        "name": group.name,
        "pools": [
            {
                "uid": pool.uid,
                "url": pool.entry.url,
                "user": pool.entry.user,
                "password": pool.entry.password or None,
                "enabled": pool.enabled,
            }
            for pool in group.pools
        ],
        "load_balance_strategy": {kind: {"value": value}},
    }


def _bounds(mode: Mode, bounds: Bounds) -> Json:
    return {
        "default": shown(mode, bounds.default),
        "min": shown(mode, bounds.minimum),
        "max": shown(mode, bounds.maximum),
    }


def _temperature(name: str) -> Json:
    return {
        "default": {"degree_c": _COOLING_C[name]},
        "min": {"degree_c": 0.0},
        "max": {"degree_c": 200.0},
    }

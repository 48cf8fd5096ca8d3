"""Bounds in force for one miner: profile ∩ firmware-reported range ∩ site overrides.

Overrides are checked once, when the site file is loaded; at run time they can only narrow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from agent.config import BoundsOverride, MinerConfig, Range, SiteConfig
from agent.devices.device import Capabilities
from agent.errors import ConfigError
from agent.hardware.bounds import Bounds
from agent.hardware.catalogue import Catalogue
from agent.hardware.profile import STOPPING_MODES, HardwareProfile
from agent.setting import WORK_MODES, Knob
from agent.yamlfile import Location, parse_tree

_REMEDY = "a site may only narrow: move it inside, or leave it out to keep the profile's bound"


def effective_bounds(
    profile: HardwareProfile,
    firmware: str,
    capabilities: Capabilities | None,
    overrides: Sequence[BoundsOverride],
) -> tuple[Bounds, ...]:
    """What this unit may be set to now; empty for a read-only profile or an unknown firmware.

    Args:
        capabilities: what the unit reported; None before it was asked. A knob that it does not
            offer, or one that needs a reported range and has none, is left out.
        overrides: the site's, in any order. A limit on power also binds power percent and the
            modes, as shares of rated power.
    """
    result = []
    for bound in profile.bounds(firmware):
        reported = _reported(profile, firmware, bound, capabilities)
        if reported is None:
            continue
        for override in overrides:
            reported = _narrow(profile, firmware, reported, override)
            if reported is None:
                break
        else:
            result.append(reported)
    return tuple(result)


def overrides_for(config: SiteConfig, miner: MinerConfig, model: str | None) -> tuple[BoundsOverride, ...]:
    """Every override of the site that concerns one miner: by model, by each of its tags, its own."""
    found = [config.bounds_by_model.get(model) if model is not None else None]
    found += [config.bounds_by_tag.get(tag) for tag in miner.tags]
    found.append(miner.bounds)
    return tuple(override for override in found if override is not None)


def check_overrides(config: SiteConfig, catalogue: Catalogue, path: Path | None = None) -> None:
    """Refuse a site file that names an unknown model or tries to widen a profile's bounds.

    Args:
        path: the site file, so that errors carry its line; None leaves the line out.

    Raises:
        ConfigError: naming the key, the profile's bound and the remedy.
    """
    first = next(_override_problems(config, catalogue), None)
    if first is None:
        return
    location, problem = first
    line = None
    if path is not None:
        tree, lines = parse_tree(path.read_bytes(), path)
        own = len(tree.get("miners") or [])
        if config.inventory is not None and location[0] == "miners" and int(location[1]) >= own:
            # The miners of the inventory come after the site file's own.
            path, location = config.inventory, ("miners", int(location[1]) - own, *location[2:])
            _, lines = parse_tree(path.read_bytes(), path)
        line = next((lines[location[:n]] for n in range(len(location), 0, -1) if location[:n] in lines), None)
    raise ConfigError(path, line, ".".join(map(str, location)), problem)


def _reported(
    profile: HardwareProfile, firmware: str, bound: Bounds, capabilities: Capabilities | None
) -> Bounds | None:
    control = profile.control(firmware, bound.knob)
    needs_range = control is not None and control.needs_reported_range
    if capabilities is None:
        return None if needs_range else bound
    said = next((c for c in capabilities.controls if c.knob is bound.knob), None)
    if said is None or (needs_range and (said.minimum is None or said.maximum is None)):
        return None
    if bound.knob is Knob.WORK_MODE:
        return bound.intersect(Bounds(bound.knob, choices=said.choices, binding="firmware"))
    if bound.knob is Knob.STOP:
        return bound
    return bound.intersect(
        Bounds(bound.knob, said.minimum, said.maximum, binding="firmware", values=said.values)
    )


def _narrow(
    profile: HardwareProfile, firmware: str, bound: Bounds, override: BoundsOverride
) -> Bounds | None:
    """`bound` inside `override`; None where the site forbids the knob altogether."""
    if bound.knob is Knob.STOP:
        return None if override.may_stop is False else bound
    if bound.knob is Knob.WORK_MODE:
        choices = _narrowed_modes(profile, firmware, bound, override)
        return bound.intersect(Bounds(bound.knob, choices=choices, binding="site"))
    for limit in _ranges(profile, bound.knob, override):
        bound = bound.intersect(Bounds(bound.knob, limit.minimum, limit.maximum, binding="site"))
    return bound


def _ranges(profile: HardwareProfile, knob: Knob, override: BoundsOverride) -> Iterator[Range]:
    """The override's ranges that bear on `knob`, in the knob's unit."""
    rated_w = profile.rated_power_w.value
    direct: dict[Knob, Range | None] = {
        Knob.POWER_LIMIT_W: override.power_limit_w,
        Knob.POWER_PERCENT: override.power_percent,
        Knob.HASHRATE_PERCENT: override.hashrate_percent,
        Knob.FREQUENCY_PERCENT: override.frequency_percent,
    }
    if (own := direct.get(knob)) is not None:
        yield own
    if knob in (Knob.POWER_LIMIT_W, Knob.POWER_PERCENT) and override.power_limit_share is not None:
        yield _scaled(override.power_limit_share, rated_w if knob is Knob.POWER_LIMIT_W else 100.0)
    if knob is Knob.POWER_PERCENT and override.power_limit_w is not None:
        yield _scaled(override.power_limit_w, 100.0 / rated_w)


def _narrowed_modes(
    profile: HardwareProfile, firmware: str, bound: Bounds, override: BoundsOverride
) -> tuple[str, ...]:
    choices = bound.choices or ()
    if override.work_modes is not None:
        choices = tuple(mode for mode in choices if mode in override.work_modes)
    if override.may_stop is False:
        choices = tuple(mode for mode in choices if mode not in STOPPING_MODES)
    control = profile.control(firmware, Knob.WORK_MODE)
    known = control.choices or {} if control is not None else {}
    for limit in (override.power_limit_share, override.power_limit_w):
        if limit is None:
            continue
        rated = profile.rated_power_w.value if limit is override.power_limit_w else 1.0
        low = 0.0 if limit.minimum is None else limit.minimum / rated
        high = math.inf if limit.maximum is None else limit.maximum / rated
        choices = tuple(
            mode
            for mode in choices
            if mode in STOPPING_MODES or (mode in known and low <= known[mode].power_share <= high)
        )
    return choices


def _scaled(limit: Range, factor: float) -> Range:
    def times(end: float | None) -> float | None:
        return None if end is None else end * factor

    return Range(minimum=times(limit.minimum), maximum=times(limit.maximum))


def _override_problems(config: SiteConfig, catalogue: Catalogue) -> Iterator[tuple[Location, str]]:
    for section, models in (
        ("modes_by_model", config.modes_by_model),
        ("bounds_by_model", config.bounds_by_model),
    ):
        for model in models:
            if model not in catalogue.profiles:
                yield (section, model), _unknown_model(model, catalogue)
    for model, override in config.bounds_by_model.items():
        profile = catalogue.profiles.get(model)
        if profile is not None:
            yield from _widenings(profile, override, ("bounds_by_model", model), strict=True)
    for i, miner in enumerate(config.miners):
        if miner.model is None:
            continue
        profile = catalogue.find(miner.model)
        if profile is None:
            yield ("miners", i, "model"), _unknown_model(miner.model, catalogue)
            continue
        for tag in miner.tags:
            if tag in config.bounds_by_tag:
                yield from _widenings(
                    profile, config.bounds_by_tag[tag], ("bounds_by_tag", tag), strict=False
                )
        if miner.bounds is not None:
            yield from _widenings(profile, miner.bounds, ("miners", i, "bounds"), strict=True)


def _widenings(
    profile: HardwareProfile, override: BoundsOverride, where: Location, *, strict: bool
) -> Iterator[tuple[Location, str]]:
    """Every place where `override` reaches outside the profile.

    A tag may span models, so only a `strict` override has to name knobs that this model has.
    """
    bounds = {b.knob: b for firmware in profile.controls for b in profile.offered_bounds(firmware)}
    scale = 1.0 / profile.rated_power_w.value
    for name, limit, knob, factor in (
        ("power_limit_w", override.power_limit_w, Knob.POWER_LIMIT_W, 1.0),
        ("power_limit_share", override.power_limit_share, Knob.POWER_LIMIT_W, scale),
        ("power_percent", override.power_percent, Knob.POWER_PERCENT, 1.0),
        ("hashrate_percent", override.hashrate_percent, Knob.HASHRATE_PERCENT, 1.0),
        ("frequency_percent", override.frequency_percent, Knob.FREQUENCY_PERCENT, 1.0),
    ):
        if limit is None:
            continue
        bound = bounds.get(knob)
        if bound is None or bound.minimum is None or bound.maximum is None:
            if strict:
                yield (*where, name), f"{profile.key} has no {knob}, expected one of {_knobs(bounds)}"
            continue
        low, high = bound.minimum * factor, bound.maximum * factor
        for end, value in (("minimum", limit.minimum), ("maximum", limit.maximum)):
            # Shares come from a division; one part in a million is not a widening.
            if value is not None and not low * (1 - 1e-6) <= value <= high * (1 + 1e-6):
                problem = f"{value:g} lies outside {low:g} to {high:g} of the profile {profile.key}"
                yield (*where, name, end), f"{problem}; {_REMEDY}"
    yield from _stop_and_mode_widenings(profile, override, where, bounds, strict)


def _stop_and_mode_widenings(
    profile: HardwareProfile,
    override: BoundsOverride,
    where: Location,
    bounds: dict[Knob, Bounds],
    strict: bool,
) -> Iterator[tuple[Location, str]]:
    modes = bounds[Knob.WORK_MODE].choices or () if Knob.WORK_MODE in bounds else ()
    for i, mode in enumerate(override.work_modes or ()):
        if mode not in WORK_MODES or (strict and mode not in modes):
            allowed = ", ".join(modes) or "none"
            yield (
                (*where, "work_modes", i),
                f"{mode!r} is not a work mode of {profile.key}; expected some of: {allowed}",
            )
    if strict and override.may_stop and Knob.STOP not in bounds:
        yield (
            (*where, "may_stop"),
            f"the profile {profile.key} has no stop; a site may only narrow: leave it out",
        )


def _knobs(bounds: dict[Knob, Bounds]) -> str:
    return ", ".join(bounds) or "none (nothing is known to be settable)"


def _unknown_model(model: str, catalogue: Catalogue) -> str:
    near = ", ".join(catalogue.close_matches(model))
    hint = f"did you mean {near}? " if near else ""
    return f"{model!r} is no known hardware; {hint}`hashmargin hardware list` shows all keys"

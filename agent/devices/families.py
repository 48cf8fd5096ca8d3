"""The firmware families that have a driver, by the name used on the command line and in site files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from agent.clock import Clock
from agent.devices import foreign
from agent.devices.antminer import stock as antminer_stock
from agent.devices.antminer_old import driver as antminer_old
from agent.devices.braiins import driver as braiins
from agent.devices.device import Device, Endpoint
from agent.devices.luxos import driver as luxos
from agent.devices.vnish import driver as vnish
from agent.devices.whatsminer import v2 as whatsminer_v2
from agent.devices.whatsminer import v3 as whatsminer_v3
from agent.errors import InputError
from agent.hardware.profile import HardwareProfile
from agent.reading import Reading
from agent.setting import Knob


@dataclass(frozen=True, slots=True)
class FamilyInfo:
    """One family: whose machines it speaks to, and its entry points.

    Args:
        vendor, firmware: the profiles it claims are those of the vendor with controls for the firmware.
        main_port: name of the port in `Ports` that `--port` stands for.
        claims: which of these profiles, where one firmware has a driver for each generation.
    """

    name: str
    vendor: str
    firmware: str
    main_port: str
    open: Callable[[Endpoint, Clock], Device]
    capture: Callable[[Endpoint, Clock], Awaitable[dict[str, bytes]]]
    decode: Callable[[Mapping[str, bytes], str | None], Reading]
    claims: Callable[[HardwareProfile], bool] = lambda profile: True


def _is_old(profile: HardwareProfile) -> bool:
    """True for Antminers whose frequency is set in files: the generation before the S19."""
    return profile.control("stock", Knob.FREQUENCY_PERCENT) is not None


FAMILIES: dict[str, FamilyInfo] = {
    info.name: info
    for info in (
        FamilyInfo(
            "antminer-stock",
            "bitmain",
            "stock",
            "api",
            antminer_stock.AntminerStock,
            antminer_stock.capture,
            antminer_stock.decode,
            claims=lambda profile: not _is_old(profile),
        ),
        FamilyInfo(
            antminer_old.FAMILY,
            "bitmain",
            "stock",
            "api",
            antminer_old.AntminerOld,
            antminer_old.capture,
            antminer_old.decode,
            claims=_is_old,
        ),
        FamilyInfo(
            "whatsminer-v2",
            "microbt",
            "stock",
            "api",
            whatsminer_v2.WhatsminerV2,
            whatsminer_v2.capture,
            whatsminer_v2.decode,
        ),
        FamilyInfo(
            "whatsminer-v3",
            "microbt",
            "stock",
            "api_v3",
            whatsminer_v3.WhatsminerV3,
            whatsminer_v3.capture,
            whatsminer_v3.decode,
        ),
        FamilyInfo(luxos.FAMILY, "bitmain", luxos.FIRMWARE, "api", luxos.LuxOS, luxos.capture, luxos.decode),
        FamilyInfo(
            braiins.FAMILY,
            "bitmain",
            braiins.FIRMWARE,
            "web",
            braiins.Braiins,
            braiins.capture,
            braiins.decode,
        ),
        FamilyInfo(vnish.FAMILY, "bitmain", vnish.FIRMWARE, "web", vnish.VNish, vnish.capture, vnish.decode),
        FamilyInfo(foreign.FAMILY, "other", "other", "api", foreign.Foreign, foreign.capture, foreign.decode),
    )
}


def family(name: str) -> FamilyInfo:
    """The family of that name.

    Raises:
        InputError: there is none; the message lists them.
    """
    found = FAMILIES.get(name)
    if found is None:
        raise InputError(f"unknown family {name!r}; expected one of {', '.join(FAMILIES)}")
    return found


def open_device(name: str, endpoint: Endpoint, clock: Clock) -> Device:
    """The driver of a family for one miner; nothing is sent yet.

    Raises:
        InputError: no such family.
    """
    return family(name).open(endpoint, clock)


def families_for(profile: HardwareProfile) -> tuple[str, ...]:
    """The families whose drivers claim a profile."""
    return tuple(
        info.name
        for info in FAMILIES.values()
        if info.vendor == profile.vendor and info.firmware in profile.controls and info.claims(profile)
    )

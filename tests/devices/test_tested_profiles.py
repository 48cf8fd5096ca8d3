"""What `status: tested` promises: the real driver has moved a simulated unit by every control there is."""

from datetime import UTC, datetime

import pytest

from agent.clock import ManualClock
from agent.devices.device import Endpoint, Ports
from agent.devices.families import FAMILIES
from agent.hardware.bounds import Bounds, permit
from agent.hardware.catalogue import Catalogue
from agent.hardware.effective import effective_bounds
from agent.hardware.profile import HardwareProfile
from agent.hardware.shares import current_setting, safe_setting
from agent.setting import Knob, Setting
from simulator.machine import Machine
from simulator.peers import PeerOptions, PeerPorts, serve
from simulator.physics_file import default_physics

TESTED = {key: p for key, p in Catalogue.load().profiles.items() if p.status == "tested"}
_STOCK = {
    "antminer-legacy": ("antminer-stock", PeerOptions()),
    "antminer-new": ("antminer-stock", PeerOptions(layout="new")),
    "antminer-old": ("antminer-old", PeerOptions(firmware="old")),
    "whatsminer-v2": ("whatsminer-v2", PeerOptions()),
    "whatsminer-v3": ("whatsminer-v3", PeerOptions(api_v3=True)),
}
_CUSTOM = {
    "luxos": ("luxos", PeerOptions(firmware="luxos")),
    "braiins": ("braiins", PeerOptions(firmware="braiins")),
    "vnish": ("vnish", PeerOptions(firmware="vnish")),
}
CASES = [(key, firmware) for key, profile in TESTED.items() for firmware in profile.controls]


def wanted(bound: Bounds) -> Setting:
    """The far end of what one control may be set to."""
    if bound.knob is Knob.STOP:
        return Setting(Knob.STOP)
    if bound.knob is Knob.WORK_MODE:
        assert bound.choices is not None
        return Setting(Knob.WORK_MODE, next(mode for mode in bound.choices if mode != "normal"))
    assert bound.minimum is not None
    assert bound.maximum is not None
    if bound.values is not None:
        return Setting(bound.knob, next(v for v in bound.values if v >= bound.minimum))
    return Setting(bound.knob, float(round(max(bound.minimum, 0.7 * bound.maximum))))


def setup(profile: HardwareProfile, firmware: str) -> tuple[str, PeerOptions]:
    model = default_physics().model(profile.key)
    family, options = _STOCK[model.firmware] if firmware == "stock" else _CUSTOM[firmware]
    if family == "antminer-stock" and model.offers_hashrate_percent:
        options = PeerOptions(layout=options.layout, offers_hashrate_percent=True)
    return family, options


@pytest.mark.parametrize(("key", "firmware"), CASES, ids=str)
async def test_every_control_moves_a_simulated_unit_and_is_told_back(key: str, firmware: str) -> None:
    profile = TESTED[key]
    family, options = setup(profile, firmware)
    clock = ManualClock(datetime(2026, 5, 1, tzinfo=UTC))
    physics = default_physics().model(key)
    machine = Machine(physics, seed=3, clock=clock, mac="02:11:04:00:00:07", serial="SN7", ambient=21.5)
    peer = await serve(machine, "127.0.0.1", PeerPorts(0, 0, 0, 0, 0, 0), options)
    try:
        real = peer.ports
        ports = Ports(real.api, real.web, real.status, real.api_v3 or 1, real.ssh or 1)
        endpoint = Endpoint("127.0.0.1", ports, deadline_s=5.0, write_deadline_s=5.0)
        device = FAMILIES[family].open(endpoint, clock)
        clock.advance(3600.0)
        assert (await device.read()).model == key
        bounds = effective_bounds(profile, firmware, await device.capabilities(), ())
        assert bounds
        safe = safe_setting(profile, firmware, bounds)
        for bound in bounds:
            target = wanted(bound)
            full_w = machine.state().power_w
            await device.apply(permit(target, bounds))
            clock.advance(3600.0)
            # What is set may be a slow fact, of which each reading asks one.
            for _ in range(3):
                reading = await device.read()
            if target.knob is not Knob.VOLTAGE_PERCENT:
                shown = current_setting(profile, firmware, reading)
                assert shown == target or (
                    shown is not None and shown.stops_hashing and target.stops_hashing
                ), (target, shown)
                assert machine.state().power_w < 0.97 * full_w, target
            assert reading.is_hashing is not target.stops_hashing
            back = safe if safe is not None and bound.knob is not Knob.POWER_PERCENT else None
            back = back or Setting(bound.knob, bound.maximum)
            if target.knob in (Knob.FREQUENCY_PERCENT, Knob.VOLTAGE_PERCENT):
                back = Setting(target.knob, bound.maximum)
            await device.apply(permit(back, bounds))
            clock.advance(3600.0)
            assert (await device.read()).is_hashing
    finally:
        await peer.close()

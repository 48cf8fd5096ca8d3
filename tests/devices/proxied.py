"""Each firmware family behind a proxy that may cut a connection: driver, simulated machine and peer."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from agent.clock import Clock, ManualClock
from agent.devices.antminer.stock import AntminerStock
from agent.devices.antminer_old.driver import AntminerOld
from agent.devices.braiins.driver import Braiins
from agent.devices.device import Device, Endpoint, Ports
from agent.devices.luxos.driver import LuxOS
from agent.devices.vnish.driver import VNish
from agent.devices.whatsminer.v2 import WhatsminerV2
from agent.devices.whatsminer.v3 import WhatsminerV3
from agent.hardware.bounds import Bounds
from agent.setting import Knob, Setting
from simulator.machine import Machine
from simulator.peers import Peer, PeerOptions, PeerPorts, serve
from simulator.physics_file import default_physics
from tests.devices.cutting_proxy import Cut, CuttingProxy

BOUNDS = (
    Bounds(Knob.POWER_LIMIT_W, 500, 12000),
    Bounds(Knob.POWER_PERCENT, 50, 100),
    Bounds(Knob.FREQUENCY_PERCENT, 50, 100),
    Bounds(Knob.WORK_MODE, choices=("low", "normal", "high", "sleep")),
    Bounds(Knob.STOP),
)
STOP = Setting(Knob.STOP)
LOW = Setting(Knob.WORK_MODE, "low")
VNISH_W = Setting(Knob.POWER_LIMIT_W, 2340.0)
THROTTLE = Setting(Knob.POWER_PERCENT, 60.0)


@dataclass(frozen=True)
class Kind:
    """One way to speak to a simulated miner, and settings that it can be brought to."""

    model: str
    open: Callable[[Endpoint, Clock], Device]
    options: PeerOptions
    targets: tuple[Setting, ...]
    without_v2: bool = False


def watts(value: float) -> Setting:
    return Setting(Knob.POWER_LIMIT_W, value)


def percent(value: float) -> Setting:
    return Setting(Knob.FREQUENCY_PERCENT, value)


KINDS = {
    "antminer-old": Kind("antminer-s9", AntminerOld, PeerOptions(firmware="old"), (percent(80.0),)),
    "antminer-stock": Kind("antminer-s19-pro", AntminerStock, PeerOptions(), (LOW, STOP)),
    "braiins": Kind("antminer-s19-pro", Braiins, PeerOptions(firmware="braiins"), (watts(2600.0), STOP)),
    "luxos": Kind("antminer-s19-pro", LuxOS, PeerOptions(firmware="luxos"), (watts(2115.0), STOP)),
    "vnish": Kind("antminer-s19-pro", VNish, PeerOptions(firmware="vnish"), (VNISH_W, THROTTLE, STOP)),
    "whatsminer-v2": Kind("whatsminer-m30s-plus-plus", WhatsminerV2, PeerOptions(), (watts(2900.0), STOP)),
    "whatsminer-v3": Kind("whatsminer-m60s", WhatsminerV3, PeerOptions(api_v3=True), (watts(2900.0), STOP)),
    "whatsminer-v3-alone": Kind(
        "whatsminer-m60s", WhatsminerV3, PeerOptions(api_v3=True), (watts(2900.0), LOW), without_v2=True
    ),
}


@dataclass
class Rig:
    machine: Machine
    peer: Peer
    device: Device
    proxy: CuttingProxy
    clock: ManualClock


@asynccontextmanager
async def rig(kind: Kind, cut: Cut | None = None) -> AsyncIterator[Rig]:
    clock = ManualClock(datetime(2026, 5, 1, tzinfo=UTC))
    physics = default_physics().model(kind.model)
    machine = Machine(physics, seed=3, clock=clock, mac="02:11:04:00:00:07", serial="SN7", ambient=21.5)
    machine.set_fan(True, 70)
    peer = await serve(machine, "127.0.0.1", PeerPorts(0, 0, 0, 0, 0, 0), kind.options)
    real = peer.ports
    wired = [real.api, real.web, *([real.api_v3] if kind.options.api_v3 else [])]
    wired += [real.ssh] if real.ssh else []
    async with CuttingProxy("127.0.0.1", wired, cut) as proxy:
        api = 1 if kind.without_v2 else proxy.ports[real.api]
        ports = Ports(
            api=api,
            web=proxy.ports[real.web],
            status=1,
            api_v3=proxy.ports.get(real.api_v3, 1),
            ssh=proxy.ports.get(real.ssh, 1),
        )
        endpoint = Endpoint("127.0.0.1", ports, deadline_s=6.0, write_deadline_s=8.0)
        # A tuner needs a while to reach what it was born with.
        clock.advance(3600.0)
        try:
            yield Rig(machine, peer, kind.open(endpoint, clock), proxy, clock)
        finally:
            await peer.close()

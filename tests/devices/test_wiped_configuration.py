"""Whatever goes wrong while a setting is written, pools and every other key end as they began."""

import contextlib

import pytest

from agent.errors import DeviceError
from agent.hardware.bounds import Bounds, permit
from agent.setting import Knob, Setting
from simulator.machine import Machine
from tests.devices.cutting_proxy import Cut, Moment
from tests.devices.proxied import KINDS, rig

BOUNDS = (
    Bounds(Knob.POWER_LIMIT_W, 500, 12000),
    Bounds(Knob.POWER_PERCENT, 50, 100),
    Bounds(Knob.WORK_MODE, choices=("low", "normal", "high", "sleep")),
    Bounds(Knob.STOP),
)
TARGETS = {
    "antminer-stock": [Setting(Knob.WORK_MODE, "low"), Setting(Knob.STOP)],
    "whatsminer-v2": [Setting(Knob.POWER_LIMIT_W, 2900.0), Setting(Knob.STOP)],
    "whatsminer-v3": [Setting(Knob.POWER_LIMIT_W, 2900.0), Setting(Knob.STOP)],
    "whatsminer-v3-alone": [Setting(Knob.POWER_LIMIT_W, 2900.0), Setting(Knob.WORK_MODE, "low")],
}


def kept(machine: Machine) -> dict[str, object]:
    """Everything on the machine that a power setting has no business with."""
    state = machine.state()
    return {
        "pools": list(machine.pools),
        "mac": state.mac,
        "serial": state.serial,
        "fan": (state.fan_manual, state.fan_pwm),
    }


CASES = [
    (name, target, Cut(number, moment))
    for name, targets in TARGETS.items()
    for target in targets
    for number in range(10)
    for moment in Moment
]


@pytest.mark.parametrize(("name", "target", "cut"), CASES, ids=str)
async def test_a_lost_connection_wipes_nothing(name: str, target: Setting, cut: Cut) -> None:
    async with rig(KINDS[name], cut) as r:
        r.machine.set_fan(True, 70)
        before = kept(r.machine)
        with contextlib.suppress(DeviceError):
            await r.device.apply(permit(target, BOUNDS))
        assert kept(r.machine) == before


@pytest.mark.parametrize(("name", "moment"), [(n, m) for n in TARGETS for m in Moment], ids=str)
async def test_nothing_is_set_when_the_first_read_is_lost(name: str, moment: Moment) -> None:
    async with rig(KINDS[name], Cut(0, moment)) as r:
        with pytest.raises(DeviceError):
            await r.device.apply(permit(Setting(Knob.STOP), BOUNDS))
        state = r.machine.state()
        assert state.mining_enabled
        assert state.work_mode != "sleep"

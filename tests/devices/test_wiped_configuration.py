"""Whatever goes wrong while a setting is written, pools and every other key end as they began."""

import contextlib

import pytest

from agent.errors import DeviceError
from agent.hardware.bounds import permit
from agent.setting import Setting
from simulator.machine import Machine
from tests.devices.cutting_proxy import Cut, Moment
from tests.devices.proxied import BOUNDS, KINDS, STOP, rig


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
    for name, kind in KINDS.items()
    for target in kind.targets
    for number in range(10)
    for moment in Moment
]


@pytest.mark.parametrize(("name", "target", "cut"), CASES, ids=str)
async def test_a_lost_connection_wipes_nothing(name: str, target: Setting, cut: Cut) -> None:
    async with rig(KINDS[name], cut) as r:
        before = kept(r.machine)
        with contextlib.suppress(DeviceError):
            await r.device.apply(permit(target, BOUNDS))
        assert kept(r.machine) == before


@pytest.mark.parametrize(("name", "moment"), [(n, m) for n in KINDS for m in Moment], ids=str)
async def test_nothing_is_set_when_the_first_read_is_lost(name: str, moment: Moment) -> None:
    async with rig(KINDS[name], Cut(0, moment)) as r:
        with pytest.raises(DeviceError):
            await r.device.apply(permit(STOP, BOUNDS))
        state = r.machine.state()
        assert state.mining_enabled
        assert state.work_mode != "sleep"

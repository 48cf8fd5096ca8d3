"""LuxOS: a power target where the model holds one, profiles elsewhere, and a tuner that is never left off."""

import contextlib
from dataclasses import replace

import pytest

from agent.devices.device import Endpoint
from agent.devices.luxos.parse import limit_w, profiles_of, row, target_range
from agent.devices.luxos.session import ask
from agent.errors import DeviceError, Unsupported
from agent.hardware.bounds import permit
from agent.setting import Knob
from tests.devices.cutting_proxy import Cut, Moment
from tests.devices.proxied import BOUNDS, KINDS, STOP, Rig, rig, watts

PROFILES = KINDS["luxos"]
TARGETING = replace(PROFILES, model="antminer-s21")
LOWER = watts(2115.0)


def patient(r: Rig) -> Rig:
    """With time enough for a busy machine, where no connection is cut."""
    r.device.endpoint = replace(r.device.endpoint, deadline_s=10.0, write_deadline_s=20.0)
    return r


async def asked(r: Rig, command: str, key: str) -> dict[str, object]:
    """What the miner says without the proxy in between."""
    ports = replace(r.device.endpoint.ports, api=r.peer.ports.api)
    return row(await ask(Endpoint("127.0.0.1", ports), command, 2.0), key)


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("number", range(12))
async def test_the_tuner_is_on_again_whatever_connection_is_lost(number: int, moment: Moment) -> None:
    async with rig(PROFILES, Cut(number, moment)) as r:
        with contextlib.suppress(DeviceError):
            await r.device.apply(permit(LOWER, BOUNDS))
        assert (await asked(r, "atm", "ATM"))["Enabled"] is True


async def test_a_model_with_a_power_target_takes_any_watts_in_its_range() -> None:
    async with rig(TARGETING) as r:
        patient(r)
        offered = next(c for c in (await r.device.capabilities()).controls if c.knob is Knob.POWER_LIMIT_W)
        assert offered.values is None
        assert offered.minimum is not None
        assert offered.maximum is not None
        assert offered.minimum < 2777.0 < offered.maximum
        applied = await r.device.apply(permit(watts(2777.0), BOUNDS))
        assert (applied.acknowledged, applied.readback) == (True, watts(2777.0))
        assert applied.sent == "powertargetset power=2777"
        r.clock.advance(3600.0)
        reading = await r.device.read()
        assert reading.power_limit_w == 2777.0
        assert r.machine.state().power_w == pytest.approx(2777.0, rel=0.05)
        assert (await asked(r, "atm", "ATM"))["Enabled"] is True


@pytest.mark.parametrize("value", [501.0, 11000.0, 2777.5])
async def test_watts_that_the_power_target_does_not_take_are_not_sent(value: float) -> None:
    async with rig(TARGETING) as r:
        patient(r)
        before = (await asked(r, "config", "CONFIG"))["IdealPowerTarget"]
        with pytest.raises(Unsupported, match="power target takes"):
            await r.device.apply(permit(watts(value), BOUNDS))
        assert (await asked(r, "config", "CONFIG"))["IdealPowerTarget"] == before


async def test_a_sleeping_unit_is_woken_for_a_power_target() -> None:
    async with rig(TARGETING) as r:
        patient(r)
        await r.device.apply(permit(STOP, BOUNDS))
        applied = await r.device.apply(permit(watts(2777.0), BOUNDS))
        assert applied.before == STOP
        r.clock.advance(3600.0)
        assert r.machine.state().mining_enabled
        assert (await r.device.read()).power_limit_w == 2777.0


async def test_without_a_power_target_the_watts_of_the_profiles_are_offered() -> None:
    async with rig(PROFILES) as r:
        patient(r)
        offered = next(c for c in (await r.device.capabilities()).controls if c.knob is Knob.POWER_LIMIT_W)
        assert offered.values is not None
        assert LOWER.value in offered.values


def test_the_target_that_was_asked_for_goes_before_the_profile() -> None:
    profiles = profiles_of({"PROFILES": [{"Profile Name": "540MHz", "Watts": 2500}]})
    config = {"IsPowerTargetSupported": True, "IsPowerTargetEnabled": True, "Profile": "540MHz"}
    said = {"IdealPowerTarget": 3000, "ActualPowerTarget": 2900}
    assert limit_w({"CONFIG": [config | said]}, profiles) == 3000.0
    assert limit_w({"CONFIG": [config | {"IdealPowerTarget": 0}]}, profiles) == 2500.0
    assert limit_w({"CONFIG": [config | said | {"IsPowerTargetEnabled": False}]}, profiles) == 2500.0


@pytest.mark.parametrize("limits", [None, {}, {"LIMITS": [{"PowerTargetMin": 5, "PowerTargetMax": 1}]}])
def test_a_range_that_is_none_is_not_used(limits: dict[str, object] | None) -> None:
    assert target_range(limits) is None


async def test_firmware_that_joins_nothing_still_tells_watts_and_mac_in_every_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def refused(*_: object) -> dict[str, dict[str, object]]:
        raise Unsupported("192.0.2.1", "no joins")

    monkeypatch.setattr("agent.devices.luxos.driver.joined", refused)
    async with rig(PROFILES) as r:
        patient(r)
        await r.device.read()
        counts, readings = [], []
        for _ in range(20):
            r.clock.advance(60.0)
            before = r.proxy.connections
            readings.append(await r.device.read())
            counts.append(r.proxy.connections - before)
        assert all(reading.power_w and reading.mac and reading.work_mode == "normal" for reading in readings)
        assert max(counts) == 3
        await r.device.apply(permit(STOP, BOUNDS))
        r.clock.advance(600.0)
        assert (await r.device.read()).work_mode == "sleep"

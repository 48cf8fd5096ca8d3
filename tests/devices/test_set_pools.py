"""Writing pools, and what a lost connection at any moment of it leaves on the machine."""

import pytest

from agent.errors import DeviceError, WriteDisabled
from agent.pools.guard import PermittedPools, PoolGuard, PoolLogin
from simulator.machine import Machine
from simulator.peers import Faults
from tests.devices.cutting_proxy import Cut, Moment
from tests.devices.proxied import KINDS, rig

GUARD = PoolGuard(["*.pool.example"])
NEW = (
    PoolLogin("stratum+tcp://eu.pool.example:3333", "owner.rig1", "secret-one"),
    PoolLogin("stratum+tcp://us.pool.example:443", "owner.rig1", "secret-two"),
)


def permitted() -> PermittedPools:
    return GUARD.permit(NEW)


def on(machine: Machine) -> list[tuple[str, str, str]]:
    return [(pool.url, pool.user, pool.password) for pool in machine.pools if pool.url]


WANTED = [(pool.url, pool.user, pool.password) for pool in NEW]


@pytest.mark.parametrize("name", KINDS)
async def test_the_pools_are_replaced_and_read_back(name: str) -> None:
    async with rig(KINDS[name]) as r:
        applied = await r.device.set_pools(permitted())
        assert on(r.machine) == WANTED
        assert applied.acknowledged is True
        assert applied.readback is not None
        assert [pool.url for pool in applied.readback] == [pool.url for pool in NEW]


@pytest.mark.parametrize("name", KINDS)
async def test_nothing_is_sent_where_the_pools_stand_already(name: str) -> None:
    async with rig(KINDS[name]) as r:
        await r.device.set_pools(permitted())
        again = await r.device.set_pools(permitted())
        assert again.already_set


# The old form restarts the mining process, as its own page does.
@pytest.mark.parametrize("name", [name for name in KINDS if name != "antminer-old"])
async def test_writing_pools_leaves_the_machine_hashing(name: str) -> None:
    async with rig(KINDS[name]) as r:
        before = r.machine.state()
        await r.device.set_pools(permitted())
        after = r.machine.state()
        assert after.phase == before.phase == "stable"
        assert after.elapsed_s == before.elapsed_s


@pytest.mark.parametrize("name", ["whatsminer-v2", "whatsminer-v3-alone"])
async def test_a_closed_write_api_tells_the_owner_what_to_enable(name: str) -> None:
    async with rig(KINDS[name]) as r:
        before = on(r.machine)
        await r.peer.set_faults(Faults(closed_write_api=True))
        with pytest.raises(WriteDisabled, match="WhatsMinerTool"):
            await r.device.set_pools(permitted())
        assert on(r.machine) == before


def moments(name: str) -> list[tuple[str, Cut]]:
    return [(name, Cut(number, moment)) for number in range(8) for moment in Moment]


@pytest.mark.parametrize(("name", "cut"), [case for name in KINDS for case in moments(name)], ids=str)
async def test_a_lost_connection_leaves_the_old_pools_or_the_new_ones_never_none(name: str, cut: Cut) -> None:
    async with rig(KINDS[name], cut) as r:
        before = on(r.machine)
        try:
            applied = await r.device.set_pools(permitted())
        except DeviceError:
            assert on(r.machine) == before
            return
        left = on(r.machine)
        if name == "luxos":
            # It takes pools one by one: half-way there are old ones, new ones, and always one of them.
            assert left
            assert set(left) <= {*before, *WANTED}
            assert left == WANTED or applied.acknowledged is None
        else:
            assert left == WANTED or (applied.acknowledged is None and left == before)

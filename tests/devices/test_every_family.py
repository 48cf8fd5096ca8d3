"""What holds for every driver alike: it sets what it says, sees what did not take, and survives any reply."""

import asyncio
import json
import random
from dataclasses import replace

import pytest

from agent.devices.families import FAMILIES
from agent.errors import DeviceError, Refused
from agent.hardware.bounds import permit
from agent.reading import Reading
from agent.setting import Setting
from simulator.peers import Faults
from tests.devices.proxied import BOUNDS, KINDS, Kind, rig

CHANGES = [(name, target) for name, kind in KINDS.items() for target in kind.targets]
SPOILT = (
    Faults(garbage=True),
    Faults(cut_mid_json=True),
    Faults(missing_comma=True),
    Faults(extra_nul=True),
    Faults(unknown_power=True),
    Faults(refuse_code=14),
    Faults(refuse_code=23),
    Faults(refuse_code=45),
    Faults(login_loop=True),
    Faults(process_down=True),
    Faults(clock_skew_s=8e8),
    Faults(web_dead=True),
    Faults(unplugged=True),
)


def with_faults(name: str, faults: Faults) -> Kind:
    kind = KINDS[name]
    return replace(kind, options=replace(kind.options, faults=faults))


def shown_is(shown: Setting | None, target: Setting) -> bool:
    """The same setting, or the same standstill in the firmware's other word for it."""
    return shown == target or (shown is not None and target.stops_hashing and shown.stops_hashing)


@pytest.mark.parametrize(("name", "target"), CHANGES, ids=str)
async def test_a_setting_is_taken_and_read_back_and_not_sent_twice(name: str, target: Setting) -> None:
    async with rig(KINDS[name]) as r:
        applied = await r.device.apply(permit(target, BOUNDS))
        assert applied.acknowledged is True
        assert not shown_is(applied.before, target)
        r.clock.advance(3600.0)
        state = r.machine.state()
        assert state.mining_enabled is not target.stops_hashing or state.work_mode == "sleep"
        again = await r.device.apply(permit(target, BOUNDS))
        assert again.already_set
        assert shown_is(again.readback, target)


@pytest.mark.parametrize(("name", "target"), CHANGES, ids=str)
async def test_an_acknowledgement_without_effect_is_seen_in_the_read_back(name: str, target: Setting) -> None:
    async with rig(with_faults(name, Faults(ack_without_effect=True))) as r:
        try:
            applied = await r.device.apply(permit(target, BOUNDS))
        except Refused:
            # LuxOS says no to the second step, because the first had no effect.
            assert r.machine.state().mining_enabled
            return
        assert not shown_is(applied.readback, target)


@pytest.mark.parametrize("faults", SPOILT, ids=lambda faults: next(iter(changed(faults))))
@pytest.mark.parametrize("name", KINDS)
async def test_a_spoilt_miner_gives_a_reading_or_a_device_error(name: str, faults: Faults) -> None:
    async with rig(with_faults(name, faults)) as r:
        for _ in range(2):
            try:
                reading = await r.device.read()
            except DeviceError:
                continue
            assert Reading.from_dict(json.loads(json.dumps(reading.to_dict(), allow_nan=False))) == reading


def changed(faults: Faults) -> dict[str, object]:
    plain = Faults()
    return {n: getattr(faults, n) for n in Faults.switches() if getattr(faults, n) != getattr(plain, n)}


@pytest.mark.parametrize("name", [name for name in KINDS if name != "whatsminer-v3-alone"])
async def test_a_reading_costs_two_requests_at_most(name: str) -> None:
    async with rig(KINDS[name]) as r:
        await r.device.read()
        await r.device.read()
        counts = []
        for _ in range(20):
            before = r.proxy.connections
            await r.device.read()
            counts.append(r.proxy.connections - before)
        assert max(counts) <= 2


def odd(rng: random.Random) -> object:
    return rng.choice(
        [
            *(None, True, -1, 10**40, 1e308, "", "nan", "inf", "-"),
            *("9" * 70, "\0", [], [None], {}, {"a": [1]}, 0.5),
        ]
    )


def spoil(value: object, rng: random.Random, chance: float) -> object:
    """`value` with parts of it replaced by what no firmware should send."""
    if rng.random() < chance:
        return odd(rng)
    if isinstance(value, dict):
        return {key: spoil(part, rng, chance) for key, part in value.items() if rng.random() > chance / 2}
    if isinstance(value, list):
        return [spoil(part, rng, chance) for part in value]
    return value


@pytest.mark.parametrize("name", KINDS)
async def test_any_value_in_a_genuine_reply_gives_a_reading_or_a_device_error(name: str) -> None:
    async with rig(KINDS[name]) as r:
        info = FAMILIES[r.device.family]
        genuine = await info.capture(r.device.endpoint, r.clock)
    documents: dict[str, object] = {}
    for file, raw in genuine.items():
        try:
            documents[file] = json.loads(raw)
        except ValueError:
            continue
    rng = random.Random(7)
    for turn in range(150):
        chance = (0.01, 0.05, 0.3)[turn % 3]
        replies = {file: json.dumps(spoil(part, rng, chance)).encode() for file, part in documents.items()}
        if turn % 5 == 0:
            file = rng.choice(sorted(replies))
            replies[file] = replies[file][: rng.randrange(len(replies[file]))]
        try:
            reading = info.decode(replies, None)
        except DeviceError:
            continue
        assert Reading.from_dict(json.loads(json.dumps(reading.to_dict(), allow_nan=False))) == reading


@pytest.mark.parametrize("name", KINDS)
async def test_a_miner_that_accepts_and_never_answers_costs_the_deadline_and_no_more(name: str) -> None:
    async with rig(with_faults(name, Faults(hang=True))) as r:
        r.device.endpoint = replace(r.device.endpoint, deadline_s=0.2)
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(DeviceError):
            await r.device.read()
        assert loop.time() - began < 2.0

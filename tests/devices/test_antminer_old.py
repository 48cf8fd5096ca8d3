"""The driver for Antminers before the S19: its reading, and that no lost moment of a write wipes anything."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import ManualClock
from agent.devices.antminer.generation import has_coarse_clock, is_later, is_old
from agent.devices.antminer.stock import AntminerStock
from agent.devices.antminer_old.conf_file import parse
from agent.devices.antminer_old.driver import AntminerOld, capture, decode
from agent.devices.antminer_old.percent import figure_at, percent_of
from agent.devices.device import Credentials, Endpoint, Ports
from agent.devices.families import FAMILIES, families_for, open_device
from agent.devices.identify import identify_family
from agent.errors import (
    DeviceError,
    Malformed,
    Refused,
    Timeout,
    Unauthorised,
    Unreachable,
    Unsupported,
    WrongMiner,
)
from agent.hardware.bounds import Bounds, PermittedSetting, permit
from agent.hardware.catalogue import Catalogue
from agent.hardware.effective import effective_bounds
from agent.hardware.shares import current_setting
from agent.pools.guard import PermittedPools, PoolGuard, PoolLogin
from agent.reading import Reading
from agent.setting import Knob, Setting
from tests.devices.antminer_old_scripted import (
    BMMINER,
    CGMINER,
    SYSTEM,
    OldAntminer,
    conf_text,
    old_antminer,
    s9_stats,
    ssh_server,
)
from tests.devices.antminer_scripted import CLOSE, listed, serving

BOUNDS = (
    Bounds(Knob.FREQUENCY_PERCENT, 10, 200),
    Bounds(Knob.VOLTAGE_PERCENT, 10, 200),
    Bounds(Knob.HASHRATE_PERCENT, 10, 200),
    Bounds(Knob.WORK_MODE, choices=("normal", "low", "sleep")),
    Bounds(Knob.STOP),
)
NINETY = "frequency_percent=90"
ONE = {BMMINER: conf_text().encode()}
POOLS_ALONE = (
    b'{"pools":[{"url":"stratum+tcp://one.example:3333","user":"a.b","pass":"geheim"}],"api-listen":true}'
)
SPLIT = {
    CGMINER: POOLS_ALONE,
    BMMINER: b'{"bitmain-fan-pwm" : "80", "bitmain-freq":"550","bitmain-voltage":"1950"}',
}
BOTH = {BMMINER: conf_text().encode(), CGMINER: conf_text(freq='"600"', user="acct.w2").encode()}
GUARD = PoolGuard(["*.pool.example"])
NEW = (
    PoolLogin("stratum+tcp://eu.pool.example:3333", "owner.rig1", "secret#1"),
    PoolLogin("stratum+tcp://us.pool.example:443", "owner.rig1", "x"),
)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 11, 20, 12, 0, tzinfo=UTC))


def asked_for(text: str) -> PermittedSetting:
    return permit(Setting.parse(text), BOUNDS)


def permitted(*pools: PoolLogin) -> PermittedPools:
    return GUARD.permit(pools or NEW)


def driver(it: OldAntminer, clock: ManualClock, **more: object) -> AntminerOld:
    return AntminerOld(it.endpoint(**more), clock)


def frequency(percent: float) -> Setting:
    return Setting(Knob.FREQUENCY_PERCENT, percent)


# -- setting frequency and voltage -------------------------------------------------------------------


async def test_only_the_digits_of_the_frequency_change(clock: ManualClock) -> None:
    async with old_antminer() as it:
        applied = await driver(it, clock).apply(asked_for(NINETY))
        assert it.files[BMMINER] == conf_text(freq='"581"').encode()
        assert (applied.acknowledged, applied.already_set) == (True, False)
        assert (applied.before, applied.readback) == (frequency(100.0), frequency(90.0))
        assert applied.sent is not None
        assert "650 -> 581 in /config/bmminer.conf (90 % of 650)" in applied.sent
        assert it.restarts == 1


async def test_a_backup_is_made_once_and_percentages_count_from_it(clock: ManualClock) -> None:
    async with old_antminer() as it:
        for text in (NINETY, "frequency_percent=80", "voltage_percent=95"):
            await driver(it, clock).apply(asked_for(text))
        assert it.files == {
            BMMINER: conf_text(freq='"518"', voltage='"0671"').encode(),
            f"{BMMINER}.hashmargin": conf_text().encode(),
        }


async def test_a_hundred_percent_is_what_the_owner_had(clock: ManualClock) -> None:
    async with old_antminer(files={BMMINER: conf_text(freq='"656"').encode()}) as it:
        await driver(it, clock).apply(asked_for(NINETY))
        await driver(it, clock).apply(asked_for("frequency_percent=100"))
        assert it.files[BMMINER] == conf_text(freq='"656"').encode()


async def test_nothing_is_written_where_it_is_set_already(clock: ManualClock) -> None:
    async with old_antminer() as it:
        await driver(it, clock).apply(asked_for(NINETY))
        it.commands.clear()
        again = await driver(it, clock).apply(asked_for(NINETY))
        assert (again.already_set, again.sent, again.readback) == (True, None, frequency(90.0))
        assert all(command.startswith(("cat /config", "test ")) for command in it.commands)
        assert it.restarts == 1


async def test_a_first_write_of_what_stands_there_already_makes_not_even_a_backup(clock: ManualClock) -> None:
    async with old_antminer() as it:
        assert (await driver(it, clock).apply(asked_for("frequency_percent=100"))).already_set
        assert it.files == ONE


async def test_a_number_without_quotes_stays_without(clock: ManualClock) -> None:
    async with old_antminer(files={BMMINER: conf_text(freq="650").encode()}) as it:
        await driver(it, clock).apply(asked_for(NINETY))
        assert it.files[BMMINER] == conf_text(freq="581").encode()


async def test_a_later_chip_is_clocked_to_the_megahertz(clock: ManualClock) -> None:
    pages = {"get_system_info.cgi": SYSTEM | {"minertype": "Antminer S17 Pro"}}
    async with old_antminer(pages=pages, files={CGMINER: conf_text().encode()}, scripts=("cgminer",)) as it:
        it.web_file = CGMINER
        await driver(it, clock).apply(asked_for("frequency_percent=77"))
        assert it.files[CGMINER] == conf_text(freq='"500"').encode()
        assert it.commands.count("/etc/init.d/cgminer.sh restart >/dev/null 2>&1") == 1


async def test_a_file_that_holds_pools_alone_is_backed_up_and_left_alone(clock: ManualClock) -> None:
    async with old_antminer(files=dict(SPLIT)) as it:
        await driver(it, clock).apply(asked_for("voltage_percent=95"))
        changed = SPLIT[BMMINER].replace(b'"1950"', b'"1853"')
        assert it.files == {
            CGMINER: POOLS_ALONE,
            BMMINER: changed,
            f"{CGMINER}.hashmargin": POOLS_ALONE,
            f"{BMMINER}.hashmargin": SPLIT[BMMINER],
        }


async def test_both_files_are_set_where_both_have_the_key(clock: ManualClock) -> None:
    async with old_antminer(files=dict(BOTH)) as it:
        applied = await driver(it, clock).apply(asked_for(NINETY))
        assert it.files[BMMINER] == conf_text(freq='"581"').encode()
        assert it.files[CGMINER] == conf_text(freq='"537"', user="acct.w2").encode()
        assert (applied.readback, it.restarts) == (frequency(90.0), 1)


async def test_leftovers_of_an_interrupted_write_are_overwritten(clock: ManualClock) -> None:
    async with old_antminer(
        files=ONE | {f"{BMMINER}.new": b"half", f"{BMMINER}.hashmargin.new": b"ha"}
    ) as it:
        await driver(it, clock).apply(asked_for(NINETY))
        assert set(it.files) == {BMMINER, f"{BMMINER}.hashmargin"}
        assert it.files[f"{BMMINER}.hashmargin"] == ONE[BMMINER]


async def test_the_commands_do_in_a_real_shell_what_they_say(clock: ManualClock, tmp_path: Path) -> None:
    script = tmp_path / "etc" / "init.d" / "cgminer.sh"
    conf = tmp_path / "config" / "bmminer.conf"
    for path in (script, conf):
        path.parent.mkdir(parents=True)
    script.write_text(f"#!/bin/sh\necho $1 >> {tmp_path}/restarts\nsleep 30 &\n")
    script.chmod(0o755)
    conf.write_text(conf_text())
    conf.chmod(0o440)
    async with old_antminer(shell=tmp_path, files={}) as it:
        applied = await driver(it, clock).apply(asked_for(NINETY))
    assert applied.acknowledged is True
    assert conf.read_text() == conf_text(freq='"581"')
    assert conf.stat().st_mode & 0o777 == 0o440
    assert (tmp_path / "config" / "bmminer.conf.hashmargin").read_text() == conf_text()
    assert sorted(path.name for path in conf.parent.iterdir()) == ["bmminer.conf", "bmminer.conf.hashmargin"]
    assert (tmp_path / "restarts").read_text() == "restart\n"


# -- what is not written -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "kind", "named"),
    [
        ({BMMINER: ONE[BMMINER][:-3]}, Malformed, "bmminer.conf"),
        ({BMMINER: ONE[BMMINER] + b"\0"}, Malformed, "bmminer.conf"),
        ({BMMINER: ONE[BMMINER].replace(b'"1"', b'"\xe9"')}, Malformed, "bmminer.conf"),
        (
            {BMMINER: ONE[BMMINER].replace(b'"1"\n', b'"1",\n"bitmain-freq":"700"\n')},
            Malformed,
            "stands twice",
        ),
        ({BMMINER: ONE[BMMINER].replace(b'"1"', b"NaN")}, Malformed, "bmminer.conf"),
        ({BMMINER: b"[" * 50000}, Malformed, "bmminer.conf"),
        ({BMMINER: b" " * 70000 + ONE[BMMINER]}, Malformed, "65536"),
        ({BMMINER: b"[]"}, Malformed, "not an object"),
        ({BMMINER: b""}, Malformed, "bmminer.conf"),
        ({BMMINER: b"{}"}, Unsupported, "bitmain-freq is missing"),
        ({BMMINER: POOLS_ALONE}, Unsupported, "bitmain-freq is missing"),
        ({BMMINER: b'{"bitmain-freq":"650"}'}, Malformed, "pools are missing"),
        ({BMMINER: b'{"bitmain-freq":"650","pools":[{"url":""}]}'}, Malformed, "pools are missing"),
        ({BMMINER: conf_text(freq='"O"').encode()}, Malformed, 'bitmain-freq is "O"'),
        ({BMMINER: conf_text(freq='"18:218.75:1106"').encode()}, Malformed, "bitmain-freq"),
        ({BMMINER: conf_text(freq='"000"').encode()}, Malformed, "bitmain-freq"),
        ({BMMINER: conf_text(freq="true").encode()}, Malformed, "bitmain-freq"),
        ({BMMINER: conf_text(freq='"6\\u0035\\u0030"').encode()}, Malformed, "bitmain-freq"),
        ({BMMINER: conf_text(more='"bitmain-freq2" : "600",\n').encode()}, Unsupported, "bitmain-freq2"),
        ({BMMINER: ONE[BMMINER], CGMINER: b"{"}, Malformed, "cgminer.conf"),
        (ONE | {f"{BMMINER}.hashmargin": ONE[BMMINER][:-3]}, Malformed, "bmminer.conf.hashmargin"),
        (ONE | {f"{BMMINER}.hashmargin": POOLS_ALONE}, Malformed, "bmminer.conf.hashmargin"),
        ({}, Unsupported, "is there"),
    ],
)
async def test_what_is_not_whole_is_not_touched(
    clock: ManualClock, files: dict[str, bytes], kind: type[DeviceError], named: str
) -> None:
    async with old_antminer(files=dict(files)) as it:
        with pytest.raises(kind) as raised:
            await driver(it, clock).apply(asked_for(NINETY))
        assert named in raised.value.detail
        assert (it.files, it.restarts) == (files, 0)
        found = await driver(it, clock).capabilities()
        assert Knob.FREQUENCY_PERCENT not in {control.knob for control in found.controls}
        assert found.writable is (bool(found.controls))


@pytest.mark.parametrize(
    "text",
    [
        *("stop", "work_mode=sleep", "work_mode=low", "hashrate_percent=90"),
        *("frequency_percent=49.9", "frequency_percent=100.1", "voltage_percent=40"),
    ],
)
async def test_what_this_generation_does_not_have_is_refused_before_anything_is_asked(
    clock: ManualClock, text: str
) -> None:
    async with old_antminer() as it:
        with pytest.raises(Unsupported):
            await driver(it, clock).apply(asked_for(text))
        assert (it.commands, it.logins_by_ssh) == ([], 0)


async def test_without_a_start_script_nothing_is_written(clock: ManualClock) -> None:
    async with old_antminer(scripts=()) as it:
        with pytest.raises(Unsupported, match="to restart with"):
            await driver(it, clock).apply(asked_for(NINETY))
        assert it.files == ONE


async def test_a_later_model_is_not_written_to(clock: ManualClock) -> None:
    async with old_antminer(pages={"get_system_info.cgi": {"minertype": "Antminer S19 Pro"}}) as it:
        with pytest.raises(Unsupported, match="antminer-stock"):
            await driver(it, clock).apply(asked_for(NINETY))
        with pytest.raises(Unsupported, match="antminer-stock"):
            await driver(it, clock).set_pools(permitted())
        assert (it.files, it.written, it.commands) == (ONE, [], [])


async def test_a_form_saved_meanwhile_is_not_overwritten(clock: ManualClock) -> None:
    saved = conf_text(user="acct.other").encode()

    def form(command: str) -> None:
        if command == f"cat {BMMINER}.new":
            it.files[BMMINER] = saved

    async with old_antminer(spoil=form) as it:
        with pytest.raises(Malformed, match="changed meanwhile"):
            await driver(it, clock).apply(asked_for(NINETY))
        assert it.files[BMMINER] == saved


# -- failures while it is written ----------------------------------------------------------------------


def mangled(path: str, text: bytes, at: int) -> Callable[[str], tuple[int, bytes] | None]:
    """`cat` of a path gives `text` at its n-th time, and what is there at all others."""
    left = [at]

    def spoil(command: str) -> tuple[int, bytes] | None:
        left[0] -= command == f"cat {path}"
        return (0, text) if left[0] == 0 and command == f"cat {path}" else None

    return spoil


async def test_a_file_that_reads_otherwise_after_the_move_is_put_back(clock: ManualClock) -> None:
    # The third time is the check after the move.
    async with old_antminer(spoil=mangled(BMMINER, b"{}", 3)) as it:
        with pytest.raises(Refused, match="as before"):
            await driver(it, clock).apply(asked_for(NINETY))
        assert (it.files[BMMINER], it.restarts) == (ONE[BMMINER], 0)


async def test_a_staged_file_that_is_not_whole_is_not_moved(clock: ManualClock) -> None:
    async with old_antminer(spoil=mangled(f"{BMMINER}.new", b'{"pools', 1)) as it:
        with pytest.raises(Malformed, match="not written whole"):
            await driver(it, clock).apply(asked_for(NINETY))
        assert it.files[BMMINER] == ONE[BMMINER]
        assert not [command for command in it.commands if command.startswith(f"mv {BMMINER}.new")]


async def test_a_backup_that_is_no_true_copy_never_becomes_one(clock: ManualClock) -> None:
    async with old_antminer(spoil=mangled(f"{BMMINER}.hashmargin.new", b"", 1)) as it:
        with pytest.raises(Malformed, match="no true copy"):
            await driver(it, clock).apply(asked_for(NINETY))
        assert f"{BMMINER}.hashmargin" not in it.files


async def test_if_the_second_file_fails_the_first_is_put_back(clock: ManualClock) -> None:
    def full(command: str) -> tuple[int, bytes] | None:
        return (1, b"") if command.startswith(f"mv {CGMINER}.new") else None

    async with old_antminer(files=dict(BOTH), spoil=full) as it:
        with pytest.raises(Refused, match="as before"):
            await driver(it, clock).apply(asked_for(NINETY))
        assert {path: it.files[path] for path in BOTH} == BOTH
        assert it.restarts == 0


async def test_a_file_that_cannot_be_put_back_is_said_with_where_its_copy_is(clock: ManualClock) -> None:
    moves: list[str] = []

    def stuck(command: str) -> tuple[int, bytes] | None:
        if command == f"cat {BMMINER}" and moves:
            return (0, b"{}")
        if command.startswith(f"mv {BMMINER}.new"):
            moves.append(command)
            return (1, b"") if len(moves) > 1 else None
        return None

    async with old_antminer(spoil=stuck) as it:
        with pytest.raises(Malformed, match=r"could not be put back .*bmminer\.conf\.hashmargin"):
            await driver(it, clock).apply(asked_for(NINETY))


async def test_a_restart_that_does_not_end_is_unknown_and_owed_to_the_next_write(clock: ManualClock) -> None:
    restart = "/etc/init.d/bmminer.sh restart >/dev/null 2>&1"
    async with old_antminer(hangs=restart) as it:
        device = driver(it, clock, write_deadline_s=0.3)
        applied = await device.apply(asked_for(NINETY))
        assert (applied.acknowledged, applied.readback) == (None, frequency(90.0))
        it.hangs = None
        again = await device.apply(asked_for(NINETY))
        assert (again.already_set, again.acknowledged, it.restarts) == (False, True, 1)
        assert (await device.apply(asked_for(NINETY))).already_set


async def test_a_restart_that_fails_is_not_acknowledged(clock: ManualClock) -> None:
    def fails(command: str) -> tuple[int, bytes] | None:
        return (1, b"") if "restart" in command else None

    async with old_antminer(spoil=fails) as it:
        applied = await driver(it, clock).apply(asked_for(NINETY))
        assert (applied.acknowledged, applied.readback) == (None, frequency(90.0))


COMMANDS = {"one": 20, "both": 30}
# Those that change something; for the others there is no difference between before and after.
CHANGING = {"one": (6, 8, 9, 10, 13, 15), "both": (7, 9, 10, 12, 13, 14, 16, 17, 21, 23, 25)}
CUTS = [
    (which, number, when)
    for which, count in COMMANDS.items()
    for number, when in (*((n, "before") for n in range(count)), *((n, "after") for n in CHANGING[which]))
]


@pytest.mark.parametrize(("which", "number", "when"), CUTS)
async def test_a_lost_connection_leaves_each_file_old_or_new_and_never_in_between(
    clock: ManualClock, which: str, number: int, when: str
) -> None:
    before = ONE if which == "one" else BOTH
    after = {
        path: text.replace(b'"650"', b'"581"').replace(b'"600"', b'"537"') for path, text in before.items()
    }
    async with old_antminer(files=dict(before), cut=(number, when)) as it:
        applied = None
        with contextlib.suppress(DeviceError):
            applied = await driver(it, clock).apply(asked_for(NINETY))
        moved = [path for path in before if it.files[path] != before[path]]
        assert all(it.files[path] == after[path] for path in moved)
        assert all(
            it.files[f"{path}.hashmargin"] == before[path]
            for path in before
            if f"{path}.hashmargin" in it.files
        )
        if applied is None:
            assert not moved
        elif applied.acknowledged:
            assert sorted(moved) == sorted(before)
            # The reading that follows the restart has a connection of its own, which may be lost too.
            lost_later = when == "before" and number > CHANGING[which][-1]
            assert applied.readback == (None if lost_later else frequency(90.0))
        else:
            # Resolved by reading: the target where all is moved, and otherwise not the target.
            assert (applied.readback == frequency(90.0)) is (sorted(moved) == sorted(before))
        # What was left behind stands in nobody's way.
        it.cut = None
        await driver(it, clock).apply(asked_for(NINETY))
        assert {path: it.files[path] for path in before} == after


async def test_the_moments_of_the_loop_are_all_there_are(clock: ManualClock) -> None:
    for which, files in (("one", ONE), ("both", BOTH)):
        async with old_antminer(files=dict(files)) as it:
            await driver(it, clock).apply(asked_for(NINETY))
            assert len(it.commands) == COMMANDS[which]
            changing = [n for n, words in enumerate(it.commands) if not re.match(r"cat /|test ", words)]
            assert tuple(changing) == CHANGING[which]


# -- the way in ----------------------------------------------------------------------------------------


async def test_another_host_key_than_before_is_another_machine_and_gets_no_password(
    clock: ManualClock,
) -> None:
    async with old_antminer() as it:
        device = driver(it, clock)
        await device.capabilities()
        async with ssh_server(it, key=1) as port:
            device.endpoint = replace(device.endpoint, ports=replace(it.ports, ssh=port))
            logins = it.logins_by_ssh
            with pytest.raises(WrongMiner, match="host key"):
                await device.apply(asked_for(NINETY))
            assert it.logins_by_ssh == logins
        device.endpoint = it.endpoint()
        assert (await device.apply(asked_for(NINETY))).acknowledged


async def test_a_board_that_speaks_only_what_is_outdated_is_spoken_to(clock: ManualClock) -> None:
    async with old_antminer(dropbear=True) as it:
        assert (await driver(it, clock).apply(asked_for(NINETY))).acknowledged


async def test_one_login_serves_web_and_ssh(clock: ManualClock) -> None:
    async with old_antminer(ssh_password="geheim", password="geheim") as it:
        login = Credentials("root", "geheim")
        assert (await driver(it, clock, credentials=login).apply(asked_for(NINETY))).acknowledged


async def test_a_refused_login_is_told_and_closes_the_controls(clock: ManualClock) -> None:
    async with old_antminer(ssh_password="other") as it:
        with pytest.raises(Unauthorised) as raised:
            await driver(it, clock).apply(asked_for(NINETY))
        assert "admin" not in str(raised.value)
        found = await driver(it, clock).capabilities()
        assert (found.writable, found.controls) == (False, ())
        assert "same login" in (found.remedy or "")


async def test_where_ssh_is_closed_nothing_is_offered_and_the_owner_is_told(clock: ManualClock) -> None:
    async with old_antminer() as it:
        it.ports = replace(it.ports, ssh=1)
        found = await driver(it, clock).capabilities()
        assert (found.writable, found.controls) == (False, ())
        assert "closed ssh" in (found.remedy or "")
        with pytest.raises(Unreachable):
            await driver(it, clock).apply(asked_for(NINETY))


async def test_without_the_extra_the_remedy_is_named(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with old_antminer() as it:
        monkeypatch.delitem(sys.modules, "agent.devices.antminer_old.ssh", raising=False)
        monkeypatch.setitem(sys.modules, "asyncssh", None)
        with pytest.raises(Unsupported, match=r"pip install 'hashmargin\[ssh\]'"):
            await driver(it, clock).apply(asked_for(NINETY))
        found = await driver(it, clock).capabilities()
        assert found.writable is False
        assert "hashmargin[ssh]" in (found.remedy or "")
        assert (await driver(it, clock).read()).model == "antminer-s9"
        assert "stats.json" in await capture(it.endpoint(), clock)


async def test_what_speaks_no_ssh_gives_a_device_error_in_time(clock: ManualClock) -> None:
    rng = random.Random(31)
    greetings = [
        b"",
        b"\0" * 4000,
        b"HTTP/1.1 400 Bad\r\n\r\n",
        b"SSH-2.0-x\r\n" + bytes(200),
        b"SSH-1.5-x\r\n",
    ]
    greetings += [b"SSH-2.0-dropbear_0.51\r\n" + rng.randbytes(rng.randrange(300)) for _ in range(20)]
    # Packets of a plausible length, so that they are taken apart: a key exchange of noise.
    for size in (12, 60, 124):
        body = bytes([4, 20]) + rng.randbytes(size - 2)
        greetings.append(b"SSH-2.0-dropbear_0.51\r\n" + size.to_bytes(4) + body)
    for greeting in greetings:

        async def noise(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, words: bytes = greeting
        ) -> None:
            writer.write(words)
            await writer.drain()
            await asyncio.wait_for(reader.read(), 0.2)

        async with serving(noise) as (port,):
            device = AntminerOld(Endpoint("127.0.0.1", Ports(1, 1, 1, 1, port), deadline_s=0.5), clock)
            with pytest.raises(DeviceError):
                await device.apply(asked_for(NINETY))


async def test_a_port_that_takes_the_connection_and_says_nothing_is_a_timeout(clock: ManualClock) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(silent) as (port,):
        device = AntminerOld(Endpoint("127.0.0.1", Ports(1, 1, 1, 1, port), deadline_s=0.3), clock)
        with pytest.raises(Timeout):
            await device.capabilities()


# -- pools ---------------------------------------------------------------------------------------------


async def test_pools_go_by_the_form_and_everything_else_stays(clock: ManualClock) -> None:
    async with old_antminer() as it:
        before = json.loads(it.files[BMMINER])
        applied = await driver(it, clock).set_pools(permitted())
        after = json.loads(it.files[BMMINER])
        assert it.written[0]["body"] == (
            "_ant_pool1url=stratum%2Btcp%3A%2F%2Feu.pool.example%3A3333&_ant_pool1user=owner.rig1"
            "&_ant_pool1pw=secret%231&_ant_pool2url=stratum%2Btcp%3A%2F%2Fus.pool.example%3A443"
            "&_ant_pool2user=owner.rig1&_ant_pool2pw=x&_ant_pool3url=&_ant_pool3user=&_ant_pool3pw="
            "&_ant_nobeeper=false&_ant_notempoverctrl=false&_ant_fan_customize_switch=true"
            "&_ant_fan_customize_value=60&_ant_freq=650&_ant_voltage=0706"
        )
        assert after["pools"][0] == {"url": NEW[0].url, "user": NEW[0].user, "pass": NEW[0].password}
        assert {**after, "pools": 0} == {**before, "pools": 0}
        assert applied.acknowledged is True
        assert [pool.url for pool in applied.readback or ()] == [pool.url for pool in NEW]
        assert (await driver(it, clock).set_pools(permitted())).already_set


async def test_the_work_mode_of_an_s17_goes_along(clock: ManualClock) -> None:
    conf = conf_text(more='"bitmain-work-mode" : "2",\n').encode()
    async with old_antminer(files={BMMINER: conf}) as it:
        await driver(it, clock).set_pools(permitted())
        assert json.loads(it.files[BMMINER])["bitmain-work-mode"] == "2"


@pytest.mark.parametrize(
    "conf",
    [
        conf_text(more='"bitmain-tempoff" : "90",\n'),
        conf_text().replace("A:0/0,W:*", "W:10.0.0.1"),
        conf_text(voltage='"07%306"'),
        conf_text(freq='"6 \\"50"'),
        conf_text(urls=("", "", "")),
        conf_text()[:-3],
    ],
)
async def test_what_the_form_would_lose_is_not_sent(clock: ManualClock, conf: str) -> None:
    async with old_antminer(files={BMMINER: conf.encode()}) as it:
        with pytest.raises(DeviceError):
            await driver(it, clock).set_pools(permitted())
        assert (it.files[BMMINER].decode(), it.written) == (conf, [])


@pytest.mark.parametrize("password", ['a"b', "a%b", "a\\b", "a{b", "a`b", "a*b"])
async def test_a_sign_that_the_script_garbles_is_not_sent(clock: ManualClock, password: str) -> None:
    async with old_antminer() as it:
        with pytest.raises(Unsupported, match="cannot carry") as raised:
            await driver(it, clock).set_pools(permitted(replace(NEW[0], password=password)))
        assert password not in str(raised.value)
        assert it.written == []


async def test_every_sign_that_is_sent_arrives_as_it_is(clock: ManualClock) -> None:
    signs = "!'()~_.#$&,+:;<=>?@[]^|/-09azAZ"
    async with old_antminer() as it:
        await driver(it, clock).set_pools(permitted(replace(NEW[0], password=signs)))
        assert json.loads(it.files[BMMINER])["pools"][0]["pass"] == signs


@pytest.mark.parametrize(("answer", "takes"), [(CLOSE, True), (CLOSE, False), (b"", True), (500, False)])
async def test_no_plain_ok_is_unknown_and_resolved_by_reading(
    clock: ManualClock, answer: object, takes: bool
) -> None:
    async with old_antminer(answers=answer, takes=takes) as it:
        applied = await driver(it, clock).set_pools(permitted())
        assert applied.acknowledged is None
        assert applied.readback is not None
        assert (applied.readback[0].url == NEW[0].url) is takes


async def test_the_driver_for_later_models_sends_an_old_one_no_json(clock: ManualClock) -> None:
    conf = conf_text(more='"bitmain-work-mode" : "0",\n').encode()
    pages = {"get_system_info.cgi": SYSTEM | {"minertype": "Antminer T17"}}
    async with old_antminer(files={BMMINER: conf}, pages=pages) as it:
        device = AntminerStock(it.endpoint(), clock)
        with pytest.raises(Unsupported, match="antminer-old"):
            await device.set_pools(permitted())
        with pytest.raises(Unsupported, match="antminer-old"):
            await device.apply(asked_for("work_mode=sleep"))
        assert (it.files[BMMINER], it.written) == (conf, [])


# -- reading -------------------------------------------------------------------------------------------


async def test_the_boards_of_an_s9_are_read_and_later_readings_cost_two_requests_at_most(
    clock: ManualClock,
) -> None:
    async with old_antminer() as it:
        device = driver(it, clock)
        reading = await device.read()
        assert (reading.model, reading.firmware, reading.mac) == ("antminer-s9", "stock", "02:a0:b1:00:00:31")
        assert [board.index for board in reading.boards or ()] == [6, 7, 8]
        assert reading.fan_rpm == (4560.0, 5880.0)
        it.fresh()
        for minute in range(1, 41):
            clock.advance(60.0)
            it.api["stats"] = s9_stats(7812 + 60 * minute)
            await device.read()
            assert len(it.fresh()) <= 2
        assert it.logins_by_ssh == 0


async def test_the_frequency_is_told_as_a_share_once_the_files_were_seen(clock: ManualClock) -> None:
    async with old_antminer() as it:
        await driver(it, clock).apply(asked_for("frequency_percent=65"))
        # An agent that has just been started.
        device = driver(it, clock)
        assert (await device.read()).frequency_percent is None
        await device.capabilities()
        assert (await device.read()).frequency_percent == 65.0


async def test_an_odd_percentage_is_shown_again_as_it_was_asked_for(clock: ManualClock) -> None:
    async with old_antminer() as it:
        device = driver(it, clock)
        applied = await device.apply(asked_for("frequency_percent=90.3"))
        assert applied.readback == frequency(90.3)
        reading = await device.read()
        assert current_setting(Catalogue.load().profiles["antminer-s9"], "stock", reading) == frequency(90.3)


@pytest.mark.parametrize(("mode", "word"), [("0", "normal"), ("254", "sleep"), ("1", None), ("2", None)])
async def test_mode_numbers_are_those_of_this_generation(
    clock: ManualClock, mode: str, word: str | None
) -> None:
    conf = conf_text(more=f'"bitmain-work-mode" : "{mode}",\n').encode()
    async with old_antminer(files={BMMINER: conf}) as it:
        assert (await driver(it, clock).read()).work_mode == word


async def test_an_s9_is_known_as_old_from_4028_or_from_the_page_alone(clock: ManualClock) -> None:
    version = listed("VERSION", [{"BMMiner": "2.0.0", "Type": "Antminer S9j"}], 22)
    async with old_antminer(api={"version": version, "stats": s9_stats()}) as it:
        assert await identify_family(it.endpoint(), clock) == "antminer-old"
        identity = await driver(it, clock).identify()
        assert (identity.family, identity.firmware, identity.model) == (
            "antminer-old",
            "stock",
            "Antminer S9",
        )
        it.ports = replace(it.ports, api=1)
        assert await identify_family(it.endpoint(), clock) == "antminer-old"
        it.password = "changed"
        assert await identify_family(it.endpoint(), clock) == "antminer-stock"


async def test_a_capture_holds_the_files_without_users_and_passwords(clock: ManualClock) -> None:
    async with old_antminer(files=dict(ONE)) as it:
        await driver(it, clock).apply(asked_for(NINETY))
        found = await capture(it.endpoint(), clock)
    assert {"stats.json", "config_bmminer.json", "backup_bmminer.json"} <= set(found)
    files = found["config_bmminer.json"] + found["backup_bmminer.json"]
    assert b"acct" not in files
    assert b"geheim" not in b"".join(found.values())
    reading = decode(found)
    assert (reading.model, reading.frequency_percent) == ("antminer-s9", 90.0)


def test_any_bytes_in_the_files_give_a_reading() -> None:
    rng = random.Random(31)
    for _ in range(300):
        raw = bytearray(ONE[BMMINER])
        for _ in range(rng.randrange(4)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        found = decode(
            {"stats.json": s9_stats(), "config_bmminer.json": bytes(raw[: rng.randrange(len(raw) + 1)])}
        )
        assert Reading.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found


def test_what_is_parsed_is_found_where_it_stands() -> None:
    file = parse(b' { "a" : [1, {"b": "}"}], "b-c":"7.50" ,"d":8}\n', "f", "10.0.0.1")
    assert file.with_figure("b-c", "6.25") == ' { "a" : [1, {"b": "}"}], "b-c":"6.25" ,"d":8}\n'
    assert file.with_figure("d", "4") == ' { "a" : [1, {"b": "}"}], "b-c":"7.50" ,"d":4}\n'


WORDS = st.text(st.characters(codec="utf-8"), max_size=5)


@given(
    st.dictionaries(WORDS, st.recursive(st.none() | st.booleans() | WORDS, st.lists)),
    st.sampled_from([None, 0, 3]),
    st.booleans(),
)
def test_whatever_else_a_file_holds_stays(
    values: dict[str, object], indent: int | None, quoted: bool
) -> None:
    whole = {**values, "bitmain-freq": "650" if quoted else 650, "after": ["bitmain-freq", "650"]}
    text = json.dumps(whole, indent=indent, ensure_ascii=quoted)
    file = parse(text.encode(), "f", "10.0.0.1")
    changed = json.loads(file.with_figure("bitmain-freq", "581"))
    assert changed == {**file.values, "bitmain-freq": "581" if quoted else 581}


# -- pure parts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("knob", "reference", "percent", "coarse", "figure"),
    [
        ("frequency_percent", "650", 65.0, True, "418"),
        ("frequency_percent", "650", 100.0, True, "650"),
        ("frequency_percent", "550", 65.0, True, "350"),
        ("frequency_percent", "218.75", 90.0, True, "175.00"),
        ("frequency_percent", "656", 99.0, True, "643"),
        ("frequency_percent", "487", 65.0, False, "316"),
        ("voltage_percent", "0706", 90.0, True, "0636"),
        ("voltage_percent", "1950", 95.0, False, "1853"),
        ("voltage_percent", "8.70", 95.0, False, "8.27"),
    ],
)
def test_digits_keep_their_format_and_the_step_of_the_clock(
    knob: str, reference: str, percent: float, coarse: bool, figure: str
) -> None:
    assert figure_at(Knob(knob), reference, percent, coarse) == figure


@pytest.mark.parametrize("coarse", [True, False])
@pytest.mark.parametrize("reference", ["650", "687", "550", "500", "487.5"])
def test_every_setting_a_plan_proposes_is_read_back_as_itself(reference: str, coarse: bool) -> None:
    for percent in range(50, 101, 5):
        for knob in (Knob.FREQUENCY_PERCENT, Knob.VOLTAGE_PERCENT):
            figure = figure_at(knob, reference, float(percent), coarse)
            assert percent_of(knob, reference, figure, coarse) == percent


def test_a_frequency_that_somebody_raised_is_told_as_it_is() -> None:
    assert percent_of(Knob.FREQUENCY_PERCENT, "600", "650", True) == 108.33


def test_generations_are_told_apart_by_the_number() -> None:
    old = ("Antminer S9", "Antminer S9j", "Antminer T9+", "Antminer S17 Pro", "Antminer T17e", "antminer-s9")
    later = ("Antminer S19", "Antminer S19j Pro", "Antminer T21", "Antminer S21 XP")
    assert all(is_old(name) and not is_later(name) for name in old)
    assert all(is_later(name) and not is_old(name) for name in later)
    assert not is_old("Antminer BHB42XXX")
    assert has_coarse_clock("Antminer S9i")
    assert has_coarse_clock(None)
    assert not has_coarse_clock("Antminer S17")


@pytest.mark.parametrize("key", ["antminer-s9", "antminer-s17-pro", "antminer-t17"])
async def test_a_profile_is_set_by_this_family_alone_inside_its_bounds(clock: ManualClock, key: str) -> None:
    profile = Catalogue.load().profiles[key]
    assert families_for(profile) == ("antminer-old",)
    assert "antminer-old" not in families_for(Catalogue.load().profiles["antminer-s19"])
    async with old_antminer() as it:
        found = await open_device("antminer-old", it.endpoint(), clock).capabilities()
    bounds = effective_bounds(profile, FAMILIES["antminer-old"].firmware, found, ())
    assert [(b.knob, b.minimum, b.maximum) for b in bounds] == [
        (Knob.FREQUENCY_PERCENT, 65.0, 100.0),
        (Knob.VOLTAGE_PERCENT, 90.0, 100.0),
    ]

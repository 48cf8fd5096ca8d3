"""The simulated LuxOS miner: its API on 4028, the session that may write, and its page."""

from __future__ import annotations

import itertools
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agent.clock import ManualClock
from simulator.machine import Machine
from simulator.peers import Faults, Peer
from tests.simulator.peers.conftest import POOLS, START, MakeMachine, StartPeer
from tests.simulator.peers.wire import ask, ask_json, http

_addresses = itertools.count(1)


class Client:
    """Somebody with a session, once they have logged on."""

    def __init__(self, peer: Peer, machine: Machine) -> None:
        self.peer = peer
        self.machine = machine
        self.session = ""

    async def ask(self, command: str, parameter: str | None = None) -> Any:
        more = {} if parameter is None else {"parameter": parameter}
        return await ask_json(self.peer, command=command, **more)

    async def row(self, command: str, section: str, parameter: str | None = None) -> Any:
        reply = await self.ask(command, parameter)
        assert reply["STATUS"][0]["STATUS"] == "S", reply
        return reply[section][0]

    async def code(self, command: str, parameter: str | None = None) -> tuple[str, int]:
        status = (await self.ask(command, parameter))["STATUS"][0]
        return status["STATUS"], status["Code"]

    async def logon(self) -> None:
        self.session = (await self.row("logon", "SESSION"))["SessionID"]

    async def write(self, command: str, *arguments: str) -> tuple[str, int]:
        return await self.code(command, ",".join((self.session, *arguments)))

    async def do(self, command: str, *arguments: str) -> None:
        assert (await self.write(command, *arguments))[0] == "S"

    async def pools(self) -> list[tuple[int, int, str]]:
        """Number, priority and URL of each pool."""
        rows = (await self.ask("pools"))["POOLS"]
        return [(row["POOL"], row["Priority"], row["URL"]) for row in rows]


Connect = Callable[..., Awaitable[Client]]


@pytest.fixture
def connect(start: StartPeer, make_machine: MakeMachine) -> Connect:
    async def begin(model: str = "antminer-s19k-pro", *, logged_on: bool = True, **options: Any) -> Client:
        machine = make_machine(model)
        peer = await start(machine, f"127.35.2.{next(_addresses)}", firmware="luxos", **options)
        client = Client(peer, machine)
        if logged_on:
            await client.logon()
        return client

    return begin


# -- how it speaks ---------------------------------------------------------------------------------


async def test_a_reply_is_one_line_and_then_the_end(connect: Connect) -> None:
    client = await connect(logged_on=False)
    raw = await ask(client.peer, b'{"command":"version"}\n')
    assert raw.endswith(b"\n")
    assert raw.count(b"\n") == 1
    assert json.loads(raw)["VERSION"][0]["LUXminer"]


async def test_the_page_says_luxor_firmware(connect: Connect) -> None:
    client = await connect(logged_on=False)
    page = await http(client.peer, client.peer.ports.web, "/")
    assert (page.status, b"<title>Luxor Firmware</title>" in page.body) == (200, True)


@pytest.mark.parametrize(
    ("command", "section"),
    [
        ("summary", "SUMMARY"),
        ("stats", "STATS"),
        ("devs", "DEVS"),
        ("pools", "POOLS"),
        ("config", "CONFIG"),
        ("fans", "FANS"),
        ("temps", "TEMPS"),
        ("power", "POWER"),
        ("profiles", "PROFILES"),
        ("limits", "LIMITS"),
        ("tempctrl", "TEMPCTRL"),
        ("atm", "ATM"),
        ("events", "EVENTS"),
        ("session", "SESSION"),
    ],
)
async def test_reading_needs_no_session(connect: Connect, command: str, section: str) -> None:
    client = await connect(logged_on=False)
    reply = await client.ask(command)
    assert reply["STATUS"][0]["STATUS"] == "S"
    assert isinstance(reply[section], list)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b'{"command":"nosuch"}', 14),
        (b'{"command":', 23),
        (b'{"cmd":"summary"}', 24),
        (b'{"command":"summary+pools","parameter":"x"}', 400),
    ],
)
async def test_what_it_does_not_understand_has_a_code(connect: Connect, request_: bytes, code: int) -> None:
    client = await connect(logged_on=False)
    status = json.loads(await ask(client.peer, request_ + b"\n"))["STATUS"][0]
    assert (status["STATUS"], status["Code"]) == ("E", code)


async def test_joined_reads_come_under_their_names(connect: Connect) -> None:
    client = await connect(logged_on=False)
    reply = await client.ask("stats+power")
    assert reply["stats"][0]["STATS"][1]["Elapsed"] == int(client.machine.state().elapsed_s)
    assert reply["power"][0]["POWER"][0]["Watts"] > 0


# -- what it shows ---------------------------------------------------------------------------------


async def test_figures_are_those_of_the_machine(connect: Connect, clock: ManualClock) -> None:
    client = await connect(logged_on=False)
    clock.advance(1200)
    state = client.machine.state()
    summary = await client.row("summary", "SUMMARY")
    assert summary["GHS 5s"] == pytest.approx(state.hashrate_5s_ths * 1e3, abs=0.01)
    assert summary["GHS 1m"] == pytest.approx(state.hashrate_ths * 1e3, abs=0.01)
    assert summary["Accepted"] == state.accepted
    assert state.reported_power_w is not None
    assert (await client.row("power", "POWER"))["Watts"] == round(state.reported_power_w)
    fans = (await client.ask("fans"))["FANS"]
    assert [fan["RPM"] for fan in fans] == [round(rpm) for rpm in state.fan_rpm]


async def test_boards_add_up_to_the_miner(connect: Connect, clock: ManualClock) -> None:
    client = await connect(logged_on=False)
    clock.advance(1200)
    boards = (await client.ask("devs"))["DEVS"]
    state = client.machine.state()
    assert len(boards) == client.machine.spec.boards
    assert sum(board["MHS 1m"] for board in boards) == pytest.approx(state.hashrate_ths * 1e6, rel=1e-4)


async def test_config_says_who_it_is(connect: Connect) -> None:
    client = await connect(logged_on=False)
    row = await client.row("config", "CONFIG")
    assert (row["OS"], row["MACAddr"], row["SerialNumber"]) == ("LuxOS", "00:1a:2b:3c:4d:5e", "SN0001")
    assert row["IPAddr"] == client.peer.address
    assert (row["CurtailMode"], row["SystemStatus"]) == ("None", "Normal")
    assert row["NameplateTHS"] > 0


async def test_watts_of_a_model_without_a_sensor_are_an_estimate(connect: Connect) -> None:
    client = await connect(logged_on=False)
    assert (await client.row("power", "POWER"))["PSU"] is False


async def test_profiles_rise_in_frequency_watts_and_rate(connect: Connect) -> None:
    client = await connect(logged_on=False)
    rows = (await client.ask("profiles"))["PROFILES"]
    for name in ("Frequency", "Watts", "Hashrate"):
        figures = [row[name] for row in rows]
        assert figures == sorted(set(figures))
    assert [row["Step"] for row in rows if row["Profile Name"] == "default"] == ["0"]
    volts = [row["Voltage"] for row in rows]
    assert volts == sorted(volts)


# -- the session -----------------------------------------------------------------------------------


async def test_one_session_at_a_time(connect: Connect) -> None:
    client = await connect()
    assert (await client.row("session", "SESSION"))["SessionID"] == client.session
    assert await client.code("logon") == ("E", 402)
    await client.do("logoff")
    assert (await client.row("session", "SESSION"))["SessionID"] == ""
    await client.logon()


async def test_a_session_ends_after_a_silent_minute(connect: Connect, clock: ManualClock) -> None:
    client = await connect()
    clock.advance(59)
    await client.do("ledset", "red", "on")
    clock.advance(59)
    await client.do("ledset", "red", "off")
    clock.advance(60)
    assert await client.write("ledset", "red", "on") == ("E", 418)
    await client.logon()


@pytest.mark.parametrize("command", ["curtail", "profileset", "atmset", "powertargetset", "rebootdevice"])
async def test_writing_needs_the_session(connect: Connect, command: str) -> None:
    client = await connect(logged_on=False)
    assert await client.code(command) == ("E", 400)
    assert await client.code(command, "nosuch1,sleep") == ("E", 418)
    assert client.machine.state().mining_enabled


async def test_kill_frees_a_session_that_somebody_left_open(connect: Connect) -> None:
    client = await connect()
    assert await client.code("kill") == ("S", 318)
    assert await client.write("curtail", "sleep") == ("E", 418)


# -- power -----------------------------------------------------------------------------------------


async def test_a_profile_is_refused_while_thermal_management_is_on(connect: Connect) -> None:
    client = await connect()
    assert (await client.row("atm", "ATM"))["Enabled"] is True
    assert await client.write("profileset", "default") == ("E", 423)
    await client.do("atmset", "enabled=false")
    assert (await client.row("config", "CONFIG"))["IsAtmEnabled"] is False
    await client.do("profileset", "default")


async def test_a_lower_profile_draws_and_hashes_less(connect: Connect, clock: ManualClock) -> None:
    client = await connect()
    clock.advance(1800)
    before = client.machine.state()
    await client.logon()
    await client.do("atmset", "enabled=false")
    low = (await client.ask("profiles"))["PROFILES"][0]
    await client.do("profileset", low["Profile Name"])
    assert (await client.row("config", "CONFIG"))["Profile"] == low["Profile Name"]
    clock.advance(1800)
    after = client.machine.state()
    assert after.hashrate_ths == pytest.approx(low["Hashrate"], rel=0.1)
    assert after.power_w < before.power_w
    assert (await client.row("config", "CONFIG"))["Profile"] == low["Profile Name"]


@pytest.mark.parametrize("model", ["antminer-s19k-pro", "antminer-s19-pro"])
async def test_every_profile_that_is_set_is_the_one_shown(connect: Connect, model: str) -> None:
    client = await connect(model)
    await client.do("atmset", "enabled=false")
    for row in (await client.ask("profiles"))["PROFILES"]:
        await client.do("profileset", row["Profile Name"])
        config = await client.row("config", "CONFIG")
        assert (config["Profile"], int(config["ProfileStep"])) == (row["Profile Name"], int(row["Step"]))


async def test_an_unknown_profile_changes_nothing(connect: Connect) -> None:
    client = await connect()
    await client.do("atmset", "enabled=false")
    assert await client.write("profileset", "9999MHz") == ("E", 403)
    assert await client.write("profileset", "") == ("E", 400)
    assert (await client.row("config", "CONFIG"))["Profile"] == "default"


async def test_a_power_target_is_held_where_the_model_has_one(connect: Connect) -> None:
    client = await connect("antminer-s19k-pro")
    offered = await client.row("powertargetget", "POWERTARGET")
    wanted = (offered["Min"] + offered["Max"]) // 2
    await client.do("powertargetset", f"power={wanted}")
    assert (await client.row("powertargetget", "POWERTARGET"))["Power"] == wanted
    assert (await client.row("config", "CONFIG"))["ActualPowerTarget"] == wanted
    assert await client.write("powertargetset", f"power={offered['Max'] + 1}") == ("E", 437)
    assert (await client.row("powertargetget", "POWERTARGET"))["Power"] == wanted


async def test_other_models_have_no_power_target(connect: Connect) -> None:
    client = await connect("antminer-s19-pro")
    assert await client.code("powertargetget") == ("E", 436)
    assert await client.write("powertargetset", "power=2500") == ("E", 436)
    assert (await client.row("config", "CONFIG"))["IsPowerTargetSupported"] is False


async def test_curtailing_stops_hashing_and_the_api_lives_on(connect: Connect, clock: ManualClock) -> None:
    client = await connect()
    clock.advance(1800)
    await client.logon()
    await client.do("curtail", "sleep")
    clock.advance(60)
    state = client.machine.state()
    assert (state.hashrate_ths, state.phase) == (0.0, "sleep")
    assert state.power_w < 150.0
    config = await client.row("config", "CONFIG")
    assert (config["CurtailMode"], config["IsPowerSupplyOn"]) == ("Sleep", False)
    assert {row["Status"] for row in (await client.ask("pools"))["POOLS"]} == {"Dead"}


async def test_waking_up_hashes_again_and_the_api_never_goes(connect: Connect, clock: ManualClock) -> None:
    client = await connect()
    await client.do("curtail", "sleep")
    clock.advance(50)
    await client.do("curtail", "wakeup")
    for _ in range(5):
        clock.advance(5)
        assert (await client.row("config", "CONFIG"))["CurtailMode"] == "None"
    clock.advance(1800)
    assert client.machine.state().phase == "stable"


@pytest.mark.parametrize("action", ["wakeup", "nap", ""])
async def test_curtailing_to_where_it_is_already_is_refused(connect: Connect, action: str) -> None:
    client = await connect()
    assert await client.write("curtail", action) == ("E", 413 if action == "wakeup" else 404)
    assert client.machine.state().mining_enabled


@pytest.mark.parametrize("words", ["enabled=maybe", "colour=red", "min_profile=9999MHz", ""])
async def test_a_wrong_setting_of_thermal_management_changes_nothing(connect: Connect, words: str) -> None:
    client = await connect()
    before = await client.row("atm", "ATM")
    assert (await client.write("atmset", words))[0] == "E"
    assert await client.row("atm", "ATM") == before


async def test_rebooting_takes_the_api_away_for_a_while(connect: Connect, clock: ManualClock) -> None:
    client = await connect()
    await client.do("rebootdevice")
    with pytest.raises((ConnectionError, json.JSONDecodeError)):
        await client.ask("version")
    clock.advance(600)
    assert await client.code("version") == ("S", 22)
    assert (await client.row("session", "SESSION"))["SessionID"] == ""


# -- pools -----------------------------------------------------------------------------------------


async def test_pools_are_shown_without_passwords(connect: Connect) -> None:
    client = await connect(logged_on=False)
    reply = await client.ask("pools")
    assert [(row["URL"], row["User"]) for row in reply["POOLS"]] == [(p.url, p.user) for p in POOLS[:2]]
    assert "secret" not in json.dumps(reply)
    assert [row["Stratum Active"] for row in reply["POOLS"]] == [True, False]


async def test_pools_are_added_preferred_and_removed(connect: Connect) -> None:
    client = await connect(logged_on=False)
    assert await client.code("addpool", "three.example:3333,site.worker3,x") == ("S", 55)
    third = "stratum+tcp://three.example:3333"
    assert (await client.pools())[-1] == (2, 2, third)
    assert await client.code("switchpool", "2") == ("S", 27)
    assert await client.pools() == [(0, 1, POOLS[0].url), (1, 2, POOLS[1].url), (2, 0, third)]
    assert await client.code("removepool", "0") == ("S", 68)
    assert await client.pools() == [(0, 1, POOLS[1].url), (1, 0, third)]
    assert [pool.url for pool in client.machine.pools if pool.url] == [third, POOLS[1].url]
    assert next(pool.password for pool in client.machine.pools) == "x"


async def test_the_pool_at_work_and_the_last_one_cannot_be_removed(connect: Connect) -> None:
    client = await connect(logged_on=False)
    assert await client.code("removepool", "0") == ("E", 67)
    assert await client.code("removepool", "1") == ("S", 68)
    assert await client.code("removepool", "0") == ("E", 66)
    assert await client.code("removepool", "7") == ("E", 26)
    assert await client.pools() == [(0, 0, POOLS[0].url)]


async def test_a_disabled_pool_gives_its_work_to_the_next(connect: Connect) -> None:
    client = await connect(logged_on=False)
    assert await client.code("disablepool", "0") == ("S", 48)
    rows = (await client.ask("pools"))["POOLS"]
    assert [(row["Status"], row["Stratum Active"]) for row in rows] == [("Disabled", False), ("Alive", True)]
    assert await client.code("disablepool", "1") == ("E", 50)
    assert await client.code("enablepool", "0") == ("S", 47)
    assert [row["Stratum Active"] for row in (await client.ask("pools"))["POOLS"]] == [True, False]


# -- faults ----------------------------------------------------------------------------------------


async def test_closed_writing_is_code_45_and_reading_goes_on(connect: Connect) -> None:
    client = await connect(logged_on=False, faults=Faults(closed_write_api=True))
    assert await client.code("logon") == ("E", 45)
    assert await client.code("addpool", "a.example:1,b,c") == ("E", 45)
    assert await client.code("summary") == ("S", 11)


async def test_somebody_elses_session_stays_where_writing_is_locked(connect: Connect) -> None:
    client = await connect(logged_on=False, faults=Faults(config_locked=True))
    assert await client.code("logon") == ("E", 402)
    assert (await client.row("session", "SESSION"))["SessionID"]


async def test_a_session_can_be_lost_as_soon_as_it_was_made(connect: Connect) -> None:
    client = await connect(faults=Faults(token_expired=True))
    assert await client.write("curtail", "sleep") == ("E", 418)


async def test_an_acknowledged_write_can_be_without_effect(connect: Connect) -> None:
    client = await connect(faults=Faults(ack_without_effect=True))
    await client.do("curtail", "sleep")
    assert client.machine.state().mining_enabled
    assert (await client.row("config", "CONFIG"))["CurtailMode"] == "None"


async def test_lamps_and_fans_obey_and_can_be_deaf_too(connect: Connect) -> None:
    client = await connect()
    await client.do("ledset", "red", "blink")
    await client.do("fanset", "speed=80", "min_fans=2")
    await client.peer.set_faults(Faults(ack_without_effect=True))
    await client.do("ledset", "red", "off")
    await client.do("fanset", "speed=50", "min_fans=4")
    assert (await client.row("config", "CONFIG"))["RedLed"] == "blink"
    fans = await client.ask("fans")
    assert {fan["Speed"] for fan in fans["FANS"]} == {80}
    assert fans["FANCTRL"][0]["MinFans"] == 2


async def test_an_effect_can_come_late(connect: Connect, clock: ManualClock) -> None:
    client = await connect(faults=Faults(effect_delay_s=50.0))
    began = clock.now()
    await client.do("curtail", "sleep")
    assert (await client.row("config", "CONFIG"))["CurtailMode"] == "Sleep"
    # This clock goes on by what somebody waits.
    assert (clock.now() - began).total_seconds() == 50.0


async def test_watts_can_be_missing(connect: Connect) -> None:
    client = await connect(logged_on=False, faults=Faults(unknown_power=True))
    assert "Watts" not in await client.row("power", "POWER")


async def test_the_configuration_can_fail_alone(connect: Connect) -> None:
    client = await connect(logged_on=False, faults=Faults(http_500_on_conf=True))
    assert (await client.code("config"))[0] == "E"
    assert await client.code("summary") == ("S", 11)


async def test_its_clock_can_be_wrong(connect: Connect) -> None:
    client = await connect(logged_on=False, faults=Faults(clock_skew_s=3600.0))
    when = (await client.ask("version"))["STATUS"][0]["When"]
    assert when == int(START.timestamp()) + 3600


async def test_a_miner_without_its_process_hangs_up(connect: Connect) -> None:
    client = await connect(logged_on=False, faults=Faults(process_down=True))
    with pytest.raises((ConnectionError, json.JSONDecodeError)):
        await client.ask("version")
    assert (await http(client.peer, client.peer.ports.web, "/")).status == 200

"""The simulated VNish miner: its REST API, the tokens for its password, and what is left on 4028."""

from __future__ import annotations

import itertools
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agent.clock import ManualClock
from simulator.machine import Machine
from simulator.peers import Faults, Peer
from tests.simulator.peers.conftest import POOLS, MakeMachine, StartPeer
from tests.simulator.peers.wire import Page, ask, ask_json, http

_addresses = itertools.count(1)


class Client:
    """Somebody at the page, with a token once it is unlocked."""

    def __init__(self, peer: Peer, machine: Machine) -> None:
        self.peer = peer
        self.machine = machine
        self.token = ""

    async def ask(self, method: str, page: str, body: Any = None) -> Page:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        sent = b"" if body is None else json.dumps(body).encode()
        path = f"/api/v1/{page}"
        return await http(self.peer, self.peer.ports.web, path, method=method, headers=headers, body=sent)

    async def get(self, page: str) -> Any:
        reply = await self.ask("GET", page)
        assert reply.status == 200, reply.body
        return reply.json

    async def post(self, page: str, body: Any = None) -> Any:
        reply = await self.ask("POST", page, body)
        assert reply.status == 200, reply.body
        return reply.json

    async def unlock(self, password: str = "admin") -> None:
        self.token = (await self.post("unlock", {"pw": password}))["token"]

    async def state(self) -> str:
        word: str = (await self.get("summary"))["miner"]["miner_status"]["miner_state"]
        return word

    async def preset(self) -> str:
        name: str = (await self.get("settings"))["miner"]["overclock"]["preset"]
        return name

    async def choose(self, name: str) -> bool:
        """Choose a preset; True if it waits for a restart."""
        reply = await self.post("settings", {"miner": {"overclock": {"preset": name}}})
        restart: bool = reply["restart_required"]
        return restart

    async def presets(self, *, status: str | None = None) -> list[str]:
        rows = (await self.get("autotune/presets"))[1:]
        return [row["name"] for row in rows if status is None or row["status"] == status]


Connect = Callable[..., Awaitable[Client]]


@pytest.fixture
def connect(start: StartPeer, make_machine: MakeMachine) -> Connect:
    async def begin(model: str = "antminer-s19-pro", *, unlocked: bool = True, **options: Any) -> Client:
        machine = make_machine(model)
        peer = await start(machine, f"127.35.3.{next(_addresses)}", firmware="vnish", **options)
        client = Client(peer, machine)
        if unlocked:
            await client.unlock(options.get("password") or "admin")
        return client

    return begin


# -- who may ask -----------------------------------------------------------------------------------


async def test_the_page_says_anthillos(connect: Connect) -> None:
    client = await connect(unlocked=False)
    page = await http(client.peer, client.peer.ports.web, "/")
    assert (page.status, b"AnthillOS" in page.body) == (200, True)


@pytest.mark.parametrize(
    "page", ["info", "summary", "perf-summary", "chains", "chains/factory-info", "status"]
)
async def test_figures_need_no_token(connect: Connect, page: str) -> None:
    client = await connect(unlocked=False)
    assert (await client.ask("GET", page)).status == 200


@pytest.mark.parametrize(
    ("method", "page"),
    [
        ("GET", "settings"),
        ("GET", "autotune/presets"),
        ("POST", "settings"),
        ("POST", "mining/stop"),
        ("POST", "mining/throttle"),
        ("POST", "system/reboot"),
    ],
)
async def test_settings_and_writing_need_a_token(connect: Connect, method: str, page: str) -> None:
    client = await connect(unlocked=False)
    refused = await client.ask(method, page, {} if method == "POST" else None)
    assert (refused.status, refused.json) == (401, {"err": "unauthorized"})
    assert client.machine.state().mining_enabled


async def test_a_wrong_password_gets_no_token(connect: Connect) -> None:
    client = await connect(unlocked=False, password="farm")
    for body in ({"pw": "admin"}, {"pw": None}, {}, ["pw"]):
        assert (await client.ask("POST", "unlock", body)).status == 403
    await client.unlock("farm")
    assert (await client.get("status"))["unlocked"] is True


async def test_a_token_dies_of_silence_and_lives_by_use(connect: Connect, clock: ManualClock) -> None:
    client = await connect()
    timeout_s = (await client.get("auth-check"))["unlock_timeout"]
    for _ in range(3):
        clock.advance(timeout_s - 1)
        await client.get("settings")
    clock.advance(timeout_s)
    assert (await client.ask("GET", "settings")).status == 401
    assert (await client.get("status"))["unlocked"] is False


async def test_locking_ends_one_token_and_not_the_others(connect: Connect) -> None:
    client = await connect()
    first = client.token
    await client.unlock()
    await client.post("lock")
    assert (await client.ask("GET", "settings")).status == 401
    client.token = first
    await client.get("settings")


@pytest.mark.parametrize(("page", "status"), [("nothing", 404), ("settings/pools", 404)])
async def test_unknown_pages_are_refused_in_words(connect: Connect, page: str, status: int) -> None:
    client = await connect()
    refused = await client.ask("GET", page)
    assert (refused.status, set(refused.json)) == (status, {"err"})


async def test_a_body_that_is_not_json_is_refused(connect: Connect) -> None:
    client = await connect()
    page = await http(
        client.peer,
        client.peer.ports.web,
        "/api/v1/settings",
        method="POST",
        headers={"Authorization": f"Bearer {client.token}"},
        body=b'{"miner":',
    )
    assert page.status == 400


# -- what it shows ---------------------------------------------------------------------------------


async def test_figures_are_those_of_the_machine(connect: Connect, clock: ManualClock) -> None:
    client = await connect(unlocked=False)
    clock.advance(1200)
    state = client.machine.state()
    miner = (await client.get("summary"))["miner"]
    assert miner["average_hashrate"] == pytest.approx(state.hashrate_avg_ths, abs=0.01)
    assert miner["instant_hashrate"] == pytest.approx(state.hashrate_5s_ths, abs=0.01)
    assert miner["hr_realtime"] == pytest.approx(state.hashrate_5s_ths * 1e3, abs=10.0)
    assert state.reported_power_w is not None
    # The firmware adds up whole watts of its boards.
    assert miner["power_consumption"] == pytest.approx(state.reported_power_w, abs=2.0)
    assert [fan["rpm"] for fan in miner["cooling"]["fans"]] == [round(rpm) for rpm in state.fan_rpm]
    hottest = max(max(board.chip_temps_c) for board in state.boards)
    assert miner["chip_temp"]["max"] == round(hottest)


async def test_boards_add_up_to_the_miner(connect: Connect, clock: ManualClock) -> None:
    client = await connect(unlocked=False)
    clock.advance(1200)
    miner = (await client.get("summary"))["miner"]
    assert [row["id"] for row in miner["chains"]] == [1, 2, 3]
    assert sum(row["power_consumption"] for row in miner["chains"]) == miner["power_consumption"]
    assert sum(row["hashrate_rt"] for row in miner["chains"]) == pytest.approx(miner["hr_realtime"], rel=1e-3)
    chips = await client.get("chains")
    assert [len(row["chips"]) for row in chips] == [client.machine.spec.chips_per_board] * 3


async def test_info_says_who_it_is(connect: Connect) -> None:
    client = await connect(unlocked=False)
    info = await client.get("info")
    assert (info["fw_name"], info["miner"], info["serial"]) == ("Vnish", "Antminer S19 Pro", "SN0001")
    network = info["system"]["network_status"]
    assert (network["mac"], network["ip"]) == ("00:1A:2B:3C:4D:5E", client.peer.address)


async def test_pools_are_shown_with_the_makers_fee_last(connect: Connect) -> None:
    client = await connect(unlocked=False)
    rows = (await client.get("summary"))["miner"]["pools"]
    assert [row["user"] for row in rows] == [POOLS[0].user, POOLS[1].user, "DevFee"]
    # It takes the scheme for granted.
    assert rows[0]["url"] == "one.example:3333"
    assert "secret" not in json.dumps(rows)


async def test_on_4028_version_is_an_invalid_command(connect: Connect) -> None:
    client = await connect(unlocked=False)
    raw = await ask(client.peer, b'{"command":"version"}')
    status = json.loads(raw.rstrip(b"\x00"))["STATUS"][0]
    assert (status["STATUS"], status["Msg"]) == ("E", "Invalid command")
    assert raw.endswith(b"\x00")


async def test_on_4028_stats_name_the_firmware(connect: Connect) -> None:
    client = await connect(unlocked=False)
    raw = await ask(client.peer, b'{"command":"stats"}')
    header, row = json.loads(raw.rstrip(b"\x00"))["STATS"]
    assert "Vnish" in header["Type"]
    assert float(row["GHS 5s"]) == pytest.approx(client.machine.state().hashrate_5s_ths * 1e3, abs=0.01)


# -- presets ---------------------------------------------------------------------------------------


async def test_presets_rise_by_the_watts_that_name_them(connect: Connect) -> None:
    client = await connect()
    first, *rows = await client.get("autotune/presets")
    assert first["name"] == "disabled"
    watts = [int(row["name"]) for row in rows]
    assert watts == sorted(set(watts))
    assert all(row["pretty"].startswith(f"{row['name']} watt") for row in rows)
    assert {row["status"] for row in rows} == {"tuned", "untuned"}


async def test_a_tuned_preset_runs_at_once(connect: Connect, clock: ManualClock) -> None:
    client = await connect()
    clock.advance(1200)
    before = client.machine.state().power_w
    await client.unlock()
    lowest = (await client.presets(status="tuned"))[0]
    assert await client.choose(lowest) is False
    assert await client.preset() == lowest
    assert (await client.get("perf-summary"))["current_preset"]["name"] == lowest
    clock.advance(1200)
    after = client.machine.state()
    assert after.power_w == pytest.approx(float(lowest), rel=0.1)
    assert after.power_w < before


async def test_an_untuned_preset_waits_for_a_restart(connect: Connect, clock: ManualClock) -> None:
    client = await connect()
    running = await client.preset()
    rows = await client.get("autotune/presets")
    wanted = next(
        row["name"] for row in rows[1:] if row["status"] == "untuned" and not row["modded_psu_required"]
    )
    assert await client.choose(wanted) is True
    assert (await client.get("status"))["restart_required"] is True
    assert (await client.get("perf-summary"))["current_preset"]["name"] == running
    await client.post("mining/restart")
    assert (await client.get("perf-summary"))["current_preset"]["name"] == wanted
    assert (await client.get("status"))["restart_required"] is False


@pytest.mark.parametrize("name", ["9999", "", "2800 watt"])
async def test_a_preset_that_the_unit_has_not_changes_nothing(connect: Connect, name: str) -> None:
    client = await connect()
    before = await client.preset()
    await client.choose(name)
    assert await client.preset() == before


async def test_the_highest_presets_need_another_supply(connect: Connect) -> None:
    client = await connect()
    before = await client.preset()
    highest = (await client.presets())[-1]
    await client.choose(highest)
    assert await client.preset() == before
    await client.post("settings", {"miner": {"overclock": {"modded_psu": True}}})
    await client.choose(highest)
    assert await client.preset() == highest


# -- stopping and starting -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "word", "back"), [("stop", "stopped", "start"), ("pause", "paused", "resume")]
)
async def test_stopping_and_starting(
    connect: Connect, clock: ManualClock, step: str, word: str, back: str
) -> None:
    client = await connect()
    clock.advance(300)
    await client.post(f"mining/{step}")
    clock.advance(60)
    state = client.machine.state()
    assert (await client.state(), state.hashrate_ths) == (word, 0.0)
    assert state.power_w < 150.0
    await client.post(f"mining/{back}")
    clock.advance(1800)
    await client.unlock()
    assert (await client.state(), client.machine.state().phase) == ("mining", "stable")


async def test_a_preset_chosen_while_stopped_runs_after_the_start(
    connect: Connect, clock: ManualClock
) -> None:
    client = await connect()
    await client.post("mining/stop")
    lowest = (await client.presets(status="tuned"))[0]
    await client.choose(lowest)
    assert await client.state() == "stopped"
    await client.post("mining/start")
    clock.advance(1800)
    assert client.machine.state().power_w == pytest.approx(float(lowest), rel=0.1)


async def test_restarting_begins_the_elapsed_time_anew(connect: Connect, clock: ManualClock) -> None:
    client = await connect()
    clock.advance(500)
    assert client.machine.state().elapsed_s > 400
    await client.post("mining/restart")
    clock.advance(100)
    assert client.machine.state().elapsed_s <= 100


async def test_throttling_takes_watts_without_a_restart(connect: Connect, clock: ManualClock) -> None:
    client = await connect()
    clock.advance(500)
    elapsed, before = client.machine.state().elapsed_s, client.machine.state().power_w
    reply = await client.post("mining/throttle", {"percent": 60})
    assert reply == {"restart_required": False, "reboot_required": False}
    clock.advance(500)
    state = client.machine.state()
    assert state.power_w == pytest.approx(0.6 * before, rel=0.1)
    assert state.elapsed_s > elapsed
    assert (await client.get("status"))["throttled"] == 60


@pytest.mark.parametrize("percent", [19, 101, "60", 60.5, True, None])
async def test_a_throttle_out_of_range_is_refused(connect: Connect, percent: Any) -> None:
    client = await connect()
    assert (await client.ask("POST", "mining/throttle", {"percent": percent})).status == 400
    assert (await client.get("status"))["throttled"] == 100


async def test_rebooting_takes_the_page_away_for_a_while(connect: Connect, clock: ManualClock) -> None:
    client = await connect()
    assert (await client.post("system/reboot"))["after"] >= 0
    with pytest.raises((ConnectionError, IndexError, ValueError)):
        await client.ask("GET", "info")
    clock.advance(600)
    assert (await client.ask("GET", "info")).status == 200


# -- settings --------------------------------------------------------------------------------------


async def test_a_write_of_one_part_leaves_the_rest(connect: Connect) -> None:
    client = await connect()
    before = await client.get("settings")
    await client.post("settings", {"miner": {"misc": {"restart_temp": 80}}})
    after = await client.get("settings")
    assert after["miner"]["misc"].pop("restart_temp") == 80
    assert before["miner"]["misc"].pop("restart_temp") == 90
    assert after == before


@pytest.mark.parametrize(
    "body",
    [
        {"miner": {"misc": {"restart_temp": "hot"}}},
        {"miner": {"nothing": 1}},
        {"miner": []},
        {"miner": {"pools": "none"}},
        {"miner": {"pools": []}},
    ],
)
async def test_what_does_not_fit_is_passed_over(connect: Connect, body: Any) -> None:
    client = await connect()
    before = await client.get("settings")
    await client.post("settings", body)
    assert await client.get("settings") == before


async def test_pools_are_replaced_and_passwords_kept(connect: Connect) -> None:
    client = await connect()
    held = (await client.get("settings"))["miner"]["pools"]
    assert [row["url"] for row in held] == ["one.example:3333", "two.example:3333", ""]
    rows = [{"url": "stratum+tcp://three.example:3333", "user": "site.worker3", "pass": "x"}, held[1]]
    await client.post("settings", {"miner": {"pools": rows}})
    now = client.machine.pools
    assert [(pool.url, pool.password) for pool in now if pool.url] == [
        ("stratum+tcp://three.example:3333", "x"),
        (POOLS[1].url, POOLS[1].password),
    ]
    assert client.machine.state().mining_enabled


async def test_the_fan_can_be_held(connect: Connect) -> None:
    client = await connect()
    await client.post("settings", {"miner": {"cooling": {"mode": {"name": "manual", "param": 80}}}})
    assert (client.machine.state().fan_manual, client.machine.state().fan_pwm) == (True, 80)
    assert (await client.get("settings"))["miner"]["cooling"]["mode"] == {"name": "manual", "param": 80}
    await client.post("settings", {"miner": {"cooling": {"mode": {"name": "auto"}}}})
    assert client.machine.state().fan_manual is False
    assert (await client.get("settings"))["miner"]["cooling"]["mode"]["name"] == "auto"


async def test_a_new_password_is_the_one_that_unlocks(connect: Connect) -> None:
    client = await connect()
    change = {"password": {"current": "wrong", "pw": "new"}}
    assert (await client.ask("POST", "settings", change)).status == 403
    await client.post("settings", {"password": {"current": "admin", "pw": "new"}})
    client.token = ""
    assert (await client.ask("POST", "unlock", {"pw": "admin"})).status == 403
    await client.unlock("new")


# -- faults ----------------------------------------------------------------------------------------


async def test_closed_writing_gives_no_token_and_reading_goes_on(connect: Connect) -> None:
    client = await connect(unlocked=False, faults=Faults(closed_write_api=True))
    assert (await client.ask("POST", "unlock", {"pw": "admin"})).status == 403
    assert (await client.ask("GET", "summary")).status == 200


async def test_tokens_can_be_worthless(connect: Connect) -> None:
    client = await connect(faults=Faults(token_expired=True))
    assert (await client.ask("GET", "settings")).status == 401


async def test_settings_can_be_locked_by_somebody_else(connect: Connect) -> None:
    client = await connect(faults=Faults(config_locked=True))
    before = await client.preset()
    body = {"miner": {"overclock": {"preset": (await client.presets(status="tuned"))[0]}}}
    assert (await client.ask("POST", "settings", body)).status == 409
    assert await client.preset() == before


async def test_settings_can_fail_alone(connect: Connect) -> None:
    client = await connect(faults=Faults(http_500_on_conf=True))
    assert (await client.ask("GET", "settings")).status == 500
    assert (await client.ask("GET", "summary")).status == 200


async def test_an_acknowledged_write_can_be_without_effect(connect: Connect) -> None:
    client = await connect(faults=Faults(ack_without_effect=True))
    before = await client.preset()
    lowest = (await client.presets(status="tuned"))[0]
    await client.choose(lowest)
    await client.post("mining/stop")
    assert (await client.preset(), await client.state()) == (before, "mining")


async def test_an_acknowledged_write_of_any_setting_can_be_without_effect(connect: Connect) -> None:
    client = await connect(faults=Faults(ack_without_effect=True))
    before = await client.get("settings")
    body = {
        "ui": {"theme": "dark"},
        "miner": {
            "misc": {"restart_temp": 80},
            "overclock": {"modded_psu": True},
            "cooling": {"mode": {"name": "manual", "param": 80}},
            "pools": [{"url": "a.example:1", "user": "b", "pass": "c"}],
        },
    }
    await client.post("settings", body)
    await client.post("find-miner", {"on": True})
    assert await client.get("settings") == before
    assert (await client.get("status"))["find_miner"] is False


async def test_a_supply_and_the_preset_it_allows_can_be_written_at_once(connect: Connect) -> None:
    client = await connect()
    highest = (await client.presets())[-1]
    await client.post("settings", {"miner": {"overclock": {"modded_psu": True, "preset": highest}}})
    assert await client.preset() == highest


async def test_an_effect_can_come_late(connect: Connect, clock: ManualClock) -> None:
    client = await connect(faults=Faults(effect_delay_s=90.0))
    began = clock.now()
    await client.post("mining/stop")
    assert await client.state() == "stopped"
    # This clock goes on by what somebody waits.
    assert (clock.now() - began).total_seconds() == 90.0


async def test_watts_can_be_missing_everywhere(connect: Connect) -> None:
    client = await connect(unlocked=False, faults=Faults(unknown_power=True))
    miner = (await client.get("summary"))["miner"]
    assert "power_consumption" not in miner
    assert all("power_consumption" not in row for row in miner["chains"])


async def test_a_missing_board_is_a_failure_with_words(connect: Connect) -> None:
    client = await connect(unlocked=False)
    client.machine.set_missing_boards([1])
    rows = (await client.get("summary"))["miner"]["chains"]
    assert rows[1] == {"id": 2, "status": {"state": "failure", "description": "Chain not found"}}
    assert [row["id"] for row in await client.get("chains")] == [1, 3]


async def test_a_reply_can_be_cut(connect: Connect) -> None:
    client = await connect(unlocked=False, faults=Faults(cut_mid_json=True))
    with pytest.raises(json.JSONDecodeError):
        await client.get("summary")


async def test_4028_hangs_up_without_its_process_while_the_page_lives(connect: Connect) -> None:
    client = await connect(unlocked=False, faults=Faults(process_down=True))
    with pytest.raises((ConnectionError, json.JSONDecodeError)):
        await ask_json(client.peer, command="summary")
    assert (await client.ask("GET", "info")).status == 200

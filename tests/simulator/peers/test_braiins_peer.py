"""The simulated Braiins OS miner: its REST API, GraphQL and cgminer API."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from agent.clock import ManualClock
from simulator.peers import Faults
from simulator.peers.braiins.accounts import TIMEOUT_S
from simulator.peers.braiins.tuner import TAKEN_UP_AFTER_S, TUNING_S
from tests.simulator.peers.braiins_client import (
    LOGIN,
    NORMAL,
    NOT_STARTED,
    PAUSED,
    STABLE,
    TUNING,
    Client,
    Connect,
    connector,
)
from tests.simulator.peers.conftest import POOLS, MakeMachine, StartPeer
from tests.simulator.peers.wire import ask_json, http


@pytest.fixture
def connect(start: StartPeer, make_machine: MakeMachine) -> Connect:
    return connector(start, make_machine)


# -- who may ask -----------------------------------------------------------------------------------


async def test_the_page_says_braiins_os(connect: Connect) -> None:
    client = await connect(logged_in=False)
    page = await http(client.peer, client.peer.ports.web, "/")
    assert page.status == 200
    assert b"<title>Braiins OS</title>" in page.body


async def test_version_needs_no_token(connect: Connect) -> None:
    client = await connect(logged_in=False)
    assert await client.get("version") == {"major": 1, "minor": 10, "patch": 0}


@pytest.mark.parametrize(
    "page",
    [
        "miner/details",
        "miner/stats",
        "miner/hw/hashboards",
        "miner/errors",
        "cooling/state",
        "network",
        "pools",
        "configuration/constraints",
        "configuration/miner",
        "performance/mode",
        "performance/tuner-state",
        "performance/target-profiles",
        "actions/locate",
    ],
)
async def test_every_other_page_needs_a_token(connect: Connect, page: str) -> None:
    client = await connect(logged_in=False)
    refused = await client.ask("GET", page)
    assert refused.status == 401
    assert refused.json["error"] == "The request does not have valid authentication credentials"
    await client.login()
    assert (await client.ask("GET", page)).status == 200


async def test_a_wrong_password_gets_no_token(connect: Connect) -> None:
    client = await connect(logged_in=False, password="farm")
    assert (await client.ask("POST", "auth/login", LOGIN)).status == 401
    assert (await client.ask("POST", "auth/login", LOGIN | {"password": "farm"})).json[
        "timeout_s"
    ] == TIMEOUT_S


async def test_bearer_before_the_token_is_not_understood(connect: Connect) -> None:
    client = await connect()
    client.token = f"Bearer {client.token}"
    assert (await client.ask("GET", "miner/details")).status == 401


async def test_a_token_dies_after_an_hour_of_silence(connect: Connect, clock: ManualClock) -> None:
    client = await connect()
    clock.advance(TIMEOUT_S - 1)
    await client.get("miner/details")
    clock.advance(TIMEOUT_S - 1)
    await client.get("miner/details")
    clock.advance(TIMEOUT_S)
    assert (await client.ask("GET", "miner/details")).status == 401


async def test_a_new_password_logs_everybody_out(connect: Connect) -> None:
    client = await connect()
    assert (await client.ask("PUT", "auth/password", {"password": "new"})).status == 204
    assert (await client.ask("GET", "miner/details")).status == 401
    assert (await client.ask("POST", "auth/login", LOGIN)).status == 401


async def test_a_login_that_is_not_json_is_refused_in_plain_text(connect: Connect) -> None:
    client = await connect(logged_in=False)
    page = await http(client.peer, client.peer.ports.web, "/api/v1/auth/login", method="POST", body=b"{")
    assert page.status == 400
    assert page.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("page", ["nothing", "pools/a/b", "performance/power-target/halve"])
async def test_unknown_pages_are_404(connect: Connect, page: str) -> None:
    client = await connect()
    assert (await client.ask("GET", page)).status == 404


# -- what it shows ---------------------------------------------------------------------------------


async def test_figures_are_those_of_the_machine(connect: Connect, clock: ManualClock) -> None:
    client = await connect("antminer-s21")
    clock.advance(1200)
    state = client.machine.state()
    stats = await client.get("miner/stats")
    real = stats["miner_stats"]["real_hashrate"]
    assert real["last_5s"]["gigahash_per_second"] == pytest.approx(state.hashrate_5s_ths * 1e3, abs=0.01)
    assert real["last_1m"]["gigahash_per_second"] == pytest.approx(state.hashrate_ths * 1e3, abs=0.01)
    assert state.reported_power_w is not None
    assert stats["power_stats"]["approximated_consumption"] == {"watt": round(state.reported_power_w)}
    assert stats["pool_stats"]["accepted_shares"] == state.accepted
    cooling = await client.get("cooling/state")
    assert [fan["rpm"] for fan in cooling["fans"]] == [round(rpm) for rpm in state.fan_rpm]
    hottest = max(max(board.chip_temps_c) for board in state.boards)
    assert cooling["highest_temperature"]["temperature"]["degree_c"] == pytest.approx(hottest, abs=0.01)


async def test_boards_add_up_to_the_miner(connect: Connect) -> None:
    client = await connect()
    boards = (await client.get("miner/hw/hashboards"))["hashboards"]
    total = (await client.get("miner/stats"))["miner_stats"]["real_hashrate"]["last_5s"]
    parts = [board["stats"]["real_hashrate"]["last_5s"]["gigahash_per_second"] for board in boards]
    assert [board["id"] for board in boards] == ["1", "2", "3"]
    assert sum(parts) == pytest.approx(total["gigahash_per_second"], abs=0.1)


async def test_details_name_the_miner(connect: Connect) -> None:
    client = await connect()
    details = await client.get("miner/details")
    assert details["mac_address"] == "00:1a:2b:3c:4d:5e"
    assert details["miner_identity"]["miner_model"] == "Antminer S19 Pro"
    assert details["serial_number"] == "SN0001"
    assert details["bos_version"]["major"] == "26.04"
    assert details["status"] == NORMAL


async def test_a_missing_board_is_not_listed_and_is_an_error(connect: Connect) -> None:
    client = await connect(missing_boards=(1,))
    boards = (await client.get("miner/hw/hashboards"))["hashboards"]
    assert [board["id"] for board in boards] == ["1", "3"]
    (error,) = (await client.get("miner/errors"))["errors"]
    assert error["components"] == [{"name": "hashboard", "index": 2}]


# -- power target ----------------------------------------------------------------------------------


async def test_a_power_target_is_taken_up_tuned_and_kept(connect: Connect, clock: ManualClock) -> None:
    client = await connect()
    clock.advance(600)
    before = await client.target()
    assert await client.put("performance/power-target", {"watt": 2400}) == {"watt": 2400}
    assert (await client.target(), await client.tuner()) == (before, STABLE)
    clock.advance(TAKEN_UP_AFTER_S)
    assert (await client.target(), await client.tuner()) == (2400, TUNING)
    assert (await client.get("performance/tuner-state"))["mode_state"]["powertargetmodestate"][
        "profile"
    ] is None
    clock.advance(TUNING_S)
    assert await client.tuner() == STABLE
    profiles = (await client.get("performance/target-profiles"))["power_target_profiles"]
    assert [profile["target"]["watt"] for profile in profiles] == [2400, before]
    assert client.machine.state().power_limit_w == 2400
    watts = (await client.get("miner/stats"))["power_stats"]["approximated_consumption"]["watt"]
    assert watts == pytest.approx(2400, rel=0.02)


async def test_a_target_does_not_restart_mining(connect: Connect, clock: ManualClock) -> None:
    client = await connect()
    clock.advance(600)
    before = (await client.get("miner/details"))["bosminer_uptime_s"]
    await client.put("performance/power-target", {"watt": 2000})
    clock.advance(60)
    assert (await client.get("miner/details"))["bosminer_uptime_s"] == before + 60


async def test_a_known_target_is_reached_without_tuning_anew(connect: Connect, clock: ManualClock) -> None:
    client = await connect()
    default = await client.target()
    await client.put("performance/power-target", {"watt": 2400})
    clock.advance(TUNING_S)
    assert await client.tuner() == STABLE
    await client.put("performance/power-target", {"watt": default})
    clock.advance(200)
    assert (await client.target(), await client.tuner()) == (default, STABLE)


@pytest.mark.parametrize("edge", ["min", "max"])
async def test_bounds_are_those_of_the_constraints(connect: Connect, edge: str) -> None:
    client = await connect()
    bounds = (await client.get("configuration/constraints"))["tuner_constraints"]["power_target"]
    limit = bounds[edge]["watt"]
    assert await client.put("performance/power-target", {"watt": limit}) == {"watt": limit}
    beyond = limit - 1 if edge == "min" else limit + 1
    refused = await client.ask("PUT", "performance/power-target", {"watt": beyond})
    assert refused.status == 400
    assert refused.json == {
        "error": "Operation was attempted past the valid range",
        "message": f"new power target '{beyond}' is out-of-range "
        f"(min: Some({bounds['min']['watt']}), max: Some({bounds['max']['watt']}))",
    }
    assert (await client.get("performance/mode"))["tunermode"]["target"]["powertarget"]["power_target"] == {
        "watt": limit
    }


@pytest.mark.parametrize(
    "body", [{"watt": 2400.5}, {"watt": "2400"}, {"watt": -1}, {"watt": True}, {"watt": 2**70}, {}, [], 7]
)
async def test_what_is_no_target_is_422(connect: Connect, body: Any) -> None:
    client = await connect()
    assert (await client.ask("PUT", "performance/power-target", body)).status == 422


@pytest.mark.parametrize(
    ("change", "body", "expected"),
    [
        ("increment", {"watt": 100}, 3100),
        ("decrement", {"watt": 100}, 2900),
        ("relative", {"percentage": 90, "reference": 4}, 2700),
        ("relative", {"percentage": 80, "reference": 1}, 2600),
    ],
)
async def test_targets_relative_to_another(connect: Connect, change: str, body: Any, expected: int) -> None:
    client = await connect()
    await client.put("performance/power-target", {"watt": 3000})
    reply = await client.ask("PATCH", f"performance/power-target/{change}", body)
    assert (reply.status, reply.json) == (200, {"watt": expected})


async def test_the_default_target_comes_back(connect: Connect) -> None:
    client = await connect()
    default = await client.target()
    await client.put("performance/power-target", {"watt": 2000})
    assert await client.put("performance/power-target/default") == {"watt": default}


async def test_a_hashrate_target_replaces_the_power_target(connect: Connect, clock: ManualClock) -> None:
    client = await connect()
    await client.put("performance/hashrate-target", {"terahash_per_second": 80.0})
    clock.advance(1200)
    held = (await client.get("performance/tuner-state"))["mode_state"]["hashratetargetmodestate"]
    assert held["current_target"] == {"terahash_per_second": 80.0}
    assert client.machine.state().hashrate_ths == pytest.approx(80.0, rel=0.05)
    tuner = (await client.get("configuration/miner"))["tuner"]
    assert (tuner["tuner_mode"], tuner["power_target"]) == (2, None)


async def test_the_mode_can_be_written_whole(connect: Connect) -> None:
    client = await connect()
    wanted = {"tunermode": {"target": {"powertarget": {"power_target": {"watt": 2222}}}}}
    assert await client.put("performance/mode", wanted) == wanted
    assert await client.get("performance/mode") == wanted


# -- pause and stop --------------------------------------------------------------------------------


async def test_pause_and_resume(connect: Connect, clock: ManualClock) -> None:
    client = await connect()
    assert await client.put("actions/pause") is False
    assert await client.put("actions/pause") is True
    assert await client.status() == PAUSED
    clock.advance(120)
    assert client.machine.state().hashrate_5s_ths == 0.0
    assert await client.put("actions/resume") is False
    clock.advance(900)
    assert await client.status() == NORMAL
    assert await client.put("actions/resume") is True


async def test_a_pause_keeps_the_target(connect: Connect, clock: ManualClock) -> None:
    client = await connect()
    await client.put("performance/power-target", {"watt": 2300})
    await client.put("actions/pause")
    clock.advance(900)
    await client.put("actions/resume")
    clock.advance(900)
    assert await client.target() == 2300
    assert client.machine.state().power_limit_w == 2300


async def test_a_stopped_miner_shows_no_figures_and_does_not_pause(connect: Connect) -> None:
    client = await connect()
    assert await client.put("actions/stop") is False
    assert await client.status() == NOT_STARTED
    assert await client.get("miner/stats") == {"pool_stats": None, "miner_stats": None, "power_stats": None}
    assert (await client.ask("PUT", "actions/pause")).status == 412
    assert await client.put("actions/start") is False


async def test_a_reboot_ends_a_pause(connect: Connect, clock: ManualClock) -> None:
    client = await connect()
    await client.put("actions/pause")
    assert (await client.ask("PUT", "actions/reboot")).status == 204
    with pytest.raises(ConnectionError):
        await client.ask("GET", "version")
    clock.advance(1200)
    assert await client.status() == NORMAL


async def test_fans_can_be_fixed(connect: Connect) -> None:
    client = await connect()
    await client.put("cooling/mode", {"manual": {"fan_speed_ratio": 0.8}})
    assert client.machine.state().fan_pwm == 80
    fans = (await client.get("cooling/state"))["fans"]
    assert {fan["target_speed_ratio"] for fan in fans} == {0.8}
    assert (await client.ask("PUT", "cooling/mode", {"manual": {"fan_speed_ratio": 1.2}})).status == 400


# -- pools -----------------------------------------------------------------------------------------


def _new_group(name: str, url: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "pools": [{"url": url, "user": "u", "password": "p"}], **more}


async def test_the_pools_of_the_machine_are_one_group(connect: Connect) -> None:
    client = await connect()
    (group,) = await client.get("pools/")
    assert [(pool["url"], pool["user"]) for pool in group["pools"]] == [
        (entry.url, entry.user) for entry in POOLS if entry.url
    ]
    assert [pool["active"] for pool in group["pools"]] == [True, False]
    assert "password" not in json.dumps(group)


async def test_the_saved_configuration_has_the_passwords(connect: Connect) -> None:
    client = await connect()
    (group,) = (await client.get("configuration/miner"))["pool_groups"]
    assert [pool["password"] for pool in group["pools"]] == ["secret1", "secret2"]


async def test_one_group_changes_and_the_others_stay(connect: Connect) -> None:
    client = await connect()
    strategy = {"load_balance_strategy": {"fixedshareratio": {"value": 0.1}}}
    created = await client.ask(
        "POST", "pools", _new_group("rent", "stratum+tcp://rent.example:1", **strategy)
    )
    assert created.status == 201
    first, second = (await client.get("configuration/miner"))["pool_groups"]
    pools = [pool | {"user": "other"} for pool in first["pools"]]
    await client.put(f"pools/{first['uid']}", {"name": first["name"], "pools": pools})
    changed, kept = (await client.get("configuration/miner"))["pool_groups"]
    assert kept == second
    assert changed["uid"] == first["uid"]
    assert changed["pools"] == pools
    assert [entry.user for entry in client.machine.pools] == ["other", "other", "u"]


async def test_a_batch_replaces_all_groups(connect: Connect) -> None:
    client = await connect()
    before = (await client.get("configuration/miner"))["pool_groups"]
    await client.put("pools/batch", [*before, _new_group("b", "stratum2+tcp://b.example:1/key")])
    after = (await client.get("configuration/miner"))["pool_groups"]
    assert after[:1] == before
    assert [group["name"] for group in after] == ["Default", "b"]
    await client.put("pools/batch", after[1:])
    assert [entry.url for entry in client.machine.pools] == ["stratum2+tcp://b.example:1/key"]


async def test_a_group_can_be_deleted(connect: Connect) -> None:
    client = await connect()
    created = (await client.ask("POST", "pools", _new_group("rent", "stratum+tcp://r.example:1"))).json
    assert (await client.ask("DELETE", f"pools/{created['uid']}")).status == 204
    assert len(await client.get("pools")) == 1
    assert (await client.ask("DELETE", f"pools/{created['uid']}")).status == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "a"}, 422),
        ([{"name": "a", "pools": [{"url": "stratum+tcp://a.example:1"}]}], 422),
        ([_new_group("a", "http://a.example")], 400),
        ([_new_group("a", "stratum+tcp://a.example:1"), _new_group("a", "stratum+tcp://b.example:1")], 400),
        ([_new_group("a", "stratum+tcp://a.example:1", load_balance_strategy={"best": {}})], 422),
        ([_new_group(f"g{n}", "stratum+tcp://a.example:1") for n in range(17)], 400),
    ],
)
async def test_refused_pools_leave_the_old_ones(connect: Connect, body: Any, status: int) -> None:
    client = await connect()
    before = await client.get("pools")
    assert (await client.ask("PUT", "pools/batch", body)).status == status
    assert [group["pools"][0]["url"] for group in await client.get("pools")] == [before[0]["pools"][0]["url"]]


# -- GraphQL and the cgminer API -------------------------------------------------------------------


async def _graphql(client: Client, query: str) -> Any:
    body = json.dumps({"query": query}).encode()
    return (await http(client.peer, client.peer.ports.web, "/graphql", method="POST", body=body)).json


async def test_graphql_names_model_and_version_to_anybody(connect: Connect) -> None:
    client = await connect(logged_in=False)
    model = await _graphql(client, "{ bosminer { info { modelName } } }")
    assert model == {"data": {"bosminer": {"info": {"modelName": "Antminer S19 Pro"}}}}
    version = await _graphql(client, "query Q { bos { info { version { full } } hostname } }")
    assert version["data"]["bos"]["info"]["version"]["full"].endswith("-26.04-plus")


@pytest.mark.parametrize(
    "query",
    ["", "{", "}", "{ bos }", "{ bos { none } }", "{ bos { hostname { x } } }", "{a" * 40, "{ a(b: 1) }"],
)
async def test_graphql_refuses_what_it_does_not_know(connect: Connect, query: str) -> None:
    client = await connect(logged_in=False)
    reply = await _graphql(client, query)
    assert reply["data"] is None
    assert reply["errors"]


async def test_4028_answers_as_boser(connect: Connect) -> None:
    client = await connect(logged_in=False)
    reply = await ask_json(client.peer, command="version")
    assert reply["STATUS"][0]["Msg"] == "BOSer versions"
    assert reply["VERSION"][0]["BOSer"].startswith("boser-")


async def test_4028_joins_commands(connect: Connect) -> None:
    client = await connect(logged_in=False)
    reply = await ask_json(client.peer, command="summary+tunerstatus+none")
    state = client.machine.state()
    assert reply["summary"][0]["SUMMARY"][0]["MHS 1m"] == pytest.approx(state.hashrate_ths * 1e6, rel=1e-6)
    assert state.reported_power_w is not None
    tuner = reply["tunerstatus"][0]["TUNERSTATUS"][0]
    assert tuner["ApproximateMinerPowerConsumption"] == round(state.reported_power_w)
    assert reply["none"][0]["STATUS"][0]["STATUS"] == "E"


async def test_4028_is_not_ready_while_mining_is_stopped(connect: Connect) -> None:
    client = await connect()
    await client.put("actions/stop")
    assert (await ask_json(client.peer, command="summary"))["STATUS"][0]["Msg"] == "Not ready"
    assert (await ask_json(client.peer, command="version"))["STATUS"][0]["STATUS"] == "S"


# -- faults ----------------------------------------------------------------------------------------


async def test_acknowledged_writes_without_effect(connect: Connect) -> None:
    client = await connect(faults=Faults(ack_without_effect=True))
    before = await client.get("configuration/miner")
    assert await client.put("performance/power-target", {"watt": 2000}) == {"watt": 2000}
    await client.put("pools/batch", [_new_group("x", "stratum+tcp://x.example:1")])
    assert await client.put("actions/pause") is False
    assert await client.get("configuration/miner") == before
    assert await client.status() == NORMAL


async def test_expired_tokens(connect: Connect) -> None:
    client = await connect(faults=Faults(token_expired=True))
    assert (await client.ask("GET", "miner/stats")).status == 401


async def test_a_login_loop_gives_nobody_a_token(connect: Connect) -> None:
    client = await connect(logged_in=False, faults=Faults(login_loop=True))
    assert (await client.ask("POST", "auth/login", LOGIN)).status == 401


async def test_500_on_the_saved_configuration_alone(connect: Connect) -> None:
    client = await connect(faults=Faults(http_500_on_conf=True))
    assert (await client.ask("GET", "pools")).status == 500
    assert (await client.ask("GET", "configuration/miner")).status == 500
    assert (await client.ask("PUT", "pools/batch", [])).status == 500
    await client.get("miner/stats")


async def test_closed_writes_and_locked_pools(connect: Connect) -> None:
    client = await connect(faults=Faults(closed_write_api=True))
    assert (await client.ask("PUT", "performance/power-target", {"watt": 2000})).status == 403
    await client.get("miner/stats")
    await client.peer.set_faults(Faults(config_locked=True))
    assert (await client.ask("PUT", "pools/batch", [])).status == 409


async def test_unknown_power_is_null(connect: Connect) -> None:
    client = await connect(faults=Faults(unknown_power=True))
    power = (await client.get("miner/stats"))["power_stats"]
    assert power == {"approximated_consumption": None, "efficiency": None}


async def test_json_is_cut_in_the_middle(connect: Connect) -> None:
    client = await connect()
    await client.peer.set_faults(Faults(cut_mid_json=True))
    page = await client.ask("GET", "miner/stats")
    assert page.status == 200
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        json.loads(page.body)


async def test_frozen_figures(connect: Connect, clock: ManualClock) -> None:
    client = await connect()
    await client.peer.set_faults(Faults(frozen=True))
    before = await client.get("miner/stats")
    clock.advance(300)
    after = await client.get("miner/stats")
    assert after["miner_stats"] == before["miner_stats"]
    assert after["pool_stats"]["accepted_shares"] == before["pool_stats"]["accepted_shares"]


async def test_a_hanging_miner_accepts_and_says_nothing(connect: Connect) -> None:
    client = await connect(logged_in=False, faults=Faults(hang=True))
    reader, writer = await asyncio.open_connection(client.peer.address, client.peer.ports.web)
    writer.write(b"GET /api/v1/version HTTP/1.1\r\nHost: m\r\n\r\n")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await reader.read(1)
    writer.close()


async def test_a_zombie_answers_on_its_page_alone(connect: Connect) -> None:
    client = await connect(faults=Faults(zombie=True))
    await client.get("miner/stats")
    reader, writer = await asyncio.open_connection(client.peer.address, client.peer.ports.api)
    writer.write(b'{"command":"version"}')
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await reader.read(1)
    writer.close()


async def test_a_dead_mining_process_shows_no_figures(connect: Connect) -> None:
    client = await connect(faults=Faults(process_down=True))
    assert await client.status() == NOT_STARTED
    assert (await client.get("miner/stats"))["miner_stats"] is None
    assert (await client.get("performance/tuner-state"))["mode_state"] is None
    boards = (await client.get("miner/hw/hashboards"))["hashboards"]
    assert [board["stats"] for board in boards] == [None, None, None]


async def test_a_delayed_effect_comes_late(connect: Connect, clock: ManualClock) -> None:
    client = await connect()
    await client.peer.set_faults(Faults(effect_delay_s=90.0))
    began = clock.now()
    assert await client.put("performance/power-target", {"watt": 2100}) == {"watt": 2100}
    await client.get("version")
    assert (clock.now() - began).total_seconds() == 90.0
    assert client.machine.state().power_limit_w == 2100

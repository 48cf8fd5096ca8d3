from __future__ import annotations

import asyncio
import hashlib
import json
import re
from typing import Any

import httpx
import pytest

from agent.clock import ManualClock
from simulator.machine import PoolEntry
from simulator.peers import Faults, Peer
from tests.simulator.peers.conftest import POOLS, MakeMachine, StartPeer
from tests.simulator.peers.wire import Page, http

REALM = "antMiner Configuration"
CONF = "/cgi-bin/get_miner_conf.cgi"


def md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def authorization(
    nonce: str, path: str, *, method: str = "GET", user: str = "root", password: str = "root", nc: int = 1
) -> dict[str, str]:
    """The header as RFC 7616 computes it, by hand."""
    ha1 = md5(f"{user}:{REALM}:{password}")
    ha2 = md5(f"{method}:{path}")
    response = md5(f"{ha1}:{nonce}:{nc:08x}:0a4f113b:auth:{ha2}")
    value = (
        f'Digest username="{user}", realm="{REALM}", nonce="{nonce}", uri="{path}", '
        f'response="{response}", qop=auth, nc={nc:08x}, cnonce="0a4f113b"'
    )
    return {"Authorization": value}


async def fresh_nonce(peer: Peer) -> str:
    page = await http(peer, peer.ports.web, CONF)
    found = re.search(r'nonce="([^"]+)"', page.headers["www-authenticate"])
    assert found is not None
    return found[1]


async def get(peer: Peer, page: str) -> Page:
    path = f"/cgi-bin/{page}"
    return await http(peer, peer.ports.web, path, headers=authorization(await fresh_nonce(peer), path))


async def post(peer: Peer, page: str, document: Any) -> Page:
    path = f"/cgi-bin/{page}"
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    headers = authorization(await fresh_nonce(peer), path, method="POST")
    return await http(peer, peer.ports.web, path, method="POST", headers=headers, body=body)


# -- login ---------------------------------------------------------------------------------------


async def test_without_login_the_answer_is_401_with_the_antminer_realm(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    peer = await start(make_machine("antminer-s19-pro"))
    page = await http(peer, peer.ports.web, "/")
    assert page.status == 401
    assert page.headers["www-authenticate"].startswith('Digest realm="antMiner Configuration", nonce="')
    assert 'qop="auth"' in page.headers["www-authenticate"]


async def test_the_response_computed_by_hand_is_let_in(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s19-pro"))
    assert (await get(peer, "get_miner_conf.cgi")).status == 200


async def test_a_wrong_password_is_not_called_stale(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s19-pro"))
    headers = authorization(await fresh_nonce(peer), CONF, password="wrong")
    page = await http(peer, peer.ports.web, CONF, headers=headers)
    assert page.status == 401
    assert "stale" not in page.headers["www-authenticate"]


async def test_the_owner_may_have_changed_the_password(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s19-pro"), username="root", password="hunter2")
    assert (await get(peer, "get_miner_conf.cgi")).status == 401
    headers = authorization(await fresh_nonce(peer), CONF, password="hunter2")
    assert (await http(peer, peer.ports.web, CONF, headers=headers)).status == 200


async def test_a_nonce_serves_again_with_a_higher_count(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s19-pro"))
    nonce = await fresh_nonce(peer)
    for count in (1, 2, 7):
        page = await http(peer, peer.ports.web, CONF, headers=authorization(nonce, CONF, nc=count))
        assert page.status == 200


async def test_a_repeated_count_is_stale(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s19-pro"))
    headers = authorization(await fresh_nonce(peer), CONF)
    await http(peer, peer.ports.web, CONF, headers=headers)
    page = await http(peer, peer.ports.web, CONF, headers=headers)
    assert page.status == 401
    assert "stale=true" in page.headers["www-authenticate"]


async def test_a_nonce_is_stale_after_ten_minutes_of_the_miners_time(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    peer = await start(make_machine("antminer-s19-pro"))
    headers = authorization(await fresh_nonce(peer), CONF)
    clock.advance(601)
    page = await http(peer, peer.ports.web, CONF, headers=headers)
    assert "stale=true" in page.headers["www-authenticate"]


async def test_a_response_for_another_page_is_refused(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s19-pro"))
    headers = authorization(await fresh_nonce(peer), "/cgi-bin/stats.cgi")
    assert (await http(peer, peer.ports.web, CONF, headers=headers)).status == 401


async def test_an_independent_client_logs_in_on_one_connection(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    peer = await start(make_machine("antminer-s19-pro"))
    auth = httpx.DigestAuth("root", "root")
    async with httpx.AsyncClient(base_url=f"http://{peer.address}:{peer.ports.web}", auth=auth) as client:
        replies = [await client.get(CONF) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [200, 200, 200]
    assert [len(reply.history) for reply in replies] == [1, 0, 0]


# -- pages ---------------------------------------------------------------------------------------


async def test_a_script_prints_a_blank_line_and_no_content_type(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    page = await get(await start(make_machine("antminer-s19-pro")), "get_blink_status.cgi")
    assert page.body == b'\n{"blink":false}\n'
    assert "content-type" not in page.headers


async def test_miner_type_is_404_on_a_2022_s19(make_machine: MakeMachine, start: StartPeer) -> None:
    assert (await get(await start(make_machine("antminer-s19-pro")), "miner_type.cgi")).status == 404


async def test_miner_type_of_an_s21(make_machine: MakeMachine, start: StartPeer) -> None:
    page = await get(await start(make_machine("antminer-s21"), layout="new"), "miner_type.cgi")
    assert set(page.json) == {"miner_type", "subtype", "fw_version"}
    assert page.json["miner_type"] == "Antminer S21"


async def test_system_info_has_a_serial_from_2024_on_only(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    old = (await get(await start(make_machine("antminer-s19-pro")), "get_system_info.cgi")).json
    new = (await get(await start(make_machine("antminer-s21"), layout="new"), "get_system_info.cgi")).json
    keys = {"minertype", "nettype", "netdevice", "macaddr", "hostname", "ipaddress", "netmask", "gateway"}
    keys |= {
        "dnsservers",
        "system_mode",
        "system_kernel_version",
        "system_filesystem_version",
        "firmware_type",
    }
    assert set(old) == keys
    assert set(new) == keys | {"serinum"}
    assert (old["minertype"], old["macaddr"]) == ("Antminer S19 Pro", "00:1A:2B:3C:4D:5E")


async def test_network_info_adds_the_configured_values(make_machine: MakeMachine, start: StartPeer) -> None:
    info = (await get(await start(make_machine("antminer-s21")), "get_network_info.cgi")).json
    assert info["macaddr"] == "00:1A:2B:3C:4D:5E"
    assert {"conf_nettype", "conf_hostname", "conf_ipaddress", "conf_netmask", "conf_gateway"} < set(info)


@pytest.mark.parametrize(
    ("page", "key"),
    [
        ("stats.cgi", "STATS"),
        ("summary.cgi", "SUMMARY"),
        ("pools.cgi", "POOLS"),
        ("chart.cgi", "RATE"),
        ("warning.cgi", "WARNING"),
    ],
)
async def test_figures_on_the_web_are_those_of_the_new_api(
    make_machine: MakeMachine, start: StartPeer, page: str, key: str
) -> None:
    reply = (await get(await start(make_machine("antminer-s19-pro")), page)).json
    assert reply["STATUS"]["api_version"] == "1.0.0"
    assert key in reply


async def test_the_whole_file_is_shown_by_2022_firmware(make_machine: MakeMachine, start: StartPeer) -> None:
    conf = (await get(await start(make_machine("antminer-s19-pro")), "get_miner_conf.cgi")).json
    assert set(conf) == {
        "pools", "api-listen", "api-network", "api-groups", "api-allow", "bitmain-fan-ctrl",
        "bitmain-fan-pwm", "bitmain-use-vil", "bitmain-freq", "bitmain-voltage", "bitmain-ccdelay",
        "bitmain-pwth", "bitmain-work-mode", "bitmain-freq-level",
    }  # fmt: skip
    assert conf["bitmain-work-mode"] == "0"
    assert conf["pools"][0] == {"url": POOLS[0].url, "user": POOLS[0].user, "pass": POOLS[0].password}
    assert len(conf["pools"]) == 3


async def test_a_selection_is_shown_by_2024_firmware_with_null_for_what_it_has_not(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    conf = (await get(await start(make_machine("antminer-s21"), layout="new"), "get_miner_conf.cgi")).json
    assert set(conf) == {
        "pools", "bitmain-fan-ctrl", "bitmain-fan-pwm", "bitmain-work-mode", "bitmain-hashrate-percent",
    }  # fmt: skip
    assert conf["bitmain-hashrate-percent"] is None


async def test_the_range_of_hashrate_percent_is_given_as_strings_where_offered(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    peer = await start(make_machine("antminer-s21"), layout="new", offers_hashrate_percent=True)
    page = await get(peer, "get_adjustment_params.cgi")
    assert page.json == {"hashrate_percent_min": "65", "hashrate_percent_max": "100"}


async def test_the_range_is_404_where_not_offered(make_machine: MakeMachine, start: StartPeer) -> None:
    assert (await get(await start(make_machine("antminer-s21")), "get_adjustment_params.cgi")).status == 404


async def test_the_web_lives_while_the_mining_process_restarts(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    machine = make_machine("antminer-s19-pro")
    peer = await start(machine)
    machine.restart_mining()
    clock.advance(1)
    assert (await get(peer, "stats.cgi")).json["STATS"] == []


async def test_the_web_is_reset_while_the_board_boots(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    machine = make_machine("antminer-s19-pro")
    peer = await start(machine)
    machine.reboot()
    clock.advance(1)
    with pytest.raises(ConnectionError):
        await http(peer, peer.ports.web, "/")


# -- writes --------------------------------------------------------------------------------------


async def test_miner_mode_changes_the_mode_and_restarts(make_machine: MakeMachine, start: StartPeer) -> None:
    machine = make_machine("antminer-s19-pro")
    peer = await start(machine)
    page = await post(peer, "set_miner_conf.cgi", {"miner-mode": 1})
    assert page.json == {"stats": "success", "code": "M000", "msg": "OK!"}
    assert machine.state().work_mode == "sleep"
    assert not machine.state().process_up
    assert (await get(peer, "get_miner_conf.cgi")).json["bitmain-work-mode"] == "1"


async def test_a_mode_change_changes_nothing_else_in_the_file(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    peer = await start(make_machine("antminer-s19-pro"))
    before = (await get(peer, "get_miner_conf.cgi")).json
    await post(peer, "set_miner_conf.cgi", {"miner-mode": 3})
    after = (await get(peer, "get_miner_conf.cgi")).json
    assert after == before | {"bitmain-work-mode": "3"}


async def test_miner_mode_may_be_a_string(make_machine: MakeMachine, start: StartPeer) -> None:
    machine = make_machine("antminer-s19-pro")
    await post(await start(machine), "set_miner_conf.cgi", {"miner-mode": "3"})
    assert machine.state().work_mode == "low"


async def test_mode_2_is_the_efficient_one_on_the_s19k_pro(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    machine = make_machine("antminer-s19k-pro")
    await post(await start(machine), "set_miner_conf.cgi", {"miner-mode": 2})
    assert machine.state().work_mode == "efficient"


async def test_bitmain_work_mode_is_acknowledged_and_changes_nothing(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    machine = make_machine("antminer-s19-pro")
    page = await post(await start(machine), "set_miner_conf.cgi", {"bitmain-work-mode": "1"})
    assert page.json["code"] == "M000"
    assert machine.state().work_mode == "normal"


async def test_an_unchanged_mode_keeps_on_hashing(make_machine: MakeMachine, start: StartPeer) -> None:
    machine = make_machine("antminer-s19-pro")
    before = machine.state()
    await post(await start(machine), "set_miner_conf.cgi", {"miner-mode": 0})
    assert machine.state().phase == "stable"
    assert machine.state().elapsed_s == before.elapsed_s


async def test_pools_that_are_not_sent_stay(make_machine: MakeMachine, start: StartPeer) -> None:
    machine = make_machine("antminer-s19-pro")
    await post(await start(machine), "set_miner_conf.cgi", {"miner-mode": 0})
    assert tuple(machine.pools) == POOLS


async def test_blank_pools_overwrite_and_missing_ones_stay(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    machine = make_machine("antminer-s19-pro")
    sent = [{"url": "", "user": "", "pass": ""}, {"user": "new.worker"}]
    await post(await start(machine), "set_miner_conf.cgi", {"pools": sent})
    assert machine.pools == [
        PoolEntry("", "", ""),
        PoolEntry(POOLS[1].url, "new.worker", POOLS[1].password),
        POOLS[2],
    ]


async def test_hashrate_percent_is_set_where_offered(make_machine: MakeMachine, start: StartPeer) -> None:
    machine = make_machine("antminer-s21")
    peer = await start(machine, layout="new", offers_hashrate_percent=True)
    await post(peer, "set_miner_conf.cgi", {"miner-mode": 0, "bitmain-hashrate-percent": "80"})
    assert machine.state().hashrate_percent == 80
    assert (await get(peer, "get_miner_conf.cgi")).json["bitmain-hashrate-percent"] == "80"


async def test_a_write_without_the_percent_drops_it_from_the_file(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    machine = make_machine("antminer-s21")
    peer = await start(machine, layout="new", offers_hashrate_percent=True)
    await post(peer, "set_miner_conf.cgi", {"bitmain-hashrate-percent": "80"})
    await post(peer, "set_miner_conf.cgi", {"miner-mode": 0})
    assert machine.state().hashrate_percent == 100
    assert (await get(peer, "get_miner_conf.cgi")).json["bitmain-hashrate-percent"] is None


async def test_hashrate_percent_is_ignored_where_not_offered(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    machine = make_machine("antminer-s21")
    page = await post(await start(machine), "set_miner_conf.cgi", {"bitmain-hashrate-percent": "80"})
    assert page.json["code"] == "M000"
    assert machine.state().hashrate_percent == 100


async def test_fan_keys_that_are_not_sent_fall_back_to_the_scripts_defaults(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    machine = make_machine("antminer-s19-pro")
    peer = await start(machine)
    await post(peer, "set_miner_conf.cgi", {"bitmain-fan-ctrl": True, "bitmain-fan-pwm": "60"})
    assert (machine.state().fan_manual, machine.state().fan_pwm) == (True, 60)
    await post(peer, "set_miner_conf.cgi", {"miner-mode": 0})
    assert (machine.state().fan_manual, machine.state().fan_pwm) == (False, 100)


async def test_a_body_that_is_not_json_is_an_illegal_request(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    machine = make_machine("antminer-s19-pro")
    page = await post(await start(machine), "set_miner_conf.cgi", b"miner-mode=1")
    assert (page.json["code"], page.json["msg"]) == ("M001", "Illegal request!")
    assert machine.state().work_mode == "normal"


async def test_a_second_write_during_a_slow_one_finds_the_request_busy(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    machine = make_machine("antminer-s19-pro")
    release = asyncio.Event()
    waiting = asyncio.Event()

    async def held(seconds: float) -> None:
        assert seconds == 21.0
        waiting.set()
        await release.wait()

    clock.sleep = held  # type: ignore[method-assign]
    peer = await start(machine, conf_reply_s=21.0)
    first = asyncio.create_task(post(peer, "set_miner_conf.cgi", {"miner-mode": 0}))
    await waiting.wait()
    second = await post(peer, "set_miner_conf.cgi", {"miner-mode": 1})
    release.set()
    assert (second.json["code"], second.json["msg"]) == ("M001", "request busy")
    assert (await first).json["code"] == "M000"
    assert machine.state().work_mode == "normal"


async def test_a_stuck_lock_makes_every_write_busy(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s19-pro"), faults=Faults(config_locked=True))
    assert (await post(peer, "set_miner_conf.cgi", {"miner-mode": 1})).json["msg"] == "request busy"


@pytest.mark.parametrize(
    ("sent", "code", "blinking"),
    [({"blink": "true"}, "B000", True), ({"blink": True}, "B000", True), ({"blink": False}, "B100", False)],
)
async def test_blink(
    make_machine: MakeMachine, start: StartPeer, sent: dict[str, Any], code: str, blinking: bool
) -> None:
    peer = await start(make_machine("antminer-s19-pro"))
    assert (await post(peer, "blink.cgi", sent)).json == {"code": code}
    assert (await get(peer, "get_blink_status.cgi")).json == {"blink": blinking}


async def test_blink_refuses_other_values(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s19-pro"))
    assert (await post(peer, "blink.cgi", {"blink": "perhaps"})).json == {"code": "B001"}


async def test_reboot_answers_text_and_takes_the_ports_down(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    machine = make_machine("antminer-s19-pro")
    page = await get(await start(machine), "reboot.cgi")
    assert page.body.strip() == b"Status 200"
    assert machine.state().phase == "booting"


# -- bounds --------------------------------------------------------------------------------------


async def test_a_body_over_the_limit_is_refused(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s19-pro"))
    page = await http(peer, peer.ports.web, "/", method="POST", headers={"Content-Length": "999999999"})
    assert page.status == 413


async def test_endless_headers_are_refused(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s19-pro"))
    page = await http(peer, peer.ports.web, "/", headers={"X": "y" * 100_000})
    assert page.status == 413


@pytest.mark.parametrize("path", ["/cgi-bin/nothing.cgi", "/etc/passwd", "/cgi-bin/../secret"])
async def test_other_paths_are_404(make_machine: MakeMachine, start: StartPeer, path: str) -> None:
    peer = await start(make_machine("antminer-s19-pro"))
    page = await http(peer, peer.ports.web, path, headers=authorization(await fresh_nonce(peer), path))
    assert page.status == 404

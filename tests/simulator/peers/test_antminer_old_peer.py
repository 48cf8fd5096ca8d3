"""Simulated S9, S17 and T17: one configuration behind 4028, the web form and SSH, read when mining starts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import asyncssh
import pytest

from agent.clock import ManualClock
from simulator.farm import load_farm, run_farm
from simulator.machine import Machine, PoolEntry
from simulator.peers import Faults, Peer, PeerOptions, PeerPorts, serve
from simulator.peers.antminer_old.conf import S9_LAYOUT, S17_LAYOUT, read_start
from simulator.peers.antminer_old.files import MAX_FILE_BYTES, MAX_FILES, FileError, Files
from simulator.peers.antminer_old.grammar import ShellSyntaxError, parse
from tests.simulator.peers.conftest import POOLS, START, MakeMachine, StartPeer
from tests.simulator.peers.test_antminer_web import get, post
from tests.simulator.peers.wire import ask, ask_json, http

BMMINER = "/config/bmminer.conf"
CGMINER = "/config/cgminer.conf"
RESTART = {
    "antminer-s9": "/etc/init.d/bmminer.sh restart",
    "antminer-s17-pro": "/etc/init.d/cgminer.sh restart",
}
FIELDS = {
    "_ant_pool1url": "stratum+tcp://new.example:3333",
    "_ant_pool1user": "new.worker",
    "_ant_pool1pw": "pw",
    "_ant_pool2url": "",
    "_ant_pool2user": "",
    "_ant_pool2pw": "",
    "_ant_pool3url": "",
    "_ant_pool3user": "",
    "_ant_pool3pw": "",
    "_ant_nobeeper": "false",
    "_ant_notempoverctrl": "false",
    "_ant_fan_customize_switch": "false",
    "_ant_fan_customize_value": "",
    "_ant_freq": "550",
    "_ant_voltage": "900",
    "_ant_work_mode": "0",
}


@asynccontextmanager
async def login(peer: Peer, password: str = "admin", username: str = "root") -> AsyncIterator[Any]:
    """An SSH session by an independent client."""
    async with asyncio.timeout(10):
        connection = await asyncssh.connect(
            peer.address,
            peer.ports.ssh,
            username=username,
            password=password,
            known_hosts=None,
            config=None,
            client_keys=None,
            agent_path=None,
            preferred_auth="password",
        )
    try:
        yield connection
    finally:
        connection.abort()
        await connection.wait_closed()


async def run(peer: Peer, command: str, stdin: str | None = None, **words: str) -> tuple[int, str, str]:
    """Status, standard output and standard error of one command in a session of its own."""
    async with login(peer, **words) as connection, asyncio.timeout(10):
        done = await connection.run(command, input=stdin, check=False)
    return done.exit_status, done.stdout, done.stderr


def form(**changes: str) -> bytes:
    return urlencode(FIELDS | {f"_ant_{name}": value for name, value in changes.items()}).encode()


async def rewrite(peer: Peer, path: str, **changes: Any) -> dict[str, Any]:
    """Change keys of a file over SSH as a careful client would: write beside it, then rename."""
    _, text, _ = await run(peer, f"cat {path}")
    wanted = json.loads(text) | changes
    status, _, errors = await run(peer, f"cat > {path}.new && mv {path}.new {path}", json.dumps(wanted))
    assert (status, errors) == (0, "")
    return wanted


def settle(machine: Machine, clock: ManualClock) -> None:
    clock.advance(3600)
    machine.state()


# -- what it is ----------------------------------------------------------------------------------


async def test_the_s9_says_what_it_is(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s9"), "127.32.1.1", firmware="old")
    raw = await ask(peer, b'{"command":"version"}')
    assert raw.endswith(b"}\x00")
    row = json.loads(raw[:-1])["VERSION"][0]
    assert (row["Type"], row["Miner"]) == ("Antminer S9", "16.8.1.3")


async def test_stock_firmware_of_an_s9_is_the_old_one(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s9"), "127.32.1.2", firmware="stock")
    assert (await run(peer, "test -f /config/bmminer.conf"))[0] == 0


@pytest.mark.parametrize("model", ["antminer-s9", "antminer-s17-pro", "antminer-t17"])
async def test_there_is_no_new_api_and_no_6060(
    make_machine: MakeMachine, start: StartPeer, model: str
) -> None:
    peer = await start(make_machine(model), "127.32.1.3", firmware="old")
    reply = json.loads((await ask(peer, b'{"command":"summary","new_api":true}')).rstrip(b"\x00"))
    assert isinstance(reply["STATUS"], list)
    assert "GHS 5s" in reply["SUMMARY"][0]
    assert peer.ports.status == 0


async def test_s17_stats_lack_the_comma_too_and_use_slots_from_one(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    raw = await ask(
        await start(make_machine("antminer-s17-pro"), "127.32.1.4", firmware="old"), b'{"command":"stats"}'
    )
    assert b"}{" in raw
    row = json.loads(raw.replace(b"}{", b"},{"))["STATS"][1]
    assert [slot for slot in range(1, 5) if row[f"chain_acn{slot}"]] == [1, 2, 3]


async def test_no_reply_knows_a_power(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s9"), "127.32.1.5", firmware="old")
    replies = [await ask(peer, json.dumps({"command": name}).encode()) for name in ("stats", "summary")]
    assert not any(word in reply.lower() for reply in replies for word in (b"power", b"watt"))


async def test_system_info_names_model_mac_and_firmware(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s9"), "127.32.1.6", firmware="old")
    info = (await get(peer, "get_system_info.cgi")).json
    assert (info["minertype"], info["macaddr"]) == ("Antminer S9", "00:1A:2B:3C:4D:5E")
    assert info["system_filesystem_version"] == "Fri Nov 17 17:57:49 CST 2017"
    assert (await get(peer, "get_network_info.cgi")).json["macaddr"] == info["macaddr"]
    assert (await get(peer, "miner_type.cgi")).status == 404


async def test_figures_on_the_web_are_those_of_4028(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s17-pro"), "127.32.1.7", firmware="old")
    assert (await get(peer, "miner_summary.cgi")).body.strip() == await ask(peer, b'{"command":"summary"}')


async def test_blink_takes_a_form(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s9"), "127.32.1.8", firmware="old")
    assert (await post(peer, "blink.cgi", b"action=startBlink")).json == {"startBlink": True}
    assert (await post(peer, "blink.cgi", b"action=onPageLoaded")).json == {"isBlinking": True}
    assert (await post(peer, "blink.cgi", b"action=stopBlink")).json == {"stopBlink": True}


async def test_reboot_from_the_web_takes_every_port_down(make_machine: MakeMachine, start: StartPeer) -> None:
    machine = make_machine("antminer-s9")
    peer = await start(machine, "127.32.1.9", firmware="old")
    await get(peer, "reboot.cgi")
    assert machine.state().phase == "booting"
    with pytest.raises((OSError, asyncssh.Error)):
        await run(peer, "true")


# -- one configuration ---------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "path"), [("antminer-s9", BMMINER), ("antminer-s17-pro", CGMINER)])
async def test_the_form_and_the_file_are_the_same_configuration(
    make_machine: MakeMachine, start: StartPeer, model: str, path: str
) -> None:
    peer = await start(make_machine(model), "127.32.2.1", firmware="old")
    page = await post(peer, "set_miner_conf.cgi", form())
    assert page.body.strip() == b"ok"
    _, text, _ = await run(peer, f"cat {path}")
    assert (await get(peer, "get_miner_conf.cgi")).body.decode().strip() == text.strip()
    conf = json.loads(text)
    assert (conf["bitmain-freq"], conf["bitmain-voltage"]) == ("550", "900")
    assert conf["pools"][0] == {"url": FIELDS["_ant_pool1url"], "user": "new.worker", "pass": "pw"}


async def test_what_ssh_writes_the_page_shows(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s9"), "127.32.2.2", firmware="old")
    wanted = await rewrite(peer, BMMINER, **{"bitmain-freq": "500"})
    assert (await get(peer, "get_miner_conf.cgi")).json == wanted


async def test_the_form_loses_the_keys_it_does_not_carry(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s9"), "127.32.2.3", firmware="old")
    await rewrite(peer, BMMINER, **{"owners-key": "kept?", "bitmain-fan-ctrl": True, "bitmain-fan-pwm": "70"})
    await post(peer, "set_miner_conf.cgi", form())
    conf = (await get(peer, "get_miner_conf.cgi")).json
    assert not {"owners-key", "bitmain-fan-ctrl", "bitmain-fan-pwm"} & set(conf)


async def test_a_short_form_wipes_the_pools_it_omits(make_machine: MakeMachine, start: StartPeer) -> None:
    machine = make_machine("antminer-s9")
    peer = await start(machine, "127.32.2.4", firmware="old")
    body = b"_ant_pool1url=stratum%2Btcp%3A%2F%2Fnew.example%3A3333&_ant_pool1user=w&_ant_pool1pw="
    await post(peer, "set_miner_conf.cgi", body)
    assert machine.pools == [
        PoolEntry("stratum+tcp://new.example:3333", "w", ""),
        *[PoolEntry("", "", "")] * 2,
    ]


async def test_the_form_is_read_by_position_and_not_by_name(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    peer = await start(make_machine("antminer-s9"), "127.32.2.5", firmware="old")
    await post(peer, "set_miner_conf.cgi", b"_ant_pool1user=w&_ant_pool1url=u")
    pool = (await get(peer, "get_miner_conf.cgi")).json["pools"][0]
    assert (pool["url"], pool["user"]) == ("_ant_pool1user=w", "_ant_pool1url=u")


async def test_the_form_decodes_only_the_codes_its_script_knows(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    peer = await start(make_machine("antminer-s9"), "127.32.2.6", firmware="old")
    await post(peer, "set_miner_conf.cgi", b"_ant_pool1url=a%3Ab&_ant_pool1user=c%20d&_ant_pool1pw=e+f%3a")
    pool = (await get(peer, "get_miner_conf.cgi")).json["pools"][0]
    assert pool == {"url": "a:b", "user": "c%20d", "pass": "e f%3a"}


async def test_an_empty_frequency_in_the_form_is_the_factorys_on_the_s17(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    peer = await start(make_machine("antminer-s17-pro"), "127.32.2.7", firmware="old")
    await rewrite(peer, CGMINER, **{"bitmain-freq": "500"})
    await post(peer, "set_miner_conf.cgi", form(freq="", voltage="", work_mode=""))
    conf = (await get(peer, "get_miner_conf.cgi")).json
    assert (conf["bitmain-freq"], conf["bitmain-voltage"], conf["bitmain-work-mode"]) == ("675", "1700", "0")


async def test_the_t17_keeps_pools_and_tuning_in_two_files(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    machine = make_machine("antminer-t17")
    peer = await start(machine, "127.32.2.8", firmware="old")
    pools = json.loads((await run(peer, f"cat {CGMINER}"))[1])
    assert "pools" in pools
    assert "bitmain-freq" not in pools
    await rewrite(peer, BMMINER, **{"bitmain-freq": "480"})
    assert (await get(peer, "get_miner_conf.cgi")).json["bitmain-freq"] == "480"
    await run(peer, "/etc/init.d/cgminer.sh restart")
    settle(machine, clock)
    assert machine.state().frequency_mhz == pytest.approx(480, rel=0.01)
    assert tuple(machine.pools) == POOLS


# -- the mining process --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "path", "wanted"), [("antminer-s9", BMMINER, 520), ("antminer-s17-pro", CGMINER, 540)]
)
async def test_a_changed_file_does_nothing_until_the_restart(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock, model: str, path: str, wanted: int
) -> None:
    machine = make_machine(model)
    peer = await start(machine, "127.32.3.1", firmware="old")
    before = machine.state()
    await rewrite(peer, path, **{"bitmain-freq": str(wanted)})
    settle(machine, clock)
    assert machine.state().frequency_mhz == before.frequency_mhz
    assert machine.state().elapsed_s == before.elapsed_s + 3600
    status, out, _ = await run(peer, RESTART[model])
    assert (status, out.startswith("Restarting ")) == (0, True)
    assert not machine.state().process_up
    settle(machine, clock)
    after = machine.state()
    assert after.frequency_mhz == pytest.approx(wanted, rel=0.01)
    assert after.hashrate_30m_ths == pytest.approx(
        before.hashrate_30m_ths * wanted / before.frequency_mhz, rel=0.03
    )
    assert after.power_w < before.power_w


async def test_4028_is_reset_during_the_restart_window(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    machine = make_machine("antminer-s9")
    peer = await start(machine, "127.32.3.2", firmware="old")
    await run(peer, RESTART["antminer-s9"])
    with pytest.raises(ConnectionError):
        await ask(peer, b'{"command":"stats"}')
    clock.advance(machine.spec.timing.restart_gap_s + 1)
    assert json.loads((await ask(peer, b'{"command":"stats"}')).rstrip(b"\x00"))["STATS"] == []


async def test_pools_of_the_file_show_after_the_restart(make_machine: MakeMachine, start: StartPeer) -> None:
    machine = make_machine("antminer-s17-pro")
    peer = await start(machine, "127.32.3.3", firmware="old")
    pool = {"url": "stratum+tcp://other.example:1", "user": "me", "pass": "x"}
    await rewrite(peer, CGMINER, pools=[pool])
    assert (await ask_json(peer, command="pools"))["POOLS"][0]["URL"] == POOLS[0].url
    await run(peer, RESTART["antminer-s17-pro"])
    assert machine.pools[0] == PoolEntry("stratum+tcp://other.example:1", "me", "x")


async def test_a_file_that_is_not_json_keeps_mining_down_until_a_start_finds_it_mended(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    machine = make_machine("antminer-s9")
    peer = await start(machine, "127.32.3.4", firmware="old")
    await run(peer, f"cp {BMMINER} {BMMINER}.bak; head -c 100 {BMMINER}.bak > {BMMINER}; sync")
    assert machine.state().phase == "stable"
    await run(peer, RESTART["antminer-s9"])
    settle(machine, clock)
    assert machine.state().hashrate_ths == 0.0
    assert machine.state().power_w == machine.spec.standby_w
    with pytest.raises(ConnectionError):
        await ask(peer, b'{"command":"summary"}')
    assert (await get(peer, "miner_summary.cgi")).body.strip() == b"Socket connect failed: Connection refused"
    await run(peer, f"mv {BMMINER}.bak {BMMINER}")
    settle(machine, clock)
    assert machine.state().hashrate_ths == 0.0
    await run(peer, RESTART["antminer-s9"])
    settle(machine, clock)
    assert machine.state().phase == "stable"
    assert await ask(peer, b'{"command":"summary"}')


async def test_a_reboot_does_not_mend_a_broken_file_but_reads_a_mended_one(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    machine = make_machine("antminer-s17-pro")
    peer = await start(machine, "127.32.3.5", firmware="old")
    await run(peer, f"cp {CGMINER} /config/kept; echo '{{' > {CGMINER}; echo lost > /tmp/lost; reboot")
    settle(machine, clock)
    assert machine.state().hashrate_ths == 0.0
    assert (await run(peer, "ls /tmp /config"))[1].split() == [
        "/tmp:", "/config:", "cgminer.conf", "kept", "network.conf",
    ]  # fmt: skip
    await run(peer, f"mv /config/kept {CGMINER} && reboot")
    settle(machine, clock)
    assert machine.state().phase == "stable"


async def test_a_power_cut_makes_it_read_the_file(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    machine = make_machine("antminer-s9")
    peer = await start(machine, "127.32.3.6", firmware="old")
    await rewrite(peer, BMMINER, **{"bitmain-freq": "450"})
    machine.cut_power()
    clock.advance(60)
    machine.restore_power()
    settle(machine, clock)
    assert machine.state().frequency_mhz == pytest.approx(450, rel=0.01)


async def test_a_stopped_process_stays_down_and_start_brings_it_back(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    machine = make_machine("antminer-s9")
    peer = await start(machine, "127.32.3.7", firmware="old")
    await run(peer, "/etc/init.d/bmminer.sh stop")
    settle(machine, clock)
    assert machine.state().hashrate_ths == 0.0
    await run(peer, "/etc/init.d/bmminer.sh start")
    settle(machine, clock)
    assert machine.state().phase == "stable"


async def test_a_lower_voltage_saves_power_at_the_same_frequency(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    machine = make_machine("antminer-s9")
    peer = await start(machine, "127.32.3.8", firmware="old")
    before = machine.state()
    await rewrite(peer, BMMINER, **{"bitmain-voltage": "864"})
    await run(peer, RESTART["antminer-s9"])
    settle(machine, clock)
    after = machine.state()
    assert after.frequency_mhz == before.frequency_mhz
    assert after.power_w / before.power_w == pytest.approx((864 / 910) ** 2, rel=0.03)


@pytest.mark.parametrize(("mode", "phase"), [("254", "sleep"), ("0", "stable")])
async def test_work_mode_254_is_sleep_on_the_s17(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock, mode: str, phase: str
) -> None:
    machine = make_machine("antminer-s17-pro")
    peer = await start(machine, "127.32.3.9", firmware="old")
    await post(peer, "set_miner_conf.cgi", form(work_mode=mode))
    settle(machine, clock)
    assert machine.state().phase == phase


POOL = {"url": "stratum+tcp://p:1", "user": "u", "pass": "x"}


@pytest.mark.parametrize(
    ("value", "share"),
    [
        ("650", 1.0), ("325", 0.5), (650, 1.0), ("5000", 1.2), ("1", 0.3), ("O", 1.0), ("", 1.0), ("0", 1.0),
        ("18:218.75:1106", 1.0), (None, 1.0), ("1e9", 1.0), ("-650", 1.0), (["650"], 1.0),
    ],
)  # fmt: skip
def test_a_frequency_is_held_to_what_the_model_takes(value: object, share: float) -> None:
    conf = json.dumps({"pools": [POOL], "bitmain-freq": value}).encode()
    begun = read_start(S9_LAYOUT, [conf], 650.0, 9.1)
    assert begun is not None
    assert begun.frequency_share == share


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{", b"[]", b"null", b'"x"', b"{}", b'{"pools": {}}', b'{"pools": [{"url": ""}]}', b"\xff\xfe",
        b"[" * 5000, b'{"pools": [7, null]}',
    ],
)  # fmt: skip
def test_the_process_does_not_start_from_such_a_file(text: bytes) -> None:
    assert read_start(S17_LAYOUT, [text], 675.0, 17.0) is None


async def test_without_api_listen_it_mines_and_4028_is_dead(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    machine = make_machine("antminer-s9")
    peer = await start(machine, "127.32.3.10", firmware="old")
    await rewrite(peer, BMMINER, **{"api-listen": False})
    await run(peer, RESTART["antminer-s9"])
    settle(machine, clock)
    assert machine.state().phase == "stable"
    with pytest.raises(ConnectionError):
        await ask(peer, b'{"command":"summary"}')


# -- SSH -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "status", "out"),
    [
        ("uname -s", 0, "Linux\n"),
        ("true && echo a || echo b; echo c", 0, "a\nc\n"),
        ("false && echo a || echo b", 0, "b\n"),
        ("false; echo $?", 0, "1\n"),
        ("! false && echo yes", 0, "yes\n"),
        ("[ -f /config/bmminer.conf ] && [ ! -e /nothing ] && echo both", 0, "both\n"),
        ("test -s /config/bmminer.conf -a", 2, ""),
        ("echo 'a  b;' \"c|\" d\\ e", 0, "a  b; c| d e\n"),
        ("echo one > /tmp/x; echo two >> /tmp/x; cat < /tmp/x | wc -l", 0, "2\n"),
        ("cat /nothing 2>/dev/null || echo gone", 0, "gone\n"),
        ("cat /nothing 2>&1 | head -n 1", 0, "cat: can't open '/nothing': No such file or directory\n"),
        ("echo -n abc | md5sum", 0, "900150983cd24fb0d6963f7d28e17f72  -\n"),
        ("cd /config && ls -1 && pwd", 0, "bmminer.conf\nnetwork.conf\n/config\n"),
        ("set -e\nfalse\necho never", 1, ""),
        ("rm -f /nothing && mkdir -p /config/a/b && touch /config/a/b/c && ls /config/a/b", 0, "c\n"),
        ("cp /config/network.conf /tmp/n && cmp -s /config/network.conf /tmp/n && echo same", 0, "same\n"),
        ("echo x # a remark\n\necho y &", 0, "x\ny\n"),
        ("sh -c 'echo inner; exit 3'", 3, "inner\n"),
        ("md5sum /config/network.conf | cut -d ' ' -f 2-", 0, " /config/network.conf\n"),
        ("exit 7; echo never", 7, ""),
    ],
)
async def test_the_shell_does_what_ash_does(
    make_machine: MakeMachine, start: StartPeer, line: str, status: int, out: str
) -> None:
    peer = await start(make_machine("antminer-s9"), "127.32.4.1", firmware="old")
    assert (await run(peer, line))[:2] == (status, out)


@pytest.mark.parametrize(
    ("line", "status", "complaint"),
    [
        ("vi /config/bmminer.conf", 127, "sh: vi: not found"),
        ("/etc/init.d/nothing.sh restart", 127, "sh: /etc/init.d/nothing.sh: not found"),
        ("/config/bmminer.conf", 126, "sh: /config/bmminer.conf: Permission denied"),
        ("/etc/init.d/bmminer.sh dance", 1, "Usage: "),
        ("echo 'open", 2, "sh: syntax error: unterminated quoted string"),
        ("echo a &&", 2, "sh: syntax error: unexpected end of file"),
        ("; echo a", 2, 'sh: syntax error: unexpected ";"'),
        ("echo $HOME", 2, "sh: syntax error"),
        ("echo `date`", 2, "sh: syntax error"),
        ("X=1 echo a", 2, "sh: X: variables are not supported"),
        ("ls /config/*", 2, "sh: syntax error"),
        ("for f in a b; do echo; done", 2, "sh: syntax error"),
        ("if true; then echo a; fi", 2, "sh: syntax error"),
        ("(echo a)", 2, "sh: syntax error"),
        ("cat > /nowhere/file", 1, "sh: can't create /nowhere/file: nonexistent directory"),
        ("rm /config/nothing", 1, "rm: can't remove '/config/nothing': No such file or directory"),
        ("mv /config/nothing /config/x", 1, "mv: can't rename '/config/nothing'"),
        ("cp -Z a b", 1, "cp: invalid option -- 'Z'"),
        ("scp -t /config", 127, "sh: scp: not found"),
    ],
)
async def test_what_the_shell_cannot_do_it_says(
    make_machine: MakeMachine, start: StartPeer, line: str, status: int, complaint: str
) -> None:
    peer = await start(make_machine("antminer-s9"), "127.32.4.2", firmware="old")
    got, _, errors = await run(peer, line)
    assert got == status
    assert errors.startswith(complaint)


@pytest.mark.parametrize(
    "line", ["\\", "'", "a >", "|", "a | ", "(", ")", "if", "if a; then", "{", "!", "&&"]
)
def test_half_a_line_is_a_syntax_error(line: str) -> None:
    with pytest.raises(ShellSyntaxError):
        parse(line)


async def test_lines_can_be_typed_one_by_one(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s9"), "127.32.4.3", firmware="old")
    async with login(peer) as connection, asyncio.timeout(10):
        done = await connection.run(input="cd /config\npwd\nexit 4\necho never\n", check=False)
    assert (done.exit_status, done.stdout) == (4, "/config\n")


async def test_a_wrong_password_is_refused(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s9"), "127.32.4.4", firmware="old")
    for words in ({"password": "root"}, {"username": "admin"}):
        with pytest.raises(asyncssh.PermissionDenied):
            await run(peer, "true", **words)


async def test_the_ssh_password_is_not_that_of_the_page(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(
        make_machine("antminer-s9"), "127.32.4.5", firmware="old", password="page", ssh_password="shell"
    )
    with pytest.raises(asyncssh.PermissionDenied):
        await run(peer, "true", password="page")
    assert (await run(peer, "true", password="shell"))[0] == 0


async def test_it_offers_what_an_old_dropbear_does(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s9"), "127.32.4.6", firmware="old")
    async with login(peer) as connection:
        assert connection.get_extra_info("server_version").startswith("SSH-2.0-dropbear_20")
        assert connection.get_server_host_key().get_algorithm() == "ssh-rsa"
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.start_sftp_client()


async def test_the_host_key_is_the_same_on_every_unit(make_machine: MakeMachine, start: StartPeer) -> None:
    keys = []
    for host in (7, 8):
        peer = await start(make_machine("antminer-s9"), f"127.32.4.{host}", firmware="old")
        async with login(peer) as connection:
            keys.append(connection.get_server_host_key().get_fingerprint())
    assert keys[0] == keys[1]


async def test_a_fifth_session_is_turned_away(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s9"), "127.32.4.9", firmware="old")
    async with login(peer), login(peer), login(peer):
        async with login(peer):
            with pytest.raises((OSError, asyncssh.Error)):
                await run(peer, "true")
        assert (await run(peer, "true"))[0] == 0


async def test_a_file_has_a_largest_size(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s9"), "127.32.4.10", firmware="old")
    status, _, errors = await run(peer, "cat > /config/big", "x" * (MAX_FILE_BYTES + 1))
    assert (status, errors) == (1, "cat: write error: No space left on device\n")
    assert (await run(peer, "wc -c /config/big"))[1].startswith(str(MAX_FILE_BYTES))


def test_there_are_no_more_files_than_fit() -> None:
    files = Files({})
    for number in range(MAX_FILES):
        files.write(f"/config/{number}", b"")
    with pytest.raises(FileError, match="No space left"):
        files.write("/config/more", b"")
    files.write("/config/0", b"changed")


async def test_a_connection_that_breaks_leaves_half_a_file(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    peer = await start(make_machine("antminer-s9"), "127.32.4.11", firmware="old")
    async with login(peer) as connection:
        process = await connection.create_process("cat > /config/half; echo done > /config/after")
        process.stdin.write("begun")
        await process.stdin.drain()
        # An answer on the same connection shows that what was sent before has arrived.
        await connection.run("true")
        connection.abort()
    async with asyncio.timeout(5):
        while (await run(peer, "cat /config/after"))[0] != 0:
            pass
    assert (await run(peer, "cat /config/half"))[1] == "begun"


async def test_a_closed_peer_leaves_no_session_behind(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s9"), "127.32.4.12", firmware="old")
    async with login(peer) as connection:
        process = await connection.create_process("cat > /config/open")
        before = asyncio.all_tasks()
        async with asyncio.timeout(5):
            await peer.close()
            await connection.wait_closed()
        assert process.exit_status is None
        assert not {task for task in asyncio.all_tasks() - before if not task.done()}


# -- faults --------------------------------------------------------------------------------------


async def test_an_unplugged_unit_refuses_ssh(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s9"), "127.32.5.1", firmware="old")
    await peer.set_faults(Faults(unplugged=True))
    with pytest.raises(ConnectionRefusedError):
        await run(peer, "true")


async def test_a_hanging_unit_never_says_its_version(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s9"), "127.32.5.2", firmware="old", faults=Faults(hang=True))
    reader, writer = await asyncio.open_connection(peer.address, peer.ports.ssh)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await reader.read(1)
    writer.close()


@pytest.mark.parametrize("switches", [{"zombie": True}, {"web_dead": True}])
async def test_ssh_lives_while_another_port_is_dead(
    make_machine: MakeMachine, start: StartPeer, switches: dict[str, bool]
) -> None:
    peer = await start(make_machine("antminer-s9"), "127.32.5.3", firmware="old", faults=Faults(**switches))
    assert (await run(peer, "echo alive"))[1] == "alive\n"


async def test_garbage_is_no_ssh(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s9"), "127.32.5.4", firmware="old", faults=Faults(garbage=True))
    with pytest.raises((OSError, asyncssh.Error)):
        await run(peer, "true")


async def test_output_is_cut_in_the_middle(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(make_machine("antminer-s9"), "127.32.5.5", firmware="old")
    whole = (await run(peer, f"cat {BMMINER}"))[1]
    await peer.set_faults(Faults(cut_mid_json=True))
    async with login(peer) as connection, asyncio.timeout(5):
        process = await connection.create_process(f"cat {BMMINER}")
        got = ""
        try:
            while chunk := await process.stdout.read(1000):
                got += chunk
        except (OSError, asyncssh.Error):
            pass
    assert got in ("", whole[: len(whole) // 2])
    assert process.exit_status is None


async def test_a_login_loop_refuses_the_right_password(make_machine: MakeMachine, start: StartPeer) -> None:
    peer = await start(
        make_machine("antminer-s9"), "127.32.5.6", firmware="old", faults=Faults(login_loop=True)
    )
    with pytest.raises(asyncssh.PermissionDenied):
        await run(peer, "true")
    assert (await get_without_login(peer)) == 401


async def get_without_login(peer: Peer) -> int:
    return (await http(peer, peer.ports.web, "/")).status


async def test_an_acknowledged_write_without_effect_is_gone_after_the_session(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    machine = make_machine("antminer-s9")
    peer = await start(machine, "127.32.5.7", firmware="old", faults=Faults(ack_without_effect=True))
    before = machine.state().elapsed_s
    async with login(peer) as connection:
        await connection.run("echo changed > /config/bmminer.conf", check=True)
        assert (await connection.run("cat /config/bmminer.conf")).stdout == "changed\n"
        await connection.run(RESTART["antminer-s9"], check=True)
    assert json.loads((await run(peer, f"cat {BMMINER}"))[1])["bitmain-freq"] == "650"
    assert (await post(peer, "set_miner_conf.cgi", form())).body.strip() == b"ok"
    settle(machine, clock)
    assert machine.state().elapsed_s == before + 3600
    assert tuple(machine.pools) == POOLS


async def test_a_delayed_effect_restarts_later(
    make_machine: MakeMachine, start: StartPeer, clock: ManualClock
) -> None:
    machine = make_machine("antminer-s9")
    release = asyncio.Event()

    async def held(seconds: float) -> None:
        assert seconds == 60.0
        await release.wait()

    clock.sleep = held  # type: ignore[method-assign]
    peer = await start(machine, "127.32.5.8", firmware="old", faults=Faults(effect_delay_s=60))
    await run(peer, RESTART["antminer-s9"])
    assert machine.state().process_up
    release.set()
    async with asyncio.timeout(5):
        while machine.state().process_up:  # noqa: ASYNC110 - the machine has no event to wait for
            await asyncio.sleep(0)


async def test_the_s17s_listener_outlives_its_mining_process(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    peer = await start(
        make_machine("antminer-s17-pro"), "127.32.5.9", firmware="old", faults=Faults(process_down=True)
    )
    assert await ask(peer, b'{"command":"summary"}') == b"Socket connect failed: Connection refused\n"


async def test_a_stuck_form_answers_nothing_and_writes_nothing(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    machine = make_machine("antminer-s9")
    peer = await start(machine, "127.32.5.10", firmware="old", faults=Faults(config_locked=True))
    assert (await post(peer, "set_miner_conf.cgi", form())).body.strip() == b""
    assert tuple(machine.pools) == POOLS


async def test_500_on_the_configuration_leaves_the_file_readable(
    make_machine: MakeMachine, start: StartPeer
) -> None:
    peer = await start(
        make_machine("antminer-s9"), "127.32.5.11", firmware="old", faults=Faults(http_500_on_conf=True)
    )
    assert (await get(peer, "get_miner_conf.cgi")).status == 500
    assert (await run(peer, f"cat {BMMINER}"))[0] == 0


# -- farms and other clients ---------------------------------------------------------------------


async def test_an_s9_in_a_farm_comes_up_with_the_old_firmware(tmp_path: Path) -> None:
    (tmp_path / "farm.yaml").write_text(
        "port_offset: 10000\ngroups:\n  - model: antminer-s9\n    first_address: 127.32.6.1\n"
        "    ssh_credentials: {username: root, password: changed}\n"
    )
    spec = load_farm(tmp_path / "farm.yaml")
    assert (spec.miners[0].firmware, spec.miners[0].family) == ("antminer-old", "antminer-old")
    async with run_farm(spec, ManualClock(START)) as farm:
        peer = farm.peers["127.32.6.1"]
        assert (peer.ports.api, peer.ports.web, peer.ports.ssh) == (14028, 10080, 10022)
        assert (await run(peer, "cat /usr/bin/compile_time", password="changed"))[1].splitlines()[
            1
        ] == "Antminer S9"


@pytest.mark.parametrize(
    ("model", "host", "name"), [("antminer-s9", 2, "S9"), ("antminer-s17-pro", 3, "S17 Pro")]
)
async def test_pyasic_knows_it_and_reads_it(
    make_machine: MakeMachine, model: str, host: int, name: str
) -> None:
    pyasic = pytest.importorskip("pyasic")
    machine = make_machine(model)
    peer = await serve(machine, f"127.32.6.{host}", PeerPorts(), PeerOptions(firmware="old"))
    try:
        miner = await pyasic.get_miner(peer.address)
        data = await miner.get_data()
    finally:
        await peer.close()
    assert (miner.make, miner.raw_model) == ("AntMiner", name)
    assert float(data.hashrate) == pytest.approx(machine.state().hashrate_5s_ths, rel=0.05)
    assert [board.chips for board in data.hashboards] == [machine.spec.chips_per_board] * 3

"""`hashmargin poll`, `capture` and `decode` as a person runs them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.cli import main
from agent.cli.decode import replies_in
from agent.clock import ManualClock
from agent.devices.antminer.stock import decode
from agent.devices.device import Ports
from agent.reading import Reading
from simulator.farm import run_farm
from simulator.machine_state import PoolEntry
from tests.chain.farms import NOON, PORT_OFFSET, farm_spec, site_file
from tests.devices.antminer_scripted import antminer, legacy_stats

ROOT = Path(__file__).parents[2]
GROUPS = [
    {"model": "antminer-s19-pro", "firmware": "antminer-legacy", "host": 10, "tags": ["hall-a"]},
    {"model": "whatsminer-m60s", "firmware": "whatsminer-v3", "host": 11, "tags": ["hall-b"]},
    {"model": "whatsminer-m30s", "firmware": "whatsminer-v2", "host": 12, "faults": {"unplugged": True}},
]


async def hashmargin(*words: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent", *words),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode is not None
    assert b"Traceback" not in err, err.decode()
    return process.returncode, out.decode(), err.decode()


def here(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """The command in this process: quicker, for words that reach no miner."""
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


async def test_a_site_is_polled_by_file_by_name_and_by_tag(tmp_path: Path) -> None:
    spec = farm_spec(GROUPS, tmp_path)
    site = str(site_file(spec, tmp_path))
    async with run_farm(spec, ManualClock(NOON)) as farm:
        s19, m60s, gone = farm.machines
        code, out, _ = await hashmargin("poll", "--config", site, "--json")
        rows = {row["address"]: row for row in json.loads(out)}
        assert code == 0
        assert rows[s19]["reading"]["model"] == "antminer-s19-pro"
        assert rows[s19]["reading"]["power_w"] is None
        assert rows[m60s]["family"] == "whatsminer-v3"
        assert rows[gone]["reading"] is None
        assert rows[gone]["error"]["kind"] == "unreachable"
        _, out, _ = await hashmargin("poll", "hall-b", "--config", site, "--json")
        assert [row["address"] for row in json.loads(out)] == [m60s]
        _, out, _ = await hashmargin("poll", s19, "--config", site)
        assert "s19-pro" in out
        assert s19 in out


async def test_a_port_and_family_reach_one_miner_and_a_range_sums_up_the_silent(tmp_path: Path) -> None:
    spec = farm_spec(GROUPS[:1], tmp_path)
    async with run_farm(spec, ManualClock(NOON)) as farm:
        (address,) = farm.machines
        port = str(4028 + PORT_OFFSET)
        words = ("poll", address, "--family", "antminer-stock", "--port", port, "--json")
        code, out, _ = await hashmargin(*words)
        (row,) = json.loads(out)
        assert code == 0
        assert row["reading"]["hashrate_ths"] > 0
        # The web page is not where it usually is: what only it knows stays unknown.
        assert row["reading"]["mac"] is None
        code, out, _ = await hashmargin("poll", f"{address}/30", "--port", port, "--deadline", "3")
        assert code == 0
        assert "did not answer" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("poll",), "name at least one"),
        (("poll", "10.0.0.0/8"), "at most 65536"),
        (("poll", "999.1.1.1"), "is no address"),
        (("poll", "127.0.0.1", "--family", "antminer"), "expected one of antminer-stock"),
        (("decode", "antminer-stock", "nowhere"), "is no folder"),
        (("decode", "nonsense", "."), "unknown family"),
        (("capture", "127.0.0.1", "--out", str(ROOT / "agent")), "not an empty folder"),
    ],
)
def test_wrong_words_are_explained(
    capsys: pytest.CaptureFixture[str], words: Sequence[str], says: str
) -> None:
    code, _, err = here(capsys, *words)
    assert code == 2
    assert says in err


def test_nobody_answering_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = here(capsys, "poll", "127.199.199.199", "--deadline", "2", "--json")
    assert code == 1
    assert json.loads(out)[0]["error"]["kind"] == "unreachable"


async def test_capture_then_decode(tmp_path: Path) -> None:
    spec = farm_spec(GROUPS[1:2], tmp_path)
    async with run_farm(spec, ManualClock(NOON)) as farm:
        (address,) = farm.machines
        out_folder = tmp_path / "saved"
        ports = ("--family", "whatsminer-v3", "--port", str(4433 + PORT_OFFSET))
        code, out, err = await hashmargin("capture", address, "--out", str(out_folder), *ports)
        assert code == 0, err
        assert "get.miner.status" in out
    code, out, _ = await hashmargin("decode", "whatsminer-v3", str(out_folder))
    assert code == 0
    assert json.loads(out)["model"] == "whatsminer-m60s"


async def test_a_captured_antminer_holds_no_secret_and_decodes_to_what_poll_showed(tmp_path: Path) -> None:
    spec = farm_spec(GROUPS[:1], tmp_path)
    saved = tmp_path / "saved"
    async with run_farm(spec, ManualClock(NOON)) as farm:
        ((address, machine),) = farm.machines.items()
        machine.set_pools(
            [PoolEntry("stratum+tcp://acct:in-the-url@one.example:3333", "acct.w1", "geh3im-7")]
        )
        ports = ports_of(Ports(4028 + PORT_OFFSET, 80 + PORT_OFFSET, 6060 + PORT_OFFSET))
        _, out, _ = await hashmargin("poll", address, *ports, "--json")
        live = json.loads(out)[0]["reading"]
        code, _, err = await hashmargin("capture", address, "--out", str(saved), *ports)
        assert code == 0, err
    files = {path.name: path.read_bytes() for path in saved.iterdir()}
    assert {"stats.json", "pools.json", "get_miner_conf.json", "get_system_info.json"} <= set(files)
    assert b"geh3im-7" not in b"".join(files.values())
    assert b"in-the-url" not in b"".join(files.values())
    decoded = decode(replies_in(saved), address).to_dict()
    # A saved reply keeps the firmware's own time, a live one is dated on arrival.
    assert {k: v for k, v in decoded.items() if k != "observed_at"} == {
        k: v for k, v in live.items() if k != "observed_at"
    }


async def test_json_has_the_same_keys_for_a_miner_that_answers_and_one_that_does_not(tmp_path: Path) -> None:
    spec = farm_spec([GROUPS[0], GROUPS[2]], tmp_path)
    site = str(site_file(spec, tmp_path))
    async with run_farm(spec, ManualClock(NOON)):
        code, out, err = await hashmargin("poll", "--config", site, "--json")
    assert (code, err) == (0, "")
    rows = json.loads(out)
    keys = {"address", "miner_id", "family", "reading", "error", "duration_ms"}
    assert [set(row) for row in rows] == [keys, keys]
    answered, silent = rows
    assert set(answered["reading"]) == set(Reading().to_dict())
    assert answered["error"] is None
    assert set(silent["error"]) == {"kind", "detail"}


async def test_a_miner_whose_name_looks_like_markup_is_shown_as_it_is() -> None:
    name = "[/red]Antminer [bold]X"
    version = {"VERSION": [{"Type": name}]}
    async with antminer(api={"version": version, "stats": legacy_stats(kind=name)}) as it:
        code, out, _ = await hashmargin("poll", "127.0.0.1", *ports_of(it.ports))
    assert code == 0
    assert "[/red]Antminer" in out


async def test_an_unknown_host_and_a_named_family_end_in_a_reason() -> None:
    async with antminer(api={"version": {"VERSION": [{"Toaster": "4"}]}}) as it:
        code, out, _ = await hashmargin("poll", "127.0.0.1", *ports_of(it.ports))
        assert code == 1
        assert "no family that is known here" in out
        named = ("--family", "antminer-stock")
        code, out, _ = await hashmargin("poll", "127.0.0.1", *named, *ports_of(it.ports), "--json")
    assert code == 1
    assert json.loads(out)[0]["error"]["kind"] == "unsupported"


@pytest.mark.parametrize(
    ("file", "raw", "code", "says"),
    [
        ("stats.json", b'{"STATS":[{"Elapsed":12', 1, "malformed: saved replies: the answer is not JSON"),
        ("stats.json", b"Socket connect failed: Connection refused\n", 1, "unreachable:"),
        ("holiday.json", b'{"a":1}', 1, "no reply of a known command"),
        ("notes.md", b"# none", 2, "holds no replies"),
    ],
)
def test_saved_replies_that_cannot_be_read_are_explained(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, file: str, raw: bytes, code: int, says: str
) -> None:
    (tmp_path / file).write_bytes(raw)
    found, out, err = here(capsys, "decode", "antminer-stock", str(tmp_path))
    assert (found, out) == (code, "")
    assert says in err


def test_a_capture_of_nobody_leaves_no_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    dead = ("--family", "antminer-stock", "--port", "1", "--web-port", "1", "--status-port", "1")
    code, _, err = here(capsys, "capture", "127.0.0.1", "--out", str(saved), *dead)
    assert code == 1
    assert "unreachable" in err
    assert not saved.exists()


def ports_of(ports: Ports) -> tuple[str, ...]:
    """The options that stand for them."""
    named = {"--port": ports.api, "--web-port": ports.web, "--status-port": ports.status}
    return tuple(word for option, port in named.items() for word in (option, str(port)))

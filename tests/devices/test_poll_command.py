"""`hashmargin poll`, `capture` and `decode` as a person runs them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.clock import ManualClock
from simulator.farm import run_farm
from tests.chain.farms import NOON, PORT_OFFSET, farm_spec, site_file

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
        (("capture", "127.0.0.1", "--out", "agent"), "not an empty folder"),
    ],
)
async def test_wrong_words_are_explained(words: Sequence[str], says: str) -> None:
    code, _, err = await hashmargin(*words)
    assert code == 2
    assert says in err


async def test_nobody_answering_is_exit_code_1() -> None:
    code, out, _ = await hashmargin("poll", "127.199.199.199", "--deadline", "2", "--json")
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

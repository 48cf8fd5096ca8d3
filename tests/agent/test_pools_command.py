"""`hashmargin pools`: what is shown of a site's pools, and how a whole site gets others, one miner first."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.cli import main
from agent.cli.pools_report import say_done, set_document
from agent.cli.pools_run import PoolsResult, PoolsRun, chosen, why_not
from agent.cli.pools_table import folded, plain
from agent.clock import ManualClock
from agent.config import MinerConfig, load_site
from agent.errors import ConfigError, InputError, StoreError
from agent.pools.file import load_pools, worker_name, worker_names
from agent.pools.guard import PoolGuard, PoolLogin
from agent.pools.journal import JOURNAL
from agent.pools.survey import same_pools
from agent.reading import Pool
from agent.state_lock import sole_holder
from agent.yamlfile import parse_yaml
from simulator.farm import Farm, FarmFile, resolve_farm, run_farm
from simulator.farm_site import write_site
from simulator.machine import Machine
from simulator.machine_state import PoolEntry
from simulator.peers import Faults, PeerOptions, PeerPorts, serve
from simulator.physics_file import default_physics
from tests.devices.cutting_proxy import CuttingProxy
from tests.worker import WORKER

ROOT = Path(__file__).parents[2]
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SECRET = "hunter2"
OLD = ["stratum+tcp://pool-a.example:3333", "stratum+tcp://pool-b.example:3333"]
TRUSTED = ["pool-a.example", "pool-b.example", "*.pool.example"]
NEW = ["stratum+tcp://eu.pool.example:3333", "stratum+tcp://us.pool.example:443"]
S19 = {"model": "antminer-s19-pro", "firmware": "antminer-legacy"}
M30 = {"model": "whatsminer-m30s", "firmware": "whatsminer-v2"}
Captured = pytest.CaptureFixture[str]
_BLOCKS = itertools.count(1)


def pools_yaml(folder: Path, text: str | None = None, mode: int = 0o600) -> Path:
    """A pools file with a password file beside it."""
    secret = folder / "pool-password"
    secret.write_text(f"{SECRET}\n")
    secret.chmod(mode)
    path = folder / "pools.yaml"
    path.write_text(
        text
        or f"pools:\n  - url: {NEW[0]}\n    user: account.{{miner}}\n    password_file: pool-password\n"
        f"  - url: {NEW[1]}\n    user: account.{{miner}}\n"
    )
    return path


@dataclass
class Hall:
    """A running farm and its site file; miners are called m0, m1 ... in order."""

    farm: Farm
    clock: ManualClock
    site: Path
    addresses: list[str]

    def on(self, number: int) -> list[tuple[str, str, str]]:
        machine = self.farm.machines[self.addresses[number]]
        return [(pool.url, pool.user, pool.password) for pool in machine.pools if pool.url]

    def has_new(self, number: int) -> bool:
        return self.on(number) == [
            (NEW[0], f"account.m{number}", SECRET),
            (NEW[1], f"account.m{number}", "x"),
        ]

    def has_old(self, number: int) -> bool:
        return [url for url, _, _ in self.on(number)] == OLD

    async def fault(self, number: int, faults: Faults) -> None:
        await self.farm.peers[self.addresses[number]].set_faults(faults)

    def run(self, *patterns: str) -> PoolsRun:
        site = load_site(self.site)
        guard = PoolGuard(site.trusted_pools)
        wanted = load_pools(pools_yaml(self.site.parent), guard, self.site)
        workers = worker_names(site.miners, wanted)
        return PoolsRun(chosen(site, patterns), guard, wanted, workers, self.clock, quiet=True)

    async def carry_out(self, *patterns: str) -> PoolsResult:
        run = self.run(*patterns)
        with sole_holder(run.site.state_dir, "stop it", "the test"):
            return await run.carry_out()

    def journal(self) -> list[dict[str, Any]]:
        path = load_site(self.site).state_dir / JOURNAL
        return [json.loads(line) for line in path.read_text().splitlines()]


@asynccontextmanager
async def hall(
    folder: Path,
    *groups: dict[str, Any],
    trusted: list[str] | None = None,
    miners: Callable[[list[dict[str, Any]]], None] = lambda _: None,
) -> AsyncIterator[Hall]:
    """A farm on addresses of its own; `miners` may change the site file's list."""
    prefix = f"127.33.{WORKER * 40 + next(_BLOCKS)}"
    placed = [{**group, "first_address": f"{prefix}.{10 + 20 * i}"} for i, group in enumerate(groups)]
    content = {"name": "s", "seed": 3, "port_offset": 10_000, "groups": placed}
    content["ambient"] = {"kind": "constant", "celsius": 18.0}
    spec = resolve_farm(parse_yaml(yaml.safe_dump(content), FarmFile), folder)
    path = folder / "site.yaml"
    write_site(path, spec)
    site = yaml.safe_load(path.read_text())
    for number, miner in enumerate(site["miners"]):
        miner["id"] = f"m{number}"
    miners(site["miners"])
    site["poll"] = {"interval_s": 30.0, "deadline_s": 2.0, "spread_s": 0.0}
    site["trusted_pools"] = TRUSTED if trusted is None else trusted
    path.write_text(yaml.safe_dump(site))
    clock = ManualClock(NOON)
    async with run_farm(spec, clock) as farm:
        yield Hall(farm, clock, path, [miner.address for miner in spec.miners])


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
    assert SECRET not in out.decode() + err.decode()
    return process.returncode, out.decode(), err.decode()


async def beside(capsys: Captured, *words: str) -> tuple[int, str, str]:
    """The command in a thread of this process, while the farm goes on: quicker than a process."""
    code = await asyncio.to_thread(_run_main, words)
    out, err = capsys.readouterr()
    assert SECRET not in out + err
    return code, out, err


def _run_main(words: tuple[str, ...]) -> int:
    try:
        main(list(words))
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def here(capsys: Captured, *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


# -- the pools file ------------------------------------------------------------------------------

GUARD = PoolGuard(TRUSTED)
SITE = Path("site.yaml")
GOOD = f"url: {NEW[0]}, user: account"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "pools.yaml:1: the file is empty"),
        (f"- {{{GOOD}}}", "pools.yaml:1: put the list under the key `pools:`"),
        ("pools: []", "pools.yaml:1: pools: "),
        ("pools:\n  - just text", "pools.yaml:2: pools.0: expected url:, user: and"),
        (f"pools: [{', '.join(['{' + GOOD + '}'] * 4)}]", "at most 3"),
        (f"pools:\n  - {{{GOOD}, priority: 1}}", "pools.yaml:2: pools.0.priority: is not a known key"),
        (f"pools:\n  - {{{GOOD}}}\n  - {{url: {NEW[1]}}}", "pools.yaml:3: pools.1.user: is missing"),
        (
            f"pools:\n  - {{{GOOD}, password: {SECRET}}}",
            "yaml:2: pools.0.password: a password does not",
        ),
        (f"pools:\n  - {{{GOOD}, pass: {SECRET}}}", "mode 0600 and name that file as password_file"),
        (f"pools:\n  - {{{GOOD}, password_file: {SECRET}}}", "pools.0.password_file: there is no such file"),
        (f"pools:\n  - {{{GOOD}, password_file: [{SECRET}]}}", "expected the path of a file"),
        (
            f"pools:\n  - {{url: 'stratum+tcp://me:{SECRET}@eu.pool.example', user: a}}",
            "url: holds a login",
        ),
        (
            "pools:\n  - url: eu.pool.example:3333\n    user: a",
            "pools.yaml:2: pools.0.url: expected scheme://",
        ),
        ("pools:\n  - {url: 'stratum+tcp://eu.pool.example', user: a}", "pools.0.url: has no port"),
        ("pools:\n  - {url: 'stratum+tcp://eu.pool.example:70000', user: a}", "port 70000 is not between"),
        (
            "pools:\n  - {url: 'stratum+tcp://evil.example:1', user: a}",
            "example:1 is not a trusted pool",
        ),
        ("pools:\n  - {url: 'http://eu.pool.example:1', user: a}", "is not a trusted pool"),
        (
            f"pools:\n  - url: {NEW[0]}\n    user: a b",
            "yaml:3: pools.0.user: expected 1 to 256",
        ),
        (f"pools:\n  - url: {NEW[0]}\n    user: a.{{worker}}", "the only placeholder is {miner}"),
        (
            f"pools:\n  - {{{GOOD}}}\n  - {{{GOOD}}}",
            "yaml:3: pools.1.url: this pool with this",
        ),
    ],
)
def test_a_wrong_pools_file_is_refused_with_line_key_and_remedy(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_pools(pools_yaml(tmp_path, text or "\n"), GUARD, SITE)
    assert says in str(refused.value)
    assert SECRET not in str(refused.value)


def test_a_pool_where_nothing_is_trusted_is_refused_with_the_lines_to_add(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'trusted_pools:\n    - "eu\.pool\.example:3333"'):
        load_pools(pools_yaml(tmp_path), PoolGuard([]), SITE)


def test_a_password_that_others_may_read_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"pools\.yaml:4: pools\.0\.password_file: .*chmod 600"):
        load_pools(pools_yaml(tmp_path, mode=0o644), GUARD, SITE)


def test_a_password_that_no_pool_takes_is_refused_without_being_shown(tmp_path: Path) -> None:
    path = pools_yaml(tmp_path)
    (tmp_path / "pool-password").write_text(f"{SECRET} {SECRET}")
    with pytest.raises(ConfigError, match=r"password_file: the password in it: expected at most") as refused:
        load_pools(path, GUARD, SITE)
    assert SECRET not in str(refused.value)


def test_the_pools_of_a_miner_carry_its_name_and_the_password(tmp_path: Path) -> None:
    first, second = load_pools(pools_yaml(tmp_path), GUARD, SITE).for_miner("rig-7")
    assert (first.url, first.user, first.password) == (NEW[0], "account.rig-7", SECRET)
    assert (second.url, second.user, second.password) == (NEW[1], "account.rig-7", "x")


@pytest.mark.parametrize(
    ("miner", "name"),
    [
        (MinerConfig(id="rack-1.07", address="10.0.0.1"), "rack-1-07"),
        (MinerConfig(mac="02:00:5e:00:00:0b", address="10.0.0.1"), "02005e00000b"),
        (MinerConfig(address="10.0.0.1"), "10-0-0-1"),
    ],
)
def test_a_worker_name_is_the_id_else_the_mac_else_the_address(miner: MinerConfig, name: str) -> None:
    assert worker_name(miner) == name


def test_two_miners_under_one_worker_name_are_refused(tmp_path: Path) -> None:
    wanted = load_pools(pools_yaml(tmp_path), GUARD, SITE)
    miners = [MinerConfig(id="a.1", address="10.0.0.1"), MinerConfig(id="a-1", address="10.0.0.2")]
    with pytest.raises(InputError, match=r"is 'a-1' for both a\.1 and a-1"):
        worker_names(miners, wanted)


def test_the_shipped_example_and_schema_are_those_of_the_code(capsys: Captured) -> None:
    example = ROOT / "configs" / "pools.example.yaml"
    assert load_pools(example, PoolGuard(["*.pool.example"]), SITE).logins
    main_out = here(capsys, "pools", "schema")[1]
    assert (ROOT / "configs" / "pools.schema.json").read_text() == main_out, "run: make schemas"


# -- comparing and wording -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("present", "same"),
    [
        ([Pool(NEW[0], "u", priority=0)], True),
        ([Pool("EU.pool.example:3333", "u"), Pool("", "")], True),
        ([Pool(f"{NEW[0]}/", "u")], True),
        ([Pool(NEW[0], "v")], False),
        ([Pool(NEW[1], "u")], False),
        ([Pool(NEW[0], "u"), Pool(NEW[1], "u")], False),
        ([], False),
    ],
)
def test_pools_are_the_same_by_address_user_and_order(present: list[Pool], same: bool) -> None:
    assert same_pools(present, [PoolLogin(NEW[0], "u")]) is same


def test_priority_decides_the_order_of_pools() -> None:
    present = [Pool(NEW[1], "u", priority=1), Pool(NEW[0], "u", priority=0)]
    assert same_pools(present, [PoolLogin(NEW[0], "u"), PoolLogin(NEW[1], "u")])


def test_what_a_miner_says_cannot_steer_the_terminal() -> None:
    assert plain("a\x1b[2Jb\n") == "a?[2Jb?"
    assert len(plain("x" * 500)) == 80


@pytest.mark.parametrize(
    ("user", "shown"),
    [("acc.m1", "acc.{miner}"), ("m1", "{miner}"), ("acc.xm1", "acc.xm1"), ("acc", "acc")],
)
def test_a_user_that_ends_in_the_miners_name_is_folded(user: str, shown: str) -> None:
    assert folded(user, "m1") == shown


# -- show ----------------------------------------------------------------------------------------


async def test_all_trusted_is_exit_code_0_and_equal_miners_share_a_line(
    tmp_path: Path, capsys: Captured
) -> None:
    async with hall(tmp_path, {**S19, "count": 4}) as h:
        code, out, _ = await beside(capsys, "pools", "show", "--config", str(h.site))
        assert code == 0
        assert "m0, m1, m2 and 1 more" in out
        assert out.count(OLD[0]) == 1
        assert "4 miners: 4 trusted, 0 NOT TRUSTED, 0 not read" in out


async def test_a_stranger_is_exit_code_3_even_where_a_miner_could_not_be_read(
    tmp_path: Path, capsys: Captured
) -> None:
    async with hall(tmp_path, {**S19, "count": 2}, M30) as h:
        h.farm.machines[h.addresses[1]].pools[0] = PoolEntry("stratum+tcp://evil.example:1", "thief", "x")
        await h.fault(2, Faults(unplugged=True))
        code, out, _ = await beside(capsys, "pools", "show", "--config", str(h.site))
        assert code == 3
        assert "NOT TRUSTED" in next(line for line in out.splitlines() if "evil.example" in line)
        assert "m1: a pool there is not on the site's list" in out
        assert "not read: m2: unreachable: " in out
        assert "3 miners: 1 trusted, 1 NOT TRUSTED, 1 not read" in out


async def test_a_miner_that_could_not_be_read_is_exit_code_4_and_named_in_the_json(
    tmp_path: Path, capsys: Captured
) -> None:
    async with hall(tmp_path, S19, M30) as h:
        await h.fault(1, Faults(unplugged=True))
        code, out, _ = await beside(capsys, "pools", "show", "--config", str(h.site), "--json")
        found = json.loads(out)
        assert code == 4
        assert found["counts"] == {"trusted": 1, "not_trusted": 0, "unknown": 0, "not_read": 1}
        good, gone = found["miners"]
        assert [pool["url"] for pool in good["pools"]] == OLD
        assert [pool["trust"] for pool in good["pools"]] == ["trusted", "trusted"]
        assert gone["miner"] == "m1"
        assert gone["pools"] is None
        assert gone["error"]["kind"] == "unreachable"


async def test_without_a_list_the_lines_to_add_are_shown_and_the_exit_code_is_not_0(
    tmp_path: Path, capsys: Captured
) -> None:
    async with hall(tmp_path, S19, trusted=[]) as h:
        code, out, _ = await beside(capsys, "pools", "show", "--config", str(h.site))
        assert code == 2
        assert "lists no trusted pools" in out
        added = out[out.index("trusted_pools:") :]
        assert yaml.safe_load(added) == {"trusted_pools": ["pool-a.example", "pool-b.example"]}
        assert "keep it only if it is yours" in added


async def test_only_the_named_miners_are_read(tmp_path: Path, capsys: Captured) -> None:
    async with hall(tmp_path, {**S19, "count": 3}) as h:
        words = ("pools", "show", "--config", str(h.site), "--json", "--miner", "M[12]")
        _, out, _ = await beside(capsys, *words)
        assert [miner["miner"] for miner in json.loads(out)["miners"]] == ["m1", "m2"]
        code, _, err = await beside(capsys, *words, "--miner", "m11")
        assert code == 2
        assert "--miner m11: no miner of the site goes by this; did you mean m1" in err


# -- set -----------------------------------------------------------------------------------------


async def test_a_dry_run_shows_both_and_sends_nothing(tmp_path: Path, capsys: Captured) -> None:
    async with hall(tmp_path, {**S19, "count": 2}) as h:
        pools = str(pools_yaml(tmp_path))
        code, out, _ = await beside(capsys, "pools", "set", "--config", str(h.site), "--pools", pools)
        assert code == 0
        row = next(line for line in out.splitlines() if OLD[0] in line)
        assert f"1. {NEW[0]} account.{{miner}}" in row
        assert "2 miners: 2 would change, 0 already as wanted, 0 left out" in out
        assert f"Nothing was sent. To do it: hashmargin pools set --config {h.site}" in out
        assert h.has_old(0) and h.has_old(1)
        assert not (load_site(h.site).state_dir / JOURNAL).exists()


async def test_with_yes_every_miner_gets_its_pools_and_nothing_tells_the_password(
    tmp_path: Path, capsys: Captured
) -> None:
    async with hall(tmp_path, {**S19, "count": 2}, M30) as h:
        words = ("pools", "set", "--config", str(h.site), "--pools", str(pools_yaml(tmp_path)), "--yes")
        code, out, _ = await hashmargin(*words)
        assert code == 0, out
        assert all(h.has_new(number) for number in range(3))
        assert "3 miners: 3 set, 0 already as wanted" in out
        journal = load_site(h.site).state_dir / JOURNAL
        assert f"Recorded in {journal}" in out
        assert SECRET not in journal.read_text()
        assert stat.S_IMODE(journal.stat().st_mode) == 0o600
        code, out, _ = await hashmargin(*words)
        assert code == 0
        assert "3 miners: 0 set, 3 already as wanted" in out
        code, out, _ = await beside(capsys, "pools", "show", "--config", str(h.site))
        assert code == 0
        assert "account.{miner}" in out


async def test_an_untrusted_pool_is_refused_before_anybody_is_asked(tmp_path: Path, capsys: Captured) -> None:
    async with hall(tmp_path, S19, trusted=["*.other.example"]) as h:
        words = ("--config", str(h.site), "--pools", str(pools_yaml(tmp_path)), "--yes")
        code, out, err = here(capsys, "pools", "set", *words)
        assert code == 2
        assert out == ""
        assert "pools.0.url" in err and "is not a trusted pool (trusted: *.other.example)" in err
        assert f"add it to trusted_pools in {h.site}" in err


async def test_a_running_agent_holds_the_miners_and_the_remedy_is_told(
    tmp_path: Path, capsys: Captured
) -> None:
    async with hall(tmp_path, S19) as h:
        words = ("pools", "set", "--config", str(h.site), "--pools", str(pools_yaml(tmp_path)), "--yes")
        with sole_holder(load_site(h.site).state_dir, ""):
            code, _, err = here(capsys, *words)
        assert code == 2
        assert f"another agent (process {os.getpid()}) runs this site" in err
        assert "systemctl stop hashmargin-agent" in err
        assert h.has_old(0)


def test_an_agent_that_starts_during_a_run_is_told_what_holds_the_site(tmp_path: Path) -> None:
    said = r"`hashmargin pools set` \(process \d+\) is changing miners of this site; wait until it has ended"
    with (
        sole_holder(tmp_path, "stop it", "hashmargin pools set"),
        pytest.raises(StoreError, match=said),
        sole_holder(tmp_path, "stop it"),
    ):
        raise AssertionError("held twice")
    with sole_holder(tmp_path, "stop it"):
        pass


async def test_the_first_miner_alone_decides_whether_the_others_follow(tmp_path: Path) -> None:
    async with hall(tmp_path, {**S19, "count": 4}) as h:
        await h.fault(0, Faults(ack_without_effect=True))
        result = await h.carry_out()
        assert [outcome.state for outcome in result.outcomes] == ["failed", *["untouched"] * 3]
        assert "it said yes; it shows its old pools" in result.outcomes[0].detail
        assert result.halted is not None and "the first miner, m0, did not confirm" in result.halted
        assert all(h.has_old(number) for number in range(4))


async def test_no_second_miner_is_begun_before_the_first_has_confirmed(tmp_path: Path) -> None:
    async with hall(tmp_path, {**S19, "count": 3}) as h:
        await h.carry_out()
        events = [(line["event"], line["miner"]) for line in h.journal()]
        assert events[:2] == [("intent", "m0"), ("outcome", "m0")]
        assert sorted(events[2:]) == sorted((e, m) for e in ("intent", "outcome") for m in ("m1", "m2"))
        intent = h.journal()[0]
        assert intent["wanted"][0] == {"url": NEW[0], "user": "account.m0"}
        assert [pool["url"] for pool in intent["before"]] == OLD


@pytest.mark.parametrize(
    ("model", "firmware"),
    [
        ("antminer-s9", "antminer-old"),
        ("antminer-s19-pro", "luxos"),
        ("antminer-s19-pro", "braiins"),
        ("antminer-s19-pro", "vnish"),
        ("whatsminer-m60s", "whatsminer-v3"),
    ],
)
async def test_every_firmware_that_takes_pools_gets_them(tmp_path: Path, model: str, firmware: str) -> None:
    async with hall(tmp_path, {"model": model, "firmware": firmware}) as h:
        result = await h.carry_out()
        assert [outcome.state for outcome in result.outcomes] == ["set"], result.outcomes
        assert h.has_new(0)
        again = await h.carry_out()
        assert again.same == {"m0"}


async def test_where_nothing_could_be_sent_the_next_miner_is_the_first(tmp_path: Path) -> None:
    async with hall(tmp_path, {**S19, "count": 3}) as h:
        await h.fault(0, Faults(login_loop=True))
        result = await h.carry_out()
        assert [outcome.state for outcome in result.outcomes] == ["failed", "set", "set"]
        assert result.outcomes[0].detail.startswith("unauthorised: ")
        assert h.has_old(0)
        events = [(line["event"], line["miner"]) for line in h.journal()]
        assert events[:4] == [(e, m) for m in ("m0", "m1") for e in ("intent", "outcome")]


async def test_three_failures_end_the_run_and_name_who_is_untouched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr("agent.pools.rollout.AT_ONCE", 1)
    async with hall(tmp_path, {**S19, "count": 7}) as h:
        for number in (1, 3, 4):
            await h.fault(number, Faults(ack_without_effect=True))
        run = h.run()
        with sole_holder(run.site.state_dir, "", "the test"):
            result = await run.carry_out()
        states = [outcome.state for outcome in result.outcomes]
        assert states == ["set", "failed", "set", "failed", "failed", "untouched", "untouched"]
        assert result.halted == "3 miners failed"
        assert h.has_old(5) and h.has_old(6)
        document = set_document(run, result)
        assert document["counts"] == {"failed": 3, "set": 2, "untouched": 2}
        assert document["stopped_early"] == "3 miners failed"
        say_done(result)
        out = capsys.readouterr().out
        assert "7 miners: 2 set, 0 already as wanted, 3 failed, 2 untouched" in out
        assert "Stopped early: 3 miners failed." in out
        assert "Untouched, with the pools they had: m5, m6" in out


async def test_a_write_api_that_is_closed_is_left_out_and_no_failure(tmp_path: Path) -> None:
    async with hall(tmp_path, {**M30, "count": 4, "write_enabled": False}, S19) as h:
        result = await h.carry_out()
        assert [outcome.state for outcome in result.outcomes] == [*["skipped"] * 4, "set"]
        assert "WhatsMinerTool" in result.outcomes[0].detail
        assert result.halted is None
        assert all(h.has_old(number) for number in range(4)) and h.has_new(4)


async def test_another_machine_at_the_address_gets_no_write(tmp_path: Path) -> None:
    def other_mac(miners: list[dict[str, Any]]) -> None:
        miners[0]["mac"] = "02:00:5e:00:00:0b"

    async with hall(tmp_path, {**S19, "count": 2}, miners=other_mac) as h:
        result = await h.carry_out()
        assert "wrong_miner: MAC " in result.left_out["m0"]
        assert [outcome.miner for outcome in result.outcomes] == ["m1"]
        assert h.has_old(0) and h.has_new(1)


async def test_a_machine_exchanged_since_it_was_read_gets_no_write(tmp_path: Path) -> None:
    macs: list[str] = []
    async with hall(tmp_path, {**S19, "count": 2}) as h:
        macs += [h.farm.machines[address].mac for address in h.addresses]
        site = yaml.safe_load(h.site.read_text())
        for miner, mac in zip(site["miners"], macs, strict=True):
            miner["mac"] = mac
        h.site.write_text(yaml.safe_dump(site))
        run = h.run()
        look = run.look

        async def look_then_exchange(*words: Any) -> PoolsResult:
            result = await look(*words)
            await h.fault(0, Faults(shared_mac=True))
            return result

        run.look = look_then_exchange  # type: ignore[method-assign]
        with sole_holder(run.site.state_dir, "", "the test"):
            result = await run.carry_out()
        assert [outcome.state for outcome in result.outcomes] == ["skipped", "set"]
        assert "wrong_miner" in result.outcomes[0].detail
        assert h.has_old(0)


async def test_two_machines_with_one_mac_get_no_write(tmp_path: Path) -> None:
    async with hall(tmp_path, {**S19, "count": 3}) as h:
        for number in (0, 1):
            await h.fault(number, Faults(shared_mac=True))
        result = await h.carry_out()
        assert set(result.left_out) == {"m0", "m1"}
        assert "same MAC" in result.left_out["m0"]
        assert h.has_old(0) and h.has_old(1) and h.has_new(2)


async def test_a_family_that_is_only_read_is_listed_as_such(tmp_path: Path) -> None:
    async with hall(tmp_path, S19) as h:
        run = h.run()
        result = await run.look()
        assert why_not(replace(result.found[0], family="pyasic-rs")) == (
            "cannot be set: hashmargin only reads the family pyasic-rs"
        )


async def test_a_request_to_stop_begins_no_further_miner(tmp_path: Path) -> None:
    async with hall(tmp_path, {**S19, "count": 3}) as h:
        run = h.run()
        look = run.look

        async def look_then_signal(*words: Any) -> PoolsResult:
            result = await look(*words)
            signal.raise_signal(signal.SIGINT)
            # The loop hears of a signal by a socket, which takes a few of its turns.
            for _ in range(20):
                await asyncio.sleep(0)
            return result

        run.look = look_then_signal  # type: ignore[method-assign]
        with sole_holder(run.site.state_dir, "", "the test"):
            result = await run.carry_out()
        assert result.halted == "it was asked to stop"
        assert all(h.has_old(number) for number in range(3))


async def test_nothing_is_sent_where_the_journal_cannot_be_written(tmp_path: Path) -> None:
    async with hall(tmp_path, {**S19, "count": 2}) as h:
        state = load_site(h.site).state_dir
        (state / JOURNAL).mkdir(parents=True)
        result = await h.carry_out()
        assert [outcome.state for outcome in result.outcomes] == ["untouched", "untouched"]
        assert result.halted is not None and "cannot be written" in result.halted
        assert h.has_old(0) and h.has_old(1)


async def test_an_effect_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    async with hall(tmp_path, {**S19, "count": 2}) as h:
        for number in (0, 1):
            await h.fault(number, Faults(effect_delay_s=30.0))
        result = await h.carry_out()
        assert [outcome.state for outcome in result.outcomes] == ["set", "set"]
        assert result.halted is None


# -- an answer that never comes ------------------------------------------------------------------


class Vanishing(Machine):
    """A machine whose line goes dead at the moment its pools are replaced."""

    line: Line | None = None

    @property
    def pools(self) -> list[PoolEntry]:
        return self._pools

    @pools.setter
    def pools(self, value: list[PoolEntry]) -> None:
        self._pools = value
        if self.line is not None:
            self.line.go_dead()


class Line(CuttingProxy):
    """A proxy that can go dead."""

    dead = False

    def go_dead(self) -> None:
        self.dead = True
        for task in tuple(self._tasks):
            task.cancel()

    async def _carry(self, *words: Any) -> None:
        if not self.dead:
            await super()._carry(*words)


class Returning(ManualClock):
    """A clock at whose time `back_at` the line lives again."""

    line: Line | None = None
    back_at_s = float("inf")

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        if self.line is not None and (self.now() - NOON).total_seconds() >= self.back_at_s:
            self.line.dead = False


@pytest.mark.parametrize(
    ("back_at_s", "state", "says"),
    [
        (5.0, "set", "read back"),
        (60.0, "set", "read back later"),
        (9e9, "unknown", "not be read since"),
    ],
)
async def test_no_answer_is_settled_by_reading_and_never_called_a_failure(
    tmp_path: Path, back_at_s: float, state: str, says: str
) -> None:
    clock = Returning(NOON)
    clock.back_at_s = back_at_s
    physics = default_physics().model("antminer-s19-pro")
    machine = Vanishing(physics, seed=3, clock=clock, mac="02:11:04:00:00:07", serial="SN7")
    address = f"127.33.{WORKER * 40 + next(_BLOCKS)}.1"
    peer = await serve(machine, address, PeerPorts(0, 0, 0, 0, 0, 0), PeerOptions())
    try:
        async with Line(address, [peer.ports.api, peer.ports.web]) as line:
            machine.line = clock.line = line
            ports = {"api": line.ports[peer.ports.api], "web": line.ports[peer.ports.web], "status": 1}
            miner = {"id": "m0", "address": address, "family": "antminer-stock", "ports": ports}
            site = {"site": {"id": "s"}, "state_dir": "state", "miners": [miner], "trusted_pools": TRUSTED}
            site |= {"market": {"hashprice_usd_per_ths_day": 0.05}, "poll": {"deadline_s": 2.0}}
            site |= {"tariff": {"kind": "fixed", "price_usd_per_kwh": 0.05}}
            path = tmp_path / "site.yaml"
            path.write_text(yaml.safe_dump(site))
            h = Hall(Farm.__new__(Farm), clock, path, [address])
            result = await h.carry_out()
    finally:
        await peer.close()
    (outcome,) = result.outcomes
    assert machine.pools[0].url == NEW[0]
    assert (outcome.state, says in outcome.detail) == (state, True), outcome
    assert [line["event"] for line in h.journal()].count("intent") == 1

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from agent.clock import ManualClock
from agent.config import load_site
from agent.errors import ConfigError, InputError
from simulator.farm import FarmSpec, build_machine, load_farm, run_farm
from simulator.farm_site import write_site
from tests.simulator.making import START
from tests.simulator.test_physics_file import COEFFICIENTS, NEW_MODEL
from tests.worker import WORKER

# All farms here have the same addresses, and tests may run side by side.
OFFSET = 21_000 + 500 * WORKER
API_PORT = OFFSET + 4028
FARM = """
name: test
seed: 3
ambient: {kind: constant, celsius: 20}
port_offset: OFFSET
groups:
  - model: antminer-s19
    count: 3
    first_address: 127.31.0.1
    tags: [row-a]
    credentials: {username: root, password: secret}
    miners:
      "1": {faults: {unplugged: true}}
      "2": {missing_boards: [0], site_offset_c: 5}
  - model: whatsminer-m60s
    count: 2
    first_address: 127.31.0.254
    initial: {power_limit_w: 3000}
""".replace("OFFSET", str(OFFSET))
LOWEST_PORT = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
EXAMPLE = Path(__file__).parents[2] / "configs" / "farm.example.yaml"


def farm(folder: Path, text: str = FARM, seed: int | None = None) -> FarmSpec:
    path = folder / "farm.yaml"
    path.write_text(text)
    return load_farm(path, seed)


async def ask(address: str, port: int, command: str) -> dict[str, object]:
    reader, writer = await asyncio.wait_for(asyncio.open_connection(address, port), 5)
    writer.write(json.dumps({"command": command}).encode())
    raw = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()
    answer: dict[str, object] = json.loads(raw.strip(b"\x00\n"))
    return answer


def test_addresses_count_up_over_the_end_of_a_byte(tmp_path: Path) -> None:
    addresses = [miner.address for miner in farm(tmp_path).miners]
    assert addresses == ["127.31.0.1", "127.31.0.2", "127.31.0.3", "127.31.0.254", "127.31.0.255"]


def test_a_miner_has_its_own_instead_of_the_groups(tmp_path: Path) -> None:
    first, second, third, *_ = farm(tmp_path).miners
    assert (first.faults.unplugged, second.faults.unplugged) == (False, True)
    assert third.missing_boards == (0,)
    assert (first.site_offset_c, third.site_offset_c) == (0.0, 5.0)


def test_firmware_is_the_models_unless_the_farm_says_otherwise(tmp_path: Path) -> None:
    assert [m.firmware for m in farm(tmp_path).miners[2:4]] == ["antminer-legacy", "whatsminer-v3"]
    text = FARM.replace(
        "  - model: whatsminer-m60s", "  - model: whatsminer-m60s\n    firmware: whatsminer-v2"
    )
    assert farm(tmp_path, text).miners[3].family == "whatsminer-v2"


def test_identities_differ_and_last(tmp_path: Path) -> None:
    miners, again = farm(tmp_path).miners, farm(tmp_path).miners
    assert len({miner.mac for miner in miners} | {miner.serial for miner in miners}) == 2 * len(miners)
    assert [miner.mac for miner in miners] == [miner.mac for miner in again]
    assert farm(tmp_path, seed=4).miners[0].seed != miners[0].seed


def test_initial_settings_have_long_been_in_force(tmp_path: Path) -> None:
    spec = farm(tmp_path)
    state = build_machine(spec, spec.miners[3], ManualClock(START)).state()
    assert (state.phase, state.power_limit_w) == ("stable", 3000)
    assert state.elapsed_s > 5 * 3600
    assert state.hashrate_30m_ths < 0.99 * state.factory_hashrate_ths


def test_a_farm_takes_a_physics_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(NEW_MODEL.replace("CURVE", COEFFICIENTS))
    text = FARM.replace("seed: 3", "seed: 3\nphysics: my.yaml").replace("antminer-s19\n", "acme-x1\n")
    spec = farm(tmp_path, text)
    state = build_machine(spec, spec.miners[0], ManualClock(START)).state()
    assert state.type_text == "Antminer X1"
    assert state.hashrate_30m_ths == pytest.approx(500, rel=0.06)


async def test_a_farm_runs_real_peers_and_closes_them(tmp_path: Path) -> None:
    clock = ManualClock(START)
    async with run_farm(farm(tmp_path), clock) as running:
        assert set(running.machines) == set(running.peers)
        answer = await ask("127.31.0.1", API_PORT, "stats")
        assert "Antminer S19" in json.dumps(answer)
        with pytest.raises(ConnectionRefusedError):
            await ask("127.31.0.2", API_PORT, "stats")
    with pytest.raises(ConnectionRefusedError):
        await ask("127.31.0.1", API_PORT, "stats")


async def test_what_a_peer_says_is_what_its_machine_does(tmp_path: Path) -> None:
    clock = ManualClock(START)
    async with run_farm(farm(tmp_path), clock) as running:
        answer = await ask("127.31.0.3", API_PORT, "stats")
        state = running.machines["127.31.0.3"].state()
    stats = answer["STATS"]
    assert isinstance(stats, list)
    assert stats[1]["GHS 5s"] == pytest.approx(state.hashrate_5s_ths * 1000, rel=1e-4)
    assert stats[1]["chain_acn1"] == 0


async def test_a_second_farm_at_the_same_place_says_that_it_is_taken(tmp_path: Path) -> None:
    clock = ManualClock(START)
    async with run_farm(farm(tmp_path), clock):
        with pytest.raises(InputError, match="in use already"):
            async with run_farm(farm(tmp_path), clock):
                pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may listen on port 80")
async def test_a_port_that_needs_privilege_says_what_to_do(tmp_path: Path) -> None:
    if LOWEST_PORT <= 80:
        pytest.skip("anybody may listen on port 80 here")
    with pytest.raises(InputError, match="port_offset"):
        async with run_farm(farm(tmp_path, FARM.replace(str(OFFSET), "0")), ManualClock(START)):
            pass


@pytest.mark.parametrize(
    ("wrong", "right", "problem"),
    [
        ("127.31.0.1", "10.0.0.1", "127.0.0.0/8"),
        ("127.31.0.254", "127.31.0.2", "already belongs to groups.0"),
        ("unplugged: true", "on_fire: true", "unknown fault 'on_fire'"),
        ("unplugged: true", "unplugged: 3", "must be true or false"),
        ('"2":', '"3":', "the group has miners 0 to 2"),
        pytest.param(f"port_offset: {OFFSET}", "port_offset: 61000", "port_offset", id="port_offset"),
        ("seed: 3", "seed: 3\ncolour: red", "not a known key"),
        ("kind: constant", "kind: lunar", "ambient"),
        ("port_offset", "start: 2026-01-01T00:00:00\nport_offset", "needs a time zone"),
    ],
)
def test_a_farm_file_that_is_wrong_names_key_and_line(
    tmp_path: Path, wrong: str, right: str, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        farm(tmp_path, FARM.replace(wrong, right, 1))
    assert caught.value.line is not None


@pytest.mark.parametrize(
    ("wrong", "right", "problem"),
    [
        ("antminer-s19\n", "antminer-s99\n", "groups.0: no physics for model 'antminer-s99'"),
        ("missing_boards: [0]", "missing_boards: [7]", "boards 0 to 2"),
        ("count: 3", "count: 3\n    firmware: whatsminer-v2", "does not run on antminer-s19"),
    ],
)
def test_what_does_not_fit_the_model_names_the_group(
    tmp_path: Path, wrong: str, right: str, problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        farm(tmp_path, FARM.replace(wrong, right, 1))


def test_the_site_file_of_a_farm_loads_with_its_logins(tmp_path: Path) -> None:
    spec = farm(tmp_path)
    write_site(tmp_path / "site.yaml", spec)
    site = load_site(tmp_path / "site.yaml")
    assert [miner.address for miner in site.miners] == [miner.address for miner in spec.miners]
    endpoint = site.endpoint(site.miners[0])
    assert endpoint.credentials is not None
    assert (endpoint.credentials.username, endpoint.credentials.password) == ("root", "secret")
    assert (endpoint.ports.api, endpoint.ports.web) == (API_PORT, OFFSET + 80)
    assert site.endpoint(site.miners[3]).credentials is None
    secret = next((tmp_path / "site.secrets").iterdir())
    assert secret.stat().st_mode & 0o777 == 0o600


def test_the_example_farm_is_good() -> None:
    spec = load_farm(EXAMPLE)
    assert len(spec.miners) == 20

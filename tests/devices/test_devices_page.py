"""`hashmargin devices`: its table says what the drivers do, and the pages made from it are up to date."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.cli import main
from agent.cli.devices import DEVICES_COMMAND, HEALTH_COMMAND
from agent.cli.devices_page import devices_markdown, health_markdown, put_between, reported
from agent.clock import ManualClock
from agent.devices.abilities import ABILITIES, cost
from agent.devices.antminer import errors as antminer
from agent.devices.device import Endpoint, Ports
from agent.devices.error_codes import GRADES, ErrorCode, lookup, worst_first
from agent.devices.families import FAMILIES, open_device
from agent.devices.whatsminer import errors as whatsminer
from agent.errors import InputError
from agent.hardware.catalogue import Catalogue
from agent.setting import Knob
from simulator.machine import Machine
from simulator.peers import PeerOptions, PeerPorts, serve
from simulator.physics_file import default_physics

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "cases"


# -- the pages -------------------------------------------------------------------------------------


def test_the_page_of_devices_is_up_to_date() -> None:
    page = (ROOT / "docs" / "devices.md").read_text()
    made = put_between(page, devices_markdown(Catalogue.load(), CASES), DEVICES_COMMAND)
    assert page == made, f"run: {DEVICES_COMMAND} --update docs/devices.md"


def test_the_page_of_health_is_up_to_date() -> None:
    page = (ROOT / "docs" / "health.md").read_text()
    made = put_between(page, health_markdown(), HEALTH_COMMAND)
    assert page == made, f"run: {HEALTH_COMMAND} --update docs/health.md"


def test_a_page_without_markers_is_left_alone() -> None:
    with pytest.raises(InputError, match="lacks the lines"):
        put_between("# Devices\n", "table", DEVICES_COMMAND)


def test_a_folder_without_saved_replies_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no saved replies"):
        reported(tmp_path)


# -- the table against the drivers -----------------------------------------------------------------


def test_every_family_has_its_row() -> None:
    assert set(FAMILIES) <= set(ABILITIES)


SIMULATED = [
    ("antminer-old", "antminer-s9", PeerOptions(firmware="old")),
    ("antminer-stock", "antminer-s21", PeerOptions(layout="new", offers_hashrate_percent=True)),
    ("whatsminer-v2", "whatsminer-m30s-plus-plus", PeerOptions()),
    ("whatsminer-v3", "whatsminer-m60s", PeerOptions(api_v3=True)),
    ("luxos", "antminer-s19-pro", PeerOptions(firmware="luxos")),
    ("braiins", "antminer-s19-pro", PeerOptions(firmware="braiins")),
    ("vnish", "antminer-s19-pro", PeerOptions(firmware="vnish")),
]


@pytest.mark.parametrize(("family", "model", "options"), SIMULATED, ids=lambda value: str(value)[:16])
async def test_the_knobs_of_the_table_are_those_a_driver_offers(
    family: str, model: str, options: PeerOptions
) -> None:
    clock = ManualClock(datetime(2026, 5, 1, tzinfo=UTC))
    machine = Machine(
        default_physics().model(model), seed=3, clock=clock, mac="02:35:00:00:00:01", serial="SN35"
    )
    address = f"127.35.1.{1 + [row[0] for row in SIMULATED].index(family)}"
    peer = await serve(machine, address, PeerPorts(0, 0, 0, 0, 0, 0), options)
    try:
        ports = Ports(peer.ports.api, peer.ports.web, peer.ports.status, peer.ports.api_v3, peer.ports.ssh)
        found = await open_device(family, Endpoint(address, ports), clock).capabilities()
    finally:
        await peer.close()
    offered = {control.knob for control in found.controls}
    told = {way.knob for way in ABILITIES[family].ways}
    # Only newer firmware shows a percentage again, and only then is it offered.
    assert offered == told - ({Knob.POWER_PERCENT} if family == "whatsminer-v2" else set())


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_what_a_driver_cannot_do_has_no_way(family: str) -> None:
    writes = {"pyasic-rs": False}.get(family, True)
    assert bool(ABILITIES[family].ways) is writes
    assert (ABILITIES[family].pools is not None) is writes


def test_every_control_of_every_profile_has_a_way_in_some_family() -> None:
    ways = {
        (info.vendor, info.firmware, way.knob)
        for info in FAMILIES.values()
        for way in ABILITIES[info.name].ways
    }
    # S9 and S17 are set over ssh by a driver that comes with the table's row.
    ways |= {("bitmain", "stock", way.knob) for way in ABILITIES["antminer-old"].ways}
    for profile in Catalogue.load().profiles.values():
        for firmware, controls in profile.controls.items():
            for control in controls:
                assert (profile.vendor, firmware, control.knob) in ways, (profile.key, control.knob)


def test_profiles_of_one_firmware_agree_on_what_restarts() -> None:
    found: dict[tuple[str, str, Knob], set[bool]] = {}
    for profile in Catalogue.load().profiles.values():
        for firmware, controls in profile.controls.items():
            for control in controls:
                key = (profile.vendor, firmware, control.knob)
                found.setdefault(key, set()).add(control.restarts_hashing)
    assert {key: answers for key, answers in found.items() if len(answers) > 1} == {}


def test_cost_spans_the_models() -> None:
    profiles = Catalogue.load().profiles.values()
    found = cost("microbt", "stock", Knob.POWER_LIMIT_W, profiles)
    assert found is not None
    assert (found.restarts, found.settles_s, found.lost_s) == (True, (1200.0, 1800.0), (600.0, 900.0))


def test_a_change_that_does_not_restart_costs_no_hashing() -> None:
    found = cost("microbt", "stock", Knob.POWER_PERCENT, Catalogue.load().profiles.values())
    assert found is not None
    assert (found.restarts, found.lost_s) == (False, (0.0, 0.0))


def test_a_knob_that_no_profile_has_costs_nothing_known() -> None:
    assert cost("bitmain", "luxos", Knob.WORK_MODE, Catalogue.load().profiles.values()) is None


# -- the command -----------------------------------------------------------------------------------


def test_every_family_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    run("devices")
    listed = {line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert set(FAMILIES) <= listed


def test_one_family_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    run("devices", "whatsminer-v2", "--json")
    found = json.loads(capsys.readouterr().out)
    limit = next(control for control in found["controls"] if control["knob"] == "power_limit_w")
    assert limit["restarts_hashing"] is True
    assert limit["settles_s"] == [1200.0, 1800.0]
    assert "WhatsMinerTool" in found["owner_enables"]


def test_one_family_as_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    run("devices", "vnish")
    shown = capsys.readouterr().out
    assert "mining/stop" in shown
    assert "`" not in shown


def test_codes_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    run("devices", "--errors", "--json")
    found = json.loads(capsys.readouterr().out)
    assert set(found["severities"]) == set(GRADES)
    assert {"vendor": "Antminer", "codes": "F:1", "text": "fan fault", "severity": "critical"} in found[
        "codes"
    ]


def test_codes_as_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    run("devices", "--errors")
    shown = capsys.readouterr().out
    assert re.search(r"53n\s+board n not found\s+critical", shown)
    assert "today" in shown


def test_update_replaces_only_what_stands_between_the_markers(tmp_path: Path) -> None:
    page = tmp_path / "health.md"
    begin, end = f"<!-- begin `{HEALTH_COMMAND}`; a test compares -->\n", f"<!-- end `{HEALTH_COMMAND}` -->"
    page.write_text(f"before\n{begin}old\n{end}\nafter\n")
    run("devices", "--errors", "--markdown", "--update", str(page))
    assert page.read_text() == f"before\n{begin}{health_markdown()}{end}\nafter\n"


@pytest.mark.parametrize(
    "words",
    [
        ("--json", "--markdown"),
        ("--errors", "luxos"),
        ("--cases", "tests/cases"),
        ("--update", "page.md"),
        ("nosuch",),
        ("--markdown", "--update", "no/such/page.md"),
    ],
)
def test_what_does_not_fit_together_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["devices", *words])
    assert left.value.code == 2


def run(*words: str) -> None:
    with pytest.raises(SystemExit) as left:
        main(list(words))
    assert left.value.code == 0


# -- error codes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("table", [whatsminer.TABLE, antminer.TABLE], ids=["whatsminer", "antminer"])
def test_no_row_of_a_table_hides_behind_an_earlier_one(table: tuple[ErrorCode, ...]) -> None:
    for row in table:
        for codes in row.codes.split():
            # A digit at the end of its range: exact rows take the low ones first.
            sample = [codes.replace("?", d).replace("n", d).replace("m", d) for d in "9876543210"]
            found = [lookup(table, code) for code in sample]
            own = [(row.words(code), row.severity) for code in sample]
            assert any(one == other for one, other in zip(found, own, strict=True)), row.codes


@pytest.mark.parametrize("table", [whatsminer.TABLE, antminer.TABLE], ids=["whatsminer", "antminer"])
def test_every_row_has_words_and_a_severity_that_says_what_to_do(table: tuple[ErrorCode, ...]) -> None:
    for row in table:
        assert row.text.strip() == row.text != ""
        assert row.severity in GRADES
        assert ("n" in re.sub(r"[^nm]", "", row.codes)) is bool("{n}" in row.text), row.codes


@pytest.mark.parametrize(
    ("code", "words", "severity"),
    [
        ("121", "exhaust fan speed differs by more than 2000 rpm", "critical"),
        ("237", "power supply output protecting: current too high", "critical"),
        ("236", "power supply output protecting: current too high", "info"),
        ("321", "temperature of board 1 cannot be read", "info"),
        ("323", "temperature of board 3 cannot be read", "warning"),
        ("383", "protecting: humidity", "critical"),
        ("722", "control board: broken frames from board 2", "warning"),
        ("2010", "all pools disabled", "critical"),
        ("5051", "board 1 stopped: protecting its chips from heat", "critical"),
        ("5503", "slot 0 chip 3: reset", "warning"),
        ("8521", "factory check: power above level 2", "warning"),
        ("9999", "unknown error of the miner's software", "warning"),
        ("110001", "a virus was removed; upgrade the firmware, change every password", "critical"),
        ("8999999", "unknown error", "warning"),
    ],
)
def test_whatsminer_codes_in_words(code: str, words: str, severity: str) -> None:
    assert (whatsminer.describe(code), whatsminer.severity(code)) == (words, severity)


@pytest.mark.parametrize(
    ("code", "words", "severity"),
    [
        ("R:1", "hashrate is low", "warning"),
        ("J3:1", "chain 1 and 2: bad chip", "critical"),
        ("F8:1", "fan 4: fault", "critical"),
        ("P:1", "too hot: stopped to protect itself", "critical"),
        ("J:1", "unknown code J:1", "warning"),
        ("R:1\n", "unknown code R:1\n", "warning"),
        ("J\u0663:1", "unknown code J\u0663:1", "warning"),
    ],
)
def test_antminer_codes_in_words(code: str, words: str, severity: str) -> None:
    found = antminer.decode_code(code)
    assert (found.code, found.text, found.severity) == (code, words, severity)


def test_the_worst_severity_sorts_first() -> None:
    known = sorted(["info", None, "critical", "warning", "odd"], key=worst_first)
    assert known[0] == "critical"
    assert known[-1] == "info"

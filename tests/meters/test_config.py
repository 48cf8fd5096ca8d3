"""The `meters` block of the site file: what it takes, and the words for what it does not."""

from pathlib import Path
from typing import Any

import pytest

from agent.errors import ConfigError
from agent.meters.config import SnmpMeter, anchor_meters, check_meters
from agent.yamlfile import parse_yaml
from tests.meters.site import Block, config

WHOLE = """
meters:
  - name: pdu-a
    kind: snmp
    host: 192.0.2.10
    community_file: secrets/pdu-a
    outlets:
      - {name: a1, oid: .1.3.6.1.4.1.318.1.1.26.9.4.3.1.7.1, miners: [m1]}
      - {name: a2, oid: 1.3.6.1.4.1.318.1.1.26.9.4.3.1.7.2, scale: 0.1, miners: [m2]}
  - name: board-1
    kind: modbus
    host: 192.0.2.20
    unit: 3
    points:
      - {register: 52, miners: [m1, m2, m3], overhead_w: 250}
  - name: shelly
    kind: http
    url: http://192.0.2.30/rpc/Shelly.GetStatus
    points:
      - {path: "switch:0.apower", miners: [m3], max_power_w: 3700}
"""
ROWS = {"m1": 0, "m2": 1, "m3": 2, "02:00:00:00:00:01": 0}
POINT = {"register": 0, "miners": ["m1"]}
MODBUS: dict[str, Any] = {"name": "x", "kind": "modbus", "host": "192.0.2.1", "points": [POINT]}
HTTP: dict[str, Any] = {"name": "x", "kind": "http", "points": [{"path": "a", "miners": ["m1"]}]}
SNMP: dict[str, Any] = {
    "name": "x",
    "kind": "snmp",
    "host": "192.0.2.1",
    "community_file": "c",
    "outlets": [{"oid": "1.3.6.1", "miners": ["m1"]}],
}


def test_a_whole_block_is_taken() -> None:
    meters = parse_yaml(WHOLE, Block).meters
    check_meters(meters, ROWS)
    assert [(m.name, m.kind, m.deadline_s, m.line) for m in meters] == [
        ("pdu-a", "snmp", 3.0, ("192.0.2.10", 161)),
        ("board-1", "modbus", 3.0, ("192.0.2.20", 502)),
        ("shelly", "http", 3.0, ("192.0.2.30", 80)),
    ]
    assert [[(p.label, p.limit_w, p.resolution_w) for p in m.figures] for m in meters] == [
        [("a1", 15_000.0, 1.0), ("a2", 15_000.0, 0.1)],
        [("input:52", 45_250.0, 0.0)],
        [("switch:0.apower", 3_700.0, 0.0)],
    ]


def test_relative_paths_are_taken_from_the_folder_of_the_file() -> None:
    first = anchor_meters(parse_yaml(WHOLE, Block).meters, Path("/etc/hashmargin"))[0]
    assert isinstance(first, SnmpMeter)
    assert first.community_file == Path("/etc/hashmargin/secrets/pdu-a")


def changed(base: dict[str, Any], point: dict[str, Any] | None = None, **values: Any) -> dict[str, Any]:
    key = "outlets" if base is SNMP else "points"
    return {**base, **({key: [{**base[key][0], **point}]} if point else {}), **values}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (changed(MODBUS, kind="profibus"), "profibus"),
        (changed(MODBUS, colour="red"), "colour"),
        (changed(MODBUS, points=[]), "points"),
        (changed(MODBUS, {"scale": 0.0}), "0 would make every reading 0 W"),
        (changed(MODBUS, {"miners": []}), "miners"),
        (changed(MODBUS, {"miners": ["m1", "m1"]}), "stands here twice"),
        (changed(MODBUS, {"overhead_w": -1.0}), "overhead_w"),
        (changed(MODBUS, {"overhead_w": 500.0, "max_power_w": 500.0}), "leaves nothing above overhead_w"),
        (changed(MODBUS, {"register": 65535}), "ends beyond 65535"),
        (changed(MODBUS, {"type": "float64"}), "type"),
        (changed(MODBUS, {"word_order": "middle"}), "word_order"),
        (changed(MODBUS, points=[POINT, {**POINT, "miners": ["m2"]}]), "input:0 stands here twice"),
        (changed(MODBUS, unit=256), "unit"),
        (changed(MODBUS, deadline_s=0.0), "deadline_s"),
        (changed(SNMP, {"oid": "system.sysDescr"}), "oid"),
        (changed(SNMP, {"oid": "1.40.1"}), "not an object identifier"),
        (changed(SNMP, {"oid": "1.3.4294967296"}), "not an object identifier"),
        (changed(SNMP, systemd_credential="also"), "exactly one of"),
        (changed(SNMP, community="public"), "community"),
        (changed(HTTP, url="https://192.0.2.1/"), "https is not supported"),
        (changed(HTTP, url="http://me:secret@192.0.2.1/"), "put a token into token_file"),
        (changed(HTTP, url="http://192.0.2.1:70000/"), "not a web address"),
        (changed(HTTP, url="http://192.0.2.1/a b"), "cannot have"),
        (changed(HTTP, {"path": "a..b"}, url="http://192.0.2.1/"), "dots between them"),
    ],
)
def test_what_is_wrong_is_said(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(**values)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({**MODBUS}, "name x already stands at meters.0"),
        ({**MODBUS, "name": "X"}, "name X already stands at meters.0"),
        (changed(MODBUS, {"miners": ["ghost"]}, name="y"), "y/input:0: no miner of the site is called ghost"),
        ({**MODBUS, "name": "y"}, "m1 already has an outlet: x/input:0"),
    ],
)
def test_names_have_to_fit_the_site(second: dict[str, Any], words: str) -> None:
    meters = [config(**MODBUS), config(**second)]
    with pytest.raises(ValueError, match=r"^meters\.1: .*") as caught:
        check_meters(meters, ROWS)
    assert words in str(caught.value)


def test_a_miner_by_another_of_its_names_is_the_same_miner() -> None:
    once = changed(MODBUS, {"miners": ["m1", "02:00:00:00:00:01"]})
    with pytest.raises(ValueError, match="02:00:00:00:00:01 already has a circuit: x/input:0 as m1"):
        check_meters([config(**once)], ROWS)


def test_a_miner_may_be_on_one_outlet_and_one_circuit_but_not_on_two_circuits() -> None:
    outlet = config(**MODBUS)
    first = config(**changed(MODBUS, {"miners": ["m1", "m2"]}, name="y"))
    second = config(**changed(MODBUS, {"miners": ["m2", "m3"]}, name="z"))
    check_meters([outlet, first], ROWS)
    with pytest.raises(ValueError, match="m2 already has a circuit: y/input:0"):
        check_meters([outlet, first, second], ROWS)

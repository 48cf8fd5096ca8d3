"""The Antminer driver against a miner whose every answer the test decides: requests, facts, writes."""

from __future__ import annotations

import copy
import json
import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from agent.clock import ManualClock
from agent.devices.antminer.stock import AntminerStock, capture, decode
from agent.errors import DeviceError, Malformed, Refused, Unreachable, Unsupported
from agent.hardware.bounds import Bounds, PermittedSetting, permit
from agent.setting import Knob, Setting
from tests.devices.antminer_scripted import (
    CLOSE,
    HANG,
    NOT_OFFERED,
    POOLS,
    SYSTEM,
    Antminer,
    antminer,
    legacy_stats,
    listed,
    new,
    new_stats,
    said_no,
)

POOL_ROWS = [{"POOL": 0, "URL": "stratum+tcp://one.example:3333", "Accepted": 5, "Rejected": 0, "Stale": 0}]
NEW_POOLS = [{"index": 0, "url": "stratum+tcp://one.example:3333", "accepted": 7, "rejected": 1, "stale": 0}]
S19 = {"stats": legacy_stats(), "pools": listed("POOLS", POOL_ROWS, 7)}
S21 = {"stats": new_stats(), "pools": new("POOLS", NEW_POOLS)}
FULL: dict[str, Any] = {
    "pools": POOLS,
    "api-listen": True,
    "api-allow": "A:0/0,W:*",
    "bitmain-fan-ctrl": False,
    "bitmain-fan-pwm": "100",
    "bitmain-use-vil": True,
    "bitmain-freq": "485",
    "bitmain-work-mode": "0",
    "bitmain-freq-level": "100",
    "site-owner-note": {"keep": ["this", 1]},
}
RELEASE: dict[str, Any] = {
    "pools": POOLS,
    "bitmain-fan-ctrl": False,
    "bitmain-fan-pwm": "100",
    "bitmain-work-mode": "0",
    "bitmain-hashrate-percent": "100",
    "bitmain-user-ip-cat": None,
}
WEB = {"get_system_info.cgi": SYSTEM}
S21_WEB = {"get_system_info.cgi": {**SYSTEM, "minertype": "Antminer S21"}}
BOUNDS = (
    Bounds(Knob.WORK_MODE, choices=("normal", "low", "high", "efficient", "sleep")),
    Bounds(Knob.HASHRATE_PERCENT, 60, 100),
    Bounds(Knob.POWER_LIMIT_W, 1000, 4000),
    Bounds(Knob.STOP),
)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 11, 20, 12, 0, tzinfo=UTC))


def asked_for(text: str) -> PermittedSetting:
    return permit(Setting.parse(text), BOUNDS)


def driver(it: Antminer, clock: ManualClock, **more: Any) -> AntminerStock:
    return AntminerStock(it.endpoint(**more), clock)


def later(it: Antminer, clock: ManualClock, seconds: float, **more: Any) -> None:
    """Time passes, and the miner's process has run on."""
    clock.advance(seconds)
    stats = it.api["stats"]
    new_kind = isinstance(stats["STATUS"], dict)
    row = stats["STATS"][-1]
    row["elapsed" if new_kind else "Elapsed"] += seconds
    row.update(more)


async def test_after_the_first_a_reading_takes_two_requests_at_most(clock: ManualClock) -> None:
    async with antminer(api=copy.deepcopy(S19), pages=WEB, conf=FULL, status={"/warning": {}}) as it:
        device = driver(it, clock)
        await device.read()
        it.fresh()
        counts = []
        for _ in range(40):
            later(it, clock, 30.0)
            await device.read()
            counts.append(len(it.fresh()))
        assert max(counts) == 2
        # Most polls ask for nothing but the figures.
        assert counts.count(1) > 20


async def test_every_reading_of_a_miner_that_tells_its_watts_has_them(clock: ManualClock) -> None:
    status = {"/miner_power": b"miner power:3380", "/warning": {"error_message": "None"}}
    async with antminer(api=copy.deepcopy(S21), pages=S21_WEB, conf=RELEASE, status=status) as it:
        device = driver(it, clock)
        await device.read()
        it.fresh()
        asked, readings = [], []
        for _ in range(120):
            later(it, clock, 30.0)
            readings.append(await device.read())
            asked.append(it.fresh())
    assert {(reading.power_w, reading.power_source) for reading in readings} == {(3380.0, "measured")}
    assert {one[:2] == ["stats", "/miner_power"] for one in asked} == {True}
    # A fact is a third request, never more than one in a reading, and rare: an hour has 29.
    facts = [name for one in asked for name in one[2:]]
    assert max(len(one) for one in asked) == 3
    assert len(facts) <= 30
    assert {"pools", "get_miner_conf.cgi", "/warning"} <= set(facts)


async def test_watts_are_known_even_where_every_fact_is_always_due(clock: ManualClock) -> None:
    status = {"/miner_power": b"miner power:3380", "/warning": {"error_message": "None"}}
    async with antminer(api=copy.deepcopy(S21), pages=S21_WEB, conf=RELEASE, status=status) as it:
        device = driver(it, clock)
        readings = []
        for _ in range(20):
            later(it, clock, 7200.0)
            readings.append(await device.read())
    assert {reading.power_w for reading in readings} == {3380.0}


@pytest.mark.parametrize("power", [b"error 6060 cmd", b"HTTP/1.0 404 Not Found\r\n\r\n"])
async def test_a_miner_without_a_power_reading_is_not_asked_again(clock: ManualClock, power: bytes) -> None:
    async with antminer(api=copy.deepcopy(S19), pages=WEB, conf=FULL, status={"/miner_power": power}) as it:
        device = driver(it, clock)
        first = await device.read()
        it.fresh()
        for _ in range(20):
            later(it, clock, 60.0)
            await device.read()
        assert "/miner_power" not in it.fresh()
        assert (first.power_w, first.power_source) == (None, None)


@pytest.mark.parametrize(
    "pages",
    [
        {"get_system_info.cgi": HANG, "get_miner_conf.cgi": HANG, "summary.cgi": HANG},
        {"get_system_info.cgi": CLOSE, "get_miner_conf.cgi": CLOSE, "summary.cgi": CLOSE},
        {"get_system_info.cgi": 500, "get_miner_conf.cgi": 500, "summary.cgi": 500},
        {"get_system_info.cgi": b"<html>", "get_miner_conf.cgi": b"\xff", "summary.cgi": b"[1]"},
        {},
    ],
    ids=["hangs", "closes", "500", "nonsense", "no port"],
)
async def test_broken_web_pages_never_stop_a_reading(clock: ManualClock, pages: dict[str, Any]) -> None:
    async with antminer(api=copy.deepcopy(S19), pages=pages) as it:
        reading = await driver(it, clock, deadline_s=1.0).read()
        assert reading.hashrate_ths == pytest.approx(111.87826)
        assert reading.shares_accepted == 5
        # What only the web tells is unknown, not made up.
        assert (reading.mac, reading.work_mode, reading.errors) == (None, None, None)


async def test_a_hanging_web_does_not_cost_every_reading(clock: ManualClock) -> None:
    pages = {"get_system_info.cgi": HANG, "get_miner_conf.cgi": HANG, "summary.cgi": HANG}
    async with antminer(api=copy.deepcopy(S19), pages=pages) as it:
        device = driver(it, clock, deadline_s=1.0)
        await device.read()
        it.fresh()
        for _ in range(5):
            later(it, clock, 1.0)
            await device.read()
        assert it.fresh() == ["stats"] * 5


async def test_the_mac_stays_known_while_its_page_is_away(clock: ManualClock) -> None:
    async with antminer(api=copy.deepcopy(S19), pages=dict(WEB), conf=FULL) as it:
        device = driver(it, clock)
        assert (await device.read()).mac == "02:a0:b1:00:00:17"
        it.pages["get_system_info.cgi"] = 500
        for _ in range(10):
            later(it, clock, 3000.0)
            assert (await device.read()).mac == "02:a0:b1:00:00:17"


async def test_an_old_configuration_does_not_pass_for_the_present_one(clock: ManualClock) -> None:
    async with antminer(api=copy.deepcopy(S19), pages=dict(WEB), conf=FULL) as it:
        device = driver(it, clock)
        assert (await device.read()).work_mode == "normal"
        it.pages["get_miner_conf.cgi"] = 500
        modes = []
        for _ in range(12):
            later(it, clock, 60.0)
            modes.append((await device.read()).work_mode)
        assert modes[-1] is None


async def test_a_restart_renews_the_share_counts_at_once(clock: ManualClock) -> None:
    async with antminer(api=copy.deepcopy(S19), pages=WEB, conf=FULL) as it:
        device = driver(it, clock)
        assert (await device.read()).shares_accepted == 5
        later(it, clock, 10.0, Elapsed=3)
        it.api["pools"] = listed("POOLS", [{**POOL_ROWS[0], "Accepted": 0}], 7)
        assert (await device.read()).shares_accepted == 0


async def test_a_restart_with_busy_pages_does_not_lose_the_mac(clock: ManualClock) -> None:
    async with antminer(api=copy.deepcopy(S19), pages=dict(WEB), conf=FULL) as it:
        device = driver(it, clock)
        await device.read()
        later(it, clock, 60.0, Elapsed=20)
        it.pages["get_system_info.cgi"] = 500
        assert (await device.read()).mac == "02:a0:b1:00:00:17"


async def test_another_machine_whose_pages_fail_does_not_inherit_the_mac(clock: ManualClock) -> None:
    async with antminer(api=copy.deepcopy(S19), pages=dict(WEB), conf=FULL) as it:
        device = driver(it, clock)
        await device.read()
        later(it, clock, 60.0, Elapsed=900_000)
        it.pages["get_system_info.cgi"] = 500
        assert (await device.read()).mac is None


async def test_another_machine_at_the_address_is_told_by_its_uptime(clock: ManualClock) -> None:
    async with antminer(api=copy.deepcopy(S19), pages=dict(WEB), conf=FULL) as it:
        device = driver(it, clock)
        assert (await device.read()).mac == "02:a0:b1:00:00:17"
        it.api = copy.deepcopy(S21)
        it.api["stats"]["STATS"][0]["elapsed"] = 900_000
        it.pages["get_system_info.cgi"] = {**S21_WEB["get_system_info.cgi"], "macaddr": "02:A0:B1:00:00:99"}
        clock.advance(30.0)
        reading = await device.read()
        assert (reading.mac, reading.model) == ("02:a0:b1:00:00:99", "antminer-s21")


async def test_faults_come_from_port_6060_in_words(clock: ManualClock) -> None:
    status = {"/warning": {"error_message": "P:1,R2:1"}}
    async with antminer(api=copy.deepcopy(S21), pages=WEB, conf=RELEASE, status=status) as it:
        errors = (await driver(it, clock).read()).errors or ()
    assert [(e.code, e.severity) for e in errors] == [("P:1", "critical"), ("R2:1", "critical")]
    assert "chain 2" in (errors[1].text or "")


async def test_without_port_6060_faults_come_from_the_summary(clock: ManualClock) -> None:
    row = {"status": [{"type": "temp", "status": "e", "code": 1, "msg": "over max temp"}, {"status": "s"}]}
    api = {**copy.deepcopy(S21), "summary": new("SUMMARY", [row])}
    async with antminer(api=api, pages=WEB, conf=RELEASE) as it:
        device = driver(it, clock)
        (error,) = (await device.read()).errors or ()
        assert (error.code, error.text, error.severity) == ("temp:1", "over max temp", "critical")
    async with antminer(
        api=copy.deepcopy(S19), pages={**WEB, "summary.cgi": api["summary"]}, conf=FULL
    ) as it:
        (error,) = (await driver(it, clock).read()).errors or ()
        assert error.code == "temp:1"


async def test_firmware_that_refuses_the_new_layout_is_asked_for_the_old(clock: ManualClock) -> None:
    api = {**copy.deepcopy(S19), "stats.new_api": said_no(14, "Invalid command")}
    async with antminer(api=api, pages=WEB, conf=FULL) as it:
        device = driver(it, clock)
        assert (await device.read()).model == "antminer-s19-pro"
        it.fresh()
        later(it, clock, 1.0)
        await device.read()
        assert it.fresh().count("stats") == 1


async def test_empty_lists_while_it_restarts_are_unknown_and_not_0(clock: ManualClock) -> None:
    api = {"stats": new("STATS", []), "pools": new("POOLS", [])}
    async with antminer(api=api, pages=S21_WEB, conf=RELEASE) as it:
        reading = await driver(it, clock).read()
    assert reading.model == "antminer-s21"
    assert (reading.hashrate_ths, reading.boards, reading.is_hashing) == (None, None, None)
    assert reading.shares_accepted is None


async def test_it_is_identified_by_its_pages_while_4028_is_closed(clock: ManualClock) -> None:
    async with antminer(pages=WEB) as it:
        identity = await driver(it, clock).identify()
    assert (identity.model, identity.mac, identity.serial) == (
        "Antminer S19 Pro",
        "02:a0:b1:00:00:17",
        "SN17",
    )


@pytest.mark.parametrize("version", [{"VERSION": {"Type": 3}}, {"VERSION": ["x"]}, {"VERSION": None}])
async def test_a_strange_version_is_survived(clock: ManualClock, version: dict[str, Any]) -> None:
    async with antminer(api={"version": version}, pages=WEB) as it:
        assert (await driver(it, clock).identify()).model == "Antminer S19 Pro"
    async with antminer(api={"version": version}) as it:
        with pytest.raises(DeviceError):
            await driver(it, clock).identify()


async def test_nothing_at_all_is_unreachable(clock: ManualClock) -> None:
    async with antminer() as it:
        device = driver(it, clock)
        for call in (device.read, device.identify, device.capabilities):
            with pytest.raises(Unreachable):
                await call()
        with pytest.raises(Unreachable):
            await capture(it.endpoint(), clock)


async def test_the_login_is_kept_between_pages(clock: ManualClock) -> None:
    async with antminer(api=copy.deepcopy(S19), pages=dict(WEB), conf=FULL) as it:
        device = driver(it, clock)
        for _ in range(6):
            await device.read()
            later(it, clock, 400.0)
        assert it.logins.count("none") == 1
        assert it.logins[1:] == [f"{n:08x}" for n in range(1, len(it.logins))]


@pytest.mark.parametrize("limits", [{"hashrate_percent_min": "65", "hashrate_percent_max": "100"}])
async def test_hashrate_percent_is_offered_in_the_range_that_the_miner_tells(
    clock: ManualClock, limits: dict[str, Any]
) -> None:
    async with antminer(pages={**S21_WEB, "get_adjustment_params.cgi": limits}, conf=RELEASE) as it:
        found = {c.knob: (c.minimum, c.maximum) for c in (await driver(it, clock).capabilities()).controls}
    assert found[Knob.HASHRATE_PERCENT] == (65.0, 100.0)


@pytest.mark.parametrize(
    ("limits", "conf"),
    [
        ({"hashrate_percent_min": "null", "hashrate_percent_max": "null"}, RELEASE),
        ({"hashrate_percent_min": "100", "hashrate_percent_max": "65"}, RELEASE),
        ({"hashrate_percent_min": "0", "hashrate_percent_max": "100"}, RELEASE),
        ({"hashrate_percent_min": "65", "hashrate_percent_max": "1000"}, RELEASE),
        ({"hashrate_percent_min": "65", "hashrate_percent_max": "100"}, FULL),
        (404, RELEASE),
        (HANG, RELEASE),
    ],
)
async def test_hashrate_percent_without_a_sound_range_is_not_offered(
    clock: ManualClock, limits: Any, conf: dict[str, Any]
) -> None:
    async with antminer(pages={**S21_WEB, "get_adjustment_params.cgi": limits}, conf=conf) as it:
        found = await driver(it, clock, deadline_s=1.5).capabilities()
    assert {c.knob for c in found.controls} == {Knob.WORK_MODE, Knob.STOP}


# -- writing -------------------------------------------------------------------------------------


async def test_every_key_is_sent_back_and_only_the_mode_changes(clock: ManualClock) -> None:
    async with antminer(pages=WEB, conf=copy.deepcopy(FULL)) as it:
        applied = await driver(it, clock).apply(asked_for("work_mode=low"))
        (sent,) = it.written
    assert sent["miner-mode"] == "3"
    assert sent["freq-level"] == "100"
    assert {key: sent[key] for key in FULL if key != "bitmain-work-mode"} == {
        key: value for key, value in FULL.items() if key != "bitmain-work-mode"
    }
    assert applied.acknowledged is True
    assert applied.before == Setting.parse("work_mode=normal")
    assert applied.readback == Setting.parse("work_mode=low")
    assert "geheim" not in (applied.sent or "")


async def test_a_key_that_reads_null_is_not_written(clock: ManualClock) -> None:
    async with antminer(pages=S21_WEB, conf=copy.deepcopy(RELEASE)) as it:
        await driver(it, clock).apply(asked_for("stop"))
        (sent,) = it.written
    assert "bitmain-user-ip-cat" not in sent
    assert (sent["miner-mode"], sent["pools"]) == ("1", POOLS)


async def test_the_mode_is_written_in_the_type_that_is_read(clock: ManualClock) -> None:
    async with antminer(pages=WEB, conf={**copy.deepcopy(FULL), "bitmain-work-mode": 0}) as it:
        await driver(it, clock).apply(asked_for("work_mode=low"))
        assert it.written[0]["miner-mode"] == 3


async def test_a_percentage_keeps_the_mode_and_wakes_a_sleeper(clock: ManualClock) -> None:
    for mode, wanted in (("0", "0"), ("1", "0"), ("3", "3")):
        conf = {**copy.deepcopy(RELEASE), "bitmain-work-mode": mode}
        async with antminer(pages=S21_WEB, conf=conf) as it:
            applied = await driver(it, clock).apply(asked_for("hashrate_percent=80"))
            assert (it.written[0]["bitmain-hashrate-percent"], it.written[0]["miner-mode"]) == ("80", wanted)
            assert applied.readback == Setting.parse("hashrate_percent=80")


async def test_a_percentage_that_was_never_set_can_be_set(clock: ManualClock) -> None:
    conf = {**copy.deepcopy(RELEASE), "bitmain-hashrate-percent": None}
    async with antminer(pages=S21_WEB, conf=conf) as it:
        applied = await driver(it, clock).apply(asked_for("hashrate_percent=80"))
    assert (applied.before, applied.acknowledged) == (None, True)


@pytest.mark.parametrize(
    ("pages", "conf", "text"),
    [
        (S21_WEB, RELEASE, "hashrate_percent=80.5"),
        (WEB, FULL, "hashrate_percent=80"),
        (S21_WEB, {k: v for k, v in RELEASE.items() if "percent" not in k}, "hashrate_percent=80"),
        (WEB, FULL, "power_limit_w=3000"),
        (WEB, FULL, "work_mode=efficient"),
        ({"get_system_info.cgi": {**SYSTEM, "minertype": "Antminer S19k Pro"}}, FULL, "work_mode=high"),
        ({"get_system_info.cgi": {**SYSTEM, "minertype": "Antminer S9"}}, FULL, "stop"),
        ({"get_system_info.cgi": {**SYSTEM, "minertype": "Antminer BHB42XXX"}}, FULL, "work_mode=efficient"),
    ],
)
async def test_what_the_machine_does_not_have_is_not_written(
    clock: ManualClock, pages: dict[str, Any], conf: dict[str, Any], text: str
) -> None:
    async with antminer(pages=pages, conf=copy.deepcopy(conf)) as it:
        with pytest.raises(Unsupported):
            await driver(it, clock).apply(asked_for(text))
        assert it.written == []


@pytest.mark.parametrize(
    "page",
    [
        b'{"pools":[{"url":"a","user":"b","pass":"c"}],"bitmain-work-mode":"0"',
        b'{"pools":[{"url":"a","user":"caf\xe9","pass":"c"}],"bitmain-work-mode":"0"}',
        b'{"pools":[{"url":"a","user":"b","pass":"c"}],"bitmain-work-mode":"0",}',
        b'{"pools":[{"url":"a","user":"b","pass":"c"}],"bitmain-fan-pwm":"1","bitmain-fan-pwm":"2",'
        b'"bitmain-work-mode":"0"}',
        b'{"pools":[{"url":"a","user":"b","pass":"c"}],"bitmain-work-mode":nan}',
        {"pools": "ERR", "bitmain-work-mode": "0"},
        {"pools": [{"url": "ERR", "user": "ERR", "pass": "ERR"}], "bitmain-work-mode": "0"},
        {"pools": None, "bitmain-work-mode": "0"},
        {"pools": [], "bitmain-work-mode": "0"},
        {"pools": [{"url": "a", "user": "b"}], "bitmain-work-mode": "0"},
        {"pools": [{"url": "a", "user": None, "pass": "c"}], "bitmain-work-mode": "0"},
        {"pools": [{"url": "", "user": "", "pass": ""}], "bitmain-work-mode": "0"},
        {"pools": POOLS * 2, "bitmain-work-mode": "0"},
        {"pools": POOLS},
        {"pools": POOLS, "bitmain-work-mode": None},
        [1],
        b"",
        500,
        HANG,
        CLOSE,
    ],
)
async def test_a_configuration_that_is_not_whole_forbids_the_write(clock: ManualClock, page: Any) -> None:
    async with antminer(pages={**WEB, "get_miner_conf.cgi": page}, conf=FULL) as it:
        with pytest.raises(DeviceError) as raised:
            await driver(it, clock, deadline_s=1.0).apply(asked_for("work_mode=low"))
        assert it.written == []
        if isinstance(raised.value, Malformed) and page != b"":
            assert "nothing is written" in raised.value.detail


async def test_without_knowing_the_model_nothing_is_written(clock: ManualClock) -> None:
    async with antminer(pages={"get_system_info.cgi": 500}, conf=copy.deepcopy(FULL)) as it:
        with pytest.raises(Refused):
            await driver(it, clock).apply(asked_for("work_mode=low"))
        assert it.written == []


@pytest.mark.parametrize("answer", [HANG, CLOSE, 500, b"", b"Status 200", [1], {}])
async def test_no_answer_to_a_write_is_unknown_and_the_readback_tells(
    clock: ManualClock, answer: Any
) -> None:
    async with antminer(pages=WEB, conf=copy.deepcopy(FULL), answers=answer) as it:
        applied = await driver(it, clock).apply(asked_for("work_mode=low"))
        assert len(it.written) == 1
    assert applied.acknowledged is None
    assert applied.readback == Setting.parse("work_mode=low")


async def test_an_ok_without_effect_shows_in_the_readback(clock: ManualClock) -> None:
    async with antminer(pages=WEB, conf=copy.deepcopy(FULL), takes=False) as it:
        applied = await driver(it, clock).apply(asked_for("work_mode=low"))
        assert len(it.written) == 1
    assert applied.acknowledged is True
    assert applied.readback == Setting.parse("work_mode=normal")


@pytest.mark.parametrize("words", ["request busy", "Illegal request!"])
async def test_a_refusal_carries_the_firmwares_words(clock: ManualClock, words: str) -> None:
    answer = {"stats": "error", "code": "M001", "msg": words}
    async with antminer(pages=WEB, conf=copy.deepcopy(FULL), answers=answer, takes=False) as it:
        with pytest.raises(Refused, match=words):
            await driver(it, clock).apply(asked_for("work_mode=low"))


async def test_what_is_there_already_is_not_sent(clock: ManualClock) -> None:
    async with antminer(pages=WEB, conf={**copy.deepcopy(FULL), "bitmain-work-mode": "1"}) as it:
        applied = await driver(it, clock).apply(asked_for("stop"))
        assert it.written == []
    assert (applied.already_set, applied.sent, applied.acknowledged) == (True, None, None)


async def test_the_next_reading_shows_the_new_mode(clock: ManualClock) -> None:
    async with antminer(api=copy.deepcopy(S19), pages=WEB, conf=copy.deepcopy(FULL)) as it:
        device = driver(it, clock)
        assert (await device.read()).work_mode == "normal"
        await device.apply(asked_for("work_mode=low"))
        later(it, clock, 1.0)
        assert (await device.read()).work_mode == "low"


async def test_other_keys_that_come_back_changed_are_said_aloud(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with antminer(pages=WEB, conf=copy.deepcopy(FULL)) as it:
        it.conf["bitmain-fan-pwm"] = "100"
        original = it._write

        def loses_pools(body: bytes) -> Any:
            reply = original(body)
            it.conf["pools"] = [{"url": "x", "user": "y", "pass": "z"}, *POOLS[1:]]
            return reply

        it._write = loses_pools  # type: ignore[method-assign]
        with caplog.at_level(logging.ERROR):
            await driver(it, clock).apply(asked_for("work_mode=low"))
    assert "more of the configuration" in caplog.text


# -- saved replies -------------------------------------------------------------------------------


async def test_a_capture_names_files_after_commands_and_holds_no_password(clock: ManualClock) -> None:
    api = {**copy.deepcopy(S19), "stats.new_api": new_stats(kind="Antminer S19 Pro")}
    status = {"/miner_power": b"miner power:3200", "/warning": {"error_message": "None"}}
    async with antminer(api=api, pages=WEB, conf=FULL, status=status) as it:
        replies = await capture(it.endpoint(), clock)
    assert {
        "stats.json",
        "stats.new_api.json",
        "pools.json",
        "get_miner_conf.json",
        "miner_power.txt",
    } <= set(replies)
    assert all(b"geheim" not in raw for raw in replies.values())
    reading = decode(replies, "10.0.0.9")
    assert (reading.address, reading.power_w, reading.errors) == ("10.0.0.9", 3200.0, ())


async def test_a_capture_of_a_half_dead_miner_keeps_what_there_is(clock: ManualClock) -> None:
    async with antminer(api={"version": HANG}, pages=WEB) as it:
        replies = await capture(it.endpoint(deadline_s=0.5), clock)
    assert list(replies) == ["get_system_info.json"]


def test_commands_the_firmware_does_not_offer_do_not_hide_the_others() -> None:
    replies = {"devs": NOT_OFFERED, "stats": legacy_stats(), "pools": said_no(45, "Access denied")}
    saved = {f"{name}.json": json.dumps(reply).encode() for name, reply in replies.items()}
    assert decode(saved).hashrate_ths == pytest.approx(111.87826)

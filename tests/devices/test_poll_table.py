"""The table of `hashmargin poll`: whole figures in a terminal of ordinary width, whatever miners say."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from agent.cli.poll_table import results_table
from agent.errors import DeviceError, Malformed, Unreachable
from agent.reading import Board, MinerError, Reading
from agent.telemetry import PollResult

AT = datetime(2026, 11, 20, tzinfo=UTC)
FAULTS = tuple(MinerError(f"J{n}:1", f"chain {n}: bad chip", "critical") for n in range(1, 5))


def read(address: str = "10.100.101.117", **figures: Any) -> PollResult:
    return PollResult(address, address, AT, AT, Reading(firmware="stock", **figures), None, "whatsminer-v2")


def failed(error: DeviceError) -> PollResult:
    return PollResult(error.address, error.address, AT, AT, None, error)


def shown(*results: PollResult, width: int = 100) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width).print(results_table(results))
    return [line.rstrip() for line in out.getvalue().splitlines()]


FULL = read(
    model="whatsminer-m30s-plus-plus",
    work_mode="efficient",
    hashrate_ths=112.34,
    power_w=13_250.4,
    power_source="measured",
    chip_temp_c=101.0,
    boards=tuple(Board(n, state=state) for n, state in enumerate(("hashing", "sick", "missing"))),
    uptime_s=99 * 86_400.0,
    firmware_version="20230911.12.REL",
)


@pytest.mark.parametrize("width", [100, 170])
def test_every_figure_is_whole_in_an_ordinary_terminal(width: int) -> None:
    head, _, line, _ = shown(FULL, width=width)
    figures = ["m30s-plus-plus", "efficient", "112.3", "13,250", "m", "117.9", "101", "2/3", "99", "d"]
    assert line.split()[1:11] == figures
    assert head.split()[:9] == ["address", "model", "mode", "TH/s", "W", "J/TH", "chip", "C", "boards"]
    assert len(line) <= width


def test_many_faults_take_lines_of_their_own_and_squeeze_nothing() -> None:
    alone = shown(FULL)
    reading = Reading(**{**{f: getattr(FULL.reading, f) for f in Reading.__slots__}, "errors": FAULTS})
    with_faults = shown(PollResult("a", FULL.address, AT, AT, reading, None))
    assert with_faults[:3] == alone[:3]
    words = "; ".join([*(str(fault.text) for fault in FAULTS), alone[3].strip()])
    assert " ".join(" ".join(with_faults[3:]).split()) == words


def test_the_worst_fault_comes_first() -> None:
    errors = (MinerError("1", "a", "info"), MinerError("2", "b", None), MinerError("3", "c", "critical"))
    assert shown(read(errors=errors))[-1].strip() == "c; b; a"


def test_missing_sick_and_idle_boards_are_told_apart() -> None:
    states = ("hashing", "sick", "missing", "idle", None)
    boards = tuple(Board(n, state=state) for n, state in enumerate(states))
    assert shown(read(boards=boards))[-1].strip() == "board 1 sick; board 2 missing; board 3 idle"


def test_idle_boards_of_a_stopped_miner_are_no_fault() -> None:
    boards = (Board(0, state="idle"), Board(1, state="missing"))
    lines = shown(read(boards=boards, is_hashing=False, hashrate_ths=0.0))
    assert lines[-1].strip() == "board 1 missing"


def test_hundreds_of_faults_are_counted_instead_of_listed() -> None:
    errors = tuple(MinerError(str(n), None) for n in range(300))
    lines = shown(read(errors=errors))
    assert lines[-1].endswith("and 292 more")
    assert len(lines) == 4


def test_unknown_is_a_question_mark_and_a_true_zero_is_0() -> None:
    *_, unknown, stopped = shown(read(), read(hashrate_ths=0.0, power_w=0.0, power_source="measured"))
    assert unknown.split()[1:] == ["?"] * 8 + ["stock"]
    assert "0.0" in stopped
    assert "0 m" in stopped


def test_a_miner_that_was_not_read_shows_why_and_no_figure() -> None:
    *_, line = shown(FULL, failed(Unreachable("10.0.0.9", "port 4028: connection refused")))
    assert line.split(maxsplit=1) == ["10.0.0.9", "unreachable: port 4028: connection refused"]


def test_a_long_reason_is_folded_and_not_cut() -> None:
    reason = " ".join(f"word{n}" for n in range(40))
    lines = shown(failed(Malformed("10.0.0.9", reason)))
    assert " ".join(" ".join(lines[2:]).split()) == f"10.0.0.9 malformed: {reason}"


@pytest.mark.parametrize("text", ["[/x]", "[red]Antminer", "[bold", ":smile:", "\\[", "矿机" * 20])
def test_what_a_miner_says_is_text_and_never_markup(text: str) -> None:
    version = f"v{text}"
    lines = shown(read(model=text, firmware_version=version, errors=(MinerError("1", text),)), width=170)
    assert text[:9] in lines[2]
    assert version in lines[2]
    assert lines[3].strip() == text


def test_an_ipv6_address_is_left_as_it_is() -> None:
    *_, line = shown(read("fd00:1234:5678:9abc::17"))
    assert line.startswith("fd00:1234:5678:9abc::17 ")


def test_columns_stay_under_their_heads() -> None:
    head, _, *lines = shown(
        FULL, read("10.0.0.1", model="antminer-s9", hashrate_ths=13.5, work_mode="normal")
    )
    ends = head.index("TH/s") + len("TH/s")
    figures = [line[:ends].split()[-1] for line in lines if not line.startswith(" ")]
    assert figures == ["112.3", "13.5"]

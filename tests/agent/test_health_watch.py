"""A person is told of critical faults and lost boards, once, and when they are over."""

from __future__ import annotations

from typing import Any

import pytest

from agent.polling.health_watch import HealthWatch
from agent.reading import Board, MinerError, Reading

LOST = MinerError("532", "board 2 not found", "critical")
SHAKY = MinerError("2021", "pool 1 connection failed", "warning")


def reading(*errors: MinerError, states: tuple[str | None, ...] = ("hashing",), **more: Any) -> Reading:
    boards = tuple(Board(n, state=state) for n, state in enumerate(states))
    return Reading(errors=errors, boards=boards, **({"is_hashing": True} | more))


def look(watch: HealthWatch, *readings: Reading | None) -> list[tuple[str, ...]]:
    """The faults of every finding, from readings of one miner in turn."""
    found = [finding for one in readings for finding in watch.look([("m1", one)])]
    assert all(finding.key == "health-m1" for finding in found)
    return [finding.faults for finding in found]


def test_a_fault_that_stands_twice_is_told_once_and_so_is_its_end() -> None:
    sick, well = reading(LOST), reading()
    told = look(HealthWatch({}), well, sick, sick, sick, well, well, well)
    assert told == [("board 2 not found (532)",), ()]


def test_a_fault_seen_once_is_not_told() -> None:
    assert look(HealthWatch({}), reading(LOST), reading(), reading()) == []


def test_another_fault_is_told_again() -> None:
    hot = MinerError("351", "protecting: temperature of board 1 too high", "critical")
    first, both = reading(LOST), reading(LOST, hot)
    assert len(look(HealthWatch({}), first, first, both, both)) == 2


@pytest.mark.parametrize("error", [SHAKY, MinerError("206", "low", "info"), MinerError("9", "x", None)])
def test_what_is_not_critical_is_not_told(error: MinerError) -> None:
    assert look(HealthWatch({}), reading(error), reading(error)) == []


def test_a_missing_board_of_a_hashing_miner_is_told() -> None:
    lost = reading(states=("hashing", "missing", "sick"))
    assert look(HealthWatch({}), lost, lost) == [("board 1 is missing",)]


def test_boards_of_a_miner_that_does_not_hash_are_no_fault() -> None:
    asleep = reading(states=("missing", "idle"), is_hashing=False)
    assert look(HealthWatch({}), asleep, asleep) == []


def test_a_miner_that_was_not_read_stays_as_it_was() -> None:
    sick, untold = reading(LOST), Reading(hashrate_ths=1.0)
    assert look(HealthWatch({}), sick, None, sick, None, untold, None) == [("board 2 not found (532)",)]


def test_an_alert_from_before_the_start_is_cleared() -> None:
    watch = HealthWatch({"health-m1": "m1: board 2 not found (532)", "pool-m1": "x"})
    assert look(watch, reading(), reading()) == [()]


def test_an_alert_from_before_the_start_that_still_holds_is_told_anew() -> None:
    watch = HealthWatch({"health-m1": "m1: board 2 not found (532)"})
    assert look(watch, reading(LOST), reading(LOST), reading(LOST)) == [("board 2 not found (532)",)]


def test_hundreds_of_faults_are_counted() -> None:
    many = reading(*(MinerError(str(n), f"fault {n}", "critical") for n in range(100, 160)))
    watch = HealthWatch({})
    (found,) = [f for one in (many, many) for f in watch.look([("m1", one)])]
    assert found.words.startswith("m1: fault 100 (100); ")
    assert found.words.endswith("and 54 more")


def test_the_end_is_told_in_words() -> None:
    watch = HealthWatch({"health-m1": "x"})
    (found,) = [f for one in (reading(), reading()) for f in watch.look([("m1", one)])]
    assert found.words == "m1: reports no critical fault any more"

"""What a round of readings says about who answers where."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import Timeout, WrongMiner
from agent.polling.mac_watch import Judged, MacWatch, Post
from agent.reading import Reading
from agent.telemetry import PollResult

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
A, B, C, X = (f"02:63:00:00:00:0{n}" for n in "abcd")
PAIR = [Post("a", A, "10.0.0.1"), Post("b", B, "10.0.0.2")]
TRIO = [*PAIR, Post("c", C, "10.0.0.3")]
SILENT = "silent"


def results(posts: list[Post], macs: list[str | None]) -> list[PollResult]:
    """One result per post: a reading with that MAC, with none (None), or no answer (SILENT)."""
    out = []
    for post, mac in zip(posts, macs, strict=True):
        reading = Reading(mac=mac, hashrate_ths=100.0) if mac != SILENT else None
        error = Timeout(post.address, "silent") if mac == SILENT else None
        out.append(PollResult(post.miner_id, post.address, NOW, NOW, reading, error))
    return out


def look(watch: MacWatch, posts: list[Post], *macs: str | None) -> Judged:
    return watch.look(posts, results(posts, list(macs)))


def moved(posts: list[Post], judged: Judged) -> list[Post]:
    return [replace(post, address=judged.moves.get(i, post.address)) for i, post in enumerate(posts)]


def said(judged: Judged) -> list[tuple[str, str, bool]]:
    return [(found.kind, found.key, found.cleared) for found in judged.findings]


def test_miners_with_their_own_macs_are_left_alone() -> None:
    came = results(PAIR, [A, B])
    judged = MacWatch().look(PAIR, came)
    assert (list(judged.results), judged.strangers, judged.findings) == (came, frozenset(), ())


def test_macs_are_compared_however_they_are_written() -> None:
    assert look(MacWatch(), PAIR, A.upper().replace(":", "-"), B).strangers == frozenset()


def test_a_strangers_reading_is_not_recorded_and_both_macs_are_named() -> None:
    judged = look(MacWatch(), PAIR, X, B)
    assert judged.results[0].reading is None
    assert isinstance(judged.results[0].error, WrongMiner)
    assert judged.results[1].reading is not None
    (finding,) = judged.findings
    assert (finding.kind, finding.key, finding.severity) == ("miner-moved", "miner-moved-a", "critical")
    assert A in finding.words
    assert X in finding.words


def test_a_stranger_is_told_once_and_ended_when_the_miner_is_back() -> None:
    watch = MacWatch()
    look(watch, PAIR, X, B)
    assert look(watch, PAIR, X, B).findings == ()
    back = look(watch, PAIR, A, B)
    assert said(back) == [("miner-moved", "miner-moved-a", True)]
    assert back.strangers == frozenset()


@pytest.mark.parametrize("silence", [SILENT, None])
def test_a_doubt_does_not_end_by_silence(silence: str | None) -> None:
    watch = MacWatch()
    look(watch, PAIR, X, B)
    judged = look(watch, PAIR, silence, B)
    assert judged.strangers == {0}
    assert judged.results[0].reading is None


def test_exchanged_addresses_are_followed_and_said() -> None:
    watch = MacWatch()
    judged = look(watch, PAIR, B, A)
    assert judged.moves == {0: "10.0.0.2", 1: "10.0.0.1"}
    assert [r.reading for r in judged.results] == [None, None]
    assert [f.severity for f in judged.findings] == ["warning", "warning"]
    after = look(watch, moved(PAIR, judged), A, B)
    assert (after.strangers, after.moves, after.findings) == (frozenset(), {}, ())
    assert all(result.reading is not None for result in after.results)


def test_addresses_that_are_exchanged_back_end_the_alerts() -> None:
    watch = MacWatch()
    posts = moved(PAIR, look(watch, PAIR, B, A))
    look(watch, posts, A, B)
    again = look(watch, posts, B, A)
    posts = moved(posts, again)
    assert posts == PAIR
    ended = [("miner-moved", "miner-moved-a", True), ("miner-moved", "miner-moved-b", True)]
    assert said(look(watch, posts, A, B)) == ended


def test_three_miners_that_moved_on_by_one_are_followed() -> None:
    assert look(MacWatch(), TRIO, C, A, B).moves == {0: "10.0.0.2", 1: "10.0.0.3", 2: "10.0.0.1"}


def test_the_miner_that_nobody_found_takes_the_address_that_is_left_and_stays_in_doubt() -> None:
    watch = MacWatch()
    judged = look(watch, PAIR, SILENT, A)
    assert judged.moves == {0: "10.0.0.2", 1: "10.0.0.1"}
    posts = moved(PAIR, judged)
    after = look(watch, posts, A, None)
    assert after.strangers == {1}
    assert after.results[1].reading is None


def test_a_machine_without_mac_is_not_taken_for_a_miner_that_answers_elsewhere() -> None:
    judged = look(MacWatch(), PAIR, None, A)
    assert judged.strangers == {0, 1}
    assert judged.results[0].reading is None


@pytest.mark.parametrize("other", [Post("b", None, "10.0.0.2"), Post("b", B, "10.0.0.2", movable=False)])
def test_addresses_are_not_exchanged_with_one_that_cannot_prove_itself(other: Post) -> None:
    judged = look(MacWatch(), [PAIR[0], other], SILENT, A)
    assert judged.moves == {}
    assert judged.strangers == {1}
    assert judged.results[1].reading is None


def test_one_mac_at_two_addresses_is_an_alert_and_both_are_in_doubt() -> None:
    posts = [Post("a", None, "10.0.0.1"), Post("b", None, "10.0.0.2")]
    judged = look(MacWatch(), posts, X, X)
    assert judged.doubled == {0, 1}
    assert said(judged) == [("duplicate-mac", f"duplicate-mac-{X}", False)]
    assert judged.relearn == {0, 1}


def test_a_twin_that_falls_silent_goes_on_counting() -> None:
    posts = [Post("a", None, "10.0.0.1"), Post("b", None, "10.0.0.2")]
    watch = MacWatch()
    look(watch, posts, X, X)
    later = look(watch, posts, X, SILENT)
    assert later.doubled == {0, 1}
    assert (later.findings, later.relearn) == ((), frozenset())


def test_a_twin_with_another_mac_ends_it() -> None:
    posts = [Post("a", None, "10.0.0.1"), Post("b", None, "10.0.0.2")]
    watch = MacWatch()
    look(watch, posts, X, X)
    ended = look(watch, posts, X, B)
    assert ended.doubled == frozenset()
    assert said(ended) == [("duplicate-mac", f"duplicate-mac-{X}", True)]


def test_a_mac_that_is_doubled_moves_nobody() -> None:
    judged = look(MacWatch(), TRIO, A, A, B)
    assert judged.moves == {}
    assert judged.doubled == {0, 1}
    assert judged.strangers == {1, 2}


def test_an_alert_of_an_earlier_run_ends_when_all_is_well() -> None:
    watch = MacWatch({"miner-moved-a": "old", "miner-moved-gone": "old", "pool-a": "other"})
    ended = [("miner-moved", "miner-moved-a", True), ("miner-moved", "miner-moved-gone", True)]
    assert said(look(watch, PAIR, A, B)) == ended


ANSWERS = st.sampled_from([A, B, C, X, None, SILENT])


@given(st.lists(st.tuples(ANSWERS, ANSWERS, ANSWERS), min_size=1, max_size=8))
def test_no_reading_is_ever_recorded_under_another_miners_name(rounds: list[tuple[str | None, ...]]) -> None:
    watch, posts = MacWatch(), list(TRIO)
    for answers in rounds:
        # What answers is tied to the address, whoever is asked there.
        by_address = dict(zip(("10.0.0.1", "10.0.0.2", "10.0.0.3"), answers, strict=True))
        judged = look(watch, posts, *(by_address[post.address] for post in posts))
        for i, result in enumerate(judged.results):
            mac = result.reading.mac if result.reading is not None else posts[i].mac
            assert mac in (posts[i].mac, None)
            if result.reading is not None and i not in judged.doubled:
                assert i not in judged.strangers
        posts = moved(posts, judged)
        assert sorted(post.address for post in posts) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]

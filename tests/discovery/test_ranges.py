"""Which addresses a search covers, and which it refuses."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.discovery.ranges import parse_ranges
from agent.errors import InputError


def test_the_network_and_broadcast_addresses_are_no_hosts() -> None:
    assert list(parse_ranges(["10.0.0.7/30"])) == ["10.0.0.5", "10.0.0.6"]


def test_a_single_address_is_a_range_of_one() -> None:
    assert list(parse_ranges(["10.0.0.5", "fd00::5"])) == ["10.0.0.5", "fd00::5"]


def test_an_address_in_two_ranges_is_asked_once_and_the_order_kept() -> None:
    found = list(parse_ranges(["10.0.1.4/30", "10.0.0.0/30", "10.0.1.0/24"]))
    assert found[:2] == ["10.0.0.1", "10.0.0.2"]
    assert len(found) == len(set(found)) == 256


@pytest.mark.parametrize(
    "word", ["8.8.8.0/24", "100.64.0.0/24", "2001:4860::/120", "172.15.0.0/16", "10.0.0.0/7"]
)
def test_a_range_that_is_not_private_needs_leave(word: str) -> None:
    with pytest.raises(InputError, match=r"not a private range.*--allow-public"):
        parse_ranges([word], force_large=True)


def test_with_leave_a_public_range_is_taken() -> None:
    assert len(parse_ranges(["203.0.113.0/29"], allow_public=True)) == 6


@pytest.mark.parametrize("words", [["10.0.0.0/15"], ["fd00::/64"], ["10.0.0.0/16", "10.1.0.0/24"]])
def test_more_than_65536_addresses_need_force(words: list[str]) -> None:
    with pytest.raises(InputError, match="--force-large"):
        parse_ranges(words)


def test_65536_addresses_are_not_too_many() -> None:
    assert len(parse_ranges(["10.0.0.0/16"])) == 65534


def test_forced_ranges_are_expanded_lazily() -> None:
    assert list(itertools.islice(parse_ranges(["10.0.0.0/8"], force_large=True), 2)) == [
        "10.0.0.1",
        "10.0.0.2",
    ]


def test_even_force_ends_somewhere() -> None:
    with pytest.raises(InputError, match="most that can be searched"):
        parse_ranges(["fd00::/64"], force_large=True)


@pytest.mark.parametrize("word", ["", "10.0.0", "miner.local", "10.0.0.0/33", "224.0.0.0/30", "0.0.0.0/30"])
def test_what_is_no_range_of_hosts_is_refused(word: str) -> None:
    with pytest.raises(InputError):
        parse_ranges([word], allow_public=True)


def test_no_range_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="at least one"):
        parse_ranges([])


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(24, 32)), min_size=1, max_size=6))
def test_the_count_is_the_number_of_addresses_and_each_belongs(parts: list[tuple[int, int]]) -> None:
    ranges = parse_ranges([f"10.0.0.{host}/{length}" for host, length in parts])
    listed = list(ranges)
    assert len(ranges) == len(listed) == len(set(listed))
    assert [f"10.0.0.{host}" in ranges for host in range(256)] == [
        f"10.0.0.{n}" in set(listed) for n in range(256)
    ]
    assert "10.0.1.1" not in ranges
    assert "miner.local" not in ranges

"""The rate limit, by a clock that the test moves."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from agent.clock import ManualClock
from agent.discovery.pace import TokenBucket, parse_rate
from agent.errors import InputError

START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


async def seconds_for(count: int, bucket: TokenBucket, clock: ManualClock) -> float:
    begun = clock.now()
    for _ in range(count):
        await bucket.take()
    return (clock.now() - begun).total_seconds()


async def test_the_rate_is_kept_beyond_the_first_burst() -> None:
    clock = ManualClock(START)
    assert await seconds_for(1000, TokenBucket(200.0, clock), clock) == pytest.approx(
        (1000 - 20) / 200.0, abs=0.01
    )


async def test_a_pause_saves_up_one_burst_and_no_more() -> None:
    clock = ManualClock(START)
    bucket = TokenBucket(10.0, clock, burst=5)
    clock.advance(3600.0)
    assert await seconds_for(5, bucket, clock) == 0.0
    assert await seconds_for(10, bucket, clock) == pytest.approx(1.0, abs=0.01)


async def test_a_clock_that_jumps_back_neither_floods_nor_stops_the_search() -> None:
    clock = ManualClock(START)
    bucket = TokenBucket(10.0, clock, burst=1)
    await bucket.take()
    clock.advance(-86_400.0)
    assert await seconds_for(10, bucket, clock) == pytest.approx(1.0, abs=0.01)


async def test_many_that_wait_at_once_share_the_rate() -> None:
    clock = ManualClock(START)
    bucket = TokenBucket(50.0, clock, burst=1)
    await asyncio.gather(*(bucket.take() for _ in range(101)))
    assert (clock.now() - START).total_seconds() == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize(
    ("text", "rate"), [("200/s", 200.0), ("50", 50.0), ("6000/min", 100.0), ("0.5/s", 0.5)]
)
def test_rates_are_read(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "fast", "0/s", "-5/s", "10/h", "1e3/s", "nan"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no rate"):
        parse_rate(text)

"""One request over TCP: its deadline, its limits, and how each way of ending is told apart."""

from __future__ import annotations

import asyncio
import socket

import pytest

from agent.devices.transport import exchange
from agent.errors import Malformed, Timeout, Unreachable
from tests.devices.tcp_miner import answering, tcp_miner

HOME = "127.0.0.1"
ASK = b'{"command":"stats"}'
WHOLE = b'{"STATS":[{"Elapsed":1}],"id":1}'


async def test_an_answer_ends_when_the_miner_closes() -> None:
    async with tcp_miner(answering(WHOLE)) as miner:
        assert await exchange(HOME, miner.port, ASK, deadline_s=5.0) == WHOLE


async def test_an_answer_in_many_pieces_is_put_together() -> None:
    async with tcp_miner(answering(*(WHOLE[i : i + 3] for i in range(0, len(WHOLE), 3)))) as miner:
        assert await exchange(HOME, miner.port, ASK, deadline_s=5.0) == WHOLE


@pytest.mark.parametrize("answer", [WHOLE, WHOLE + b"\0", b'{"STATS":[{"a":1}{"b":2}]}'])
async def test_a_whole_document_followed_by_silence_is_an_answer(answer: bytes) -> None:
    async with tcp_miner(answering(answer, close=False)) as miner:
        assert await exchange(HOME, miner.port, ASK, deadline_s=5.0) == answer


async def test_half_a_document_followed_by_silence_is_a_timeout() -> None:
    async with tcp_miner(answering(b'{"STATS":[{"a":1}', close=False)) as miner:
        with pytest.raises(Timeout, match="no whole answer"):
            await exchange(HOME, miner.port, ASK, deadline_s=1.0)


async def test_silence_after_the_connection_is_a_timeout() -> None:
    async with tcp_miner(answering(close=False)) as miner:
        with pytest.raises(Timeout, match="no whole answer"):
            await exchange(HOME, miner.port, ASK, deadline_s=0.3)


async def test_closing_without_a_byte_is_unreachable() -> None:
    async with tcp_miner(answering()) as miner:
        with pytest.raises(Unreachable, match="without an answer"):
            await exchange(HOME, miner.port, ASK, deadline_s=5.0)


async def test_a_reset_before_a_byte_is_unreachable() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    async with tcp_miner(reset) as miner:
        with pytest.raises(Unreachable):
            await exchange(HOME, miner.port, ASK, deadline_s=5.0)


async def test_a_closed_port_is_unreachable_and_says_so_in_plain_words() -> None:
    with socket.socket() as taken:
        taken.bind((HOME, 0))
        port = taken.getsockname()[1]
        with pytest.raises(Unreachable, match=rf"port {port}: connection refused"):
            await exchange(HOME, port, ASK, deadline_s=5.0)


async def test_a_name_that_means_nothing_is_unreachable() -> None:
    with pytest.raises(Unreachable):
        await exchange("no-such-host.invalid", 4028, ASK, deadline_s=5.0)


async def test_an_answer_beyond_the_limit_is_refused_while_it_comes() -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"[" * 4096)
            await writer.drain()

    async with tcp_miner(flood) as miner:
        with pytest.raises(Malformed, match="longer than 10000 bytes"):
            await exchange(HOME, miner.port, ASK, deadline_s=5.0, limit_bytes=10_000)


async def test_giving_up_closes_the_connection() -> None:
    gone = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(4096):
                pass
        finally:
            gone.set()

    async with tcp_miner(wait) as miner:
        with pytest.raises(Timeout):
            await exchange(HOME, miner.port, ASK, deadline_s=0.2)
        async with asyncio.timeout(5.0):
            await gone.wait()


async def test_a_pause_at_what_looks_like_the_end_does_not_end_an_answer() -> None:
    async def pause(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(b'{"STATS":{}')
        await asyncio.sleep(0.7)
        writer.write(b',"id":1}')
        await writer.drain()

    async with tcp_miner(pause) as miner:
        assert await exchange(HOME, miner.port, ASK, deadline_s=5.0) == b'{"STATS":{},"id":1}'


async def test_an_answer_that_ends_in_a_reset_is_kept() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(WHOLE)
        await writer.drain()
        # The client must have it before the reset throws it away.
        await asyncio.sleep(0.05)
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    async with tcp_miner(reset) as miner:
        assert await exchange(HOME, miner.port, ASK, deadline_s=5.0) == WHOLE


async def test_the_deadline_covers_a_slow_drip() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with tcp_miner(drip) as miner, asyncio.timeout(3.0):
        with pytest.raises(Timeout):
            await exchange(HOME, miner.port, ASK, deadline_s=0.3)

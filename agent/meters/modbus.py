"""A meter over Modbus TCP: neighbouring registers in one request, all over one connection.

Messages are made and read by pymodbus; the connection is ours, so that no reply can grow or drag on.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from typing import Any

from agent.errors import DeviceError, Malformed, Refused, Unreachable, Unsupported
from agent.meters.config import ModbusMeter, ModbusPoint
from agent.meters.library import library
from agent.meters.watts import Found, to_watts

_HEAD_BYTES = 7
# The longest PDU that the specification allows, and the unit number before it.
_LONGEST = 254
_STRANGE = 8
_EXCEPTIONS = {
    1: "illegal function",
    2: "illegal register",
    3: "illegal value",
    4: "device failure",
    6: "busy",
    10: "the gateway has no path to the unit",
    11: "the unit behind the gateway does not answer",
}
_NOT_THERE = (1, 2, 3)
_FORMATS = {"uint16": ">H", "int16": ">h", "uint32": ">I", "int32": ">i", "float32": ">f"}
# What meters put into a whole number that they cannot measure.
_NO_NUMBER = {
    "uint16": (0xFFFF,),
    "int16": (-0x8000,),
    "uint32": (0xFFFFFFFF,),
    "int32": (-0x80000000,),
    "float32": (),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Block:
    """Registers `first` to `first + count - 1` of one kind, and the points that lie in them."""

    kind: str
    first: int
    count: int
    places: tuple[int, ...]


def blocks(points: list[ModbusPoint], batch: int) -> list[Block]:
    """The fewest requests for `points`: neighbours together, no gaps, `batch` registers at most."""
    order = sorted(range(len(points)), key=lambda i: (points[i].kind, points[i].register_))
    found: list[Block] = []
    for i in order:
        point = points[i]
        end = point.register_ + point.words
        if found:
            last = found[-1]
            reach = max(last.first + last.count, end) - last.first
            if last.kind == point.kind and point.register_ <= last.first + last.count and reach <= batch:
                found[-1] = Block(last.kind, last.first, reach, (*last.places, i))
                continue
        found.append(Block(point.kind, point.register_, point.words, (i,)))
    return found


def decode(registers: list[int], point: ModbusPoint) -> float | None:
    """The number in `registers`, which are those of `point` alone; None where the meter says it has none."""
    words = registers if point.word_order == "big" else registers[::-1]
    raw = b"".join(word.to_bytes(2, "big") for word in words)
    number = struct.unpack(_FORMATS[point.type], raw)[0]
    return None if number in _NO_NUMBER[point.type] else float(number)


class Modbus:
    """The points of one meter. Fulfils `Meter`.

    Raises:
        InputError: pymodbus is not installed.
    """

    def __init__(self, config: ModbusMeter) -> None:
        messages = library("pymodbus.pdu.register_message", config.name)
        pdu = library("pymodbus.pdu", config.name)
        framer = library("pymodbus.framer", config.name)
        self._requests = {
            "input": messages.ReadInputRegistersRequest,
            "holding": messages.ReadHoldingRegistersRequest,
        }
        self._codec = pdu.DecodePDU(False)
        self._framer = framer.FramerSocket(self._codec)
        self._config = config
        self._blocks = blocks(config.points, config.batch)
        self._number = 0

    async def read(self, found: Found) -> None:
        """See `Meter.read`."""
        host, port = self._config.host, self._config.port
        try:
            reader, writer = await asyncio.open_connection(host, port, limit=4096)
        except (OSError, UnicodeError) as error:
            raise Unreachable(host, f"port {port}: {error}") from error
        try:
            for block in list(self._blocks):
                await self._read_block(reader, writer, block, found)
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise Malformed(host, f"the answer is cut short after {len(error.partial)} bytes") from error
            raise Unreachable(host, f"port {port}: closed the connection without an answer") from error
        except OSError as error:
            raise Unreachable(host, f"port {port}: {error}") from error
        finally:
            writer.transport.abort()

    async def _read_block(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, block: Block, found: Found
    ) -> None:
        points = self._config.points
        answer = await self._ask(reader, writer, block)
        if isinstance(answer, DeviceError):
            if len(block.places) > 1 and isinstance(answer, Unsupported):
                # Some meters hand out few registers at once, or lack one in the middle: halves from now on.
                middle = len(block.places) // 2
                halves = [self._block(part) for part in (block.places[:middle], block.places[middle:])]
                at = self._blocks.index(block)
                self._blocks[at : at + 1] = halves
                for half in halves:
                    await self._read_block(reader, writer, half, found)
                return
            for place in block.places:
                found(place, type(answer)(answer.address, f"{points[place].label}: {answer.detail}"))
            return
        for place in block.places:
            point = points[place]
            start = point.register_ - block.first
            number = decode(answer[start : start + point.words], point)
            found(place, to_watts(float("nan") if number is None else number, point, self._config.host))

    def _block(self, places: tuple[int, ...]) -> Block:
        """Neighbouring points as one block."""
        points = [self._config.points[i] for i in places]
        first = min(point.register_ for point in points)
        end = max(point.register_ + point.words for point in points)
        return Block(points[0].kind, first, end - first, places)

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, block: Block
    ) -> list[int] | DeviceError:
        """The registers of one block, or the meter's refusal.

        Raises:
            Malformed: the answer is not Modbus TCP, or not one to this request.
        """
        host, unit = self._config.host, self._config.unit
        self._number = self._number % 0xFFFF + 1
        request = self._requests[block.kind](address=block.first, count=block.count, dev_id=unit)
        request.transaction_id = self._number
        writer.write(self._framer.buildFrame(request))
        await writer.drain()
        body = await self._body(reader)
        if body[0] & 0x7F != request.function_code:
            words = f"function {request.function_code} was asked, {body[0] & 0x7F} is answered"
            raise Malformed(host, words)
        if len(body) != (2 if body[0] & 0x80 else 2 + body[1]):
            raise Malformed(host, "the answer is shorter or longer than it says")
        try:
            pdu: Any = self._codec.decode(body)
            code = pdu.function_code
            refusal = int(pdu.exception_code) if code & 0x80 else None
            registers = [] if refusal is not None else [int(word) for word in pdu.registers]
        except Exception as error:
            # What the decoder raises on bytes from outside is not documented; none of it may end a cycle.
            raise Malformed(host, "the answer is not Modbus") from error
        where = f"{block.kind} registers {block.first} to {block.first + block.count - 1} of unit {unit}"
        if refusal is not None:
            kind = Unsupported if refusal in _NOT_THERE else Refused
            return kind(host, f"{where}: {_EXCEPTIONS.get(refusal, f'exception {refusal}')}")
        if len(registers) != block.count:
            raise Malformed(host, f"{where}: {len(registers)} registers came")
        return registers

    async def _body(self, reader: asyncio.StreamReader) -> bytes:
        """The PDU of the answer to the newest request; late answers to older ones are passed over."""
        host = self._config.host
        for _ in range(_STRANGE):
            number, protocol, length, unit = struct.unpack(">HHHB", await reader.readexactly(_HEAD_BYTES))
            if protocol != 0 or not 3 <= length <= _LONGEST:
                raise Malformed(host, "the answer is not Modbus TCP")
            body = await reader.readexactly(length - 1)
            if number == self._number:
                if unit != self._config.unit:
                    raise Malformed(host, f"unit {self._config.unit} was asked, {unit} answers")
                return body
        raise Malformed(host, "answers to questions that were not asked")

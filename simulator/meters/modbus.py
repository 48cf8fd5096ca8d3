"""A simulated circuit meter: a Modbus TCP server with one number for each circuit."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from typing import Literal

from simulator.meters.surface import MeterSurface
from simulator.peers.faults import NO_FAULTS
from simulator.peers.listener import Listener

_FUNCTIONS = {"holding": 3, "input": 4}
_FORMATS = {"uint16": ">H", "int16": ">h", "uint32": ">I", "int32": ">i", "float32": ">f"}
_RANGES = {
    "uint16": (0, 0xFFFE),
    "int16": (-0x7FFF, 0x7FFF),
    "uint32": (0, 0xFFFFFFFE),
    "int32": (-0x7FFFFFFF, 0x7FFFFFFF),
}
_ILLEGAL_FUNCTION, _ILLEGAL_ADDRESS, _ILLEGAL_VALUE = 1, 2, 3
_LONGEST = 254


@dataclass(frozen=True, slots=True)
class ModbusLayout:
    """Where a make keeps its figures.

    Args:
        first: register of the first circuit, as on the wire.
        stride: registers from one circuit to the next.
        step_w: watts for each count.
    """

    first: int
    stride: int = 2
    kind: Literal["input", "holding"] = "input"
    type: Literal["uint16", "int16", "uint32", "int32", "float32"] = "float32"
    word_order: Literal["big", "little"] = "big"
    step_w: float = 1.0


EASTRON_SDM630 = ModbusLayout(first=52)
SCHNEIDER_IEM3000 = ModbusLayout(first=3059, kind="holding", step_w=1000.0)


class ModbusPeer:
    """One meter on one TCP port. It answers as unit `unit` only."""

    def __init__(
        self, surface: MeterSurface, address: str, port: int = 0, *, layout: ModbusLayout, unit: int = 1
    ) -> None:
        self.surface = surface
        self.address = address
        self.layout = layout
        self._unit = unit
        self._listener = Listener(
            address, port, self._serve, faults=lambda: NO_FAULTS, hangs=lambda: surface.faults.silent
        )

    @property
    def port(self) -> int:
        """The bound port; before `start` the one asked for."""
        return self._listener.port

    async def start(self) -> None:
        """Bind and listen.

        Raises:
            OSError: the port cannot be bound.
        """
        await self._listener.start()

    async def close(self) -> None:
        """Stop listening and end every connection."""
        await self._listener.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            number, protocol, length, unit = struct.unpack(">HHHB", await reader.readexactly(7))
            if protocol != 0 or not 2 <= length <= _LONGEST:
                return
            body = await reader.readexactly(length - 1)
            self.surface.requests += 1
            if unit != self._unit:
                # Behind a gateway nobody answers for a unit that is not there.
                continue
            faults = self.surface.faults
            reply = self._answer(body)
            frame = struct.pack(">HHHB", number, 0, len(reply) + 1, unit) + reply
            if faults.garbage:
                frame = faults.garbage_bytes()
            elif faults.cut:
                writer.write(frame[: len(frame) // 2])
                await writer.drain()
                return
            writer.write(frame)
            await writer.drain()

    def _answer(self, body: bytes) -> bytes:
        function = body[0]
        if function != _FUNCTIONS[self.layout.kind] or len(body) != 5:
            return bytes((function | 0x80, _ILLEGAL_FUNCTION))
        first, count = struct.unpack(">HH", body[1:])
        limit = self.surface.faults.at_most or 125
        if not 1 <= count <= limit:
            return bytes((function | 0x80, _ILLEGAL_VALUE))
        registers = self._registers()
        wanted = [registers.get(address) for address in range(first, first + count)]
        if any(word is None for word in wanted):
            return bytes((function | 0x80, _ILLEGAL_ADDRESS))
        words = [word for word in wanted if word is not None]
        return bytes((function, 2 * count)) + b"".join(words)

    def _registers(self) -> dict[int, bytes]:
        layout, faults, watts = self.layout, self.surface.faults, self.surface.watts()
        if faults.missing:
            watts = watts[:-1]
        registers: dict[int, bytes] = {}
        for place, value in enumerate(watts):
            raw = self._encoded(value / layout.step_w)
            words = [raw[i : i + 2] for i in range(0, len(raw), 2)]
            if (layout.word_order == "little") != faults.swapped_words:
                words.reverse()
            for i, word in enumerate(words):
                registers[layout.first + place * layout.stride + i] = word
        return registers

    def _encoded(self, counted: float) -> bytes:
        layout = self.layout
        if self.surface.faults.wrong_type:
            # What is no number: a NaN, or the mark of a figure that the meter has not.
            return {
                "float32": b"\x7f\xc0\x00\x00",
                "uint16": b"\xff\xff",
                "int16": b"\x80\x00",
                "uint32": b"\xff\xff\xff\xff",
                "int32": b"\x80\x00\x00\x00",
            }[layout.type]
        if layout.type == "float32":
            return struct.pack(">f", counted)
        low, high = _RANGES[layout.type]
        return struct.pack(_FORMATS[layout.type], min(high, max(low, round(counted))))

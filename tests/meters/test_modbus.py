"""A circuit meter over Modbus TCP: types, word orders, blocks of registers, and typed errors."""

from typing import Any

import numpy as np
import pytest

from agent.errors import Malformed, Refused, Timeout, Unreachable, Unsupported
from agent.meters.config import MeterConfig, ModbusMeter
from agent.meters.modbus import blocks, decode
from simulator.meters.modbus import EASTRON_SDM630, SCHNEIDER_IEM3000, ModbusLayout, ModbusPeer
from simulator.meters.surface import MeterFaults, MeterSurface
from tests.meters.site import answering, config, points, read, running, surface

HOST = "127.62.2.1"


def meter(port: int, layout: ModbusLayout, count: int, **more: Any) -> MeterConfig:
    def point(i: int) -> dict[str, Any]:
        return {
            "register": layout.first + i * layout.stride,
            "kind": layout.kind,
            "type": layout.type,
            "word_order": layout.word_order,
            "scale": layout.step_w,
        }

    values = {"host": HOST, "deadline_s": 2.0, "points": points(count, point), **more}
    return config(name="board-1", kind="modbus", port=port, **values)


def server(source: MeterSurface, layout: ModbusLayout) -> ModbusPeer:
    return ModbusPeer(source, HOST, layout=layout)


@pytest.mark.parametrize("word_order", ["big", "little"])
@pytest.mark.parametrize("kind", ["input", "holding"])
@pytest.mark.parametrize("type_", ["uint16", "int16", "uint32", "int32", "float32"])
async def test_every_type_in_every_order_is_read(kind: Any, type_: Any, word_order: Any) -> None:
    layout = ModbusLayout(100, kind=kind, type=type_, word_order=word_order, step_w=0.5)
    peer = server(surface(3245.5, 12.0), layout)
    async with running(peer):
        found = await read([meter(peer.port, layout, 2)])
    np.testing.assert_array_equal(found.power_w, [3245.5, 12.0])


@pytest.mark.parametrize("layout", [EASTRON_SDM630, SCHNEIDER_IEM3000])
async def test_known_meters_are_read_where_their_manuals_say(layout: ModbusLayout) -> None:
    peer = server(surface(9_812.0), layout)
    async with running(peer):
        found = await read([meter(peer.port, layout, 1)])
    assert found.power_w[0] == pytest.approx(9_812.0, abs=0.01)


async def test_neighbouring_registers_come_in_one_request() -> None:
    source = surface(*(100.0 + i for i in range(60)))
    peer = server(source, EASTRON_SDM630)
    async with running(peer):
        found = await read([meter(peer.port, EASTRON_SDM630, 60)])
    assert source.requests == 1
    np.testing.assert_array_equal(found.power_w, 100.0 + np.arange(60.0))


def test_blocks_keep_to_the_batch_and_leave_gaps_out() -> None:
    configured = config(
        name="b",
        kind="modbus",
        host=HOST,
        batch=4,
        points=[{"register": at, "miners": [f"m{at}"]} for at in (14, 0, 2, 4, 12)],
    )
    assert isinstance(configured, ModbusMeter)
    assert [(b.first, b.count) for b in blocks(configured.points, 4)] == [(0, 4), (4, 2), (12, 4)]


async def test_a_meter_that_hands_out_few_registers_is_asked_for_fewer() -> None:
    peer = server(surface(1000.0, 2000.0, 3000.0, faults=MeterFaults(at_most=2)), EASTRON_SDM630)
    async with running(peer):
        found = await read([meter(peer.port, EASTRON_SDM630, 3)])
    np.testing.assert_array_equal(found.power_w, [1000.0, 2000.0, 3000.0])


async def test_a_register_that_is_not_there_costs_that_point_alone() -> None:
    peer = server(surface(1000.0, 2000.0, faults=MeterFaults(missing=True)), EASTRON_SDM630)
    async with running(peer):
        found = await read([meter(peer.port, EASTRON_SDM630, 2)])
    assert found.power_w[0] == 1000.0
    assert isinstance(found.errors[1], Unsupported) and "illegal register" in str(found.errors[1])


@pytest.mark.parametrize("type_", ["uint16", "int16", "uint32", "int32", "float32"])
async def test_the_mark_for_no_number_is_not_a_number_of_watts(type_: Any) -> None:
    layout = ModbusLayout(0, type=type_)
    peer = server(surface(3000.0, faults=MeterFaults(wrong_type=True)), layout)
    async with running(peer):
        found = await read([meter(peer.port, layout, 1)])
    assert isinstance(found.errors[0], Malformed) and "no number" in str(found.errors[0])


async def test_halves_in_the_wrong_order_are_never_taken_for_watts() -> None:
    layout = ModbusLayout(0, type="uint32")
    peer = server(surface(3245.0, faults=MeterFaults(swapped_words=True)), layout)
    async with running(peer):
        found = await read([meter(peer.port, layout, 1)])
    assert isinstance(found.errors[0], Malformed) and "max_power_w" in str(found.errors[0])


async def test_a_negative_figure_is_refused() -> None:
    peer = server(surface(3000.0, faults=MeterFaults(negative=True)), EASTRON_SDM630)
    async with running(peer):
        found = await read([meter(peer.port, EASTRON_SDM630, 1)])
    assert isinstance(found.errors[0], Malformed) and "negative" in str(found.errors[0])


async def test_a_clamp_that_shows_a_little_less_than_nothing_shows_nothing() -> None:
    peer = server(surface(-3.0), EASTRON_SDM630)
    async with running(peer):
        found = await read([meter(peer.port, EASTRON_SDM630, 1)])
    assert found.power_w[0] == 0.0 and found.errors[0] is None


@pytest.mark.parametrize("fault", [{"garbage": True}, {"cut": True}])
async def test_bytes_that_are_not_modbus_are_a_malformed_answer(fault: dict[str, bool]) -> None:
    peer = server(surface(3000.0, faults=MeterFaults(**fault)), EASTRON_SDM630)
    async with running(peer):
        found = await read([meter(peer.port, EASTRON_SDM630, 1)])
    assert isinstance(found.errors[0], Malformed)


async def test_silence_ends_with_the_deadline() -> None:
    peer = server(surface(3000.0, faults=MeterFaults(silent=True)), EASTRON_SDM630)
    async with running(peer):
        found = await read([meter(peer.port, EASTRON_SDM630, 1, deadline_s=0.2)])
    assert isinstance(found.errors[0], Timeout)


async def test_a_closed_port_is_unreachable() -> None:
    peer = server(surface(3000.0), EASTRON_SDM630)
    async with running(peer):
        port = peer.port
    found = await read([meter(port, EASTRON_SDM630, 1)])
    assert isinstance(found.errors[0], Unreachable)


async def test_a_gateway_whose_unit_is_dead_says_so() -> None:
    # Transaction 1, function 4 with the error bit, exception 11.
    async with answering(HOST, bytes.fromhex("000100000003 01 84 0b")) as port:
        found = await read([meter(port, EASTRON_SDM630, 1)])
    assert isinstance(found.errors[0], Refused) and "behind the gateway" in str(found.errors[0])


async def test_an_answer_with_too_few_registers_is_malformed() -> None:
    async with answering(HOST, bytes.fromhex("000100000005 01 04 02 0001")) as port:
        found = await read([meter(port, EASTRON_SDM630, 1)])
    assert isinstance(found.errors[0], Malformed)


def test_a_float_is_decoded_from_the_upper_half_first() -> None:
    configured = config(name="b", kind="modbus", host=HOST, points=[{"register": 0, "miners": ["m"]}])
    assert isinstance(configured, ModbusMeter)
    # 0x43666B33 is 230.4188 in the manual of the meter.
    assert decode([0x4366, 0x6B33], configured.points[0]) == pytest.approx(230.4188, abs=1e-3)

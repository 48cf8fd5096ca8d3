"""A PDU over SNMP: outlets in few requests, and every fault a typed error of the outlets it concerns."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.errors import ConfigError, Malformed, Timeout, Unreachable, Unsupported
from agent.meters.config import MeterConfig
from simulator.meters.snmp import APC_RPDU2, RARITAN_PX2, SnmpLayout, SnmpPeer
from simulator.meters.surface import MeterFaults, MeterSurface
from tests.meters.site import config, points, read, running, secret, surface

HOST = "127.62.1.1"


def pdu(source: MeterSurface, layout: SnmpLayout = APC_RPDU2) -> SnmpPeer:
    return SnmpPeer(source, HOST, community="readers", layout=layout)


def meter(peer: SnmpPeer, folder: Path, outlets: int, **more: Any) -> MeterConfig:
    made = points(outlets, lambda i: {"oid": peer.layout.oid(i), "scale": peer.layout.step_w})
    values = {"community_file": str(secret(folder, "readers")), "deadline_s": 2.0, "outlets": made, **more}
    return config(name="pdu-a", kind="snmp", host=HOST, port=peer.port, **values)


async def test_every_outlet_is_read_in_watts(tmp_path: Path) -> None:
    peer = pdu(surface(3245.0, 12.0, 0.0))
    async with running(peer):
        found = await read([meter(peer, tmp_path, 3)])
    np.testing.assert_array_equal(found.power_w, [3245.0, 12.0, 0.0])
    np.testing.assert_array_equal(found.age_s, [0.0, 0.0, 0.0])
    assert found.errors == (None, None, None)


async def test_the_scale_turns_counts_into_watts(tmp_path: Path) -> None:
    peer = pdu(surface(3245.0), SnmpLayout("1.3.6.1.4.1.99999.1", step_w=10.0))
    async with running(peer):
        found = await read([meter(peer, tmp_path, 1)])
    # The meter shows tens of watts.
    assert found.power_w[0] == pytest.approx(3240.0)


async def test_42_outlets_take_three_requests(tmp_path: Path) -> None:
    source = surface(*(100.0 + i for i in range(42)))
    peer = pdu(source, RARITAN_PX2)
    async with running(peer):
        found = await read([meter(peer, tmp_path, 42)])
    assert source.requests == 3
    np.testing.assert_array_equal(found.power_w, 100.0 + np.arange(42.0))


async def test_a_pdu_that_says_too_big_is_asked_for_less(tmp_path: Path) -> None:
    peer = pdu(surface(*(100.0 + i for i in range(12)), faults=MeterFaults(at_most=4)))
    async with running(peer):
        found = await read([meter(peer, tmp_path, 12)])
    np.testing.assert_array_equal(found.power_w, 100.0 + np.arange(12.0))


async def test_an_outlet_that_is_not_there_costs_that_outlet_alone(tmp_path: Path) -> None:
    peer = pdu(surface(3000.0, 3100.0, faults=MeterFaults(missing=True)))
    async with running(peer):
        found = await read([meter(peer, tmp_path, 2)])
    assert found.power_w[0] == 3000.0 and np.isnan(found.power_w[1])
    assert found.errors[0] is None and isinstance(found.errors[1], Unsupported)


async def test_text_that_is_no_number_is_refused(tmp_path: Path) -> None:
    peer = pdu(surface(3000.0, faults=MeterFaults(wrong_type=True)))
    async with running(peer):
        found = await read([meter(peer, tmp_path, 1)])
    assert isinstance(found.errors[0], Malformed) and "'on' is not a number" in str(found.errors[0])


async def test_a_negative_figure_is_refused_and_names_the_clamp(tmp_path: Path) -> None:
    peer = pdu(surface(3000.0, faults=MeterFaults(negative=True)))
    async with running(peer):
        found = await read([meter(peer, tmp_path, 1)])
    assert np.isnan(found.power_w[0])
    assert isinstance(found.errors[0], Malformed) and "negative" in str(found.errors[0])


async def test_more_than_max_power_is_refused(tmp_path: Path) -> None:
    peer = pdu(surface(15_001.0))
    async with running(peer):
        found = await read([meter(peer, tmp_path, 1)])
    assert isinstance(found.errors[0], Malformed) and "max_power_w" in str(found.errors[0])


@pytest.mark.parametrize("fault", [{"garbage": True}, {"cut": True}])
async def test_bytes_that_are_not_snmp_are_a_malformed_answer(tmp_path: Path, fault: dict[str, bool]) -> None:
    peer = pdu(surface(3000.0, faults=MeterFaults(**fault)))
    async with running(peer):
        found = await read([meter(peer, tmp_path, 1)])
    assert isinstance(found.errors[0], Malformed)


async def test_silence_ends_with_the_deadline(tmp_path: Path) -> None:
    peer = pdu(surface(3000.0, faults=MeterFaults(silent=True)))
    async with running(peer):
        found = await read([meter(peer, tmp_path, 1, deadline_s=0.2)])
    assert isinstance(found.errors[0], Timeout)


async def test_a_lost_packet_is_sent_again(tmp_path: Path) -> None:
    source = surface(3000.0, faults=MeterFaults(lossy=True))
    peer = pdu(source)
    async with running(peer):
        found = await read([meter(peer, tmp_path, 1)])
    assert found.power_w[0] == 3000.0 and source.requests == 2


async def test_a_closed_port_is_unreachable(tmp_path: Path) -> None:
    peer = pdu(surface(3000.0))
    async with running(peer):
        configured = meter(peer, tmp_path, 1)
    found = await read([configured])
    assert isinstance(found.errors[0], Unreachable)


async def test_a_wrong_community_meets_silence_and_never_shows_in_the_error(tmp_path: Path) -> None:
    peer = SnmpPeer(surface(3000.0), HOST, community="other", layout=APC_RPDU2)
    async with running(peer):
        found = await read([meter(peer, tmp_path, 1, deadline_s=0.2)])
    assert isinstance(found.errors[0], Timeout) and "readers" not in str(found.errors[0])


async def test_a_community_that_others_may_read_is_refused(tmp_path: Path) -> None:
    configured = meter(
        pdu(surface(1.0)).__class__(surface(1.0), HOST, 1161, community="x", layout=APC_RPDU2), tmp_path, 1
    )
    (tmp_path / "secret").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        await read([configured])

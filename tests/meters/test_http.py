"""A meter that shows JSON over HTTP."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.errors import (
    ConfigError,
    DeviceError,
    Malformed,
    Refused,
    Timeout,
    Unauthorised,
    Unreachable,
    Unsupported,
)
from agent.meters.config import MeterConfig
from agent.meters.json_http import pick
from simulator.meters.http import HttpPeer
from simulator.meters.surface import MeterFaults
from tests.meters.site import answering, config, points, read, running, secret, surface

HOST = "127.62.3.1"


def meter(url: str, count: int = 1, **more: Any) -> MeterConfig:
    made = points(count, lambda i: {"path": f"outlets.{i}.power_w"})
    return config(name="pdu-b", kind="http", url=url, **{"deadline_s": 2.0, "points": made, **more})


async def test_every_figure_comes_out_of_one_request() -> None:
    source = surface(3245.0, 12.5)
    peer = HttpPeer(source, HOST)
    async with running(peer):
        found = await read([meter(peer.url, 2)])
    np.testing.assert_array_equal(found.power_w, [3245.0, 12.5])
    assert source.requests == 1


async def test_a_token_opens_the_page(tmp_path: Path) -> None:
    peer = HttpPeer(surface(3245.0), HOST, token="open sesame")
    async with running(peer):
        found = await read([meter(peer.url, token_file=str(secret(tmp_path, "open sesame")))])
    assert found.power_w[0] == 3245.0


async def test_a_wrong_token_is_unauthorised_and_never_shown(tmp_path: Path) -> None:
    peer = HttpPeer(surface(3245.0), HOST, token="right")
    async with running(peer):
        found = await read([meter(peer.url, token_file=str(secret(tmp_path, "hunter2")))])
    assert isinstance(found.errors[0], Unauthorised) and "hunter2" not in str(found.errors[0])


async def test_a_token_that_no_header_can_carry_is_refused_without_being_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        await read([meter("http://127.62.3.1/power", token_file=str(secret(tmp_path, "hun\x01ter2")))])
    assert "ter2" not in str(caught.value)


async def test_a_page_that_is_not_there_is_unsupported() -> None:
    peer = HttpPeer(surface(3245.0), HOST)
    async with running(peer):
        found = await read([meter(peer.url.replace("/power", "/other"))])
    assert isinstance(found.errors[0], Unsupported)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [({"garbage": True}, Malformed), ({"cut": True}, Malformed), ({"wrong_type": True}, Malformed)],
)
async def test_what_cannot_be_read_is_malformed(fault: dict[str, bool], kind: type[DeviceError]) -> None:
    peer = HttpPeer(surface(3245.0, faults=MeterFaults(**fault)), HOST)
    async with running(peer):
        found = await read([meter(peer.url)])
    assert isinstance(found.errors[0], kind)


async def test_a_figure_that_is_missing_costs_that_point_alone() -> None:
    peer = HttpPeer(surface(3245.0, 3100.0, faults=MeterFaults(missing=True)), HOST)
    async with running(peer):
        found = await read([meter(peer.url, 2)])
    assert found.power_w[0] == 3245.0
    assert isinstance(found.errors[1], Malformed) and "outlets has no 1" in str(found.errors[1])


async def test_silence_ends_with_the_deadline() -> None:
    peer = HttpPeer(surface(3245.0, faults=MeterFaults(silent=True)), HOST)
    async with running(peer):
        found = await read([meter(peer.url, deadline_s=0.2)])
    assert isinstance(found.errors[0], Timeout)


async def test_a_closed_port_is_unreachable() -> None:
    peer = HttpPeer(surface(3245.0), HOST)
    async with running(peer):
        url = peer.url
    assert isinstance((await read([meter(url)])).errors[0], Unreachable)


async def test_a_server_error_is_a_refusal() -> None:
    async with answering(HOST, b"HTTP/1.1 500 no\r\nContent-Length: 0\r\n\r\n") as port:
        found = await read([meter(f"http://{HOST}:{port}/")])
    assert isinstance(found.errors[0], Refused)


@pytest.mark.parametrize(
    ("path", "found"),
    [("em:0.total_act_power", 812.5), ("rows.1.w", "3.2 kW"), ("rows.0.w", None)],
)
def test_paths_walk_keys_and_places(path: str, found: object) -> None:
    document = {"em:0": {"total_act_power": 812.5}, "rows": [{"w": None}, {"w": "3.2 kW"}]}
    assert pick(document, path, HOST) == found


@pytest.mark.parametrize("path", ["rows.2.w", "rows.-1", "rows.w", "em:0.x.y", "rows.99999999999999999999"])
def test_a_path_that_leads_nowhere_says_so(path: str) -> None:
    assert isinstance(pick({"em:0": {}, "rows": [1, 2]}, path, HOST), Malformed)

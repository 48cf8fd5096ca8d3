from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.clock import ManualClock
from simulator.machine import Machine, MachineState
from simulator.peers import PeerOptions
from simulator.peers.antminer.api import NEW_API, AntminerApi
from simulator.peers.antminer.conf import MinerConf
from simulator.peers.md5crypt import md5crypt
from simulator.peers.surface import Surface
from simulator.peers.whatsminer.tokens import TokenTable
from simulator.peers.whatsminer.unit import WhatsminerUnit
from simulator.peers.whatsminer.v2 import WRITES as V2_WRITES
from simulator.peers.whatsminer.v2 import SilentWrite, WhatsminerV2
from simulator.peers.whatsminer.v3 import WRITES as V3_WRITES
from simulator.peers.whatsminer.v3 import WhatsminerV3, write_digest
from simulator.physics_file import default_physics

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
TEXT = st.text(st.characters(), max_size=20) | st.sampled_from(["\ud800", "²", "1e999", "-0", "nan", "99999"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)
BYTES = st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode())


def surface_of(model: str, **options: Any) -> Surface:
    spec = default_physics().model(model)
    machine = Machine(spec, seed=1, clock=ManualClock(NOW), mac="00:00:00:00:00:01", serial="S")
    return Surface(machine, PeerOptions(**options))


S19 = surface_of("antminer-s19-pro", offers_hashrate_percent=True)
S19_STATE: MachineState = S19.machine.state()
M30 = surface_of("whatsminer-m30s-plus")
M30_STATE = M30.machine.state()
M60 = surface_of("whatsminer-m60s", api_v3=True)
M60_STATE = M60.machine.state()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(BYTES)
def test_4028_answers_any_bytes(raw: bytes) -> None:
    assert AntminerApi(S19).answer(raw, S19_STATE)
    assert WhatsminerV2(M30, WhatsminerUnit(M30), "127.0.0.1").answer(raw, M30_STATE)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.sampled_from(NEW_API), VALUES, VALUES)
def test_any_parameter_of_an_antminer_command_is_survived(command: str, parameter: Any, new_api: Any) -> None:
    request = {"command": command, "parameter": parameter, "new_api": new_api}
    assert AntminerApi(S19).answer(json.dumps(request).encode(), S19_STATE)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.dictionaries(
        st.sampled_from(
            ("pools", "miner-mode", "bitmain-fan-ctrl", "bitmain-fan-pwm", "bitmain-hashrate-percent")
        ),
        VALUES,
    )
    | VALUES
)
def test_any_configuration_is_survived_and_can_be_shown(wanted: Any) -> None:
    conf = MinerConf(S19)
    assert conf.write(json.dumps(wanted).encode(), S19_STATE)["code"] in ("M000", "M001")
    json.dumps(conf.shown(S19.machine.state()))
    assert AntminerApi(S19).answer(b'{"command":"pools"}', S19_STATE)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.sampled_from(sorted(V2_WRITES)),
    st.dictionaries(
        st.sampled_from(
            ["power_limit", "percent", "power", "pool1", "worker1", "respbefore", "color", "param"]
        ),
        VALUES,
    ),
)
def test_any_value_in_a_v2_write_is_answered(command: str, parameters: dict[str, Any]) -> None:
    api = WhatsminerV2(M30, WhatsminerUnit(M30), "127.0.0.1")
    grant = json.loads(api.answer(b'{"cmd":"get_token"}', M30_STATE))["Msg"]
    token = md5crypt(md5crypt("admin", grant["salt"]) + grant["time"], grant["newsalt"])
    text = json.dumps(parameters | {"cmd": command, "token": token}).encode()
    data = TokenTable("admin", M30_STATE.mac).seal(text)["enc"]
    try:
        reply = api.answer(json.dumps({"enc": 1, "data": data}).encode(), M30_STATE)
    except SilentWrite:
        return
    assert set(json.loads(reply)) == {"enc"}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(V3_WRITES)), VALUES)
def test_any_param_of_a_v3_write_is_answered(command: str, param: Any) -> None:
    api = WhatsminerV3(M60, WhatsminerUnit(M60), "127.0.0.1")
    ts = int(NOW.timestamp())
    token = base64.b64encode(write_digest(command, "super", api.salt, ts))[:8].decode()
    request = {"cmd": command, "param": param, "ts": ts, "account": "super", "token": token}
    assert json.loads(api.answer(json.dumps(request).encode(), M60_STATE))["code"] in (0, -2)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.sampled_from(["get.device.info", "get.miner.status", "set.miner.power", "x"]), VALUES, VALUES, VALUES
)
def test_any_v3_request_is_answered(command: str, param: Any, ts: Any, token: Any) -> None:
    request = {"cmd": command, "param": param, "ts": ts, "account": "super", "token": token}
    reply = WhatsminerV3(M60, WhatsminerUnit(M60), "127.0.0.1").answer(
        json.dumps(request).encode(), M60_STATE
    )
    assert json.loads(reply)["code"] in (0, -2, -3, -4)

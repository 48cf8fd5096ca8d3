"""Braiins OS on port 80: the page, the REST API (a token for all but its version), and GraphQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from simulator.machine import MachineState
from simulator.peers.antminer.layouts import Json
from simulator.peers.braiins import graphql, layouts, settings
from simulator.peers.braiins.accounts import TIMEOUT_S
from simulator.peers.braiins.refusals import JSON_TYPE, BadBody, Refusal
from simulator.peers.braiins.tuner import Mode, Target
from simulator.peers.braiins.unit import API_VERSION, BraiinsUnit
from simulator.peers.http import Request, Response, html_page, serve_connection
from simulator.peers.listener import Hangup, compact

_PREFIX = "/api/v1/"
_NOTHING = Response(204)
_PAGE = (
    b'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Braiins OS</title>'
    b'<script type="module" crossorigin src="/assets/index.js"></script></head>'
    b'<body><div id="root"></div></body></html>'
)
# Pages that hold the configuration.
_SAVED = ("configuration/miner", "pools", "pools/batch")
_ACTIONS = ("pause", "resume", "start", "stop", "restart")


class BraiinsWeb:
    """Answers connections to port 80."""

    def __init__(self, unit: BraiinsUnit) -> None:
        self._unit = unit
        self._surface = unit.surface
        self._pages: Mapping[str, Callable[[MachineState], Any]] = {
            "miner/details": lambda state: layouts.details(state, unit),
            "miner/stats": lambda state: layouts.stats(state, unit),
            "miner/hw/hashboards": lambda state: layouts.hashboards(state, unit),
            "miner/errors": layouts.errors,
            "cooling/state": lambda state: layouts.cooling(state, unit),
            "network": lambda state: layouts.network(state, unit),
            "pools": lambda state: settings.pool_groups(state, unit),
            "configuration/constraints": lambda state: settings.constraints(state, unit),
            "configuration/miner": lambda state: settings.configuration(state, unit),
            "performance/mode": lambda _: settings.performance_mode(unit.tuner.configured),
            "performance/tuner-state": lambda state: settings.tuner_state(state, unit),
            "performance/target-profiles": lambda _: settings.target_profiles(unit),
            "actions/locate": lambda _: unit.locating,
        }
        self._writes: Mapping[tuple[str, str], Callable[[Any], Response]] = {
            ("PUT", "auth/password"): self._set_password,
            ("PUT", "actions/locate"): self._locate,
            ("PUT", "actions/reboot"): self._reboot,
            ("PUT", "cooling/mode"): self._set_cooling,
            ("PUT", "performance/mode"): self._set_mode,
            ("DELETE", "performance/tuned-profiles"): self._forget_profiles,
            ("POST", "pools"): self._create_group,
            ("PUT", "pools/batch"): self._replace_groups,
        }
        self._actions: Mapping[str, Callable[[], bool]] = {name: getattr(unit, name) for name in _ACTIONS}

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        await serve_connection(reader, writer, self.respond, server="", faults=lambda: self._surface.faults)

    async def respond(self, request: Request) -> Response:
        """The page for one request.

        Raises:
            Hangup: the control board is down.
        """
        state = self._surface.state()
        if not state.ports_open:
            raise Hangup
        if request.path in ("/", "/index.html"):
            if self._surface.faults.login_loop:
                return html_page(401)
            body = b"" if request.method == "HEAD" else _PAGE
            return Response(200, body, (("Content-Type", "text/html"),))
        try:
            if request.path == "/graphql" and request.method == "POST":
                return self._json(graphql.answer(_read(request), state, self._unit))
            if not request.path.startswith(_PREFIX):
                return Response(404)
            return self._api(request.path.removeprefix(_PREFIX).rstrip("/"), request, state)
        except (Refusal, BadBody) as refusal:
            return refusal.response()

    def _api(self, page: str, request: Request, state: MachineState) -> Response:
        faults, method = self._surface.faults, request.method
        if page == "version" and method == "GET":
            return self._json(dict(zip(("major", "minor", "patch"), API_VERSION, strict=True)))
        if page == "auth/login" and method == "POST":
            return self._login(_read(request))
        write = self._write_of(method, page)
        if write is None and page not in self._pages:
            return Response(404)
        # The bare token; the word Bearer before it is not understood.
        if not self._unit.accounts.knows(request.headers.get("authorization", "")):
            raise Refusal("unauthenticated", "missing or invalid session token")
        if faults.http_500_on_conf and (page in _SAVED or page.startswith("pools/")):
            raise Refusal("internal", "failed to read configuration")
        if method == "GET" and page in self._pages:
            return self._json(self._pages[page](state))
        if write is None:
            return Response(405)
        if not self._surface.write_open:
            raise Refusal("permission_denied", "configuration changes are not allowed")
        if faults.config_locked and page.startswith("pools"):
            raise Refusal("aborted", "configuration is being changed by another session")
        return write(_read(request))

    def _write_of(self, method: str, page: str) -> Callable[[Any], Response] | None:
        """What a write to a page does, None where there is no such write."""
        write = self._writes.get((method, page))
        if write is not None:
            return write
        group, _, name = page.partition("/")
        if group == "actions" and method == "PUT" and name in self._actions:
            return lambda _: self._json(self._actions[name]())
        if group == "pools" and name and method in ("PUT", "DELETE"):
            return lambda body: self._change_group(method, name, body)
        if group == "performance":
            mode: Mode
            for mode in ("power", "hashrate"):
                if name == f"{mode}-target" or name.startswith(f"{mode}-target/"):
                    return self._target_write(method, mode, name.removeprefix(f"{mode}-target").strip("/"))
        return None

    def _target_write(self, method: str, mode: Mode, change: str) -> Callable[[Any], Response] | None:
        tuner = self._unit.tuner
        asked: Mapping[tuple[str, str], Callable[[Any], Target]] = {
            ("PUT", ""): lambda body: Target(mode, settings.read_figure(mode, body)),
            ("PUT", "default"): lambda _: Target(mode, tuner.bounds[mode].default),
            ("PATCH", "increment"): lambda body: tuner.shifted(mode, settings.read_figure(mode, body)),
            ("PATCH", "decrement"): lambda body: tuner.shifted(mode, -settings.read_figure(mode, body)),
            ("PATCH", "relative"): lambda body: tuner.relative(mode, *_relative(body)),
        }
        target_of = asked.get((method, change))
        if target_of is None:
            return None

        def write(body: Any) -> Response:
            target = target_of(body)
            tuner.choose(target)
            return self._json(settings.shown(mode, target.value))

        return write

    def _login(self, body: Any) -> Response:
        username, password = _word(body, "username"), _word(body, "password")
        return self._json({"token": self._unit.accounts.login(username, password), "timeout_s": TIMEOUT_S})

    def _set_password(self, body: Any) -> Response:
        word = body.get("password") if isinstance(body, dict) else None
        if word is not None and not (isinstance(word, str) and 0 < len(word) <= 128):
            raise Refusal("invalid_argument", "invalid password")
        self._unit.accounts.set_password(word)
        return _NOTHING

    def _locate(self, body: Any) -> Response:
        if not isinstance(body, bool):
            raise BadBody(422, "invalid type: expected a boolean")
        self._unit.locate(body)
        return self._json(body)

    def _reboot(self, _: Any) -> Response:
        self._unit.reboot()
        return _NOTHING

    def _set_cooling(self, body: Any) -> Response:
        manual, percent = settings.read_cooling_mode(body)
        self._surface.perform(lambda: self._surface.machine.set_fan(manual, percent))
        return self._json(body)

    def _set_mode(self, body: Any) -> Response:
        target = settings.read_performance_mode(body)
        self._unit.tuner.choose(target)
        return self._json(settings.performance_mode(target))

    def _forget_profiles(self, _: Any) -> Response:
        self._unit.tuner.forget()
        return _NOTHING

    def _create_group(self, body: Any) -> Response:
        return self._json(settings.group_configuration(self._unit.pools.create(body)), status=201)

    def _replace_groups(self, body: Any) -> Response:
        groups = self._unit.pools.replace_all(body)
        return self._json([settings.group_configuration(group) for group in groups])

    def _change_group(self, method: str, uid: str, body: Any) -> Response:
        if method == "DELETE":
            self._unit.pools.delete(uid)
            return _NOTHING
        return self._json(settings.group_configuration(self._unit.pools.update(uid, body)))

    def _json(self, document: Any, *, status: int = 200) -> Response:
        return Response(status, self._surface.faults.spoil_json(compact(document)), JSON_TYPE)


def _read(request: Request) -> Any:
    """The JSON of a request, None where it has no body.

    Raises:
        BadBody: not JSON.
    """
    if not request.body:
        return None
    try:
        return json.loads(request.body)
    except (ValueError, RecursionError) as error:
        raise BadBody(400, "expected value at line 1 column 1") from error


def _word(body: Any, name: str) -> str:
    word = body.get(name) if isinstance(body, dict) else None
    if not isinstance(word, str):
        raise BadBody(422, f"missing field `{name}`")
    return word


def _relative(body: Any) -> tuple[float, int]:
    values: Json = body if isinstance(body, dict) else {}
    percent, reference = values.get("percentage"), values.get("reference")
    if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0.0 <= percent <= 1e6:
        raise BadBody(422, "percentage: invalid type: expected f64")
    if isinstance(reference, bool) or not isinstance(reference, int):
        raise BadBody(422, "reference: invalid type: expected i32")
    return float(percent), reference

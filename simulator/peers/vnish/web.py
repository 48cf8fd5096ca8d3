"""VNish on port 80: the page and the REST API; reading is open but for settings and presets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from simulator.machine import MachineState
from simulator.peers.antminer.layouts import Json
from simulator.peers.http import Request, Response, html_page, serve_connection
from simulator.peers.listener import Hangup, compact
from simulator.peers.tokens import Tokens
from simulator.peers.vnish import layouts
from simulator.peers.vnish.presets import NO_PRESET
from simulator.peers.vnish.settings import Settings
from simulator.peers.vnish.unit import THROTTLE_RANGE, VnishUnit

IDLE_S = 600.0
MAX_TOKENS = 16
FACTORY_PASSWORD = "admin"  # noqa: S105 - the published factory default that the simulated miner has
REBOOT_AFTER_S = 3
_PREFIX = "/api/v1/"
_PAGE = (
    b'<!DOCTYPE html>\n<html lang="en" data-animation="false">\n  <head>\n    <meta charset="UTF-8">\n'
    b'    <meta name="firmware" content="AnthillOS">\n    <title>Firmware</title>\n'
    b'    <script type="module" crossorigin src="/assets/index.js"></script>\n  </head>\n'
    b'  <body>\n    <div id="app"></div>\n  </body>\n</html>\n'
)


class VnishWeb:
    """Answers connections to port 80."""

    def __init__(self, unit: VnishUnit) -> None:
        self._unit = unit
        self._surface = unit.surface
        self._settings = Settings(unit)
        mac = unit.surface.machine.state().mac
        clock = unit.surface.machine.clock
        self._tokens = Tokens(mac, lambda: clock.now().timestamp(), idle_s=IDLE_S, most=MAX_TOKENS, digits=32)
        options = unit.surface.options
        self._password = FACTORY_PASSWORD if options.password is None else options.password
        self._open: dict[str, Callable[[MachineState], Any]] = {
            "info": lambda state: layouts.info(state, unit),
            "summary": lambda state: layouts.summary(state, unit),
            "perf-summary": self._perf_summary,
            "chains": lambda state: layouts.chains(state, unit),
            "chains/factory-info": layouts.factory_info,
        }
        self._locked: dict[str, Callable[[MachineState], Any]] = {
            "settings": lambda _: self._settings.shown(),
            "autotune/presets": lambda _: [NO_PRESET, *(one.shown() for one in unit.presets.values())],
            "auth-check": lambda _: {"unlock_timeout": int(IDLE_S)},
        }
        self._posts: dict[str, Callable[[Any], Response]] = {
            "settings": self._write_settings,
            "mining/start": lambda _: self._done(lambda: unit.start(restart=False)),
            "mining/resume": lambda _: self._done(lambda: unit.start(restart=False)),
            "mining/restart": lambda _: self._done(lambda: unit.start(restart=True)),
            "mining/stop": lambda _: self._done(lambda: unit.stop(pause=False)),
            "mining/pause": lambda _: self._done(lambda: unit.stop(pause=True)),
            "mining/throttle": self._throttle,
            "mining/switch-pool": self._switch_pool,
            "find-miner": self._find,
            "system/reboot": self._reboot,
        }

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
        if request.path == "/" and request.method == "GET":
            return Response(200, _PAGE, (("Content-Type", "text/html"),))
        if not request.path.startswith(_PREFIX):
            return html_page(404)
        page = request.path.removeprefix(_PREFIX)
        if request.method == "GET":
            return self._get(page, request, state)
        if request.method == "POST":
            return self._post(page, request)
        return _refusal(405, "method not allowed")

    def _get(self, page: str, request: Request, state: MachineState) -> Response:
        if page in self._open:
            return self._json(self._open[page](state))
        if page == "status":
            return self._json(layouts.status(state, self._unit, unlocked=self._token(request) is not None))
        if page not in self._locked:
            return _refusal(404, "not found")
        if self._token(request) is None:
            return _refusal(401, "unauthorized")
        if page == "settings" and self._surface.faults.http_500_on_conf:
            return html_page(500)
        return self._json(self._locked[page](state))

    def _post(self, page: str, request: Request) -> Response:
        try:
            body = json.loads(request.body) if request.body else {}
        except (ValueError, RecursionError):
            return _refusal(400, "invalid json")
        if page == "unlock":
            return self._unlock(body)
        token = self._token(request)
        if token is None:
            return _refusal(401, "unauthorized")
        if page in ("lock", "lock/others"):
            (self._tokens.drop if page == "lock" else self._tokens.drop_others)(token)
            return self._json({})
        if page not in self._posts:
            return _refusal(404, "not found")
        if not self._surface.write_open:
            return _refusal(403, "forbidden")
        return self._posts[page](body)

    def _token(self, request: Request) -> str | None:
        """The live token that a request carries, None without one."""
        faults = self._surface.faults
        text = request.headers.get("authorization", "")
        bearer = text.startswith("Bearer ")
        if faults.token_expired or faults.login_loop or not text:
            return None
        # The pages under `system` take a token only in its proper form.
        if not bearer and request.path.startswith(f"{_PREFIX}system"):
            return None
        token = text.removeprefix("Bearer ")
        return token if self._tokens.use(token) else None

    def _unlock(self, body: Any) -> Response:
        word = body.get("pw") if isinstance(body, dict) else None
        if word != self._password or not self._surface.write_open:
            return _refusal(403, "invalid password")
        return self._json({"token": self._tokens.issue()})

    def _perf_summary(self, _: MachineState) -> Json:
        preset = self._unit.presets.get(self._unit.running)
        switcher = self._settings.shown()["miner"]["overclock"]["preset_switcher"]
        return {
            "current_preset": NO_PRESET if preset is None else preset.shown(),
            "preset_switcher": switcher,
        }

    def _write_settings(self, body: Any) -> Response:
        faults = self._surface.faults
        if faults.http_500_on_conf:
            return html_page(500)
        if faults.config_locked:
            return _refusal(409, "settings are being changed by another client")
        if not isinstance(body, dict):
            return _refusal(400, "invalid settings")
        change = body.get("password")
        if isinstance(change, dict):
            if change.get("current") != self._password:
                return _refusal(403, "invalid password")
            new = change.get("pw")
            if isinstance(new, str) and 0 < len(new) <= 64:
                self._password = new
        return self._json(self._settings.write(body))

    def _throttle(self, body: Any) -> Response:
        percent = body.get("percent") if isinstance(body, dict) else None
        low, high = THROTTLE_RANGE
        if not isinstance(percent, int) or isinstance(percent, bool) or not low <= percent <= high:
            return _refusal(400, f"percent must be {low} to {high}")
        self._unit.throttle(percent)
        return self._json({"restart_required": False, "reboot_required": False})

    def _switch_pool(self, body: Any) -> Response:
        number = body.get("pool_id") if isinstance(body, dict) else None
        entries = [entry for entry in self._unit.pools() if entry.url]
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < len(entries):
            return _refusal(400, "no such pool")
        chosen = entries.pop(number)
        self._unit.set_pools([chosen, *entries])
        return self._json({})

    def _find(self, body: Any) -> Response:
        wanted = body.get("on") if isinstance(body, dict) else None
        self._unit.find(on=wanted if isinstance(wanted, bool) else not self._unit.finding)
        return self._json({"on": self._unit.finding})

    def _reboot(self, _: Any) -> Response:
        self._unit.reboot()
        return self._json({"after": REBOOT_AFTER_S})

    def _done(self, act: Callable[[], None]) -> Response:
        act()
        return self._json({})

    def _json(self, document: Any) -> Response:
        body = self._surface.faults.spoil_json(compact(document))
        return Response(200, body, (("Content-Type", "application/json"),))


def _refusal(status: int, message: str) -> Response:
    return Response(status, compact({"err": message}), (("Content-Type", "application/json"),))

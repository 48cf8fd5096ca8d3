"""The web pages of old Antminers on port 80: digest login, shell scripts, and a form that rewrites it all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from simulator.machine import MachineState
from simulator.peers.antminer.layouts import Json, is_silent, legacy_pools
from simulator.peers.antminer.web import (
    FACTORY_PASSWORD,
    FACTORY_USER,
    PREFIX,
    REALM,
    SERVER,
    answered_at_the_door,
)
from simulator.peers.antminer_old.api import OldApi
from simulator.peers.antminer_old.unit import OldUnit
from simulator.peers.digest import DigestGate
from simulator.peers.http import Request, Response, html_page, serve_connection
from simulator.peers.listener import compact

_PRINTED = {"miner_stats.cgi": "stats", "miner_summary.cgi": "summary", "miner_pools.cgi": "pools"}
_STATUS_PAGE = (
    b"<!DOCTYPE html>\n<html>\n<head><title>Ant Miner</title></head>\n"
    b'<body><h2>Miner Status</h2><div id="ant_elapsed"></div></body>\n</html>\n'
)
_MODES = [
    {"ModeName": "Normal", "ModeValue": "0", "Level": {"Normal": "0"}},
    {"ModeName": "Sleep Mode", "ModeValue": "254", "Level": {"Normal": "0"}},
]
_BLINKS = {"startBlink": True, "stopBlink": False}


class OldWeb:
    """Answers connections to port 80."""

    def __init__(self, unit: OldUnit, api: OldApi) -> None:
        self._unit = unit
        self._surface = unit.surface
        self._api = api
        options = unit.surface.options
        self._gate = DigestGate(
            REALM,
            FACTORY_USER if options.username is None else options.username,
            FACTORY_PASSWORD if options.password is None else options.password,
            unit.surface.machine.mac,
        )
        self._writing = asyncio.Lock()
        self._blinking = False
        self._pages: dict[str, Callable[[MachineState], Json]] = {
            "get_system_info.cgi": self._system_info,
            "get_network_info.cgi": self._network_info,
        }
        if unit.is_s9:
            self._pages["get_miner_status.cgi"] = self._status
        if unit.layout.has_work_mode:
            self._pages["get_multi_option.cgi"] = lambda _: {"ModeInfo": _MODES}

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        await serve_connection(
            reader, writer, self.respond, server=SERVER, faults=lambda: self._surface.faults
        )

    async def respond(self, request: Request) -> Response:
        """The page for one request.

        Raises:
            Hangup: the control board is down.
        """
        state = self._surface.state()
        faults = self._surface.faults
        answered = answered_at_the_door(request, state, self._gate, faults)
        if answered is not None:
            return answered
        if request.method not in ("GET", "POST"):
            return html_page(405)
        page = request.path.removeprefix(PREFIX)
        if page == "get_miner_conf.cgi":
            return html_page(500) if faults.http_500_on_conf else self._printed(self._unit.conf_text())
        if page in _PRINTED:
            return self._printed(self._api.printed(_PRINTED[page], state))
        if page in self._pages:
            return self._printed(compact(self._pages[page](state)))
        return await self._act(page, request.body)

    async def _act(self, page: str, body: bytes) -> Response:
        if page == "minerStatus.cgi":
            return _script(_STATUS_PAGE)
        if page == "set_miner_conf.cgi":
            return _script(await self._rewrite(lambda: self._unit.rewrite(body)))
        if page == "reset_conf.cgi":
            return _script(await self._rewrite(self._unit.reset))
        if page == "blink.cgi":
            return _script(self._blink(body))
        if page == "reboot.cgi":
            self._unit.reboot()
            daemon = self._unit.layout.daemon
            return _script(f"Stopping {daemon.capitalize()} daemon: {daemon}.".encode())
        return html_page(404)

    async def _rewrite(self, act: Callable[[], None]) -> bytes:
        """`ok` once it is done; a second writer waits for the first and is then told nothing."""
        if self._surface.faults.config_locked:
            await self._wait()
            return b""
        if self._writing.locked():
            async with self._writing:
                return b""
        async with self._writing:
            act()
            await self._wait()
        return b"ok"

    async def _wait(self) -> None:
        if self._surface.options.conf_reply_s:
            await self._surface.machine.clock.sleep(self._surface.options.conf_reply_s)

    def _blink(self, body: bytes) -> bytes:
        action = body.decode("latin-1").strip().removeprefix("action=")
        if action == "onPageLoaded":
            return compact({"isBlinking": self._blinking})
        if action not in _BLINKS or (action == "startBlink" and self._blinking):
            return b""
        self._blinking = _BLINKS[action]
        return compact({action: True})

    def _status(self, state: MachineState) -> Json:
        if is_silent(state) or not self._unit.serves_api(state):
            return {"summary": [], "pools": [], "devs": []}
        return {
            "summary": self._api.rows("summary", state)[0],
            "pools": legacy_pools(state, self._surface.machine.pools),
            "devs": self._api.rows("stats", state),
        }

    def _network(self) -> Json:
        return {
            "nettype": "DHCP",
            "netdevice": "eth0",
            "macaddr": self._surface.state().mac.upper(),
            "hostname": "antMiner",
            "ipaddress": self._unit.address,
            "netmask": "255.0.0.0",
            "gateway": "",
            "dnsservers": "",
        }

    def _system_info(self, state: MachineState) -> Json:
        up = self._unit.serves_api(state)
        version = self._api.rows("version", state)[0]
        minutes = int(state.uptime_s // 60)
        return {
            "minertype": state.type_text,
            **self._network(),
            "curtime": f"{state.now:%H:%M:%S}",
            "uptime": str(minutes),
            "loadaverage": "1.07, 1.12, 1.09",
            "mem_total": "232100",
            "mem_used": "67312",
            "mem_free": "164788",
            "mem_buffers": "0",
            "mem_cached": "28252",
            "system_mode": "GNU/Linux",
            "ant_hwv": version["Miner"] if up else "Socket connect failed: Connection refused",
            "system_kernel_version": f"Linux {self._unit.kernel}",
            "system_filesystem_version": state.firmware_version,
            f"{self._unit.layout.daemon}_version": version["BMMiner"] if up else "",
        }

    def _network_info(self, _: MachineState) -> Json:
        info = self._network()
        del info["gateway"], info["dnsservers"], info["hostname"]
        blank = dict.fromkeys(("conf_ipaddress", "conf_netmask", "conf_gateway", "conf_dnsservers"), "")
        return info | {"conf_nettype": "DHCP", "conf_hostname": "antMiner"} | blank

    def _printed(self, document: bytes) -> Response:
        return _script(self._surface.faults.spoil_json(document))


def _script(output: bytes) -> Response:
    # The scripts print a blank line where headers would be, and no content type.
    return Response(200, b"\n" + output + b"\n")

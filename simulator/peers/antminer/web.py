"""The web pages of stock Antminers on port 80: lighttpd with digest login and shell CGI scripts.

What a configuration write means is in `antminer_conf`; the figures are those of the new API.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from simulator.machine import MachineState
from simulator.peers.antminer.api import AntminerApi
from simulator.peers.antminer.conf import MinerConf, answer
from simulator.peers.antminer.layouts import Json
from simulator.peers.digest import DigestGate
from simulator.peers.faults import Faults
from simulator.peers.http import Request, Response, html_page, serve_connection
from simulator.peers.listener import Hangup, compact
from simulator.peers.surface import Surface

REALM = "antMiner Configuration"
SERVER = "lighttpd/1.4.32"
FACTORY_USER = "root"
FACTORY_PASSWORD = "root"  # noqa: S105 - the published factory default that the simulated miner has
HASHRATE_PERCENT_RANGE = ("65", "100")
PREFIX = "/cgi-bin/"
_PROXIED = {
    "stats.cgi": "stats",
    "summary.cgi": "summary",
    "pools.cgi": "pools",
    "chart.cgi": "rate",
    "warning.cgi": "warning",
}


def answered_at_the_door(
    request: Request, state: MachineState, gate: DigestGate, faults: Faults
) -> Response | None:
    """What the web server says before any script runs: login, start page, no such page; None lets it through.

    Raises:
        Hangup: the control board is down.
    """
    if not state.ports_open:
        raise Hangup
    if faults.login_loop:
        return gate.challenge(state.now)
    refusal = gate.check(request, state.now, single_use=faults.stale_nonce)
    if refusal is not None:
        return refusal
    if request.path == "/":
        return html_page(200)
    return None if request.path.startswith(PREFIX) else html_page(404)


class AntminerWeb:
    """Answers connections to port 80."""

    def __init__(self, surface: Surface, api: AntminerApi, address: str) -> None:
        self._surface = surface
        self._api = api
        self._address = address
        state = surface.machine.state()
        options = surface.options
        self._gate = DigestGate(
            REALM,
            FACTORY_USER if options.username is None else options.username,
            FACTORY_PASSWORD if options.password is None else options.password,
            state.mac,
        )
        self._conf = MinerConf(surface)
        self._conf_lock = asyncio.Lock()
        self._blinking = False
        self._get = self._pages()

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
        page = request.path.removeprefix(PREFIX)
        if page == "get_miner_conf.cgi" and faults.http_500_on_conf:
            return html_page(500)
        if page == "reboot.cgi" and request.method in ("GET", "POST"):
            self._surface.perform(self._surface.machine.reboot)
            return _script("Status 200")
        if request.method == "POST":
            return await self._post(page, request.body, state)
        if request.method != "GET":
            return html_page(405)
        if page in self._get:
            return self._json(self._get[page](state))
        return html_page(404)

    async def _post(self, page: str, body: bytes, state: MachineState) -> Response:
        if page == "set_miner_conf.cgi":
            return self._json(await self._write_conf(body, state))
        if page == "blink.cgi":
            return self._json(self._blink(body))
        return html_page(404)

    async def _write_conf(self, body: bytes, state: MachineState) -> Json:
        if self._surface.faults.config_locked or self._conf_lock.locked():
            return answer("M001", "request busy")
        async with self._conf_lock:
            reply = self._conf.write(body, state)
            if self._surface.options.conf_reply_s:
                await self._surface.machine.clock.sleep(self._surface.options.conf_reply_s)
        return reply

    def _blink(self, body: bytes) -> Json:
        try:
            wanted = json.loads(body)
        except (ValueError, RecursionError):
            wanted = None
        value = wanted.get("blink") if isinstance(wanted, dict) else None
        if value in (True, "true"):
            self._blinking = True
            return {"code": "B000"}
        if value in (False, "false"):
            self._blinking = False
            return {"code": "B100"}
        return {"code": "B001"}

    def _pages(self) -> dict[str, Callable[[MachineState], Json]]:
        pages: dict[str, Callable[[MachineState], Json]] = {
            "get_system_info.cgi": self._system_info,
            "get_network_info.cgi": self._network_info,
            "get_miner_conf.cgi": self._conf.shown,
            "get_blink_status.cgi": lambda _: {"blink": self._blinking},
        }
        for page, command in _PROXIED.items():
            pages[page] = self._proxy(command)
        if self._conf.is_release_build or self._surface.options.layout == "new":
            pages["miner_type.cgi"] = self._miner_type
        if self._surface.options.offers_hashrate_percent:
            low, high = HASHRATE_PERCENT_RANGE
            pages["get_adjustment_params.cgi"] = lambda _: {
                "hashrate_percent_min": low,
                "hashrate_percent_max": high,
            }
        return pages

    def _proxy(self, command: str) -> Callable[[MachineState], Json]:
        def page(state: MachineState) -> Json:
            return self._api.new_api(command, state)

        return page

    def _miner_type(self, state: MachineState) -> Json:
        return {
            "miner_type": state.type_text,
            "subtype": "zynq7007_HHB56XXX",
            "fw_version": state.firmware_version,
        }

    def _network(self) -> Json:
        return {
            "nettype": "DHCP",
            "netdevice": "eth0",
            "macaddr": self._surface.state().mac.upper(),
            "hostname": "Antminer",
            "ipaddress": self._address,
            "netmask": "255.0.0.0",
        }

    def _system_info(self, state: MachineState) -> Json:
        info: Json = {"minertype": state.type_text} | self._network()
        info |= {
            "gateway": "",
            "dnsservers": "",
            "system_mode": "GNU/Linux",
            "system_kernel_version": "Linux 4.6.0-xilinx #1 SMP PREEMPT armv7l GNU/Linux",
            "system_filesystem_version": state.firmware_version,
            "firmware_type": "Release" if self._conf.is_release_build else "",
        }
        if self._conf.is_release_build:
            info["serinum"] = state.serial
        return info

    def _network_info(self, _: MachineState) -> Json:
        info = self._network()
        info |= {f"conf_{key}": value for key, value in info.items() if key in ("nettype", "hostname")}
        return info | {"conf_ipaddress": "", "conf_netmask": "", "conf_gateway": "", "conf_dnsservers": ""}

    def _json(self, document: Json) -> Response:
        return _script(self._surface.faults.spoil_json(compact(document)))


def _script(output: bytes | str) -> Response:
    # The scripts print two blank lines: the first ends the CGI headers, the second is sent.
    body = output.encode() if isinstance(output, str) else output
    return Response(200, b"\n" + body + b"\n")

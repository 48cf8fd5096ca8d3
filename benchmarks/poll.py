"""Our poller against pyasic and pyasic_rs, each in a process of its own, over the same simulated miners.

    .venv/bin/python benchmarks/poll.py --miners 200 --family antminer-stock --json

Prints one JSON document. Per client: miners polled a second, CPU milliseconds per poll (process CPU, all
threads), peak RSS, messages and connections that reached the miners per poll, and the seconds of a round
while a share of the miners accepts connections and never answers. Identification and the first, fuller
read of each miner are done before and not counted. The clients use the real ports, so this needs root or
net.ipv4.ip_unprivileged_port_start=80. Simulated time stands still, so that the peers cost little; what
they cost all the same is told beside each client (`peers_cpu_ms_per_poll`), for on few cores the wall
seconds of a round are theirs as much as the client's.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

CLIENTS = ("hashmargin", "pyasic", "pyasic_rs")
FAMILIES = {
    "antminer-stock": ("antminer-s19-pro", "stock", False),
    "whatsminer-v2": ("whatsminer-m30s-plus-plus", "stock", False),
    "whatsminer-v3": ("whatsminer-m60s", "stock", True),
    "luxos": ("antminer-s19-pro", "luxos", False),
    "braiins": ("antminer-s21-pro", "braiins", False),
    "vnish": ("antminer-s21-pro", "vnish", False),
}
FIRST = ipaddress.IPv4Address("127.90.0.1")
CONCURRENCY = 200
DEADLINE_S = 10.0
_MORE_TRIES = 3
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def addresses(count: int) -> list[str]:
    """Loopback addresses of the simulated miners."""
    return [str(FIRST + index) for index in range(count)]


# -- the simulated miners --------------------------------------------------------------------------


async def serve_peers(family: str, count: int) -> None:
    """Run the miners; answer `count` and `hang SHARE` on standard input until it ends."""
    from agent.clock import ManualClock
    from simulator.machine import Machine, MachineState
    from simulator.peers import NO_FAULTS, Faults, PeerOptions, PeerPorts, serve
    from simulator.physics_file import default_physics

    class StillMachine(Machine):
        """Its state is computed once, so that the figures are the clients'."""

        _still: MachineState | None = None

        def state(self) -> MachineState:
            if self._still is None:
                self._still = super().state()
            return self._still

    seen = {"messages": 0, "connections": 0}
    feed, opened = asyncio.StreamReader.feed_data, asyncio.StreamReaderProtocol.connection_made

    def counted_feed(self: asyncio.StreamReader, data: bytes) -> None:
        seen["messages"] += 1
        feed(self, data)

    def counted_open(self: asyncio.StreamReaderProtocol, transport: asyncio.BaseTransport) -> None:
        seen["connections"] += 1
        opened(self, transport)

    asyncio.StreamReader.feed_data = counted_feed  # type: ignore[method-assign]
    asyncio.StreamReaderProtocol.connection_made = counted_open  # type: ignore[method-assign]

    model, firmware, api_v3 = FAMILIES[family]
    clock = ManualClock(NOW)
    physics = default_physics().model(model)
    options = PeerOptions(firmware=firmware, api_v3=api_v3)  # type: ignore[arg-type]
    peers = []
    for index, address in enumerate(addresses(count)):
        mac = f"02:00:00:{index >> 16 & 255:02x}:{index >> 8 & 255:02x}:{index & 255:02x}"
        machine = StillMachine(physics, seed=index, clock=clock, mac=mac, serial=f"SN{index}", ambient=22.0)
        machine.state()
        peers.append(await serve(machine, address, PeerPorts(), options))
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        word, _, rest = line.strip().partition(" ")
        if word == "hang":
            sick = round(float(rest) * count)
            for place, peer in enumerate(peers):
                # Spread over the range, so that no client meets them all at once.
                wrong = sick > 0 and place * sick // count != (place - 1) * sick // count
                await peer.set_faults(Faults(hang=True) if wrong else NO_FAULTS)
            print("{}", flush=True)
        else:
            print(json.dumps(seen | {"cpu_s": time.process_time()}), flush=True)
    os._exit(0)


# -- the clients -----------------------------------------------------------------------------------

Round = Callable[[], Awaitable[list[float]]]


async def rounds_of(client: str, family: str, hosts: Sequence[str]) -> Round:
    """A coroutine function that polls every miner once and gives the seconds each success came after."""
    if client == "hashmargin":
        from agent.clock import SystemClock
        from agent.devices.device import Endpoint
        from agent.polling.poller import Poller, PollTarget
        from agent.telemetry import PollResult

        targets = [PollTarget(host, Endpoint(host, deadline_s=DEADLINE_S), family) for host in hosts]
        poller = Poller(targets, SystemClock(), CONCURRENCY)

        async def ours() -> list[float]:
            started, done = time.perf_counter(), list[float]()

            def note(result: PollResult) -> None:
                if result.reading is not None and result.reading.hashrate_ths is not None:
                    done.append(time.perf_counter() - started)

            await poller.poll_once(note)
            return done

        return ours

    gate = asyncio.Semaphore(CONCURRENCY)
    if client == "pyasic":
        import pyasic

        async def found(host: str) -> object:
            async with gate:
                return await pyasic.get_miner(host)
    else:
        from pyasic_rs import MinerFactory

        async def found(host: str) -> object:
            async with gate:
                return await MinerFactory().get_miner(host)

    miners = await asyncio.gather(*(found(host) for host in hosts))
    for _ in range(_MORE_TRIES):
        # Their own deadlines pass on a busy machine; that is not what is measured here.
        left = [place for place, miner in enumerate(miners) if miner is None]
        for place in left:
            miners[place] = await found(hosts[place])
    if any(miner is None for miner in miners):
        raise SystemExit(f"{client} did not recognise {miners.count(None)} of {len(miners)} miners")

    async def theirs() -> list[float]:
        started, done = time.perf_counter(), list[float]()

        async def one(miner: object) -> None:
            async with gate:
                try:
                    async with asyncio.timeout(DEADLINE_S):
                        data = await miner.get_data()  # type: ignore[attr-defined]
                except Exception:  # noqa: BLE001 - another library's errors, of any kind
                    return
            if data is not None and data.hashrate is not None:
                done.append(time.perf_counter() - started)

        await asyncio.gather(*(one(miner) for miner in miners))
        return done

    return theirs


async def run_client(client: str, family: str, count: int, rounds: int) -> None:
    """Poll on request: `go` measures `rounds` rounds, `once` one; each prints a JSON line."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    poll = await rounds_of(client, family, addresses(count))
    answered = await poll()
    print(json.dumps({"answered": len(answered)}), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        wall, cpu, last = [], [], []
        done: list[float] = []
        for _ in range(rounds if line.strip() == "go" else 1):
            started, busy = time.perf_counter(), time.process_time()
            done = await poll()
            wall.append(time.perf_counter() - started)
            cpu.append(time.process_time() - busy)
            last.append(max(done, default=float("nan")))
        print(
            json.dumps(
                {
                    "round_s": statistics.median(wall),
                    "healthy_done_s": statistics.median(last),
                    "cpu_ms_per_poll": 1000.0 * statistics.median(cpu) / count,
                    "answered": len(done),
                    "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0,
                }
            ),
            flush=True,
        )
    os._exit(0)


# -- the comparison --------------------------------------------------------------------------------


def child(*words: str) -> subprocess.Popen[str]:
    """Another process of this file."""
    return subprocess.Popen(
        [sys.executable, __file__, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def ask(process: subprocess.Popen[str], line: str | None = None) -> dict[str, float]:
    """Send a line and read the JSON line that answers it."""
    assert process.stdin is not None and process.stdout is not None
    if line is not None:
        process.stdin.write(line + "\n")
        process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise SystemExit(f"{' '.join(map(str, process.args[2:]))} ended early")  # type: ignore[index]
    found: dict[str, float] = json.loads(answer) if answer.startswith("{") else {}
    return found


def measure(client: str, peers: subprocess.Popen[str], args: argparse.Namespace) -> dict[str, float]:
    """All figures of one client."""
    process = child("--client", client, *shared(args))
    try:
        ready = ask(process)["answered"]
        before = ask(peers, "count")
        healthy = ask(process, "go")
        after = ask(peers, "count")
        ask(peers, f"hang {args.hang_share}")
        # In the first round they learn who is silent, as far as they do.
        ask(process, "once")
        sick = ask(process, "go")
        ask(peers, "hang 0")
    finally:
        process.kill()
        process.wait()
    polls = args.rounds * args.miners
    figures = {
        "answered_share": healthy["answered"] / args.miners,
        "answered_at_first": ready,
        "round_s": healthy["round_s"],
        "miners_per_s": args.miners / healthy["round_s"],
        "cpu_ms_per_poll": healthy["cpu_ms_per_poll"],
        "peers_cpu_ms_per_poll": 1000.0 * (after["cpu_s"] - before["cpu_s"]) / polls,
        "rss_mib": healthy["rss_mib"],
        "messages_per_poll": (after["messages"] - before["messages"]) / polls,
        "connections_per_poll": (after["connections"] - before["connections"]) / polls,
        "healthy_done_s": healthy["healthy_done_s"],
        "healthy_done_s_while_some_hang": sick["healthy_done_s"],
        "round_s_while_some_hang": sick["round_s"],
    }
    return {name: round(value, 3) for name, value in figures.items()}


def shared(args: argparse.Namespace) -> list[str]:
    return ["--miners", str(args.miners), "--family", args.family, "--rounds", str(args.rounds)]


def compare(args: argparse.Namespace) -> None:
    peers = child("--serve", *shared(args))
    try:
        ask(peers)
        figures = {client: measure(client, peers, args) for client in args.clients.split(",")}
    finally:
        peers.kill()
        peers.wait()
    document: dict[str, object] = {
        "benchmark": "poll",
        "family": args.family,
        "miners": args.miners,
        "rounds": args.rounds,
        "hang_share": args.hang_share,
        "concurrency": CONCURRENCY,
        "clients": figures,
    }
    ours = figures.get("hashmargin")
    if ours is not None:
        document["cpu_of_others_over_ours"] = {
            name: round(theirs["cpu_ms_per_poll"] / ours["cpu_ms_per_poll"], 2)
            for name, theirs in figures.items()
            if name != "hashmargin"
        }
    if args.json:
        print(json.dumps(document, indent=2))
        return
    for name, theirs in figures.items():
        print(f"{name:12} " + "  ".join(f"{key} {value:g}" for key, value in theirs.items()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--miners", type=int, default=100)
    parser.add_argument("--family", choices=tuple(FAMILIES), default="antminer-stock")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hang-share", type=float, default=0.1)
    parser.add_argument("--clients", default=",".join(CLIENTS), help="comma-separated; all by default")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--client", choices=CLIENTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if soft < hard else soft, hard))
    if args.serve:
        asyncio.run(serve_peers(args.family, args.miners))
    elif args.client is not None:
        asyncio.run(run_client(args.client, args.family, args.miners, args.rounds))
    else:
        compare(args)


if __name__ == "__main__":
    main()

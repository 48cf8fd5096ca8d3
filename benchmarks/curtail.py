"""Seconds from the decision to stop every miner of a site to the last command that a miner accepted.

    .venv/bin/python benchmarks/curtail.py --miners 1000 --json

Half the fleet are stock Antminers, half Whatsminers, each half simulated in a process of its own with real
protocols; ports are moved up, so no root is needed. The agent's own site, journal on disk, gate and drivers
carry it out: the clock starts when the approvals stand in the database and stops at the last answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from agent.records import Recommendation

FIRST = "127.91.0.1"
PORT_OFFSET = 20_000
CYCLES = 6


def groups_of(count: int) -> list[dict[str, object]]:
    """The groups of a farm of `count` miners."""
    half = count // 2
    groups: list[dict[str, object]] = [
        {"model": "antminer-s19-pro", "count": count - half, "first_address": FIRST},
        {"model": "whatsminer-m30s-plus-plus", "count": half, "first_address": "127.92.0.1"},
    ]
    return [group for group in groups if group["count"]]


def farm_text(groups: list[dict[str, object]]) -> str:
    """A farm file of these groups."""
    content = {
        "name": "curtail",
        "seed": 5,
        "port_offset": PORT_OFFSET,
        "ambient": {"kind": "constant", "celsius": 18.0},
        "groups": groups,
    }
    return yaml.safe_dump(content)


async def serve(path: Path) -> None:
    """Run the simulated farm until standard input ends."""
    from agent.clock import SystemClock
    from simulator.farm import load_farm, run_farm

    async with run_farm(load_farm(path), SystemClock()) as farm:
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        stopped = sum(
            not state.mining_enabled or state.work_mode == "sleep"
            for state in (machine.state() for machine in farm.machines.values())
        )
        print(json.dumps({"stopped": stopped}), flush=True)
        os._exit(0)


async def curtail(farm: Path, folder: Path) -> dict[str, float]:
    """Poll, decide at a ruinous price, then stop everything; figures of the last part."""
    from agent.clock import SystemClock
    from agent.config import load_site
    from agent.cycle import Cycle
    from agent.hardware.catalogue import Catalogue
    from agent.money.economics import Economics
    from agent.site import Site
    from agent.store import open_store
    from simulator.farm import load_farm
    from simulator.farm_site import write_site

    path = folder / "site.yaml"
    write_site(path, load_farm(farm))
    content = yaml.safe_load(path.read_text())
    content |= {"mode": "propose", "tariff": {"kind": "fixed", "price_usd_per_kwh": 2.0}}
    path.write_text(yaml.safe_dump(content))
    config, clock = load_site(path), SystemClock()
    store, _ = open_store(folder / "agent.sqlite3", config.site.id, clock.now())
    site = Site(config, Catalogue.load(), clock)
    cycle = Cycle(config, site, store, Economics(config), clock)
    stops: list[Recommendation] = []
    for _ in range(CYCLES):
        # A busy machine may be too slow for the first, longest reading of so many miners at once.
        await cycle.run()
        stops = [r for r in store.recommendations("proposed") if r.proposed.setting().stops_hashing]
        if len(stops) == len(config.miners):
            break
    with store.together():
        for stop in stops:
            decided = {"status": "approved", "decided_by": "benchmark", "decided_at": clock.now()}
            store.put_recommendation(stop.model_copy(update=decided))
    started, busy = time.perf_counter(), time.process_time()
    cycle.dispatcher.start(clock.now())
    await cycle.dispatcher.finish()
    wall_s, cpu_s = time.perf_counter() - started, time.process_time() - busy
    acts = store.acts(limit=10 * len(stops) + 10)
    store.close()
    return {
        "stops_decided": len(stops),
        "accepted": sum(act.acknowledged is True for act in acts),
        "unknown": sum(act.status == "sent" and act.acknowledged is None for act in acts),
        "failed": sum(act.status == "failed" for act in acts),
        "seconds": round(wall_s, 3),
        "agent_cpu_seconds": round(cpu_s, 3),
    }


def ended(peer: subprocess.Popen[str]) -> int:
    """Miners of a farm that had stopped when it was told to end."""
    assert peer.stdin is not None and peer.stdout is not None
    peer.stdin.write("\n")
    peer.stdin.flush()
    return int(json.loads(peer.stdout.readline())["stopped"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--miners", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard), hard))
    if args.serve is not None:
        asyncio.run(serve(args.serve))
        return
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        farm = folder / "farm.yaml"
        groups = groups_of(args.miners)
        farm.write_text(farm_text(groups))
        peers = []
        for number, group in enumerate(groups):
            part = folder / f"part-{number}.yaml"
            part.write_text(farm_text([group]))
            peers.append(
                subprocess.Popen(
                    [sys.executable, __file__, "--serve", str(part)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        try:
            for peer in peers:
                assert peer.stdout is not None
                if peer.stdout.readline().strip() != "ready":
                    raise SystemExit("the simulated farm did not start")
            figures = asyncio.run(curtail(farm, folder))
            figures["stopped"] = sum(ended(peer) for peer in peers)
        finally:
            for peer in peers:
                peer.kill()
                peer.wait()
    document = {"benchmark": "curtail", "miners": args.miners, **figures}
    if figures["stops_decided"] < args.miners:
        print(f"only {figures['stops_decided']} of {args.miners} miners were decided on", file=sys.stderr)
    print(json.dumps(document, indent=2) if args.json else document)


if __name__ == "__main__":
    main()

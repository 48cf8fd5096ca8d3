"""The command `hashmargin simulate`: run a farm until stopped, or write its history."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from agent.clock import Clock, ScaledClock, parse_clock
from agent.errors import InputError
from simulator.control import Control
from simulator.farm import Farm, FarmSpec, load_farm, run_farm
from simulator.farm_site import write_site
from simulator.fault_script import FaultPlayer, FaultsFile, load_faults
from simulator.history_cli import history
from simulator.truth import serve_truth, truth

_STATE_EVERY_S = 5.0
_TABLE_ROWS = 60
_LOG_WIDTH = 120


def register(app: typer.Typer) -> None:
    """Add the group `simulate` with its subcommand `history`."""
    group = typer.Typer(
        invoke_without_command=True,
        no_args_is_help=True,
        help=simulate.__doc__,
        rich_markup_mode="rich",
    )
    group.callback()(simulate)
    group.command("history")(history)
    app.add_typer(group, name="simulate")


def simulate(
    ctx: typer.Context,
    farm: Annotated[Path | None, typer.Option(help="The farm, see docs/simulator.md.")] = None,
    clock: Annotated[
        str | None, typer.Option(help="Clock shared with other processes: ORIGIN@WALL_SECONDSxFACTOR.")
    ] = None,
    clock_factor: Annotated[
        float | None, typer.Option(help="Seconds of the farm per second on the wall.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the farm file's seed.")] = None,
    write_site_to: Annotated[
        Path | None, typer.Option("--write-site", help="Write a site.yaml for this farm.")
    ] = None,
    ready_file: Annotated[
        Path | None, typer.Option(help="Written when every miner listens; holds what --json prints.")
    ] = None,
    state_file: Annotated[
        Path | None, typer.Option(help="The true state as JSON, rewritten every 5 s and at the end.")
    ] = None,
    truth_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Serve GET /truth on 127.0.0.1 here; 0 takes any.")
    ] = None,
    faults: Annotated[
        Path | None, typer.Option(help="Faults by script and by chance, see docs/simulator.md.")
    ] = None,
    control_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Control API on 127.0.0.1 here; 0 takes any.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line when ready.")] = False,
) -> None:
    """Run simulated miners that speak the real protocols, until Ctrl-C; or make history with `history`.

    Example: hashmargin simulate --farm configs/farm.example.yaml --write-site /tmp/site.yaml
    """
    if ctx.invoked_subcommand is not None:
        return
    if farm is None:
        raise InputError("which farm? Give --farm FARM.yaml; configs/farm.example.yaml is one")
    if clock is not None and clock_factor is not None:
        raise InputError("give --clock or --clock-factor, not both")
    spec = load_farm(farm, seed)
    chosen = _clock(spec, clock, clock_factor)
    if write_site_to is not None:
        write_site(write_site_to, spec)
    script = None if faults is None else load_faults(faults)
    options = _Options(ready_file, state_file, truth_port, script, control_port, as_json)
    asyncio.run(_run(spec, chosen, options))


def _clock(spec: FarmSpec, text: str | None, factor: float | None) -> Clock:
    if text is not None:
        return parse_clock(text)
    factor = spec.file.clock_factor if factor is None else factor
    if factor == 1.0 and spec.start is None:
        return parse_clock(None)
    return ScaledClock(spec.start or datetime.now(UTC), time.time(), factor)


@dataclass(frozen=True, slots=True)
class _Options:
    """What runs beside the miners."""

    ready_file: Path | None
    state_file: Path | None
    truth_port: int | None
    script: FaultsFile | None
    control_port: int | None
    as_json: bool


async def _run(spec: FarmSpec, clock: Clock, options: _Options) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with run_farm(spec, clock) as farm, contextlib.AsyncExitStack() as stack:
        own = {miner.address: miner.faults for miner in spec.miners}
        player = FaultPlayer(farm.peers, own, options.script, clock)
        truth_server = await _listening(
            stack, "--truth-port", options.truth_port, partial(serve_truth, farm, clock)
        )
        control = await _listening(stack, "--control-port", options.control_port, Control(farm, player).serve)
        if options.script is not None:
            task = asyncio.create_task(player.run())
            stack.callback(task.cancel)
        ready = _ready(farm, clock, _url(truth_server, "truth"), _url(control, "miners"))
        if options.as_json:
            typer.echo(json.dumps(ready))
        else:
            _show(farm, ready)
        if options.ready_file is not None:
            _write(options.ready_file, ready)
        await _until(stop, farm, clock, options.state_file)


async def _listening(
    stack: contextlib.AsyncExitStack,
    option: str,
    port: int | None,
    serve: Callable[[int], Awaitable[asyncio.Server]],
) -> asyncio.Server | None:
    if port is None:
        return None
    try:
        server = await serve(port)
    except OSError as error:
        raise InputError(f"{option} {port}: cannot listen: {error}") from error
    stack.push_async_callback(server.wait_closed)
    stack.callback(server.close)
    return server


def _url(server: asyncio.Server | None, path: str) -> str | None:
    if server is None:
        return None
    host, port = server.sockets[0].getsockname()[:2]
    return f"http://{host}:{port}/{path}"


async def _until(stop: asyncio.Event, farm: Farm, clock: Clock, state_file: Path | None) -> None:
    """Wait for a signal; keep the state file fresh on the way."""
    if state_file is None:
        await stop.wait()
        return
    while not stop.is_set():
        _write(state_file, truth(farm, clock))
        try:
            await asyncio.wait_for(stop.wait(), _STATE_EVERY_S)
        except TimeoutError:
            continue
    _write(state_file, truth(farm, clock))


def _ready(farm: Farm, clock: Clock, truth_url: str | None, control_url: str | None) -> dict[str, Any]:
    return {
        "ready": True,
        "farm": farm.spec.file.name,
        "pid": os.getpid(),
        "clock": clock.spec() if isinstance(clock, ScaledClock) else None,
        "truth_url": truth_url,
        "control_url": control_url,
        "miners": [
            {
                "address": miner.address,
                "model": miner.physics.key,
                "firmware": miner.firmware,
                "mac": miner.mac,
                "phase": farm.machines[miner.address].state().phase,
                "ports": {
                    "api": miner.ports.api,
                    "web": miner.ports.web,
                    "status": miner.ports.status,
                    "api_v3": miner.ports.api_v3,
                },
            }
            for miner in farm.spec.miners
        ],
    }


def _show(farm: Farm, ready: dict[str, Any]) -> None:
    table = Table(title=f"{farm.spec.file.name}: {len(farm.machines)} simulated miners")
    for name in ("address", "model", "firmware", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("TH/s", "W", "setting"):
        table.add_column(name, justify="right", no_wrap=True)
    for miner in farm.spec.miners[:_TABLE_ROWS]:
        state = farm.machines[miner.address].state()
        limit = "" if state.power_limit_w is None else f" {state.power_limit_w:.0f} W"
        wrong = "unplugged" if miner.faults.unplugged else state.phase
        table.add_row(
            miner.address,
            miner.physics.key,
            miner.firmware,
            wrong,
            f"{state.hashrate_ths:.1f}",
            f"{state.power_w:.0f}",
            f"{state.work_mode}{limit}",
        )
    console = Console()
    if not console.is_terminal:
        console = Console(width=_LOG_WIDTH)
    console.print(table)
    if len(farm.spec.miners) > _TABLE_ROWS:
        console.print(f"and {len(farm.spec.miners) - _TABLE_ROWS} more")
    if ready["clock"] is not None:
        console.print(f"clock: {ready['clock']}", highlight=False, soft_wrap=True)
    if ready["truth_url"] is not None:
        console.print(f"truth: {ready['truth_url']}", highlight=False)
    if ready["control_url"] is not None:
        console.print(f"control: {ready['control_url']}", highlight=False)
    console.print("running; Ctrl-C stops", highlight=False)


def _write(path: Path, content: dict[str, Any]) -> None:
    """Replace a file whole, so that a reader never sees half of it."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(json.dumps(content) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error

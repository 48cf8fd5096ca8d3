"""Runs side by side in processes of their own, one for each core; a run shares nothing with another."""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from typing import TypeAlias

from agent.errors import HashmarginError
from agent.models.bundle import load_bundle
from simulator.backtest.jobs import Done, How, Job, run_job
from simulator.backtest.setup import Setup
from simulator.backtest.stage import Stage, Told

# A simple policy goes through about so many steps of units in a second.
_UNIT_STEPS_PER_S = 1_000_000.0
# Work shorter than this is over before processes have begun.
_WORTH_IT_S = 20.0
_LOOK_EVERY_S = 0.2
Progress: TypeAlias = "Queue[tuple[int, float]]"


def run_jobs(setup: Setup, stage: Stage, jobs: Sequence[Job], tell: Told) -> list[Done]:
    """Run all, the longest first, and return what came of them in the order of `jobs`.

    Raises:
        HashmarginError: a policy could not be run, or a process ended before its time.
    """
    shares = dict.fromkeys(range(len(jobs)), 0.0)
    total = sum(job.weight for job in jobs) or 1.0

    def tick(index: int, share: float) -> None:
        shares[index] = min(share, 1.0)
        done = sum(jobs[i].weight * part for i, part in shares.items())
        tell(jobs[index].label, done / total)

    processes = _processes(setup, stage, jobs)
    if processes > 1:
        return _side_by_side(How.of(setup), stage, jobs, processes, tick)
    return [run_job(How.of(setup), stage, job, partial(tick, i)) for i, job in enumerate(jobs)]


def _processes(setup: Setup, stage: Stage, jobs: Sequence[Job]) -> int:
    cores = len(os.sched_getaffinity(0)) if setup.processes is None else setup.processes
    size = stage.scene.count * stage.scene.grid.steps
    if setup.processes is None and sum(job.weight for job in jobs) * size < _WORTH_IT_S * _UNIT_STEPS_PER_S:
        return 1
    return min(cores, len(jobs))


def _side_by_side(
    how: How, stage: Stage, jobs: Sequence[Job], processes: int, tick: Callable[[int, float], None]
) -> list[Done]:
    # Not forked: the models' runtime has threads, which a forked process would be without.
    context = get_context("spawn")
    progress: Progress = context.Queue()
    stop = context.Event()
    # Models do not travel between processes; each loads its own.
    begin = (how, replace(stage, bundle=None), progress, stop)
    order = sorted(range(len(jobs)), key=lambda i: -jobs[i].weight)
    with ProcessPoolExecutor(processes, context, _begin, begin) as pool:
        try:
            running = {i: pool.submit(_run, i, jobs[i]) for i in order}
            _follow(running, progress, tick)
            return [running[i].result() for i in range(len(jobs))]
        except BrokenProcessPool as error:
            raise HashmarginError(
                "a process that ran a policy ended before its time; was memory short? "
                "Run fewer at a time with --processes 1"
            ) from error
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def _follow(running: dict[int, Future[Done]], progress: Progress, tick: Callable[[int, float], None]) -> None:
    """Tell of progress until all are done or one has failed."""
    while not all(one.done() for one in running.values()):
        for one in running.values():
            if one.done():
                one.result()
        try:
            tick(*progress.get(timeout=_LOOK_EVERY_S))
        except queue.Empty:
            continue


@dataclass(slots=True)
class _Worker:
    how: How
    stage: Stage
    progress: Progress
    stop: Event


_worker: _Worker | None = None


class _StoppedError(Exception):
    """Nobody waits for the result any more."""


def _begin(how: How, stage: Stage, progress: Progress, stop: Event) -> None:
    """Get a process ready for its runs."""
    global _worker
    # Ctrl-C is for the process that was started; it tells the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = _Worker(how, stage, progress, stop)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run(index: int, job: Job) -> Done:
    worker = _worker
    assert worker is not None
    if worker.how.models is not None and worker.stage.bundle is None:
        worker.stage = replace(worker.stage, bundle=load_bundle(worker.how.models))

    def tick(share: float) -> None:
        if worker.stop.is_set():
            raise _StoppedError
        worker.progress.put((index, share))

    return run_job(worker.how, worker.stage, job, tick)

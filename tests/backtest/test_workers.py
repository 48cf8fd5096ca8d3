"""Policies side by side in real processes: the same result, and an end when one dies or nobody waits."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from agent.errors import HashmarginError
from simulator.backtest.market import MarketPlan
from simulator.backtest.run import run_backtest
from simulator.backtest.setup import Setup
from simulator.weather import constant
from tests.backtest.files import write_farm, write_market, write_prices


def setup(folder: Path, processes: int | None) -> Setup:
    market = MarketPlan(write_prices(folder), write_market(folder), constant(15.0), zone="here")
    return Setup(
        write_farm(folder),
        market,
        policies=("on-off-unit", "hashmargin", "oracle"),
        causes=("hysteresis",),
        processes=processes,
    )


def without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_seconds(one) for key, one in value.items() if key != "seconds"}
    return [without_seconds(one) for one in value] if isinstance(value, list) else value


def test_two_processes_give_what_one_gives(tmp_path: Path) -> None:
    told: list[float] = []
    side_by_side = run_backtest(setup(tmp_path, 2), lambda _, share: told.append(share))
    assert without_seconds(side_by_side) == without_seconds(run_backtest(setup(tmp_path, 1)))
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert not multiprocessing.active_children()


def test_a_process_that_dies_is_told_of(tmp_path: Path) -> None:
    killed: list[int] = []

    def kill_one(what: str, share: float) -> None:
        if share > 0.0 and not killed:
            killed.append(multiprocessing.active_children()[0].pid or 0)
            os.kill(killed[0], signal.SIGKILL)

    with pytest.raises(HashmarginError, match="--processes 1"):
        run_backtest(setup(tmp_path, 2), kill_one)
    assert not multiprocessing.active_children()


def test_nothing_goes_on_when_nobody_waits_any_more(tmp_path: Path) -> None:
    def stop_at_once(what: str, share: float) -> None:
        if share > 0.0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_backtest(setup(tmp_path, 2), stop_at_once)
    assert not multiprocessing.active_children()


def test_few_units_for_a_few_days_are_not_worth_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulator.backtest.workers.ProcessPoolExecutor", None)
    found = run_backtest(setup(tmp_path, None))
    assert set(found["policies"]) == {"on-off-unit", "hashmargin", "oracle"}

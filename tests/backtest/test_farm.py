"""Units of a backtest are those that `hashmargin simulate` runs, at settings the live agent would find."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from agent.clock import ManualClock
from agent.errors import InputError
from simulator.backtest.farm import BacktestFarm, build_farm
from simulator.farm import FarmSpec, build_machine, load_farm
from tests.backtest.files import write_farm

AT = datetime(2022, 3, 1, tzinfo=UTC)
AMBIENT = "ambient: {kind: constant, celsius: 20}\n"


def built(folder: Path, text: str) -> tuple[FarmSpec, BacktestFarm]:
    spec = load_farm(write_farm(folder, text))
    return spec, build_farm(spec, np.array([-5.0, 35.0]), at=AT)


def test_the_tables_are_what_the_live_machine_does(tmp_path: Path) -> None:
    text = AMBIENT + (
        "seed: 5\ngroups:\n"
        "  - {model: antminer-s19j-pro, first_address: 127.0.1.1, initial: {work_mode: low}}\n"
        "  - {model: antminer-s21, first_address: 127.0.2.1, initial: {hashrate_percent: 80}}\n"
        "  - {model: antminer-s19k-pro, firmware: braiins, first_address: 127.0.3.1,"
        " initial: {power_limit_w: 2010}}\n"
        "  - {model: whatsminer-m50s, first_address: 127.0.4.1, site_offset_c: 4}\n"
    )
    spec, farm = built(tmp_path, text)
    wanted = ("work_mode=low", "hashrate_percent=80", "power_limit_w=2010", "power_percent=100")
    place = int(np.flatnonzero(farm.outside_c == 20.0)[0])
    for i, (miner, name) in enumerate(zip(spec.miners, wanted, strict=True)):
        clock = ManualClock(AT)
        state = build_machine(spec, miner, clock).state()
        settings = [str(setting) for setting in farm.candidates.settings[i]]
        if name not in settings:
            assert name.startswith("power_limit_w")
            known = np.array([float(s.split("=")[1]) if "=" in s else 0.0 for s in settings])
            power = np.interp(2010.0, known, farm.power_w[place, i, : len(settings)])
        else:
            power = farm.power_w[place, i, settings.index(name)]
            rate = farm.hashrate_ths[place, i, settings.index(name)]
            assert rate == pytest.approx(state.hashrate_ths, rel=0.03)
        assert power == pytest.approx(state.power_w, rel=0.01), name


def test_candidates_are_inside_the_bounds_of_profile_and_firmware(tmp_path: Path) -> None:
    _, farm = built(
        tmp_path,
        "groups:\n"
        "  - {model: antminer-s19j-pro, first_address: 127.0.1.1}\n"
        "  - {model: antminer-s21, first_address: 127.0.2.1}\n"
        "  - {model: antminer-s21, offers_hashrate_percent: false, first_address: 127.0.2.2}\n"
        "  - {model: whatsminer-m50s, first_address: 127.0.4.1}\n"
        "  - {model: whatsminer-m50s, write_enabled: false, first_address: 127.0.4.2}\n",
    )
    names = [[str(setting) for setting in row] for row in farm.candidates.settings]
    assert names[0] == ["stop", "work_mode=low", "work_mode=normal"]
    assert names[1][0] == "stop"
    assert names[1][-1] == "hashrate_percent=100"
    assert not any("percent" in name for name in names[2])
    assert names[3][1] == "power_percent=65"
    assert not farm.candidates.permitted[4].any()
    assert farm.candidates.wears[0].tolist()[:3] == [False, True, True]
    assert not farm.candidates.wears[3].any()


def test_hashrate_and_power_rise_with_the_setting(tmp_path: Path) -> None:
    _, farm = built(tmp_path, "groups:\n  - {model: antminer-s21, first_address: 127.0.2.1, count: 3}\n")
    assert (np.diff(farm.hashrate_ths, axis=2) > 0.0).all()
    assert (np.diff(farm.power_w, axis=2) > 0.0).all()
    # Warmer air, more power at one setting.
    assert (np.diff(farm.power_w[:, :, -1], axis=0) >= 0.0).all()


def test_a_unit_that_is_too_hot_stops_itself(tmp_path: Path) -> None:
    spec = load_farm(write_farm(tmp_path, "groups:\n  - {model: antminer-s19, first_address: 127.0.2.1}\n"))
    farm = build_farm(spec, np.array([20.0, 55.0]), at=AT)
    assert farm.hashrate_ths[-1].max() == 0.0
    assert farm.power_w[-1, 0, -1] == farm.power_w[-1, 0, 0]


def test_units_that_cannot_be_set_at_all_are_left_out_and_counted(tmp_path: Path) -> None:
    both = (
        "groups:\n  - {model: antminer-t21, firmware: luxos, count: 2, first_address: 127.0.2.1}\n"
        "  - {model: antminer-s19, first_address: 127.0.3.1}\n"
    )
    _, farm = built(tmp_path, both)
    assert len(farm.units) == 1
    assert list(farm.left_out.values()) == [2]
    with pytest.raises(InputError, match="no unit that hashmargin could set"):
        built(tmp_path, "groups:\n  - {model: antminer-t21, firmware: luxos, first_address: 127.0.2.1}\n")

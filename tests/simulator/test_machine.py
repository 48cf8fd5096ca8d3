from __future__ import annotations

import time

import pytest

from agent.errors import InputError
from simulator.machine import PoolEntry
from tests.simulator.making import machine, pass_time

HOUR = 3600.0


def test_readings_do_not_depend_on_how_often_one_looks() -> None:
    watched, clock = machine("whatsminer-m50")
    left_alone, other = machine("whatsminer-m50")
    for unit, own, step in ((watched, clock, 7.3), (left_alone, other, 1e9)):
        pass_time(unit, own, 1000.0, step)
        unit.set_power_limit(2900)
        pass_time(unit, own, 1234.5, step)
        unit.set_power_percent(80, fast=False)
        pass_time(unit, own, 777.0, step)
    assert abs((clock.now() - other.now()).total_seconds()) < 1e-3
    a, b = watched.state(), left_alone.state()
    assert a.phase == b.phase == "stable"
    assert (a.accepted, a.rejected, a.stale) == (b.accepted, b.rejected, b.stale)
    for name in ("hashrate_5s_ths", "hashrate_ths", "hashrate_30m_ths", "hashrate_avg_ths", "power_w"):
        assert getattr(a, name) == pytest.approx(getattr(b, name), rel=1e-9), name


def test_two_units_of_one_seed_agree_and_of_two_seeds_differ() -> None:
    one, _ = machine(seed=1)
    same, _ = machine(seed=1)
    other, _ = machine(seed=2)
    assert one.state() == same.state()
    assert one.state().power_w != pytest.approx(other.state().power_w, rel=1e-3)


def test_a_boot_goes_through_every_phase() -> None:
    unit, clock = machine(running_for_s=0.0)
    seen = [unit.state().phase]
    for _ in range(80):
        clock.advance(15)
        phase = unit.state().phase
        if phase != seen[-1]:
            seen.append(phase)
    assert seen == ["booting", "idle", "ramping", "stable"]


def test_ports_are_closed_while_the_control_board_boots() -> None:
    unit, clock = machine(running_for_s=0.0)
    assert not unit.state().ports_open
    clock.advance(unit.spec.timing.boot_s + 1)
    assert unit.state().ports_open


def test_power_leads_hashrate_in_a_ramp() -> None:
    unit, clock = machine()
    full = unit.state()
    unit.restart_mining()
    clock.advance(unit.spec.timing.restart_gap_s + unit.spec.timing.init_s + 10)
    state = unit.state()
    assert state.phase == "ramping"
    assert state.power_w > 0.1 * full.power_w
    assert state.hashrate_5s_ths == 0.0


def test_averages_lag_behind_after_a_restart() -> None:
    unit, clock = machine()
    unit.restart_mining()
    pass_time(unit, clock, 1200)
    state = unit.state()
    assert state.phase == "stable"
    assert state.hashrate_avg_ths < 0.85 * state.hashrate_ths
    assert state.hashrate_30m_ths < 0.85 * state.hashrate_ths


def test_a_restart_resets_elapsed_and_shares_but_not_the_boards_uptime() -> None:
    unit, clock = machine("whatsminer-m50")
    before = unit.state()
    assert before.accepted > 1000
    unit.restart_mining()
    clock.advance(100)
    after = unit.state()
    assert after.accepted == after.rejected == 0
    assert after.elapsed_s < 100
    assert after.uptime_s == pytest.approx(before.uptime_s + 100)


def test_a_reboot_resets_both() -> None:
    unit, clock = machine("whatsminer-m50")
    unit.reboot()
    clock.advance(100)
    state = unit.state()
    assert state.uptime_s == pytest.approx(100)
    assert state.elapsed_s == pytest.approx(100 - unit.spec.timing.boot_s)


def test_shares_are_what_the_hashrate_earns() -> None:
    unit, clock = machine()
    before = unit.state()
    clock.advance(10 * HOUR)
    after = unit.state()
    found = after.accepted + after.rejected + after.stale - before.accepted - before.rejected - before.stale
    expected = before.hashrate_30m_ths * 1e12 * 10 * HOUR / (before.share_difficulty * 2**32)
    assert found == pytest.approx(expected, rel=0.02)


def test_sleep_stops_hashing_and_leaves_the_control_board_up() -> None:
    unit, clock = machine()
    unit.set_work_mode("sleep")
    clock.advance(600)
    state = unit.state()
    assert (state.phase, state.work_mode) == ("sleep", "sleep")
    assert state.hashrate_ths == 0.0
    assert state.power_w == unit.spec.standby_w
    assert state.ports_open
    assert state.boards[0].chips == 114
    assert state.fan_rpm[0] == pytest.approx(960, abs=30)
    assert state.hashrate_ideal_ths == pytest.approx(110)


def test_waking_up_takes_a_ramp() -> None:
    unit, clock = machine()
    unit.set_work_mode("sleep")
    clock.advance(HOUR)
    unit.set_work_mode("normal")
    clock.advance(60)
    assert unit.state().phase == "idle"
    clock.advance(900)
    assert unit.state().phase == "stable"


def test_the_mode_already_set_changes_nothing() -> None:
    unit, clock = machine()
    elapsed = unit.state().elapsed_s
    unit.set_work_mode("normal")
    clock.advance(5)
    assert unit.state().elapsed_s == pytest.approx(elapsed + 5)


def test_low_mode_runs_at_its_share() -> None:
    unit, clock = machine()
    unit.set_work_mode("low")
    clock.advance(HOUR)
    assert unit.state().hashrate_30m_ths == pytest.approx(
        0.67 * 110 * float(unit._dynamics.units.hashrate[0]), rel=0.02
    )


def test_a_mode_the_model_lacks_is_ignored() -> None:
    unit, clock = machine("antminer-s21")
    unit.set_work_mode("low")
    clock.advance(60)
    assert unit.state().work_mode == "normal"
    assert unit.state().phase == "stable"


def test_hashrate_percent_takes_effect_without_a_restart() -> None:
    unit, clock = machine("antminer-s21")
    before = unit.state()
    unit.set_hashrate_percent(80)
    pass_time(unit, clock, 2000)
    after = unit.state()
    assert after.elapsed_s > before.elapsed_s
    assert after.hashrate_15m_ths == pytest.approx(0.8 * before.hashrate_15m_ths, rel=0.01)
    assert after.power_w < 0.78 * before.power_w


def test_a_stock_s19_reports_no_power_and_a_whatsminer_reports_a_little_too_low() -> None:
    silent, _ = machine("antminer-s19")
    assert silent.state().reported_power_w is None
    talking, _ = machine("whatsminer-m50")
    state = talking.state()
    assert state.reported_power_w is not None
    assert 0.88 < state.reported_power_w / state.power_w < 1.0


def test_a_power_limit_holds_the_units_own_reading_just_under_it() -> None:
    unit, clock = machine("whatsminer-m30s-plus-plus")
    unit.set_power_limit(3000)
    assert unit.state().elapsed_s == 0.0
    clock.advance(HOUR)
    state = unit.state()
    assert state.power_limit_w == 3000
    assert state.reported_power_w is not None
    assert 2930 < state.reported_power_w < 3020
    assert state.hashrate_30m_ths < state.factory_hashrate_ths


def test_a_limit_far_too_low_is_acknowledged_and_ignored() -> None:
    unit, clock = machine("whatsminer-m30s")
    unit.set_power_limit(700)
    clock.advance(60)
    assert unit.state().power_limit_w == unit.default_power_limit_w
    assert unit.state().phase == "stable"


def test_99999_resets_the_limit() -> None:
    unit, clock = machine("whatsminer-m30s")
    unit.set_power_limit(2800)
    clock.advance(HOUR)
    unit.set_power_limit(99999)
    assert unit.state().power_limit_w == unit.default_power_limit_w


@pytest.mark.parametrize(("fast", "within_s"), [(True, 5), (False, 300)])
def test_power_percent_works_without_a_restart(fast: bool, within_s: float) -> None:
    unit, clock = machine("whatsminer-m50")
    before = unit.state()
    unit.set_power_percent(80, fast=fast)
    clock.advance(within_s)
    after = unit.state()
    assert after.power_percent == 80
    assert after.elapsed_s > before.elapsed_s
    assert after.power_w == pytest.approx(0.8 * before.power_w, rel=0.03)


def test_power_percent_counts_from_the_power_without_it() -> None:
    unit, clock = machine("whatsminer-m50")
    full = unit.state().power_w
    unit.set_power_percent(80)
    clock.advance(HOUR)
    unit.set_power_percent(90)
    clock.advance(HOUR)
    assert unit.state().power_w == pytest.approx(0.9 * full, rel=0.03)


def test_power_percent_is_gone_after_a_restart() -> None:
    unit, clock = machine("whatsminer-m50")
    unit.set_power_percent(80)
    clock.advance(HOUR)
    unit.restart_mining()
    clock.advance(HOUR)
    assert unit.state().power_percent == 100


def test_power_percent_can_be_undone() -> None:
    unit, clock = machine("whatsminer-m50")
    full = unit.state().power_w
    unit.set_power_percent(70, fast=True)
    clock.advance(600)
    unit.restore_power_percent()
    clock.advance(600)
    assert unit.state().power_w == pytest.approx(full, rel=0.03)


def test_far_too_low_a_percent_makes_the_unit_restart_itself() -> None:
    unit, clock = machine("whatsminer-m50")
    unit.set_power_percent(10, fast=True)
    clock.advance(100)
    assert unit.state().hashrate_5s_ths < 0.2 * unit.state().factory_hashrate_ths
    clock.advance(300)
    state = unit.state()
    assert state.elapsed_s < 300
    assert state.power_percent == 100


def test_power_off_stops_at_once_and_power_on_ramps() -> None:
    unit, clock = machine("whatsminer-m50")
    unit.power_off()
    state = unit.state()
    assert (state.phase, state.mining_enabled, state.work_mode) == ("sleep", False, "sleep")
    assert state.power_w == unit.spec.standby_w
    clock.advance(HOUR)
    assert unit.state().hashrate_ths == 0.0
    unit.power_on()
    clock.advance(HOUR)
    assert unit.state().phase == "stable"


def test_target_frequency_is_relative_and_restarts() -> None:
    unit, clock = machine("whatsminer-m50")
    unit.set_target_freq(-20)
    clock.advance(HOUR)
    state = unit.state()
    assert state.elapsed_s < HOUR
    assert state.frequency_mhz == pytest.approx(0.8 * unit.spec.rated_frequency_mhz, rel=1e-6)


def test_high_mode_is_held_by_the_power_limit() -> None:
    unit, clock = machine("whatsminer-m50")
    unit.set_power_mode("high")
    clock.advance(HOUR)
    state = unit.state()
    assert (state.work_mode, state.power_mode) == ("high", "high")
    assert state.reported_power_w is not None
    assert state.power_limit_w is not None
    assert state.reported_power_w < 1.02 * state.power_limit_w


@pytest.mark.parametrize(("key", "code"), [("antminer-s19-pro", "P:1"), ("whatsminer-m50", "350")])
def test_a_unit_too_hot_protects_itself_and_comes_back(key: str, code: str) -> None:
    heat = {"c": 25.0}
    unit, clock = machine(key, ambient=lambda at_s: at_s * 0.0 + heat["c"])
    heat["c"] = 60.0
    clock.advance(300)
    state = unit.state()
    assert state.phase == "protect"
    assert state.errors == (code,)
    assert state.power_w == unit.spec.standby_w
    clock.advance(HOUR)
    assert unit.state().phase == "protect"
    heat["c"] = 25.0
    clock.advance(HOUR)
    state = unit.state()
    assert state.phase == "stable"
    assert state.errors == ()
    assert state.elapsed_s < HOUR


def test_a_missing_board_is_gone_from_rate_chips_and_named() -> None:
    unit, clock = machine()
    before = unit.state()
    unit.set_missing_boards([1])
    clock.advance(2 * HOUR)
    state = unit.state()
    gone = state.boards[1]
    assert (gone.present, gone.chips, gone.hashrate_ths) == (False, 0, 0.0)
    assert state.hashrate_30m_ths == pytest.approx(2 / 3 * before.hashrate_30m_ths, rel=0.05)
    assert state.power_w > 0.68 * before.power_w
    assert state.errors == ("J:8",)


@pytest.mark.parametrize("boards", [[3], [0, 1, 2], [-1]])
def test_boards_that_cannot_be_missing_are_refused(boards: list[int]) -> None:
    unit, _ = machine()
    with pytest.raises(InputError, match="boards 0 to 2"):
        unit.set_missing_boards(boards)


def test_boards_sum_to_the_whole() -> None:
    unit, _ = machine("whatsminer-m60s", missing_boards=[2])
    state = unit.state()
    assert sum(board.hashrate_ths for board in state.boards) == pytest.approx(state.hashrate_ths)


def test_the_clock_may_go_back_and_the_unit_goes_on() -> None:
    unit, clock = machine()
    before = unit.state()
    clock.advance(-3 * 86400)
    back = unit.state()
    assert back.elapsed_s == pytest.approx(before.elapsed_s)
    assert back.now == clock.now()
    clock.advance(60)
    assert unit.state().elapsed_s == pytest.approx(before.elapsed_s + 60)
    assert unit.state().accepted >= before.accepted


@pytest.mark.parametrize("key", ["antminer-s19-pro", "whatsminer-m50"])
def test_a_jump_of_ten_years_takes_no_time(key: str) -> None:
    unit, clock = machine(key)
    before = unit.state()
    clock.advance(3650 * 86400.0)
    began = time.process_time()
    after = unit.state()
    assert time.process_time() - began < 2.0
    assert after.uptime_s == pytest.approx(before.uptime_s + 3650 * 86400.0)
    assert after.accepted > 0


def test_noise_of_five_seconds_is_larger_than_that_of_minutes() -> None:
    unit, clock = machine()
    short, long = [], []
    for _ in range(200):
        clock.advance(60)
        state = unit.state()
        short.append(state.hashrate_5s_ths)
        long.append(state.hashrate_15m_ths)
    assert max(short) - min(short) > 4 * (max(long) - min(long))


def test_pulling_the_plug_and_putting_it_back() -> None:
    unit, clock = machine()
    unit.cut_power()
    clock.advance(60)
    state = unit.state()
    assert (state.phase, state.power_w, state.ports_open, state.hashrate_ths) == ("off", 0.0, False, 0.0)
    unit.restore_power()
    assert unit.state().phase == "booting"
    clock.advance(HOUR)
    assert unit.state().phase == "stable"


def test_chips_cool_down_and_warm_up_slowly() -> None:
    unit, clock = machine("whatsminer-m50")
    warm = unit.state().boards[0].chip_temps_c[0]
    unit.power_off()
    clock.advance(30)
    assert 40 < unit.state().boards[0].chip_temps_c[0] < warm
    clock.advance(1800)
    assert unit.state().boards[0].chip_temps_c[0] < 28


def test_a_fan_held_low_lets_the_chips_get_hotter() -> None:
    unit, clock = machine()
    before = unit.state()
    unit.set_fan(True, 50)
    clock.advance(1800)
    after = unit.state()
    assert after.fan_rpm[0] < before.fan_rpm[0]
    assert max(b.chip_temps_c[0] for b in after.boards) > max(b.chip_temps_c[0] for b in before.boards) + 5


def test_pools_change_without_anything_restarting() -> None:
    unit, clock = machine()
    pool = PoolEntry("stratum+tcp://x.example:1", "w", "p")
    unit.set_pools([pool])
    clock.advance(10)
    assert unit.pools == [pool]
    assert unit.state().phase == "stable"


def test_commands_during_a_boot_do_not_shorten_it() -> None:
    unit, clock = machine("whatsminer-m50", running_for_s=0.0)
    unit.set_power_limit(3000)
    assert unit.state().phase == "booting"
    clock.advance(unit.spec.timing.boot_s + 1)
    assert unit.state().phase == "idle"


def test_modes_that_no_miner_has_are_errors() -> None:
    unit, _ = machine()
    with pytest.raises(InputError, match="turbo"):
        unit.set_work_mode("turbo")
    with pytest.raises(InputError, match="turbo"):
        unit.set_power_mode("turbo")

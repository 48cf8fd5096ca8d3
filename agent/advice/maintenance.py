"""Units that earn less than they did, or lost a board: what repair is worth, and where to look first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from agent.advice.record import Finding, Round, Standing
from agent.energy import KWH_PER_W_DAY
from agent.learning.decline import Decline
from agent.polling.health_watch import critical_faults
from agent.quantiles import Z80
from agent.reading import Board, Reading

# A board that comes back does not do exactly what the others do.
_BOARD_SPREAD = 0.10
_DAYS_AHEAD = 30.0
_HOT_C = 80.0
_WORDS = (
    (("fan",), "Clean or replace the fans and the filter; {fault}"),
    (
        ("power supply", "psu", "voltage", "power output", "input power"),
        "Check power supply and cables; {fault}",
    ),
    (("temperature", "temp ", "overheat", "hot"), "Check airflow, dust and intake temperature; {fault}"),
    (("hash board", "hashboard", "board", "chip", "eeprom", "chain"), "Reseat the board's cables; {fault}"),
    (("pool", "network"), "Check network and pool; {fault}"),
)


def repair(
    context: Round, standing: Standing, reading: Reading | None, decline: Decline | None, least_usd: float
) -> Finding | None:
    """Advice on one unit, None where its repair is not worth `least_usd` a day for sure.

    Args:
        reading: the newest, for what the unit says of itself.
        decline: where its curve fell against its own past; without one only a lost board counts.
    """
    missing, hashing = _boards(reading)
    if decline is not None:
        gain = decline.gain_usd_per_day
        rate = standing.hashrate_ths / (1.0 + decline.hashrate_share)
        power = standing.power_w / (1.0 + decline.power_share)
        summary, model = decline.words, "the unit's own earlier level at the same setting"
    elif missing and hashing:
        share = len(missing) / len(hashing)
        gain = _board_gain(context, standing, share)
        rate, power = standing.hashrate_ths * (1.0 + share), standing.power_w * (1.0 + share)
        names = _named(missing)
        summary = f"{names} of {len(missing) + len(hashing)} does not hash; back, it earns what the others do"
        model = "boards that hash, by their share of the unit"
    else:
        return None
    low, middle, _ = gain
    # Half the interval on the lower side is what the probability rests on.
    sigma = (middle - low) / Z80
    sure = NormalDist().cdf(middle / sigma) if sigma > 0.0 else float(middle > 0.0)
    if not (low > 0.0 and middle >= least_usd):
        return None
    faults = critical_faults(reading) if reading is not None else ()
    inputs: dict[str, float | str | None] = {
        "hashrate_ths": standing.hashrate_ths,
        "power_w": standing.power_w,
        "hashprice_usd_per_ths_day": context.hashprice_usd_per_ths_day[1],
        "price_usd_per_kwh": context.price_usd_per_kwh[1],
        "boards_missing": float(len(missing)) if reading is not None and reading.boards is not None else None,
        "chip_temp_c": reading.chip_temp_c if reading is not None else None,
        "faults": "; ".join(faults)[:500] or None,
    }
    if decline is not None:
        inputs |= {"hashrate_change": decline.hashrate_share, "power_change": decline.power_share}
    return Finding(
        kind="maintenance",
        subject=f"repair:{standing.miner_id}",
        now=f"{standing.hashrate_ths:.1f} TH/s at {standing.power_w:.0f} W",
        then=f"repaired: {rate:.1f} TH/s at {power:.0f} W",
        standings=[standing],
        hashrate_ths=rate,
        power_w=power,
        gain_usd_per_day=gain,
        confidence=sure,
        summary=summary,
        inputs=inputs,
        others=[("leave it as it is", 0.0, f"costs {middle:.2f} USD/day for as long as it lasts")],
        binds=["work and parts are not in the gain"],
        steps=_steps(standing, reading, missing, faults, decline),
        model=model,
        looks_ahead_h=24.0 * _DAYS_AHEAD,
    )


def repairs(
    context: Round,
    standings: Sequence[Standing | None],
    readings: Sequence[Reading | None],
    declines: Sequence[Decline],
    least_usd: float,
) -> list[Finding]:
    """Advice on the units of a fleet, dearest first; a unit that is None is left out."""
    fallen = {decline.row: decline for decline in declines}
    found = [
        repair(context, standing, reading, fallen.get(row), least_usd)
        for row, (standing, reading) in enumerate(zip(standings, readings, strict=True))
        if standing is not None
    ]
    told = [one for one in found if one is not None]
    return sorted(told, key=lambda one: (-one.gain_usd_per_day[1], one.subject))


def rate_of_the_rest(reading: Reading | None) -> float | None:
    """TH/s of the boards that hash, where a unit lost others; None where it lost none or does not tell.

    The unit's own rate is a mean that still holds what the lost boards did.
    """
    missing, hashing = _boards(reading)
    rates = [board.hashrate_ths for board in hashing]
    if not missing or not rates or any(rate is None for rate in rates):
        return None
    return sum(rate for rate in rates if rate is not None)


def _board_gain(context: Round, standing: Standing, share: float) -> tuple[float, float, float]:
    """q10, q50, q90 USD per day of having the boards back, which draw and hash as the others do."""
    rate, kwh = share * standing.hashrate_ths, KWH_PER_W_DAY * share * standing.power_w
    hashprice, price = context.hashprice_usd_per_ths_day, context.price_usd_per_kwh
    middle = rate * hashprice[1] - kwh * price[1]
    spread = Z80 * _BOARD_SPREAD * abs(rate * hashprice[1])
    down = math.hypot(spread, rate * (hashprice[1] - hashprice[0]), kwh * (price[2] - price[1]))
    up = math.hypot(spread, rate * (hashprice[2] - hashprice[1]), kwh * (price[1] - price[0]))
    return middle - down, middle, middle + up


def _boards(reading: Reading | None) -> tuple[list[Board], list[Board]]:
    """Boards that are lost and boards that hash; none where the unit does not hash or does not tell."""
    if reading is None or not reading.is_hashing or reading.boards is None:
        return [], []
    lost = [board for board in reading.boards if board.state in ("missing", "sick")]
    hashing = [board for board in reading.boards if board.state == "hashing"]
    return lost, hashing


def _steps(
    standing: Standing,
    reading: Reading | None,
    missing: Sequence[Board],
    faults: Sequence[str],
    decline: Decline | None,
) -> list[str]:
    """What to look at, by what the unit says of itself; the cheap things first."""
    steps = []
    for fault in faults:
        if fault.endswith("is missing"):
            continue
        low = fault.lower()
        words = next((text for keys, text in _WORDS if any(key in low for key in keys)), "Look into: {fault}")
        steps.append(words.format(fault=fault))
    if reading is not None and reading.fan_rpm and min(reading.fan_rpm) <= 0.0:
        stopped = [str(i) for i, rpm in enumerate(reading.fan_rpm) if rpm <= 0.0]
        steps.append(f"Fan {', '.join(stopped)} does not turn: clean or replace it")
    if missing:
        names = _named(missing)
        steps.append(
            f"With the power off, reseat the cables of {names}; if it stays away, swap it to another slot"
        )
    if reading is not None and reading.chip_temp_c is not None and reading.chip_temp_c >= _HOT_C:
        steps.append(f"Chips are at {reading.chip_temp_c:.0f} C: clean fans, filter and heat sinks")
    if decline is not None and not missing:
        steps.append("Clean fans and heat sinks; dust is the commonest cause of a slow fall")
        if decline.power_share > 0.01:
            steps.append("Check power supply and cable contacts: it draws more at the same setting")
        steps.append(
            "Compare the boards' chip counts and errors on the unit's own page; note a board that lags"
        )
    steps.append(
        f"Watch {standing.miner_id} for a day after the repair: this advice goes when it is well again"
    )
    return steps


def _named(boards: Sequence[Board]) -> str:
    word = "board" if len(boards) == 1 else "boards"
    return f"{word} {', '.join(str(board.index) for board in boards)}"

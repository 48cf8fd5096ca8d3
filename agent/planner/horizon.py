"""The best path of every miner over the known horizon: dynamic programming over steps, settings and holds.

Money that a change costs, the time it must be held and the wear it may cause are part of the path. Miners
share nothing here: what a site's limits make a watt worth comes in as a price on power by step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_KW_PER_W = 0.001
# Values closer than this are one and the same; then nothing is changed.
_TIE_USD = 1e-9


@dataclass(frozen=True, slots=True)
class Prospect:
    """What N miners with K candidates each face over T equal steps.

    Args:
        hashrate_ths, power_w: [N,K] expected while the setting is held, or [J,N,K] at J points of
            something that moves them (outside temperature); NaN where there is no candidate.
        allowed: [N,K] which may be entered. The present setting may be kept all the same.
        stops: [N,K] which hash nothing.
        loss_h: [N,K] hours of hashing at the new rate lost by entering from a hashing setting.
        wake_loss_h: [N,K] the same from a stop.
        current: [N] the present setting; must be a candidate.
        held_steps: [N] steps for which the present setting must still be held; more than T is T.
        step_h: length of a step in hours.
        hashprice_usd_per_ths_day: [T] after pool fee.
        price_usd_per_kwh: [T] or [N,T], with PUE, and with whatever a limit of the site adds.
        hold_steps: for how many steps a setting is held once entered, 1 or more.
        restart_usd: [N] wear of one restart, beside the hashing that it loses.
        mix: [T] place of each step among the J points, 0 to J-1; needed where there are points.
        may_change: [T] or [N,T] steps at which settings may be changed; None is all.
        wears: [N,K] entries from a hashing setting that are restarts, as leaving a stop is; None is all.
        after_usd: [N,K] worth of ending in a setting; None is nothing.
    """

    hashrate_ths: Floats
    power_w: Floats
    allowed: Bools
    stops: Bools
    loss_h: Floats
    wake_loss_h: Floats
    current: Ints
    held_steps: Ints
    step_h: float
    hashprice_usd_per_ths_day: Floats
    price_usd_per_kwh: Floats
    hold_steps: int
    restart_usd: Floats
    mix: Floats | None = None
    may_change: Bools | None = None
    wears: Bools | None = None
    after_usd: Floats | None = None

    @property
    def steps(self) -> int:
        """T."""
        return int(self.price_usd_per_kwh.shape[-1])

    @property
    def exists(self) -> Bools:
        """[N,K] where there is a candidate."""
        known = np.isfinite(self.hashrate_ths) & np.isfinite(self.power_w)
        return known if known.ndim == 2 else np.asarray(known.all(axis=0))

    def rows(self, rows: Ints) -> Prospect:
        """The same for some of the miners."""
        names = ("allowed", "stops", "loss_h", "wake_loss_h", "current", "held_steps", "restart_usd")
        kept = {name: getattr(self, name)[rows] for name in names}
        for name in ("wears", "after_usd"):
            if (value := getattr(self, name)) is not None:
                kept[name] = value[rows]
        for name in ("hashrate_ths", "power_w"):
            kept[name] = getattr(self, name)[..., rows, :]
        if self.price_usd_per_kwh.ndim == 2:
            kept["price_usd_per_kwh"] = self.price_usd_per_kwh[rows]
        if self.may_change is not None and self.may_change.ndim == 2:
            kept["may_change"] = self.may_change[rows]
        return replace(self, **kept)


class Steps:
    """What is earned and lost step by step; 0 where there is no candidate."""

    def __init__(self, prospect: Prospect) -> None:
        exists = prospect.exists
        self._prospect = prospect
        self._rate = np.where(exists, prospect.hashrate_ths, 0.0)
        self._kw = np.where(exists, prospect.power_w, 0.0) * _KW_PER_W
        self._loss = np.nan_to_num(prospect.loss_h)
        self._wake = np.nan_to_num(prospect.wake_loss_h)
        wear = prospect.restart_usd[:, None]
        self._wear = wear if prospect.wears is None else wear * prospect.wears

    def rate(self, step: int) -> Floats:
        """[N,K] TH/s."""
        return self._at(self._rate, step)

    def power_kw(self, step: int) -> Floats:
        """[N,K]."""
        return self._at(self._kw, step)

    def earning(self, step: int) -> Floats:
        """[N,K] USD in one step."""
        it = self._prospect
        hashprice = it.hashprice_usd_per_ths_day[step] * (it.step_h / 24.0)
        price = it.price_usd_per_kwh[..., step] * it.step_h
        energy = self.power_kw(step) * (price if price.ndim == 0 else price[:, None])
        return np.asarray(self.rate(step) * hashprice - energy)

    def losses(self, step: int) -> tuple[Floats, Floats]:
        """[N,K] USD that entering each candidate costs, from a hashing setting and from a stop."""
        rate, it = self.rate(step), self._prospect
        # What a stop loses it loses of the best rate of the miner.
        money = np.where(it.stops, rate.max(axis=1)[:, None], rate)
        money *= it.hashprice_usd_per_ths_day[step] / 24.0
        return self._loss * money + self._wear, self._wake * money + self._prospect.restart_usd[:, None]

    def _at(self, table: Floats, step: int) -> Floats:
        if table.ndim == 2:
            return table
        mix = self._prospect.mix
        assert mix is not None, "points need the place of each step among them"
        low = min(int(mix[step]), len(table) - 1)
        share = float(mix[step]) - low
        between = table[low] if share <= 0.0 else (1.0 - share) * table[low] + share * table[low + 1]
        return np.asarray(between)


@dataclass(frozen=True, slots=True)
class Values:
    """What every state is worth at every step, for going through the steps under the limits of a site.

    Args:
        entered: [T,N,K] USD from the step on by entering a candidate, what the change costs not taken off;
            minus infinity where it may not be entered.
        stay: [T,N,K] USD by keeping the setting for the step.
    """

    entered: Floats
    stay: Floats


@dataclass(frozen=True, slots=True)
class Outlook:
    """The best paths.

    Args:
        path: [N,T] candidate held in each step.
        value_usd: [N] earned along it, costs of changes taken off.
        action_usd: [N,K] earned by entering each candidate now and going on at its best; the present one
            counts as kept. Minus infinity where it may not be entered.
        lasts: [N,K] steps for which each candidate, taken now, is then kept.
        changes: [N] changes along the path.
        values: where asked for.
    """

    path: Ints
    value_usd: Floats
    action_usd: Floats
    lasts: Ints
    changes: Ints
    values: Values | None = None


def look_ahead(prospect: Prospect, *, keep_values: bool = False) -> Outlook:
    """The best path of every miner for itself."""
    count, width = prospect.stops.shape
    steps, hold = prospect.steps, max(1, prospect.hold_steps)
    rows, money = np.arange(count), Steps(prospect)
    end = np.zeros((count, width)) if prospect.after_usd is None else prospect.after_usd
    # later[t] is what is earned from step t on under the best path, by the setting held before it.
    later = {steps: end}
    # What each candidate earns over the hold that begins at the step at hand.
    window = np.zeros((count, width))
    # Where to go from each candidate at each step; one that stays names itself.
    goes = np.empty((steps, count, width), dtype=np.uint8 if width <= 256 else np.uint16)
    own = np.broadcast_to(np.arange(width), (count, width))
    kept = Values(np.empty((steps, count, width)), np.empty((steps, count, width))) if keep_values else None
    action = start = end
    for step in range(steps - 1, -1, -1):
        earning = money.earning(step)
        window += earning
        if step + hold < steps:
            window -= money.earning(step + hold)
        entered = np.where(may_enter(prospect, step), window + later[min(step + hold, steps)], -np.inf)
        loss, wake_loss = money.losses(step)
        running, waking = entered - loss, entered - wake_loss
        target = np.where(prospect.stops, waking.argmax(axis=1)[:, None], running.argmax(axis=1)[:, None])
        reward = np.where(prospect.stops, waking.max(axis=1)[:, None], running.max(axis=1)[:, None])
        stay = earning + later[step + 1]
        moves = (reward > stay + _TIE_USD) & (target != own)
        goes[step] = np.where(moves, target, own)
        later[step] = np.where(moves, reward, stay)
        later.pop(step + hold + 1, None)
        start = np.where((prospect.held_steps == step)[:, None], later[step], start)
        if kept is not None:
            kept.entered[step], kept.stay[step] = entered, stay
        if step == 0:
            stopped = prospect.stops[rows, prospect.current]
            action = np.where(stopped[:, None], waking, running)
            action[rows, prospect.current] = stay[rows, prospect.current]
    path = _follow(prospect, goes)
    value = start[rows, prospect.current] + _while_held(prospect, money)
    held = prospect.held_steps > 0
    action[held] = -np.inf
    action[rows[held], prospect.current[held]] = value[held]
    return Outlook(
        path, value, action, _lasts(prospect, goes), changes_of(path, prospect.current).sum(axis=1), kept
    )


def changes_of(path: Ints, current: Ints) -> Bools:
    """[N,T] True where another setting is entered."""
    return np.asarray(np.diff(path, axis=1, prepend=current[:, None]) != 0)


def may_enter(prospect: Prospect, step: int) -> Bools:
    """[N,K] which candidates may be entered at a step."""
    open_to = prospect.allowed & prospect.exists
    if prospect.may_change is None:
        return open_to
    changing = np.broadcast_to(prospect.may_change[..., step], prospect.current.shape)
    return open_to & changing[:, None]


def _follow(prospect: Prospect, goes: NDArray[np.uint8] | NDArray[np.uint16]) -> Ints:
    count = len(prospect.current)
    rows = np.arange(count)
    at = prospect.current.copy()
    locked = np.maximum(prospect.held_steps, 0).astype(np.int64)
    path = np.empty((count, prospect.steps), dtype=np.int64)
    for step in range(prospect.steps):
        target = np.where(locked > 0, at, goes[step, rows, at].astype(np.int64))
        locked = np.where(target != at, max(1, prospect.hold_steps), locked)
        at = target
        path[:, step] = at
        locked = np.maximum(locked - 1, 0)
    return path


def _lasts(prospect: Prospect, goes: NDArray[np.uint8] | NDArray[np.uint16]) -> Ints:
    steps, hold = prospect.steps, max(1, prospect.hold_steps)
    leaves = goes != np.arange(goes.shape[2], dtype=goes.dtype)
    leaves[: min(hold, steps)] = False
    rows = np.arange(len(prospect.current))
    # The present setting may be left as soon as its own hold is over, at the next step at the earliest.
    own = goes[:, rows, prospect.current] != prospect.current
    own &= np.arange(steps)[:, None] >= np.maximum(prospect.held_steps, 1)
    leaves[:, rows, prospect.current] = own
    return np.where(leaves.any(axis=0), leaves.argmax(axis=0), steps).astype(np.int64)


def _while_held(prospect: Prospect, money: Steps) -> Floats:
    """[N] what the present setting earns while it must still be held."""
    rows = np.arange(len(prospect.current))
    total = np.zeros(len(rows))
    for step in range(min(prospect.steps, int(prospect.held_steps.max(initial=0)))):
        total += np.where(prospect.held_steps > step, money.earning(step)[rows, prospect.current], 0.0)
    return total

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
_WEAR_ROUNDS = 14


@dataclass(frozen=True, slots=True)
class Prospect:
    """What N miners with K candidates each face over T equal steps.

    Args:
        hashrate_ths, power_w: [N,K] expected while the setting is held; NaN where there is no candidate.
        allowed: [N,K] which may be entered. The present setting may be kept all the same.
        stops: [N,K] which hash nothing.
        loss_h: [N,K] hours of full hashing lost by entering from a hashing setting.
        wake_loss_h: [N,K] the same from a stop.
        current: [N] the present setting; must be a candidate.
        held_steps: [N] steps for which the present setting must still be held; more than T is T.
        step_h: length of a step in hours.
        hashprice_usd_per_ths_day: [T] after pool fee.
        price_usd_per_kwh: [T] with PUE, and with whatever a limit of the site adds.
        hold_steps: for how many steps a setting is held once entered, 1 or more.
        change_usd: [N] wear of one change, beside the hashing that it loses.
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
    change_usd: Floats

    @property
    def steps(self) -> int:
        """T."""
        return len(self.price_usd_per_kwh)

    @property
    def exists(self) -> Bools:
        """[N,K] where there is a candidate."""
        return np.isfinite(self.hashrate_ths) & np.isfinite(self.power_w)

    def earning(self, step: int) -> Floats:
        """[N,K] USD earned in one step; 0 where there is no candidate."""
        hashprice = self.hashprice_usd_per_ths_day[step] * self.step_h / 24.0
        energy = self.price_usd_per_kwh[step] * self.step_h * _KW_PER_W
        return np.where(self.exists, self.hashrate_ths * hashprice - self.power_w * energy, 0.0)

    def losses(self) -> tuple[Floats, Floats]:
        """[N,K] TH/s times hours lost by entering each candidate, from a hashing setting and from a stop."""
        # A stop loses its hashing on the way back: it is charged at the best rate of the miner.
        best = np.where(self.exists, self.hashrate_ths, 0.0).max(axis=1)
        rate = np.where(self.stops, best[:, None], np.nan_to_num(self.hashrate_ths))
        return np.nan_to_num(self.loss_h) * rate, np.nan_to_num(self.wake_loss_h) * rate


@dataclass(frozen=True, slots=True)
class Outlook:
    """The best paths.

    Args:
        path: [N,T] candidate held in each step.
        value_usd: [N] earned along it, costs of changes taken off.
        action_usd: [N,K] earned by entering each candidate now and going on at its best; the present one
            counts as kept. Minus infinity where it may not be entered.
        changes: [N] changes along the path.
    """

    path: Ints
    value_usd: Floats
    action_usd: Floats
    changes: Ints


def look_ahead(prospect: Prospect) -> Outlook:
    """The best path of every miner for itself."""
    count, width = prospect.hashrate_ths.shape
    steps, hold = prospect.steps, max(1, prospect.hold_steps)
    rows, exists = np.arange(count), prospect.exists
    enterable = prospect.allowed & exists
    loss, wake_loss = prospect.losses()
    wear = prospect.change_usd[:, None]
    # later[t] is what is earned from step t on under the best path, by the setting held before it.
    later = {steps: np.zeros((count, width))}
    # What each candidate earns over the hold that begins at the step at hand.
    window = np.zeros((count, width))
    # Where to go from each candidate at each step; one that stays names itself.
    goes = np.empty((steps, count, width), dtype=np.uint8 if width <= 256 else np.uint16)
    own = np.broadcast_to(np.arange(width), (count, width))
    action = start = np.zeros((count, width))
    for step in range(steps - 1, -1, -1):
        earning = prospect.earning(step)
        window += earning
        if step + hold < steps:
            window -= prospect.earning(step + hold)
        hashprice = prospect.hashprice_usd_per_ths_day[step] / 24.0
        entered = np.where(enterable, window + later[min(step + hold, steps)] - wear, -np.inf)
        running, waking = entered - hashprice * loss, entered - hashprice * wake_loss
        target = np.where(prospect.stops, waking.argmax(axis=1)[:, None], running.argmax(axis=1)[:, None])
        reward = np.where(prospect.stops, waking.max(axis=1)[:, None], running.max(axis=1)[:, None])
        stay = earning + later[step + 1]
        moves = (reward > stay + _TIE_USD) & (target != own)
        goes[step] = np.where(moves, target, own)
        later[step] = np.where(moves, reward, stay)
        later.pop(step + hold + 1, None)
        start = np.where((prospect.held_steps == step)[:, None], later[step], start)
        if step == 0:
            stopped = prospect.stops[rows, prospect.current]
            action = np.where(stopped[:, None], waking, running)
            action[rows, prospect.current] = stay[rows, prospect.current]
    path = _follow(prospect, goes)
    value = start[rows, prospect.current] + _while_held(prospect)
    held = prospect.held_steps > 0
    action[held] = -np.inf
    action[rows[held], prospect.current[held]] = value[held]
    return Outlook(path, value, action, _changes(path, prospect.current).sum(axis=1))


def look_ahead_within(prospect: Prospect, most_changes: Ints, first_steps: int) -> Outlook:
    """The best paths with at most `most_changes` [N] changes among the first `first_steps` steps each.

    Where the best path has more, changes of that miner are made dearer until it keeps to them. What a
    change is dearer by is no money: `value_usd` and `action_usd` are without it where the path is.
    """
    found = look_ahead(prospect)
    over = np.flatnonzero(_count(found, prospect, first_steps) > most_changes)
    if not len(over):
        return found
    part = _rows(prospect, over)
    low, high = np.zeros(len(over)), _dear(part)
    best = look_ahead(replace(part, change_usd=part.change_usd + high))
    for _ in range(_WEAR_ROUNDS):
        middle = 0.5 * (low + high)
        tried = look_ahead(replace(part, change_usd=part.change_usd + middle))
        fits = _count(tried, part, first_steps) <= most_changes[over]
        low, high = np.where(fits, low, middle), np.where(fits, middle, high)
        best = _chosen(fits, tried, best)
    extra = high * best.changes
    action = best.action_usd + extra[:, None]
    for whole, values in (
        (found.path, best.path),
        (found.value_usd, best.value_usd + extra),
        (found.action_usd, action),
        (found.changes, best.changes),
    ):
        whole[over] = values
    return found


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


def _while_held(prospect: Prospect) -> Floats:
    """[N] what the present setting earns while it must still be held."""
    rows = np.arange(len(prospect.current))
    total = np.zeros(len(rows))
    for step in range(min(prospect.steps, int(prospect.held_steps.max(initial=0)))):
        total += np.where(prospect.held_steps > step, prospect.earning(step)[rows, prospect.current], 0.0)
    return total


def _changes(path: Ints, current: Ints) -> Bools:
    return np.asarray(np.diff(path, axis=1, prepend=current[:, None]) != 0)


def _count(found: Outlook, prospect: Prospect, first_steps: int) -> Ints:
    return np.asarray(_changes(found.path, prospect.current)[:, :first_steps].sum(axis=1), dtype=np.int64)


def _dear(prospect: Prospect) -> Floats:
    """[N] USD that no change is worth: more than the best and the worst path can differ by."""
    total = np.zeros(len(prospect.current))
    for step in range(prospect.steps):
        earning = prospect.earning(step)
        total += earning.max(axis=1) - earning.min(axis=1)
    return total + 1.0


def _rows(prospect: Prospect, rows: Ints) -> Prospect:
    names = ("hashrate_ths", "power_w", "allowed", "stops", "loss_h", "wake_loss_h", "current", "held_steps")
    kept = {name: getattr(prospect, name)[rows] for name in (*names, "change_usd")}
    return replace(prospect, **kept)


def _chosen(fits: Bools, new: Outlook, old: Outlook) -> Outlook:
    wide = fits[:, None]
    return Outlook(
        np.where(wide, new.path, old.path),
        np.where(fits, new.value_usd, old.value_usd),
        np.where(wide, new.action_usd, old.action_usd),
        np.where(fits, new.changes, old.changes),
    )

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
# Steps x miners x candidates that are worked on at once.
_CELLS = 150_000


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
        barred: [T,N,K] settings that may not be held in a step, present ones neither; None is none. A path
            through one is found only where there is no other, and its value says nothing.
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
    barred: Bools | None = None

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
        if self.barred is not None:
            kept["barred"] = self.barred[:, rows]
        return replace(self, **kept)


class Steps:
    """What is earned and lost step by step; 0 where there is no candidate.

    All of it is linear in rate and power, so that whole horizons are products of small matrices.
    """

    def __init__(self, prospect: Prospect) -> None:
        exists, it = prospect.exists, prospect
        self._prospect = prospect
        rate, kw = np.where(exists, it.hashrate_ths, 0.0), np.where(exists, it.power_w, 0.0) * _KW_PER_W
        self._rate, self._kw = (table if table.ndim == 3 else table[None] for table in (rate, kw))
        # What a stop loses it loses of the best rate of the miner.
        paid = np.where(it.stops, self._rate.max(axis=2, keepdims=True), self._rate)
        self._lost = np.nan_to_num(it.loss_h) * paid
        self._woken = np.nan_to_num(it.wake_loss_h) * paid
        self._wake_wear = np.broadcast_to(it.restart_usd[:, None], exists.shape)
        self._wear = self._wake_wear if it.wears is None else self._wake_wear * it.wears
        mix = np.zeros(it.steps) if it.mix is None else it.mix
        assert it.mix is not None or len(self._rate) == 1, "points need the place of each step among them"
        # [T,J] how much of each point is in each step.
        self._parts = np.maximum(1.0 - np.abs(mix[:, None] - np.arange(len(self._rate))), 0.0)
        self._usd_per_ths = it.hashprice_usd_per_ths_day * (it.step_h / 24.0)
        self._usd_per_kw = it.price_usd_per_kwh * it.step_h
        self._fine = 0.0 if it.barred is None else self._more_than_all()

    def rate(self, step: int) -> Floats:
        """[N,K] TH/s."""
        return self._at(self._rate, step)

    def power_kw(self, step: int) -> Floats:
        """[N,K]."""
        return self._at(self._kw, step)

    def earning(self, step: int) -> Floats:
        """[N,K] USD in one step."""
        price = self._usd_per_kw[..., step]
        energy = self.power_kw(step) * (price if price.ndim == 0 else price[:, None])
        found = self.rate(step) * self._usd_per_ths[step] - energy
        if self._prospect.barred is not None:
            found -= self._fine * self._prospect.barred[step]
        return np.asarray(found)

    def along(self, path: Ints, rows: Ints | None = None) -> Floats:
        """[R] USD earned along paths [R,T], costs of changes taken off, and what comes after them.

        Args:
            rows: [R] whose paths they are; None is all miners in order.
        """
        it = self._prospect
        rows = np.arange(len(path)) if rows is None else rows
        own, before = rows[:, None], np.concatenate([it.current[rows, None], path[:, :-1]], axis=1)

        def of(table: Floats) -> Floats:
            return np.asarray(np.einsum("tj,jrt->rt", self._parts, table[:, own, path]))

        price = self._usd_per_kw if self._usd_per_kw.ndim == 1 else self._usd_per_kw[rows]
        earned = of(self._rate) * self._usd_per_ths - of(self._kw) * price
        woken = it.stops[own, before]
        lost = np.where(woken, of(self._woken), of(self._lost)) * (it.hashprice_usd_per_ths_day / 24.0)
        wear = np.where(woken, self._wake_wear[own, path], self._wear[own, path])
        total = (earned - np.where(path != before, lost + wear, 0.0)).sum(axis=1)
        return total if it.after_usd is None else np.asarray(total + it.after_usd[rows, path[:, -1]])

    def losses(self, step: int) -> tuple[Floats, Floats]:
        """[N,K] USD that entering each candidate costs, from a hashing setting and from a stop."""
        hashprice = self._prospect.hashprice_usd_per_ths_day[step] / 24.0
        lost, woken = self._at(self._lost, step) * hashprice, self._at(self._woken, step) * hashprice
        return lost + self._wear, woken + self._wake_wear

    def everything(self, hold: int) -> tuple[Floats, Floats, Floats]:
        """[T,K,N] USD in each step; and over the `hold` steps from each on, as far as the horizon reaches,
        less what entering costs there, from a hashing setting and from a stop.
        """
        it = self._prospect
        ends = np.minimum(np.arange(it.steps) + hold, it.steps)

        def held(of_step: Floats) -> Floats:
            total = np.concatenate([np.zeros((1, *of_step.shape[1:])), np.cumsum(of_step, axis=0)])
            return np.asarray(total[ends] - total[:-1])

        rate, kw = _flat(self._rate), _flat(self._kw)
        shape = (it.steps, *reversed(it.stops.shape))
        worth = self._usd_per_ths[:, None] * self._parts
        if it.price_usd_per_kwh.ndim == 1:
            cost = self._usd_per_kw[:, None] * self._parts
            both, table = np.concatenate([worth, -cost], axis=1), np.concatenate([rate, kw])
            earning, window = (both @ table).reshape(shape), (held(both) @ table).reshape(shape)
        else:
            draw = (self._parts @ kw).reshape(shape)
            earning = (worth @ rate).reshape(shape) - draw * self._usd_per_kw.T[:, None, :]
            window = held(earning)
        if it.barred is not None:
            fines = np.where(it.barred.transpose(0, 2, 1), self._fine, 0.0)
            earning, window = earning - fines, window - held(fines)
        spent = (it.hashprice_usd_per_ths_day / 24.0)[:, None] * self._parts
        running = window - (spent @ _flat(self._lost)).reshape(shape)
        waking = window - (spent @ _flat(self._woken)).reshape(shape)
        if it.restart_usd.any():
            running -= self._wear.T
            waking -= self._wake_wear.T
        return earning, running, waking

    def _more_than_all(self) -> float:
        """USD that no path can make good."""
        most = np.abs(self._usd_per_ths).sum() * self._rate.max(initial=0.0)
        most += np.abs(self._usd_per_kw).sum(axis=-1).max() * self._kw.max(initial=0.0)
        after = self._prospect.after_usd
        if after is not None:
            most += np.abs(after[np.isfinite(after)]).max(initial=0.0)
        return 4.0 * float(most)

    def _at(self, table: Floats, step: int) -> Floats:
        if len(table) == 1:
            return np.asarray(table[0])
        return np.asarray(np.tensordot(self._parts[step], table, axes=1))


def _flat(table: Floats) -> Floats:
    """[J,N,K] as [J,K*N]: side by side stand the miners, so that whole rows are worked on at once."""
    return np.ascontiguousarray(table.transpose(0, 2, 1)).reshape(len(table), -1)


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
    rows = max(1, _CELLS // (width * prospect.steps))
    if count <= rows:
        return _look_ahead(prospect, keep_values)
    # Miners share nothing here, and what fits the processor's cache is worked on several times as fast.
    parts = [
        _look_ahead(prospect.rows(np.arange(first, min(first + rows, count))), keep_values)
        for first in range(0, count, rows)
    ]
    values = [part.values for part in parts if part.values is not None]
    kept = None
    if values:
        kept = Values(
            np.concatenate([one.entered for one in values], axis=1),
            np.concatenate([one.stay for one in values], axis=1),
        )
    return Outlook(
        path=np.concatenate([part.path for part in parts]),
        value_usd=np.concatenate([part.value_usd for part in parts]),
        action_usd=np.concatenate([part.action_usd for part in parts]),
        lasts=np.concatenate([part.lasts for part in parts]),
        changes=np.concatenate([part.changes for part in parts]),
        values=kept,
    )


def _look_ahead(prospect: Prospect, keep_values: bool) -> Outlook:
    count, width = prospect.stops.shape
    steps, hold = prospect.steps, max(1, prospect.hold_steps)
    rows, money, current = np.arange(count), Steps(prospect), prospect.current
    # All [T,K,N]; minus infinity where a candidate may not be entered.
    earning, running, waking = money.everything(hold)
    closed = ~(prospect.allowed & prospect.exists).T
    if closed.any():
        running[:, closed] = waking[:, closed] = -np.inf
    if prospect.may_change is not None and not prospect.may_change.all():
        resting = ~np.broadcast_to(prospect.may_change, (count, steps)).T
        running.transpose(0, 2, 1)[resting] = waking.transpose(0, 2, 1)[resting] = -np.inf
    stops = np.ascontiguousarray(prospect.stops.T)
    any_stop = bool(stops.any())
    # later[t] is what is earned from step t on under the best path, by the setting held before it.
    later = np.empty((steps + 1, width, count))
    later[steps] = 0.0 if prospect.after_usd is None else prospect.after_usd.T
    moves = np.empty((steps, width, count), dtype=np.bool_)
    found, stay = np.empty((2, width, count))
    for step in range(steps - 1, -1, -1):
        ahead = later[min(step + hold, steps)]
        reward = np.add(running[step], ahead, out=found).max(axis=0)
        if any_stop:
            woken = np.add(waking[step], ahead, out=found).max(axis=0)
            reward = np.where(stops, woken, reward)
        np.add(earning[step], later[step + 1], out=stay)
        # Keeping a setting is never worse than entering it anew, so what is better is another one.
        np.greater(reward, stay + _TIE_USD, out=moves[step])
        np.maximum(stay, reward, out=later[step])
    path = _follow(prospect, running, waking, later, moves)
    stopped = prospect.stops[rows, current]
    action = (np.where(stopped, waking[0], running[0]) + later[min(hold, steps)]).T
    action[rows, current] = earning[0, current, rows] + later[1, current, rows]
    held = np.clip(prospect.held_steps, 0, steps)
    value = later[held, current, rows] + _while_held(earning, held, current)
    action[held > 0] = -np.inf
    action[rows[held > 0], current[held > 0]] = value[held > 0]
    kept = None
    if keep_values:
        ends = np.minimum(np.arange(steps) + hold, steps)
        entered = np.stack([running[t] + money.losses(t)[0].T for t in range(steps)]) + later[ends]
        kept = Values(entered.transpose(0, 2, 1), (earning + later[1:]).transpose(0, 2, 1))
    return Outlook(path, value, action, _lasts(prospect, moves), changes_of(path, current).sum(axis=1), kept)


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


def _follow(prospect: Prospect, running: Floats, waking: Floats, later: Floats, moves: Bools) -> Ints:
    steps, rows = prospect.steps, np.arange(len(prospect.current))
    hold = max(1, prospect.hold_steps)
    at, free_from = prospect.current.copy(), np.maximum(prospect.held_steps, 0).astype(np.int64)
    path = np.empty((steps, len(at)), dtype=np.int64)
    for step in range(steps):
        leaving = np.flatnonzero(moves[step, at, rows] & (free_from <= step))
        if len(leaving):
            stopped = prospect.stops[leaving, at[leaving]]
            gain = np.where(stopped, waking[step][:, leaving], running[step][:, leaving])
            to = (gain + later[min(step + hold, steps)][:, leaving]).argmax(axis=0)
            at = at.copy()
            at[leaving], free_from[leaving] = to, step + hold
        path[step] = at
    return np.ascontiguousarray(path.T)


def _lasts(prospect: Prospect, moves: Bools) -> Ints:
    """[N,K] from `moves` [T,K,N]."""
    steps, hold = prospect.steps, max(1, prospect.hold_steps)
    rows, current = np.arange(len(prospect.current)), prospect.current
    leaves = moves[hold:]
    first = np.where(leaves.any(axis=0), hold + leaves.argmax(axis=0), steps) if len(leaves) else None
    lasts = np.full(prospect.stops.shape, steps) if first is None else first.T.astype(np.int64)
    # The present setting may be left as soon as its own hold is over, at the next step at the earliest.
    own = moves[:, current, rows] & (np.arange(steps)[:, None] >= np.maximum(prospect.held_steps, 1))
    lasts[rows, current] = np.where(own.any(axis=0), own.argmax(axis=0), steps)
    return lasts


def _while_held(earning: Floats, held: Ints, current: Ints) -> Floats:
    """[N] what the present setting earns while it must still be held."""
    rows, total = np.arange(len(held)), np.zeros(len(held))
    for step in range(int(held.max(initial=0))):
        total += np.where(held > step, earning[step, current, rows], 0.0)
    return total

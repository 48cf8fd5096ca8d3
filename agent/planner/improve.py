"""experimental"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agent.planner.horizon import Prospect, Steps, may_enter
from agent.planner.shared import Shared
from agent.planner.wear import look_ahead_within

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_SLACK = 1e-9
CFG = dict(single=True, pairs=True, dual=12, builds=3, work=6_000_000, pairwork=12_000_000)
STAT: dict = {}


class _Room:
    """What is left under limits beside a course."""

    def __init__(self, shared: Shared, path: Ints, current: Ints, fixed: Bools) -> None:
        tree = shared.tree
        self.shared, self.z = shared, shared.z
        count = len(tree.names)
        limited = (
            np.isfinite(shared.cap_w).any(axis=0) | np.isfinite(shared.floor_w).any(axis=0) | shared.ramped
        )
        member = tree.member() & limited
        depth = int(member.sum(axis=1).max(initial=0))
        # places around each miner; `count` stands for none
        order = np.argsort(~member, axis=1, kind="stable")[:, :depth]
        self.around = np.where(np.take_along_axis(member, order, axis=1), order, count)
        self.member = np.concatenate([member, np.zeros((len(member), 1), dtype=np.bool_)], axis=1)

        def wide(values: Floats, none: float) -> Floats:
            out = np.concatenate([values, np.full((len(values), 1), none)], axis=1)
            out[fixed] = none
            return out

        self.cap = wide(shared.cap_w, np.inf)
        self.cap += 1e-6 * 0 + _SLACK * np.where(np.isfinite(self.cap), np.abs(self.cap), 0)
        self.floor = wide(np.minimum(shared.floor_w, shared.cap_w), -np.inf)
        self.rise, self.fall = wide(shared.rise_w, np.inf), wide(shared.fall_w, np.inf)
        self.now = np.append(shared.draw(current), 0.0)
        self.ramps = bool(np.isfinite(self.rise).any() or np.isfinite(self.fall).any())
        self.floors = bool(np.isfinite(self.floor).any())
        self.variance = shared.sigma_w**2
        self.spread = bool(self.variance.any()) and self.z != 0.0
        self.set(path)

    def set(self, path: Ints) -> None:
        rows = np.arange(len(path))
        self.path = path.copy()
        free = self.shared.free
        self.p = np.where(free, self.shared.power_w[rows, path.T], 0.0)
        self.v = np.where(free, self.variance[rows, path.T], 0.0)
        self.mean, self.var = self.p @ self.member, self.v @ self.member

    def ok(self, mean: Floats, var: Floats, g: slice | Ints = slice(None)) -> bool:
        margin = self.z * np.sqrt(np.maximum(var, 0.0)) if self.spread else 0.0
        if (mean + margin > self.cap[:, g]).any():
            return False
        if self.floors and (mean - margin < self.floor[:, g] - 1e-6).any():
            return False
        if self.ramps:
            change = np.diff(mean, axis=0, prepend=self.now[g][None])
            if (change > self.rise[:, g] + 1e-6).any() or (change < -self.fall[:, g] - 1e-6).any():
                return False
        return True

    def feasible(self) -> bool:
        return self.ok(self.mean, self.var)

    def try_(self, rows: tuple[int, ...], paths: tuple[Ints, ...]) -> bool:
        """Take the paths if the limits allow."""
        if len(rows) == 1:
            i = rows[0]
            g = self.around[i]
            dp = self.shared.power_w[i, paths[0]] - self.p[:, i]
            dv = self.variance[i, paths[0]] - self.v[:, i]
            if not self.ok(self.mean[:, g] + dp[:, None], self.var[:, g] + dv[:, None], g):
                return False
            self.mean[:, g] += dp[:, None]
            self.var[:, g] += dv[:, None]
            self.mean[:, -1] = self.var[:, -1] = 0.0
        else:
            mean, var = self.mean.copy(), self.var.copy()
            for i, path in zip(rows, paths):
                g = self.around[i]
                mean[:, g] += (self.shared.power_w[i, path] - self.p[:, i])[:, None]
                var[:, g] += (self.variance[i, path] - self.v[:, i])[:, None]
            mean[:, -1] = var[:, -1] = 0.0
            if not self.ok(mean, var):
                return False
            self.mean, self.var = mean, var
        for i, path in zip(rows, paths):
            self.path[i] = path
            self.p[:, i] = self.shared.power_w[i, path]
            self.v[:, i] = self.variance[i, path]
        return True

    def barred(self, rows: Ints, without: Ints | None = None, instead: tuple[Ints, Ints] | None = None,
               band: str = "any") -> Bools:
        """[T,R,K] what does not fit beside the others; `without` [R] other miners left out;
        `instead` (miners [R], paths [R,T]) other miners on other paths."""
        power, variance = self.shared.power_w[rows], self.variance[rows]
        out = np.zeros((len(self.cap), *power.shape), dtype=np.bool_)
        for d in range(self.around.shape[1]):
            g = self.around[rows, d]
            mean = self.mean[:, g] - self.p[:, rows]
            var = self.var[:, g] - self.v[:, rows]
            if without is not None:
                common = self.member[without, g]
                mean = mean - self.p[:, without] * common
                var = var - self.v[:, without] * common
            if instead is not None:
                who, paths = instead
                common = self.member[who, g]
                mean = mean + (self.shared.power_w[who, paths.T] - self.p[:, who]) * common
                var = var + (self.variance[who, paths.T] - self.v[:, who]) * common
            cap = self.cap[:, g]
            if self.spread:
                margin = self.z * np.sqrt(np.maximum(var[:, :, None] + variance, 0.0))
                out |= power + margin > (cap - mean)[:, :, None]
            else:
                out |= power > (cap - mean)[:, :, None]
            if self.floors and without is None:
                low = (self.floor[:, g] - mean)[:, :, None] - 1e-6
                out |= (power - margin if self.spread else power) < low
        if self.ramps and band != "any" and without is None and instead is None:
            change = np.diff(self.mean, axis=0, prepend=self.now[None])
            up, down = np.maximum(self.rise - change, 0.0), np.maximum(self.fall + change, 0.0)
            none = np.full((1, up.shape[1]), np.inf)
            after_up, after_down = np.concatenate([up[1:], none]), np.concatenate([down[1:], none])
            most = np.minimum(up, after_down)[:, self.around[rows]].min(axis=2)
            least = np.minimum(after_up, down)[:, self.around[rows]].min(axis=2)
            x = power - self.p[:, rows][:, :, None]
            if band == "up":
                out |= (x < -1e-9) | (x > most[:, :, None] + 1e-6)
            else:
                out |= (x > 1e-9) | (x < -least[:, :, None] - 1e-6)
        return out


def improve(
    prospect: Prospect,
    shared: Shared,
    path: Ints,
    first: Bools,
    still: Bools,
    restarts_left: Ints,
    budget_steps: int,
    pays: Callable[[Ints, Ints], Bools] | None = None,
    price: Floats | None = None,
) -> Ints:
    count, width = prospect.stops.shape
    steps = prospect.steps
    fixed = _fixed(prospect, shared, path, restarts_left, budget_steps)
    STAT["fixed"] = int(fixed.sum())
    if fixed.all():
        return path
    rows = np.flatnonzero(shared.free & ~still)
    if not len(rows):
        return path
    barred = np.zeros((steps, count, width), dtype=np.bool_)
    own = np.arange(count)
    barred[0] = ~first
    barred[0, own, path[:, 0]] = False
    for t in np.flatnonzero(fixed):
        barred[t] = True
        barred[t, own, path[:, t]] = False
    weight = shared.weight
    room = _Room(shared, path, prospect.current, fixed)
    base = prospect
    spent = [0]

    def best(r: Ints, bars: Bools, dear: Floats | None = None) -> tuple[Ints, Floats]:
        """paths, true worth (-inf where it does not fit)"""
        part = base.rows(r)
        if dear is None:
            asked = replace(part, barred=bars)
        else:
            asked = replace(part, barred=bars, price_usd_per_kwh=part.price_usd_per_kwh + dear)
        found = look_ahead_within(asked, restarts_left[r], budget_steps).path
        spent[0] += bars.size
        worth = Steps(part).along(found)
        hit = bars[np.arange(steps), np.arange(len(r))[:, None], found].any(axis=1)
        if pays is not None:
            hit |= ~pays(r, found)
        return found, np.where(hit, -np.inf, worth)

    worth = Steps(base).along(path)

    def singles(room: _Room, worth: Floats, limit: int) -> None:
        modes = ["any", "up", "down"] if room.ramps else ["any"]
        idle = 0
        turn = 0
        while idle < len(modes) and spent[0] < limit:
            band = modes[turn % len(modes)]
            turn += 1
            r = rows
            bars = barred[:, r] | room.barred(r, band=band)
            bars[np.arange(steps)[:, None], np.arange(len(r)), room.path[r].T] = False
            found, value = best(r, bars)
            gain = weight[r] * (value - worth[r])
            done = 0
            for i in np.argsort(-gain, kind="stable"):
                if not gain[i] > 1e-9 * max(1e-9, np.abs(worth[r]).max()):
                    break
                if room.try_((int(r[i]),), (found[i],)):
                    worth[r[i]] = value[i]
                    done += 1
            idle = 0 if done else idle + 1

    def pairs(room: _Room, worth: Floats, limit: int) -> bool:
        """all ordered pairs: i with j left out, then j beside that."""
        n = len(rows)
        i, j = (a.ravel() for a in np.meshgrid(rows, rows, indexing="ij"))
        keep = (i != j) & (room.member[i] & room.member[j]).any(axis=1)
        i, j = i[keep], j[keep]
        any_ = False
        while spent[0] < limit and len(i):
            bars = barred[:, i] | room.barred(i, without=j)
            pi, vi = best(i, bars)
            # only if it goes somewhere new
            changed = np.isfinite(vi) & (vi - worth[i] > 1e-12)
            a, b, pa, va = i[changed], j[changed], pi[changed], vi[changed]
            if not len(a):
                break
            bars = barred[:, b] | room.barred(b, instead=(a, pa))
            pb, vb = best(b, bars)
            gain = weight[a] * (va - worth[a]) + weight[b] * (vb - worth[b])
            done, touched = 0, set()
            for q in np.argsort(-gain, kind="stable"):
                if not gain[q] > 1e-9 * max(1e-9, np.abs(worth).max()):
                    break
                x, y = int(a[q]), int(b[q])
                if x in touched or y in touched:
                    continue
                if room.try_((x, y), (pa[q], pb[q])):
                    worth[x], worth[y] = va[q], vb[q]
                    touched |= {x, y}
                    done += 1
            if not done:
                break
            any_ = True
        return any_

    best_room, best_worth = room, worth.copy()

    def total(w: Floats) -> float:
        return float((weight * w)[rows].sum())

    start = total(worth)
    feasible = room.feasible()
    STAT["feasible"] = feasible
    if not feasible:
        return path
    if CFG["single"]:
        singles(room, best_worth, CFG["work"] // 2)
    STAT["single"] = total(best_worth) - start
    small = len(rows) ** 2 * width * steps
    upper = np.inf
    # duals
    if CFG["dual"]:
        lam = np.zeros_like(room.cap)
        capped = np.isfinite(room.cap)
        inv = 1.0 / weight
        best_l = np.inf
        step_scale = 1.0
        top = []
        for it in range(CFG["dual"]):
            dear = np.stack([lam[:, room.around[r]].sum(axis=1) for r in rows]) * inv[rows][:, None] * 1000.0 / prospect.step_h
            r_path, _ = best(rows, barred[:, rows], dear)
            value = Steps(base.rows(rows)).along(r_path)
            full = path.copy()
            full[rows] = r_path
            p = np.where(shared.free, shared.power_w[own, full.T], 0.0)
            v = np.where(shared.free, room.variance[own, full.T], 0.0)
            load = p @ room.member + room.z * np.sqrt(np.maximum(v @ room.member, 0))
            over = np.where(capped, load - np.where(capped, room.cap, 0), 0.0)
            lag = float((weight[rows] * value).sum() - (lam * over).sum())
            if lag < best_l:
                best_l = lag
            else:
                step_scale *= 0.7
            # primal
            if it % max(1, CFG["dual"] // CFG["builds"]) == CFG["dual"] // CFG["builds"] - 1 or it == CFG["dual"] - 1:
                got = _build(base, shared, path, r_path, rows, barred, best, fixed, weight, worth)
                if got is not None:
                    room2, worth2 = got
                    singles(room2, worth2, spent[0] + CFG["work"] // 4)
                    top.append(total(worth2) - total(best_worth))
                    if total(worth2) > total(best_worth):
                        best_room, best_worth = room2, worth2
            grad = np.where(lam > 0, over, np.maximum(over, 0))
            norm = float((grad**2).sum())
            if norm <= 0:
                break
            theta = step_scale * max(lag - total(best_worth), 1e-9) / norm
            lam = np.maximum(lam + theta * over, 0.0)
        upper = best_l
        STAT["dual"] = top
    if CFG["pairs"] and small < CFG["pairwork"] / 3:
        s = total(best_worth)
        while spent[0] < 3 * CFG["pairwork"]:
            if not pairs(best_room, best_worth, 3 * CFG["pairwork"]):
                break
            singles(best_room, best_worth, 3 * CFG["pairwork"])
        STAT["pairs"] = total(best_worth) - s
    STAT["total"], STAT["start"], STAT["upper"], STAT["spent"] = total(best_worth), start, upper, spent[0]
    return best_room.path


def _build(base, shared, path, wanted, rows, barred, best, fixed, weight, worth):
    """From the least power of everybody, wanted paths one by one."""
    dear = np.full((len(rows), base.steps), 1e3 * max(1e-6, np.abs(base.hashprice_usd_per_ths_day).max()))
    low, low_value = best(rows, barred[:, rows], dear)
    if not np.isfinite(low_value).all():
        low = np.where(np.isfinite(low_value)[:, None], low, path[rows])
    room = _Room(shared, path, base.current, fixed)
    full = path.copy()
    full[rows] = low
    room.set(full)
    if not room.feasible():
        return None
    part = base.rows(rows)
    now = worth.copy()
    now[rows] = Steps(part).along(low)
    value = Steps(part).along(wanted)
    if value is None:
        return None
    hit = barred[np.arange(base.steps), rows[:, None], wanted].any(axis=1)
    gain = np.where(hit, -np.inf, weight[rows] * (value - now[rows]))
    watt = (shared.power_w[rows[:, None], wanted] - shared.power_w[rows[:, None], low]).sum(axis=1)
    for i in np.argsort(-gain / np.maximum(watt, 1.0), kind="stable"):
        if gain[i] > 0 and room.try_((int(rows[i]),), (wanted[i],)):
            now[rows[i]] = value[i]
    return room, now


def _fixed(prospect: Prospect, shared: Shared, path: Ints, restarts_left: Ints, budget_steps: int) -> Bools:
    """Steps up to and with the last one that misses a limit or breaks a rule."""
    count, steps = path.shape
    rows = np.arange(count)
    wears = np.ones_like(prospect.stops) if prospect.wears is None else prospect.wears
    at, left = prospect.current, restarts_left.astype(np.int64)
    locked = prospect.held_steps.astype(np.int64)
    hold, last = max(1, prospect.hold_steps), np.zeros(steps, dtype=np.bool_)
    mean = np.stack([shared.draw(path[:, t]) for t in range(steps)])
    before = shared.draw(prospect.current)
    STAT["why"] = ""
    for t in range(steps):
        to = path[:, t]
        moved = to != at
        wear = moved & (wears[rows, to] | prospect.stops[rows, at])
        bad = moved & ((locked > 0) | (wear & (left <= 0) & (t < budget_steps)) | ~may_enter(prospect, t)[rows, to])
        nodes = shared.nodes(t, before)
        change = mean[t] - before
        over = shared.broken(to, nodes) & (np.diff(shared.place, prepend=-1) != 0)
        ramp = (change > shared.rise_w[t] + 1e-6) | (change < -shared.fall_w[t] - 1e-6)
        if bad.any():
            last[: t + 1] = True
        if over.any() or ramp.any():
            last[max(t - 1, 0) : t + 1] = True
        if bad.any() or over.any() or ramp.any():
            STAT["why"] += f" {t}:{bad.any():d}{over.any():d}{ramp.any():d}"
        left = left - wear
        locked = np.maximum(np.where(moved, hold, locked) - 1, 0)
        at, before = to, mean[t]
    return last

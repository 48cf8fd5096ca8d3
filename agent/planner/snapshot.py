"""What a decision was made from, as bytes: so that a plan can be looked at, and made anew, at any time.

The form is numpy's archive without pickles; anything else is refused.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import DataError, InputError
from agent.models.inference import Curves
from agent.planner.candidates import Candidates
from agent.planner.fleet import Fleet
from agent.planner.margins import Horizon
from agent.planner.power.circuits import PowerTree
from agent.planner.power.limits import Limits, SitePower
from agent.planner.power.peak import PeakCharge
from agent.setting import Setting

# Of the store's states.
ROUND_STATE = "round"
VERSION = 3
MOST_BYTES = 64 * 1024 * 1024
_TABLE = ("shares", "stops", "loss_h", "wake_loss_h", "settle_s", "restarts", "wears", "permitted")
_COLUMNS = ("current", "nominal")
_PRICES = ("hashprice", "price", "hashprice_sigma", "price_sigma")
_CURVES = ("hashrate_ths", "power_w", "chip_temp_c", "profit_usd_per_day")
_LIMITS = ("cap_w", "cap_z", "minimum_gain_usd_per_day", "hold_h", "restart_usd")
_TREE = ("parent", "leaf", "cap_w", "floor_w", "ramp_up_w_per_s", "ramp_down_w_per_s")
_SITE = ("event_cap_w", "weight", "protected", "may_change", "off")
_FLEET = ("chip_max_c", "present_power_w", "rated_power_w", "restarts_left", "held_h")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything `decide` was given.

    Args:
        at: UTC, start of the first step of the horizon.
        miner_ids: in the order of the fleet.
        sources: words for where electricity price and hashprice come from.
        model: words for the predictor.
        holds: per miner why its setting is held and until when, in words, or None.
        charge: what the peak of the month costs, None where nothing is charged for it.
    """

    at: datetime
    miner_ids: tuple[str, ...]
    fleet: Fleet
    horizon: Horizon
    limits: Limits
    sources: tuple[str, str]
    model: str
    holds: Sequence[str | None] = ()
    charge: PeakCharge | None = None


def pack(snapshot: Snapshot) -> bytes:
    """The snapshot as bytes."""
    fleet, horizon, limits = snapshot.fleet, snapshot.horizon, snapshot.limits
    facts = {
        "version": VERSION,
        "at": snapshot.at.isoformat(),
        "miner_ids": snapshot.miner_ids,
        "settings": [[setting.to_dict() for setting in row] for row in fleet.candidates.settings],
        "held_back": fleet.held_back,
        "priced_at": fleet.priced_at,
        "step_h": horizon.step_h,
        "limits": {name: getattr(limits, name) for name in _LIMITS},
        "sources": snapshot.sources,
        "model": snapshot.model,
        "holds": list(snapshot.holds),
        "charge": _charge_facts(snapshot.charge),
    }
    arrays: dict[str, NDArray[Any]] = {
        "facts": np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8),
        "hashprice": horizon.hashprice_usd_per_ths_day,
        "price": horizon.price_usd_per_kwh,
        "hashprice_sigma": horizon.hashprice_sigma_usd_per_ths_day,
        "price_sigma": horizon.price_sigma_usd_per_kwh,
    }
    arrays |= {name: getattr(fleet.candidates, name) for name in (*_TABLE, *_COLUMNS)}
    arrays |= {f"curve_{name}": getattr(fleet.curves, name).astype(np.float32) for name in _CURVES}
    arrays |= {name: getattr(fleet, name) for name in _FLEET}
    if fleet.trying is not None:
        arrays["trying"] = fleet.trying
    if fleet.restarts_a_day is not None:
        arrays["restarts_a_day"] = fleet.restarts_a_day
    if limits.site is not None:
        site = limits.site
        facts["site"] = {
            "names": site.tree.names,
            "pue": site.pue,
            "ramp_s": site.ramp_s,
            "peak_w": site.peak_w,
        }
        arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)
        arrays |= {f"tree_{name}": getattr(site.tree, name) for name in _TREE}
        arrays |= {f"site_{name}": getattr(site, name) for name in _SITE}
    out = io.BytesIO()
    np.savez_compressed(out, allow_pickle=False, **arrays)
    return out.getvalue()


def unpack(data: bytes) -> Snapshot:
    """The snapshot that `pack` wrote.

    Raises:
        DataError: it is damaged, or of another version.
    """
    if len(data) > MOST_BYTES:
        raise DataError(f"the stored round has {len(data)} bytes; at most {MOST_BYTES} are read")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        facts = json.loads(arrays["facts"].tobytes())
        if facts["version"] != VERSION:
            raise DataError(
                f"the stored round has version {facts['version']}, this program reads {VERSION}; "
                "the next decision of the agent replaces it"
            )
        return _build(facts, arrays)
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile, InputError) as error:
        raise DataError(f"the stored round cannot be read: {error}") from error


def _build(facts: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Snapshot:
    settings = tuple(tuple(Setting.from_dict(each) for each in row) for row in facts["settings"])
    count, width = arrays["shares"].shape
    for name in _TABLE:
        _expect(arrays[name], name, (count, width))
    for name in (*_COLUMNS, *_FLEET):
        _expect(arrays[name], name, (count,))
    for name in _PRICES:
        _expect(arrays[name], name, (len(arrays["price"]),))
    for name in _CURVES:
        _expect(arrays[f"curve_{name}"], name, (count, width, 3))
    if not len(settings) == len(facts["miner_ids"]) == len(facts["held_back"]) == count:
        raise ValueError("its lists differ in length")
    hashprice, price = (float(value) for value in facts["priced_at"])
    fleet = Fleet(
        candidates=Candidates(settings, **{name: arrays[name] for name in (*_TABLE, *_COLUMNS)}),
        curves=Curves(*(arrays[f"curve_{name}"].astype(np.float64) for name in _CURVES)),
        priced_at=(hashprice, price),
        held_back=tuple(facts["held_back"]),
        **{name: arrays[name] for name in _FLEET},
        trying=arrays.get("trying"),
        restarts_a_day=arrays.get("restarts_a_day"),
    )
    first, second = facts["sources"]
    return Snapshot(
        at=datetime.fromisoformat(facts["at"]),
        miner_ids=tuple(facts["miner_ids"]),
        fleet=fleet,
        horizon=Horizon(float(facts["step_h"]), *(arrays[name] for name in _PRICES)),
        limits=_limits(facts, arrays, count),
        sources=(str(first), str(second)),
        model=str(facts["model"]),
        holds=tuple(facts.get("holds", ())),
        charge=_charge(facts.get("charge")),
    )


def _limits(facts: dict[str, Any], arrays: dict[str, NDArray[Any]], count: int) -> Limits:
    cap_w, cap_z, gain, hold_h, restart_usd = (float(facts["limits"][name]) for name in _LIMITS)
    plain = Limits(cap_w, cap_z, gain, hold_h, restart_usd)
    if "site" not in facts:
        return plain
    tree = PowerTree(tuple(facts["site"]["names"]), **{name: arrays[f"tree_{name}"] for name in _TREE})
    steps, places = len(arrays["price"]), len(tree.names)
    _expect(tree.leaf, "leaf", (count,))
    shapes = ((steps, places), (count,), (count,), (count, steps), (count, steps))
    for name, shape in zip(_SITE, shapes, strict=True):
        _expect(arrays[f"site_{name}"], name, shape)
    site = SitePower(
        tree=tree,
        pue=float(facts["site"]["pue"]),
        ramp_s=float(facts["site"]["ramp_s"]),
        peak_w=float(facts["site"]["peak_w"]),
        **{name: arrays[f"site_{name}"] for name in _SITE},
    )
    return replace(plain, site=site)


def _charge_facts(charge: PeakCharge | None) -> list[Any] | None:
    if charge is None:
        return None
    reached = charge.reached_at.isoformat() if charge.reached_at is not None else None
    return [charge.peak_w, charge.usd_per_w, charge.month_left_h, reached]


def _charge(facts: list[Any] | None) -> PeakCharge | None:
    if facts is None:
        return None
    peak_w, usd_per_w, left_h, reached = facts
    at = datetime.fromisoformat(reached) if reached is not None else None
    return PeakCharge(float(peak_w), float(usd_per_w), float(left_h), at)


def _expect(array: NDArray[Any], name: str, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")

"""The autotune presets of VNish: a ladder of watts with the hashrate the firmware promises for each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.peers.antminer.layouts import Json
from simulator.physics import curve_table
from simulator.physics_file import ModelPhysics

DISABLED = "disabled"
_STEP_W = 90
_LOWEST_SHARE = 0.5
_HIGHEST_SHARE = 1.35
# A new unit comes with presets tuned up to here, and needs another supply beyond the second.
_TUNED_SHARE = 1.1
_STOCK_SUPPLY_SHARE = 1.2


@dataclass(frozen=True, slots=True)
class Preset:
    """One preset; its name is its watts."""

    watts: int
    hashrate_ths: int
    tuned: bool
    modded_psu: bool

    @property
    def name(self) -> str:
        """What `overclock.preset` holds."""
        return str(self.watts)

    def shown(self) -> Json:
        """As `autotune/presets` lists it."""
        return {
            "name": self.name,
            "pretty": f"{self.watts} watt ~ {self.hashrate_ths} TH",
            "status": "tuned" if self.tuned else "untuned",
            "modded_psu_required": self.modded_psu,
        }


NO_PRESET: Json = {
    "name": DISABLED,
    "pretty": "Disabled",
    "status": "untuned",
    "modded_psu_required": False,
}


def presets_of(model: ModelPhysics) -> tuple[Preset, ...]:
    """Every preset of a model, lowest first."""
    rated_w = model.rated_power_w
    table = curve_table(model)
    first = round(_LOWEST_SHARE * rated_w / 10.0) * 10
    return tuple(
        Preset(
            watts=watts,
            hashrate_ths=round(
                float(np.interp(watts, table.power_w, table.level)) * model.rated_hashrate_ths
            ),
            tuned=watts <= _TUNED_SHARE * rated_w,
            modded_psu=watts > _STOCK_SUPPLY_SHARE * rated_w,
        )
        for watts in range(first, int(_HIGHEST_SHARE * rated_w) + 1, _STEP_W)
    )

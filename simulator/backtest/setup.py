"""What a backtest is asked to run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent.errors import InputError
from simulator.backtest.market import MarketPlan
from simulator.backtest.policies import SIMPLE

OURS = "hashmargin"
PLANNED = ("hourly-argmax-learned", "constant-jth", OURS, "hashmargin-no-learning")
POLICIES: tuple[str, ...] = (*(name for name in SIMPLE if name != "oracle"), *PLANNED, "oracle")
AS_RECORDED = "as-recorded"
_OF_LEARNING = ("hashmargin-no-learning", "hourly-argmax-learned")
# On a lake nothing is known of curves beyond what was learned, so policies about it say nothing.
LAKE_POLICIES: tuple[str, ...] = (
    AS_RECORDED,
    *(name for name in POLICIES if name not in _OF_LEARNING),
)
CAUSES = ("price forecast", "curve error", "hysteresis")


@dataclass(frozen=True, slots=True)
class Setup:
    """What to run.

    Args:
        farm: farm file; or else
        lake: a site's own recorded telemetry.
        market: prices, hashprice, weather and steps.
        physics: physics file instead of the farm's own.
        models: a bundle; None plans with the hardware profiles' curves.
        policies: names from `POLICIES` or `LAKE_POLICIES`, in the order of the report; None is all.
        seed: of the farm instead of its file's, and of the noise of its telemetry.
        restart_minutes: hashing lost by one restart.
        hold_h: how long a setting is kept once entered.
        restarts_per_day: wear budget instead of each profile's own.
        minimum_gain_usd_per_day: that the lower bound of a gain must exceed.
        decide_minutes: from one decision of a planning policy to the next; at least a step.
        metered: share of the units without a power reading of their own that hang on a meter.
        causes: of `CAUSES`, what to find out the part in the regret of, each by one more run.
        wear_sweep: wear budgets to run the oracle and ours with as well.
        processes: in which policies run, at most; None is one for each core, where the work is worth it.
    """

    farm: Path | None
    market: MarketPlan
    lake: Path | None = None
    physics: Path | None = None
    models: Path | None = None
    policies: tuple[str, ...] | None = None
    seed: int | None = None
    restart_minutes: float = 10.0
    hold_h: float = 2.0
    restarts_per_day: int | None = None
    minimum_gain_usd_per_day: float = 0.05
    decide_minutes: float = 15.0
    metered: float = 0.5
    causes: tuple[str, ...] = CAUSES
    wear_sweep: tuple[int, ...] = ()
    processes: int | None = None

    def __post_init__(self) -> None:
        if (self.farm is None) == (self.lake is None):
            raise InputError("which units? Give --farm FARM.yaml or --lake DIR, one of the two")
        unknown = [name for name in self.wanted if name not in self._known]
        if unknown:
            raise InputError(f"--policies: no policy {unknown[0]!r}; there are {', '.join(self._known)}")
        if not self.wanted:
            raise InputError(f"--policies: name at least one of {', '.join(self._known)}")

    @property
    def wanted(self) -> tuple[str, ...]:
        """Names of the policies to run."""
        return self._known if self.policies is None else self.policies

    @property
    def _known(self) -> tuple[str, ...]:
        return POLICIES if self.lake is None else LAKE_POLICIES

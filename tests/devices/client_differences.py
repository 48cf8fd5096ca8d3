"""Where pyasic and pyasic_rs read the simulated miners otherwise than our drivers, and why.

`test_independent_clients` allows these differences and no others, and checks that each is still there; the
table in docs/devices.md is made of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from agent.devices.families import FAMILIES

PYASIC, RUST = "pyasic", "pyasic_rs"
BOTH = (PYASIC, RUST)
BEGIN, END = "<!-- begin differences to other clients; a test compares -->\n", "<!-- end differences -->"


@dataclass(frozen=True)
class Difference:
    """One difference.

    Args:
        families: where it is seen.
        clients: whose figure is another.
        field: of the Reading.
        theirs: what the client says.
        why: why we say otherwise.
        shows: from our reading and theirs, if the difference is there.
        model: the one model where it is seen; None for all.
    """

    families: tuple[str, ...]
    clients: tuple[str, ...]
    field: str
    theirs: str
    why: str
    shows: Callable[[Any, Any], bool] = field(repr=False)
    model: str | None = None

    def concerns(self, family: str, client: str, model: str) -> bool:
        """True for a client, family and model that it speaks of."""
        return family in self.families and client in self.clients and self.model in (None, model)


def _lists_more(ours: Any, theirs: Any) -> bool:
    return len(listed_pools(theirs)) > len(ours.pools)


def _cools(ours: Any, theirs: Any) -> bool:
    mean = theirs.temperature_avg if hasattr(theirs, "temperature_avg") else theirs.average_temperature
    return bool(mean < (ours.chip_temp_c or ours.board_temp_c))


def _expects(theirs: Any) -> float:
    return float(getattr(theirs.expected_hashrate, "value", theirs.expected_hashrate))


def rate(theirs: Any) -> float:
    """The client's hashrate in TH/s."""
    return float(getattr(theirs.hashrate, "value", theirs.hashrate))


def listed_pools(theirs: Any) -> list[tuple[str, str | None]]:
    """The client's pools as URL and user."""
    groups = [getattr(one, "pools", None) for one in theirs.pools]
    rows = theirs.pools if not groups or groups[0] is None else [pool for group in groups for pool in group]
    return [(str(pool.url), pool.user) for pool in rows]


EVERY = tuple(name for name in FAMILIES if name not in ("pyasic-rs", "antminer-old"))

DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        EVERY,
        BOTH,
        "chip_temp_c, board_temp_c",
        "the mean over boards and sensors",
        "the hottest sensor is the one that limits and protects",
        _cools,
    ),
    Difference(
        ("antminer-stock", "luxos", "braiins", "vnish", "whatsminer-v2", "whatsminer-v3"),
        (RUST,),
        "hashrate_ths",
        "the rate of the last 5 s, or the sum over boards",
        "a rate of 5 s is noise: ours is the shortest of a minute and more that the firmware tells",
        lambda ours, theirs: abs(rate(theirs) - ours.hashrate_ths) > 0.1,
    ),
    Difference(
        ("antminer-stock", "luxos", "braiins", "vnish", "whatsminer-v3"),
        (PYASIC,),
        "hashrate_ths",
        "the sum over boards, the rate of the last 5 s, or the average since the start",
        "as above; sums over boards are of other moments, an average since the start hides what has changed",
        lambda ours, theirs: abs(rate(theirs) - ours.hashrate_ths) > 0.1,
    ),
    Difference(
        ("antminer-stock",),
        BOTH,
        "power_w",
        "nothing",
        "neither asks port 6060, where these models tell their watts",
        lambda ours, theirs: theirs.wattage is None and ours.power_w is not None,
        model="antminer-s21",
    ),
    Difference(
        ("antminer-stock",),
        BOTH,
        "pools",
        "empty slots of the configuration as pools",
        "a slot without an address is no pool",
        _lists_more,
    ),
    Difference(
        ("vnish",),
        BOTH,
        "pools",
        "the firmware's fee as a pool",
        "it cannot be set, and the guard of pools must not take it for a stranger",
        _lists_more,
    ),
    Difference(
        ("vnish",),
        (PYASIC,),
        "pools: url",
        "no address",
        "VNish shows addresses without a scheme; we put back the one it takes for granted",
        lambda ours, theirs: {url for url, _ in listed_pools(theirs)} == {"None"},
    ),
    Difference(
        ("whatsminer-v3",),
        (PYASIC,),
        "pools",
        "none at all",
        "it looks for them in the summary of API v3, which holds none",
        lambda ours, theirs: not listed_pools(theirs) and bool(ours.pools),
    ),
    Difference(
        ("luxos",),
        (PYASIC,),
        "mac",
        "none",
        "it asks `config`, which tells it, and drops the answer",
        lambda ours, theirs: theirs.mac is None and ours.mac is not None,
    ),
    Difference(
        ("luxos",),
        BOTH,
        "firmware_version",
        "the version without the build's hash",
        "two builds of one date can differ",
        lambda ours, theirs: ours.firmware_version != version(theirs),
    ),
    Difference(
        ("braiins",),
        (PYASIC,),
        "firmware_version",
        "only the short number, such as 26.04",
        "the whole text names date and build",
        lambda ours, theirs: version(theirs) in ours.firmware_version != version(theirs),
    ),
    Difference(
        ("braiins",),
        BOTH,
        "hashrate_expected_ths",
        "the sticker's rate",
        "under a power target a unit is expected to do what the firmware promises for that target",
        lambda ours, theirs: abs(_expects(theirs) - ours.hashrate_expected_ths) > 0.1,
    ),
    Difference(
        ("vnish",),
        (RUST,),
        "hashrate_expected_ths",
        "the rate of the stock firmware",
        "ours is the rate of the preset that runs",
        lambda ours, theirs: abs(_expects(theirs) - ours.hashrate_expected_ths) > 0.1,
    ),
    Difference(
        ("vnish",),
        (RUST,),
        "power_limit_w",
        "the name of the preset",
        "a preset is named by its watts, so it is a limit in watts",
        lambda ours, theirs: "preset" in str(theirs.tuning_target) and ours.power_limit_w is not None,
    ),
    Difference(
        ("vnish",),
        BOTH,
        "uptime_s",
        "the time since the control board started",
        "that is `system_uptime_s`; how long the mining process runs is not told",
        lambda ours, theirs: theirs.uptime is not None and ours.uptime_s is None,
    ),
    Difference(
        ("braiins",),
        (RUST,),
        "uptime_s",
        "the time since the control board started",
        "that is `system_uptime_s`; ours is the time since the mining process started",
        lambda ours, theirs: theirs.uptime.total_seconds() > ours.uptime_s + 1.0,
    ),
)


def version(theirs: Any) -> str:
    """The client's firmware version."""
    found: str = theirs.fw_ver if hasattr(theirs, "fw_ver") else theirs.firmware_version
    return found


def named(family: str, client: str, model: str, what: str) -> bool:
    """True if a difference in a field is named for that client, family and model."""
    return any(row.concerns(family, client, model) and row.field == what for row in DIFFERENCES)


def markdown(rows: Iterable[Difference] = DIFFERENCES) -> str:
    """The table of docs/devices.md."""
    lines = ["| field | family | client | it says | why we differ |", "|---|---|---|---|---|"]
    for row in rows:
        where = "every one" if set(row.families) >= set(EVERY) else ", ".join(row.families)
        if row.model is not None:
            where += f" ({row.model.removeprefix('antminer-').upper()})"
        lines.append(f"| {row.field} | {where} | {' and '.join(row.clients)} | {row.theirs} | {row.why} |")
    return "\n".join(lines) + "\n"

"""How a hardware profile looks: the table of models, the page of one, and the table of docs/hardware.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from agent.hardware.bounds import Bounds
from agent.hardware.profile import Control, Figure, HardwareProfile, Temperature
from agent.hardware.shares import candidate_settings, nominal_hashrate_share, nominal_share
from agent.setting import Knob

_STATUS_STYLE = {"read-only": "yellow", "tested": "green", "field-proven": "bold green"}
_STATUS_MEANS = {
    "read-only": "polled and shown, never written to",
    "tested": "passed against the simulator, not yet proven on real units",
    "field-proven": "proven on real units",
}
_SHORT = {
    Knob.WORK_MODE: "mode",
    Knob.POWER_LIMIT_W: "limit",
    Knob.POWER_PERCENT: "percent",
    Knob.HASHRATE_PERCENT: "hash%",
    Knob.FREQUENCY_PERCENT: "freq%",
    Knob.VOLTAGE_PERCENT: "volt%",
    Knob.STOP: "stop",
}
_UNIT = {"w": " W", "percent": " %", "mode": ""}


def knob_names(profile: HardwareProfile, firmware: str) -> list[str]:
    """The knobs a profile permits on `firmware`; none for a read-only one."""
    return [str(bound.knob) for bound in profile.bounds(firmware)]


def model_table(profiles: Iterable[HardwareProfile]) -> Table:
    """One line a model, inside 80 columns."""
    table = Table(header_style="bold", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("model", no_wrap=True)
    for name in ("TH/s", "W", "J/TH"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("may be set")
    for profile in profiles:
        table.add_row(
            profile.key,
            f"{profile.rated_hashrate_ths.value:g}",
            f"{profile.rated_power_w.value:g}",
            f"{profile.efficiency_j_th:.1f}",
            Text(profile.status, style=_STATUS_STYLE[profile.status]),
            ", ".join(_SHORT[bound.knob] for bound in profile.bounds("stock")) or Text("nothing", "dim"),
        )
    return table


def markdown_table(profiles: Iterable[HardwareProfile]) -> str:
    """The table of docs/hardware.md, one line a model, ending in a newline."""
    lines = [
        "| key | model | TH/s | W | J/TH | cooling | status | may be set (stock firmware) |",
        "|---|---|---:|---:|---:|---|---|---|",
    ]
    for profile in profiles:
        allowed = "; ".join(_markdown_bounds(profile)) or "nothing"
        doubt = " (?)" if _unverified(profile) else ""
        lines.append(
            f"| `{profile.key}` | {profile.name} | {profile.rated_hashrate_ths.value:g}{doubt} "
            f"| {profile.rated_power_w.value:g}{doubt} | {profile.efficiency_j_th:.1f} | {profile.cooling} "
            f"| {profile.status} | {allowed} |"
        )
    return "\n".join(lines) + "\n"


def model_page(profile: HardwareProfile) -> RenderableType:
    """Everything a profile says, each figure beside its source."""
    return Group(*_sections(profile))


def _sections(profile: HardwareProfile) -> Iterator[RenderableType]:
    style = _STATUS_STYLE[profile.status]
    yield Text.from_markup(
        f"[bold]{escape(profile.name)}[/bold]  {profile.key}  [{style}]{profile.status}[/{style}]: "
        f"{_STATUS_MEANS[profile.status]}"
    )
    yield Text(f"{profile.vendor}, {profile.cooling}-cooled, reported as {', '.join(profile.aliases)}\n")
    yield _figures(profile)
    if profile.bins:
        yield _bins(profile)
    for firmware in profile.controls:
        yield _controls(profile, firmware)
        yield _examples(profile, firmware)
    yield _search(profile)
    if profile.caveats:
        yield Text("Caveats", style="bold")
        for caveat in profile.caveats:
            yield Text.assemble("• ", caveat.text, (f"  [{caveat.source}]", "dim"))


def _figures(profile: HardwareProfile) -> Table:
    table = _table("figure", "value", "source")
    _figure(table, "rated hashrate", profile.rated_hashrate_ths, "TH/s")
    _figure(table, "rated power", profile.rated_power_w, "W")
    table.add_row("rated efficiency", f"{profile.efficiency_j_th:.1f} J/TH", "power over hashrate")
    _figure(table, "standby power", profile.standby_power_w, "W")
    layout = profile.layout
    chips = _chips(layout.chips_per_board)
    table.add_row(
        "boards x chips, fans",
        f"{_known(layout.boards)} x {_known(chips)}, {_known(layout.fans)}",
        escape(layout.source),
    )
    limits = profile.temperatures
    _figure(table, "chip at most", limits.chip_max_c, "C")
    _figure(table, "board at most", limits.board_max_c, "C")
    _figure(table, "inlet at least", limits.inlet_min_c, "C")
    _figure(table, "inlet at most", limits.inlet_max_c, "C")
    _figure(table, "restarts a day", profile.restarts_per_day, "")
    return table


def _chips(counts: list[int] | None) -> str | None:
    if counts is None or len(counts) <= 3:
        return None if counts is None else " or ".join(map(str, counts))
    return f"{min(counts)}..{max(counts)} by grade"


def _figure(table: Table, name: str, figure: Figure | Temperature | None, unit: str) -> None:
    if figure is None:
        table.add_row(name, "unknown", "")
    else:
        table.add_row(name, f"{figure.value:g} {unit}".strip(), escape(figure.source))


def _bins(profile: HardwareProfile) -> Table:
    table = _table("grade", "TH/s", "W", "J/TH", "source")
    for grade in profile.bins:
        table.add_row(
            grade.name,
            f"{grade.hashrate_ths:g}",
            f"{grade.power_w:g}",
            f"{grade.power_w / grade.hashrate_ths:.1f}",
            escape(grade.source),
        )
    return table


def _controls(profile: HardwareProfile, firmware: str) -> RenderableType:
    controls = profile.controls_of(firmware)
    if not controls:
        return Text(f"{firmware} firmware: nothing is known to be settable", style="bold")
    table = _table(f"{firmware} control", "bounds", "step", "restarts", "settles", "source")
    bounds = {bound.knob: bound for bound in profile.offered_bounds(firmware)}
    for control in controls:
        table.add_row(
            str(control.knob),
            _range(bounds[control.knob], control),
            "" if control.step is None else f"{control.step:g}",
            "yes" if control.restarts_hashing else "no",
            f"{control.settle_s / 60:g} min",
            escape(control.source),
        )
    return table


def _range(bound: Bounds, control: Control) -> str:
    if bound.knob is Knob.STOP:
        return "yes"
    if bound.choices is not None:
        known = ", ".join(mode for mode in control.choices or {} if mode not in bound.choices)
        return ", ".join(bound.choices) + (f" (not offered: {known})" if known else "")
    only = ", where the unit reports a range" if control.needs_reported_range else ""
    return f"{bound.minimum:g} to {bound.maximum:g}{_UNIT[control.unit]}{only}"


def _examples(profile: HardwareProfile, firmware: str) -> RenderableType:
    if profile.status == "read-only":
        return Text("Read-only: none of this is sent to a miner until the profile is tested.", style="yellow")
    table = _table("setting", "power", "hashrate", "efficiency")
    safe = next((text for name, text in profile.default_safe_setting.items() if name == firmware), None)
    for setting in candidate_settings(profile, firmware, profile.bounds(firmware), count=4):
        power = nominal_share(profile, firmware, setting)
        hashrate = nominal_hashrate_share(profile, firmware, setting)
        watts, rate = power * profile.rated_power_w.value, hashrate * profile.rated_hashrate_ths.value
        table.add_row(
            f"{setting}{'  (default safe)' if str(setting) == safe else ''}",
            f"{power:.0%}  {watts:.0f} W",
            f"{hashrate:.0%}  {rate:.0f} TH/s",
            f"{watts / rate:.1f} J/TH" if rate > 0 else "",
        )
    return Group(Text("Expected before any unit is known", style="bold"), table)


def _search(profile: HardwareProfile) -> Table:
    table = _table("search bounds", "share of rated", "source")
    for name in ("power_limit", "frequency", "voltage"):
        found = getattr(profile.search_bounds, name)
        if found is not None:
            table.add_row(name, f"{found.minimum:g} to {found.maximum:g}", escape(found.source))
    return table


def _table(*columns: str) -> Table:
    table = Table(header_style="bold", pad_edge=False, box=SIMPLE_HEAD)
    for name in columns:
        table.add_column(name, style="dim" if name == "source" else "", no_wrap=name == columns[0])
    return table


def _markdown_bounds(profile: HardwareProfile) -> Iterator[str]:
    for bound in profile.bounds("stock"):
        control = profile.control("stock", bound.knob)
        if bound.knob is Knob.STOP:
            yield "stop"
        elif bound.choices is not None:
            yield f"mode {', '.join(bound.choices)}"
        elif control is not None:
            note = " where reported" if control.needs_reported_range else ""
            name = str(bound.knob).removesuffix("_w").replace("_", " ").removesuffix(" percent")
            yield f"{name} {bound.minimum:.0f}-{bound.maximum:.0f}{_UNIT[control.unit]}{note}"


def _unverified(profile: HardwareProfile) -> bool:
    return any(
        figure.source.startswith("unverified")
        for figure in (profile.rated_hashrate_ths, profile.rated_power_w)
    )


def _known(value: object) -> str:
    return "?" if value is None else str(value)

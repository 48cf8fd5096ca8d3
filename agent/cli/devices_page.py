"""How `hashmargin devices` and the generated parts of docs/devices.md and docs/health.md look."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from agent.cli.decode import replies_in
from agent.devices.abilities import ABILITIES, Ability, Cost, cost
from agent.devices.antminer import errors as antminer_errors
from agent.devices.error_codes import GRADES, ErrorCode, Severity
from agent.devices.families import FAMILIES, FamilyInfo
from agent.devices.whatsminer import errors as whatsminer_errors
from agent.errors import DeviceError, InputError
from agent.hardware.catalogue import Catalogue
from agent.reading import Reading
from agent.setting import Knob

ERROR_TABLES: dict[str, tuple[ErrorCode, ...]] = {
    "Whatsminer": whatsminer_errors.TABLE,
    "Antminer": antminer_errors.TABLE,
}
# Known of every miner, or not the miner's to tell.
_NOT_REPORTED = ("miner_id", "address", "observed_at", "vendor", "firmware")
_STYLES = {"critical": "bold red", "warning": "yellow", "info": "dim"}
Cell = str


@dataclass(frozen=True, slots=True)
class Control:
    """One knob of one family with what setting it costs; `cost` is None where no profile has the knob."""

    family: str
    knob: Knob
    written: str
    told: str
    offered: str
    cost: Cost | None

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        found = self.cost
        return {
            "knob": str(self.knob),
            "written": _bare(self.written),
            "told": _bare(self.told),
            "offered": _bare(self.offered) or None,
            "restarts_hashing": found.restarts if found is not None else None,
            "settles_s": list(found.settles_s) if found is not None else None,
            "lost_hashing_s": list(found.lost_s) if found is not None else None,
        }


def controls(name: str, catalogue: Catalogue) -> list[Control]:
    """The knobs of a family, each with what the catalogue's profiles say that it costs."""
    info, ability = FAMILIES[name], ABILITIES[name]
    return [
        Control(name, way.knob, way.written, way.told, way.offered, _cost(info, way.knob, catalogue))
        for way in ability.ways
    ]


def plain(name: str, catalogue: Catalogue) -> dict[str, Any]:
    """One family in JSON form."""
    ability = ABILITIES[name]
    return {
        "family": name,
        "vendor": FAMILIES[name].vendor,
        "ports": ability.ports,
        "each_cycle": _bare(ability.each_cycle),
        "rarely": _bare(ability.rarely),
        "login": ability.login,
        "owner_enables": ability.switch,
        "controls": [control.to_dict() for control in controls(name, catalogue)],
        "pools": _bare(ability.pools) if ability.pools is not None else None,
        "pools_cost": ability.pools_cost if ability.pools is not None else None,
    }


def error_rows() -> list[dict[str, str]]:
    """Every row of the error tables in JSON form."""
    return [
        {"vendor": vendor, "codes": row.codes, "text": row.text, "severity": row.severity}
        for vendor, table in ERROR_TABLES.items()
        for row in table
    ]


# -- Markdown ----------------------------------------------------------------------------------------


def devices_markdown(catalogue: Catalogue, cases: Path | None = None) -> str:
    """The generated part of docs/devices.md.

    Args:
        cases: folder of saved replies by family and case; the table of reported fields is made from it.

    Raises:
        InputError: `cases` is no such folder.
    """
    parts = [
        "## What each family is asked",
        _markdown(
            ("family", "ports", "read each cycle", "asked rarely", "login (factory)", "the owner enables"),
            (_family_cells(name, ABILITIES[name]) for name in FAMILIES),
        ),
        "## What can be set, and what it costs",
        _markdown(
            (
                "family",
                "control",
                "written by",
                "told back by",
                "where",
                "restarts hashing",
                "settles",
                "lost",
            ),
            _control_cells(catalogue),
        ),
    ]
    if cases is not None:
        parts += [
            "## What each family reports",
            _markdown(("field", *(f"`{name}`" for name in FAMILIES)), _field_cells(reported(cases))),
        ]
    return "\n\n".join(parts) + "\n"


def health_markdown() -> str:
    """The generated part of docs/health.md."""
    parts = [
        "## Severity",
        _markdown(
            ("severity", "means", "do"),
            ((f"`{name}`", grade.means, grade.do) for name, grade in GRADES.items()),
        ),
    ]
    for vendor, table in ERROR_TABLES.items():
        cells = ((_codes(row), _cell(_words(row)), row.severity) for row in table)
        parts += [f"## {vendor} codes", _markdown(("code", "means", "severity"), cells)]
    return "\n\n".join(parts) + "\n"


def reported(cases: Path) -> dict[str, set[str]]:
    """Family -> fields of a Reading that at least one of its saved replies fills.

    Raises:
        InputError: there are no saved replies in the folder.
    """
    found: dict[str, set[str]] = {}
    for name, info in FAMILIES.items():
        folders = sorted(path for path in (cases / name).glob("*") if path.is_dir())
        readings = [reading for folder in folders if (reading := _read(info, folder)) is not None]
        found[name] = {
            field.name
            for field in fields(Reading)
            if any(getattr(reading, field.name) is not None for reading in readings)
        }
    if not any(found.values()):
        raise InputError(f"{cases} holds no saved replies, expected FAMILY/CASE/ folders")
    return found


def put_between(page: str, block: str, command: str) -> str:
    """A page with `block` between the markers of `command`.

    Raises:
        InputError: the page has not both markers.
    """
    begin, end = f"<!-- begin `{command}`; a test compares -->\n", f"<!-- end `{command}` -->"
    head, marker, rest = page.partition(begin)
    _, closing, tail = rest.partition(end)
    if not marker or not closing:
        raise InputError(f"the page lacks the lines {begin.strip()!r} and {end!r}")
    return f"{head}{begin}{block}{end}{tail}"


def _read(info: FamilyInfo, folder: Path) -> Reading | None:
    try:
        return info.decode(replies_in(folder), None)
    except DeviceError:
        # Many cases show what cannot be read.
        return None


def _family_cells(name: str, ability: Ability) -> tuple[Cell, ...]:
    asked = (ability.ports, ability.each_cycle, ability.rarely, ability.login, ability.switch)
    return (f"`{name}`", *asked)


def _control_cells(catalogue: Catalogue) -> Iterable[tuple[Cell, ...]]:
    for name in FAMILIES:
        ability = ABILITIES[name]
        for control in controls(name, catalogue):
            where = control.offered or "wherever a profile allows it"
            if control.cost is None:
                where = "as part of other settings: no profile has it"
            yield (
                f"`{name}`",
                f"`{control.knob}`",
                control.written,
                control.told,
                where,
                *_cost_cells(control.cost),
            )
        if ability.pools is not None:
            costs = (ability.pools_cost, "at once", "")
            yield (f"`{name}`", "pools", ability.pools, "the miner's list", "for trusted pools", *costs)
        elif not ability.ways:
            yield (f"`{name}`", "nothing", "", "", "", "", "", "")


def _field_cells(found: Mapping[str, set[str]]) -> Iterable[tuple[Cell, ...]]:
    for field in fields(Reading):
        if field.name not in _NOT_REPORTED:
            # Without backticks: the first cell of a row with them names a family on this page.
            yield (field.name, *("yes" if field.name in found[name] else "" for name in FAMILIES))


def _cost_cells(found: Cost | None) -> tuple[Cell, ...]:
    if found is None:
        return ("", "", "")
    lost = "nothing" if found.lost_s[1] == 0.0 else _minutes(found.lost_s)
    return ("yes" if found.restarts else "no", _minutes(found.settles_s), lost)


def _minutes(span: tuple[float, float]) -> str:
    low, high = (f"{seconds / 60.0:g}" for seconds in span)
    return f"{low} min" if low == high else f"{low} to {high} min"


def _codes(row: ErrorCode) -> str:
    return " ".join(f"`{code}`" for code in row.codes.split())


def _words(row: ErrorCode) -> str:
    return row.text.format(n="n", m="m")


def _markdown(head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _bare(text: str) -> str:
    return text.replace("`", "")


def _cost(info: FamilyInfo, knob: Knob, catalogue: Catalogue) -> Cost | None:
    return cost(info.vendor, info.firmware, knob, catalogue.profiles.values())


# -- terminal ----------------------------------------------------------------------------------------


def families_table() -> RenderableType:
    """One line a family: how it is spoken to and what can be set."""
    table = _table("family", "ports", "may be set", "pools")
    for name in FAMILIES:
        ability = ABILITIES[name]
        knobs = ", ".join(way.knob for way in ability.ways) or "nothing"
        table.add_row(name, ability.ports, knobs, "yes" if ability.pools is not None else "no")
    return table


def family_page(name: str, catalogue: Catalogue) -> RenderableType:
    """Everything the table says of one family."""
    ability = ABILITIES[name]
    facts = _table("", "")
    facts.show_header = False
    for label, text in (
        ("ports", ability.ports),
        ("read each cycle", ability.each_cycle),
        ("asked rarely", ability.rarely),
        ("login (factory)", ability.login),
        ("the owner enables", ability.switch),
        ("pools", f"{ability.pools}: {ability.pools_cost}" if ability.pools is not None else "not written"),
    ):
        facts.add_row(label, _bare(text))
    parts: list[RenderableType] = [Text(name, style="bold"), facts]
    if ability.ways:
        table = _table("control", "written by", "told back by", "restarts", "settles", "lost")
        for control in controls(name, catalogue):
            cells = (_bare(control.written), _bare(control.told), *_cost_cells(control.cost))
            table.add_row(str(control.knob), *cells)
        parts.append(table)
    return Group(*parts)


def errors_page(vendor: str | None = None) -> RenderableType:
    """What each severity asks for, and the codes of one vendor or of all."""
    grades = _table("severity", "means", "do")
    for name, grade in GRADES.items():
        grades.add_row(_severity(name), grade.means, grade.do)
    parts: list[RenderableType] = [grades]
    for maker, rows in ERROR_TABLES.items():
        if vendor is not None and maker.lower() != vendor.lower():
            continue
        table = _table(f"{maker} code", "means", "severity")
        for row in rows:
            table.add_row(row.codes, Text(_words(row)), _severity(row.severity))
        parts.append(table)
    return Group(*parts)


def to_json(document: object) -> str:
    """As `--json` prints it."""
    return json.dumps(document, indent=2)


def _severity(name: Severity) -> Text:
    return Text(name, style=_STYLES[name])


def _table(*columns: str) -> Table:
    table = Table(header_style="bold", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0)
    return table

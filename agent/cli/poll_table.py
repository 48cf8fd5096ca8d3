"""How readings look in a terminal: one line of figures per miner, and under it what is wrong with it.

Everything a miner says is shown as plain text, never as markup.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from agent.devices.error_codes import worst_first
from agent.reading import Reading
from agent.telemetry import PollResult

_LEFT = ("address", "model", "mode")
_RIGHT = ("TH/s", "W", "J/TH", "chip C", "boards", "up")
_NAMES = (*_LEFT, *_RIGHT)
_STYLES = {"critical": "bold red", "warning": "yellow", "info": "dim"}
_MARKS = {"metered": "w", "measured": "m", "firmware_estimate": "e"}
# A model's name is the firmware's own text where no profile knows it.
_LONGEST_MODEL = 20
_MOST_FAULTS = 8
_INDENT = 4


def results_table(results: Sequence[PollResult]) -> RenderableType:
    """One line per miner as wide as its figures; a miner that was not read shows why and nothing else.

    Firmware comes last and is cut where the terminal ends; faults are folded under the miner's line.
    """
    rows = [_figures(result.reading) if result.reading is not None else None for result in results]
    widths = [cell_len(name) for name in _NAMES]
    widths[0] = max([widths[0], *(cell_len(result.address) for result in results)])
    for row in rows:
        for i, cell in enumerate(row or (), start=1):
            widths[i] = max(widths[i], cell_len(cell))
    lines: list[RenderableType] = [
        Text(f"{_line(_NAMES, widths)}  firmware", style="bold", no_wrap=True, overflow="ellipsis"),
        Text("─" * (cell_len(_line(_NAMES, widths)) + 10), style="dim", no_wrap=True, overflow="crop"),
    ]
    for result, row in zip(results, rows, strict=True):
        lines += _miner(result, row, widths)
    return Group(*lines)


def _miner(result: PollResult, row: Sequence[str] | None, widths: Sequence[int]) -> list[RenderableType]:
    reading = result.reading
    if reading is None or row is None:
        why = f"{result.error.kind}: {result.error.detail}" if result.error is not None else "not read"
        # A reason may be long: folded beside the address rather than cut.
        grid = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
        grid.add_column(width=widths[0], no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_row(Text(result.address), Text(why, style="red"))
        return [grid]
    line = Text(_line((result.address, *row), widths), no_wrap=True, overflow="ellipsis")
    version = f"{reading.firmware or '?'} {reading.firmware_version or ''}".strip()
    lines: list[RenderableType] = [line.append(f"  {version}", style="dim")]
    wrong = _counted(_faults(reading)) + _counted(_boards(reading))
    if wrong:
        words = Text("; ", overflow="fold").join(wrong)
        lines.append(Padding(words, (0, 0, 0, _INDENT)))
    return lines


def _counted(words: list[Text]) -> list[Text]:
    """The first few, and how many more there are."""
    more = len(words) - _MOST_FAULTS
    return words if more <= 0 else [*words[:_MOST_FAULTS], Text(f"and {more} more")]


def _faults(reading: Reading) -> list[Text]:
    """What the firmware reports, the worst first."""
    found = sorted(reading.errors or (), key=lambda error: worst_first(error.severity))
    return [
        Text(error.text or error.code, style=_STYLES.get(error.severity or "", "yellow")) for error in found
    ]


def _boards(reading: Reading) -> list[Text]:
    """The boards that do not work while the miner is meant to; a stopped miner's idle boards are no news."""
    stopped = reading.is_hashing is False
    return [
        Text(f"board {board.index} {board.state}", style="yellow")
        for board in reading.boards or ()
        if board.state in ("missing", "sick") or (board.state == "idle" and not stopped)
    ]


def _figures(reading: Reading) -> tuple[str, ...]:
    boards = reading.boards or ()
    working = sum(board.state in ("hashing", "sick") for board in boards)
    power, mark = reading.power_w, _MARKS.get(reading.power_source or "", "")
    return (
        _model(reading),
        reading.work_mode or "?",
        _number(reading.hashrate_ths, 1),
        "?" if power is None else f"{power:,.0f} {mark}".rstrip(),
        _number(reading.efficiency_j_th, 1),
        _number(reading.chip_temp_c, 0),
        f"{working}/{len(boards)}" if boards else "?",
        _duration(reading.uptime_s),
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    gaps = [" " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=True)]
    left, right = len(_LEFT), zip(gaps[len(_LEFT) :], cells[len(_LEFT) :], strict=True)
    words = [cell + gap for cell, gap in zip(cells[:left], gaps[:left], strict=True)]
    return "  ".join(words) + " " + " ".join(gap + cell for gap, cell in right)


def _model(reading: Reading) -> str:
    name = (reading.model or "?").removeprefix("antminer-").removeprefix("whatsminer-")
    if cell_len(name) <= _LONGEST_MODEL:
        return name
    return set_cell_size(name, _LONGEST_MODEL - 1) + "…"


def _number(value: float | None, digits: int) -> str:
    return "?" if value is None else f"{value:,.{digits}f}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86400:.0f} d"

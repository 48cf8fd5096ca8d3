"""Turns finished days of packs into Parquet, each row once however often it is interrupted, within a size.

Where packs come from is the caller's: an agent's journal or a dashboard's database.
"""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Protocol

import numpy as np

from agent.errors import DataError, StoreError
from agent.lake.rows import join, unpack

# Readings of a day may arrive this long after it: from a poll over midnight, or a clock that is a little off.
GRACE = timedelta(minutes=30)
_PART = re.compile(r"^part-(?P<epoch>[0-9a-z]+)-(?P<first>\d{12})-(?P<last>\d{12})\.parquet$")


class PackSource(Protocol):
    """Where packs wait. Numbers of packs rise and are never used again within an `epoch`."""

    @property
    def epoch(self) -> str:
        """Letters and digits that stand for this series of numbers."""
        ...

    def days(self) -> list[tuple[str, date]]:
        """Sites and days that packs are held of, oldest first."""
        ...

    def packs(self, site_id: str, day: date) -> Sequence[tuple[int, bytes]]:
        """Number and body of each pack of a day, by rising number."""
        ...

    def forget(self, site_id: str, day: date, up_to: int) -> None:
        """Drop the packs of a day up to a number, durably."""
        ...


@dataclass(frozen=True, slots=True)
class Packed:
    """What one round of packing wrote, and in words what it could not."""

    files: tuple[Path, ...] = ()
    rows: int = 0
    problems: tuple[str, ...] = ()


def pack_finished(source: PackSource, lake: Path, now: datetime, *, everything: bool = False) -> Packed:
    """Write every day that is over as a Parquet file and drop its packs.

    A file's name says which packs are in it. Whatever moment a crash falls on, the next round sees from
    the names what was written and drops those packs instead of writing them again. A day that cannot be
    packed keeps its packs and holds no other up. A pack that is damaged is set aside in `lake/.damaged`.

    Args:
        lake: made if it is not there.
        everything: also the day under way, for taking a lake along; more files of that day will follow.

    Raises:
        StoreError: the lake or the source cannot be used at all.
        ModuleNotFoundError: pyarrow is not installed.
    """
    import pyarrow  # noqa: F401

    last = now.astimezone(UTC).date() if everything else (now.astimezone(UTC) - GRACE).date() - timedelta(1)
    files, rows = [], 0
    problems: list[str] = []
    days = [(site, day) for site, day in source.days() if day <= last or everything]
    if not days:
        return Packed()
    with _alone(lake):
        for site, day in days:
            try:
                written = _pack_day(source, lake, site, day, problems)
            except (StoreError, DataError) as error:
                problems.append(f"{day} of site {site} waits: {error}")
                continue
            if written is not None:
                files.append(written[0])
                rows += written[1]
    return Packed(tuple(files), rows, tuple(problems))


def _pack_day(
    source: PackSource, lake: Path, site: str, day: date, problems: list[str]
) -> tuple[Path, int] | None:
    from agent.lake.parquet import readings_in, set_aside, write_part

    folder = lake / f"date={day.isoformat()}" / f"site={site}"
    there = sorted(folder.glob("*.parquet"))
    marks = [mark for part in there if (mark := _PART.match(part.name)) and mark["epoch"] == source.epoch]
    if marks:
        source.forget(site, day, max(int(mark["last"]) for mark in marks))
    for torn in folder.glob(".part-*.tmp"):
        torn.unlink(missing_ok=True)
    packs = source.packs(site, day)
    if not packs:
        return None
    first, last = packs[0][0], packs[-1][0]
    sound = []
    for number, body in packs:
        try:
            sound.append(unpack(body))
        except DataError as error:
            aside = lake / ".damaged" / f"{site}-{day.isoformat()}-{source.epoch}-{number:012d}.pack"
            set_aside(aside, body)
            problems.append(
                f"one moment of {day} of site {site} is damaged and set aside as {aside}: {error}"
            )
    if not sound:
        source.forget(site, day, last)
        return None
    rows = join(sound)
    order = np.lexsort((rows.at_us, np.array(rows.texts["miner_id"], dtype=np.str_)))
    rows = rows.take(order)
    miners = np.array(rows.texts["miner_id"], dtype=np.str_)
    # One reading can stand in two packs where a miner answered with what it had said before.
    twin = np.zeros(len(rows), dtype=np.bool_)
    twin[1:] = (miners[1:] == miners[:-1]) & (np.diff(rows.at_us) == 0)
    held = {
        pair for part in there for pair in zip(*(side.tolist() for side in readings_in(part)), strict=True)
    }
    if held:
        twin |= np.array([pair in held for pair in zip(rows.at_us.tolist(), miners.tolist(), strict=True)])
    rows = rows.take(~twin)
    path = folder / f"part-{source.epoch}-{first:012d}-{last:012d}.parquet"
    if len(rows):
        write_part(path, rows)
    source.forget(site, day, last)
    return (path, len(rows)) if len(rows) else None


def trim(lake: Path, site: str, max_bytes: int) -> list[date]:
    """Remove a site's oldest days until its files are within a size; the newest day always stays.

    Returns:
        The days removed.

    Raises:
        StoreError: a file cannot be removed.
    """
    folders = sorted(lake.glob(f"date=*/site={site}"))
    sizes = [sum(file.stat().st_size for file in folder.glob("*.parquet")) for folder in folders]
    gone: list[date] = []
    try:
        while sum(sizes) > max_bytes and len(folders) > 1:
            folder = folders.pop(0)
            sizes.pop(0)
            for file in folder.glob("*.parquet"):
                file.unlink()
            folder.rmdir()
            gone.append(date.fromisoformat(folder.parent.name.removeprefix("date=")))
            if not any(folder.parent.iterdir()):
                folder.parent.rmdir()
    except OSError as error:
        raise StoreError(f"{error.filename or lake}: cannot be removed: {error.strerror}") from error
    return gone


def lake_bytes(lake: Path, site: str) -> int:
    """Size of a site's files."""
    return sum(file.stat().st_size for file in lake.glob(f"date=*/site={site}/*.parquet"))


@contextmanager
def _alone(lake: Path) -> Iterator[None]:
    """Hold the lake against another packer on this machine.

    Raises:
        StoreError: somebody else holds it, or the folder cannot be made.
    """
    try:
        lake.mkdir(parents=True, exist_ok=True, mode=0o750)
        handle = (lake / ".lock").open("a")
    except OSError as error:
        raise StoreError(
            f"{lake}: cannot be used: {error.strerror}; check its owner and free space"
        ) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreError(f"{lake}: another process is writing this lake; try again shortly") from error
        yield

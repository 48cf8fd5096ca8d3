"""Day-ahead prices of the ENTSO-E transparency platform: its XML, with no entity ever expanded."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from xml.parsers import expat

from agent.errors import SourceError
from agent.sources.config import EntsoeSource
from agent.sources.table import MAX_ROWS, Table, table_of

_STEP = re.compile(r"^PT(\d{1,2})(M|H)$")
_MAX_DEPTH, _MAX_NODES = 20, 200_000
_MAX_POSITION = 2000


def parameters(config: EntsoeSource, now: datetime) -> dict[str, str]:
    """Query of the prices from eight days back to the end of tomorrow."""
    first = (now - timedelta(days=8)).replace(minute=0)
    last = (now + timedelta(days=2)).replace(hour=0, minute=0)
    return {
        "documentType": "A44",
        "in_Domain": config.area,
        "out_Domain": config.area,
        "periodStart": first.strftime("%Y%m%d%H%M"),
        "periodEnd": last.strftime("%Y%m%d%H%M"),
    }


def prices(body: bytes, usd_per_eur: float) -> Table:
    """Column `price_usd_per_kwh` of a price document.

    A position that is left out repeats the one before it. Where periods of several steps cover one time
    the finer ones count.

    Raises:
        SourceError: it is another document, or what it says makes no sense.
    """
    read = _Reader()
    read.parse(body)
    if read.reason:
        raise SourceError(f"ENTSO-E: {' '.join(read.reason.split())[:200]}")
    if not read.periods:
        raise SourceError("ENTSO-E: the answer holds no prices")
    finest_s = min(step_s for _, _, step_s, _ in read.periods)
    found: dict[float, float] = {}
    rows = 0
    for start_s, end_s, step_s, points in sorted(read.periods, key=lambda period: -period[2]):
        count = round((end_s - start_s) / step_s)
        if not 0 < count <= _MAX_POSITION or not points or min(points) != 1 or max(points) > count:
            raise SourceError(f"ENTSO-E: a period of {count} steps has positions {sorted(points)[:1]} on")
        price = points[1]
        parts = round(step_s / finest_s)
        rows += count * parts
        if rows > MAX_ROWS:
            raise SourceError(f"ENTSO-E: the periods hold more than {MAX_ROWS} steps")
        for position in range(1, count + 1):
            price = points.get(position, price)
            for part in range(parts):
                found[start_s + (position - 1) * step_s + part * finest_s] = price
    priced = [(at_s, price * 0.001 * usd_per_eur) for at_s, price in found.items()]
    return table_of(priced, "price_usd_per_kwh", "ENTSO-E", finest_s)


class _Reader:
    """Gathers periods while the document is read."""

    def __init__(self) -> None:
        self.periods: list[tuple[float, float, float, dict[int, float]]] = []
        self.reason = ""
        self._path: list[str] = []
        self._text = ""
        self._nodes = 0
        self._values: dict[str, str] = {}
        self._points: dict[int, float] = {}

    def parse(self, body: bytes) -> None:
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartDoctypeDeclHandler = self._refuse
        parser.EntityDeclHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        try:
            parser.Parse(body, True)
        except expat.ExpatError as error:
            raise SourceError(f"ENTSO-E: the answer is not XML: {error}") from error

    def _refuse(self, *_: object) -> None:
        raise SourceError("ENTSO-E: the answer declares entities or a document type, which is refused")

    def _start(self, name: str, _: dict[str, str]) -> None:
        self._path.append(name.rpartition(" ")[2])
        self._text = ""
        self._nodes += 1
        if self._nodes > _MAX_NODES or len(self._path) > _MAX_DEPTH:
            raise SourceError("ENTSO-E: the answer is too large or nested too deeply")
        if self._path[-1] == "Period":
            self._values, self._points = {}, {}

    def _characters(self, text: str) -> None:
        if len(self._text) < 1000:
            self._text += text

    def _end(self, _: str) -> None:
        name, text = self._path.pop(), self._text.strip()
        if name in ("start", "end", "resolution", "position", "price.amount"):
            self._values[name] = text
        elif name == "text" and "Reason" in self._path:
            self.reason = text
        elif name == "Point":
            self._points[int(self._number("position"))] = self._number("price.amount")
        elif name == "Period":
            step = _STEP.match(self._values.get("resolution", ""))
            if step is None or int(step[1]) == 0:
                raise SourceError(f"ENTSO-E: resolution {self._values.get('resolution')!r} is not known")
            step_s = int(step[1]) * (60.0 if step[2] == "M" else 3600.0)
            self.periods.append((self._moment("start"), self._moment("end"), step_s, self._points))

    def _number(self, name: str) -> float:
        text = self._values.get(name, "")
        try:
            number = float(text)
        except ValueError as error:
            raise SourceError(f"ENTSO-E: {name}: expected a number, got {text[:40]!r}") from error
        if not abs(number) < 1e6:
            raise SourceError(f"ENTSO-E: {name}: {text[:40]!r} cannot be")
        return number

    def _moment(self, name: str) -> float:
        text = self._values.get(name, "")
        try:
            return datetime.strptime(text, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC).timestamp()
        except ValueError as error:
            raise SourceError(f"ENTSO-E: {name}: {text[:40]!r} is not a UTC time") from error

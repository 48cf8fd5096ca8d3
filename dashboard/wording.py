"""Numbers, times and states in the words of the pages. Unknown is a dash, never 0."""

from __future__ import annotations

from datetime import UTC, datetime

from agent.records import Alternative, Recommendation
from agent.wording import setting

DASH = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"
_SOURCES = {
    "metered": "by the meter of this miner",
    "metered-circuit": "its share of what the meter of its circuit shows",
    "reported-corrected": "its own reading, corrected by what meters taught",
}
_STATES: dict[str, tuple[str, str]] = {
    "proposed": ("Open", "open"),
    "approved": ("Approved", "good"),
    "rejected": ("Rejected", "muted"),
    "applying": ("Applying", "busy"),
    "confirmed": ("Confirmed", "good"),
    "missed": ("Missed", "bad"),
    "rolled_back": ("Rolled back", "warn"),
    "failed": ("Failed", "bad"),
    "expired": ("Expired", "muted"),
    "superseded": ("Superseded", "muted"),
    "intended": ("Intended", "busy"),
    "sent": ("Sent", "busy"),
}


def number(value: float | None, digits: int = 0) -> str:
    """`1,234.5`, or a dash."""
    if value is None:
        return DASH
    text = f"{abs(value):,.{digits}f}"
    return _MINUS + text if value < 0 and any(c in "123456789" for c in text) else text


def usd(value: float | None, digits: int = 2) -> str:
    """`$12.30`, the same with a minus, or a dash."""
    if value is None:
        return DASH
    if abs(value) >= 10_000:
        digits = 0
    text = f"${abs(value):,.{digits}f}"
    return _MINUS + text if value < 0 and any(c in "123456789" for c in text) else text


def gain(value: float | None, digits: int = 2) -> str:
    """Like `usd`, with a plus where it is above 0."""
    text = usd(value, digits)
    return "+" + text if value is not None and value > 0 and any(c in "123456789" for c in text) else text


def percent(value: float | None, digits: int = 0) -> str:
    """A share as `12 %`, or a dash."""
    return DASH if value is None else f"{number(100.0 * value, digits)} %"


def hashrate(value_ths: float | None) -> str:
    """`104.2 TH/s`, `2.41 PH/s`, `1.20 EH/s`."""
    if value_ths is None:
        return DASH
    if value_ths >= 1e6:
        return f"{value_ths / 1e6:,.2f} EH/s"
    return f"{value_ths / 1e3:,.2f} PH/s" if value_ths >= 1e3 else f"{value_ths:,.1f} TH/s"


def power(value_w: float | None) -> str:
    """`950 W`, `3.25 kW`, `1.20 MW`."""
    if value_w is None:
        return DASH
    if value_w >= 1e6:
        return f"{value_w / 1e6:,.2f} MW"
    return f"{value_w / 1e3:,.2f} kW" if value_w >= 1e3 else f"{value_w:,.0f} W"


def change_from(value: Recommendation) -> str:
    """What is so now: the setting, or what advice wants changed."""
    return value.advice.now if value.advice is not None else setting(value.current)


def change_to(value: Recommendation) -> str:
    """What is proposed: a setting, or what a person is advised to do."""
    return value.advice.then if value.advice is not None else setting(value.proposed)


def choice(value: Alternative) -> str:
    """What was considered: a setting, or in words."""
    return value.label if value.label is not None else setting(value.setting)


def concerns(value: Recommendation) -> str:
    """The miner, short, or how many miners."""
    count = len(value.advice.miners) if value.advice is not None else 1
    return f"{count} miners" if count > 1 else short_id(value.miner_id)


def ago(at: datetime | None, now: datetime) -> str:
    """`just now`, `3 min ago`, `2 h ago`, `4 days ago`; `never` for None."""
    if at is None:
        return "never"
    seconds = (now - at).total_seconds()
    return "just now" if seconds < 45 else f"{_span(seconds)} ago"


def until(at: datetime, now: datetime) -> str:
    """`expires in 12 min`, or `expired 3 min ago`."""
    seconds = (at - now).total_seconds()
    return f"expires in {_span(seconds)}" if seconds > 0 else f"expired {_span(-seconds)} ago"


def moment(at: datetime | None) -> str:
    """`23 Nov 06:27`, in UTC."""
    return DASH if at is None else f"{at.astimezone(UTC):%d %b %H:%M}"


def iso(at: datetime) -> str:
    """For the `datetime` attribute."""
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def state(name: str) -> str:
    """A status in a word or two."""
    return _STATES.get(name, (name, "muted"))[0]


def tone(name: str) -> str:
    """How a status is coloured: open, good, busy, warn, bad or muted."""
    return _STATES.get(name, (name, "muted"))[1]


def short_id(miner_id: str) -> str:
    """A MAC by its last three bytes, which are what differs; other ids as they are."""
    parts = miner_id.split(":")
    return "…" + ":".join(parts[-3:]) if len(parts) == 6 else miner_id


def power_source(name: str) -> str:
    """Whose watts they are, for a reader."""
    return _SOURCES.get(name, name)


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} days"

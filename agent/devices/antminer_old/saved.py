"""Raw replies of an old Antminer to files, and such files to a Reading: as later models, and by ssh."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agent.clock import Clock
from agent.devices.antminer import saved as later
from agent.devices.antminer.generation import has_coarse_clock
from agent.devices.antminer.layouts import mode_number
from agent.devices.antminer.parse import Replies, reading_of
from agent.devices.antminer_old.conf_file import is_figure, parse
from agent.devices.antminer_old.files import Files
from agent.devices.antminer_old.percent import KEYS, percent_of
from agent.devices.device import Endpoint
from agent.devices.redact import MARK, redact
from agent.errors import DeviceError
from agent.reading import Reading
from agent.setting import Knob

# `config_bmminer.json` is /config/bmminer.conf, `backup_bmminer.json` our copy of it on the miner.
_FILES = {
    f"{kind}_{name}.json": f"/config/{name}.conf{end}"
    for name in ("bmminer", "cgminer")
    for kind, end in (("config", ""), ("backup", ".hashmargin"))
}
_USER = re.compile(rb'("(?:user|username)"[ \t\r\n]*:[ \t\r\n]*)"(?:[^"\\]|\\.)*"?', re.IGNORECASE)
_MODE = "bitmain-work-mode"
# The other numbers are low modes, in an order that differs between models and is not verified.
_MODES: dict[int | None, str] = {0: "0", 254: "1"}


async def capture(endpoint: Endpoint, clock: Clock) -> dict[str, bytes]:
    """Raw replies of every read command, by file name, with secrets taken out.

    The configuration files come with them where ssh lets us in; pool users are taken out of those too.

    Raises:
        DeviceError: not one command was answered.
    """
    problem: DeviceError | None = None
    try:
        found = await later.capture(endpoint, clock)
    except DeviceError as error:
        found, problem = {}, error
    files = await _by_ssh(endpoint)
    found |= {name: without_logins(files[path]) for name, path in _FILES.items() if path in files}
    if not found and problem is not None:
        raise problem
    return found


async def _by_ssh(endpoint: Endpoint) -> dict[str, bytes]:
    try:
        # The extra may be missing; a capture does without it.
        from agent.devices.antminer_old.ssh import Door

        async with Door().open(endpoint) as session:
            return await Files(session, endpoint.address, endpoint.deadline_s).raw()
    except (ImportError, DeviceError):
        return {}


def without_logins(raw: bytes) -> bytes:
    """A configuration file without the users and passwords of its pools."""
    return _USER.sub(rb'\1"' + MARK + rb'"', redact(raw))


def decode(replies: Mapping[str, bytes], address: str | None = None) -> Reading:
    """Saved replies to a Reading; whatever subset is there is used.

    Raises:
        DeviceError: as for later models.
    """
    parsed = later.replies_of({name: raw for name, raw in replies.items() if name not in _FILES}, address)
    for name in ("bmminer", "cgminer"):
        now = _file(replies.get(f"config_{name}.json"))
        backup = _file(replies.get(f"backup_{name}.json")) or now
        if now is not None and backup is not None and (reference := frequency_of(backup)) is not None:
            return old_reading(parsed, address, reference, now)
    return old_reading(parsed, address, None, None)


def _file(raw: bytes | None) -> Mapping[str, Any] | None:
    if raw is None:
        return None
    try:
        return parse(raw, "saved file", "saved replies").values
    except DeviceError:
        return None


def old_reading(
    replies: Replies,
    address: str | None,
    reference: str | None,
    conf: Mapping[str, Any] | None,
    percent: float | None = None,
) -> Reading:
    """A Reading of this generation: its own mode numbers, and the frequency as a share of the reference.

    Args:
        reference: the digits that count as 100 percent; None where they are not known.
        conf: where the frequency that is set stands.
        percent: that share, where it is known already.
    """
    reading = reading_of(_in_later_numbers(replies), address)
    figure = frequency_of(conf or {})
    if percent is None and reference is not None and figure is not None:
        coarse = has_coarse_clock(reading.model)
        percent = percent_of(Knob.FREQUENCY_PERCENT, reference, figure, coarse)
    return reading if percent is None else replace(reading, frequency_percent=percent)


def frequency_of(conf: Mapping[str, Any]) -> str | None:
    """The digits of the frequency in a configuration; None where there are none."""
    value = conf.get(KEYS[Knob.FREQUENCY_PERCENT])
    found = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    return found if is_figure(found) else None


def _in_later_numbers(replies: Replies) -> Replies:
    if replies.conf is None:
        return replies
    mode = _MODES.get(mode_number(replies.conf.get(_MODE)))
    conf = {key: value for key, value in replies.conf.items() if key != _MODE}
    return replace(replies, conf=conf if mode is None else conf | {_MODE: mode})

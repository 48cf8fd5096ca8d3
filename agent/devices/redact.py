"""Takes secrets out of raw replies before they are saved or shown, even where the reply is not valid JSON."""

from __future__ import annotations

import re

_SECRET = rb"(?:[a-z_0-9]*(?:pass(?:w(?:or)?d)?|pwd|pw|token|salt|secret)[0-9]*|sign|key)"
_NAMED = rb'("' + _SECRET + rb'"[ \t\r\n]*:[ \t\r\n]*)'
_QUOTED = re.compile(_NAMED + rb'"(?:[^"\\]|\\.)*"?', re.IGNORECASE)
_BARE = re.compile(_NAMED + rb'(?=[^" \t\r\n\[{])(?!null\b)[^,}\]\r\n]+', re.IGNORECASE)
_IN_URL = re.compile(rb"(\\?/\\?/)[^/@\s\"]*@")
_FORM = re.compile(rb"(^|[&?])(" + _SECRET + rb")=[^&\s]*", re.IGNORECASE)
MARK = b"***"


def redact(raw: bytes) -> bytes:
    """`raw` with the values of passwords, tokens and salts, and logins in addresses, replaced by `***`."""
    raw = _QUOTED.sub(rb'\1"' + MARK + rb'"', raw)
    raw = _BARE.sub(rb'\1"' + MARK + rb'"', raw)
    raw = _IN_URL.sub(rb"\1" + MARK + rb"@", raw)
    return _FORM.sub(rb"\1\2=" + MARK, raw)

"""When what counts an uptime began anew between two readings, and when it only looks so."""

from __future__ import annotations

import numpy as np
import pytest

from agent.deciding.unasked import Unasked, began_anew

DAY = 86400.0
UNCOUNTED = float("inf")


@pytest.mark.parametrize(
    ("before_s", "uptime_s", "apart_s", "polls_s", "anew"),
    [
        (5000.0, 20.0, 30.0, 30.0, True),
        (5000.0, 5030.0, 30.0, 30.0, False),
        # Rounding, and a counter that stands still while a miner sleeps.
        (5000.0, 4998.0, 30.0, 30.0, False),
        (5000.0, 5000.0, 600.0, 600.0, False),
        (0.0, 0.0, 600.0, 600.0, False),
        # An outage: back with less, with more than before but less than the outage lasted, or with all of it.
        (5000.0, 300.0, 900.0, 900.0, True),
        (200.0, 700.0, 900.0, 900.0, True),
        (200.0, 1100.0, 900.0, 900.0, False),
        # The agent was away; nobody counted polls.
        (200.0, 3.0 * 3600.0, 6.0 * 3600.0, UNCOUNTED, True),
        (200.0, 6.0 * 3600.0 + 200.0, 6.0 * 3600.0, UNCOUNTED, False),
        # Unknown is unknown.
        (np.nan, 20.0, 30.0, 30.0, False),
        (5000.0, np.nan, 30.0, 30.0, False),
        # Our clock was set on by an hour, and back by one.
        (500.0, 530.0, 3630.0, 30.0, False),
        (5000.0, 5030.0, -3570.0, 30.0, False),
        (5000.0, 20.0, -3570.0, 30.0, True),
        # The miner's clock was set back: it began long before the reading before.
        (9000.0, 5430.0, 30.0, 30.0, False),
        # 32 bits of milliseconds are full, and what restarts just then is taken for it.
        (2.0**32 / 1000.0 - 10.0, 20.0, 30.0, 30.0, False),
        (40.0 * DAY, 20.0, 30.0, 30.0, True),
    ],
)
def test_only_what_began_after_the_reading_before_is_a_restart(
    before_s: float, uptime_s: float, apart_s: float, polls_s: float, anew: bool
) -> None:
    columns = (np.array([value]) for value in (before_s, uptime_s, apart_s, polls_s))
    assert began_anew(*columns).tolist() == [anew]


@pytest.mark.parametrize(
    "saved", [b"", b"[]", b'{"m": 1}', b'{"m": [{"knob": "no"}, 1, 1, 1, true, null, []]}']
)
def test_what_cannot_be_read_is_as_if_nothing_were_known(saved: bytes) -> None:
    unasked = Unasked(30.0, saved)
    assert unasked.to_bytes() == b"{}"

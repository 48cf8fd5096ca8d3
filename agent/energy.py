"""What a steady draw comes to."""

from __future__ import annotations

# kWh that one watt draws in a day.
KWH_PER_W_DAY = 0.024
